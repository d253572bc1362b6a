//! Guests in the status document: the interfaces on the host's side of their cables, and what serves them.

use serde::{Deserialize, Serialize};

/// Sandboxed pods, whose sockets no hook of this kernel sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sandboxes {
    /// The interfaces that are to be served.
    pub interfaces: Vec<GuestInterface>,
    /// Interfaces and pods that are meant and not served, with the reason, one line each.
    pub left_alone: Vec<String>,
    /// How many times programs were not where they had been, and were attached again.
    pub reattached: u64,
    /// Why no guest is served, or not all that should be, if so.
    pub problem: Option<String>,
}

/// The host's side of a guest's cable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuestInterface {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// By what it is meant: a name of the configuration, or a pod that is annotated.
    pub chosen_by: String,
    /// tcx or clsact; none when no program is attached.
    pub attached_by: Option<String>,
    /// Ids of the programs, what goes to the guest first.
    pub program_ids: Vec<u32>,
    /// Whether answers go past the programs, so that the guest is left alone.
    pub one_way: bool,
    /// Flows that were translated there.
    #[serde(default)]
    pub translated: u64,
    /// Why no program is attached.
    pub problem: Option<String>,
}

/// How an interface stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestState {
    /// Guests behind it are served.
    Served,
    /// Programs are attached and leave it alone, since answers go past them.
    OneWay,
    /// No program is attached.
    Failed,
}

impl GuestState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Served, Self::OneWay, Self::Failed];

    /// The word for it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::OneWay => "one-way",
            Self::Failed => "failed",
        }
    }
}

impl GuestInterface {
    /// How it stands.
    #[must_use]
    pub const fn state(&self) -> GuestState {
        match (&self.attached_by, self.one_way) {
            (None, _) => GuestState::Failed,
            (Some(_), true) => GuestState::OneWay,
            (Some(_), false) => GuestState::Served,
        }
    }
}

impl Sandboxes {
    /// What is wrong, one line each.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        let Self { interfaces, left_alone: _, reattached: _, problem } = self;
        let of_interface = |it: &GuestInterface| {
            it.problem.as_ref().map(|problem| format!("sandboxes: {}: {problem}", it.name))
        };
        let all = problem.iter().map(|problem| format!("sandboxes: {problem}"));
        all.chain(interfaces.iter().filter_map(of_interface))
    }
}
