//! Lists and ends the sockets of one network namespace, over a netlink socket opened in it.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use aya::maps::MapData;
use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_sock_diag::inet::{InetResponseHeader, SocketId, StateFlags, Timer};
use netlink_packet_sock_diag::{SockDiagDestroy, SockDiagMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use nllb_common::maps::{Protocol, SocketRecord, socket_flags};
use socket2::SockRef;

use super::Order;
use super::message::{self, Family, List};
use super::progress::Progress;
use crate::datapath::sys;

/// The most that the kernel puts into one answer, whatever room there is.
const ANSWER_BYTES: usize = 32 * 1024;
/// How often a list that the kernel calls inconsistent is asked for anew.
const TRIES: usize = 5;
/// The most sockets of one list. It bounds the memory that a hostile pod can make the agent use. The rest is
/// ended when the order comes again, as it does while connections are left.
const MOST: usize = 20_000;

/// Every state in which an application, or the kernel for it, can still wait for the peer. Not
/// TIME_WAIT, which waits for nothing, and not what no connecting socket is ever in.
const CONNECTED: StateFlags = StateFlags::SYN_SENT
    .union(StateFlags::ESTABLISHED)
    .union(StateFlags::FIN_WAIT1)
    .union(StateFlags::FIN_WAIT2)
    .union(StateFlags::CLOSE_WAIT)
    .union(StateFlags::CLOSING)
    .union(StateFlags::LAST_ACK);

/// One socket, to be ended.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Cookie of its network namespace; 0 for the agent's own.
    pub(super) netns: u64,
    protocol: Protocol,
    family: Family,
    id: SocketId,
}

impl Target {
    /// The kernel's number for the socket, never used twice.
    pub(super) const fn cookie(&self) -> u64 {
        u64::from_ne_bytes(self.id.cookie)
    }

    /// The same in a network namespace.
    pub(super) fn of(self, netns: u64) -> Self {
        Self { netns, ..self }
    }

    #[cfg(test)]
    pub(super) fn example(cookie: u64) -> Self {
        let id = SocketId { cookie: cookie.to_ne_bytes(), ..SocketId::new_v4() };
        Self { netns: 0, protocol: Protocol::Tcp, family: Family::V4, id }
    }
}

impl Order {
    fn states(self) -> StateFlags {
        if self.waiting.is_some() { StateFlags::SYN_SENT } else { CONNECTED }
    }

    /// Not those that their application has closed already: nobody waits for them, and kernels before 6.11
    /// never let go of one that is ended then.
    fn means(self, socket: &InetResponseHeader, record: &SocketRecord) -> bool {
        let Self { backend, epoch, kept, waiting, address: _, datagrams: _, count: _, spread: _ } =
            self;
        let spared = if kept { 0 } else { socket_flags::KEPT } | socket_flags::BYPASS;
        let sleeps =
            |longest| matches!(&socket.timer, Some(Timer::Retransmit(next, _)) if *next > longest);
        socket.inode != 0
            && waiting.is_none_or(sleeps)
            && record.backend == backend
            && record.epoch == epoch
            && record.flags & spared == 0
    }
}

/// A netlink socket. It belongs to the network namespace in which it was opened, and keeps it alive.
pub(super) struct Diag {
    socket: Socket,
    sequence: u32,
    answer: Vec<u8>,
    progress: Arc<Progress>,
}

impl Diag {
    /// Opens one in the network namespace of the calling thread.
    pub(super) fn open(progress: &Arc<Progress>) -> io::Result<Self> {
        let (socket, progress) = (Socket::new(NETLINK_SOCK_DIAG)?, Arc::clone(progress));
        Ok(Self { socket, sequence: 0, answer: Vec::with_capacity(ANSWER_BYTES), progress })
    }

    /// Cookie of its network namespace; none before Linux 5.14.
    pub(super) fn netns_cookie(&self) -> Option<u64> {
        sys::netns_cookie(self.socket.as_fd()).ok()
    }

    /// Every TCP socket that an order means, however many it wants ended.
    pub(super) fn translated(
        &mut self,
        storage: &MapData,
        order: Order,
    ) -> io::Result<Vec<Target>> {
        let meant = |socket: &InetResponseHeader, record: Option<&SocketRecord>| {
            record.is_some_and(|record| order.means(socket, record))
        };
        let mut targets = Vec::new();
        for &family in Family::reaching(order.address) {
            let (states, peer) = (|| order.states(), Some(order.address));
            let list = || List::new(Protocol::Tcp, family, states(), Some(storage), peer);
            let found = self.list(list, MOST, meant)?;
            let target = |(id, _)| Target { netns: 0, protocol: Protocol::Tcp, family, id };
            targets.extend(found.into_iter().map(target));
        }
        Ok(targets)
    }

    /// The same of datagram sockets that are connected. The kernel lists no storages of these, so `is_ours` says
    /// by its cookie whether we have connected one to the backend.
    pub(super) fn translated_datagrams(
        &mut self,
        order: Order,
        is_ours: impl Fn(u64) -> bool,
    ) -> io::Result<Vec<Target>> {
        let meant = |socket: &InetResponseHeader, _: Option<&SocketRecord>| {
            socket.inode != 0 && is_ours(u64::from_ne_bytes(socket.socket_id.cookie))
        };
        let mut targets = Vec::new();
        for &family in Family::reaching(order.address) {
            // What the kernel calls a datagram socket that is connected.
            let (states, peer) = (|| StateFlags::ESTABLISHED, Some(order.address));
            let list = || List::new(Protocol::Udp, family, states(), None, peer);
            let found = self.list(list, MOST, meant)?;
            let target = |(id, _)| Target { netns: 0, protocol: Protocol::Udp, family, id };
            targets.extend(found.into_iter().map(target));
        }
        Ok(targets)
    }

    /// The cookie of the network namespace as the record of any socket in it tells; none without one.
    pub(super) fn recorded_netns(&mut self, storage: &MapData) -> io::Result<Option<u64>> {
        for family in Family::ALL {
            // The record of a probe does not say.
            let list = || List::new(Protocol::Tcp, family, CONNECTED, Some(storage), None);
            let found =
                self.list(list, 1, |_, record| record.is_some_and(|record| record.netns != 0))?;
            if let Some((_, Some(record))) = found.first() {
                return Ok(Some(record.netns));
            }
        }
        Ok(None)
    }

    /// Whether the kernel lists storages and ends sockets for us; what it says if not. Proven on a listener
    /// of our own: a socket that is not there would be missed before rights are looked at.
    pub(super) fn check(&mut self, storage: &MapData) -> Result<(), String> {
        let nobody = Some(([0, 0, 0, 0], 0).into());
        let none = || List::new(Protocol::Tcp, Family::V4, CONNECTED, Some(storage), nobody);
        self.list(none, 0, |_, _| false)
            .map_err(|error| format!("the kernel does not list sockets for us: {error}"))?;
        let mut id = SocketId::new_v4();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        // Without a loopback address the answer is that of a socket that is not there.
        if let Ok(listener) = &listener {
            let local = listener.local_addr().map_err(|error| error.to_string())?;
            let cookie = SockRef::from(listener).cookie().map_err(|error| error.to_string())?;
            (id.source_address, id.source_port) = (local.ip(), local.port());
            id.cookie = cookie.to_ne_bytes();
        }
        let ended =
            self.end_one(&Target { netns: 0, protocol: Protocol::Tcp, family: Family::V4, id });
        ended.map(drop).map_err(|error| refusal(&error))
    }

    /// Ends sockets; says how many there still were, and why the first of those that it could not end stays.
    /// One at a time: so the one at which the kernel waits is known, and the others are not lost with it.
    pub(super) fn end(&mut self, targets: &[Target]) -> (u64, Option<io::Error>) {
        let (mut ended, mut refused) = (0, None);
        for target in targets {
            if self.progress.may_end(target.cookie()) {
                match self.end_one(target) {
                    Ok(was_there) => ended += u64::from(was_there),
                    Err(error) => refused = refused.or(Some(error)),
                }
                self.progress.ended();
            }
        }
        (ended, refused)
    }

    /// Ends a socket; false for one that was not there any more.
    fn end_one(&mut self, target: &Target) -> io::Result<bool> {
        let request =
            message::request(target.protocol, target.family, StateFlags::all(), target.id.clone());
        let destroy = SockDiagDestroy::new(SockDiagMessage::InetRequest(request));
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut bytes = Vec::new();
        message::append(&mut bytes, destroy, NLM_F_REQUEST | NLM_F_ACK, sequence);
        self.socket.send(&bytes, 0)?;
        let mut ended = None;
        while ended.is_none() {
            self.receive(|message| {
                // Not what is left of a request before.
                if let (NetlinkPayload::Error(answer), true) =
                    (&message.payload, message.header.sequence_number == sequence)
                {
                    ended = Some(outcome(answer));
                }
                Ok(())
            })?;
        }
        ended.unwrap_or(Ok(false))
    }

    /// Lists sockets with their records, at most so many; anew as long as the kernel says that the list is
    /// not consistent.
    fn list(
        &mut self,
        list: impl Fn() -> List,
        most: usize,
        meant: impl Fn(&InetResponseHeader, Option<&SocketRecord>) -> bool,
    ) -> io::Result<Vec<(SocketId, Option<SocketRecord>)>> {
        let mut error = io::Error::from(io::ErrorKind::Interrupted);
        for _ in 0..TRIES {
            match self.list_once(list(), most, &meant) {
                Err(again)
                    if again.kind() == io::ErrorKind::Interrupted
                        || again.raw_os_error() == Some(libc::ENOBUFS) =>
                {
                    error = again;
                }
                done => return done,
            }
        }
        Err(error)
    }

    /// Asks once and reads to the end of the list.
    fn list_once(
        &mut self,
        list: List,
        most: usize,
        meant: impl Fn(&InetResponseHeader, Option<&SocketRecord>) -> bool,
    ) -> io::Result<Vec<(SocketId, Option<SocketRecord>)>> {
        let mut found = Vec::new();
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut request = Vec::new();
        message::append(&mut request, list, NLM_F_REQUEST | NLM_F_DUMP, sequence);
        self.socket.send(&request, 0)?;
        let (mut done, mut consistent) = (false, true);
        while !done {
            self.receive(|message| {
                // What is left of a list that was given up.
                if message.header.sequence_number != sequence {
                    return Ok(());
                }
                consistent &= message.header.flags & NLM_F_DUMP_INTR == 0;
                #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else is in a list")]
                match message.payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                        let header = response.header;
                        let record = message::record(&response.nlas);
                        if found.len() < most && meant(&header, record.as_ref()) {
                            found.push((header.socket_id, record));
                        }
                    }
                    NetlinkPayload::Done(message) if message.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-message.code));
                    }
                    NetlinkPayload::Done(_) => done = true,
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::Overrun(_) => consistent = false,
                    _ => {}
                }
                Ok(())
            })?;
        }
        if consistent { Ok(found) } else { Err(io::ErrorKind::Interrupted.into()) }
    }

    /// Reads one answer, which is several messages.
    fn receive(
        &mut self,
        mut take: impl FnMut(NetlinkMessage<SockDiagMessage>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.answer.clear();
        let length = loop {
            // With MSG_TRUNC the length is the whole one, also of what did not fit.
            match self.socket.recv(&mut self.answer, libc::MSG_TRUNC) {
                // A signal; the thread has none of its own.
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                length => break length?,
            }
        };
        self.progress.beat();
        if length > self.answer.len() {
            return Err(io::Error::other("an answer of the kernel is longer than any should be"));
        }
        let mut rest = self.answer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::deserialize(rest).map_err(io::Error::other)?;
            let length = usize::try_from(message.header.length).map_err(io::Error::other)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            take(message)?;
        }
        Ok(())
    }
}

/// Why the kernel ends no sockets for us, as an operator should read it.
fn refusal(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => {
            "this kernel is built without CONFIG_INET_DIAG_DESTROY".to_owned()
        }
        Some(libc::EPERM) => "not permitted to end sockets; that needs CAP_NET_ADMIN".to_owned(),
        _ => format!("the kernel does not end sockets for us: {error}"),
    }
}

/// Whether the socket was ended; false for one that was not there any more.
fn outcome(answer: &ErrorMessage) -> io::Result<bool> {
    match answer.code {
        None => Ok(true),
        Some(code) if code.get() == -libc::ENOENT => Ok(false),
        Some(_) => Err(answer.to_io()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of the kernel's answer to the request to end a socket.
    fn answered(code: i32) -> Result<bool, String> {
        // A header (length, NLMSG_ERROR), the code, and the header of the request that it answers.
        let words = [36, 2, 0, 0, code.cast_unsigned(), 0, 0, 0, 0];
        let bytes = words.map(u32::to_ne_bytes).concat();
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(&bytes).expect("an answer");
        let NetlinkPayload::Error(answer) = message.payload else { panic!("{message:?}") };
        outcome(&answer).map_err(|error| refusal(&error))
    }

    #[test]
    fn what_the_kernel_says_tells_whether_it_ends_sockets_for_us_and_why_not() {
        assert_eq!(answered(0), Ok(true));
        assert_eq!(answered(-libc::ENOENT), Ok(false), "only that it was not there");
        for (errno, words) in [
            (libc::EOPNOTSUPP, "this kernel is built without CONFIG_INET_DIAG_DESTROY"),
            (libc::EPERM, "not permitted to end sockets; that needs CAP_NET_ADMIN"),
            (
                libc::EINVAL,
                "the kernel does not end sockets for us: Invalid argument (os error 22)",
            ),
        ] {
            assert_eq!(answered(-errno), Err(words.to_owned()));
        }
    }
}
