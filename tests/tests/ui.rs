//! `nllb ui` beside an agent: what it serves over HTTP while servers and the agent come and go, and what a browser
//! makes of it.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nllb_agent::status::{History, Status};
use nllb_lab::lab::say_skipped;
use nllb_lab::netns::run_in;
use nllb_lab::place::Place;
use nllb_lab::process::Process;
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Configuration, Lab, tools};
use serde_json::Value;

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
fn a_browser_shows_the_backends_and_what_happened() {
    let Some(browser) = browser() else {
        return say_skipped("no chromium here; install one or name it in CHROMIUM");
    };
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::start(&lab, &Configuration::of(&lab).quick()).expect("an agent");
    let dead = lab.control_plane(1).tls();
    lab.control_plane(1).crash().expect("crashed");
    agent.await_state(dead, "unhealthy").expect("seen");
    let ui = Ui::start(&lab, &agent);

    let shown = wait_until("every backend in the page", || {
        let page = browse(&browser, &lab, &["--dump-dom".to_owned(), ui.address.clone()]);
        let all = lab
            .control_planes()
            .iter()
            .all(|plane| page.contains(&format!("<th scope=\"row\">{}</th>", plane.tls())));
        Ok((all && page.contains(">failover</td>")).then_some(page))
    });
    let shown = shown.expect("shown");
    assert!(shown.contains("class=\"poor\">! degraded: "), "{shown}");
    assert!(shown.contains("✓ healthy") && shown.contains("✗ unhealthy"), "{shown}");
    assert_eq!(shown.matches("<svg ").count(), 3, "{shown}");

    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ui.png");
    let options = [
        format!("--screenshot={}", picture.display()),
        "--window-size=1500,900".to_owned(),
        "--hide-scrollbars".to_owned(),
        ui.address.clone(),
    ];
    browse(&browser, &lab, &options);
    let bytes = fs::read(&picture).expect("a picture");
    assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 20_000, "{} bytes", bytes.len());
    println!("a picture of it is {}", picture.display());
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
        names.iter().find_map(|name| tools::find(name, "chromium"))
    };
    named.or_else(known)
}

/// Lets a browser on the lab's first node load a page, and gives what it prints. Its clock stands still while it
/// loads something, so what it shows is what the page had made of the first answers.
fn browse(browser: &Path, lab: &Lab, options: &[String]) -> String {
    let directory = lab.directory().join("browser");
    let mut args = vec!["exec".into(), "--".into(), browser.into()];
    args.extend(
        [
            "--headless".to_owned(),
            // It runs as root, in a network without ways out, and shows a page of ours.
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--virtual-time-budget=3000".to_owned(),
            format!("--user-data-dir={}", directory.display()),
        ]
        .iter()
        .chain(options)
        .map(Into::into),
    );
    let place = Place::in_netns(lab.node(0).netns());
    let log = lab.directory().join("browser.log");
    let mut process = Process::spawn(&place, &args, Some(&log)).expect("it starts");
    let mut output = process.take_stdout().expect("a pipe");
    let (sender, printed) = mpsc::channel();
    // It ends with the process.
    thread::spawn(move || {
        let mut text = String::new();
        sender.send(output.read_to_string(&mut text).map(|_| text))
    });
    let printed = printed.recv_timeout(PATIENCE);
    let said = || fs::read_to_string(&log).unwrap_or_default();
    printed.unwrap_or_else(|_| panic!("the browser does not end: {}", said())).expect("text")
}
