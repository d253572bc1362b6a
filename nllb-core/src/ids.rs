//! Free numbers for backends, pools and frontends.
//!
//! A number that was in use a moment ago is taken last: a program that is just running may have read
//! the old frontend and be about to read the pool or the verdict behind it.

use std::collections::BTreeSet;
use std::ops::Range;

/// The numbers of `range` that are not `taken`, lowest first, those in `lately` after all others.
pub(crate) fn free<'a>(
    range: Range<u32>,
    taken: &'a BTreeSet<u32>,
    lately: &'a BTreeSet<u32>,
) -> impl Iterator<Item = u32> + 'a {
    let unused = move |id: &u32| !taken.contains(id);
    let rested = range.clone().filter(unused).filter(|id| !lately.contains(id));
    rested.chain(range.filter(unused).filter(|id| lately.contains(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_comes_first_and_one_in_use_lately_last() {
        let (taken, lately) = (BTreeSet::from([2, 5]), BTreeSet::from([1, 5]));
        assert_eq!(free(1..7, &taken, &lately).collect::<Vec<_>>(), [3, 4, 6, 1]);
    }
}
