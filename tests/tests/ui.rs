//! `nllb ui` beside an agent: what it serves over HTTP while servers and the agent come and go, and what a browser
//! makes of it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::Signal;
use nllb_agent::status::{History, Status};
use nllb_lab::lab::say_skipped;
use nllb_lab::netns::run_in;
use nllb_lab::place::Place;
use nllb_lab::process::Process;
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Configuration, Lab, tools};
use serde_json::{Value, json};

/// Names a browser that is none of those in PATH.
const BROWSER: &str = "CHROMIUM";
/// A browser's first start takes seconds, on a busy machine many.
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn the_page_follows_the_agent_and_strangers_see_nothing() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::start(&lab, &Configuration::of(&lab).quick()).expect("an agent");
    let mut ui = Ui::start(&lab, &agent);

    let page = ui.get("");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<!doctype html>"), "{page}");
    for header in ["content-security-policy: default-src 'none'; ", "referrer-policy: no-referrer"]
    {
        assert!(page.contains(&format!("\r\n{header}")), "{page}");
    }
    assert!(!page.contains("access-control-"), "{page}");
    let status: Status = ui.document("v1/status").expect("the status");
    assert_eq!(status.backends().count(), 3);
    let history: History = ui.document("v1/history").expect("the history");
    assert_eq!(history.backends.len(), 3);

    let path = format!("/{}/v1/status", ui.token);
    let own = format!("localhost:{}", ui.port);
    let of_a_site = format!("rebound.example:{}", ui.port);
    for (request, host, code) in [
        (format!("GET {path}"), &own, "200"),
        (format!("GET {path}"), &of_a_site, "403"),
        ("GET /v1/status".to_owned(), &own, "403"),
        (format!("GET /{}/v1/status", "0".repeat(32)), &own, "403"),
        (format!("POST /{}/v1/drain", ui.token), &own, "405"),
    ] {
        let answer = ui.send(&request, host);
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{request}: {answer}");
        assert!(code == "200" || !answer.contains("10.86."), "{answer}");
    }

    let dead = lab.control_plane(0).tls();
    lab.control_plane(0).crash().expect("crashed");
    agent.await_state(dead, "unhealthy").expect("seen");
    let status: Status = ui.document("v1/status").expect("the status");
    assert_ne!(status.verdict.reasons, Vec::<String>::new());
    let told = wait_until("the failover among the events", || {
        let events: Value = ui.document("v1/events?after=0").expect("events");
        let entries = events["entries"].as_array().expect("a list").clone();
        Ok(entries.into_iter().find(|entry| entry["what"] == "failover"))
    });
    let told = told.expect("told");
    assert_eq!(told["whose"], dead.to_string());
    let text = told["text"].as_str().expect("text");
    assert!(text.starts_with("left apiserver, 2 in service: "), "{text}");

    agent.kill().expect("killed");
    let answer = ui.get("v1/status");
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("no agent is running"),
        "{answer}"
    );
    agent.restart().expect("restarted");
    ui.document::<Status>("v1/status").expect("the status again");
    ui.process.signal(Signal::SIGTERM).expect("told");
    assert!(ui.process.wait().expect("ended").success());
}

#[test]
fn a_browser_shows_the_backends_and_what_happened_and_that_the_agent_has_gone() {
    let Some(program) = browser() else {
        return say_skipped(
            "no chromium here; cargo xtask setup as root unpacks one, or name one in CHROMIUM",
        );
    };
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::start(&lab, &Configuration::of(&lab).quick()).expect("an agent");
    let dead = lab.control_plane(1).tls();
    lab.control_plane(1).crash().expect("crashed");
    agent.await_state(dead, "unhealthy").expect("seen");
    let ui = Ui::start(&lab, &agent);
    let mut page = Page::open(&program, &lab, &ui.address);

    let shown = page.shows("every backend and the failover", |page| {
        let servers = lab.control_planes().iter().map(|plane| plane.tls());
        let mut rows = servers.map(|server| format!("<th scope=\"row\">{server}</th>"));
        rows.all(|row| page.contains(&row)) && page.contains(">failover</td>")
    });
    assert!(shown.contains("class=\"poor\">! degraded: "), "{shown}");
    assert!(shown.contains("✓ healthy") && shown.contains("✗ unhealthy"), "{shown}");
    assert_eq!(shown.matches("<svg ").count(), 3, "{shown}");
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ui.png");
    fs::write(&picture, page.picture()).expect("written");
    println!("a picture of it is {}", picture.display());

    agent.kill().expect("killed");
    page.shows("that nobody answers", |page| {
        page.contains("no agent is running: ") && page.contains("<body class=\"old\">")
    });
    agent.restart().expect("restarted");
    page.shows("the agent again", |page| page.contains("<body class=\"\">"));
}

/// A page that is served on the lab's first node.
struct Ui {
    process: Process,
    netns: String,
    address: String,
    port: u16,
    token: String,
}

impl Ui {
    fn start(lab: &Lab, agent: &Agent) -> Self {
        let errors = lab.directory().join("ui.log");
        let words = ["ui".into(), "--socket".into(), agent.socket().into()];
        let mut process = agent.start_nllb(&words, &errors).expect("it runs");
        let mut address = String::new();
        let mut said = BufReader::new(process.take_stdout().expect("a pipe"));
        said.read_line(&mut address).expect("its address");
        let address = address.trim_end().to_owned();
        let rest =
            address.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.strip_suffix('/'));
        let (port, token) = rest.and_then(|rest| rest.split_once('/')).expect("a port and a token");
        let (port, token) = (port.parse().expect("a port"), token.to_owned());
        Self { process, netns: lab.node(0).netns().to_owned(), address, port, token }
    }

    fn get(&self, path: &str) -> String {
        self.send(&format!("GET /{}/{path}", self.token), &format!("127.0.0.1:{}", self.port))
    }

    fn document<T: serde::de::DeserializeOwned>(&self, path: &str) -> serde_json::Result<T> {
        let answer = self.get(path);
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body)
    }

    fn send(&self, request: &str, host: &str) -> String {
        let answer = run_in(&self.netns, || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "{request} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        });
        answer.expect("in the node").expect("an answer")
    }
}

fn browser() -> Option<PathBuf> {
    let named = env::var_os(BROWSER).filter(|name| !name.is_empty()).map(PathBuf::from);
    let known = || {
        let names = ["chromium-headless-shell", "chromium", "google-chrome"];
        names.iter().find_map(|name| tools::find(name, names[0]))
    };
    named.or_else(known)
}

/// A page in a browser on the lab's first node, which is told what to do over a pipe: messages of JSON, each with a
/// zero byte at its end (the DevTools protocol). The pipes are expected to be descriptors 3 and 4.
struct Page {
    _process: Process,
    orders: ChildStdin,
    answers: mpsc::Receiver<Value>,
    session: Option<String>,
    last: u64,
}

impl Page {
    fn open(program: &Path, lab: &Lab, address: &str) -> Self {
        let directory = lab.directory().join("browser");
        let mut args: Vec<OsString> =
            ["exec", "--", "sh", "-c", "exec \"$0\" \"$@\" 3<&0 4>&1"].map(OsString::from).into();
        args.push(program.into());
        let options = [
            "--headless",
            // It runs as root, in a network without ways out, and shows a page of ours.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--window-size=1500,900",
            "--remote-debugging-pipe",
        ];
        args.extend(options.map(OsString::from));
        args.push(format!("--user-data-dir={}", directory.display()).into());
        let place = Place::in_netns(lab.node(0).netns());
        let log = lab.directory().join("browser.log");
        let mut process = Process::spawn(&place, &args, Some(&log)).expect("it starts");
        let orders = process.take_stdin().expect("a pipe");
        let messages = BufReader::new(process.take_stdout().expect("a pipe")).split(0);
        let (sender, answers) = mpsc::channel();
        // It ends with the process.
        thread::spawn(move || {
            let read = |message: Vec<u8>| serde_json::from_slice(&message).ok();
            let mut messages = messages.map_while(Result::ok).filter_map(read);
            messages.try_for_each(|message| sender.send(message))
        });
        let mut page = Self { _process: process, orders, answers, session: None, last: 0 };
        let target = page.order("Target.createTarget", &json!({ "url": address })).expect("a page");
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = page.order("Target.attachToTarget", &target).expect("a session");
        page.session = session["sessionId"].as_str().map(str::to_owned);
        page
    }

    /// What came of an order, or what the browser has against it.
    fn order(&mut self, method: &str, params: &Value) -> Result<Value, String> {
        self.last += 1;
        let mut order = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            order["sessionId"] = session.as_str().into();
        }
        write!(self.orders, "{order}\0").expect("the browser lives");
        loop {
            let answer = self.answers.recv_timeout(PATIENCE).expect("the browser answers");
            if answer["id"] == self.last {
                let error = answer["error"]["message"].as_str();
                return error.map_or_else(
                    || Ok(answer["result"].clone()),
                    |error| Err(format!("{method}: {error}")),
                );
            }
        }
    }

    /// The page as it stands; nothing while the browser has not come to it.
    fn text(&mut self) -> String {
        let expression = json!({ "expression": "document.documentElement.outerHTML" });
        let value = self.order("Runtime.evaluate", &expression).unwrap_or_default();
        value["result"]["value"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page is as wanted; gives it.
    fn shows(&mut self, what: &str, good: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let shown = wait_until(what, || {
            last = self.text();
            Ok(good(&last).then_some(()))
        });
        shown.unwrap_or_else(|error| panic!("{error:#}: {last}"));
        last
    }

    /// It as a PNG file.
    fn picture(&mut self) -> Vec<u8> {
        let format = json!({ "format": "png" });
        let picture = self.order("Page.captureScreenshot", &format).expect("a picture");
        let bytes = BASE64_STANDARD.decode(picture["data"].as_str().expect("text"));
        let bytes = bytes.expect("base64");
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 20_000, "{} bytes", bytes.len());
        bytes
    }
}
