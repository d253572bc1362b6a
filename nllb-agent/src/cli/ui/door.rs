//! Who gets in, and what a browser may do with what it gets.
//!
//! Three strangers are kept out. Another user of this host can connect, and does not know the token. A web site
//! that the operator's browser has open can send requests here; it does not know the token, no answer carries
//! leave for it to read one, and under a name of its own that it lets point to 127.0.0.1 (DNS rebinding) it is
//! told apart by the Host header. The token is in the path and not in a cookie, because cookies of 127.0.0.1 are
//! sent to every port of it, whoever listens there.

use crate::cli::Failure;
use crate::exit::Exit;
use crate::serve::{self, Answer};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Method, Request, StatusCode};
use rustls::crypto::ring::default_provider;
use std::net::SocketAddr;
use subtle::ConstantTimeEq as _;

/// Beyond any guessing.
const TOKEN_BYTES: usize = 16;

/// With every answer, refusals too.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    // The address has the token.
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// A new token.
pub(super) fn token() -> Result<String, Failure> {
    let mut bytes = [0; TOKEN_BYTES];
    let filled = default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| Failure::new(Exit::Unexpected, &"the kernel gives no random numbers"))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// Why a request stays outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It was sent to somebody else's name.
    Host,
    /// It would do more than read.
    Method,
    /// It does not know the token.
    Token,
}

/// What a request has to know.
pub(super) struct Door {
    address: SocketAddr,
    token: String,
    /// What the Host header may say.
    hosts: Vec<String>,
}

impl Door {
    /// The door of a server at this address.
    pub(super) fn new(address: SocketAddr, token: &str) -> Self {
        let port = address.port();
        let mut hosts = vec![address.to_string()];
        for name in ["localhost", "127.0.0.1", "[::1]"] {
            hosts.push(format!("{name}:{port}"));
            if port == 80 {
                // A browser leaves it out.
                hosts.push(name.to_owned());
            }
        }
        Self { address, token: token.to_owned(), hosts }
    }

    /// What a browser is to be given.
    pub(super) fn address(&self) -> String {
        format!("http://{}/{}/", self.address, self.token)
    }

    /// What is wanted behind the door.
    pub(super) fn enter<'a, B>(&self, request: &'a Request<B>) -> Result<&'a str, Refused> {
        if !self.is_meant(request) {
            return Err(Refused::Host);
        }
        if request.method() != Method::GET {
            return Err(Refused::Method);
        }
        let path = request.uri().path().trim_start_matches('/');
        let (token, wanted) = path.split_once('/').unwrap_or_default();
        if !bool::from(token.as_bytes().ct_eq(self.token.as_bytes())) {
            return Err(Refused::Token);
        }
        Ok(wanted)
    }

    /// Whether it was sent to this server by name.
    fn is_meant<B>(&self, request: &Request<B>) -> bool {
        let is_ours = |host: &str| self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host));
        let mut hosts = request.headers().get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        // Some ask as if of a proxy.
        let authority =
            request.uri().authority().is_none_or(|authority| is_ours(authority.as_str()));
        authority && host.to_str().is_ok_and(is_ours)
    }
}

impl Refused {
    /// What it is told.
    pub(super) fn answer(self) -> Answer {
        match self {
            Self::Host => {
                let line = "the Host header names somebody else: use localhost or 127.0.0.1";
                serve::text(StatusCode::FORBIDDEN, line)
            }
            Self::Method => {
                let mut answer = serve::text(StatusCode::METHOD_NOT_ALLOWED, "only GET");
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
                answer
            }
            Self::Token => {
                let line = "open the address that nllb ui printed, with its token";
                serve::text(StatusCode::FORBIDDEN, line)
            }
        }
    }
}

/// An answer as a browser may have it.
pub(super) fn guarded(mut answer: Answer) -> Answer {
    for (name, value) in HEADERS {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}
