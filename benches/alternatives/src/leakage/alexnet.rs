//! The paper's AlexNet_v2 (224x224 input, two classes), recomputed: what the client stores and sends for each
//! partition, and what the rule says of it.

use crate::results::{Table, Value};

use super::rule::{Layer, check};

/// Bits of a number in the paper's tables.
const BITS: u64 = 64;
/// The paper's link, bit/s.
const LINK: f64 = 1e6;
const MIB: f64 = 1024.0 * 1024.0;

/// A convolution of the network: its shape, and the side of its output before and after the pooling that follows it.
struct Conv {
    side: u64,
    channels: u64,
    stride: u64,
    kernels: u64,
    out_side: u64,
    pooled_side: u64,
}

const fn conv(shape: [u64; 4], out_side: u64, pooled_side: u64) -> Conv {
    let [side, channels, kernels, stride] = shape;
    Conv { side, channels, stride, kernels, out_side, pooled_side }
}

/// As TF-Slim has it: the first convolution without padding, the others with; 3x3 max pooling of stride 2 behind the
/// first, second and fifth.
const CONVS: [Conv; 5] = [
    conv([11, 3, 64, 4], 54, 26),
    conv([5, 64, 192, 1], 26, 12),
    conv([3, 192, 384, 1], 12, 12),
    conv([3, 384, 384, 1], 12, 12),
    conv([3, 384, 256, 1], 12, 5),
];

impl Conv {
    const fn parameters(&self) -> u64 {
        self.side * self.side * self.channels * self.kernels + self.kernels
    }

    const fn sent(&self, side: u64) -> u64 {
        side * side * self.kernels
    }

    fn layer(&self) -> Layer {
        Layer::new(self.side, self.channels, self.stride, self.kernels).expect("AlexNet's own numbers")
    }
}

/// Parameters of the client's part: weights and biases of the first `n` convolutions.
///
/// # Panics
/// If there are fewer than `n`.
#[must_use]
pub fn parameters(n: usize) -> u64 {
    CONVS[..n].iter().map(Conv::parameters).sum()
}

/// What the client stores for 1 to 4 layers.
#[must_use]
pub fn storage() -> Table {
    let row = |n: usize| {
        let (parameters, bytes) = (parameters(n), parameters(n) * BITS / 8);
        let mib = bytes as f64 / MIB;
        let size = if mib < 1.0 { format!("{:.0} KiB", mib * 1024.0) } else { format!("{mib:.2} MiB") };
        let seconds = round((bytes * 8) as f64 / LINK);
        vec![number(n as u64), number(parameters), number(bytes), size.into(), number(parameters * BITS), seconds]
    };
    Table {
        columns: titles(&["N", "parameters", "bytes at 64 bits", "that is", "bits", "s to install at 1 Mbit/s"]),
        rows: (1..=4).map(row).collect(),
        note: Some(
            "The slip: from N = 2 on the paper's table prints the column of bits as if it were bytes, eight times too \
             much; for N = 1 it prints bytes."
                .into(),
        ),
    }
}

/// What the client sends per inference for 1 to 5 layers, before and after the pooling behind the last of them.
#[must_use]
pub fn communication() -> Table {
    let row = |(i, c): (usize, &Conv)| {
        let seconds = |elements: u64, bits: u64| round((elements * bits) as f64 / LINK);
        let (before, after) = (c.sent(c.out_side), c.sent(c.pooled_side));
        let times = [(before, BITS), (after, BITS), (after, 32), (after, 8)].map(|(e, bits)| seconds(e, bits));
        [vec![number(i as u64 + 1), number(before), number(after)], times.to_vec()].concat()
    };
    Table {
        columns: titles(&[
            "N",
            "elements, before pooling",
            "elements, after pooling",
            "s at 64 bits, before pooling",
            "s at 64 bits, after",
            "s at 32 bits, after",
            "s at 8 bits, after",
        ]),
        rows: CONVS.iter().enumerate().map(row).collect(),
        note: Some(format!(
            "At 1 Mbit/s, 224x224 input. The picture itself, 8 bits a colour, would take {:.2} s: for N = 1 to 4 the \
             client sends more than that at 64 bits. The signal adds one plane, {:.1} %, {:.1} %, ... to the \
             elements. The paper's own times were not at hand; its slip in the table of storage, bits printed for \
             bytes, would make them eight times too long.",
            (224 * 224 * 3 * 8) as f64 / LINK,
            100.0 / CONVS[0].kernels as f64,
            100.0 / CONVS[1].kernels as f64,
        )),
    }
}

/// What the rule says of each layer and of the partition behind it.
#[must_use]
pub fn verdicts() -> Table {
    let layers: Vec<Layer> = CONVS.iter().map(Conv::layer).collect();
    let row = |(i, l): (usize, &Layer)| {
        let verdict = check(&layers[..=i]).map_or_else(|refused| refused.to_string(), |()| "safe".to_owned());
        let counts = [l.windows(), l.equations(), l.unknowns(), l.unknowns_as_printed(), l.largest_safe()].map(number);
        [vec![number(i as u64 + 1), l.to_string().into()], counts.to_vec(), vec![verdict.into()]].concat()
    };
    Table {
        columns: titles(&[
            "N",
            "layer",
            "c",
            "equations M",
            "unknowns N",
            "N as printed",
            "most kernels",
            "partition behind it",
        ]),
        rows: layers.iter().enumerate().map(row).collect(),
        note: Some(
            "The slip: the paper prints N = ((n - s) + c s) l; its own 2187 needs the square. Without it every layer \
             here would be refused."
                .into(),
        ),
    }
}

/// The three tables by title.
#[must_use]
pub fn tables() -> Vec<(String, Table)> {
    vec![
        ("AlexNet_v2: what the client stores".into(), storage()),
        ("AlexNet_v2: what the client sends per inference".into(), communication()),
        ("AlexNet_v2: the leakage rule".into(), verdicts()),
    ]
}

fn titles(titles: &[&str]) -> Vec<String> {
    titles.iter().map(ToString::to_string).collect()
}

fn number(n: u64) -> Value {
    Value::Number(n as f64)
}

fn round(seconds: f64) -> Value {
    Value::Number((seconds * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_storage_comes_out() {
        assert_eq!([1, 2, 3, 4].map(parameters), [23_296, 330_688, 994_624, 2_322_112]);
        let sizes: Vec<Value> = storage().rows.iter().map(|row| row[3].clone()).collect();
        assert_eq!(sizes, ["182 KiB", "2.52 MiB", "7.59 MiB", "17.72 MiB"].map(Value::from));
    }

    #[test]
    fn pooling_halves_sides_as_the_network_does() {
        let pool = |side: u64| (side - 3) / 2 + 1;
        assert_eq!((224 - 11) / 4 + 1, CONVS[0].out_side);
        for i in [0, 1, 4] {
            assert_eq!(pool(CONVS[i].out_side), CONVS[i].pooled_side);
        }
        assert!(CONVS.windows(2).all(|w| w[0].pooled_side == w[1].out_side && w[0].kernels == w[1].channels));
    }

    #[test]
    fn the_rule_on_each_partition() {
        let verdicts: Vec<bool> = verdicts().rows.iter().map(|row| row[7] == Value::from("safe")).collect();
        assert_eq!(verdicts, [true, false, false, true, true]);
    }

    #[test]
    fn rows_are_as_long_as_their_heads() {
        for (title, table) in tables() {
            assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{title}");
        }
    }
}
