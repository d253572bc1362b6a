//! Connections that are held: one for requests and one idle watch with every server.
//!
//! When one ends, its client connects again as real ones do, after a short while, and goes on wherever it then is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::super::protocol::{End, Purpose};
use super::dial::{Connection, Dialer};
use super::{Shared, lock};
use crate::clock::now_ns;

/// What is asked on a connection for requests.
const REQUEST: &str = "/livez";

/// How long a client waits before it connects again. The clients of Kubernetes wait for 800 ms and more; here the
/// handshakes of all must only not be what those feel who connect at the same moment.
const PAUSE: Duration = Duration::from_millis(100);

/// The clients that hold connections; dropping this closes them.
#[derive(Default)]
pub(super) struct Connections(JoinSet<()>);

impl Connections {
    /// Closes all and opens new ones until every server has one of each purpose.
    pub(super) async fn open(
        &mut self,
        servers: &[String],
        dialer: &Arc<Dialer>,
        ledger: &Shared,
        request_interval: Duration,
    ) -> Result<()> {
        self.0.shutdown().await;
        lock(ledger).forget_held();
        for purpose in [Purpose::Requests, Purpose::Watch] {
            let mut missing: BTreeSet<&str> = servers.iter().map(String::as_str).collect();
            while !missing.is_empty() {
                let (connection, server, body) = dialer.open(purpose).await?;
                if missing.remove(server.as_str()) {
                    let number = lock(ledger).opened(purpose, server, now_ns());
                    let (dialer, ledger) = (Arc::clone(dialer), Arc::clone(ledger));
                    let mut ticks = interval(request_interval);
                    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                    let client = Client { purpose, dialer, ledger, ticks };
                    self.0.spawn(client.run(connection, body, number));
                }
            }
        }
        Ok(())
    }
}

struct Client {
    purpose: Purpose,
    dialer: Arc<Dialer>,
    ledger: Shared,
    ticks: Interval,
}

impl Client {
    async fn run(mut self, mut connection: Connection, mut body: Incoming, mut number: u64) {
        loop {
            match self.purpose {
                Purpose::Requests => self.ask(&mut connection, number).await,
                // The driver ends with the connection and does not panic.
                Purpose::Watch => drop((&mut connection.driver).await),
            }
            drop(body);
            let closed = || End { at_ns: now_ns(), how: "closed".to_owned() };
            let end = connection.note.get().cloned().unwrap_or_else(closed);
            lock(&self.ledger).ended(number, end);
            // reason: real clients pause, too.
            tokio::time::sleep(PAUSE).await;
            let server;
            (connection, server, body) = self.reopen().await;
            let mut ledger = lock(&self.ledger);
            let now_ns = now_ns();
            ledger.resumed(number, now_ns);
            number = ledger.opened(self.purpose, server, now_ns);
        }
    }

    /// Sends requests until the connection takes no more.
    async fn ask(&mut self, connection: &mut Connection, number: u64) {
        loop {
            self.ticks.tick().await;
            if connection.driver.is_finished() || connection.requests.is_closed() {
                return;
            }
            let answered = match self.dialer.request(connection, REQUEST).await {
                Ok(answer) => {
                    let good = answer.status().is_success();
                    answer.into_body().collect().await.is_ok() && good
                }
                // The server may have said between two requests that it wants no more.
                Err(error) if was_never_sent(&error) => return,
                Err(_) => false,
            };
            lock(&self.ledger).request(number, answered);
            if !answered {
                return;
            }
        }
    }

    async fn reopen(&mut self) -> (Connection, String, Incoming) {
        loop {
            if let Ok(opened) = self.dialer.open(self.purpose).await {
                return opened;
            }
            self.ticks.tick().await;
        }
    }
}

fn was_never_sent(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<hyper::Error>()
        .is_some_and(|error| error.is_canceled() || error.is_closed())
}
