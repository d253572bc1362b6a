//! What a server's connections share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use super::objects::{History, Objects};
use super::settings::{Modes, Settings, Startup};

/// What a server has seen.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// TLS handshakes completed.
    pub handshakes: u64,
    /// Plain-text greetings, on either port.
    pub greetings: u64,
    /// Requests by path.
    pub requests: BTreeMap<String, u64>,
    /// Connections that asked for a path at least once, by path.
    pub connections: BTreeMap<String, u64>,
    /// HTTP/2 pings received.
    pub pings: u64,
    /// Events that were taken.
    pub events: Vec<Value>,
}

/// How far the server is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Serving.
    Up,
    /// Told to stop; serving until the delay ends.
    Stopping,
    /// The listeners are closed; what is established goes on.
    Closed,
}

pub(super) struct State {
    started: Instant,
    startup: Startup,
    modes: watch::Sender<Modes>,
    objects: watch::Sender<History>,
    leases: PathBuf,
    token: Mutex<Arc<str>>,
    stats: Mutex<Stats>,
    draws: AtomicU32,
    pub(super) phase: watch::Sender<Phase>,
}

impl State {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            started: Instant::now(),
            startup: settings.startup,
            modes: watch::Sender::new(settings.modes),
            objects: watch::Sender::new(History::new(settings.objects.clone())),
            leases: settings.leases.clone(),
            token: Mutex::new(settings.bearer_token.as_str().into()),
            stats: Mutex::default(),
            draws: AtomicU32::new(std::process::id()),
            phase: watch::Sender::new(Phase::Up),
        }
    }

    pub(super) fn modes(&self) -> Modes {
        *self.modes.borrow()
    }

    pub(super) fn set_modes(&self, modes: Modes) {
        self.modes.send_replace(modes);
    }

    /// The modes as they change.
    pub(super) fn follow_modes(&self) -> watch::Receiver<Modes> {
        self.modes.subscribe()
    }

    /// The objects as they change.
    pub(super) fn follow_objects(&self) -> watch::Receiver<History> {
        self.objects.subscribe()
    }

    pub(super) fn set_objects(&self, objects: Objects) {
        self.objects.send_modify(|history| history.add(objects));
    }

    /// Where the Leases are.
    pub(super) fn leases(&self) -> &Path {
        &self.leases
    }

    /// The bearer token that is accepted.
    pub(super) fn token(&self) -> Arc<str> {
        Arc::clone(&self.token.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_token(&self, token: &str) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token.into();
    }

    pub(super) fn stats(&self) -> Stats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until `/readyz` may be answered.
    pub(super) async fn readyz_answers(&self) {
        let mut modes = self.modes.subscribe();
        // It ends when the sender is gone, and this is the sender's own method.
        let _ = modes.wait_for(|modes| !modes.hang_readyz).await;
    }

    /// Whether a request is one of those whose connection gets GOAWAY.
    pub(super) fn draws_goaway(&self) -> bool {
        let draw = nllb_common::mix(self.draws.fetch_add(0x9e37_79b9, Ordering::Relaxed));
        draw % 1000 < u32::from(self.modes().goaway_per_mille)
    }

    /// The status of `/readyz` now.
    pub(super) fn readyz(&self) -> u16 {
        if let Some(status) = self.modes().readyz {
            return status;
        }
        if *self.phase.borrow() != Phase::Up {
            return 500;
        }
        startup_status(&self.startup, self.started.elapsed())
    }
}

fn startup_status(startup: &Startup, age: Duration) -> u16 {
    let Startup { refuse, forbidden, failing } = *startup;
    if age < refuse + forbidden {
        403
    } else if age < refuse + forbidden + failing {
        500
    } else {
        200
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_starting_server_forbids_then_fails_then_is_ready() {
        let ms = Duration::from_millis;
        let startup = Startup { refuse: ms(100), forbidden: ms(1000), failing: ms(900) };
        let at = |age| startup_status(&startup, ms(age));
        assert_eq!([at(100), at(1099), at(1100), at(1999), at(2000)], [403, 403, 500, 500, 200]);
        assert_eq!(startup_status(&Startup::default(), Duration::ZERO), 200);
    }
}
