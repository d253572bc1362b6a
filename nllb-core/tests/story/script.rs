//! The words of a story, one event per line; `#` starts a comment.
//!
//! ```text
//! pool NAME ENDPOINT... [interval=1s confirm=100ms backoff=30s rise=2 fall=2 jitter=0 sentinel=no
//!                        ping=600ms fresh=10 close-after=D discovered=yes]
//! frontend NAME vip|loopback|node-address ADDRESS... [pool=NAME scope=host|all empty=fail name=NAME trust=yes
//!                                                       udp=yes]
//! standing ADDRESS [band=N leaving=yes]      of an endpoint of the last pool; no round trips count there
//! start                      the agent starts with these settings
//! forget                     the settings are written anew; then pools and frontends as above
//! reload                     the agent takes the new settings
//! members                    discovery leads to these settings
//! hint ADDRESS               a source says that the host, whatever its port, is not what it was
//! restart                    another agent takes over the maps
//! adopt ADDRESS id=N epoch=N STATE
//! server ADDRESS|* OUTCOME [takes=1ms names=NAME,... expires=SECONDS version=V nodes=N]
//!                          [http1=yes   it does not speak HTTP/2]
//!                          [pongs=yes   a sentinel is answered, although probes end otherwise]
//!                          [retransmit=200ms   after silence, until TCP sends a ping again]
//! sentinel ADDRESS goaway|closed|reset|lost
//! known POOL ADDRESS STATE [drained=yes after=DURATION version=V]      the table on disk
//! drain ADDRESS [after=DURATION force=yes]
//! undrain ADDRESS
//! drill ADDRESS simulate|blackhole|over [lease=2s]
//! own ADDRESS                this host has the address, whatever its port
//! evidence ADDRESS silence|reset|aborted
//! network                    the host's network changes
//! run DURATION               time passes
//! probes                     tell of each probe from now on
//! pings                      tell of sentinels and pings from now on
//! quiet                      tell of neither
//! status                     why the backends have their state, and who may serve what
//! dump                       what the maps hold
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use nllb_common::EventKind;
use nllb_common::maps::{Protocol, State};
use nllb_core::{
    Coverage, Drain, Drill, FrontendKind, FrontendSettings, HealthSettings, KubeVersion, OnEmpty,
    Outcome, PoolSettings, Remembered, ScopeSetting, Standing, SubjectName,
};

/// A line cut into words: those in order, and those of the form `key=value`.
pub(crate) struct Line<'a> {
    pub(crate) text: &'a str,
    pub(crate) words: Vec<&'a str>,
    pub(crate) options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    /// The lines of a story that say something.
    pub(crate) fn all(story: &'a str) -> impl Iterator<Item = Self> {
        let code = story.lines().map(|line| line.split('#').next().unwrap_or("").trim());
        code.filter(|text| !text.is_empty()).map(|text| {
            let (options, words) =
                text.split_whitespace().partition::<Vec<_>, _>(|w| w.contains('='));
            let options = options.iter().filter_map(|word| word.split_once('=')).collect();
            Self { text, words, options }
        })
    }

    fn option<T>(&self, key: &str, read: impl Fn(&str) -> T, default: T) -> T {
        self.options.get(key).map_or(default, |text| read(text))
    }

    pub(crate) fn pool(&self) -> PoolSettings {
        let default = HealthSettings::default();
        PoolSettings {
            name: self.words[1].to_owned(),
            endpoints: self.words[2..].iter().map(|text| address(text)).collect(),
            discovered: self.options.contains_key("discovered"),
            health: HealthSettings {
                interval: self.option("interval", duration, default.interval),
                jitter: self.option("jitter", number, 0.0),
                confirm_interval: self.option("confirm", duration, default.confirm_interval),
                max_backoff: self.option("backoff", duration, default.max_backoff),
                rise: self.option("rise", number, default.rise),
                fall: self.option("fall", number, default.fall),
                sentinel: !self.options.contains_key("sentinel"),
                ping_interval: self.option("ping", duration, default.ping_interval),
                fresh_every: self.option("fresh", number, default.fresh_every),
                drain_close_after: self.options.get("close-after").map(|text| duration(text)),
            },
            ..PoolSettings::default()
        }
    }

    /// What is known of an endpoint.
    pub(crate) fn standing(&self) -> (SocketAddr, Standing) {
        let leaving = self.options.contains_key("leaving");
        (address(self.words[1]), Standing { band: self.option("band", number, 0), leaving })
    }

    pub(crate) fn frontend(&self, only_pool: &str) -> FrontendSettings {
        let kind = match self.words[2] {
            "vip" => FrontendKind::Vip,
            "loopback" => FrontendKind::Loopback,
            "node-address" => FrontendKind::NodeAddress,
            other => panic!("no kind of frontend: {other}"),
        };
        let coverage = match self.options.get("name") {
            Some(name) => Coverage::ServerName((*name).to_owned()),
            None if self.options.contains_key("trust") => Coverage::Trusted,
            None => Coverage::Address,
        };
        let fail = self.options.contains_key("empty");
        FrontendSettings {
            name: self.words[1].to_owned(),
            kind,
            addresses: self.words[3..].iter().map(|text| address(text)).collect(),
            pool: self.options.get("pool").map_or(only_pool, |name| name).to_owned(),
            scope: match self.options.get("scope") {
                Some(&"all") => ScopeSetting::All,
                _ => ScopeSetting::Host,
            },
            on_empty: if fail { OnEmpty::Fail } else { OnEmpty::PassThrough },
            coverage,
            protocol: if self.options.contains_key("udp") { Protocol::Udp } else { Protocol::Tcp },
            ..FrontendSettings::default()
        }
    }

    /// What a server answers.
    pub(crate) fn server(&self) -> Server {
        let (outcome, takes) = outcome(self.words[2]);
        let names = |list: &str| list.split(',').map(subject_name).collect();
        Server {
            outcome,
            takes: self.option("takes", duration, Duration::from_millis(takes)),
            names: self.options.get("names").map(|list| names(list)),
            expires: self.option("expires", number, i64::MAX),
            http1: self.options.contains_key("http1"),
            pongs: self.options.contains_key("pongs"),
            retransmit: self.option("retransmit", duration, Duration::from_millis(200)),
            version: self.options.get("version").map(|text| text.parse().expect("a version")),
            nodes: self.options.get("nodes").map(|text| number(text)),
        }
    }

    /// A backend that the maps hold: address, id, epoch, state.
    pub(crate) fn known(&self) -> (SocketAddr, u32, u32, State) {
        let (id, epoch) = (self.option("id", number, 0), self.option("epoch", number, 1));
        (address(self.words[1]), id, epoch, state(self.words[2]))
    }

    /// A backend that the table on disk holds.
    pub(crate) fn remembered(&self) -> Remembered {
        Remembered {
            pool: self.words[1].to_owned(),
            addr: address(self.words[2]),
            state: state(self.words[3]),
            drained: self.options.contains_key("drained"),
            close_after: self.options.get("after").map(|text| duration(text)),
            rtt: None,
            names: Vec::new(),
            version: self.options.get("version").map(|text| text.parse().expect("a version")),
        }
    }

    /// What an operator wants.
    pub(crate) fn drain(&self) -> (SocketAddr, Drain) {
        let close_after = self.options.get("after").map(|text| duration(text));
        let on = Drain::On { close_after, force: self.options.contains_key("force") };
        let lease = self.option("lease", duration, Duration::from_secs(2));
        let order = match (self.words[0], self.words.get(2).copied()) {
            ("drain", _) => on,
            ("undrain", _) => Drain::Off,
            (_, Some("simulate")) => Drain::Drill { how: Drill::Simulate, lease },
            (_, Some("blackhole")) => Drain::Drill { how: Drill::Blackhole, lease },
            _ => Drain::DrillOver,
        };
        (address(self.words[1]), order)
    }

    pub(crate) fn evidence(&self) -> (SocketAddr, EventKind) {
        let kind = match self.words[2] {
            "silence" => EventKind::SynSilence,
            "reset" => EventKind::ConnectReset,
            "aborted" => EventKind::ConnectAborted,
            other => panic!("no evidence: {other}"),
        };
        (address(self.words[1]), kind)
    }
}

fn state(word: &str) -> State {
    State::ALL.into_iter().find(|state| state.label() == word).expect("a state")
}

/// What a server answers to a probe.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) outcome: Outcome,
    pub(crate) takes: Duration,
    /// `None` leaves the certificate as it was.
    pub(crate) names: Option<Vec<SubjectName>>,
    pub(crate) expires: i64,
    pub(crate) http1: bool,
    pub(crate) pongs: bool,
    pub(crate) retransmit: Duration,
    pub(crate) version: Option<KubeVersion>,
    pub(crate) nodes: Option<u64>,
}

/// An outcome, and how many milliseconds it takes to come to it.
fn outcome(word: &str) -> (Outcome, u64) {
    let reason = || String::from("unknown issuer");
    match word {
        "ready" => (Outcome::Ready, 1),
        "401" => (Outcome::Unauthorized, 1),
        "refused" => (Outcome::Refused, 1),
        "reset" => (Outcome::Reset, 1),
        "unreachable" => (Outcome::Unreachable, 1),
        "silent" => (Outcome::Silent, 1000),
        "tls" => (Outcome::TlsFailed { reason: reason() }, 1),
        "slow" => (Outcome::Slow, 2000),
        "hung" => (Outcome::Hung, 2000),
        "closed" => (Outcome::Closed, 1),
        "local" => (Outcome::Local { reason: String::from("too many open files") }, 0),
        status => (Outcome::NotReady { status: number(status) }, 1),
    }
}

fn subject_name(text: &str) -> SubjectName {
    match text.parse() {
        Ok(ip) => SubjectName::Ip(ip),
        Err(_) => SubjectName::Dns(text.to_owned()),
    }
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(crate) fn duration(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(number(millis)),
        None => Duration::from_secs(number(text.strip_suffix('s').expect("a unit"))),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().ok().unwrap_or_else(|| panic!("no number: {text}"))
}
