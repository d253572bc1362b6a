//! Takes a new configuration into force, whole or not at all.

use std::rc::Rc;
use std::time::{Duration, Instant};

use nllb_common::maps::Protocol;
use tracing::{info, warn};

use super::{Driver, Unresolved, node};
use crate::config::{self, Config, ConfigError, Service};
use crate::datapath;
use crate::datapath::attach::CgroupChoice;
use crate::datapath::closing::CloseSockets;
use crate::datapath::load::{BpfLogLevel, Extras};
use crate::probe::Prober;
use crate::reload::Reload;

/// A resolver that failed at boot is there within seconds; and nobody else asks this rarely.
const RETRY: Duration = Duration::from_secs(30);

/// How the configuration got where it is.
#[derive(Debug)]
pub(super) struct Reloads {
    /// Counts the configurations applied.
    pub(super) generation: u64,
    pub(super) applied_at: Instant,
    /// Why the last one was refused.
    pub(super) error: Option<String>,
}

impl Driver {
    /// What a reload does about names that nobody resolves: as long as the configuration in force
    /// lives by remembered addresses, another may too. Otherwise what is in force is better.
    pub(super) fn unresolved(&self) -> Unresolved {
        match self.config.unresolved().next() {
            Some(_) => Unresolved::Remember,
            None => Unresolved::Refuse,
        }
    }

    /// As long as remembered addresses are in force, names are looked up again and again.
    pub(super) fn retry(&self, reload: &mut Reload) {
        if self.unresolved() == Unresolved::Remember {
            reload.again_after(RETRY);
        }
    }

    /// Takes a configuration that was read again; says whether it is a new one that is in force now.
    /// A bad one changes nothing.
    pub(super) fn take_config(&mut self, loaded: Result<Config, ConfigError>) -> bool {
        let replaced = loaded
            .map_err(|error| error.to_string())
            .and_then(|config| self.replace_config(config));
        let read = replaced.as_ref().map(|is_new| *is_new).map_err(String::as_str);
        let what = self.journal.chronicle.configuration(read);
        self.record(what);
        let Reloads { generation, applied_at, error } = &mut self.reloads;
        match replaced {
            Ok(false) => {
                *error = None;
                false
            }
            Ok(true) => {
                *generation += 1;
                *applied_at = Instant::now();
                *error = None;
                info!(generation, "new configuration in force");
                true
            }
            Err(reason) => {
                warn!(%reason, "configuration refused; the old one stays");
                *error = Some(reason);
                false
            }
        }
    }

    fn replace_config(&mut self, config: Config) -> Result<bool, String> {
        if config == self.config {
            // Files that it names may have changed; probers read those by themselves.
            return Ok(false);
        }
        let datapath = self.attached.datapath();
        let fixed = fixed_key(&self.config, &config);
        let fixed = fixed.or_else(|| {
            let (has, wants) = (datapath.extras(), extras(&config));
            (wants.datagrams && !has.datagrams)
                .then_some("frontends[].protocol and services[].ports (the first over UDP)")
        });
        let lacks = config.sandboxes.is_some() && !self.sandboxed.is_loaded();
        let fixed = fixed.or_else(|| lacks.then_some("sandboxes"));
        if let Some(key) = fixed {
            return Err(format!(
                "{}: {key} cannot be changed while the agent runs; restart it",
                self.file.display()
            ));
        }
        let (settings, members) = self.members.with(&config);
        self.machine
            .handle_settings(settings, Instant::now())
            .map_err(|error| format!("{}: {error}", self.file.display()))?;
        self.members.take(members, &config);
        self.probes.set_probers(probers(&config));
        self.probes.set_service_probers(config.pools.len(), &self.members.served.pools);
        self.sentinels.set_node_name(node::name(&config));
        self.config = config;
        self.announcements.configure(&self.config, Instant::now());
        self.keep_known("the configuration is another");
        self.relays.set(self.config.loopback_addresses());
        self.serve_vip();
        Ok(true)
    }
}

/// The key that differs and takes effect only at a start.
fn fixed_key(old: &Config, new: &Config) -> Option<&'static str> {
    if old.datapath != new.datapath {
        Some("datapath")
    } else if old.admin != new.admin {
        Some("admin")
    } else if old.http != new.http {
        Some("http")
    } else if old.state != new.state {
        Some("state")
    } else if old.vip != new.vip {
        Some("vip")
    } else {
        None
    }
}

/// Which programs may be needed that not every data path has.
fn extras(config: &Config) -> Extras {
    let of_frontends = config.frontends.iter().any(|one| one.protocol == Protocol::Udp);
    let datagrams = of_frontends || config.services.iter().any(Service::may_have_datagrams);
    Extras { datagrams, vip: config.vip.is_some(), guests: config.sandboxes.is_some() }
}

/// One prober per pool of the configuration, in the order of the settings.
pub(super) fn probers(config: &Config) -> Vec<Rc<Prober>> {
    config.pools.iter().map(|pool| Rc::new(Prober::new(pool.check.clone()))).collect()
}

/// What the data path needs of the configuration.
pub(super) fn datapath_settings(config: &Config) -> datapath::Settings {
    let config::Datapath { bpffs, cgroup, log_level, close_sockets: _ } = config.datapath.clone();
    datapath::Settings {
        bpffs,
        cgroup: match cgroup {
            config::Cgroup::Auto => CgroupChoice::Auto,
            config::Cgroup::Path(path) => CgroupChoice::Path(path),
        },
        extras: extras(config),
        log_level: match log_level {
            config::LogLevel::Off => BpfLogLevel::Off,
            config::LogLevel::Error => BpfLogLevel::Error,
            config::LogLevel::Warn => BpfLogLevel::Warn,
            config::LogLevel::Info => BpfLogLevel::Info,
            config::LogLevel::Debug => BpfLogLevel::Debug,
            config::LogLevel::Trace => BpfLogLevel::Trace,
        },
    }
}

/// Whether and how connections to a dead backend are to end.
pub(super) fn close_sockets(config: &Config) -> CloseSockets {
    match config.datapath.close_sockets {
        config::CloseSockets::Auto => CloseSockets::Auto,
        config::CloseSockets::Timeouts => CloseSockets::Timeouts,
        config::CloseSockets::Off => CloseSockets::Off,
    }
}
