//! The order in which the elements of a tensor travel (PROTOCOL.md, "Stripes").

use std::ops::Range;

/// A tensor `[channels, height, width]` as it travels: in stripes of rows, one after the other, each of them
/// `[channels, rows, width]`. In one stripe that is the tensor's own order.
///
/// Indices into the tensor and places on the wire are both counted in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    channels: usize,
    /// Elements of a channel, and of a row of it.
    area: usize,
    width: usize,
    /// Row behind the last one of each stripe: ascending, the last is the height.
    ends: Vec<usize>,
}

impl Order {
    /// A tensor of `len` elements of any shape, in its own order.
    #[must_use]
    pub fn whole(len: usize) -> Self {
        Self { channels: 1, area: len, width: len, ends: vec![1] }
    }

    /// `[channels, height, width]` in stripes of which each ends before one of the rows `ends`.
    ///
    /// # Panics
    /// If `ends` does not ascend to the height: there would be rows in no stripe, or a stripe of none.
    #[must_use]
    pub fn stripes([channels, height, width]: [usize; 3], ends: Vec<usize>) -> Self {
        let ascend = ends.first() > Some(&0) && ends.is_sorted_by(|a, b| a < b);
        assert!(ascend && ends.last() == Some(&height), "stripes {ends:?} of {height} rows");
        Self { channels, area: height * width, width, ends }
    }

    /// Stripes; at least one.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.ends.len()
    }

    /// Rows of stripe `j`.
    ///
    /// # Panics
    /// If there is none, as all that take a stripe.
    #[must_use]
    pub fn rows(&self, j: usize) -> Range<usize> {
        let start = if j == 0 { 0 } else { self.ends[j - 1] };
        start..self.ends[j]
    }

    /// Places of stripe `j`.
    #[must_use]
    pub fn stripe(&self, j: usize) -> Range<usize> {
        let rows = self.rows(j);
        let row = self.channels * self.width;
        rows.start * row..rows.end * row
    }

    /// Places of the stripe that `place` is in; none behind the last.
    #[must_use]
    pub fn stripe_at(&self, place: usize) -> Range<usize> {
        let row = self.channels * self.width;
        let j = self.ends.partition_point(|end| end * row <= place);
        if j < self.ends.len() { self.stripe(j) } else { place..place }
    }

    /// Which indices are at these `places`, in runs of neighbours. The runs of all places hold every index once.
    pub fn runs(&self, mut places: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
        let row = self.channels * self.width;
        let mut j = self.ends.partition_point(|end| end * row <= places.start);
        std::iter::from_fn(move || {
            if places.is_empty() {
                return None;
            }
            while self.ends[j] * row <= places.start {
                j += 1;
            }
            let rows = self.rows(j);
            let run = rows.len() * self.width;
            let at = places.start - rows.start * row;
            let index = at / run * self.area + rows.start * self.width + at % run;
            let n = places.len().min(run - at % run);
            places.start += n;
            Some(index..index + n)
        })
    }

    /// What travels in stripe `j` of `tensor`.
    pub fn gather<'a, T>(&'a self, j: usize, tensor: &'a [T]) -> impl Iterator<Item = &'a [T]> {
        self.runs(self.stripe(j)).map(|run| &tensor[run])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every place, from the definition.
    fn naive([channels, height, width]: [usize; 3], ends: &[usize]) -> Vec<usize> {
        let mut out = Vec::new();
        let mut first = 0;
        for &end in ends {
            for channel in 0..channels {
                for row in first..end {
                    out.extend((0..width).map(|column| (channel * height + row) * width + column));
                }
            }
            first = end;
        }
        out
    }

    #[test]
    fn runs_are_those_of_the_definition() {
        for (shape, ends) in [
            ([3, 7, 5], vec![7]),
            ([3, 7, 5], vec![1, 4, 7]),
            ([1, 4, 1], vec![1, 2, 3, 4]),
            ([5, 2, 1], vec![1, 2]),
            ([2, 6, 3], vec![4, 6]),
        ] {
            let (order, expected) = (Order::stripes(shape, ends.clone()), naive(shape, &ends));
            for from in 0..expected.len() {
                for to in from..=expected.len() {
                    let found: Vec<usize> = order.runs(from..to).flatten().collect();
                    assert_eq!(found, expected[from..to], "{shape:?} in {ends:?}, {from}..{to}");
                }
            }
            let tensor: Vec<usize> = (0..expected.len()).collect();
            let stripes = (0..order.count()).flat_map(|j| order.gather(j, &tensor)).flatten().copied();
            assert_eq!(stripes.collect::<Vec<_>>(), expected);
            assert_eq!(order.stripe(order.count() - 1).end, expected.len());
            let found = |place: usize| (0..order.count()).map(|j| order.stripe(j)).find(|s| s.contains(&place));
            assert!((0..expected.len()).all(|place| found(place) == Some(order.stripe_at(place))));
            assert!(order.stripe_at(expected.len()).is_empty());
        }
        assert!(Order::whole(9).runs(2..9).eq(std::iter::once(2..9)));
    }

    #[test]
    #[should_panic(expected = "stripes [2, 2, 3] of 3 rows")]
    fn a_stripe_has_rows() {
        let _ = Order::stripes([1, 3, 1], vec![2, 2, 3]);
    }
}
