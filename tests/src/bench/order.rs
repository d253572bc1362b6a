//! Whose turn it is.

/// Every side once in each round, in a random order that is the same in every run.
pub(super) struct Order {
    sides: usize,
    state: u32,
}

impl Order {
    pub(super) const fn new(sides: usize) -> Self {
        Self { sides, state: 1 }
    }

    pub(super) fn next(&mut self) -> Vec<usize> {
        let mut sides: Vec<_> = (0..self.sides).collect();
        for last in (1..self.sides).rev() {
            self.state = nllb_common::mix(self.state.wrapping_add(0x9e37_79b9));
            let other = usize::try_from(self.state).unwrap_or(0) % (last + 1);
            sides.swap(last, other);
        }
        sides
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_side_comes_once_a_round_and_first_about_equally_often() {
        let mut order = Order::new(3);
        let mut first = [0; 3];
        for _ in 0..3000 {
            let mut sides = order.next();
            first[sides[0]] += 1;
            sides.sort_unstable();
            assert_eq!(sides, [0, 1, 2]);
        }
        assert!(first.iter().all(|count| (900..1100).contains(count)), "{first:?}");
    }
}
