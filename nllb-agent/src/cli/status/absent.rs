//! What goes on while no agent answers. A data path outlives its agent, so the first question is whether
//! connects are still translated.

use super::{AskError, Failure};
use crate::datapath::attach::{Hook, standing};
use crate::datapath::maps::{KernelMaps, Maps, MapsError};
use crate::datapath::{monotonic_ns, pin_directory};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// The failure, and what becomes of connects meanwhile where no agent is there.
pub(super) fn explained(error: AskError, bpffs: &Path) -> Failure {
    let is_absence = error.is_absence();
    let Failure { exit, line } = error.into();
    if !is_absence {
        return Failure { exit, line };
    }
    Failure { exit, line: format!("{line}\n{}", meanwhile(&pin_directory(bpffs))) }
}

fn meanwhile(directory: &Path) -> String {
    let place = directory.display();
    match directory.try_exists() {
        Ok(true) => {}
        Ok(false) => {
            return format!(
                "connects are not translated: there is no data path in {place} (--bpffs names another \
                 directory)\nstart the agent: systemctl start nllb, or its pod"
            );
        }
        Err(error) => {
            return format!(
                "whether connects are still translated only root can see: {place}: {error}"
            );
        }
    }
    let hooks = standing(directory);
    let missing: Vec<_> = [Hook::Connect4, Hook::Connect6]
        .into_iter()
        .filter(|hook| !hooks.contains(hook))
        .map(Hook::label)
        .collect();
    if !missing.is_empty() {
        return format!(
            "connects are not translated: {} is not attached, though maps are in {place}\n\
             start the agent, which attaches it again: systemctl start nllb, or its pod",
            missing.join(" and ")
        );
    }
    match KernelMaps::open(directory).and_then(|maps| held(&maps)) {
        Ok(Held { frontends, backends, lease }) => format!(
            "connects are still translated by the data path in {place}: addresses {frontends}, backends \
             {backends}\n{lease}\nnobody probes, and hosts that come or go are not seen: start the agent \
             (systemctl start nllb, or its pod)"
        ),
        Err(error) => format!("the data path in {place} is attached and cannot be read: {error}"),
    }
}

/// What the maps hold.
struct Held {
    /// Addresses of frontends: the maps know no names.
    frontends: usize,
    backends: usize,
    lease: String,
}

fn held(maps: &impl Maps) -> Result<Held, MapsError> {
    let frontends: BTreeSet<_> =
        maps.frontends()?.iter().map(|(key, _)| (key.addr(), key.port())).collect();
    let pools = maps.pools()?;
    let slots = pools.iter().flat_map(|(_, pool)| pool.iter());
    let backends: BTreeSet<_> = slots.map(|slot| slot.backend).collect();
    let (until, now) = (maps.control()?.lease_until_ns, monotonic_ns());
    let lease = match until.checked_sub(now) {
        Some(left) => {
            let left = Duration::from_nanos(left).as_secs_f64();
            format!("its verdicts hold for another {left:.1} s, then the kernel goes by evidence")
        }
        None => {
            "its verdicts have lapsed: the kernel goes by evidence, so a failed connect is what \
                 de-prefers a backend"
                .to_owned()
        }
    };
    Ok(Held { frontends: frontends.len(), backends: backends.len(), lease })
}
