//! What a failure at each step says about the backend, or about this host.

use nllb_core::Outcome;
use std::error::Error;
use std::fmt::Display;
use std::io::{self, ErrorKind};

/// A failure on this host, which says nothing about the backend.
pub(super) fn local(error: &dyn Display) -> Outcome {
    Outcome::Local { reason: error.to_string() }
}

/// The status of a whole answer; `known` when credentials were sent along.
///
/// Unless it is `accepted`, 401 takes no backend out, also not when it is about our credentials: an expired token makes all
/// backends answer so, and none of them would be a worse one for it.
pub(super) const fn of_status(status: u16, known: bool, accepted: bool) -> Outcome {
    match status {
        _ if accepted => Outcome::Ready,
        401 if known => Outcome::CredentialsRefused,
        401 => Outcome::Unauthorized,
        status => Outcome::NotReady { status },
    }
}

/// A failed connect. What is not known to come from the network counts as local: no descriptor, no
/// memory, no port, or the host's own firewall (EPERM).
pub(super) fn of_connect(error: &io::Error) -> Outcome {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the standard library's list is open")]
    match error.kind() {
        ErrorKind::ConnectionRefused => Outcome::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Outcome::Reset,
        ErrorKind::TimedOut => Outcome::Silent,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            Outcome::Unreachable
        }
        _ if is_icmp(error) => Outcome::Unreachable,
        _ => local(error),
    }
}

/// Errors that Linux makes of ICMP messages and that have no kind: EHOSTDOWN, ENONET, EPROTO,
/// ENOPROTOOPT, EOPNOTSUPP (`icmp_err_convert` in net/ipv4/icmp.c), EACCES for ICMPv6.
fn is_icmp(error: &io::Error) -> bool {
    const CODES: [i32; 6] = [112, 64, 71, 92, 95, 13];
    error.raw_os_error().is_some_and(|code| CODES.contains(&code))
}

/// A failure of an established connection, TLS included.
pub(super) fn of_stream(error: &io::Error) -> Outcome {
    if let Some(reason) = error.get_ref().and_then(tls_reason) {
        return Outcome::TlsFailed { reason };
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "the standard library's list is open")]
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::NotConnected => {
            Outcome::Closed
        }
        ErrorKind::TimedOut => Outcome::Silent,
        _ => match of_connect(error) {
            // No word of the kernel's, but of a library that got half of something.
            Outcome::Local { .. } if error.raw_os_error().is_none() => Outcome::Closed,
            outcome => outcome,
        },
    }
}

/// No whole answer in time. Without TLS a kernel may have been all that there was, unless an answer had
/// `begun`.
pub(super) const fn of_timeout(begun: bool) -> Outcome {
    if begun { Outcome::Slow } else { Outcome::Hung }
}

/// A failure of HTTP/2, or below it.
pub(super) fn of_h2(error: &h2::Error) -> Outcome {
    error.get_io().map_or(Outcome::Closed, of_stream)
}

/// A failure while asking or reading the answer.
pub(super) fn of_http(error: &(dyn Error + 'static)) -> Outcome {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<io::Error>() {
            return of_stream(io);
        }
        cause = current.source();
    }
    // What is left is an answer cut short, or one that is not HTTP.
    Outcome::Closed
}

/// Why TLS failed, when it was TLS that did.
fn tls_reason(error: &(dyn Error + Send + Sync + 'static)) -> Option<String> {
    error.downcast_ref::<rustls::Error>().map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_of_a_connect_has_its_meaning() {
        let silent = Outcome::Silent;
        for (errno, outcome) in [
            (111, Outcome::Refused),
            (104, Outcome::Reset),
            (103, Outcome::Reset),
            (110, silent),
            (113, Outcome::Unreachable),
            (101, Outcome::Unreachable),
            (100, Outcome::Unreachable),
            (112, Outcome::Unreachable),
            (13, Outcome::Unreachable),
        ] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(of_connect(&error), outcome, "{error}");
        }
        // EPERM, ENFILE, EMFILE, ENOBUFS, EADDRNOTAVAIL.
        for errno in [1, 23, 24, 105, 99] {
            let outcome = of_connect(&io::Error::from_raw_os_error(errno));
            assert!(matches!(outcome, Outcome::Local { .. }), "{errno}: {outcome:?}");
        }
    }

    #[test]
    fn a_connection_that_ends_in_the_middle_of_something_is_no_fault_of_this_host() {
        for kind in [ErrorKind::Other, ErrorKind::InvalidData, ErrorKind::UnexpectedEof] {
            let error = io::Error::new(kind, "bytes remaining on stream");
            assert_eq!(of_stream(&error), Outcome::Closed, "{kind}");
        }
        // HTTP/2 keeps the kind of an error and forgets its number.
        for (kind, outcome) in [
            (ErrorKind::ConnectionReset, Outcome::Reset),
            (ErrorKind::HostUnreachable, Outcome::Unreachable),
        ] {
            assert_eq!(of_stream(&io::Error::new(kind, "lost")), outcome);
        }
        let no_memory = io::Error::from_raw_os_error(12);
        assert!(matches!(of_stream(&no_memory), Outcome::Local { .. }));
    }

    #[test]
    fn only_what_is_accepted_is_ready_and_401_tells_whether_we_are_known() {
        assert_eq!(of_status(401, false, false), Outcome::Unauthorized);
        assert_eq!(of_status(401, true, false), Outcome::CredentialsRefused);
        for known in [false, true] {
            for status in [100, 200, 204, 302, 403, 404, 429, 500, 503] {
                assert_eq!(of_status(status, known, false), Outcome::NotReady { status });
                assert_eq!(of_status(status, known, true), Outcome::Ready);
            }
            assert_eq!(of_status(401, known, true), Outcome::Ready);
        }
    }
}
