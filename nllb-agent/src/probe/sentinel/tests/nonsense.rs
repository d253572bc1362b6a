//! Servers that talk nonsense once a sentinel is open: it ends, and nothing panics or hangs.

use super::backend::Stream;
use super::raw::{self, DATA, GOAWAY, HEADERS, PING, SETTINGS, frame};
use super::*;
use proptest::prelude::*;
use tokio::sync::mpsc;

/// A backend that greets each connection, says the next of the things it is given, and closes.
async fn saying(authority: &Authority) -> (Backend, mpsc::UnboundedSender<Vec<u8>>) {
    let (sender, lines) = unbounded_channel::<Vec<u8>>();
    let lines = Arc::new(tokio::sync::Mutex::new(lines));
    let script = move |mut stream: Stream| {
        let lines = Arc::clone(&lines);
        async move {
            raw::greet(&mut stream).await;
            let line = lines.lock().await.recv().await;
            raw::send(&mut stream, &line.expect("the test goes on")).await;
        }
    };
    (Backend::start(authority, &["h2"], script).await, sender)
}

/// What became of the sentinel and of a request that was open.
async fn outcome(prober: &Prober, backend: &Backend) -> (SentinelFact, Outcome) {
    let (mut sentinel, _) = open(prober, backend.address).await.expect("open");
    let probe = tokio::spawn(sentinel.probe());
    sentinel.ping();
    let fact = loop {
        let fact = next(&mut sentinel).await;
        if !matches!(fact, SentinelFact::Pong { .. }) {
            break fact;
        }
    };
    let report = tokio::time::timeout(AMPLE, probe).await.expect("an end").expect("no panic");
    (fact, report.outcome)
}

#[tokio::test]
async fn what_is_not_http2_closes_the_sentinel() {
    let authority = Authority::new();
    let (backend, say) = saying(&authority).await;
    let prober = prober(AMPLE, trusting(&authority));
    for nonsense in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        [&[0xff, 0xff, 0xff], &frame(DATA, 0, 1, b"")[3..]].concat(),
        frame(DATA, 0, 0, b"on no stream"),
        frame(DATA, 0, 5, b"on a stream that nobody opened"),
        frame(SETTINGS, 0, 0, b"five!"),
        frame(PING, 0, 0, b"seven!!"),
        frame(HEADERS, 4, 1, &[0xff; 64]),
        frame(GOAWAY, 0, 0, b"four"),
        frame(GOAWAY, 0, 3, &[0; 8]),
    ] {
        say.send(nonsense.clone()).expect("heard");
        let (fact, outcome) = outcome(&prober, &backend).await;
        assert_eq!(fact, SentinelFact::Closed, "{nonsense:x?}");
        let cut = matches!(outcome, Outcome::Closed | Outcome::Local { .. });
        assert!(cut, "{outcome:?} after {nonsense:x?}");
    }
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = || proptest::collection::vec(any::<u8>(), 0..64);
    let stream = prop_oneof![Just(0), Just(1), Just(2), Just(3), any::<u32>()];
    let whole = (0_u8..12, any::<u8>(), stream, payload())
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload));
    proptest::collection::vec(prop_oneof![4 => whole, 1 => payload()], 0..12)
        .prop_map(|parts| parts.concat())
}

#[test]
fn random_bytes_never_panic_or_hang() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let authority = Authority::new();
    let (backend, say) = runtime.block_on(saying(&authority));
    let prober = prober(AMPLE, trusting(&authority));
    proptest!(ProptestConfig::with_cases(200), |(bytes in frames())| {
        say.send(bytes).expect("heard");
        let (fact, _) = runtime.block_on(outcome(&prober, &backend));
        let known = matches!(
            fact,
            SentinelFact::Closed | SentinelFact::GoAway | SentinelFact::Reset
        );
        prop_assert!(known, "{fact:?}");
    });
}
