//! The kind `dns` against a name server of a few lines.

use super::super::Prober;
use super::*;
use crate::health_check::{Credentials, HealthCheck, Kind};
use nllb_core::ProbeReport;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

/// Never reached where somebody answers.
const AMPLE: Duration = Duration::from_secs(60);
/// For who does not.
const SHORT: Duration = Duration::from_millis(400);

/// What the server sends back for a question.
type Answers = fn(&[u8]) -> Vec<Vec<u8>>;

fn with(question: &[u8], change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    change(&mut answer);
    answer
}

fn code(question: &[u8], code: u8) -> Vec<u8> {
    with(question, |answer| answer[3] |= code)
}

/// Answers until it is dropped; counts questions.
async fn server(answers: Answers) -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let address = socket.local_addr().expect("bound");
    let questions = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&questions);
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            asked.fetch_add(1, Ordering::Relaxed);
            for answer in answers(&buffer[..length]) {
                socket.send_to(&answer, from).await.expect("sent");
            }
        }
    });
    (address, questions)
}

fn probe(address: SocketAddr, dns: Dns, timeout: Duration) -> impl Future<Output = ProbeReport> {
    let check = HealthCheck {
        kind: Kind::Dns(dns),
        port: None,
        health_port: None,
        is_api: false,
        timeout,
        credentials: Credentials::default(),
    };
    async move { Prober::new(check).probe(address, None, |_, _| Ok(())).await }
}

async fn outcome(answers: Answers) -> Outcome {
    let (address, _) = server(answers).await;
    probe(address, Dns::default(), AMPLE).await.outcome
}

fn not_serving(code: &str) -> Outcome {
    Outcome::NotServing { reason: format!("DNS answer {code}") }
}

#[tokio::test]
async fn the_code_of_the_answer_decides() {
    assert_eq!(outcome(|question| vec![code(question, 0)]).await, Outcome::Ready);
    assert_eq!(outcome(|question| vec![code(question, 3)]).await, Outcome::Ready);
    assert_eq!(outcome(|question| vec![code(question, 2)]).await, not_serving("SERVFAIL"));
    assert_eq!(outcome(|question| vec![code(question, 5)]).await, not_serving("REFUSED"));
    assert_eq!(outcome(|question| vec![code(question, 9)]).await, not_serving("code 9"));
    let (address, _) = server(|question| vec![code(question, 5)]).await;
    let refused = Dns { accept: vec![Rcode(5)], ..Dns::default() };
    assert_eq!(probe(address, refused, AMPLE).await.outcome, Outcome::Ready);
}

#[tokio::test]
async fn what_does_not_answer_the_question_is_waited_over() {
    let answers: Answers = |question| {
        vec![
            Vec::new(),
            b"nonsense".to_vec(),
            // Another's, a question, and one that asks something else.
            with(question, |answer| answer[0] ^= 1),
            question.to_vec(),
            with(question, |answer| answer[13] ^= 1),
            code(question, 2),
        ]
    };
    assert_eq!(outcome(answers).await, not_serving("SERVFAIL"));
}

#[tokio::test]
async fn one_lost_datagram_is_no_silence_and_two_are() {
    let (address, questions) = server(|_| Vec::new()).await;
    assert_eq!(probe(address, Dns::default(), SHORT).await.outcome, Outcome::Unanswered);
    assert_eq!(questions.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let address = socket.local_addr().expect("bound");
    drop(socket);
    assert_eq!(probe(address, Dns::default(), AMPLE).await.outcome, Outcome::Refused);
}

#[tokio::test]
async fn over_tcp_each_message_has_its_length_before_it() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listening");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let length = stream.read_u16().await.expect("a length");
        let mut question = vec![0; usize::from(length)];
        stream.read_exact(&mut question).await.expect("a question");
        let answer = code(&question, 3);
        stream.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat()).await.expect("sent");
    });
    let dns = Dns { tcp: true, ..Dns::default() };
    let report = probe(address, dns.clone(), AMPLE).await;
    assert_eq!(report.outcome, Outcome::Ready);
    assert!(report.rtt.is_some(), "of the handshake");
    // It accepts and says nothing.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listening");
    let address = silent.local_addr().expect("bound");
    assert_eq!(probe(address, dns, SHORT).await.outcome, Outcome::Hung);
}
