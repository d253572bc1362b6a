//! The support bundle: what helps others to find a fault, without what would let them in.
//!
//! Each part goes through `doctor::redact`. The contents of kubeconfigs, tokens, keys and the environment
//! are read only to be looked for in what is written.

use super::told::Told;
use crate::admin::EVENTS_PATH;
use crate::cli::Failure;
use crate::cli::ask::{Question, ask, get};
use crate::config::Config;
use crate::datapath::maps::{KernelMaps, Maps as _};
use crate::doctor::Report;
use crate::doctor::host::SYSCTLS;
use crate::doctor::redact::{self, Secrets};
use crate::exit::Exit;
use crate::health_check::{ClientIdentity, Credentials, Material};
use flate2::Compression;
use flate2::write::GzEncoder;
use nllb_common::addr;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// More than any file of credentials, or of what happened, has.
const LARGEST: u64 = 1 << 20;
/// Where the agent's token is when it runs as a pod.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Writes the bundle for root alone.
pub(super) fn write(file: &Path, told: &Told, report: &Report) -> Result<(), Failure> {
    let secrets = secrets(told);
    let parts = parts(told, report);
    let failure = |error: io::Error| {
        let (exit, what) = if error.kind() == io::ErrorKind::AlreadyExists {
            (Exit::Refused, "name another file")
        } else {
            (Exit::Unexpected, "check the path and its permissions")
        };
        Failure { exit, line: format!("{} cannot be written: {error}: {what}", file.display()) }
    };
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let made = made.map_err(failure)?;
    archive(made, &parts, &secrets).map_err(|error| {
        // Half a bundle helps nobody; the reason is told.
        let _gone = fs::remove_file(file);
        failure(error)
    })
}

fn archive(file: File, parts: &[(&str, String)], secrets: &Secrets) -> io::Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for (name, text) in parts {
        let text = secrets.clean(text);
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, format!("nllb-bundle/{name}"), text.as_bytes())?;
    }
    archive.into_inner()?.finish()?.sync_all()
}

fn parts(told: &Told, report: &Report) -> Vec<(&'static str, String)> {
    let json = |value: serde_json::Result<serde_json::Value>| match value {
        Ok(value) => format!("{value:#}\n"),
        Err(error) => error.to_string(),
    };
    let mut parts = vec![
        ("doctor.json", json(serde_json::to_value(report))),
        ("host.txt", host()),
        ("maps.txt", maps(told)),
    ];
    match &told.status {
        Ok(status) => parts.push(("status.json", json(serde_json::to_value(status)))),
        Err(reason) => parts.push(("status.txt", format!("{reason}\n"))),
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let events = ask(&told.socket, Question::get(EVENTS_PATH)).ok();
    parts.extend(match events {
        Some(body) => Some(("events.json", text(&body))),
        // What an earlier agent kept.
        None => {
            let journal = told.config.as_ref().and_then(|config| config.state.journal.as_ref());
            journal.and_then(|file| Some(("events.jsonl", read(file)?)))
        }
    });
    let metrics = told.config.as_ref().filter(|_| told.status.is_ok());
    let metrics = metrics.and_then(|config| get(config.http.listen, "/metrics"));
    parts.extend(metrics.map(|body| ("metrics.txt", text(&body))));
    let configuration = told.file.as_ref().and_then(|(file, _)| read(file));
    parts.extend(configuration.map(|text| ("configuration.json", redact::configuration(&text))));
    parts
}

/// Kernel, mounts and sysctls.
fn host() -> String {
    let mut text = String::new();
    let uname = rustix::system::uname();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "nllb {}\nLinux {} {} {}\n",
        env!("CARGO_PKG_VERSION"),
        uname.release().to_string_lossy(),
        uname.version().to_string_lossy(),
        uname.machine().to_string_lossy()
    );
    for name in SYSCTLS {
        let value = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/")));
        let _ = writeln!(text, "{name} = {}", value.as_deref().unwrap_or("?").trim_end());
    }
    // Others' mounts are nobody's business.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let ours = |line: &&str| line.contains(" - cgroup") || line.contains(" - bpf ");
    mounts.lines().filter(ours).for_each(|line| text.extend(["\n", line]));
    text + "\n"
}

/// What the maps hold.
fn maps(told: &Told) -> String {
    let mut text = String::new();
    if let Err(error) = dump(told, &mut text) {
        text.extend([error.to_string().as_str(), "\n"]);
    }
    text
}

fn dump(told: &Told, text: &mut String) -> Result<(), crate::datapath::maps::MapsError> {
    let maps = KernelMaps::open(&told.directory())?;
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:?}", maps.control()?);
    for (key, frontend) in maps.frontends()? {
        let _ = writeln!(text, "frontend {key:?} {frontend:?}");
    }
    for (pool, set) in maps.pools()? {
        for slot in set.iter() {
            let (address, id) = (addr::join(slot.addr, slot.port), slot.backend);
            let _ = writeln!(text, "pool {pool} backend {id} {address} epoch {}", slot.epoch);
        }
    }
    for (backend, verdict) in maps.verdicts()? {
        let _ = writeln!(text, "backend {backend} {verdict:?} {:?}", maps.evidence(backend)?);
    }
    for (counter, count) in maps.counters()? {
        let _ = writeln!(text, "{} {count}", counter.label());
    }
    Ok(())
}

/// Everything secret that can be read here.
fn secrets(told: &Told) -> Secrets {
    let mut secrets = Secrets::default();
    let variables: Vec<(String, String)> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into()))
        .collect();
    secrets.add_environment(variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let pid = told.status.as_ref().ok().map(|status| status.agent.pid);
    if let Some(environment) = pid.and_then(|pid| read(format!("/proc/{pid}/environ").as_ref())) {
        secrets.add_environment(environment.split('\0').filter_map(|line| line.split_once('=')));
    }
    if let Some(text) = told.file.as_ref().and_then(|(file, _)| read(file)) {
        secrets.add_configuration(&text);
    }
    let token = read(SERVICE_ACCOUNT_TOKEN.as_ref());
    token.iter().for_each(|token| secrets.add_content(token));
    if let Some(config) = &told.config {
        of_config(config, &mut secrets);
    }
    secrets
}

fn of_config(config: &Config, secrets: &mut Secrets) {
    for pool in &config.pools {
        let Credentials { client, token, .. } = &pool.check.credentials;
        let key = client.iter().map(|ClientIdentity { certificate: _, key }| key);
        for material in key.chain(token) {
            match material {
                Material::File(file) => {
                    read(file).iter().for_each(|text| secrets.add_content(text));
                }
                Material::Inline(bytes) => secrets.add_content(&String::from_utf8_lossy(bytes)),
            }
        }
    }
    for file in config.sources() {
        read(file).iter().for_each(|text| secrets.add_kubeconfig(text));
    }
}

fn read(file: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
