//! Equations against unknowns.

use std::fmt;
use std::str::FromStr;

/// One convolution as the rule sees it: square kernels, no padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    side: u64,
    channels: u64,
    stride: u64,
    kernels: u64,
}

/// A layer that the rule says nothing about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError(String);

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RuleError {}

/// Largest number that a layer may be described with: its products then fit 64 bits.
const MOST: u64 = 1 << 15;

impl Layer {
    /// Kernels of `side` x `side` on `channels` input channels, moved by `stride`; `kernels` of them.
    ///
    /// # Errors
    /// When a number is zero or too large, or the stride larger than the kernel: then inputs lie between the windows
    /// that no output depends on.
    pub fn new(side: u64, channels: u64, stride: u64, kernels: u64) -> Result<Self, RuleError> {
        let all = [side, channels, stride, kernels];
        if all.iter().any(|n| !(1..=MOST).contains(n)) {
            return Err(RuleError(format!("{all:?}: every number of a layer is in 1..={MOST}")));
        }
        if stride > side {
            return Err(RuleError(format!("stride {stride} of kernels {side}x{side} leaves inputs out")));
        }
        Ok(Self { side, channels, stride, kernels })
    }

    /// Windows along one side that overlap with the middle one: `c = ceil(2n/s - 1)`.
    #[must_use]
    pub const fn windows(&self) -> u64 {
        (2 * self.side - self.stride).div_ceil(self.stride)
    }

    /// Equations that the outputs of these windows give: `M = c^2 K`.
    #[must_use]
    pub const fn equations(&self) -> u64 {
        self.windows() * self.windows() * self.kernels
    }

    /// Inputs that they depend on: `N = ((n - s) + c s)^2 l`. The paper prints it without the square, but its numbers
    /// (2187 for n = 11, s = 4, l = 3) come out only with it.
    #[must_use]
    pub const fn unknowns(&self) -> u64 {
        self.window_side() * self.window_side() * self.channels
    }

    /// The paper's formula as it is printed: `((n - s) + c s) l`.
    #[must_use]
    pub const fn unknowns_as_printed(&self) -> u64 {
        self.window_side() * self.channels
    }

    const fn window_side(&self) -> u64 {
        self.side - self.stride + self.windows() * self.stride
    }

    /// Whether unknowns outnumber equations.
    #[must_use]
    pub const fn is_safe(&self) -> bool {
        self.unknowns() > self.equations()
    }

    /// The largest number of kernels with which this layer would be safe; 0 if none is.
    #[must_use]
    pub const fn largest_safe(&self) -> u64 {
        (self.unknowns() - 1) / (self.windows() * self.windows())
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{0}x{0}x{1}x{2}, stride {3}", self.side, self.channels, self.kernels, self.stride)
    }
}

impl FromStr for Layer {
    type Err = RuleError;

    /// `SIDExCHANNELSxKERNELS/STRIDE`, such as `11x3x64/4`; without a stride it is 1.
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (shape, stride) = text.split_once('/').unwrap_or((text, "1"));
        let fail = || RuleError(format!("'{text}' is no layer: write SIDExCHANNELSxKERNELS/STRIDE, such as 11x3x64/4"));
        let number = |t: &str| t.parse::<u64>().map_err(|_| fail());
        match shape.split('x').collect::<Vec<_>>()[..] {
            [side, channels, kernels] => Self::new(number(side)?, number(channels)?, number(stride)?, number(kernels)?),
            _ => Err(fail()),
        }
    }
}

/// A partition that the rule refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Layers before the cut.
    pub cut: usize,
    /// Equations and unknowns of the last of them.
    pub counted: (u64, u64),
    /// The last layer before that one which is safe (from 1): the activations that can be solved for end there.
    pub guard: Option<usize>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((m, n), cut) = (self.counted, self.cut);
        write!(f, "refused: what enters layer {cut} can be solved for ({n} unknowns, {m} equations); ")?;
        match self.guard {
            Some(guard) => write!(f, "layer {guard} before it still keeps the input undetermined"),
            None => write!(f, "so can, layer by layer, the input itself"),
        }
    }
}

impl std::error::Error for Refused {}

/// Checks the partition whose client runs `layers` and sends out what the last of them gives. An empty one sends the
/// input itself.
///
/// ReLU and pooling between layers take equations away and are not counted: where the rule finds a partition safe, it
/// is so without them; where it refuses, they may or may not save it.
///
/// # Errors
/// [`Refused`] when the last layer has no more unknowns than equations, or there is none.
pub fn check(layers: &[Layer]) -> Result<(), Refused> {
    let Some((last, before)) = layers.split_last() else {
        return Err(Refused { cut: 0, counted: (1, 1), guard: None });
    };
    if last.is_safe() {
        return Ok(());
    }
    let guard = before.iter().rposition(Layer::is_safe).map(|i| i + 1);
    Err(Refused { cut: layers.len(), counted: (last.equations(), last.unknowns()), guard })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(text: &str) -> Layer {
        text.parse().expect("a layer")
    }

    #[test]
    fn the_published_cases() {
        let wide = layer("11x3x96/4");
        assert_eq!((wide.windows(), wide.equations(), wide.unknowns()), (5, 2400, 2187));
        assert!(!wide.is_safe());
        let narrow = layer("11x3x64/4");
        assert_eq!((narrow.equations(), narrow.unknowns()), (1600, 2187));
        assert!(narrow.is_safe());
        assert_eq!(narrow.largest_safe(), 87);
        assert!(layer("11x3x87/4").is_safe() && !layer("11x3x88/4").is_safe());
        assert_eq!(narrow.unknowns_as_printed(), 81, "the formula as printed does not give the paper's 2187");
    }

    #[test]
    fn a_pointwise_layer_is_solved_with_as_many_kernels_as_channels() {
        assert!(layer("1x16x15").is_safe());
        assert!(!layer("1x16x16").is_safe());
        assert_eq!((layer("1x16x16").largest_safe(), layer("1x1x1").largest_safe()), (15, 0));
    }

    #[test]
    fn the_largest_safe_count_is_where_the_verdict_turns() {
        for side in 1..8 {
            for stride in 1..=side {
                for channels in 1..6 {
                    let with = |kernels| Layer::new(side, channels, stride, kernels).expect("a layer");
                    let most = with(1).largest_safe();
                    assert!(most == 0 || with(most).is_safe(), "{}", with(1));
                    assert!(!with(most + 1).is_safe(), "{}", with(1));
                }
            }
        }
    }

    #[test]
    fn a_partition_with_enough_equations_is_refused() {
        let (safe, solvable) = (layer("11x3x64/4"), layer("5x64x192"));
        assert_eq!(check(&[safe]), Ok(()));
        assert_eq!(check(&[solvable, safe]), Ok(()));
        assert_eq!(check(&[layer("11x3x96/4")]), Err(Refused { cut: 1, counted: (2400, 2187), guard: None }));
        let refused = check(&[safe, solvable]).expect_err("refused");
        assert_eq!((refused.cut, refused.guard), (2, Some(1)));
        assert!(refused.to_string().contains("layer 1 before it still keeps the input undetermined"), "{refused}");
        assert!(check(&[]).is_err(), "the input itself would be sent");
    }

    #[test]
    fn what_is_no_layer_is_refused() {
        for text in ["", "3", "3x3", "0x3x4", "3x3x4/0", "3x3x4/4", "3x3x-4", "3x3x4/x", "3x3x99999999999", "3x3x40000"]
        {
            assert!(text.parse::<Layer>().is_err(), "{text}");
        }
        assert_eq!(layer("3x8x16").to_string(), "3x3x8x16, stride 1");
    }
}
