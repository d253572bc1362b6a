//! A configuration is refused with one line that names the file, or everything in it makes sense.

use crate::rig::one_line;
use nllb_agent::config::{Config, Discovered, Wanted};
use nllb_agent::health_check::{Credentials, Material};
use nllb_core::settings::{FrontendKind, HealthSettings};
use nllb_core::{Machine, Settings};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

const FILE: &str = "agent.yaml";
/// Longer than anything that can be configured.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(Path::new(FILE), text, &discover) {
        Ok(config) => accepted(&config),
        Err(error) => {
            let line = error.to_string();
            one_line(&line);
            assert!(line.starts_with(FILE), "the file is not named: {line}");
            assert!(line.contains(": "), "nothing but the file is named: {line}");
        }
    }
}

/// Files of others, as this host would have them.
fn discover(wanted: Wanted<'_>) -> Result<Discovered, String> {
    match wanted {
        Wanted::Kubeconfig { file, .. } if file.ends_with("refused") => Err("one line".to_owned()),
        Wanted::Kubeconfig { .. } => Ok(Discovered {
            endpoints: vec![([10, 0, 0, 13], 6443).into()],
            credentials: Credentials::default(),
            unresolved: Vec::new(),
        }),
        Wanted::Kubernetes(_) => Ok(Discovered {
            credentials: Credentials {
                token: Some(Material::Inline(b"secret".to_vec())),
                insecure_skip_verify: true,
                ..Credentials::default()
            },
            ..Discovered::default()
        }),
    }
}

fn accepted(config: &Config) {
    let settings = config.settings();
    let Settings { pools, frontends, kubelet_version: _ } = &settings;
    assert!(!pools.is_empty() && !frontends.is_empty());
    let names: BTreeSet<_> = pools.iter().map(|pool| &pool.name).collect();
    assert_eq!(names.len(), pools.len(), "pools of one name");
    for pool in pools {
        let endpoints: BTreeSet<_> = pool.endpoints.iter().collect();
        assert_eq!(endpoints.len(), pool.endpoints.len(), "{}: a backend twice", pool.name);
        assert!(pool.endpoints.iter().all(|endpoint| endpoint.port() != 0), "{}", pool.name);
        assert!(pool.discovered || !pool.endpoints.is_empty(), "{}: nobody", pool.name);
        let HealthSettings { interval, confirm_interval, max_backoff, ping_interval, .. } =
            pool.health;
        for time in [interval, confirm_interval, max_backoff, ping_interval] {
            assert!(!time.is_zero() && time < LONGEST, "{}: {time:?}", pool.name);
        }
        assert!(max_backoff >= interval, "{}: {max_backoff:?}", pool.name);
        assert!(pool.health.rise > 0 && pool.health.fall > 0 && pool.health.fresh_every > 0);
        assert!((0.0..=1.0).contains(&pool.health.jitter), "{}", pool.health.jitter);
    }
    let dialled: BTreeSet<_> = frontends.iter().map(|frontend| &frontend.name).collect();
    assert_eq!(dialled.len(), frontends.len(), "frontends of one name");
    for frontend in frontends {
        assert!(names.contains(&frontend.pool), "{}: no pool", frontend.name);
        assert!(frontend.addresses.iter().all(|address| address.port() != 0));
        let loopback = frontend.addresses.iter().all(|address| address.ip().is_loopback());
        assert!(frontend.kind != FrontendKind::Loopback || loopback, "{}", frontend.name);
    }
    for pool in &config.pools {
        assert!(!pool.check.timeout.is_zero() && pool.check.timeout < LONGEST);
    }
    for time in [config.lease, config.self_test_interval] {
        assert!(!time.is_zero() && time < LONGEST);
    }
    let paths =
        [Some(&config.admin.socket), config.state.file.as_ref(), config.state.journal.as_ref()];
    assert!(paths.into_iter().flatten().all(|path| path.is_absolute()), "a relative path");
    match Machine::new(settings, 1, Instant::now()) {
        Ok(mut machine) => while machine.next_command().is_some() {},
        // Room in the maps is what only the core knows.
        Err(error) => one_line(&error.to_string()),
    }
}
