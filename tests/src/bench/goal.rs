//! A goal, and how it went.

use serde_json::{Value, json};

use super::report::round;

/// What shall be at most this.
pub(super) struct Goal {
    pub(super) what: String,
    pub(super) is: f64,
    pub(super) most: f64,
}

impl Goal {
    pub(super) fn is_met(&self) -> bool {
        self.is <= self.most
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let Self { what, is, most } = self;
        json!({ "what": what, "is": round(*is, 4), "most": round(*most, 4), "met": self.is_met() })
    }

    /// For people: a line.
    pub(super) fn line(&self) -> String {
        let Self { what, is, most } = self;
        let missed = if self.is_met() { "" } else { "   missed" };
        format!("  {what:<50} {is:>8.3}   goal <= {most:.3}{missed}\n")
    }
}
