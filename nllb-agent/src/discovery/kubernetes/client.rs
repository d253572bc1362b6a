//! One connection to the API server: lists, and watches event by event.
//!
//! Requests, answers and events are kube's; the connection is hyper's over rustls, as the probes have
//! it, and not kube's own client. That one puts no limit on what it reads, says each failed try and the
//! whole of an answer that it cannot read in the log, and brings some thirty crates.
//!
//! What bounds memory: an answer, or one event, is at most as long as its kind has room for, and is read into types
//! that take a small multiple of that; the reading buffer is limited apart from it.

use super::identity::Access;
use super::objects::{LONGEST_ANSWER, Mark, Object};
use super::trouble::Trouble;
use super::{Pace, Settings, Whose};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::core::params::{GetParams, ListParams, PostParams, WatchParams};
use kube::core::response::Status;
use kube::core::{ObjectList, Request as Path, WatchEvent};
use rustls_pki_types::ServerName;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The longest head of an answer, and the piece that is read at a time.
const READ_BUFFER: usize = 32 << 10;
/// Who asks.
const AGENT: &str = concat!("nllb/", env!("CARGO_PKG_VERSION"));

/// A connection; dropping it closes it.
pub(super) struct Connection {
    requests: SendRequest<Full<Bytes>>,
    access: Access,
    host: HeaderValue,
    pace: Pace,
    /// Reads and writes for the requests.
    _task: JoinSet<()>,
}

impl Connection {
    /// Connects with the credentials as they are now.
    pub(super) async fn open(settings: &Settings) -> Result<Self, Trouble> {
        let Settings { address, server_name, identity, pace, seed: _ } = settings;
        let access = identity.access()?;
        let bad_name = |_| Trouble::ServerName(server_name.clone());
        let name = ServerName::try_from(server_name.clone()).map_err(bad_name)?;
        let host = HeaderValue::try_from(server_name)
            .map_err(|_| Trouble::ServerName(server_name.clone()))?;
        let unreachable = |error| Trouble::Connect(*address, error);
        let stream = timeout(pace.answer, TcpStream::connect(address)).await;
        let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let handshake = TlsConnector::from(access.tls.clone()).connect(name, stream);
        let stream = timeout(pace.answer, handshake).await.map_err(|_| Trouble::Silent)?;
        let place = identity.place().display().to_string();
        let stream = stream.map_err(|error| Trouble::of_handshake(error, server_name, &place))?;
        let (requests, connection) =
            Builder::new().max_buf_size(READ_BUFFER).handshake(TokioIo::new(stream)).await?;
        let mut task = JoinSet::new();
        // Its errors are those of the requests.
        task.spawn(async move { drop(connection.await) });
        Ok(Self { requests, access, host, pace: pace.clone(), _task: task })
    }

    /// All objects of a kind, as new as the server's own memory of them: also while its database has no
    /// quorum, and without asking that for every node.
    pub(super) async fn list<O: Object>(
        &mut self,
        whose: &Whose,
    ) -> Result<ObjectList<O>, Trouble> {
        let mut params = ListParams::default().match_any();
        (params.label_selector, params.field_selector) = whose.selectors::<O>();
        let request = Path::new(whose.path::<O>()).list(&params).map_err(Trouble::Request)?;
        let answer = self.ask(request).await?;
        let body = whole(answer.into_body(), self.pace.answer, O::ROOM.answer).await?;
        serde_json::from_slice(&body).map_err(Trouble::Nonsense)
    }

    /// What happens after `version`, for so long in whole seconds.
    pub(super) async fn watch<O: Object>(
        &mut self,
        whose: &Whose,
        version: &str,
        lasting: Duration,
    ) -> Result<Events, Trouble> {
        let (label_selector, field_selector) = whose.selectors::<O>();
        let params = WatchParams {
            label_selector,
            field_selector,
            // A time that is too long for this type is too long for kube, which says so.
            timeout: Some(u32::try_from(lasting.as_secs()).unwrap_or(u32::MAX)),
            bookmarks: true,
            send_initial_events: false,
        };
        let request =
            Path::new(whose.path::<O>()).watch(&params, version).map_err(Trouble::Request)?;
        let answer = self.ask(request).await?;
        Ok(Events { body: answer.into_body(), line: Vec::new(), silence: self.pace.silence })
    }

    /// An object by name, from the database itself.
    pub(super) async fn get(&mut self, path: &str, name: &str) -> Result<Bytes, Trouble> {
        let request = Path::new(path).get(name, &GetParams::default());
        self.answer(request.map_err(Trouble::Request)?).await
    }

    /// An object by name, as new as the server's own memory of it.
    pub(super) async fn recent(&mut self, path: &str, name: &str) -> Result<Bytes, Trouble> {
        let request = Path::new(path).get(name, &GetParams::at("0"));
        self.answer(request.map_err(Trouble::Request)?).await
    }

    /// Replaces an object, given as JSON with the version that it replaces; the answer is the object as it is now.
    pub(super) async fn replace(
        &mut self,
        path: &str,
        name: &str,
        object: Vec<u8>,
    ) -> Result<Bytes, Trouble> {
        let request = Path::new(path).replace(name, &PostParams::default(), object);
        self.answer(request.map_err(Trouble::Request)?).await
    }

    /// Makes an object, given as JSON, of those at `path`; the answer is the object as it is now.
    pub(super) async fn create(&mut self, path: &str, object: Vec<u8>) -> Result<Bytes, Trouble> {
        let request = Path::new(path).create(&PostParams::default(), object);
        self.answer(request.map_err(Trouble::Request)?).await
    }

    async fn answer(&mut self, request: Request<Vec<u8>>) -> Result<Bytes, Trouble> {
        let answer = self.ask(request).await?;
        whole(answer.into_body(), self.pace.answer, LONGEST_ANSWER).await
    }

    async fn ask(&mut self, request: Request<Vec<u8>>) -> Result<Response<Incoming>, Trouble> {
        let (mut parts, body) = request.into_parts();
        parts.headers.insert(HOST, self.host.clone());
        parts.headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        parts.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(authorization) = self.access.authorization()? {
            parts.headers.insert(AUTHORIZATION, authorization);
        }
        let request = Request::from_parts(parts, Full::from(body));
        let answer = timeout(self.pace.answer, async {
            self.requests.ready().await?;
            self.requests.send_request(request).await
        });
        let answer = answer.await.map_err(|_| Trouble::Silent)??;
        let code = answer.status();
        if code.is_success() {
            return Ok(answer);
        }
        let body = whole(answer.into_body(), self.pace.answer, LONGEST_ANSWER).await?;
        let said = serde_json::from_slice(&body).map_or_else(
            |_| code.canonical_reason().unwrap_or_default().to_owned(),
            |status: Status| status.message,
        );
        Err(Trouble::of_status(code.as_u16(), &said))
    }
}

impl Whose {
    /// Where the objects of its namespace are, or of all.
    fn path<O: Object>(&self) -> String {
        if self.namespace.is_empty() {
            return format!("{}/{}", O::GROUP, O::PLURAL);
        }
        format!("{}/namespaces/{}/{}", O::GROUP, self.namespace, O::PLURAL)
    }

    /// Which of them are meant, by label and by field.
    fn selectors<O: Object>(&self) -> (Option<String>, Option<String>) {
        let is = |key: &str| Some(format!("{key}={}", self.name));
        match O::MARK {
            Mark::Label(key) => (is(key), None),
            Mark::Field(key) => (None, is(key)),
        }
    }
}

async fn whole(body: Incoming, patience: Duration, most: usize) -> Result<Bytes, Trouble> {
    let collected = timeout(patience, Limited::new(body, most).collect());
    match collected.await.map_err(|_| Trouble::Silent)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Trouble::TooLong(most)),
        Err(error) => Err(match error.downcast::<hyper::Error>() {
            Ok(error) => Trouble::Http(*error),
            Err(_) => Trouble::Silent,
        }),
    }
}

/// The events of a watch.
pub(super) struct Events {
    body: Incoming,
    /// The beginning of the next one.
    line: Vec<u8>,
    silence: Duration,
}

impl Events {
    /// The next event; `None` when the server has ended the watch. May be cancelled without loss.
    pub(super) async fn next<O: Object>(&mut self) -> Result<Option<WatchEvent<O>>, Trouble> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.line[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.line.split_off(searched + at + 1);
                let line = std::mem::replace(&mut self.line, rest);
                if line.trim_ascii().is_empty() {
                    searched = 0;
                    continue;
                }
                let event = serde_json::from_slice(&line).map_err(Trouble::Nonsense)?;
                if let WatchEvent::Error(error) = event {
                    return Err(Trouble::of_status(error.code, &error.message));
                }
                return Ok(Some(event));
            }
            searched = self.line.len();
            if searched > O::ROOM.answer {
                return Err(Trouble::TooLong(O::ROOM.answer));
            }
            let frame = timeout(self.silence, self.body.frame());
            match frame.await.map_err(|_| Trouble::Silent)? {
                None => return Ok(None),
                Some(frame) => {
                    let data = frame?.into_data().unwrap_or_default();
                    self.line.extend_from_slice(&data);
                }
            }
        }
    }
}
