//! Where a connect comes from: a network namespace, as the kernel programs tell it from the host's.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nllb_common::maps::{Control, Scope};

use super::{monotonic_ns, sys};

/// What a connect came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// How long it took.
    pub took: Duration,
}

/// Runs `work` in the network namespace that `namespace` is the file of, on a thread of its own; in this
/// one where there is none.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn within<T: Send>(
    namespace: Option<&Path>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let enter = || {
        if let Some(namespace) = namespace {
            setns(File::open(namespace)?, CloneFlags::CLONE_NEWNET)?;
        }
        work()
    };
    let died = || io::Error::other("the thread for the network namespace died");
    thread::scope(|scope| scope.spawn(enter).join().unwrap_or_else(|_| Err(died())))
}

/// From which side of the host the kernel programs see a connect from this thread's namespace. A kernel
/// that does not tell namespaces by their cookie (before 5.14) cannot be asked.
///
/// # Errors
/// When the namespace cannot be told, or the agent has not yet found the host's.
pub fn scope(control: &Control) -> io::Result<Scope> {
    if control.host_netns == 0 {
        return Err(io::Error::other("the agent has not found the host's network namespace yet"));
    }
    let any = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0)))?;
    let own = sys::netns_cookie(&any)? == control.host_netns;
    Ok(if own { Scope::Host } else { Scope::Other })
}

/// Connects.
///
/// # Errors
/// As of `connect(2)`, or when it takes longer than `patience`.
pub fn connect(address: SocketAddr, patience: Duration) -> io::Result<Connected> {
    let since = monotonic_ns();
    let stream = TcpStream::connect_timeout(&address, patience)?;
    let took = Duration::from_nanos(monotonic_ns().saturating_sub(since));
    Ok(Connected { took, peer: stream.peer_addr()? })
}
