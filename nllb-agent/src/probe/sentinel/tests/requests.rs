//! Readiness and questions over a sentinel.

use super::*;
use crate::health_check::ClientIdentity;
use crate::probe::get::LARGEST_BODY;
use hyper::Request;
use hyper::header::AUTHORIZATION;
use nllb_core::KubeVersion;
use std::path::Path;

fn body(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn token(pem_or_token: &str) -> Option<Material> {
    Some(Material::Inline(pem_or_token.as_bytes().to_vec()))
}

#[tokio::test]
async fn the_status_of_the_answer_decides_and_the_connection_stays() {
    let authority = Authority::new();
    let (answer, status) = tokio::sync::watch::channel(200);
    let backend = Backend::answering(&authority, move |request| {
        assert_eq!(request.uri().path(), "/readyz");
        assert_eq!(request.method(), "GET");
        Some((*status.borrow(), body("ok")))
    })
    .await;
    let mut sentinel = sentinel(&authority, &backend).await;
    for (status, outcome) in [
        (200, Outcome::Ready),
        (401, Outcome::Unauthorized),
        (403, Outcome::NotReady { status: 403 }),
        (500, Outcome::NotReady { status: 500 }),
        (200, Outcome::Ready),
    ] {
        answer.send_replace(status);
        let report = sentinel.probe().await;
        assert_eq!(report.outcome, outcome);
        assert_eq!((report.rtt, report.certificate), (None, None));
        assert!(report.latency > Duration::ZERO && report.unix_time > 1_700_000_000);
    }
    round_trip(&mut sentinel).await;
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_slow_while_pongs_do() {
    let authority = Authority::new();
    let backend = Backend::answering(&authority, |_| None).await;
    let prober = prober(SHORT * 20, trusting(&authority));
    let (mut sentinel, _) = open(&prober, backend.address).await.expect("open");
    let probe = tokio::spawn(sentinel.probe());
    let mut pongs = 0;
    while !probe.is_finished() {
        round_trip(&mut sentinel).await;
        pongs += 1;
    }
    let report = probe.await.expect("no panic");
    assert_eq!(report.outcome, Outcome::Slow);
    assert!(report.latency >= SHORT * 20 && pongs > 1, "{pongs} in {:?}", report.latency);
    round_trip(&mut sentinel).await;
}

#[tokio::test]
async fn many_answers_that_come_too_late_harm_nothing() {
    let authority = Authority::new();
    let (word, heard) = tokio::sync::watch::channel(false);
    let script = move |stream| {
        let mut heard = heard.clone();
        async move {
            let mut connection = h2::server::handshake(stream).await.expect("a preface");
            let mut open = Vec::new();
            loop {
                tokio::select! {
                    Ok(_) = heard.changed() => {
                        for respond in open.drain(..) {
                            backend::reply(respond, 500, body("late"));
                        }
                    }
                    Some(Ok((_, respond))) = connection.accept() => open.push(respond),
                    else => return,
                }
            }
        }
    };
    let backend = Backend::start(&authority, &["h2"], script).await;
    let prober = prober(Duration::from_millis(500), trusting(&authority));
    let (mut sentinel, _) = open(&prober, backend.address).await.expect("open");
    let probes: Vec<_> = (0..100).map(|_| tokio::spawn(sentinel.probe())).collect();
    for probe in probes {
        assert_eq!(probe.await.expect("no panic").outcome, Outcome::Slow);
    }
    word.send_replace(true);
    round_trip(&mut sentinel).await;
    assert_eq!(sentinel.probe().await.outcome, Outcome::Slow);
}

#[tokio::test]
async fn a_body_has_a_limit_and_too_much_of_it_ends_only_the_request() {
    let authority = Authority::new();
    let (length, size) = tokio::sync::watch::channel(LARGEST_BODY);
    let answer = move |_: Request<()>| Some((200, Bytes::from(vec![b'x'; *size.borrow()])));
    let backend = Backend::answering(&authority, answer).await;
    let mut sentinel = sentinel(&authority, &backend).await;
    assert_eq!(sentinel.probe().await.outcome, Outcome::Ready);
    length.send_replace(LARGEST_BODY + 1);
    assert_eq!(sentinel.probe().await.outcome, Outcome::Closed);
    assert_eq!(sentinel.ask(Question::Version, "").await, None);
    round_trip(&mut sentinel).await;
    length.send_replace(0);
    assert_eq!(sentinel.probe().await.outcome, Outcome::Ready);
}

/// Puts a file in the place of another, as those who rotate credentials do.
fn replace(file: &Path, content: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, content).expect("written");
    std::fs::rename(next, file).expect("renamed");
}

#[tokio::test]
async fn a_new_token_needs_no_new_connection_but_new_certificates_do() {
    let authority = Authority::new();
    let backend = Backend::answering(&authority, |request| {
        let known = request.headers().get(AUTHORIZATION).is_some_and(|it| it == "Bearer new");
        Some((if known { 200 } else { 401 }, Bytes::new()))
    })
    .await;
    let dir = tempfile::tempdir().expect("a directory");
    let files = ["token", "ca.crt", "client.crt", "client.key"].map(|name| dir.path().join(name));
    let [token, ca, certificate, key] = &files;
    let identity = authority.client();
    for (file, content) in
        files.iter().zip(["old\n", &authority.pem(), identity.0.as_str(), identity.1.as_str()])
    {
        replace(file, content);
    }
    let file = |path: &Path| Material::File(path.to_owned());
    let credentials = Credentials {
        authority: Some(file(ca)),
        client: Some(ClientIdentity { certificate: file(certificate), key: file(key) }),
        token: Some(file(token)),
        ..Credentials::default()
    };
    let same = prober(AMPLE, credentials);
    let (sentinel, _) = open(&same, backend.address).await.expect("open");
    assert_eq!(sentinel.probe().await.outcome, Outcome::CredentialsRefused);

    replace(token, "new\n");
    // Files that are written again as they were change nothing either.
    replace(ca, &authority.pem());
    assert!(sentinel.is_current(&same));
    assert_eq!(sentinel.probe().await.outcome, Outcome::Ready);
    let reloaded = Prober::new(same.check().clone());
    assert!(sentinel.is_current(&reloaded));

    let other_kind = HealthCheck { kind: Kind::Tls, ..same.check().clone() };
    assert!(!sentinel.is_current(&Prober::new(other_kind)));
    // Whether it is still so after a probe, which is what looks at the files.
    let stays = async |prober| {
        sentinel.probe().await;
        sentinel.is_current(prober)
    };
    std::fs::remove_file(ca).expect("removed");
    assert!(stays(&same).await, "a lost file is no reason");
    replace(ca, &(authority.pem() + &Authority::new().pem()));
    assert!(!stays(&same).await && !stays(&reloaded).await, "another authority");
    replace(ca, &authority.pem());
    assert!(stays(&same).await);
    let (renewed, its_key) = authority.client();
    replace(key, &its_key);
    replace(certificate, &renewed);
    assert!(!stays(&same).await, "another client certificate");
    replace(certificate, &identity.0);
    replace(key, &identity.1);
    assert!(stays(&same).await);
    // One that was reloaded looks by itself, too.
    replace(ca, &(authority.pem() + &Authority::new().pem()));
    reloaded.probe(backend.address, None, |_, _| Ok(())).await;
    assert!(sentinel.is_current(&same) && !sentinel.is_current(&reloaded));
}

#[tokio::test]
async fn questions_are_answered_and_some_only_asked_by_who_is_known() {
    let authority = Authority::new();
    let backend = Backend::answering(&authority, |request| {
        let known = request.headers().contains_key(AUTHORIZATION);
        let target = request.uri().path_and_query().map(ToString::to_string);
        Some(match target.as_deref() {
            Some("/version") => (200, body(r#"{"major":"1","gitVersion":"v1.30.4+k3s1"}"#)),
            Some("/api/v1/nodes?limit=1") if known => {
                (200, body(r#"{"metadata":{"remainingItemCount":41},"items":[{}]}"#))
            }
            Some("/api/v1/nodes/node-a.example") if known => {
                (200, body(r#"{"status":{"nodeInfo":{"kubeletVersion":"v1.29.0"}}}"#))
            }
            _ => (404, body("{}")),
        })
    })
    .await;
    let anonymous = sentinel(&authority, &backend).await;
    let known = Credentials { token: token("secret"), ..trusting(&authority) };
    let known = open(&prober(AMPLE, known), backend.address).await.expect("open").0;
    let version = |text: &str| text.parse::<KubeVersion>().expect("a version");

    let here = "node-a.example";
    for sentinel in [&anonymous, &known] {
        let answer = sentinel.ask(Question::Version, "").await;
        assert_eq!(answer, Some(Answer::Version(version("v1.30.4+k3s1"))));
    }
    assert_eq!(known.ask(Question::Nodes, "").await, Some(Answer::Nodes(42)));
    let kubelet = known.ask(Question::Kubelet, here).await;
    assert_eq!(kubelet, Some(Answer::KubeletVersion(version("v1.29.0"))));
    assert_eq!(anonymous.ask(Question::Nodes, "").await, None);
    assert_eq!(anonymous.ask(Question::Kubelet, here).await, None);
    for name in ["node-b", "../../version", "a/b", "", "a b"] {
        assert_eq!(known.ask(Question::Kubelet, name).await, None, "{name}");
    }
}
