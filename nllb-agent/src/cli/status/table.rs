//! The status for people: the verdict, who serves, and last, where the eye ends, what somebody should put
//! right. The short form is at most 100 columns wide.

mod backends;
mod layout;
pub(in crate::cli) mod vip;

use crate::cli::paint::Paint;
use crate::status::{
    Closing, Frontend, FrontendBackend, GuestInterface, GuestState, Judgement, Listener,
    ListenerState, Sandboxes, SelfTest, Source, Status, TableOnDisk, Verdict,
};
use layout::{WIDTH, cut, grid, wrap};
use std::collections::BTreeSet;
use std::fmt::Write as _;

pub(in crate::cli) use backends::remarks;
pub(in crate::cli) use layout::{age, broken, micros, shortened};

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// What fits a screen.
    Screen,
    /// All that a person may ask for.
    Wide,
}

/// The whole text.
pub(super) fn render(status: &Status, detail: Detail, paint: Paint) -> String {
    let Judgement { state, reasons, notes } = &status.verdict;
    let line = verdict(status, WIDTH);
    let mut out = paint.word(state.label(), state.label());
    out.push_str(&line[state.label().len()..]);
    out.push('\n');
    match detail {
        Detail::Screen => {
            // Writing to a string cannot fail.
            let _head = head(&mut out, status);
            frontends(&mut out, paint, &status.frontends);
            status.pools.iter().for_each(|pool| backends::pool(&mut out, paint, pool));
            sources(&mut out, paint, &status.discovery.sources);
            status.sandboxes.iter().for_each(|it| guests(&mut out, it));
            vip::row(&mut out, paint, status);
        }
        Detail::Wide => {
            // As above.
            let _head = wide_head(&mut out, status);
            frontends(&mut out, paint, &status.frontends);
            unused(&mut out, &status.frontends);
            wishes(&mut out, status);
            status.pools.iter().for_each(|pool| backends::wide_pool(&mut out, paint, pool));
            sources(&mut out, paint, &status.discovery.sources);
            vip::row(&mut out, paint, status);
            vip::wide(&mut out, paint, status);
            listeners(&mut out, paint, &status.listeners);
            status.sandboxes.iter().for_each(|it| wide_guests(&mut out, paint, it));
        }
    }
    section(&mut out, "PROBLEMS", reasons);
    section(&mut out, "NOTES", notes);
    out
}

/// The verdict with as many of its reasons as the line has room for.
pub(in crate::cli) fn verdict(status: &Status, room: usize) -> String {
    let Judgement { state, reasons, notes: _ } = &status.verdict;
    if *state == Verdict::Healthy {
        let serving = status.backends().filter(|(_, backend)| backend.is_eligible()).count();
        let all = status.backends().count();
        let cgroup = status.datapath.cgroup.display();
        let line = format!(
            "healthy: {serving} of {all} backends may get connections, attached to {cgroup}"
        );
        return shortened(&line, room);
    }
    let mut line = format!("{}: ", state.label());
    for (index, reason) in reasons.iter().enumerate() {
        let left = reasons.len() - index;
        let more = if left > 1 { format!("; {} more", left - 1) } else { String::new() };
        let separator = if index == 0 { "" } else { "; " };
        let taken = line.chars().count() + separator.len();
        if taken + reason.chars().count() + more.len() <= room {
            line = format!("{line}{separator}{reason}");
        } else if index == 0 {
            let reason = shortened(reason, room.saturating_sub(taken + more.len()));
            return format!("{line}{reason}{more}");
        } else {
            return format!("{line}; {left} more");
        }
    }
    line
}

fn section(out: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _title = writeln!(out, "\n{title}");
    lines.iter().for_each(|line| wrap(out, line));
}

fn head(out: &mut String, status: &Status) -> std::fmt::Result {
    let Status { agent, config, datapath, lease, .. } = status;
    writeln!(
        out,
        "nllb {}, up {}; configuration {}, {} old; lease {} of {}; {}",
        agent.version,
        age(agent.uptime_ms),
        config.generation,
        age(config.age_ms),
        age(lease.remaining_ms),
        age(lease.length_ms),
        self_test(&datapath.self_test),
    )
}

fn self_test(SelfTest { age_ms, failures, runs: _, failed_runs: _ }: &SelfTest) -> String {
    match age_ms {
        Some(ms) if failures.is_empty() => format!("self-test passed {} ago", age(*ms)),
        Some(ms) => format!("self-test FAILED {} ago", age(*ms)),
        None => "self-test not run yet".to_owned(),
    }
}

fn wide_head(out: &mut String, status: &Status) -> std::fmt::Result {
    let Status { agent, log, config, datapath, lease, closing, table_on_disk, .. } = status;
    let adopted = if agent.adopted { ", took over from an earlier one" } else { "" };
    writeln!(
        out,
        "nllb {}, pid {}, up {}{adopted}",
        agent.version,
        agent.pid,
        age(agent.uptime_ms)
    )?;
    writeln!(
        out,
        "configuration  {}, generation {}, {} old",
        config.path.display(),
        config.generation,
        age(config.age_ms)
    )?;
    if let Some(ms) = log.back_in_ms {
        writeln!(out, "log            {}, {} again in {}", log.level, log.usual, age(ms))?;
    } else if log.level != log.usual {
        writeln!(out, "log            {}, usually {}", log.level, log.usual)?;
    }
    let attached = if datapath.problems().is_empty() { "attached" } else { "NOT PROVEN" };
    writeln!(
        out,
        "data path      {attached} at {}, {}, lease {}",
        datapath.cgroup.display(),
        self_test(&datapath.self_test),
        age(lease.remaining_ms)
    )?;
    let Closing { mode, reason, unreached: _ } = closing;
    let how = match (mode.as_str(), reason) {
        ("sock-diag", _) => "connections to a dead backend are closed".to_owned(),
        ("timeouts", Some(reason)) => format!("by timeouts only ({reason})"),
        ("off", _) => {
            "off, except that without an agent the kernel ends those with unanswered data"
                .to_owned()
        }
        (mode, _) => mode.to_owned(),
    };
    writeln!(out, "closing        {how}")?;
    let TableOnDisk { file, age_ms, .. } = table_on_disk;
    match (file, age_ms) {
        (Some(file), Some(ms)) => {
            writeln!(out, "table on disk  {}, written {} ago", file.display(), age(*ms))
        }
        (Some(file), None) => writeln!(out, "table on disk  {}, not written yet", file.display()),
        (None, _) => writeln!(out, "table on disk  none is kept"),
    }
}

fn frontends(out: &mut String, paint: Paint, frontends: &[Frontend]) {
    let mut rows =
        vec![["FRONTEND", "KIND", "ADDRESS", "POOL", "POLICY", "BACKENDS"].map(str::to_owned)];
    for frontend in frontends {
        let Frontend { name, kind, protocol, addresses, pool, policy, backends, .. } = frontend;
        let used = backends.iter().filter(|backend| backend.used).count();
        let count = format!("{used} of {}", backends.len());
        for (index, address) in addresses.iter().enumerate() {
            let first = |text: &str| {
                if index == 0 { text.to_owned() } else { String::new() }
            };
            rows.push([
                first(name),
                first(kind),
                match protocol.as_str() {
                    "tcp" => address.to_string(),
                    other => format!("{address}/{other}"),
                },
                first(pool),
                first(policy),
                first(&count),
            ]);
        }
    }
    out.push('\n');
    grid(out, paint, &rows);
}

/// Which backends are not used for which frontend, and why.
fn unused(out: &mut String, frontends: &[Frontend]) {
    for frontend in frontends {
        for FrontendBackend { address, used: _, reason, about: _ } in &frontend.backends {
            if let Some(reason) = reason {
                // All names of a certificate are in the document; a screen is for people.
                cut(out, &format!("{} {address}: {reason}", frontend.name));
            }
        }
    }
}

/// What a frontend wants of its backends' certificates and versions, where that is not the usual.
fn wishes(out: &mut String, status: &Status) {
    let mut told = BTreeSet::new();
    for frontend in &status.frontends {
        let Frontend { name, version_skew, min_version, checks_certificates, .. } = frontend;
        // A node-address frontend stands there once per address.
        if !told.insert(name) {
            continue;
        }
        if !checks_certificates {
            wrap(out, &format!("{name} looks at no certificate"));
        }
        if let Some(version) = min_version {
            wrap(out, &format!("{name} wants backends of version {version} or newer"));
        }
        let wants = match (version_skew.as_str(), &status.kubelet_version) {
            ("prefer-newest", _) => "the newest backends".to_owned(),
            ("kubelet", Some(version)) => {
                format!("backends not older than this node's kubelet, {version}")
            }
            ("kubelet", None) => "backends not older than this node's kubelet, whose version is \
                 not known: this has no effect"
                .to_owned(),
            _ => continue,
        };
        wrap(out, &format!("{name} wants {wants}"));
    }
}

/// The sources that are heard; without any the backends are those of the configuration.
fn sources(out: &mut String, paint: Paint, sources: &[Source]) {
    let watched: Vec<&Source> = sources.iter().filter(|source| source.watched).collect();
    if watched.is_empty() {
        return;
    }
    let mut rows = vec![["SOURCE", "HOSTS", "HEARD", "CHANGED", "STATE"].map(str::to_owned)];
    for Source { name, hosts, heard_ms, changed_ms, error, .. } in watched {
        let ago = |ms: &Option<u64>| ms.map_or("never".to_owned(), |ms| format!("{} ago", age(ms)));
        let state = if error.is_some() { "failing" } else { "good" };
        let state = if error.is_none() && heard_ms.is_none() { "asked" } else { state };
        rows.push([
            name.clone(),
            hosts.to_string(),
            ago(heard_ms),
            ago(changed_ms),
            state.to_owned(),
        ]);
    }
    out.push('\n');
    grid(out, paint, &rows);
}

/// How many interfaces of guests are in which state, in one line.
fn guests(out: &mut String, Sandboxes { interfaces, .. }: &Sandboxes) {
    let count = |state: GuestState| interfaces.iter().filter(|it| it.state() == state).count();
    let [served, one_way, failed] = GuestState::ALL.map(count);
    let also = [(one_way, "one-way"), (failed, "failed")].into_iter();
    let also = also.filter(|(count, _)| *count > 0);
    let also: String = also.map(|(count, word)| format!(", {count} {word}")).collect();
    // Writing to a string cannot fail.
    let plural = if served == 1 { "" } else { "s" };
    let _line = writeln!(out, "\nguests served on {served} interface{plural}{also}");
}

fn wide_guests(out: &mut String, paint: Paint, sandboxes: &Sandboxes) {
    let mut rows = vec![
        ["GUESTS ON", "CHOSEN BY", "STATE", "FLOWS", "ATTACHED BY", "PROGRAMS"].map(str::to_owned),
    ];
    for interface in &sandboxes.interfaces {
        let GuestInterface { name, chosen_by, attached_by, program_ids, translated, .. } =
            interface;
        let ids: Vec<_> = program_ids.iter().map(u32::to_string).collect();
        rows.push([
            name.clone(),
            chosen_by.clone(),
            interface.state().label().to_owned(),
            translated.to_string(),
            attached_by.clone().unwrap_or_else(|| "-".to_owned()),
            ids.join(", "),
        ]);
    }
    out.push('\n');
    grid(out, paint, &rows);
}

fn listeners(out: &mut String, paint: Paint, listeners: &[Listener]) {
    if listeners.is_empty() {
        return;
    }
    let mut rows = vec![["LISTENER", "STATE", "ACTIVE", "RELAYED", "FAILED"].map(str::to_owned)];
    for listener in listeners {
        let Listener { address, state, active, relayed, loops, failed, over_limit } = listener;
        let state = match state {
            ListenerState::Starting => "starting",
            ListenerState::Listening => "listening",
            ListenerState::OwnedByOther => "owned by another program, translation goes on",
            ListenerState::Failed(_) => "failed",
        };
        rows.push([
            address.to_string(),
            state.to_owned(),
            active.to_string(),
            relayed.to_string(),
            (failed + loops + over_limit).to_string(),
        ]);
    }
    out.push('\n');
    grid(out, paint, &rows);
}

#[cfg(test)]
mod tests;
