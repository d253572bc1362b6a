//! The status for people: fits 100 columns, most important first, problems last where the eye ends.

mod backends;

use crate::status::{
    Closing, Discovery, Frontend, FrontendBackend, Listener, ListenerState, Source, Status,
    TableOnDisk,
};
use std::collections::BTreeSet;
use std::fmt::Write as _;

const WIDTH: usize = 100;

/// The whole text.
pub(super) fn render(status: &Status) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _head = head(&mut out, status);
    frontends(&mut out, &status.frontends);
    wishes(&mut out, status);
    status.pools.iter().for_each(|pool| backends::pool(&mut out, pool));
    sources(&mut out, &status.discovery.sources);
    listeners(&mut out, &status.listeners);
    problems(&mut out, status);
    out
}

fn head(out: &mut String, status: &Status) -> std::fmt::Result {
    let Status { agent, config, datapath, lease, closing, table_on_disk, .. } = status;
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
    let attached = if datapath.problems().is_empty() { "attached" } else { "NOT PROVEN" };
    let test = match datapath.self_test.age_ms {
        Some(ms) if datapath.self_test.failures.is_empty() => format!("passed {} ago", age(ms)),
        Some(ms) => format!("FAILED {} ago", age(ms)),
        None => "not run yet".to_owned(),
    };
    writeln!(
        out,
        "data path      {attached} at {}, self-test {test}, lease {}",
        datapath.cgroup.display(),
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

fn frontends(out: &mut String, frontends: &[Frontend]) {
    let mut rows =
        vec![["FRONTEND", "KIND", "ADDRESS", "POOL", "POLICY", "BACKENDS"].map(str::to_owned)];
    for frontend in frontends {
        let Frontend { name, kind, addresses, pool, policy, backends, .. } = frontend;
        let used = backends.iter().filter(|backend| backend.used).count();
        let count = format!("{used} of {}", backends.len());
        for (index, address) in addresses.iter().enumerate() {
            let first = |text: &str| {
                if index == 0 { text.to_owned() } else { String::new() }
            };
            rows.push([
                first(name),
                first(kind),
                address.to_string(),
                first(pool),
                first(policy),
                first(&count),
            ]);
        }
    }
    out.push('\n');
    grid(out, &rows);
    for frontend in frontends {
        for FrontendBackend { address, used: _, reason } in &frontend.backends {
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
fn sources(out: &mut String, sources: &[Source]) {
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
    grid(out, &rows);
}

fn listeners(out: &mut String, listeners: &[Listener]) {
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
    grid(out, &rows);
}

fn problems(out: &mut String, status: &Status) {
    let mut lines = status.datapath.problems();
    if let Some(error) = &status.config.last_reload_error {
        lines.push(format!("the newest configuration is refused: {error}"));
    }
    lines.extend(status.config.unresolved.iter().cloned());
    lines.extend(status.table_on_disk.error.clone());
    let Discovery { sources, left_out, problem } = &status.discovery;
    for Source { name, error, error_age_ms, ignored, .. } in sources {
        if let Some(error) = error {
            lines.push(format!("{name}, for {}: {error}", age(error_age_ms.unwrap_or_default())));
        }
        if *ignored > 0 {
            lines.push(format!("{name}: {ignored} of its entries cannot be backends"));
        }
    }
    lines.extend(left_out.iter().cloned());
    lines.extend(problem.iter().map(|why| format!("the newest hosts are not used: {why}")));
    lines.extend(status.closing.unreached.iter().map(|line| format!("not closed: {line}")));
    for Listener { address, state, .. } in &status.listeners {
        if let ListenerState::Failed(reason) = state {
            lines.push(format!("listener {address}: {reason}"));
        }
    }
    if lines.is_empty() {
        return;
    }
    out.push_str("\nPROBLEMS\n");
    for line in lines {
        wrap(out, &line);
    }
}

/// Columns as wide as their widest cell, two spaces apart, none after the last.
fn grid<const N: usize>(out: &mut String, rows: &[[String; N]]) {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let _cell = write!(line, "{cell:<width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// A sentence below a table, on one line whatever it takes.
fn cut(out: &mut String, text: &str) {
    let room = WIDTH - 2;
    let line = match text.char_indices().nth(room) {
        Some(_) => {
            let end = text.char_indices().nth(room - 1).map_or(0, |(end, _)| end);
            format!("{}…", text[..end].trim_end())
        }
        None => text.to_owned(),
    };
    out.push_str("  ");
    out.push_str(&line);
    out.push('\n');
}

/// A sentence below a table, broken at words.
fn wrap(out: &mut String, text: &str) {
    let mut line = String::from(" ");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH && !line.trim().is_empty() {
            out.push_str(&line);
            out.push('\n');
            line = String::from("   ");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

/// A duration in two digits or so: 0.3s, 12s, 3m, 5h, 2d.
fn age(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        10_000..120_000 => format!("{}s", ms / 1000),
        120_000..7_200_000 => format!("{}m", ms / 60_000),
        7_200_000..172_800_000 => format!("{}h", ms / 3_600_000),
        _ => format!("{}d", ms / 86_400_000),
    }
}

fn micros(us: u64) -> String {
    format!("{}.{}ms", us / 1000, us % 1000 / 100)
}

#[cfg(test)]
mod tests;
