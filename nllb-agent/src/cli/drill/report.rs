//! What a drill tells: a document with a version of its own, and its verdict.

use super::beyond::Beyond;
use crate::config::show_duration;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Version of the document: counted up when a field goes or changes its meaning, not when one is added.
pub(super) const SCHEMA: u32 = 1;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// No client was without a connection for longer than the SLA.
    Passed,
    /// One was.
    AboveSla,
    /// It did not go on to its end.
    Aborted,
}

impl Verdict {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::AboveSla => "above the SLA",
            Self::Aborted => "aborted",
        }
    }
}

/// The document.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) schema: u32,
    pub(super) verdict: Verdict,
    /// Why it is not passed, a line each.
    pub(super) reasons: Vec<String>,
    /// What it did besides to clients that have no socket on this node, a line each.
    pub(super) notes: Vec<String>,
    /// [`nllb_core::Drill::label`].
    pub(super) mode: &'static str,
    pub(super) pool: String,
    /// Unix time.
    pub(super) started_ms: i64,
    /// How long each backend was to be out of service.
    pub(super) for_ms: u64,
    pub(super) sla_ms: u64,
    pub(super) backends: Vec<Backend>,
}

/// What the loss of one backend came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Backend {
    pub(super) backend: SocketAddr,
    pub(super) verdict: Verdict,
    /// The frontend's address that was dialled.
    pub(super) through: SocketAddr,
    /// From the order to the one that took it back.
    pub(super) out_ms: u64,
    /// New connects of the drill's own, from the order until the backend was back.
    pub(super) connects: Connects,
    /// Connections of the drill's own that were open to it; `None` when the drill closes none.
    pub(super) own: Option<Own>,
    /// Connections of others.
    pub(super) clients: Clients,
    /// Clients that have no socket on this node.
    pub(super) beyond: Beyond,
    /// From the end of the drill until it was in service again; `None` when it was not seen so.
    pub(super) back_ms: Option<u64>,
    /// What else the agent said.
    pub(super) note: Option<String>,
}

/// New connects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connects {
    pub(super) total: u64,
    pub(super) failed: u64,
    /// The same by cause.
    pub(super) failures: BTreeMap<String, u64>,
    /// The longest time without a connect, between two good ones with a failure or a wait in between.
    pub(super) blackout_us: u64,
    /// The slowest good one.
    pub(super) slowest_us: u64,
    /// The slowest good one before the order.
    pub(super) slowest_before_us: u64,
    /// How long after the order the last one began that went to the backend all the same.
    pub(super) last_to_it_us: Option<u64>,
}

/// Open connections of the drill's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Own {
    pub(super) open: u64,
    pub(super) ended: u64,
    pub(super) reopened: u64,
    /// From the order until the last one was reopened.
    pub(super) longest_us: Option<u64>,
}

/// Translated connections of others on this node, from the agent's document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Clients {
    /// Open to the backend before the order.
    pub(super) on_it: u64,
    /// Open to its pool before the order.
    pub(super) before: u64,
    /// Open to its pool when it was over.
    pub(super) after: u64,
    /// Those to the backend that the agent closed.
    pub(super) closed: u64,
    /// From the order until as many as before were open again; `None` when none was closed, or not all came back.
    pub(super) reopened_ms: Option<u64>,
}

impl Backend {
    /// What took longer than the SLA, a line each.
    pub(super) fn faults(&self, sla: Duration) -> Vec<String> {
        let Connects { total, failed, blackout_us, last_to_it_us, .. } = self.connects;
        let over = |us: &u64| Duration::from_micros(*us) > sla;
        let limit = show_duration(sla);
        let mut faults = Vec::new();
        if total == failed {
            faults.push(format!("none of {total} connects came to an end"));
        } else if over(&blackout_us) {
            faults.push(format!("{} without a connect, the SLA is {limit}", time(blackout_us)));
        }
        if let Some(us) = last_to_it_us.filter(over) {
            faults.push(format!("it still got a connect {} after the order", time(us)));
        }
        // Where the agent cannot close connections it says so, and nothing can be learnt from those.
        if let Some(own) = self.own.as_ref().filter(|_| self.note.is_none()) {
            if own.reopened < own.open {
                let missing = own.open - own.reopened;
                faults.push(format!("{missing} of {} own connections were not reopened", own.open));
            }
            if let Some(us) = own.longest_us.filter(over) {
                let time = time(us);
                faults.push(format!(
                    "an own connection was reopened after {time}, the SLA is {limit}"
                ));
            }
        }
        let of = self.backend;
        faults.into_iter().map(|fault| format!("{of}: {fault}")).collect()
    }
}

impl Report {
    /// It ends here.
    pub(super) fn abort(&mut self, reason: String) {
        self.verdict = Verdict::Aborted;
        self.reasons.push(reason);
    }

    /// Holds every backend that went through it against the SLA.
    pub(super) fn judge(&mut self) {
        let sla = Duration::from_millis(self.sla_ms);
        for backend in self.backends.iter_mut().filter(|one| one.verdict != Verdict::Aborted) {
            let faults = backend.faults(sla);
            if faults.is_empty() {
                continue;
            }
            backend.verdict = Verdict::AboveSla;
            self.reasons.extend(faults);
            if self.verdict == Verdict::Passed {
                self.verdict = Verdict::AboveSla;
            }
        }
    }
}

/// A time for people.
pub(super) fn time(us: u64) -> String {
    match us {
        0 => "0 ms".to_owned(),
        1..10_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        10_000..1_000_000 => format!("{} ms", us / 1000),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use nllb_core::Drill;
    use std::path::Path;

    /// A blackhole of two backends: the first went well, the second did not.
    pub(in super::super) fn report() -> Report {
        let good = Backend {
            backend: ([10, 0, 0, 11], 6443).into(),
            verdict: Verdict::Passed,
            through: ([10, 96, 0, 1], 443).into(),
            out_ms: 5003,
            connects: Connects {
                total: 262,
                slowest_us: 1900,
                slowest_before_us: 800,
                ..Connects::default()
            },
            own: Some(Own { open: 4, ended: 4, reopened: 4, longest_us: Some(7400) }),
            clients: Clients {
                on_it: 13,
                before: 40,
                after: 41,
                closed: 13,
                reopened_ms: Some(104),
            },
            beyond: Beyond { guests_reset: Some(2), vip_left: Some(false) },
            back_ms: Some(2),
            note: None,
        };
        let bad = Backend {
            backend: ([10, 0, 0, 12], 6443).into(),
            connects: Connects {
                total: 170,
                failed: 3,
                failures: [("timed out".to_owned(), 2), ("connection refused".to_owned(), 1)]
                    .into(),
                blackout_us: 2_345_678,
                last_to_it_us: Some(12_000),
                ..good.connects.clone()
            },
            own: Some(Own { open: 4, ended: 4, reopened: 3, longest_us: Some(3_100_000) }),
            clients: Clients { reopened_ms: None, after: 39, ..good.clients.clone() },
            ..good.clone()
        };
        let mut report = Report {
            schema: SCHEMA,
            verdict: Verdict::Passed,
            reasons: Vec::new(),
            notes: vec!["connections of sandboxed pods to it are reset".to_owned()],
            mode: Drill::Blackhole.label(),
            pool: "apiserver".to_owned(),
            started_ms: 1_790_000_000_000,
            for_ms: 5000,
            sla_ms: 2000,
            backends: vec![good, bad],
        };
        report.judge();
        report
    }

    pub(in super::super) fn golden(name: &str, text: &str) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/drill").join(name);
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&file, text).expect("writable");
        }
        assert_eq!(text, std::fs::read_to_string(&file).expect("readable"));
    }

    /// `UPDATE_EXPECTED=1` writes it anew. A field that goes or means something else asks for another
    /// [`SCHEMA`], since programs read this.
    #[test]
    fn the_document_is_as_it_was() {
        let text = serde_json::to_string_pretty(&report()).expect("JSON") + "\n";
        golden("report.json", &text);
    }

    #[test]
    fn what_takes_longer_than_the_sla_is_named() {
        let mut report = report();
        assert_eq!(report.verdict, Verdict::AboveSla);
        let verdicts: Vec<_> = report.backends.iter().map(|one| one.verdict).collect();
        assert_eq!(verdicts, [Verdict::Passed, Verdict::AboveSla]);
        assert_eq!(report.reasons.len(), 3, "{:?}", report.reasons);
        let backend = &mut report.backends[1];
        assert_eq!(backend.faults(Duration::from_secs(4)).len(), 1, "one was not reopened");
        backend.note = Some("the agent closes nothing".to_owned());
        assert_eq!(backend.faults(Duration::from_secs(4)), Vec::<String>::new());
        assert_eq!(backend.faults(Duration::from_millis(11)).len(), 2);
        backend.connects = Connects { total: 9, failed: 9, ..Connects::default() };
        assert_eq!(backend.faults(Duration::from_secs(60)).len(), 1, "nothing ever worked");
    }

    #[test]
    fn what_was_aborted_stays_so() {
        let mut report = report();
        report.abort("SIGINT".to_owned());
        report.judge();
        assert_eq!(report.verdict, Verdict::Aborted);
    }

    #[test]
    fn times_have_three_digits_at_most_until_they_are_seconds() {
        let shown = [0, 40, 9_990, 10_000, 999_999, 1_000_000, 12_345_678].map(time);
        assert_eq!(shown, ["0 ms", "0.0 ms", "9.9 ms", "10 ms", "999 ms", "1.0 s", "12.3 s"]);
    }
}
