//! Waiting for what another process does.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Far beyond anything that is waited for: only a bug makes it run out.
const PATIENCE: Duration = Duration::from_secs(60);
/// Another patience in seconds, for a machine whose processor is emulated.
pub const PATIENCE_VARIABLE: &str = "NLLB_LAB_PATIENCE_S";
const STEP: Duration = Duration::from_millis(5);

/// Looks again and again until `look` finds something; `what` is for the error when it never does.
pub fn wait_until<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    wait_for(what, patience(), look)
}

/// As [`wait_until`], for what may take longer than anything else.
pub(crate) fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look().with_context(|| format!("waiting for {what}"))? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            anyhow::bail!("waited {} s in vain for {what}", patience.as_secs());
        }
        // reason: what is waited for is the content of a document or of a map of the kernel, and
        // nobody tells when it changes.
        thread::sleep(STEP);
    }
}

fn patience() -> Duration {
    let set = std::env::var(PATIENCE_VARIABLE).ok().and_then(|value| value.parse().ok());
    set.map_or(PATIENCE, Duration::from_secs)
}
