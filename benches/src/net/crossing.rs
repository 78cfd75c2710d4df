//! Where a ratio that rises with the device's speed crosses 1.

use serde::Serialize;

use crate::report::number;

/// The speed below which a ratio stays under 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Crossing {
    /// Between two measured speeds, interpolated.
    At(f64),
    /// It is under 1 even at this, the fastest speed measured.
    Above(f64),
    /// It is above 1 even at this, the slowest speed measured.
    Below(f64),
}

impl Crossing {
    /// For tables.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::At(speed) => number(*speed),
            Self::Above(speed) => format!("wins at all speeds measured (up to {})", number(*speed)),
            Self::Below(speed) => format!("below {} if at all", number(*speed)),
        }
    }
}

/// From `(speed, ratio)` with falling speeds: the fastest speed from which on, going down, the ratio stays under 1;
/// interpolated between logarithms.
#[must_use]
pub fn below(ratios: &[(f64, f64)]) -> Crossing {
    let Some(last) = ratios.iter().rposition(|(_, r)| *r > 1.0) else {
        return Crossing::Above(ratios.first().map_or(0.0, |r| r.0));
    };
    let Some(&(slow, under)) = ratios.get(last + 1) else { return Crossing::Below(ratios[last].0) };
    let (fast, over) = ratios[last];
    let part = over.ln() / (over.ln() - under.ln());
    Crossing::At((fast.ln() + part * (slow.ln() - fast.ln())).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crossings_are_found_between_and_beyond_what_was_measured() {
        let Crossing::At(speed) = below(&[(1.0, 100.0), (0.1, 10.0), (0.001, 0.1)]) else { panic!("it crosses") };
        assert!((speed - 0.01).abs() < 1e-9, "{speed}");
        assert_eq!(below(&[(1.0, 0.5), (0.1, 0.05)]), Crossing::Above(1.0));
        assert_eq!(below(&[(1.0, 50.0), (0.1, 5.0)]), Crossing::Below(0.1));
    }
}
