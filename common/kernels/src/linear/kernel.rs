//! What a kernel is: [`Kernel`] packs a layer's weights, [`Linear`] applies them to shares.

use std::ops::Range;
use std::sync::Arc;

use twinmask_layer::{Conv, Geometry};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Widest signed weight that kernels must take, in bits.
pub const MAX_WEIGHT_BITS: u32 = 16;

/// Bytes that the CPU reads at once.
pub(crate) const LINE: usize = 64;

/// The input of one layer in the form that its kernel reads; filled by [`Linear::load`], reused from call to call,
/// and shared by the threads that compute parts of the output. Wiped when dropped: the owner's tool and the device put
/// secrets through layers.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub struct Input {
    /// Images: inputs for a convolution, rows of all inputs for a fully connected layer.
    items: usize,
    /// The native kernels' form.
    bytes: Vec<u8>,
    /// That of kernels that compute in floating point.
    f64s: Vec<f64>,
}

impl Input {
    /// Items that [`Linear::load`] put in: images of a convolution, rows of a fully connected layer.
    #[must_use]
    pub const fn items(&self) -> usize {
        self.items
    }

    /// What [`fill_bytes`](Self::fill_bytes) gave room for, and more.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Room for `items` items in `len` bytes, of unspecified content.
    pub(crate) fn fill_bytes(&mut self, items: usize, len: usize) -> &mut [u8] {
        self.items = items;
        grown(&mut self.bytes, len)
    }

    /// What [`fill_f64s`](Self::fill_f64s) gave room for, and more.
    #[must_use]
    pub fn f64s(&self) -> &[f64] {
        &self.f64s
    }

    /// Room for `items` items in `len` numbers, of unspecified content, for kernels that compute in floating point.
    pub fn fill_f64s(&mut self, items: usize, len: usize) -> &mut [f64] {
        self.items = items;
        grown(&mut self.f64s, len)
    }
}

/// Buffers that a [`Linear`] reuses from call to call; one per worker thread. Wiped when dropped, like [`Input`].
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub struct Scratch {
    input: Input,
    u32s: Vec<u32>,
    bytes: Vec<u8>,
    i16s: Vec<i16>,
    f64s: [Vec<f64>; 2],
}

impl Scratch {
    /// Two matrices of these lengths and unspecified content, for kernels that compute in floating point.
    pub fn f64s(&mut self, lens: [usize; 2]) -> [&mut [f64]; 2] {
        let [a, b] = &mut self.f64s;
        [grown(a, lens[0]), grown(b, lens[1])]
    }

    /// The input that [`Linear::apply`] uses, until it is [put back](Self::give_input).
    pub(crate) fn take_input(&mut self) -> Input {
        std::mem::take(&mut self.input)
    }

    /// Keeps the room of `input` for the next call.
    pub(crate) fn give_input(&mut self, input: Input) {
        self.input = input;
    }

    /// Bytes, weights and sums of these lengths and unspecified content, each from the start of a line on.
    pub(crate) fn transformed(
        &mut self,
        bytes: usize,
        weights: usize,
        sums: usize,
    ) -> (&mut [u8], &mut [i16], &mut [u32]) {
        (lined(&mut self.bytes, bytes), lined(&mut self.i16s, weights), lined(&mut self.u32s, sums))
    }
}

/// A way of computing linear layers.
pub trait Kernel: Send + Sync {
    /// Its name on the command line and in reports.
    fn name(&self) -> &'static str;

    /// Packs `weights` (`[out_channels, fan_in]` row-major, signed, at most [`MAX_WEIGHT_BITS`] wide) of a layer of
    /// validated `geometry`, to be applied in `Z_2^k`.
    ///
    /// # Panics
    /// If `weights` is not `geometry.weight_len()` long, or `k` not in 2..=32.
    fn prepare(&self, geometry: &Geometry, weights: &[i16], k: u32) -> Arc<dyn Linear>;
}

/// One layer, ready to be applied.
///
/// Results are congruent to `W·x` mod 2^k for x congruent mod 2^k; bits k and above are unspecified on both sides
/// (packing drops them).
pub trait Linear: Send + Sync {
    /// The shape that it was prepared for.
    fn geometry(&self) -> &Geometry;

    /// The kernel that really computes it; `auto` chooses by layer.
    fn picked(&self) -> &'static str;

    /// Smallest step, in output channels, at which the work may be divided.
    fn channel_step(&self) -> usize;

    /// Bytes that it takes to be fast, above what its weights take in the plainest form.
    fn spare_memory(&self) -> usize {
        0
    }

    /// Lays out the inputs `xs`, each `in_len` long, for [`part`](Self::part): one for a convolution, one or more
    /// devices' for a fully connected layer.
    ///
    /// # Panics
    /// If an input has another length, or a convolution is given other than one.
    fn load(&self, xs: &[&[u32]], input: &mut Input);

    /// Computes the output `channels` for everything in `input`, which this layer loaded, into `y`,
    /// `[channels, items, positions]` row-major, where `items` is [`Input::items`] and `positions` is `out_h * out_w`
    /// (1 when fully connected). For one image or one row that is a slice of the output itself; else [`item`] takes
    /// out what belongs to one row.
    ///
    /// # Panics
    /// If `channels` is not one of the ranges of [`split`], or `y` has another length.
    fn part(&self, input: &Input, channels: Range<usize>, y: &mut [u32], scratch: &mut Scratch);

    /// The same convolution of other rows: `part` is a [`Conv::rows`] of its shape. Both share the weights.
    fn of_rows(&self, part: Conv) -> Arc<dyn Linear>;

    /// Computes all of `y = W·x` on this thread.
    ///
    /// # Panics
    /// If the slices are not `in_len` and `out_len` long.
    fn apply(&self, x: &[u32], y: &mut [u32], scratch: &mut Scratch) {
        let geometry = self.geometry();
        assert_eq!(y.len(), geometry.out_len(), "output length of {geometry:?}");
        let mut input = scratch.take_input();
        self.load(&[x], &mut input);
        let channels = geometry.out_channels();
        if matches!(geometry, Geometry::Conv(_)) || input.items == 1 {
            self.part(&input, 0..channels, y, scratch);
        } else {
            let mut by_channel = std::mem::take(&mut scratch.u32s);
            let turned = grown(&mut by_channel, y.len());
            self.part(&input, 0..channels, turned, scratch);
            for (row, out) in y.chunks_exact_mut(channels).enumerate() {
                item(turned, input.items, row, out);
            }
            scratch.u32s = by_channel;
        }
        scratch.give_input(input);
    }
}

/// Divides the output channels of `linear` into at most `parts` ranges of nearly equal work, none of them empty.
#[must_use]
pub fn split(linear: &dyn Linear, parts: usize) -> Vec<Range<usize>> {
    let (channels, step) = (linear.geometry().out_channels(), linear.channel_step());
    let steps = channels.div_ceil(step);
    let parts = parts.clamp(1, steps);
    (0..parts).map(|p| p * steps / parts * step..((p + 1) * steps / parts * step).min(channels)).collect()
}

/// Takes item `index` out of the output `y` of a fully connected layer, `[channels, items]`.
///
/// # Panics
/// If `y` is not `out.len() * items` long or there is no such item.
pub fn item(y: &[u32], items: usize, index: usize, out: &mut [u32]) {
    assert!(y.len() == out.len() * items && index < items, "item {index} of {items} in {} elements", y.len());
    for (o, of_channel) in out.iter_mut().zip(y.chunks_exact(items)) {
        *o = of_channel[index];
    }
}

/// Panics unless [`Kernel::prepare`] was called as it demands; every kernel begins with it.
///
/// # Panics
/// If `weights` is not `geometry.weight_len()` long, or `k` not in 2..=32.
pub fn check(geometry: &Geometry, weights: &[i16], k: u32) {
    assert_eq!(weights.len(), geometry.weight_len(), "weights of {geometry:?}");
    assert!((twinmask_ring::MIN_BITS..=twinmask_ring::MAX_BITS).contains(&k), "ring of {k} bits");
}

/// The first `len` elements of `buffer`, of unspecified content. A buffer that grows is wiped, not copied.
pub(crate) fn grown<T: Zeroize + Clone + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.zeroize();
        buffer.resize(len, T::default());
    }
    &mut buffer[..len]
}

/// The same from the start of a line on, because vectors that lie across two take twice as long.
fn lined<T: Zeroize + Clone + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    let spare = LINE / size_of::<T>();
    let all = grown(buffer, len + spare);
    let start = all.as_ptr().align_offset(LINE).min(spare);
    &mut all[start..start + len]
}
