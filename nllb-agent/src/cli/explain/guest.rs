//! Whether what a guest behind an interface dials is looked at there at all.

use crate::cli::Failure;
use crate::datapath::guests::noted;
use crate::exit::Exit;
use crate::status::{GuestState, Sandboxes, Status};
use nix::net::if_::if_nametoindex;
use nllb_common::maps::Guest;
use serde::Serialize;
use std::path::Path;

/// The guest behind an interface.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Behind {
    /// The interface's name.
    pub(super) interface: String,
    /// served, one-way, or failed when no program is there.
    pub(super) state: &'static str,
    /// What that means for it, where it is not served.
    pub(super) text: Option<String>,
    /// Flows that were translated so far.
    pub(super) translated: u64,
}

impl Behind {
    /// By the maps, and the agent's reasons where it runs.
    pub(super) fn look(
        interface: String,
        directory: &Path,
        status: Option<&Status>,
    ) -> Result<Self, Failure> {
        let Ok(number) = if_nametoindex(interface.as_str()) else {
            let line = format!("there is no interface {interface} in this network namespace");
            return Err(Failure::new(Exit::Configuration, &line));
        };
        let noted =
            noted(directory, number).map_err(|error| Failure::new(Exit::Datapath, &error))?;
        Ok(Self::of(interface, noted, status.and_then(|status| status.sandboxes.as_ref())))
    }

    fn of(interface: String, noted: Option<Guest>, sandboxes: Option<&Sandboxes>) -> Self {
        let Some(Guest { one_way, translated, .. }) = noted else {
            let why = sandboxes.and_then(|all| why_not(&interface, all));
            let why = why.unwrap_or("no program is attached there, see sandboxes".to_owned());
            let text =
                Some(format!("its guest is not served, so that goes where it is aimed: {why}"));
            return Self { interface, state: GuestState::Failed.label(), text, translated: 0 };
        };
        let (state, text) = if one_way == 0 {
            (GuestState::Served, None)
        } else {
            let text = "answers go past the programs there, so its guest is left to others until one passes";
            (GuestState::OneWay, Some(text.to_owned()))
        };
        Self { interface, state: state.label(), text, translated }
    }
}

/// What the agent says of an interface without programs.
fn why_not(name: &str, sandboxes: &Sandboxes) -> Option<String> {
    let Sandboxes { interfaces, left_alone, problem, reattached: _ } = sandboxes;
    let own = interfaces.iter().find(|it| it.name == name).and_then(|it| it.problem.clone());
    let left = left_alone.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    own.or_else(|| left.map(str::to_owned)).or_else(|| problem.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::example;

    #[test]
    fn an_interface_that_is_not_served_says_why() {
        let mut sandboxes = example::sandboxes();
        sandboxes.left_alone = vec!["eth0: never served: it has a default route".to_owned()];
        let of = |name: &str, noted| Behind::of(name.to_owned(), noted, Some(&sandboxes));
        let served = of("tap0", Some(Guest { translated: 3, ..Guest::NONE }));
        assert_eq!((served.state, served.text, served.translated), ("served", None, 3));
        let one_way = of("tap0", Some(Guest { one_way: 1, ..Guest::NONE }));
        assert!(one_way.state == "one-way" && one_way.text.is_some_and(|it| it.contains("past")));
        let text = |behind: Behind| behind.text.expect("a reason");
        assert!(text(of("eth0", None)).ends_with("it has a default route"));
        assert!(text(of("veth7", None)).ends_with("see sandboxes"));
    }
}
