//! What a backend answers to a probe: there is an outcome in time, it fits what was said, and no word of the
//! backend's gets into a line as it is. The first octet says which question it is, the second one how the
//! backend talks.

use crate::rig::{one_line, virtual_time, within};
use crate::script::Script;
use nllb_agent::health_check::{Accept, Credentials, Get, HealthCheck, Kind, Material};
use nllb_agent::probe::{Prober, fuzz};
use nllb_core::{Answer, KubeVersion, Outcome, Question, SubjectName};
use std::cell::OnceCell;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;

const TIMEOUT: Duration = Duration::from_secs(2);
const AUTHORITY: &[u8] = include_bytes!("../../authority.pem");

thread_local! {
    static RIG: OnceCell<(Runtime, Prober)> = const { OnceCell::new() };
}

pub(crate) fn run(data: &[u8]) {
    let [question, manner, said @ ..] = data else { return };
    RIG.with(|rig| {
        let (runtime, prober) = rig.get_or_init(|| (virtual_time(), prober()));
        match question % 5 {
            0 => http(runtime, *manner, said),
            1 => grpc(runtime, *manner, said),
            2 => tls(runtime, prober, *manner, said),
            3 => certificates(prober, said),
            _ => answers(*manner, said),
        }
    });
}

fn prober() -> Prober {
    let authority = Some(Material::Inline(AUTHORITY.to_vec()));
    Prober::new(HealthCheck {
        kind: Kind::Https(Get { path: "/readyz".to_owned(), accept: Accept::default() }),
        port: None,
        health_port: None,
        is_api: true,
        timeout: TIMEOUT,
        credentials: Credentials { authority, ..Credentials::default() },
    })
}

/// The outcome of a question that has its time, and a little more for what ends it.
fn outcome<T>(runtime: &Runtime, ask: impl AsyncFnOnce(std::time::Instant) -> T) -> T {
    runtime.block_on(async {
        let deadline = Instant::now() + TIMEOUT;
        within(TIMEOUT + Duration::from_millis(10), "a probe", ask(deadline.into_std())).await
    })
}

fn http(runtime: &Runtime, manner: u8, said: &[u8]) {
    let script = Script::new(&[], manner, said);
    let outcome = outcome(runtime, async |deadline| fuzz::http(script, deadline).await);
    check(&outcome, manner);
    let line = |begin: &[u8]| said.windows(begin.len()).any(|part| part == begin);
    match &outcome {
        Outcome::Ready => assert!(line(b" 2") || line(b" 3"), "ready without a status"),
        Outcome::NotReady { status } => {
            assert!(line(format!(" {status}").as_bytes()), "nobody said {status}");
        }
        Outcome::Unauthorized => assert!(line(b" 401")),
        _ => {}
    }
}

fn grpc(runtime: &Runtime, manner: u8, said: &[u8]) {
    let script = Script::new(&[], manner, said);
    let outcome = outcome(runtime, async |deadline| fuzz::grpc(script, deadline).await);
    check(&outcome, manner);
    // The message that says so, whatever else is in it.
    let serving = said.windows(2).any(|field| field[0] & 0x7f == 8 && field[1] & 0x7f == 1);
    assert!(outcome != Outcome::Ready || serving, "serving, and nobody said so");
}

fn tls(runtime: &Runtime, prober: &Prober, manner: u8, said: &[u8]) {
    let script = Script::new(&[], manner, said);
    let done = outcome(runtime, async |deadline| fuzz::tls(prober, script, deadline).await);
    let failure = done.expect_err("a handshake without a key");
    check(&failure, manner);
}

/// Each with its length before it.
fn certificates(prober: &Prober, mut said: &[u8]) {
    let mut shown = Vec::new();
    while let [high, low, rest @ ..] = said {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (one, others) = rest.split_at(length);
        shown.push(one);
        said = others;
    }
    let (verdict, facts) = fuzz::certificates(prober, &shown);
    if let Err(refused) = verdict {
        one_line(&refused.to_string());
    }
    let Some(facts) = facts else { return };
    for text in [&facts.issuer, &facts.subject] {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
    for name in &facts.names {
        if let SubjectName::Dns(name) = name {
            assert!(!name.contains(char::is_control), "{name:?}");
        }
    }
}

/// The answers to what is asked over a sentinel.
fn answers(manner: u8, body: &[u8]) {
    let question = [Question::Version, Question::Nodes, Question::Kubelet][usize::from(manner % 3)];
    match (question, fuzz::answer(question, body)) {
        (_, None) | (Question::Nodes, Some(Answer::Nodes(_))) => {}
        (Question::Version, Some(Answer::Version(version)))
        | (Question::Kubelet, Some(Answer::KubeletVersion(version))) => {
            let KubeVersion { text, .. } = &version;
            one_line(text);
            assert!(text.len() <= 64, "{text}");
            assert_eq!(text.parse().as_ref(), Ok(&version), "{text}");
        }
        (question, Some(answer)) => panic!("{answer:?} to {question:?}"),
    }
}

/// What holds of every outcome of a connection that was established.
fn check(outcome: &Outcome, manner: u8) {
    one_line(&outcome.to_string());
    let hangs_up = manner & 0x80 != 0;
    match outcome {
        // These come of dialling, and of this host.
        Outcome::Silent | Outcome::Refused | Outcome::Unreachable | Outcome::Local { .. } => {
            panic!("{outcome:?} of an established connection")
        }
        Outcome::Hung | Outcome::Slow => assert!(!hangs_up, "{outcome:?} after the end"),
        _ => {}
    }
}
