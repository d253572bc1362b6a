//! Sentinels against servers that behave in every way: opening, each fact, requests, and nonsense.

mod backend;
mod ends;
mod nonsense;
mod opening;
pub(super) mod raw;
mod requests;

use super::*;
use crate::health_check::{Credentials, Material};
use crate::probe::tests::server::Authority;
use crate::probe::tests::{check, https};
use backend::Backend;

/// Far longer than anything on loopback takes.
const AMPLE: Duration = Duration::from_secs(20);
/// For what only time can show; the test really waits that long.
const SHORT: Duration = Duration::from_millis(150);

fn trusting(authority: &Authority) -> Credentials {
    Credentials {
        authority: Some(Material::Inline(authority.pem().into_bytes())),
        ..Credentials::default()
    }
}

fn prober(timeout: Duration, credentials: Credentials) -> Prober {
    Prober::new(check(https(), timeout, credentials))
}

async fn open(prober: &Prober, address: SocketAddr) -> Result<(Sentinel, Opened), OpenError> {
    tokio::time::timeout(AMPLE, prober.open(address, None, |_| Ok(()))).await.expect("an end")
}

/// A sentinel to a backend that is there.
async fn sentinel(authority: &Authority, backend: &Backend) -> Sentinel {
    open(&prober(AMPLE, trusting(authority)), backend.address).await.expect("open").0
}

async fn next(sentinel: &mut Sentinel) -> SentinelFact {
    tokio::time::timeout(AMPLE, sentinel.next()).await.expect("a fact")
}

/// Pings, and is answered.
async fn round_trip(sentinel: &mut Sentinel) {
    sentinel.ping();
    let fact = next(sentinel).await;
    assert!(matches!(fact, SentinelFact::Pong { rtt } if rtt < AMPLE), "{fact:?}");
}
