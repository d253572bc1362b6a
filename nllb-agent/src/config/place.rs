//! Where a value stands in the file, carried along while raw types become checked ones.

use super::error::Problem;
use serde_saphyr::Spanned;

/// Line, column and key path of a value.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// Line, from 1; 0 when not known.
    pub line: u64,
    /// Column, from 1; 0 when not known.
    pub column: u64,
    /// Path of the key, like `frontends[0].addresses[1]`; empty for the document.
    pub key: String,
}

/// A problem and its place, before the file's name is known.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) place: Place,
    pub(super) problem: Problem,
}

impl Place {
    /// The place of `child`, a key of the mapping here.
    pub(super) fn field<T>(&self, name: &str, child: Spanned<T>) -> At<T> {
        let key = self.named(name).key;
        At::new(key, child)
    }

    /// Like [`Self::field`] for a key that may be left out.
    pub(super) fn optional<T>(&self, name: &str, child: Option<Spanned<T>>) -> Option<At<T>> {
        child.map(|child| self.field(name, child))
    }

    /// Like [`Self::field`] for a key that must be there.
    pub(super) fn required<T>(
        &self,
        name: &'static str,
        example: &'static str,
        child: Option<Spanned<T>>,
    ) -> Result<At<T>, Fault> {
        self.optional(name, child)
            .ok_or_else(|| self.named(name).fault(Problem::Missing { example }))
    }

    /// This position under the name of a key that the mapping here lacks.
    pub(super) fn named(&self, name: &str) -> Self {
        let key =
            if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) };
        Self { key, ..self.clone() }
    }

    pub(super) const fn fault(self, problem: Problem) -> Fault {
        Fault { place: self, problem }
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) place: Place,
    pub(super) value: T,
}

impl<T> At<T> {
    pub(super) fn new(key: String, spanned: Spanned<T>) -> Self {
        let Spanned { value, referenced, defined: _ } = spanned;
        Self { place: Place { line: referenced.line(), column: referenced.column(), key }, value }
    }

    /// Says what is wrong with this value.
    pub(super) fn fault(self, problem: Problem) -> Fault {
        self.place.fault(problem)
    }

    /// The value under a check; the place stays.
    pub(super) fn check<U>(
        self,
        check: impl FnOnce(T) -> Result<U, Problem>,
    ) -> Result<At<U>, Fault> {
        let Self { place, value } = self;
        match check(value) {
            Ok(value) => Ok(At { place, value }),
            Err(problem) => Err(place.fault(problem)),
        }
    }
}

impl<T> At<Vec<Spanned<T>>> {
    /// The items of a list, each with its place.
    pub(super) fn items(self) -> Vec<At<T>> {
        let Self { place, value } = self;
        let item = |(index, child)| At::new(format!("{}[{index}]", place.key), child);
        value.into_iter().enumerate().map(item).collect()
    }
}
