//! The verdict on the whole node: one word, and why.
//!
//! | verdict | means |
//! |---|---|
//! | healthy | all is as it should be |
//! | degraded | connects are served, and somebody should put something right |
//! | panic | a pool or a frontend has nobody who may get connections: they go to the least bad |
//! | not-attached | connects are not translated, or not where it matters |
//!
//! What stands behind the word is told apart by who has to do something: a *reason* is something that
//! somebody should put right, a *note* explains what is wanted, passes by itself, or cannot be otherwise
//! on this host. Only reasons make the word. They name no ages and no counts that grow, so that the same
//! trouble reads the same each time.

mod ownership;
mod pools;

use super::{
    Closing, ConfigState, Confinement, DatapathState, Discovery, Frontend, Journal, Lease, Link,
    Listener, ListenerState, Pool, Sandboxes, SelfTest, Source, Status, SystemCalls, TableOnDisk,
    Watched,
};
use nllb_core::SourceKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Hooks without which connects are not translated.
const TRANSLATING: [&str; 2] = ["connect4", "connect6"];

/// How the node stands; the worst last.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All is as it should be.
    #[default]
    Healthy,
    /// Connects are served, and something is not as it should be.
    Degraded,
    /// A pool or a frontend has nobody who may get connections.
    Panic,
    /// Connects are not translated.
    NotAttached,
}

impl Verdict {
    /// Every verdict, the worst last.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Panic, Self::NotAttached];

    /// The word for it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Panic => "panic",
            Self::NotAttached => "not-attached",
        }
    }
}

/// A verdict and what it is founded on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// healthy, degraded, panic or not-attached.
    pub state: Verdict,
    /// What somebody should put right, one line each, the worst first; none when healthy.
    pub reasons: Vec<String>,
    /// What is worth knowing and asks for nothing, one line each.
    pub notes: Vec<String>,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings {
    reasons: Vec<(Verdict, String)>,
    notes: Vec<String>,
}

impl Status {
    /// The verdict that follows from everything else in the document.
    #[must_use]
    pub fn judge(&self) -> Judgement {
        let Self {
            schema: _,
            verdict: _,
            agent: _,
            confinement,
            log: _,
            config,
            datapath,
            sandboxes,
            lease,
            closing,
            failovers: _,
            table_on_disk,
            journal,
            kubelet_version,
            vip_ownership,
            discovery,
            frontends,
            pools,
            listeners,
            vip,
            counters: _,
        } = self;
        let mut findings = Findings::default();
        findings.of_datapath(datapath);
        findings.of_lease(lease);
        findings.of_sandboxes(sandboxes.as_ref());
        findings.of_pools(pools);
        findings.of_frontends(frontends, pools);
        findings.of_config(config);
        findings.of_discovery(discovery, pools);
        findings.of_closing(closing);
        findings.of_ownership(vip_ownership.as_ref());
        findings.of_listeners(listeners);
        for problem in vip.iter().flat_map(|vip| &vip.problems) {
            findings.degraded(format!("vip: {problem}"));
        }
        findings.of_table(table_on_disk);
        findings.of_journal(journal);
        findings.of_confinement(confinement);
        findings.of_kubelet(kubelet_version.as_deref(), frontends);
        findings.conclude()
    }
}

impl Findings {
    fn not_attached(&mut self, line: impl Into<String>) {
        self.reasons.push((Verdict::NotAttached, line.into()));
    }

    fn panic(&mut self, line: impl Into<String>) {
        self.reasons.push((Verdict::Panic, line.into()));
    }

    fn degraded(&mut self, line: impl Into<String>) {
        self.reasons.push((Verdict::Degraded, line.into()));
    }

    fn note(&mut self, line: impl Into<String>) {
        self.notes.push(line.into());
    }

    fn conclude(self) -> Judgement {
        let Self { mut reasons, notes } = self;
        // Stable: within a verdict they stay in the order of the document.
        reasons.sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict));
        let state = reasons.first().map(|(verdict, _)| *verdict).unwrap_or_default();
        Judgement { state, reasons: reasons.into_iter().map(|(_, line)| line).collect(), notes }
    }

    fn of_datapath(&mut self, datapath: &DatapathState) {
        let DatapathState {
            directory: _,
            cgroup,
            cgroup_is_root,
            links,
            watched,
            shortcomings,
            self_test,
            reattached,
            map_writes: _,
            failed_syncs: _,
            last_sync_us: _,
            syncs: _,
            sync_lag_ms: _,
            sync_error,
        } = datapath;
        for hook in TRANSLATING {
            if !links.iter().any(|link| link.hook == hook) {
                self.not_attached(format!("{hook}: there is no link"));
            }
        }
        for Link { hook, program_id: _, problem } in links {
            match problem {
                Some(problem) if TRANSLATING.contains(&hook.as_str()) => {
                    self.not_attached(format!("{hook}: {problem}"));
                }
                Some(problem) => self.degraded(format!("{hook}: {problem}")),
                None => {}
            }
        }
        for Watched { whose, path, missing, problem } in watched {
            let Some(problem) = problem else { continue };
            let line = format!("{whose} ({}): {problem}", path.display());
            match missing.iter().any(|hook| TRANSLATING.contains(&hook.as_str())) {
                true => self.not_attached(line),
                false => self.degraded(line),
            }
        }
        let SelfTest { age_ms, failures, runs: _, failed_runs: _ } = self_test;
        failures.iter().for_each(|line| self.not_attached(format!("self-test: {line}")));
        if age_ms.is_none() {
            self.degraded("self-test: not run yet");
        }
        shortcomings.iter().for_each(|line| self.degraded(line));
        if let Some(error) = sync_error {
            self.degraded(format!("the maps are not as they should be: {error}"));
        }
        if !cgroup_is_root && shortcomings.is_empty() {
            let cgroup = cgroup.display();
            self.note(format!(
                "attached as configured to {cgroup}: sockets outside are not served"
            ));
        }
        if *reattached > 0 {
            self.note("the attachment was lost and repaired since the agent started");
        }
    }

    fn of_lease(&mut self, Lease { length_ms, remaining_ms }: &Lease) {
        // It is renewed three times per length: less than a third is left after two that failed.
        if *remaining_ms == 0 {
            self.degraded(
                "the lease has lapsed: verdicts do not count, the kernel goes by evidence",
            );
        } else if remaining_ms.saturating_mul(3) < *length_ms {
            self.degraded(
                "the lease is about to lapse: the agent does not get to renew it in time",
            );
        }
    }

    fn of_config(&mut self, config: &ConfigState) {
        let ConfigState { path: _, generation: _, age_ms: _, last_reload_error, unresolved } =
            config;
        if let Some(error) = last_reload_error {
            self.degraded(format!("the newest configuration is refused: {error}"));
        }
        unresolved.iter().for_each(|line| self.degraded(line));
    }

    fn of_discovery(&mut self, discovery: &Discovery, pools: &[Pool]) {
        let Discovery { sources, left_out, problem } = discovery;
        if let Some(problem) = problem {
            self.degraded(format!("the newest hosts are not used: {problem}"));
        }
        let backends = pools.iter().flat_map(|pool| &pool.backends);
        let heard: BTreeSet<_> = backends.flat_map(|backend| &backend.sources).collect();
        for source in sources {
            let Source {
                name,
                kind,
                watched,
                hosts,
                ignored,
                vips: _,
                changed_ms: _,
                heard_ms,
                error,
                error_age_ms: _,
            } = source;
            match error {
                // Who is near is not known; who is well is.
                Some(error) if kind == SourceKind::Node.label() => {
                    self.note(format!(
                        "{name}: {error}; until then, or node.zone, its zone is not known"
                    ));
                }
                Some(error) => self.degraded(format!("{name}: {error}")),
                None if *watched && heard_ms.is_none() => {
                    self.note(format!("{name} was not heard yet"));
                }
                None => {}
            }
            if *ignored > 0 {
                self.note(format!("{name}: {ignored} of its entries cannot be backends"));
            }
            let lists_hosts = kind != SourceKind::Pods.label();
            let is_used = heard.is_empty() || heard.contains(name) || !lists_hosts;
            if *watched && *hosts > 0 && !is_used {
                self.note(format!(
                    "{name}: no pool uses its hosts; a pool with endpoints of its own does with a port"
                ));
            }
        }
        left_out.iter().for_each(|line| self.note(line));
    }

    fn of_sandboxes(&mut self, sandboxes: Option<&Sandboxes>) {
        let Some(sandboxes) = sandboxes else { return };
        sandboxes.problems().for_each(|line| self.degraded(line));
        sandboxes.left_alone.iter().for_each(|line| self.note(format!("sandboxes: {line}")));
        for interface in sandboxes.interfaces.iter().filter(|it| it.one_way) {
            self.note(format!(
                "sandboxes: {}: answers go past our programs there, so it is left to others",
                interface.name
            ));
        }
    }

    fn of_closing(&mut self, Closing { mode, reason, unreached }: &Closing) {
        unreached.iter().for_each(|line| self.degraded(format!("not closed: {line}")));
        if let ("timeouts", Some(reason)) = (mode.as_str(), reason) {
            self.note(format!("connections to a dead backend end by timeouts only: {reason}"));
        }
    }

    fn of_listeners(&mut self, listeners: &[Listener]) {
        for Listener {
            address,
            state,
            active: _,
            relayed: _,
            loops: _,
            failed: _,
            over_limit: _,
        } in listeners
        {
            match state {
                ListenerState::Starting | ListenerState::Listening => {}
                ListenerState::OwnedByOther => self.note(format!(
                    "listener {address}: another program has the address; translation goes on"
                )),
                ListenerState::Failed(reason) => {
                    self.degraded(format!("listener {address}: {reason}"));
                }
            }
        }
    }

    fn of_table(&mut self, table: &TableOnDisk) {
        let TableOnDisk { file: _, generation: _, age_ms: _, error, used: _ } = table;
        if let Some(error) = error {
            self.degraded(error);
        }
    }

    fn of_journal(&mut self, journal: &Journal) {
        let Journal { file: _, newest: _, dropped: _, error } = journal;
        // It is for people, and nothing depends on it.
        if let Some(error) = error {
            self.note(error);
        }
    }

    fn of_confinement(&mut self, confinement: &Confinement) {
        let Confinement { capabilities: _, system_calls, problems } = confinement;
        problems.iter().for_each(|line| self.note(format!("confinement: {line}")));
        if problems.is_empty() && *system_calls == SystemCalls::Free {
            self.note("system calls are not limited, as it was told (--no-seccomp)");
        }
    }

    fn of_kubelet(&mut self, version: Option<&str>, frontends: &[Frontend]) {
        let skew = |frontend: &&Frontend| frontend.version_skew == "kubelet";
        if let (None, Some(frontend)) = (version, frontends.iter().find(skew)) {
            let name = &frontend.name;
            self.note(format!(
                "the version of this node's kubelet is not known: versionSkew of {name} has no effect"
            ));
        }
    }
}

#[cfg(test)]
mod tests;
