//! Watches the verdicts in the maps, from outside of the agent.
//!
//! What is in the maps is what connects follow; a log line or the status document would only tell
//! when the agent says so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow};
use aya::maps::{Array, MapData};
use nllb_common::maps::{Evidence, State, Verdict, names};

use crate::agent::Agent;
use crate::clock::now_ns;
use crate::pins;

/// How exact the times are.
const STEP: Duration = Duration::from_millis(1);

/// What a backend looked like to connects from a moment on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Look {
    pub(crate) at_ns: u64,
    pub(crate) state: State,
    pub(crate) doubted: bool,
    /// By the kernel's own evidence.
    pub(crate) suspect: bool,
}

/// What became of each backend in turn, in the order of the ids that were asked for.
pub(crate) type Looks = Vec<Vec<Look>>;

/// A thread that watches. Dropping it ends it.
pub(crate) struct Watcher {
    looks: Arc<Mutex<Looks>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Look {
    /// Whether the agent lets it have new connects gladly.
    pub(crate) fn is_good(&self) -> bool {
        self.state.is_eligible() && !self.doubted
    }
}

impl Watcher {
    /// Starts to watch these backends.
    pub(crate) fn start(agent: &Agent, ids: &[u32]) -> Result<Self> {
        let pins = agent.pins();
        let verdicts: Array<MapData, u64> = pins::open(&pins, names::VERDICT)?;
        let evidence: Array<MapData, Evidence> = pins::open(&pins, names::EVIDENCE)?;
        let look = move |id: u32| -> Result<Look> {
            let verdict = Verdict::from_word(verdicts.get(&id, 0)?);
            let suspect_until_ns = evidence.get(&id, 0)?.suspect_until_ns;
            let at_ns = now_ns();
            Ok(Look {
                at_ns,
                state: verdict.state(),
                doubted: verdict.is_doubted(),
                suspect: suspect_until_ns > at_ns,
            })
        };
        let stop = Arc::<AtomicBool>::default();
        let looks = Arc::new(Mutex::new(vec![Vec::new(); ids.len()]));
        let (stopped, seen, ids) = (Arc::clone(&stop), Arc::clone(&looks), ids.to_vec());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for (id, known) in ids.iter().zip(lock(&seen).iter_mut()) {
                    let new = look(*id)?;
                    let same = |last: &Look| Look { at_ns: new.at_ns, ..*last } == new;
                    if !known.last().is_some_and(same) {
                        known.push(new);
                    }
                }
                // reason: nobody tells when a map changes.
                thread::sleep(STEP);
            }
            Ok(())
        });
        Ok(Self { looks, stop, thread: Some(thread) })
    }

    /// When the last of them looked good, of what was seen since; none if one still does not.
    pub(crate) fn all_good_since(&self, since_ns: u64) -> Option<u64> {
        let looks = lock(&self.looks);
        let good: Option<Vec<_>> = looks.iter().map(|looks| good_since(looks, since_ns)).collect();
        good?.into_iter().max()
    }

    /// Stops; gives every change.
    pub(crate) fn stop(mut self) -> Result<Looks> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or_else(|| anyhow!("stopped twice"))?;
        thread.join().map_err(|_| anyhow!("the watcher panicked"))??;
        Ok(std::mem::take(&mut *lock(&self.looks)))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// When a backend that still looks good began to, or `since_ns` if it did before.
fn good_since(looks: &[Look], since_ns: u64) -> Option<u64> {
    let good = looks.iter().rev().take_while(|look| look.is_good()).last()?;
    Some(good.at_ns.max(since_ns))
}

fn lock(looks: &Mutex<Looks>) -> MutexGuard<'_, Looks> {
    looks.lock().unwrap_or_else(PoisonError::into_inner)
}
