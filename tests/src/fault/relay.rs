//! Delays a host's frames in user space, and loses some of them.
//!
//! No queueing discipline of the kernels at hand can delay, so a host's port is moved from the
//! bridge to a bridge of its own, and a process carries every frame between the two bridges through
//! a TAP device on each. A TAP device without offloads makes the kernel finish checksums and
//! segmentation before the frame is read, which a packet socket would not.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::process::ChildStdin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::netns;
use crate::place::Place;
use crate::process::Process;
use crate::sys;

/// A whole frame of any MTU the lab has.
const FRAME_LIMIT: usize = 65_536;

/// What a relay does to frames.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(crate) struct Weakness {
    /// The delay of each direction, in microseconds.
    #[arg(long)]
    pub(crate) micros: u64,
    /// Of how many frames in a thousand nobody hears again, in each direction.
    #[arg(long, default_value_t = 0)]
    pub(crate) loss_per_mille: u32,
}

/// A running relay; dropping it puts the port back.
pub(crate) struct Relay {
    switch: String,
    port: String,
    process: Process,
    /// The relay ends when this is closed.
    _lifeline: Option<ChildStdin>,
}

impl Relay {
    /// Puts a relay between `port` and the bridge of the namespace `switch`.
    pub(crate) fn start(switch: &str, port: &str, weakness: Weakness) -> Result<Self> {
        let Weakness { micros, loss_per_mille } = weakness;
        let args = [
            "relay".into(),
            format!("--port={port}").into(),
            format!("--micros={micros}").into(),
            format!("--loss-per-mille={loss_per_mille}").into(),
        ];
        let mut process = Process::spawn(&Place::in_netns(switch), &args, None)?;
        let lifeline = process.take_stdin();
        let mut stdout = process.take_stdout().context("a relay without standard output")?;
        let relay =
            Self { switch: switch.to_owned(), port: port.to_owned(), process, _lifeline: lifeline };
        // The devices exist once the relay has written its byte.
        stdout.read_exact(&mut [0]).context("the relay did not start")?;
        let [near, far] = taps(port);
        let own = own_bridge(port);
        netns::ip(
            Some(switch),
            &[
                format!("link add {own} type bridge stp_state 0 mcast_snooping 0"),
                format!("link set {own} up"),
                format!("link set {near} master {own} up"),
                format!("link set {far} master br0 up"),
                format!("link set {port} master {own}"),
            ],
        )?;
        Ok(relay)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // When the lab goes, its namespaces may have gone before.
        let back = [
            format!("link set {} master br0", self.port),
            format!("link del {}", own_bridge(&self.port)),
        ];
        if let Err(error) = netns::ip(Some(&self.switch), &back).and(self.process.kill()) {
            eprintln!("lab: {error:#}");
        }
    }
}

/// The relay's process: carries frames until standard input ends.
pub(crate) fn run(port: &str, weakness: Weakness) -> Result<()> {
    let [near, far] = taps(port);
    let near = sys::open_tap(&near).with_context(|| format!("cannot create {near}"))?;
    let far = sys::open_tap(&far).with_context(|| format!("cannot create {far}"))?;
    let (towards, away) = (Line::new(weakness, 1), Line::new(weakness, 2));
    std::io::stdout().write_all(b"+").context("nobody waits for this relay")?;
    std::io::stdout().flush()?;
    thread::scope(|scope| {
        scope.spawn(|| towards.read_from(&far));
        scope.spawn(|| towards.write_to(&near));
        scope.spawn(|| away.read_from(&near));
        scope.spawn(|| away.write_to(&far));
        // Errors and end of file mean the same: the lab has gone.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    })
}

/// Frames under way in one direction.
struct Line {
    delay: Duration,
    loss_per_mille: u32,
    /// Draws so far; they are the same in every run.
    draws: AtomicU32,
    frames: Mutex<VecDeque<(Instant, Vec<u8>)>>,
    arrived: Condvar,
}

impl Line {
    fn new(weakness: Weakness, seed: u32) -> Self {
        let Weakness { micros, loss_per_mille } = weakness;
        Self {
            delay: Duration::from_micros(micros),
            loss_per_mille,
            draws: AtomicU32::new(seed),
            frames: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    fn loses_the_next(&self) -> bool {
        let draw = nllb_common::mix(self.draws.fetch_add(0x9e37_79b9, Ordering::Relaxed));
        draw % 1000 < self.loss_per_mille
    }

    fn read_from(&self, mut tap: &File) {
        let mut buffer = vec![0; FRAME_LIMIT];
        loop {
            // While the device is down, reading fails.
            let Ok(count) = tap.read(&mut buffer) else {
                // reason: nothing tells when the device is up.
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            if self.loses_the_next() {
                continue;
            }
            let due = Instant::now() + self.delay;
            let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
            frames.push_back((due, buffer[..count].to_vec()));
            self.arrived.notify_one();
        }
    }

    fn write_to(&self, mut tap: &File) {
        loop {
            let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.arrived.wait_while(frames, |frames| frames.is_empty());
            let frame = waited.unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((due, frame)) = frame else { continue };
            // The frames are in order of their time, so nothing is late because of this sleep.
            // reason: the delay itself.
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // A frame that cannot be written is lost, as on a wire.
            let _ = tap.write_all(&frame);
        }
    }
}

fn taps(port: &str) -> [String; 2] {
    [format!("{port}-near"), format!("{port}-far")]
}

fn own_bridge(port: &str) -> String {
    format!("{port}-own")
}
