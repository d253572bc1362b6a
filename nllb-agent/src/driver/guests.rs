//! Which guests are served: what the configuration, the cluster and the backends say makes one wish, and what was
//! found goes into the status.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use nllb_core::View;
use nllb_core::guests::Pods;

use super::Driver;
use crate::config::{self, Config, GuestAttach, Sandboxes};
use crate::datapath::guests::{Attach, Behind, Guests, Report, Served, Wanted};
use crate::status;

/// Guests, if there are any to serve.
#[derive(Debug, Default)]
pub(super) struct Sandboxed {
    /// Who looks after them, or why nobody can; none where the programs were not wanted at the start.
    guests: Option<Result<Guests, String>>,
}

impl Sandboxed {
    pub(super) const fn new(guests: Option<Result<Guests, String>>) -> Self {
        Self { guests }
    }

    /// Whether guests can be served at all: their programs are loaded at the start alone.
    pub(super) const fn is_loaded(&self) -> bool {
        self.guests.is_some()
    }

    /// Has the interfaces looked at, whether anything was heard of them or not.
    pub(super) fn check(&self) {
        if let Some(Ok(guests)) = &self.guests {
            guests.check();
        }
    }

    fn want(&self, config: &Config, view: &View, pods: &Pods) {
        if let Some(Ok(guests)) = &self.guests {
            guests.want(config.sandboxes.as_ref().map(|wanted| wish(wanted, config, view, pods)));
        }
    }

    /// The part of the status about them; none where no guest is to be served.
    pub(super) fn status(&self, config: &Config, pods: &Pods) -> Option<status::Sandboxes> {
        config.sandboxes.as_ref()?;
        let (report, failed) = match self.guests.as_ref()? {
            Ok(guests) => (guests.report(), None),
            Err(reason) => (Report::default(), Some(reason.clone())),
        };
        let Report { interfaces, mut left, problem, repaired } = report;
        left.extend(pods.sandboxed().into_iter().flat_map(|sandboxed| sandboxed.left));
        let elsewhere = || elsewhere(config).then(|| ELSEWHERE.to_owned());
        Some(status::Sandboxes {
            interfaces: interfaces.into_iter().map(interface).collect(),
            left_alone: left.into_iter().map(|(name, why)| format!("{name}: {why}")).collect(),
            reattached: repaired,
            problem: failed.or(problem).or_else(elsewhere),
        })
    }
}

fn wish(sandboxes: &Sandboxes, config: &Config, view: &View, pods: &Pods) -> Wanted {
    let Sandboxes { interfaces, annotation: _, attach } = sandboxes;
    let attach = match attach {
        GuestAttach::Auto => Attach::Auto,
        GuestAttach::Tcx => Attach::Tcx,
        GuestAttach::Clsact => Attach::Clsact,
    };
    let mut backends = BTreeMap::new();
    // The pools of the view are those of the configuration, in the same order, then those of Services, whose
    // backends are pods and some of them this node's.
    for (index, pool) in view.pools.iter().enumerate() {
        let own = index < config.pools.len();
        let behind = if own { Behind::Anything } else { Behind::Gateway };
        for backend in &pool.backends {
            let entry = backends.entry(backend.addr.ip()).or_insert(behind);
            if own {
                *entry = behind;
            }
        }
    }
    let pods = pods.sandboxed().map(|sandboxed| sandboxed.pods);
    Wanted { patterns: interfaces.clone(), pods, backends, attach }
}

const ELSEWHERE: &str =
    "not in the host's network namespace, where the interfaces are; run with the host's network";

/// Whether the interfaces that the agent sees are not the host's. Where it is told another cgroup than the host's
/// it is not meant to be there.
fn elsewhere(config: &Config) -> bool {
    // Not to be read without the host's pid namespace; then nothing is known.
    let netns = |pid| fs::metadata(format!("/proc/{pid}/ns/net")).map(|file| file.ino()).ok();
    let differs = || netns("self").zip(netns("1")).is_some_and(|(own, host)| own != host);
    config.datapath.cgroup == config::Cgroup::Auto && differs()
}

fn interface(served: Served) -> status::GuestInterface {
    let Served { index, name, rule, by, programs, problem, state } = served;
    let chosen_by = rule.map(|rule| rule.to_string()).unwrap_or_default();
    let attached_by = by.map(|by| by.label().to_owned());
    let program_ids = if attached_by.is_some() { programs } else { Vec::new() };
    let one_way = state.one_way != 0;
    let translated = state.translated;
    status::GuestInterface {
        name,
        index,
        chosen_by,
        attached_by,
        program_ids,
        one_way,
        translated,
        problem,
    }
}

impl Driver {
    /// Says anew which guests are served.
    pub(super) fn want_guests(&self) {
        if self.sandboxed.is_loaded() {
            self.sandboxed.want(&self.config, &self.machine.view(), &self.members.pods);
        }
    }
}
