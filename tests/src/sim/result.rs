//! What a run showed, in figures, and whether the goals are met.

use serde_json::{Value, json};

use super::measure::{Counts, Kind, second};
use super::scenario::{AFTER, BEGIN, SETTLED, Scenario, Script};
use super::timeline::{S, Time};

/// Most probes that a backend may get in a second, whatever happens.
const MOST_PROBES: u32 = 1500;
/// Most that the imbalance may be [`AFTER`] the last return.
const MOST_IMBALANCE: f64 = 0.10;
/// Most that a server which returned may get of new connections, as a multiple of its calm rate: every
/// connect of every node, and what rebalancing adds.
const MOST_HERD: f64 = 2.0;

/// Both ways in which a probe meets a server.
pub(super) const PROBES: [Kind; 2] = [Kind::Fresh, Kind::Kept];
/// What a server pays a TLS handshake for.
const HANDSHAKES: [Kind; 2] = [Kind::Fresh, Kind::Opens];

/// A run and its figures.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) scenario: Scenario,
    pub(super) backends: usize,
    pub(super) nodes: usize,
    pub(super) counts: Counts,
    pub(super) script: Script,
    pub(super) events: u64,
    pub(super) wall_seconds: f64,
}

/// The figures.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) probes_calm: f64,
    pub(super) probes_peak: u32,
    /// Together with those that met nobody.
    pub(super) attempts_peak: u32,
    pub(super) pings_calm: f64,
    pub(super) pings_peak: u32,
    pub(super) connects_calm: f64,
    /// On a server from its return until something else happens, over ten seconds.
    pub(super) connects_return: f64,
    pub(super) handshakes_calm: f64,
    pub(super) handshakes_return: u32,
    pub(super) imbalance_peak: f64,
    pub(super) imbalance_end: f64,
    pub(super) failures: u64,
}

impl Run {
    pub(super) fn figures(&self) -> Figures {
        let Self { counts, script, .. } = self;
        let all: Vec<usize> = (0..counts.backends()).collect();
        let calm = |kinds: &[Kind]| counts.mean(0, kinds, SETTLED, BEGIN);
        let peak = |kinds: &[Kind]| counts.peak(&all, kinds, SETTLED, script.end);
        let mut connects_return: f64 = 0.0;
        let mut handshakes_return = 0;
        for (server, at) in &script.returns {
            let to = script.undisturbed_after(*at).min(at + AFTER);
            let mut from = *at;
            while from + 10 * S <= to {
                let mean = counts.mean(*server, &[Kind::Connects], from, from + 10 * S);
                connects_return = connects_return.max(mean);
                from += S;
            }
            handshakes_return =
                handshakes_return.max(counts.peak(&[*server], &HANDSHAKES, *at, to));
        }
        let imbalance = counts.imbalance();
        let settled = &imbalance[second(SETTLED).min(imbalance.len())..];
        let failures = |server: &usize| -> u64 {
            counts.rate(*server, &[Kind::Failures]).iter().map(|count| u64::from(*count)).sum()
        };
        Figures {
            probes_calm: calm(&PROBES),
            probes_peak: peak(&PROBES),
            attempts_peak: peak(&[Kind::Fresh, Kind::Kept, Kind::Lost]),
            pings_calm: calm(&[Kind::Pings]),
            pings_peak: peak(&[Kind::Pings]),
            connects_calm: calm(&[Kind::Connects]),
            connects_return,
            handshakes_calm: calm(&HANDSHAKES),
            handshakes_return,
            imbalance_peak: settled.iter().copied().fold(0.0, f64::max),
            imbalance_end: imbalance.last().copied().unwrap_or(0.0),
            failures: all.iter().map(failures).sum(),
        }
    }

    /// What is not as it should be.
    pub(super) fn misses(&self) -> Vec<String> {
        let figures = self.figures();
        let mut misses = Vec::new();
        if figures.probes_peak > MOST_PROBES {
            let peak = figures.probes_peak;
            misses
                .push(format!("{peak} probes in a second at one backend, more than {MOST_PROBES}"));
        }
        if self.script.rebalance && figures.imbalance_end > MOST_IMBALANCE {
            misses.push(format!(
                "{:.1} % imbalance {} s after the last return, more than {:.0} %",
                figures.imbalance_end * 100.0,
                AFTER / S,
                MOST_IMBALANCE * 100.0
            ));
        }
        let most = figures.connects_calm * self.most_herd();
        if figures.connects_return > most {
            misses.push(format!(
                "a second herd: {:.0} new connections/s at a server that returned, more than {most:.0}",
                figures.connects_return
            ));
        }
        misses
    }

    /// Leaning may send every new connection to the server that returned; else it has its share.
    fn most_herd(&self) -> f64 {
        let backends = u32::try_from(self.backends).map_or(1.0, f64::from);
        if self.script.rebalance { backends + MOST_HERD } else { MOST_HERD }
    }

    pub(super) fn json(&self) -> Value {
        let Self { scenario, backends, nodes, counts, script, events, wall_seconds } = self;
        let Figures {
            probes_calm,
            probes_peak,
            attempts_peak,
            pings_calm,
            pings_peak,
            connects_calm,
            connects_return,
            handshakes_calm,
            handshakes_return,
            imbalance_peak,
            imbalance_end,
            failures,
        } = self.figures();
        json!({
            "scenario": scenario.name(),
            "backends": backends,
            "nodes": nodes,
            "rebalance": script.rebalance,
            "virtual_seconds": seconds(script.end),
            "wall_seconds": round(*wall_seconds, 1),
            "events": events,
            "probes_per_second_per_backend": {
                "calm": round(probes_calm, 1), "peak": probes_peak,
                "peak_with_those_that_met_nobody": attempts_peak,
            },
            "pings_per_second_per_backend": { "calm": round(pings_calm, 1), "peak": pings_peak },
            "at_return": {
                "new_connections_per_second": round(connects_return, 1),
                "new_connections_per_second_calm": round(connects_calm, 1),
                "tls_handshakes_per_second": handshakes_return,
                "tls_handshakes_per_second_calm": round(handshakes_calm, 1),
            },
            "imbalance": {
                "peak": round(imbalance_peak, 4), "end": round(imbalance_end, 4),
                "by_second": counts.imbalance().iter().map(|x| round(*x, 3)).collect::<Vec<_>>(),
            },
            "connects_failed": failures,
            "closed": { "dead": counts.closed_dead, "rebalance": counts.closed_rebalance },
            "transitions": counts.transitions,
            "misses": self.misses(),
        })
    }
}

fn seconds(time: Time) -> u64 {
    time / S
}

fn round(number: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (number * scale).round() / scale
}

/// The figures of several runs, for people.
pub(super) fn table(runs: &[Run]) -> String {
    let mut rows = vec![
        [
            "scenario",
            "backends",
            "probes/s",
            "",
            "pings/s",
            "",
            "new conn/s",
            "",
            "TLS/s",
            "",
            "imbalance",
            "",
            "closed",
            "",
        ]
        .map(String::from),
        [
            "", "", "calm", "peak", "calm", "peak", "calm", "return", "calm", "return", "peak",
            "end", "dead", "rebal.",
        ]
        .map(String::from),
    ];
    for run in runs {
        let figures = run.figures();
        let whole = |number: f64| format!("{number:.0}");
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        rows.push([
            run.scenario.name().to_owned(),
            run.backends.to_string(),
            whole(figures.probes_calm),
            figures.probes_peak.to_string(),
            whole(figures.pings_calm),
            figures.pings_peak.to_string(),
            whole(figures.connects_calm),
            whole(figures.connects_return),
            whole(figures.handshakes_calm),
            figures.handshakes_return.to_string(),
            percent(figures.imbalance_peak),
            percent(figures.imbalance_end),
            run.counts.closed_dead.to_string(),
            run.counts.closed_rebalance.to_string(),
        ]);
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column == 0 {
                text += &format!("{cell:<width$}");
            } else {
                text += &format!("  {cell:>width$}");
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    for run in runs {
        for miss in run.misses() {
            text +=
                &format!("missed: {}, {} backends: {miss}\n", run.scenario.name(), run.backends);
        }
    }
    text
}
