//! An entry as a line for people: when, what, of whom, and the rest in words.

use crate::journal::{AttachState, ConfigOutcome, Entry, What};
use chrono::{DateTime, SecondsFormat};
use serde_json::Value;
use std::fmt::Display;

/// The line. One of a kind that is not known is shown as it came.
pub(super) fn of(time_ms: i64, word: &str, entry: Option<&Entry>, value: &Value) -> String {
    let time = DateTime::from_timestamp_millis(time_ms).unwrap_or_default();
    let time = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let (whose, text) = words(entry, value);
    format!("{time}  {word:<13}  {whose:<21}  {text}").trim_end().to_owned()
}

/// Of whom it tells, and what.
pub(super) fn words(entry: Option<&Entry>, value: &Value) -> (String, String) {
    entry.map_or_else(|| (String::new(), value.to_string()), |entry| sentence(&entry.what))
}

fn sentence(what: &What) -> (String, String) {
    match what {
        What::Transition { pool: _, backend, from, to, reason, duration_ms } => {
            let lasted = after(" (", *duration_ms, &format!(" {from})"));
            (backend.to_string(), format!("{from} to {to}: {reason}{lasted}"))
        }
        What::Failover { pool, backend, reason, remaining, duration_ms } => {
            let sign = after(", ", *duration_ms, " after the first sign");
            (backend.to_string(), format!("left {pool}, {remaining} in service: {reason}{sign}"))
        }
        What::Recovered { pool, backend, reason, duration_ms } => {
            let out = after(", ", *duration_ms, " out");
            (backend.to_string(), format!("in service of {pool} again: {reason}{out}"))
        }
        What::Closed { backend, cause, reason, sockets, duration_ms } => {
            let took = after(", ", Some(*duration_ms), "");
            let plural = if *sockets == 1 { "" } else { "s" };
            let text = format!("{sockets} connection{plural} ended, {cause}: {reason}{took}");
            (backend.to_string(), text)
        }
        What::Attach { state, reason, duration_ms } => {
            let word = match state {
                AttachState::Lost => "lost",
                AttachState::Repaired => "repaired",
            };
            let was = after(" after ", *duration_ms, "");
            (String::new(), format!("{word}{was}{}", because(reason.as_ref())))
        }
        What::Config { outcome, reason } => {
            let word = match outcome {
                ConfigOutcome::Applied => "applied",
                ConfigOutcome::Refused => "refused",
            };
            (String::new(), format!("{word}{}", because(reason.as_ref())))
        }
        What::Drain { backend, close_after_ms, forced } => {
            let stay = "connections stay".to_owned();
            let close =
                close_after_ms.map(|ms| format!("connections are closed after {}", age(ms)));
            let forced = if *forced { ", forced" } else { "" };
            (backend.to_string(), format!("{}{forced}", close.unwrap_or(stay)))
        }
        What::Undrain { backend } => (backend.to_string(), String::new()),
        What::Drill { backend, mode, lease_ms } => {
            let lease = age(*lease_ms);
            (backend.to_string(), format!("{mode}: out of service for {lease} unless renewed"))
        }
        What::DrillOver { backend, mode, reason, duration_ms } => (
            backend.to_string(),
            format!("{mode}: {reason}{}", after(", ", Some(*duration_ms), "")),
        ),
        What::PanicEntered { pool, reason } => {
            (pool.clone(), format!("no backend is in service: {reason}"))
        }
        What::PanicLeft { pool, backend, duration_ms } => {
            let lasted = after(" after ", *duration_ms, "");
            (pool.clone(), format!("{backend} is in service{lasted}"))
        }
        What::Lease { duration_ms } => {
            let text = format!("had lapsed for {}; no agent renewed it", age(*duration_ms));
            (String::new(), text)
        }
        What::Vip { vip, change, reason } => (vip.clone(), format!("{}: {reason}", change.label())),
        What::Started { version, adopted, pid } => {
            let adopted = if *adopted { ", took over from an earlier one" } else { "" };
            (String::new(), format!("nllb {version}, pid {pid}{adopted}"))
        }
        What::Stopped { reason, duration_ms } => {
            (String::new(), format!("{reason}, ran {}", age(*duration_ms)))
        }
        What::Members { pool, joined, left, reason } => {
            let list = |word: &str, who: &[std::net::SocketAddr]| {
                let who: Vec<_> = who.iter().map(ToString::to_string).collect();
                (!who.is_empty()).then(|| format!("{word} {}", who.join(", ")))
            };
            let parts: Vec<_> =
                list("joined", joined).into_iter().chain(list("left", left)).collect();
            (pool.clone(), format!("{}: {reason}", parts.join("; ")))
        }
    }
}

fn because(reason: Option<&impl Display>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// The time with words around it; nothing when it is not known.
fn after(before: &str, ms: Option<u64>, behind: &str) -> String {
    ms.map(|ms| format!("{before}{}{behind}", age(ms))).unwrap_or_default()
}

/// A time in two units at most.
fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{seconds}.{}s", ms % 1000 / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_two_units_at_most() {
        let shown = [0, 999, 1000, 59_999, 60_000, 3_599_000, 3_600_000, 90_000_000].map(age);
        assert_eq!(shown, ["0ms", "999ms", "1.0s", "59.9s", "1m00s", "59m59s", "1h00m", "1d01h"]);
    }
}
