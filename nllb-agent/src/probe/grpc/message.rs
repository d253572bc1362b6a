//! The messages of `grpc.health.v1`: `HealthCheckRequest { string service = 1 }` and
//! `HealthCheckResponse { ServingStatus status = 1 }`, each behind the five octets that gRPC puts before
//! a message: whether it is compressed, and its length.

use hyper::body::Bytes;

/// The backend serves.
pub(super) const SERVING: u64 = 1;
const NAMES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

const PREFIX: usize = 5;
/// A varint has seven bits in each octet, so ten are enough for 64.
const LONGEST_VARINT: u32 = 10;
/// Kinds of field, in the lowest three bits of the octet before it.
const VARINT: u64 = 0;
const EIGHT_OCTETS: u64 = 1;
const BYTES: u64 = 2;
const FOUR_OCTETS: u64 = 5;

/// The question for a service; for the whole server when its name is empty.
pub(super) fn request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        put_varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = vec![0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.append(&mut message);
    framed.into()
}

/// The status in an answer; `None` when it is not one that can be read.
pub(super) fn status(framed: &[u8]) -> Option<u64> {
    let (prefix, mut message) = framed.split_at_checked(PREFIX)?;
    let [0, length @ ..] = prefix else { return None };
    let length = u32::from_be_bytes(length.try_into().ok()?);
    if usize::try_from(length).ok()? != message.len() {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match (tag >> 3, tag & 7) {
            (1, VARINT) => status = varint(&mut message)?,
            (_, VARINT) => drop(varint(&mut message)?),
            (_, EIGHT_OCTETS) => message = message.get(8..)?,
            (_, BYTES) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, FOUR_OCTETS) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// The name of a status.
pub(super) fn name(status: u64) -> &'static str {
    let known = usize::try_from(status).ok().and_then(|status| NAMES.get(status));
    known.copied().unwrap_or("of no known name")
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let [low, ..] = value.to_le_bytes();
        if value < 0x80 {
            return out.push(low);
        }
        out.push(low | 0x80);
        value >>= 7;
    }
}

fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for index in 0..LONGEST_VARINT {
        let (&octet, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(octet & 0x7f).checked_shl(7 * index)?;
        if octet & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_framed_as_the_specification_says() {
        assert_eq!(request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(request("etcd")[..], [0, 0, 0, 0, 6, 10, 4, b'e', b't', b'c', b'd']);
        let long = request(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 10, 0xac, 2]);
    }

    #[test]
    fn fields_that_are_not_known_are_passed_over() {
        let fields: [&[u8]; 5] = [
            &[2 << 3, 0x80, 1],
            &[3 << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8],
            &[4 << 3 | 2, 3, 8, 8, 8],
            &[5 << 3 | 5, 1, 2, 3, 4],
            &[8, 1],
        ];
        let message = fields.concat();
        let length = u8::try_from(message.len()).expect("short");
        assert_eq!(status(&[&[0, 0, 0, 0, length][..], &message].concat()), Some(SERVING));
    }

    #[test]
    fn nonsense_has_no_status() {
        for nonsense in [
            &[][..],
            &[0, 0, 0, 0],
            // Compressed, too short, too long.
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 3, 8, 1],
            &[0, 0, 0, 0, 1, 8, 1],
            &[0, 0, 0, 0, 1, 8],
            // An end of a group, bytes that are not there, a varint without end.
            &[0, 0, 0, 0, 1, 12],
            &[0, 0, 0, 0, 2, 18, 9],
            &[0, 0, 0, 0, 10, 18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 0, 12, 8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255],
        ] {
            assert_eq!(status(nonsense), None, "{nonsense:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_answer_breaks_the_reader(octets in proptest::collection::vec(0u8.., 0..64)) {
            let length = u8::try_from(octets.len()).expect("short");
            let _whatever = status(&[&[0, 0, 0, 0, length][..], &octets].concat());
        }
    }
}
