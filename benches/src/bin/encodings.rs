//! What encodings of masked activations take on the wire, raw and with zstd, on the first convolution's output of the
//! paper's AlexNet. `make bench-encodings`.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use twinmask_benches::machine;
use twinmask_benches::networks::zoo_file;
use twinmask_benches::report::Report;
use twinmask_layer::{Conv, Geometry};
use twinmask_model::graph::Graph;
use twinmask_model::ops::Op;
use twinmask_onnx::{ImportOptions, import};
use twinmask_ring::fixed::Scale;
use twinmask_ring::mask;
use twinmask_ring::pack::pack;
use twinmask_ring::prf::Key;

/// Bytes of the paper's elements.
const PAPER_BYTES: usize = 20;
/// What the paper says that its encoding saves at least.
const PAPER_SAVING: f64 = 0.70;
/// zstd levels.
const LEVELS: [i32; 3] = [1, 3, 19];
/// Bits of the quantized activations: what `balanced` sends here.
const X_BITS: u32 = 12;

#[derive(Serialize)]
struct Row {
    encoding: String,
    /// Uniformly random bits in each element: no lossless encoding can do with fewer on average.
    mask_bits: u32,
    /// Raw, then zstd at [`LEVELS`]; bytes per element.
    bytes: [f64; 4],
    /// Best of zstd, of raw.
    best_ratio: f64,
}

/// A masked tensor: `x + r mod 2^bits`, r uniform.
struct Masked {
    x: Vec<i32>,
    key: Key,
}

impl Masked {
    fn new(x: Vec<i32>) -> Self {
        Self { x, key: Key::derive("bench", &[b"masks"]) }
    }

    /// Elements modulo `2^bits`, at most 32.
    fn ring(&self, bits: u32) -> Vec<u32> {
        let mut r = vec![0; self.x.len()];
        self.key.fill(u64::from(bits), bits, &mut r);
        self.x.iter().zip(r).map(|(&x, r)| (x as u32).wrapping_add(r) & mask(bits)).collect()
    }

    /// Elements modulo `2^bits`, at most 160, least significant word first.
    fn wide(&self, bits: u32) -> Vec<[u32; 5]> {
        let mut words = vec![0; 5 * self.x.len()];
        self.key.fill(1000 + u64::from(bits), 32, &mut words);
        let add = |(&x, r): (&i32, &[u32])| {
            let mut carry = 0i64;
            std::array::from_fn(|i| {
                let digit = if i == 0 { x as u32 } else { (x >> 31) as u32 };
                let kept = mask_of_word(bits, i);
                let sum = i64::from(digit) + i64::from(r[i] & kept) + carry;
                carry = sum >> 32;
                sum as u32 & kept
            })
        };
        self.x.iter().zip(words.chunks_exact(5)).map(add).collect()
    }
}

/// Bits of word `i` that belong to an integer of `bits` bits.
fn mask_of_word(bits: u32, i: usize) -> u32 {
    match bits.saturating_sub(32 * i as u32) {
        0 => 0,
        left => mask(left.min(32)),
    }
}

/// An integer of five words in decimal.
fn decimal(words: &[u32; 5]) -> String {
    let (mut words, mut groups) = (*words, Vec::new());
    while words.iter().any(|&w| w != 0) {
        let mut rest = 0u64;
        for w in words.iter_mut().rev() {
            let value = rest << 32 | u64::from(*w);
            *w = (value / 1_000_000_000) as u32;
            rest = value % 1_000_000_000;
        }
        groups.push(rest);
    }
    let Some(first) = groups.pop() else { return "0".to_owned() };
    groups.iter().rev().fold(first.to_string(), |text, g| format!("{text}{g:09}"))
}

/// The activations after the first convolution and ReLU of the paper's AlexNet on a seeded input, `[96, 55, 55]`.
fn activations() -> Result<Vec<f32>> {
    let graph = import(&zoo_file("alexnet227")?, &ImportOptions::default())?.graph;
    let (geometry, weights, bias) = first_convolution(&graph).context("alexnet227 begins with a convolution")?;
    let input = twinmask_benches::input(geometry.in_len());
    let mut out = vec![0.0; geometry.out_len()];
    for channel in 0..geometry.out_channels() {
        let row = &weights[channel * geometry.fan_in()..][..geometry.fan_in()];
        for position in 0..geometry.positions() {
            let mut sum = bias[channel];
            geometry.taps(channel, position, |w, x| sum += row[w] * input[x]);
            out[geometry.output_index(channel, position)] = sum.max(0.0);
        }
    }
    Ok(out)
}

fn first_convolution(graph: &Graph) -> Option<(Geometry, &[f32], &[f32])> {
    let node = graph.nodes.iter().find(|n| matches!(n.op, Op::Conv(_)))?;
    let Op::Conv(op) = &node.op else { return None };
    let &[_, c_in, h, w] = graph.shape(node.inputs[0]) else { return None };
    let (&[kh, kw], c_out) = (&op.window.kernel, graph.shape(node.inputs[1])[0]);
    let (stride, pad, dilation, groups) = (op.window.stride, op.window.pad, op.window.dilation, op.groups);
    let conv = Conv { c_in, h, w, c_out, kh, kw, stride, pad, dilation, groups };
    let constant = |i: usize| graph.constants.get(node.inputs.get(i)?).map(Vec::as_slice);
    Some((Geometry::Conv(conv), constant(1)?, constant(2)?))
}

/// Every encoding: name, uniform bits in it per element, bytes of the whole tensor.
fn encodings(masked: &Masked) -> Vec<(String, u32, Vec<u8>)> {
    let mut all = Vec::new();
    let lines =
        |texts: &mut dyn Iterator<Item = String>| texts.flat_map(|t| (t + "\n").into_bytes()).collect::<Vec<u8>>();
    for bits in [160, 64] {
        let text = lines(&mut masked.wide(bits).iter().map(decimal));
        all.push((format!("text decimals of {bits}-bit integers"), bits, text));
    }
    let text = lines(&mut masked.ring(32).iter().map(ToString::to_string));
    all.push(("text decimals of 32-bit integers".to_owned(), 32, text));
    for bits in [160, 64, 48, 40] {
        let bytes = masked.wide(bits).iter().flat_map(|w| w.map(u32::to_le_bytes).concat()).collect();
        all.push((format!("160-bit container, {bits} mask bits"), bits, bytes));
    }
    for bits in [64, 32, 24] {
        let bytes = masked.wide(bits).iter().flat_map(|w| [w[0].to_le_bytes(), w[1].to_le_bytes()].concat()).collect();
        all.push((format!("u64, {bits} mask bits"), bits, bytes));
    }
    for bits in [52, 32, 24] {
        let value = |w: &[u32; 5]| (u64::from(w[1]) << 32 | u64::from(w[0])) as f64;
        let bytes = masked.wide(bits).iter().flat_map(|w| value(w).to_le_bytes()).collect();
        all.push((format!("f64, {bits} mask bits"), bits, bytes));
    }
    for bits in [32, 28, 24, 20] {
        let bytes = masked.ring(bits).iter().flat_map(|v| v.to_le_bytes()).collect();
        all.push((format!("u32, {bits} mask bits"), bits, bytes));
    }
    for bits in [32, 28, 24, 20] {
        let mut bytes = Vec::new();
        pack(&masked.ring(bits), bits, &mut bytes);
        all.push((format!("packed, {bits} bits"), bits, bytes));
    }
    all
}

fn row((encoding, mask_bits, bytes): (String, u32, Vec<u8>), elements: usize) -> Result<Row> {
    eprintln!("{encoding}");
    let per = |n: usize| n as f64 / elements as f64;
    let mut sizes = [per(bytes.len()); 4];
    for (size, level) in sizes[1..].iter_mut().zip(LEVELS) {
        let mut encoder = zstd::Encoder::new(Vec::new(), level)?;
        encoder.write_all(&bytes)?;
        let packed = encoder.finish()?;
        ensure!(zstd::decode_all(packed.as_slice())? == bytes, "zstd lost something of {encoding}");
        *size = per(packed.len());
    }
    let best = sizes[1..].iter().copied().fold(f64::INFINITY, f64::min);
    Ok(Row { encoding, mask_bits, bytes: sizes, best_ratio: best / sizes[0] })
}

fn main() -> Result<()> {
    machine::clean_environment()?;
    let mut report = Report::new("encodings", "Encodings of masked activations");
    let activations = activations()?;
    let mut x = vec![0; activations.len()];
    Scale::of(&activations, X_BITS, false)?.quantize(&activations, &mut x);
    let masked = Masked::new(x);
    let n = activations.len();
    report.text(format!(
        "The {n} activations after the first convolution and ReLU of `alexnet227` (seeded weights and input), quantized to {X_BITS} \
         bits and masked: x + r mod 2^b with r uniform of b bits (\"mask bits\"). Bytes per element; `best` is the smallest zstd \
         result over raw; `floor` is b/8, below which no lossless encoding of uniform bits can go on average."
    ));
    let rows: Vec<Row> = encodings(&masked).into_iter().map(|e| row(e, n)).collect::<Result<_>>()?;
    let cells = |r: &Row| {
        let mut cells = vec![r.encoding.clone()];
        cells.extend(r.bytes.map(|b| format!("{b:.2}")));
        cells.extend([format!("{:.3}", f64::from(r.mask_bits) / 8.0), format!("{:.3}", r.best_ratio)]);
        cells.push(if r.best_ratio <= 1.0 - PAPER_SAVING { "yes" } else { "no" }.to_owned());
        cells
    };
    let columns = ["encoding", "raw", "zstd 1", "zstd 3", "zstd 19", "floor", "best / raw", "saves 70 %"];
    report.table("Bytes per element", &columns, &rows.iter().map(cells).collect::<Vec<_>>());
    conclude(&mut report, &rows);
    paper(&mut report, &rows);
    report.data("elements", &n);
    report.data("rows", &rows);
    report.write()
}

/// Which encodings save what the paper says, and why.
fn conclude(report: &mut Report, rows: &[Row]) {
    let saving: Vec<&Row> = rows.iter().filter(|r| r.best_ratio <= 1.0 - PAPER_SAVING).collect();
    let names = saving.iter().map(|r| format!("{} ({:.0} %)", r.encoding, 100.0 * (1.0 - r.best_ratio)));
    let names = names.collect::<Vec<_>>().join(", ");
    let found = if saving.is_empty() {
        "No encoding here saves 70 %".to_owned()
    } else {
        format!("70 % are saved by: {names}")
    };
    let most = rows.iter().filter(|r| r.encoding.starts_with("packed")).map(|r| 1.0 - r.best_ratio).fold(0.0, f64::max);
    report.text(format!(
        "{found}. What zstd removes there is the container, not the data: the bits of a container that the mask does not reach are \
         constant, and nothing else can be removed, because a uniform mask makes every masked value uniform, whose entropy is all of \
         its bits. A saving of 70 % therefore takes masks of at most 0.3 x 160 = 48 bits in a 160-bit container, were the \
         compressor perfect; with masks as wide as the container zstd saves \
         nothing, and of packed elements it saves at most {:.1} %. \
         Packing removes the container beforehand and at no cost.",
        100.0 * most
    ));
}

/// The paper's encoding in two rows, and ours beside it.
fn paper(report: &mut Report, rows: &[Row]) {
    let specified = PAPER_BYTES as f64;
    let assumed = specified * (1.0 - PAPER_SAVING);
    let mut lines = vec![
        ("the paper's, as specified: 160-bit elements".to_owned(), specified),
        (format!("the paper's, assuming that it saves {:.0} %", 100.0 * PAPER_SAVING), assumed),
    ];
    let packed = rows.iter().filter(|r| r.encoding.starts_with("packed"));
    lines.extend(packed.map(|r| (r.encoding.clone(), r.bytes[0])));
    let line = |(name, bytes): &(String, f64)| {
        vec![
            name.clone(),
            format!("{bytes:.2}"),
            format!("{:.3}", bytes / specified),
            format!("{:.3}", bytes / assumed),
        ]
    };
    let columns = ["encoding", "bytes per element", "of the specified", "of the 70 % assumed"];
    report.table("Beside the paper's", &columns, &lines.iter().map(line).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_elements_are_what_their_decimals_say() {
        assert_eq!(decimal(&[0; 5]), "0");
        assert_eq!(decimal(&[u32::MAX, u32::MAX, 0, 0, 0]), u64::MAX.to_string());
        assert_eq!(decimal(&[0, 0, 1, 0, 0]), (1u128 << 64).to_string());
        let masked = Masked::new(vec![-1, 0, 5, 1 << 20]);
        for (bits, used) in [(160, 5), (64, 2), (48, 2), (40, 2)] {
            let keep = |words: &[u32; 5]| words[used..].iter().all(|&w| w == 0);
            assert!(masked.wide(bits).iter().all(keep), "{bits}");
            assert!(bits % 32 == 0 || masked.wide(bits).iter().all(|w| w[1] >> (bits - 32) == 0), "{bits}");
        }
    }
}
