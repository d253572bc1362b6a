//! One question to the kernel over rtnetlink, and its answer.

use std::io;

use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

/// Far more than an answer about one thing takes.
const ANSWER_BYTES: usize = 32 << 10;

/// A socket to ask over.
#[derive(Debug)]
pub(super) struct Rtnetlink {
    socket: Socket,
    sequence: u32,
}

impl Rtnetlink {
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        // The kernel has answered when the request was sent; a wait would be for ever.
        socket.set_non_blocking(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// What the kernel answers. An error that it answers is in there.
    pub(super) fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<NetlinkPayload<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        (header.flags, header.sequence_number) = (flags, self.sequence);
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answer = Vec::with_capacity(ANSWER_BYTES);
        loop {
            answer.clear();
            self.socket.recv(&mut answer, 0)?;
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer);
            let message = message.map_err(io::Error::other)?;
            // Not the answer to a request before.
            if message.header.sequence_number == self.sequence {
                return Ok(message.payload);
            }
        }
    }

    /// The same with what the kernel refuses as an error.
    pub(super) fn get(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        match self.ask(message, flags)? {
            NetlinkPayload::InnerMessage(message) => Ok(Some(message)),
            NetlinkPayload::Error(error) if error.raw_code() != 0 => {
                Err(io::Error::from_raw_os_error(error.raw_code().saturating_neg()))
            }
            NetlinkPayload::Error(_)
            | NetlinkPayload::Done(_)
            | NetlinkPayload::Noop
            | NetlinkPayload::Overrun(_) => Ok(None),
            _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
    }
}
