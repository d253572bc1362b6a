//! Whatever arrives on the admin socket: it is answered in time with a status that the socket knows, and no order
//! reaches the driver that the command line would not give. The first octet says whether the peer hangs up.

use crate::rig::{one_line, virtual_time, within};
use nllb_agent::admin::{Listener, Sources};
use nllb_agent::drain::{CLOSE_AFTER, Done, DrainRequest, LEASE, Order, Refused};
use nllb_agent::journal::Feed;
use nllb_agent::status::{History, Status};
use nllb_agent::telemetry::LogRequest;
use std::cell::OnceCell;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const STATUS: &str = include_str!("../../../../nllb-agent/src/status/example.json");
/// What is asked for may have to be waited for: half a minute for the next entry of the journal, and the driver.
const LONGEST_ANSWER: Duration = Duration::from_secs(40);
const KNOWN: [u16; 11] = [200, 400, 404, 405, 408, 409, 411, 413, 414, 431, 503];

thread_local! {
    static RIG: OnceCell<(Runtime, PathBuf)> = const { OnceCell::new() };
}

pub(crate) fn run(data: &[u8]) {
    let [manner, said @ ..] = data else { return };
    RIG.with(|rig| {
        let (runtime, path) = rig.get_or_init(agent);
        let answer = runtime.block_on(exchange(path, manner & 1 == 1, said));
        // The answers to HEAD have the length of a body and none.
        let heads = said.windows(4).any(|word| word == b"HEAD");
        check(&answer, heads);
    });
}

/// An admin socket with a driver behind it.
fn agent() -> (Runtime, PathBuf) {
    let runtime = virtual_time();
    let name = format!("nllb-fuzz-{}/admin.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let (status, mut statuses) = mpsc::channel(16);
    let (history, mut histories) = mpsc::channel(16);
    let (drain, mut drains) = mpsc::channel::<DrainRequest>(16);
    let (log, mut logs) = mpsc::channel::<LogRequest>(16);
    let sources = Sources { status, history, drain, events: Feed::new(None, 3), log };
    let document: Status = serde_json::from_str(STATUS).expect("the example");
    runtime.spawn(async move {
        loop {
            tokio::select! {
                Some(request) = statuses.recv() => request.answer(document.clone()),
                Some(request) = histories.recv() => request.answer(History::default()),
                Some(request) = drains.recv() => obey(request),
                // One that cannot: the socket says that it is busy.
                Some(request) = logs.recv() => drop(request),
                else => return,
            }
        }
    });
    let listener = {
        let _inside = runtime.enter();
        Listener::bind(&path).expect("a socket")
    };
    runtime.spawn(listener.serve(sources));
    (runtime, path)
}

fn obey(request: DrainRequest) {
    let answer = match request.order() {
        Order::Drain { close_after, force } => {
            assert!(close_after.is_none_or(|time| CLOSE_AFTER.contains(&time)), "{close_after:?}");
            if force { done() } else { Err(Refused::Unsafe("the last one".to_owned())) }
        }
        Order::Drill { lease, .. } => {
            assert!(LEASE.contains(&lease), "{lease:?}");
            done()
        }
        Order::Undrain => Err(Refused::NotFound("use 10.0.0.11:6443".to_owned())),
        Order::DrillOver => done(),
    };
    request.answer(answer);
}

fn done() -> Result<Done, Refused> {
    let backend = ([10, 0, 0, 11], 6443).into();
    Ok(Done { backend, changed: true, connections: 41, close_after_ms: None, note: None })
}

async fn exchange(path: &PathBuf, hangs_up: bool, said: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(path).await.expect("an agent");
    // Each request may have to wait as long.
    let requests = said.windows(5).filter(|word| word == b"HTTP/").count();
    let limit = LONGEST_ANSWER * u32::try_from(requests + 1).expect("few");
    let talk = async {
        // It may hang up first, and then hears no more.
        let _heard = stream.write_all(said).await;
        if hangs_up {
            let _gone = stream.shutdown().await;
        }
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer).await;
        answer
    };
    within(limit, "an exchange", talk).await
}

/// Every answer has a status of these, and a body as long as it says.
fn check(mut answers: &[u8], heads: bool) {
    while !answers.is_empty() {
        let end = answers.windows(4).position(|it| it == b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&answers[..end]).expect("a head of text");
        let body = &answers[end + 4..];
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("no status: {head}"));
        if status == 100 {
            answers = body;
            continue;
        }
        assert!(KNOWN.contains(&status), "{head}");
        if heads {
            return;
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().expect("a number"));
        let (body, rest) = body.split_at(length.min(body.len()));
        if status != 200 && !body.is_empty() {
            let line = std::str::from_utf8(body).expect("text");
            one_line(line.strip_suffix('\n').unwrap_or(line));
        }
        answers = rest;
    }
}
