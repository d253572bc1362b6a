//! Every fact of a sentinel, against servers that behave that way.

mod backend;

use super::*;
use crate::health_check::{Credentials, Material};
use crate::probe::tests::server::{self, Authority};
use backend::Backend;
use nllb_core::SubjectName;
use std::net::Ipv4Addr;

/// Far longer than anything on loopback takes.
const AMPLE: Duration = Duration::from_secs(20);

fn trusting(authority: &Authority) -> Credentials {
    Credentials {
        authority: Some(Material::Inline(authority.pem().into_bytes())),
        ..Credentials::default()
    }
}

fn prober(timeout: Duration, credentials: Credentials) -> Prober {
    Prober::new(HealthCheck { path: "/readyz".to_owned(), timeout, credentials })
}

async fn open(prober: &Prober, address: SocketAddr) -> Result<(Sentinel, Opened), OpenError> {
    tokio::time::timeout(AMPLE, prober.open(address, None, |_| Ok(()))).await.expect("an end")
}

async fn next(sentinel: &mut Sentinel) -> SentinelFact {
    tokio::time::timeout(AMPLE, sentinel.next()).await.expect("a fact")
}

#[tokio::test]
async fn an_open_sentinel_shows_the_certificate_and_answers_pings_and_probes() {
    let authority = Authority::new();
    let ok = |request: hyper::Request<()>| {
        let status = if request.uri().path() == "/readyz" { 200 } else { 404 };
        Some((status, Bytes::from_static(b"ok")))
    };
    let backend = Backend::answering(&authority, ok).await;
    let (mut sentinel, opened) =
        open(&prober(AMPLE, trusting(&authority)), backend.address).await.expect("open");
    let facts = opened.certificate.expect("a certificate");
    assert!(facts.names.contains(&SubjectName::Ip(Ipv4Addr::LOCALHOST.into())));
    assert_eq!(facts.not_after, server::NOT_AFTER);
    assert!(opened.rtt > Duration::ZERO && opened.unix_time > 1_700_000_000);
    for _ in 0..3 {
        sentinel.ping();
        // One is outstanding at most.
        sentinel.ping();
        let fact = next(&mut sentinel).await;
        assert!(matches!(fact, SentinelFact::Pong { rtt } if rtt < AMPLE), "{fact:?}");
        let report = sentinel.probe().await;
        assert_eq!((report.outcome, report.rtt), (Outcome::Ready, None));
    }
    assert_eq!(sentinel.tcp(), TcpState::Acknowledged);
}
