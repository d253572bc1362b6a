//! What the fuzz targets share: a backend that only says what it is given, time that passes when nobody has
//! anything to do, and what must hold of every text that people see.

mod script;

pub use script::Script;

use std::future::Future;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// An event loop whose time stands still while there is something to do and jumps to the next timer when there
/// is not. So a limit of two seconds costs nothing, and what waits for ever hangs at once.
///
/// # Panics
/// When the kernel has no descriptors left.
#[must_use]
pub fn virtual_time() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().expect("an event loop")
}

/// Runs something that must come to its end in this time.
///
/// # Panics
/// When it does not.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(output) => output,
        Err(_elapsed) => panic!("{what} is not over after {limit:?}"),
    }
}

/// A text for people is one line without control characters.
///
/// # Panics
/// When it is not.
pub fn one_line(text: &str) {
    assert!(!text.is_empty(), "nothing is said");
    assert!(!text.contains(char::is_control), "control characters in {text:?}");
}
