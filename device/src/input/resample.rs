//! Resizing and cropping as Pillow and torchvision do (`Resize` of the short side, bilinear with antialiasing, then
//! `CenterCrop`), to the bit: the references were prepared by them. Only what the crop shows is computed.

/// Fraction bits of the weights.
const FRACTION: u32 = 22;

/// Source elements `first..first + weights.len()` of an output element, and their weights.
struct Span {
    first: usize,
    weights: Vec<i32>,
}

/// Resizes a picture so that it covers a size, and cuts out the middle. Rows come one after the other, and what is kept
/// of each has the width of the result.
pub(super) struct Fit {
    channels: usize,
    columns: Vec<Span>,
    rows: Vec<Span>,
    /// The first row that shows, and the first behind those that do.
    top: usize,
    bottom: usize,
    /// Rows so far, and what is kept of those that show.
    seen: usize,
    narrow: Vec<u8>,
}

impl Fit {
    /// From a picture of width and height `from`, which are not zero, to the size `to`.
    pub(super) fn new(from: [usize; 2], to: [usize; 2], channels: usize) -> Self {
        let ([w, h], [to_w, to_h]) = (from.map(|n| n as u64), to.map(|n| n as u64));
        // The side that needs the larger factor is fitted, the other follows, rounded down.
        let (full_w, full_h) =
            if to_h * w >= to_w * h { (to_w.max(w * to_h / h), to_h) } else { (to_w, to_h.max(h * to_w / w)) };
        let columns = spans(from[0], full_w, middle(full_w, to_w), to[0]);
        let mut rows = spans(from[1], full_h, middle(full_h, to_h), to[1]);
        let top = rows.iter().map(|s| s.first).min().unwrap_or(0);
        let bottom = rows.iter().map(|s| s.first + s.weights.len()).max().unwrap_or(0);
        rows.iter_mut().for_each(|s| s.first -= top);
        let narrow = Vec::with_capacity((bottom - top) * to[0] * channels);
        Self { channels, columns, rows, top, bottom, seen: 0, narrow }
    }

    /// Takes the next row.
    pub(super) fn row(&mut self, row: &[u8]) {
        if (self.top..self.bottom).contains(&self.seen) {
            horizontal(row, self.channels, &self.columns, &mut self.narrow);
        }
        self.seen += 1;
    }

    /// The result, when all rows were there.
    pub(super) fn finish(self) -> Vec<u8> {
        vertical(&self.narrow, self.columns.len() * self.channels, &self.rows)
    }
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

fn horizontal(row: &[u8], channels: usize, columns: &[Span], out: &mut Vec<u8>) {
    for span in columns {
        for c in 0..channels {
            let pixels = row[span.first * channels + c..].iter().step_by(channels);
            let sum: i32 = pixels.zip(&span.weights).map(|(&p, &w)| i32::from(p) * w).sum();
            out.push(round(sum + (1 << (FRACTION - 1))));
        }
    }
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
