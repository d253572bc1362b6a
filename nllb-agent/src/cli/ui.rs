//! `nllb ui`: a local page that shows what `nllb status` shows, live, with the last hour's round trips and what
//! happened.
//!
//! A process of its own, so that an agent pays nothing for it, and so that nothing of the agent is at stake. It
//! listens on loopback, where every user of the host can connect, and shows what the admin socket gives to root
//! alone: hence the token in the address (`ui/door.rs`). It passes on questions, never orders.

mod agent;
mod door;

use super::Failure;
use super::ask::{AskError, runtime};
use crate::exit::Exit;
use crate::serve::{self, Answer};
use crate::shutdown::Stop;
use agent::Agent;
use clap::Args;
use door::{Door, guarded};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;

const HTML: &str = include_str!("ui/page.html");
const STYLE: &str = include_str!("ui/page.css");
const SCRIPT: &str = include_str!("ui/page.js");

/// A browser opens up to six for a page; some pages at once are plenty.
const MOST_CONNECTIONS: usize = 32;

#[derive(Debug, Args)]
pub(super) struct UiArgs {
    /// Where the page is served: a loopback address; with port 0 the kernel chooses one.
    #[arg(long, default_value = "127.0.0.1:7474", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The agent's admin socket.
    #[arg(long, default_value = crate::config::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
}

pub(super) fn run(
    args: UiArgs,
    out: &mut dyn io::Write,
    err: &mut dyn io::Write,
) -> Result<(), Failure> {
    let UiArgs { listen, socket } = args;
    if !listen.ip().to_canonical().is_loopback() {
        let port = listen.port();
        let line = format!(
            "--listen {listen} is not a loopback address, and the page is for this host alone: use \
             127.0.0.1:{port} or [::1]:{port}, and ssh -L {port}:127.0.0.1:{port} from elsewhere"
        );
        return Err(Failure { exit: Exit::Configuration, line });
    }
    runtime()?.block_on(show(listen, Agent::new(socket), out, err))
}

async fn show(
    listen: SocketAddr,
    agent: Agent,
    out: &mut dyn io::Write,
    err: &mut dyn io::Write,
) -> Result<(), Failure> {
    let mut stop = Stop::with_hang_up().map_err(Failure::of_signals)?;
    match agent.status().await {
        Ok(_) => {}
        // That will not pass by itself.
        Err(error @ AskError::Permission(_)) => return Err(error.into()),
        Err(error) => writeln!(err, "nllb: {error}; the page says so and goes on asking")?,
    }
    let listener = TcpListener::bind(listen).await.map_err(|error| of_bind(listen, &error))?;
    let address = listener.local_addr().map_err(|error| of_bind(listen, &error))?;
    let door = Door::new(address, &door::token()?);
    writeln!(out, "{}", door.address())?;
    out.flush()?;
    let site = Arc::new(Site { door, agent });
    tokio::select! {
        () = serve::crowd(&listener, MOST_CONNECTIONS, move |request| Arc::clone(&site).answer(request)) => {}
        _ = stop.requested() => {}
    }
    Ok(())
}

fn of_bind(listen: SocketAddr, error: &io::Error) -> Failure {
    let line = format!("cannot listen on {listen}: {error}: choose another with --listen");
    Failure::new(Exit::Unexpected, &line)
}

/// What is served, and from where.
struct Site {
    door: Door,
    agent: Agent,
}

impl Site {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        guarded(match self.door.enter(&request) {
            Ok(wanted) => self.page(wanted, request.uri().query()).await,
            Err(refused) => refused.answer(),
        })
    }

    async fn page(&self, wanted: &str, query: Option<&str>) -> Answer {
        let file = |kind, text: &str| serve::answer(StatusCode::OK, kind, text.to_owned());
        match wanted {
            "" => file("text/html; charset=utf-8", HTML),
            "page.css" => file("text/css; charset=utf-8", STYLE),
            "page.js" => file("text/javascript; charset=utf-8", SCRIPT),
            "v1/status" => passed_on(self.agent.status().await),
            "v1/history" => passed_on(self.agent.history().await),
            "v1/events" => match after(query.unwrap_or_default()) {
                Some(after) => passed_on(self.agent.events(after).await),
                None => serve::text(StatusCode::BAD_REQUEST, "use v1/events?after=NUMBER"),
            },
            _ => serve::text(StatusCode::NOT_FOUND, "here are v1/status, v1/history and v1/events"),
        }
    }
}

/// The only thing that may be said with a question. The rest of it is not the browser's to decide.
fn after(query: &str) -> Option<u64> {
    query.strip_prefix("after=")?.parse().ok()
}

fn passed_on(answer: Result<String, AskError>) -> Answer {
    match answer {
        Ok(document) => serve::answer(StatusCode::OK, "application/json", document),
        Err(error) => serve::text(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

#[cfg(test)]
mod tests;
