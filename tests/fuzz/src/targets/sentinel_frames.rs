//! A backend that says anything over HTTP/2: a sentinel ends once and for a reason, answers no ping that was
//! not sent, and a request over it has an outcome in time. The first octet says how the backend talks, the
//! second one what it says before: nothing, or what opens a sentinel.

use crate::rig::{one_line, virtual_time, within};
use crate::script::Script;
use nllb_agent::probe::fuzz::Bare;
use nllb_core::{Outcome, SentinelFact};
use std::cell::OnceCell;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::{Instant, timeout};

const TIMEOUT: Duration = Duration::from_secs(2);
/// As `LARGEST_BODY` of the probes.
const LARGEST_BODY: usize = 64 << 10;
/// Settings, the agreement to ours, and the answer to the first ping.
const GREETING: [&[u8]; 3] = [
    &[0, 0, 0, 4, 0, 0, 0, 0, 0],
    &[0, 0, 0, 4, 1, 0, 0, 0, 0],
    &[0, 0, 8, 6, 1, 0, 0, 0, 0, 0x3b, 0x7c, 0xdb, 0x7a, 0x0b, 0x87, 0x16, 0xb4],
];

thread_local! {
    static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
}

pub(crate) fn run(data: &[u8]) {
    let [manner, opens, said @ ..] = data else { return };
    let greeting = if opens & 1 == 1 { GREETING.concat() } else { Vec::new() };
    RUNTIME.with(|runtime| {
        let runtime = runtime.get_or_init(virtual_time);
        let hangs_up = manner & 0x80 != 0;
        let script = Script::new(&greeting, *manner, said);
        runtime.block_on(talk(script, hangs_up, opens & 1 == 1));
    });
}

async fn talk(script: Script, hangs_up: bool, opens: bool) {
    let until = || (Instant::now() + TIMEOUT).into_std();
    let a_little_more = TIMEOUT + Duration::from_millis(10);
    let opened = within(a_little_more, "opening", Bare::open(script, until())).await;
    let mut sentinel = match opened {
        Ok(sentinel) => sentinel,
        Err(failure) => {
            one_line(&failure.to_string());
            let known = matches!(failure, Outcome::Closed | Outcome::Slow);
            assert!(known && !(hangs_up && failure == Outcome::Slow), "{failure:?}");
            return;
        }
    };
    sentinel.ping();
    let asked = async { tokio::join!(sentinel.status(until()), sentinel.body(until())) };
    let (status, body) = within(a_little_more, "a request", asked).await;
    match status {
        Ok(status) => assert!((100..1000).contains(&status), "{status}"),
        Err(Outcome::Slow) => {}
        Err(failure) => {
            let known = matches!(failure, Outcome::Closed | Outcome::Local { .. });
            assert!(known, "{failure:?}");
            one_line(&failure.to_string());
        }
    }
    assert!(body.is_none_or(|body| body.len() <= LARGEST_BODY));
    // The one of the greeting was taken by opening.
    let (mut pongs, mut end) = (0, None);
    while let Ok(Some(fact)) = timeout(TIMEOUT, sentinel.next()).await {
        assert!(end.is_none(), "{fact:?} after {end:?}");
        match fact {
            SentinelFact::Pong { .. } => pongs += 1,
            SentinelFact::Closed | SentinelFact::GoAway => end = Some(fact),
            _ => panic!("{fact:?} over a stream that only ends"),
        }
    }
    assert!(pongs <= 1, "{pongs} answers to one ping");
    assert!(end.is_some() || !hangs_up || !opens, "it hung up and nobody noticed");
}
