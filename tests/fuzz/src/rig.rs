//! What the fuzz targets share: time that passes when nobody has anything to do, what must hold of every text that
//! people see, and a machine to tell things to.

use nllb_core::{FrontendSettings, Machine, PoolSettings, Settings};
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// An event loop whose time stands still while there is something to do and jumps to the next timer when there
/// is not. So a limit of two seconds costs nothing, and what waits for ever hangs at once.
pub(crate) fn virtual_time() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().expect("an event loop")
}

/// Runs something that must come to its end in this time.
pub(crate) async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(output) => output,
        Err(_elapsed) => panic!("{what} is not over after {limit:?}"),
    }
}

/// A text for people is one line without control characters.
pub(crate) fn one_line(text: &str) {
    assert!(!text.is_empty(), "nothing is said");
    assert!(!text.contains(char::is_control), "control characters in {text:?}");
}

/// A frontend, and a pool of three backends.
pub(crate) fn machine(now: Instant) -> Machine {
    let endpoints = (11..14).map(|host| ([10, 0, 0, host], 6443).into()).collect();
    let pool = PoolSettings { name: "apiserver".into(), endpoints, ..PoolSettings::default() };
    let frontend = FrontendSettings {
        name: "kubernetes".into(),
        addresses: vec![([10, 96, 0, 1], 443).into()],
        pool: "apiserver".into(),
        ..FrontendSettings::default()
    };
    let settings = Settings { pools: vec![pool], frontends: vec![frontend], ..Settings::default() };
    Machine::new(settings, 1, now).expect("settings that fit")
}
