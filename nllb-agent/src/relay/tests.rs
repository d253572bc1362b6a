//! Relaying, the loop guard and the limits, with dials of our own.

use super::*;
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicBool;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// An address that was free a moment ago.
async fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    listener.local_addr().expect("an address")
}

/// A backend that reads to the end, then answers how much it read.
async fn backend() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            tokio::spawn(async move {
                let mut text = String::new();
                stream.read_to_string(&mut text).await.expect("text");
                let answer = format!("{} bytes", text.len());
                stream.write_all(answer.as_bytes()).await.expect("written");
            });
        }
    });
    address
}

/// Waits for the listener by dialling it: a refused connect is tried again after a yield.
async fn connect(address: SocketAddr) -> TcpStream {
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => return stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Yields until the listener's status is as wanted.
async fn until(relays: &Relays, wanted: impl Fn(&Listener) -> bool) -> Listener {
    let seen = async {
        loop {
            if let Some(listener) = relays.status().into_iter().find(&wanted) {
                return listener;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen).await.expect("that status")
}

#[tokio::test]
async fn a_connection_is_relayed_with_its_half_close() {
    let (address, backend) = (free().await, backend().await);
    let mut relays = Relays::default();
    relays.set_with([address], &move |_| TcpStream::connect(backend));
    let mut client = connect(address).await;
    client.write_all(b"hello").await.expect("written");
    client.shutdown().await.expect("half closed");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an answer");
    assert_eq!(answer, "5 bytes");
    let listener = until(&relays, |listener| listener.active == 0).await;
    assert_eq!(listener.state, ListenerState::Listening);
    assert_eq!((listener.relayed, listener.failed, listener.loops), (1, 0, 0));
}

#[tokio::test]
async fn a_dial_that_comes_back_is_closed_and_starts_no_chain() {
    let address = free().await;
    let mut relays = Relays::default();
    // In earnest: nothing translates here, so the dial arrives at the listener again.
    relays.set([address]);
    let mut client = connect(address).await;
    let mut nothing = Vec::new();
    // An end or a reset, as the timing goes; either is closed.
    let _closed = client.read_to_end(&mut nothing).await;
    assert!(nothing.is_empty());
    // What is accepted in the pause is closed without a dial, and the chain with it.
    let mut client = connect(address).await;
    let _closed = client.read_to_end(&mut nothing).await;
    let listener = until(&relays, |listener| listener.loops >= 2).await;
    assert!(listener.loops < 10, "{listener:?}");
    assert_eq!((listener.relayed, listener.active), (0, 0));
}

#[tokio::test]
async fn a_failed_dial_closes_the_client_and_is_counted() {
    let (address, nobody) = (free().await, free().await);
    let mut relays = Relays::default();
    relays.set_with([address], &move |_| TcpStream::connect(nobody));
    let mut client = connect(address).await;
    assert_eq!(client.read(&mut [0; 8]).await.expect("an end"), 0);
    until(&relays, |listener| listener.failed == 1).await;
}

#[tokio::test]
async fn connections_above_the_limit_are_closed() {
    let (address, backend) = (free().await, backend().await);
    let mut relays = Relays { places: Arc::new(Semaphore::new(1)), running: BTreeMap::new() };
    relays.set_with([address], &move |_| TcpStream::connect(backend));
    let first = connect(address).await;
    until(&relays, |listener| listener.active == 1).await;
    let mut second = connect(address).await;
    assert_eq!(second.read(&mut [0; 8]).await.expect("an end"), 0);
    until(&relays, |listener| listener.over_limit == 1).await;
    drop(first);
    until(&relays, |listener| listener.active == 0).await;
}

/// A listener that cannot accept for a while, as when descriptors have run out.
struct Failing {
    listener: TcpListener,
    fails: Arc<AtomicBool>,
}

impl Accept for Failing {
    fn poll_accept(&self, cx: &mut task::Context<'_>) -> Poll<io::Result<TcpStream>> {
        if self.fails.load(Ordering::Relaxed) {
            return Poll::Ready(Err(rustix::io::Errno::MFILE.into()));
        }
        Accept::poll_accept(&self.listener, cx)
    }
}

#[tokio::test]
async fn a_failing_accept_ends_neither_the_listener_nor_what_is_relayed() {
    let backend = backend().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let fails = Arc::new(AtomicBool::new(false));
    let state = Arc::new(State::default());
    let context = Context {
        address,
        state: Arc::clone(&state),
        places: Arc::new(Semaphore::new(2)),
        dial: move |_| TcpStream::connect(backend),
    };
    let listener = Failing { listener, fails: Arc::clone(&fails) };
    let task = tokio::spawn(async move { accept(&listener, &context).await });
    let mut relays = Relays::default();
    relays.running.insert(address, Relay { state, task });

    let mut early = connect(address).await;
    until(&relays, |listener| listener.active == 1).await;
    fails.store(true, Ordering::Relaxed);
    let mut late = connect(address).await;
    let failed = until(&relays, |listener| listener.state != ListenerState::Listening).await;
    let reason = "Too many open files (os error 24)".to_owned();
    assert_eq!((failed.state, failed.active), (ListenerState::Failed(reason), 1));

    fails.store(false, Ordering::Relaxed);
    until(&relays, |listener| listener.state == ListenerState::Listening).await;
    for stream in [&mut early, &mut late] {
        stream.write_all(b"hello").await.expect("written");
        stream.shutdown().await.expect("half closed");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert_eq!(answer, "5 bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_port_of_another_program_is_a_state_and_taken_once_it_is_free() {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let address = other.local_addr().expect("an address");
    let mut relays = Relays::default();
    relays.set([address]);
    until(&relays, |listener| listener.state == ListenerState::OwnedByOther).await;
    drop(other);
    tokio::time::advance(RETRY).await;
    until(&relays, |listener| listener.state == ListenerState::Listening).await;
}

#[tokio::test]
async fn addresses_no_longer_wanted_are_closed_and_the_others_go_on() {
    let (kept, dropped, backend) = (free().await, free().await, backend().await);
    let mut relays = Relays::default();
    let dial = move |_| TcpStream::connect(backend);
    relays.set_with([kept, dropped], &dial);
    let mut staying = connect(kept).await;
    let mut leaving = connect(dropped).await;
    until(&relays, |listener| listener.address == dropped && listener.active == 1).await;
    until(&relays, |listener| listener.address == kept && listener.active == 1).await;
    relays.set_with([kept], &dial);
    assert_eq!(leaving.read(&mut [0; 8]).await.unwrap_or(0), 0);
    staying.write_all(b"still here").await.expect("written");
    staying.shutdown().await.expect("half closed");
    let mut answer = String::new();
    staying.read_to_string(&mut answer).await.expect("an answer");
    assert_eq!(answer, "10 bytes");
    assert_eq!(relays.status().len(), 1);
}
