//! What can be asked on the admin socket, and how an order's outcome becomes an answer:
//!
//! | status | means |
//! |---|---|
//! | 200 | done; the body says what |
//! | 400, 413 | the body is not what it should be |
//! | 404 | no backend is meant, or more than one |
//! | 409 | the agent will not do it |
//! | 503 | the driver does not answer; an order is not carried out later |

use super::{Sources, events};
use crate::drain::{
    CLOSE_AFTER, DrainBody, DrainRequest, DrainSource, DrillBody, DrillMode, LEASE, Order, Refused,
    UndrainBody,
};
use crate::serve::{self, Answer};
use crate::status;
use crate::telemetry::{FOR, LogLevelBody, LogRequest, LogSource, check_level};
use crate::text::OneLine;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::{Method, Request, StatusCode};
use nllb_core::Drill;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Path of the status document.
pub const STATUS_PATH: &str = "/v1/status";
/// Path of the round trips of the last hour.
pub const HISTORY_PATH: &str = "/v1/history";
/// Path that takes orders to drain.
pub const DRAIN_PATH: &str = "/v1/drain";
/// Path that takes orders to undo that.
pub const UNDRAIN_PATH: &str = "/v1/undrain";
/// Path that takes a backend out of service for a drill, and ends that.
pub const DRILL_PATH: &str = "/v1/drill";
/// Path of the journal.
pub const EVENTS_PATH: &str = "/v1/events";
/// Path that tells what is logged, and takes another level.
pub const LOG_LEVEL_PATH: &str = "/v1/log-level";

/// An order is some 100 bytes.
const LARGEST_BODY: usize = 4 << 10;
/// Whoever sends an order is on this host and has it at hand.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn route(request: Request<Incoming>, sources: Sources) -> Answer {
    let Sources { status, history, drain, events, log } = sources;
    match (request.method(), request.uri().path()) {
        (&Method::GET, STATUS_PATH) => made_by_the_driver(&status).await,
        (&Method::GET, HISTORY_PATH) => made_by_the_driver(&history).await,
        (_, STATUS_PATH | HISTORY_PATH) => serve::text(StatusCode::METHOD_NOT_ALLOWED, "only GET"),
        (&Method::POST, DRAIN_PATH) => {
            let order = |body: DrainBody| {
                let DrainBody { backend, close_after_ms, force } = body;
                let close_after = close_after_ms.map(close_after).transpose()?;
                Ok((backend, Order::Drain { close_after, force }))
            };
            give(request, order, &drain).await
        }
        (&Method::POST, UNDRAIN_PATH) => {
            let order = |body: UndrainBody| {
                let UndrainBody { backend } = body;
                Ok((backend, Order::Undrain))
            };
            give(request, order, &drain).await
        }
        (&Method::POST, DRILL_PATH) => give(request, drill, &drain).await,
        (&Method::GET, EVENTS_PATH) => events::answer(request.uri().query(), &events).await,
        (_, EVENTS_PATH) => serve::text(StatusCode::METHOD_NOT_ALLOWED, "only GET"),
        (&Method::GET, LOG_LEVEL_PATH) => log_level(None, &log).await,
        (&Method::PUT, LOG_LEVEL_PATH) => match body(request.into_body()).await {
            Ok(order) => log_level(Some(order), &log).await,
            Err(refusal) => refusal,
        },
        (_, LOG_LEVEL_PATH) => serve::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and PUT"),
        (_, DRAIN_PATH | UNDRAIN_PATH | DRILL_PATH) => {
            serve::text(StatusCode::METHOD_NOT_ALLOWED, "only POST")
        }
        _ => {
            let paths = [
                STATUS_PATH,
                HISTORY_PATH,
                DRAIN_PATH,
                UNDRAIN_PATH,
                DRILL_PATH,
                EVENTS_PATH,
                LOG_LEVEL_PATH,
            ];
            let paths = paths.join(", ");
            serve::text(StatusCode::NOT_FOUND, &format!("here are {paths}"))
        }
    }
}

async fn made_by_the_driver<T: Serialize>(source: &mpsc::Sender<status::Request<T>>) -> Answer {
    match serve::ask(source).await {
        Some(made) => document(&made),
        None => busy(),
    }
}

/// Reads an order, hands it to the driver, and answers what came of it.
async fn give<B: DeserializeOwned>(
    request: Request<Incoming>,
    order: impl FnOnce(B) -> Result<(String, Order), String>,
    source: &DrainSource,
) -> Answer {
    let given = match body(request.into_body()).await {
        Ok(body) => order(body),
        Err(refusal) => return refusal,
    };
    let (backend, order) = match given {
        Ok(given) => given,
        Err(line) => return serve::text(StatusCode::BAD_REQUEST, &format!("the body: {line}")),
    };
    let ask = async {
        let (request, reply) = DrainRequest::new(backend, order);
        source.send(request).await.ok()?;
        reply.await.ok()
    };
    match timeout(serve::STATUS_TIMEOUT, ask).await.ok().flatten() {
        Some(Ok(done)) => document(&done),
        Some(Err(refused @ Refused::NotFound(_))) => {
            serve::text(StatusCode::NOT_FOUND, &refused.to_string())
        }
        Some(Err(refused @ Refused::Unsafe(_))) => {
            serve::text(StatusCode::CONFLICT, &refused.to_string())
        }
        None => busy(),
    }
}

/// Tells what is logged, and changes it before when that is ordered.
async fn log_level(order: Option<LogLevelBody>, source: &LogSource) -> Answer {
    if let Some(LogLevelBody { level, for_ms }) = &order {
        let (least, most) = (FOR.start().as_millis(), FOR.end().as_millis());
        let time = for_ms.map(Duration::from_millis);
        if time.is_some_and(|time| !FOR.contains(&time)) {
            let line = format!("the body: forMs is out of range: use {least} to {most}");
            return serve::text(StatusCode::BAD_REQUEST, &line);
        }
        if let Err(error) = check_level(level) {
            return of_body(&error);
        }
    }
    let ask = async {
        let (request, reply) = LogRequest::new(order);
        source.send(request).await.ok()?;
        reply.await.ok()
    };
    match timeout(serve::STATUS_TIMEOUT, ask).await.ok().flatten() {
        Some(Ok(state)) => document(&state),
        Some(Err(line)) => serve::text(StatusCode::INTERNAL_SERVER_ERROR, &line),
        None => busy(),
    }
}

/// An order for a drill.
fn drill(body: DrillBody) -> Result<(String, Order), String> {
    let DrillBody { backend, mode, lease_ms } = body;
    let how = match mode {
        DrillMode::Simulate => Drill::Simulate,
        DrillMode::Blackhole => Drill::Blackhole,
        DrillMode::Over => return Ok((backend, Order::DrillOver)),
    };
    let lease = lease_ms.ok_or("leaseMs is missing: a drill always has a lease")?;
    Ok((backend, Order::Drill { how, lease: within("leaseMs", lease, &LEASE)? }))
}

fn close_after(ms: u64) -> Result<Duration, String> {
    within("closeAfterMs", ms, &CLOSE_AFTER)
}

/// The bounds of the command line hold for whoever else writes orders too.
fn within(key: &str, ms: u64, bounds: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let time = Duration::from_millis(ms);
    if bounds.contains(&time) {
        return Ok(time);
    }
    let (least, most) = (bounds.start().as_millis(), bounds.end().as_millis());
    Err(format!("{key} {ms} is out of range: use {least} to {most}"))
}

/// The whole body as what it should be, or the answer that says why not.
async fn body<T, B>(body: B) -> Result<T, Answer>
where
    T: DeserializeOwned,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let whole = match timeout(BODY_TIMEOUT, Limited::new(body, LARGEST_BODY).collect()).await {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(error)) => {
            return Err(serve::text(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body: {error}")));
        }
        Err(_) => {
            return Err(serve::text(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time",
            ));
        }
    };
    serde_json::from_slice(&whole).map_err(|error| of_body(&error))
}

/// What is wrong with a body, in one line: the error may hold words of it.
fn of_body(error: &impl Display) -> Answer {
    serve::text(StatusCode::BAD_REQUEST, &format!("the body: {}", OneLine(error)))
}

fn document(document: &impl Serialize) -> Answer {
    match serde_json::to_string(document) {
        Ok(json) => serve::answer(StatusCode::OK, "application/json", json),
        Err(error) => serve::text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn busy() -> Answer {
    serve::text(StatusCode::SERVICE_UNAVAILABLE, "the agent is busy or stopping")
}
