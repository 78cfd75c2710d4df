//! Resizing and cropping as Pillow and torchvision do (`Resize` of the short side, bilinear with antialiasing, then
//! `CenterCrop`), to the bit: the references were prepared by them. Only what the crop shows is computed.

/// Interleaved 8-bit pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Picture<'a> {
    /// `height * width * channels` bytes.
    pub(super) data: &'a [u8],
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) channels: usize,
}

/// Fraction bits of the weights.
const FRACTION: u32 = 22;

/// Source elements `first..first + weights.len()` of an output element, and their weights.
struct Span {
    first: usize,
    weights: Vec<i32>,
}

/// Resizes `picture` so that it covers `width` x `height`, and cuts out the middle.
pub(super) fn fit(picture: Picture<'_>, width: usize, height: usize) -> Vec<u8> {
    let (w, h, to_w, to_h) = (picture.width as u64, picture.height as u64, width as u64, height as u64);
    // The side that needs the larger factor is fitted, the other follows, rounded down.
    let (full_w, full_h) =
        if to_h * w >= to_w * h { (to_w.max(w * to_h / h), to_h) } else { (to_w, to_h.max(h * to_w / w)) };
    let columns = spans(picture.width, full_w, middle(full_w, to_w), width);
    let mut rows = spans(picture.height, full_h, middle(full_h, to_h), height);
    let top = rows.iter().map(|s| s.first).min().unwrap_or(0);
    let bottom = rows.iter().map(|s| s.first + s.weights.len()).max().unwrap_or(0);
    rows.iter_mut().for_each(|s| s.first -= top);
    let pitch = picture.width * picture.channels;
    let narrow = horizontal(&picture.data[top * pitch..bottom * pitch], pitch, picture.channels, &columns);
    vertical(&narrow, width * picture.channels, &rows)
}

/// Where the middle `part` of `whole` begins; a half is rounded to even.
fn middle(whole: u64, part: u64) -> u64 {
    ((whole - part) as f64 / 2.0).round_ties_even() as u64
}

/// Weights of the output elements `first..first + count`, when `from` elements become `to`.
fn spans(from: usize, to: u64, first: u64, count: usize) -> Vec<Span> {
    let scale = from as f64 / to as f64;
    let support = scale.max(1.0);
    let span = |o: u64| {
        let centre = (o as f64 + 0.5) * scale;
        let start = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let triangle = |x: usize| (1.0 - ((x as f64 - centre + 0.5) / support).abs()).max(0.0);
        let weights: Vec<f64> = (start..end).map(triangle).collect();
        let total: f64 = weights.iter().sum();
        let fixed = |w: &f64| (0.5 + w / total * f64::from(1 << FRACTION)) as i32;
        Span { first: start, weights: weights.iter().map(fixed).collect() }
    };
    (first..first + count as u64).map(span).collect()
}

fn round(sum: i32) -> u8 {
    (sum >> FRACTION).clamp(0, 255) as u8
}

fn horizontal(rows: &[u8], pitch: usize, channels: usize, columns: &[Span]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() / pitch * columns.len() * channels);
    for row in rows.chunks_exact(pitch) {
        for span in columns {
            for c in 0..channels {
                let pixels = row[span.first * channels + c..].iter().step_by(channels);
                let sum: i32 = pixels.zip(&span.weights).map(|(&p, &w)| i32::from(p) * w).sum();
                out.push(round(sum + (1 << (FRACTION - 1))));
            }
        }
    }
    out
}

fn vertical(data: &[u8], pitch: usize, rows: &[Span]) -> Vec<u8> {
    let mut out = Vec::with_capacity(pitch * rows.len());
    let mut sums = vec![0i32; pitch];
    for span in rows {
        sums.fill(1 << (FRACTION - 1));
        for (row, &w) in data[span.first * pitch..].chunks_exact(pitch).zip(&span.weights) {
            sums.iter_mut().zip(row).for_each(|(s, &p)| *s += i32::from(p) * w);
        }
        out.extend(sums.iter().map(|&s| round(s)));
    }
    out
}
