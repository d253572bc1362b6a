//! Asks the DNS for all addresses of a name.
//!
//! Not the C library: it does not tell how long an answer is good. As with it `/etc/hosts` comes first,
//! and both files are read for every question, since a resolver that is configured late at boot must
//! not stay unknown.
//!
//! A family that cannot be asked keeps what it had: a name server that drops questions for AAAA, or is
//! silent, says nothing of who is there.

use super::{LARGEST, text_of};
use domain::base::Rtype;
use domain::base::iana::Rcode;
use domain::base::name::{Name, ToName as _, UncertainName};
use domain::rdata::{A, Aaaa};
use domain::resolv::StubResolver;
use domain::resolv::stub::Answer;
use domain::resolv::stub::conf::ResolvConf;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// A record that says 0 must not make every node of a cluster ask all the time.
const SHORTEST: Duration = Duration::from_secs(5);
/// A record for a day must not keep a new control-plane host unknown for a day.
const LONGEST: Duration = Duration::from_secs(300);
/// The port of name servers.
const DNS: u16 = 53;
/// Of one family: a pool has room for fewer.
const MOST: usize = 64;

/// What is known of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Its addresses, from this answer and from earlier ones where this one fails.
    pub(super) addresses: Vec<IpAddr>,
    /// What is wrong, in one line.
    pub(super) wrong: Option<String>,
    /// How long to go by it.
    pub(super) good_for: Duration,
}

/// The addresses of one family, as the last answer gave them.
type Family = Vec<IpAddr>;

/// Asks for names, and remembers the last answers.
#[derive(Debug)]
pub(super) struct Resolver {
    /// `/etc/resolv.conf` and `/etc/hosts`, but for tests.
    configuration: PathBuf,
    hosts: PathBuf,
    /// Where name servers listen, but for tests.
    port: u16,
    last: BTreeMap<String, [Family; 2]>,
}

impl Resolver {
    /// As this host is configured.
    pub(super) fn system() -> Self {
        Self::of(Path::new("/etc/resolv.conf"), Path::new("/etc/hosts"))
    }

    fn of(configuration: &Path, hosts: &Path) -> Self {
        let last = BTreeMap::new();
        let (configuration, hosts) = (configuration.to_owned(), hosts.to_owned());
        Self { configuration, hosts, port: DNS, last }
    }

    /// Forgets all other names.
    pub(super) fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.last.retain(|name, _| wanted(name));
    }

    /// Looks a name up, in both families.
    pub(super) async fn look_up(&mut self, name: &str) -> Found {
        let paths = (self.configuration.clone(), self.hosts.clone());
        let read = spawn_blocking(move || {
            let hosts = text_of(&paths.1, LARGEST).unwrap_or_default();
            (configuration(&text_of(&paths.0, LARGEST).unwrap_or_default()), hosts)
        });
        let Ok((mut configuration, hosts)) = read.await else {
            return self.known(name, "its configuration cannot be read");
        };
        configuration.servers.iter_mut().for_each(|server| server.addr.set_port(self.port));
        let local = in_hosts(&hosts, name);
        if !local.is_empty() {
            self.last.insert(name.to_owned(), [local.clone(), Vec::new()]);
            return Found { addresses: local, wrong: None, good_for: LONGEST };
        }
        let names = match full_names(name, &configuration) {
            Ok(names) => names,
            Err(reason) => return self.known(name, &reason),
        };
        let resolver = StubResolver::from_conf(configuration);
        let mut answered = Err("it has no address".to_owned());
        for full in names {
            answered = self.ask(&resolver, name, &full).await;
            if answered.is_ok() {
                break;
            }
        }
        answered.unwrap_or_else(|reason| self.known(name, &reason))
    }

    /// Asks for one full name; fails when nobody says that it has an address.
    async fn ask(
        &mut self,
        resolver: &StubResolver,
        name: &str,
        full: &Name<Vec<u8>>,
    ) -> Result<Found, String> {
        let question = |rtype| resolver.query((full, rtype));
        let answers = tokio::join!(question(Rtype::A), question(Rtype::AAAA));
        let answers = [answers.0, answers.1].map(|answer| match answer {
            Ok(answer) => addresses(&answer),
            Err(error) => Err(format!("no name server answers ({error})")),
        });
        let good = answers.iter().flatten();
        if !good.clone().any(|(addresses, _)| !addresses.is_empty()) {
            let failed = answers.iter().find_map(|answer| answer.as_ref().err());
            return Err(failed.cloned().unwrap_or_else(|| "it has no address".to_owned()));
        }
        let ttl = good.map(|(_, ttl)| *ttl).min().unwrap_or_default();
        let last = self.last.entry(name.to_owned()).or_default();
        let mut wrong = None;
        for (family, answer) in last.iter_mut().zip(answers) {
            match answer {
                Ok((addresses, _)) => *family = addresses,
                // Only of interest where it has something to lose.
                Err(reason) if !family.is_empty() => wrong = Some(reason),
                Err(_) => {}
            }
        }
        let good_for = ttl.clamp(SHORTEST, LONGEST);
        Ok(Found { addresses: last.concat(), wrong, good_for })
    }

    /// What was known before, now that something is wrong.
    fn known(&self, name: &str, reason: &str) -> Found {
        let addresses = self.last.get(name).map(|families| families.concat()).unwrap_or_default();
        let wrong = Some(format!("{name} cannot be resolved: {reason}"));
        Found { addresses, wrong, good_for: SHORTEST }
    }
}

/// The addresses of an answer, and how long they are good. A name without addresses of that family is
/// an answer too.
fn addresses(answer: &Answer) -> Result<(Family, Duration), String> {
    let nonsense = |_| "an answer of the name server makes no sense".to_owned();
    match answer.header().rcode() {
        Rcode::NOERROR => {}
        Rcode::NXDOMAIN => return Err("the name does not exist".to_owned()),
        rcode => return Err(format!("the name server says {rcode}")),
    }
    let (mut found, mut ttl) = (Family::new(), LONGEST);
    let owner = answer.canonical_name();
    for record in answer.answer().map_err(nonsense)? {
        let record = record.map_err(nonsense)?;
        // Those of the aliases on the way count as well.
        ttl = ttl.min(record.ttl().into_duration());
        if owner.as_ref().is_none_or(|owner| !owner.name_eq(&record.owner())) {
            continue;
        }
        let v4 = record.to_record::<A>().ok().flatten().map(|a| IpAddr::from(a.data().addr()));
        let v6 = record.to_record::<Aaaa>().ok().flatten();
        let v6 = v6.map(|aaaa| IpAddr::from(aaaa.data().addr()));
        found.extend(v4.or(v6));
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(MOST);
    Ok((found, ttl))
}

/// What `/etc/resolv.conf` says. A line that cannot be used is left out, as the C library does.
fn configuration(text: &str) -> ResolvConf {
    let mut configuration = ResolvConf::new();
    for line in text.lines() {
        let _unusable = configuration.parse(&mut line.as_bytes());
    }
    configuration.finalize();
    configuration
}

/// The addresses that `/etc/hosts` has for a name.
fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.');
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let of_line = |line: &str| {
        let mut words = line.split_whitespace();
        let ip = words.next()?.parse::<IpAddr>().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(ip)
    };
    lines.filter_map(of_line).collect()
}

/// The names to ask for, in that order: a name with enough dots as it is, one without first in the
/// domains to search.
fn full_names(name: &str, configuration: &ResolvConf) -> Result<Vec<Name<Vec<u8>>>, String> {
    let bad = || format!("{name:?} is not a DNS name");
    let relative = match UncertainName::<Vec<u8>>::from_str(name).map_err(|_| bad())? {
        UncertainName::Absolute(full) => return Ok(vec![full]),
        UncertainName::Relative(relative) => relative,
    };
    let root = relative.clone().chain_root().to_vec();
    let dots = name.matches('.').count();
    let mut names: Vec<_> = configuration
        .options
        .search
        .as_slice()
        .iter()
        .filter_map(|suffix| Some(relative.clone().chain(suffix.clone()).ok()?.to_vec()))
        .filter(|full| *full != root)
        .collect();
    let first = if dots >= configuration.options.ndots { 0 } else { names.len() };
    names.insert(first, root);
    Ok(names)
}

#[cfg(test)]
pub(super) mod tests;
