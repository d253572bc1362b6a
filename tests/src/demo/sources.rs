//! Where the demonstration's events come from: a client, the agent's status, signals, a keyboard.
//!
//! | thread | ends |
//! |---|---|
//! | client | when nobody listens any more |
//! | status | likewise |
//! | signals, keyboard | with the process: nothing can wake them, and they own nothing |

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nllb_agent::status::Status;
use tokio::signal::unix::{SignalKind, signal};

use super::ledger::{Attempt, Failure, Health};
use crate::agent::Agent;
use crate::client::Client;
use crate::client::protocol::{Connect, Stage};
use crate::lab::{Lab, VIP_V4};

/// How often the screen is drawn, and the agent asked: the status has ages in it, so that nothing
/// is measured by this.
const TICK: Duration = Duration::from_millis(100);

/// A connect that takes longer is not worth waiting for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Something happened.
pub(super) enum Event {
    /// The client has connected, or not.
    Attempt(Attempt),
    /// It is time to draw, and this is how the backends are.
    Tick(Vec<Health>),
    /// Somebody has typed a line.
    Line(String),
    /// Client or agent have gone.
    Trouble(anyhow::Error),
    /// A signal asks to stop.
    Stop,
}

/// Sends [`Event::Stop`] when a signal asks for it.
pub(super) fn signals(events: Sender<Event>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate, mut hang_up) = {
        let _inside = runtime.enter();
        let [interrupt, terminate, hang_up] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        (signal(interrupt)?, signal(terminate)?, signal(hang_up)?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    // The terminal has been closed.
                    _ = hang_up.recv() => {}
                }
                if events.send(Event::Stop).is_err() {
                    return;
                }
            }
        });
    });
    Ok(())
}

/// Sends every line of standard input.
pub(super) fn keyboard(events: Sender<Event>) {
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if events.send(Event::Line(line)).is_err() {
                return;
            }
        }
    });
}

/// Connects to the VIP from the node, one connect after the other.
pub(super) fn connects<'scope>(
    scope: &'scope Scope<'scope, '_>,
    lab: &Lab,
    events: Sender<Event>,
) -> Result<()> {
    let client = lab.client(0)?;
    let connect = Connect {
        // No port stays in TIME_WAIT, however long the demonstration lasts.
        reset_on_close: true,
        timeout: Some(CONNECT_TIMEOUT),
        answer_timeout: CONNECT_TIMEOUT,
        ..Connect::name_of((VIP_V4, 443).into())
    };
    scope.spawn(move || {
        loop {
            let event = attempt(&client, &connect).map_or_else(Event::Trouble, Event::Attempt);
            let last = matches!(event, Event::Trouble(_));
            if events.send(event).is_err() || last {
                return;
            }
        }
    });
    Ok(())
}

fn attempt(client: &Client, connect: &Connect) -> Result<Attempt> {
    let began = Instant::now();
    let outcome = client.connect(connect)?;
    let ended = Instant::now();
    let result = match (outcome.ok, outcome.server) {
        (true, Some(server)) => Ok(server),
        _ => {
            let error = outcome.error.unwrap_or_else(|| "no answer".to_owned());
            Err(match outcome.stage {
                Some(Stage::Ask) => Failure::Cut(error),
                Some(Stage::Socket | Stage::Connect) | None => Failure::Connect(error),
            })
        }
    };
    Ok(Attempt { began, ended, result })
}

/// Asks the agent for its status at every tick.
pub(super) fn status<'scope>(
    scope: &'scope Scope<'scope, '_>,
    lab: &'scope Lab,
    agent: &'scope Agent,
    events: Sender<Event>,
) {
    scope.spawn(move || {
        loop {
            let event = match agent.status().context("the agent does not answer") {
                Ok(status) => Event::Tick(healths(lab, &status, Instant::now())),
                Err(error) => Event::Trouble(error),
            };
            let last = matches!(event, Event::Trouble(_));
            if events.send(event).is_err() || last {
                return;
            }
            // reason: the screen's tick.
            thread::sleep(TICK);
        }
    });
}

fn healths(lab: &Lab, status: &Status, now: Instant) -> Vec<Health> {
    let health = |backend: &nllb_agent::status::Backend| {
        let age = Duration::from_millis(backend.state_age_ms);
        Health {
            name: name(lab, backend.address),
            address: backend.address.to_string(),
            state: backend.state.clone(),
            since: now.checked_sub(age).unwrap_or(now),
            reason: backend.reason.clone(),
        }
    };
    status.backends().map(|(_, backend)| health(backend)).collect()
}

fn name(lab: &Lab, address: SocketAddr) -> String {
    let plane = lab.control_planes().iter().find(|plane| plane.tls() == address);
    plane.map_or_else(|| address.to_string(), |plane| plane.name().to_owned())
}
