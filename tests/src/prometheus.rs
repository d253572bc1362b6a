//! Debian's Prometheus beside an agent: in the node's network namespace, since an agent gives its metrics on
//! loopback only, with its data in the lab's directory. It ends with this value.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::lab::Lab;
use crate::place::Place;
use crate::process::Process;
use crate::tools;
use crate::wait::wait_until;

/// Where an agent listens by default.
pub const AGENT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 7473);
/// Where it listens itself; nobody else does in a node of a lab.
const OWN: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 9090);
/// Time between two scrapes, and between two evaluations of the rules.
pub const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);
/// Far longer than any query takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program, where there is one.
#[must_use]
pub fn program() -> Option<PathBuf> {
    tools::find("prometheus", "prometheus")
}

/// A Prometheus that scrapes the agent on the lab's first node.
pub struct Prometheus {
    netns: String,
    _process: Process,
}

/// A series of an answer: its labels, and its values with their unix times in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What it is told apart by.
    pub labels: BTreeMap<String, String>,
    /// A single one, where a moment was asked for.
    pub points: Vec<(f64, f64)>,
}

/// A rule, as Prometheus evaluates it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Name of the alert.
    pub name: String,
    /// unknown, ok or err.
    pub health: String,
    /// What went wrong, when it is err.
    #[serde(default)]
    pub last_error: String,
}

/// Which moments a question is about.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// The present.
    Now,
    /// From one unix time to another, in steps of so many seconds.
    Range(f64, f64, f64),
}

impl Prometheus {
    /// Starts it with these rules and waits until it answers.
    pub fn start(program: &Path, lab: &Lab, rules: &Path) -> Result<Self> {
        let directory = lab.directory().join("prometheus");
        fs::create_dir(&directory).context("cannot create the directory of Prometheus")?;
        let file = directory.join("prometheus.yaml");
        fs::write(&file, configuration(rules)?)?;
        let data = directory.join("data");
        let (address, port) = OWN;
        let options = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", data.display()),
            format!("--web.listen-address={address}:{port}"),
            "--log.level=warn".to_owned(),
        ];
        let before = ["exec".into(), "--".into(), program.into()];
        let args: Vec<OsString> =
            before.into_iter().chain(options.into_iter().map(OsString::from)).collect();
        let netns = lab.node(0).netns().to_owned();
        let log = directory.join("log");
        let mut process = Process::spawn(&Place::in_netns(&netns), &args, Some(&log))?;
        wait_until("Prometheus", || {
            if !process.is_running() {
                bail!("it ended: {}", fs::read_to_string(&log).unwrap_or_default());
            }
            // Until it listens nobody answers.
            Ok(get(&netns, OWN, "/-/ready").ok())
        })?;
        Ok(Self { netns, _process: process })
    }

    /// What a query gives.
    pub fn query(&self, expression: &str, when: When) -> Result<Vec<Series>> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("query", expression);
        let path = match when {
            When::Now => "/api/v1/query",
            When::Range(start, end, step) => {
                for (name, value) in [("start", start), ("end", end), ("step", step)] {
                    query.append_pair(name, &value.to_string());
                }
                "/api/v1/query_range"
            }
        };
        let data = self.ask(&format!("{path}?{}", query.finish()))?;
        data["result"].as_array().context("no result")?.iter().map(series).collect()
    }

    /// The rules, as they were evaluated last.
    pub fn rules(&self) -> Result<Vec<Rule>> {
        let data = self.ask("/api/v1/rules")?;
        let groups = data["groups"].as_array().context("no groups")?;
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten());
        rules.map(|rule| Ok(Rule::deserialize(rule)?)).collect()
    }

    fn ask(&self, path: &str) -> Result<Value> {
        let answer = get(&self.netns, OWN, path)?;
        let mut answer: Value = serde_json::from_str(&answer)?;
        ensure!(answer["status"] == "success", "Prometheus says {answer}");
        Ok(answer["data"].take())
    }
}

fn configuration(rules: &Path) -> Result<String> {
    let rules = fs::canonicalize(rules).with_context(|| format!("no {}", rules.display()))?;
    let (address, port) = AGENT;
    let interval = SCRAPE_INTERVAL.as_secs();
    Ok(format!(
        "global: {{ scrape_interval: {interval}s, scrape_timeout: {interval}s, evaluation_interval: {interval}s }}
rule_files: [{}]
scrape_configs:
  - job_name: nllb
    static_configs:
      - {{ targets: ['{address}:{port}'], labels: {{ instance: node1 }} }}
",
        rules.display()
    ))
}

/// What an HTTP server in a network namespace answers to a client that names no format.
pub fn get(netns: &str, server: (Ipv4Addr, u16), path: &str) -> Result<String> {
    crate::netns::run_in(netns, || {
        let mut stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // 1.0: the answer comes in one piece.
        write!(stream, "GET {path} HTTP/1.0\r\nhost: lab\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status == "200", "{path}: {} {body}", head.lines().next().unwrap_or_default());
        Ok(body.to_owned())
    })?
}

/// `[time, "value"]`, or a list of such under `values`.
fn series(result: &Value) -> Result<Series> {
    let labels = BTreeMap::deserialize(&result["metric"])?;
    let one = std::slice::from_ref(&result["value"]);
    let points = result["values"].as_array().map_or(one, Vec::as_slice).iter().map(|point| {
        let (time, value) = <(f64, String)>::deserialize(point)?;
        // NaN and infinities are written as Rust reads them.
        Ok((time, value.parse()?))
    });
    Ok(Series { labels, points: points.collect::<Result<_>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_ranges_are_read_with_what_is_no_number() {
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let moment = serde_json::json!({"metric": {"a": "b"}, "value": [1.5, "+Inf"]});
        let expected = Series { labels: labels.clone(), points: vec![(1.5, f64::INFINITY)] };
        assert_eq!(series(&moment).expect("a series"), expected);
        let range = serde_json::json!({"metric": {"a": "b"}, "values": [[1, "2"], [2, "NaN"]]});
        let Series { points, .. } = series(&range).expect("a series");
        assert_eq!(points[0], (1.0, 2.0));
        assert!(points[1].1.is_nan());
    }
}
