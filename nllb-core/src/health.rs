//! From outcomes to a state.

/// Which way a run of outcomes points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Towards getting connections.
    Up,
    /// Away from it.
    Down,
}

/// Outcomes in a row that ask for another state, but are still too few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Which way.
    pub direction: Direction,
    /// How many, at least 1.
    pub count: u32,
}
