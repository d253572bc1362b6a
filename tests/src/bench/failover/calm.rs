//! What the agent costs while nothing happens.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::rig::{Rig, calm};
use crate::apiserver::Stats;
use crate::usage::{cpu, rss_mib};

/// How long it is looked at: as long as the longest of the agent's intervals, so that what it does once in
/// that time is counted as often as it happens.
const PERIOD: Duration = Duration::from_secs(60);
const PROBED_PATH: &str = "/readyz";

/// The agent at rest.
pub(super) struct Agent {
    pub(super) rss_mib: f64,
    pub(super) cpu_percent_idle: f64,
    /// Of the backend that has most.
    pub(super) readyz_per_second: f64,
    /// As above.
    pub(super) pings_per_second: f64,
}

/// Looks at a fresh agent of three backends, on a node where nobody connects.
pub(super) fn measure(rig: &mut Rig) -> Result<Agent> {
    rig.settle()?;
    calm(0);
    eprintln!("nllb-lab: the agent at rest, {} s", PERIOD.as_secs());
    let id = rig.agent().and_then(crate::agent::Agent::id).context("the agent does not run")?;
    let stats = || rig.servers().iter().map(|s| s.stats()).collect::<Result<Vec<_>>>();
    let (begun, stats_before, cpu_before) = (Instant::now(), stats()?, cpu(id)?);
    // reason: nothing shall happen.
    sleep(PERIOD);
    let (stats_after, cpu_after) = (stats()?, cpu(id)?);
    let seconds = begun.elapsed().as_secs_f64();
    let most = |count: fn(&Stats) -> u64| {
        let before = stats_before.iter().map(count);
        let each = stats_after.iter().map(count).zip(before).map(|(after, before)| after - before);
        per_second(each.max().unwrap_or(0), seconds)
    };
    Ok(Agent {
        rss_mib: rss_mib(id)?,
        cpu_percent_idle: (cpu_after - cpu_before).as_secs_f64() / seconds * 100.0,
        readyz_per_second: most(|stats| stats.requests.get(PROBED_PATH).copied().unwrap_or(0)),
        pings_per_second: most(|stats| stats.pings),
    })
}

impl Agent {
    pub(super) fn json(&self) -> Value {
        let digits = |number: f64| (number * 1000.0).round() / 1000.0;
        json!({
            "rss_mib": digits(self.rss_mib),
            "cpu_percent_idle": digits(self.cpu_percent_idle),
            "probes_per_second_per_backend": {
                "readyz": digits(self.readyz_per_second),
                "pings": digits(self.pings_per_second),
            },
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of a minute")]
fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}
