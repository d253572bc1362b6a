//! A socket to ask rtnetlink over, and what its answers are made of.
//!
//! Answers are read attribute by attribute: a whole message of the packet library is refused for one attribute
//! that it does not know the like of, and a node has interfaces, filters and routes of every kind.

use std::io;

use netlink_packet_core::{
    NLA_HEADER_SIZE, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

/// The most that the kernel puts into one answer, whatever room there is.
const ANSWER_BYTES: usize = 32 << 10;
/// The most answers to one question: 4,096 interfaces with twenty filters each have room.
const MOST: usize = 100_000;

/// How often a list is asked for that changes all the time: pods that start in a crowd change it for a moment.
const TRIES: usize = 10;

/// A socket to ask over.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// One message of an answer, without its netlink header.
#[derive(Debug)]
pub(super) struct Answer(Vec<u8>);

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        // The kernel has answered when the request was sent; a wait would be for ever.
        socket.set_non_blocking(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks for a list, and again while what is listed changes meanwhile: it may lack what was there all the time.
    pub(super) fn list(&mut self, question: &RouteNetlinkMessage) -> io::Result<Vec<Answer>> {
        for _ in 0..TRIES {
            if let Some(answers) = self.try_list(question.clone())? {
                return Ok(answers);
            }
        }
        Err(io::Error::other("what the kernel lists changed each time while it did"))
    }

    /// The list; `None` when it changed meanwhile.
    fn try_list(&mut self, question: RouteNetlinkMessage) -> io::Result<Option<Vec<Answer>>> {
        let mut answers = Vec::new();
        self.send(question, NLM_F_DUMP)?;
        let mut buffer = Vec::with_capacity(ANSWER_BYTES);
        let mut is_whole = true;
        loop {
            let received = self.receive(&mut buffer, &mut answers)?;
            is_whole &= !received.interrupted;
            if received.last {
                return Ok(is_whole.then_some(answers));
            }
            if answers.len() > MOST {
                // What is still to come is the answer to nothing.
                *self = Self::open()?;
                return Err(io::Error::other("the kernel's list does not end"));
            }
        }
    }

    /// Asks for one thing; `None` when the kernel says that there is no such thing.
    pub(super) fn ask(&mut self, question: RouteNetlinkMessage) -> io::Result<Option<Answer>> {
        let mut answers = Vec::new();
        self.send(question, 0)?;
        let mut buffer = Vec::with_capacity(ANSWER_BYTES);
        while answers.is_empty() {
            match self.receive(&mut buffer, &mut answers) {
                // An address that nothing leads to, among others; but not an answer that does not come.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Ok(None),
                received => drop(received?),
            }
        }
        Ok(answers.pop())
    }

    /// Orders something, with these flags besides, and waits until it is done.
    pub(super) fn order(&mut self, order: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.send(order, NLM_F_ACK | flags)?;
        let mut buffer = Vec::with_capacity(ANSWER_BYTES);
        while !self.receive(&mut buffer, &mut Vec::new())?.last {}
        Ok(())
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        (header.flags, header.sequence_number) = (NLM_F_REQUEST | flags, self.sequence);
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }

    /// Takes the messages of one datagram.
    fn receive(&self, buffer: &mut Vec<u8>, answers: &mut Vec<Answer>) -> io::Result<Received> {
        buffer.clear();
        self.socket.recv(buffer, 0)?;
        read(buffer, self.sequence, answers)
    }
}

/// What was in a datagram besides answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Received {
    /// The end.
    last: bool,
    /// Word that what is listed has changed meanwhile.
    interrupted: bool,
}

/// Reads the messages of one datagram that are about the question with this number.
fn read(datagram: &[u8], sequence: u32, answers: &mut Vec<Answer>) -> io::Result<Received> {
    let mut received = Received::default();
    let mut rest = datagram;
    while let Ok(message) = NetlinkBuffer::new_checked(rest) {
        let length = usize::try_from(message.length()).map_err(io::Error::other)?;
        let is_ours = message.sequence_number() == sequence;
        let payload = message.payload();
        received.interrupted |= is_ours && message.flags() & NLM_F_DUMP_INTR != 0;
        match message.message_type() {
            // Of a question before, which nobody waits for any more.
            _ if !is_ours => {}
            NLMSG_DONE => return Ok(Received { last: true, ..received }),
            NLMSG_ERROR => return error(payload).map(|()| Received { last: true, ..received }),
            NLMSG_NOOP => {}
            NLMSG_OVERRUN => return Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
            _ => answers.push(Answer(payload.to_vec())),
        }
        // Messages begin at multiples of four.
        let next = length.max(1).next_multiple_of(4).min(rest.len());
        rest = &rest[next..];
    }
    Ok(received)
}

/// What the kernel says of an order or a question that failed, or that an order is carried out.
fn error(payload: &[u8]) -> io::Result<()> {
    match payload.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::Error::from_raw_os_error(libc::EPROTO)),
    }
}

impl Answer {
    /// The word at this place of the header.
    pub(super) fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.0.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    }

    /// The octet at this place of the header.
    pub(super) fn octet(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    /// The value of an attribute behind a header of so many octets.
    pub(super) fn attribute(&self, header: usize, kind: u16) -> Option<&[u8]> {
        find(self.0.get(header..)?, kind)
    }
}

/// The value of an attribute among others.
pub(super) fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut all = NlasIterator::new(attributes).map_while(Result::ok);
    let found = all.find(|attribute| attribute.kind() == kind)?;
    let length = usize::from(found.length());
    found.into_inner().get(NLA_HEADER_SIZE..length)
}

/// A value that is one word.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// A value that is a text, which the kernel ends with a zero.
pub(super) fn text(value: &[u8]) -> Option<String> {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with four octets.
    fn message(kind: u16, flags: u16, sequence: u32, content: u32) -> Vec<u8> {
        let kind_and_flags = [kind.to_ne_bytes(), flags.to_ne_bytes()].concat();
        let words = [20_u32.to_ne_bytes(), sequence.to_ne_bytes(), 0_u32.to_ne_bytes()];
        [&words[0], &kind_and_flags[..], &words[1], &words[2], &content.to_ne_bytes()].concat()
    }

    #[test]
    fn a_list_that_changed_meanwhile_is_told_wherever_that_stands() {
        const LINK: u16 = 16;
        for at in 0..3 {
            let flags = |index| if index == at { NLM_F_DUMP_INTR } else { 0 };
            let datagram = [
                message(LINK, NLM_F_DUMP_INTR, 6, 0),
                message(LINK, flags(0), 7, 1),
                message(LINK, flags(1), 7, 2),
                message(NLMSG_DONE, flags(2), 7, 0),
            ];
            let mut answers = Vec::new();
            let received = read(&datagram.concat(), 7, &mut answers).expect("read");
            assert_eq!(received, Received { last: true, interrupted: true });
            assert_eq!(answers.len(), 2, "those of another question are none");
        }
        let whole = [message(LINK, NLM_F_DUMP_INTR, 6, 0), message(LINK, 0, 7, 1)].concat();
        let received = read(&whole, 7, &mut Vec::new()).expect("read");
        assert_eq!(received, Received::default());
    }
}
