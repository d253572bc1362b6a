//! Draining by hand and for a drill: what `nllb drain`, `nllb undrain` and `nllb drill` ask of the driver, and
//! what they are told.
//!
//! The words of both ends of the admin socket, and the value that carries a request to the driver,
//! as [`crate::status`] has it for the status document.

use crate::text::OneLine;
use nllb_core::Drill;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long open connections may be left. A backend is draining after two failed probes, so anything
/// shorter would close what a hiccup of the server leaves alone; who wants longer than a day wants it
/// off.
pub const CLOSE_AFTER: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// For how long a drill may go on without a word of who watches it.
pub const LEASE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

/// Where requests go.
pub type DrainSource = mpsc::Sender<DrainRequest>;

/// What an operator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// No new connections; those that are open stay.
    Drain {
        /// Close what is still open after this time.
        close_after: Option<Duration>,
        /// Also when it is the last eligible backend of its pool.
        force: bool,
    },
    /// As if it had never been drained, nor been in a drill.
    Undrain,
    /// Out of service for a drill, until the lease ends; the same again renews it.
    Drill {
        /// What is rehearsed.
        how: Drill,
        /// Within [`LEASE`].
        lease: Duration,
    },
    /// No drill any more; what an operator ordered stays.
    DrillOver,
}

/// An order on its way to the driver.
#[derive(Debug)]
pub struct DrainRequest {
    backend: String,
    order: Order,
    reply: oneshot::Sender<Result<Done, Refused>>,
}

impl DrainRequest {
    /// A request about the backend of that name, and where its answer arrives.
    #[must_use]
    pub fn new(backend: String, order: Order) -> (Self, Reply) {
        let (reply, receiver) = oneshot::channel();
        (Self { backend, order, reply }, receiver)
    }

    /// The backend as it was written; [`find`] tells which one is meant.
    #[must_use]
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// What is wanted of it.
    #[must_use]
    pub const fn order(&self) -> Order {
        self.order
    }

    /// Whether nobody waits for its answer any more. Such an order must not be carried out: who gave it
    /// was told that nothing came of it.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// Answers it. Who asked may have gone away meanwhile; that is fine.
    pub fn answer(self, answer: Result<Done, Refused>) {
        drop(self.reply.send(answer));
    }
}

/// Where the answer to a request arrives.
pub type Reply = oneshot::Receiver<Result<Done, Refused>>;

/// The body of a request on the admin socket to drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DrainBody {
    /// Address and port, or the address alone where that is enough.
    pub backend: String,
    /// As in [`Order::Drain`]; within [`CLOSE_AFTER`].
    #[serde(default)]
    pub close_after_ms: Option<u64>,
    /// As in [`Order::Drain`].
    #[serde(default)]
    pub force: bool,
}

/// The body of a request on the admin socket to undo that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UndrainBody {
    /// As in [`DrainBody`].
    pub backend: String,
}

/// The body of a request on the admin socket to take a backend out of service for a drill, or to end that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DrillBody {
    /// As in [`DrainBody`].
    pub backend: String,
    /// What is wanted.
    pub mode: DrillMode,
    /// As in [`Order::Drill`]; without one it is over.
    #[serde(default)]
    pub lease_ms: Option<u64>,
}

/// What a drill does to a backend, as a word on the admin socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DrillMode {
    /// It is drained.
    Simulate,
    /// It is treated as dead.
    Blackhole,
    /// Nothing any more.
    Over,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// The backend that was meant.
    pub backend: SocketAddr,
    /// Whether it was not so before.
    pub changed: bool,
    /// Translated connections that are open to it now.
    pub connections: u64,
    /// When they are closed; `None` when they stay.
    pub close_after_ms: Option<u64>,
    /// What else the operator should know, in a sentence.
    pub note: Option<String>,
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No backend is meant, or more than one.
    #[error("{0}")]
    NotFound(String),
    /// The agent will not do it.
    #[error("{0}")]
    Unsafe(String),
}

/// The backend that `text` means: its address and port, or its address when no other has the same.
///
/// # Errors
/// When no backend or more than one is meant; the error lists them.
pub fn find(text: &str, known: &BTreeSet<SocketAddr>) -> Result<SocketAddr, Refused> {
    let list = |backends: &[SocketAddr]| {
        backends.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let all: Vec<SocketAddr> = known.iter().copied().collect();
    let meant: Vec<SocketAddr> = if let Ok(address) = text.parse::<SocketAddr>() {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        all.iter().copied().filter(|backend| *backend == address).collect()
    } else if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        let ip = ip.to_canonical();
        all.iter().copied().filter(|backend| backend.ip() == ip).collect()
    } else {
        Vec::new()
    };
    match meant[..] {
        [only] => Ok(only),
        [] => {
            let list = list(&all);
            let text = OneLine(text);
            Err(Refused::NotFound(format!("there is no backend \"{text}\": use one of {list}")))
        }
        _ => {
            let list = list(&meant);
            Err(Refused::NotFound(format!(
                "\"{text}\" is more than one backend: use one of {list}"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> BTreeSet<SocketAddr> {
        ["10.0.0.11:6443", "10.0.0.12:6443", "10.0.0.12:7443", "[fd86::13]:6443"]
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect()
    }

    #[test]
    fn an_order_is_abandoned_once_nobody_waits_for_its_answer() {
        let (request, reply) = DrainRequest::new("10.0.0.11".to_owned(), Order::Undrain);
        assert!(!request.is_abandoned());
        drop(reply);
        assert!(request.is_abandoned());
    }

    #[test]
    fn a_backend_is_named_by_its_address_and_the_port_where_that_is_needed() {
        let names = [
            ("10.0.0.11:6443", "10.0.0.11:6443"),
            ("10.0.0.11", "10.0.0.11:6443"),
            ("::ffff:10.0.0.11", "10.0.0.11:6443"),
            ("10.0.0.12:7443", "10.0.0.12:7443"),
            ("fd86::13", "[fd86::13]:6443"),
            ("[fd86::13]", "[fd86::13]:6443"),
            ("[fd86::13]:6443", "[fd86::13]:6443"),
        ];
        for (text, meant) in names {
            assert_eq!(find(text, &known()), Ok(meant.parse().expect("an address")), "{text}");
        }
    }

    #[test]
    fn who_means_no_backend_or_two_is_told_which_there_are() {
        let line = |text| find(text, &known()).expect_err("nobody").to_string();
        assert_eq!(
            line("10.0.0.9"),
            "there is no backend \"10.0.0.9\": use one of 10.0.0.11:6443, 10.0.0.12:6443, \
             10.0.0.12:7443, [fd86::13]:6443"
        );
        assert!(line("10.0.0.11:1").starts_with("there is no backend \"10.0.0.11:1\""));
        assert!(line("master-1").starts_with("there is no backend \"master-1\""));
        assert_eq!(
            line("10.0.0.12"),
            "\"10.0.0.12\" is more than one backend: use one of 10.0.0.12:6443, 10.0.0.12:7443"
        );
    }
}
