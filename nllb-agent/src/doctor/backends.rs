//! Checks of each backend and of the way to it: TCP, TLS and the question apart, since each has its own
//! remedy.
//!
//! A path that loses full packets looks like a frozen server: the connect ends, the handshake does not.
//! TCP knows better. What comes of a server's first flight is its last, short segment, which arrives out of
//! order; and a long request of our own is sent again and again while a short one got through.

use super::{Check, Group};
use nllb_core::{CertificateFacts, Expiry, KubeVersion, Outcome, Urgency};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const BACKENDS: Group = Group::Backends;
/// How many minor versions a kubelet may be behind its API server.
const MOST_BEHIND: u32 = 3;

/// A step and how long it took.
pub type Step = Result<Duration, Outcome>;

/// What a backend did when it was asked step by step.
#[derive(Clone, Debug)]
pub struct Examination {
    /// The TCP handshake.
    pub tcp: Step,
    /// The TLS handshake; `None` when none is spoken or it did not come so far.
    pub tls: Option<Step>,
    /// The question of the probe, likewise.
    pub answer: Option<Result<Answer, Outcome>>,
    /// A request larger than a packet, likewise.
    pub large: Option<Step>,
    /// The certificate that was shown.
    pub certificate: Option<Arc<CertificateFacts>>,
    /// Version of the API server, when it told.
    pub version: Option<KubeVersion>,
    /// What TCP saw.
    pub path: Option<Path>,
}

/// An answer to the question of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it means for a probe.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
    /// How many seconds the server's clock is ahead of this host's, when it told.
    pub ahead: Option<i64>,
}

/// What TCP saw of the way (`TCP_INFO`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// The largest packet that the way is known to take, in bytes.
    pub mtu: u32,
    /// Segments sent again.
    pub retransmitted: u32,
    /// Segments that nobody acknowledged yet.
    pub unacknowledged: u32,
    /// Segments received before an earlier one.
    pub out_of_order: u32,
    /// The lowest round trip, in microseconds.
    pub round_trip_us: u32,
}

/// What was seen of a backend.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Its address.
    pub address: SocketAddr,
    /// What it is asked, like `https /readyz`.
    pub question: String,
    /// Whether probes of its pool say who they are.
    pub known: bool,
    /// What it did.
    pub seen: Examination,
    /// What it did without credentials, when that is another question.
    pub anonymous: Option<Outcome>,
    /// Refused on its address, whether the same port answers on loopback; `None` when it is another host.
    pub on_loopback: Option<bool>,
    /// Frontends that its certificate is not for, with the reason.
    pub uncovered: Vec<String>,
    /// From where else it was dialled, and what came of it.
    pub from_pod: Option<(String, Outcome)>,
}

/// What is known besides.
#[derive(Clone, Debug)]
pub struct Around {
    /// Unix time.
    pub now: i64,
    /// Version of this node's kubelet.
    pub kubelet: Option<KubeVersion>,
}

/// Decides about a backend.
#[must_use]
pub fn checks(backend: &Backend, around: &Around) -> Vec<Check> {
    let mut checks = vec![tcp(backend)];
    checks.extend(tls(backend));
    checks.extend(certificate(backend, around.now));
    checks.extend(answer(backend));
    checks.extend(anonymous(backend));
    checks.extend(packets(backend));
    checks.extend(version(backend, around.kubelet.as_ref()));
    checks.extend(from_pod(backend));
    checks
}

impl Backend {
    fn name(&self, what: &str) -> String {
        format!("{} {what}", self.address)
    }

    fn pass(&self, what: &str, found: impl Into<String>) -> Check {
        Check::pass(BACKENDS, self.name(what), found)
    }

    fn warn(&self, what: &str, found: impl Into<String>, fix: impl Into<String>) -> Check {
        Check::warn(BACKENDS, self.name(what), found, fix)
    }

    fn fail(&self, what: &str, found: impl Into<String>, fix: impl Into<String>) -> Check {
        Check::fail(BACKENDS, self.name(what), found, fix)
    }
}

fn ms(time: Duration) -> String {
    let precision = if time < Duration::from_millis(1) { 2 } else { 1 };
    format!("{:.precision$} ms", time.as_secs_f64() * 1000.0)
}

fn tcp(backend: &Backend) -> Check {
    const WHAT: &str = "tcp";
    let outcome = match &backend.seen.tcp {
        Ok(took) => {
            // What the kernel measured: our own clock runs while other backends are asked as well.
            let measured =
                backend.seen.path.map(|path| Duration::from_micros(path.round_trip_us.into()));
            let found = format!("round trip {}", ms(measured.unwrap_or(*took)));
            return backend.pass(WHAT, found);
        }
        Err(outcome) => outcome,
    };
    let fix = match (outcome, backend.on_loopback) {
        (Outcome::Refused, Some(true)) => {
            let found = "connect refused, though 127.0.0.1 answers on this port: it listens on loopback alone";
            let fix = "start kube-apiserver with --bind-address=0.0.0.0, or :: for both families";
            return backend.fail(WHAT, found, fix);
        }
        (Outcome::Refused, _) => {
            "start the API server there; when it runs, look at its --bind-address and --secure-port"
        }
        (Outcome::Silent | Outcome::Unanswered, _) => {
            "look whether the host is up and a firewall lets this node through to the port"
        }
        (Outcome::Unreachable, _) => "look at routes and neighbours: ip route get ADDRESS",
        (Outcome::Local { .. }, _) => "this host cannot dial: mend what the message names",
        (_, _) => "look at the way there: something resets or breaks connections",
    };
    backend.fail(WHAT, outcome.to_string(), fix)
}

/// Whether full packets get lost while small ones pass.
fn loses_large(backend: &Backend) -> bool {
    let path = backend.seen.path.unwrap_or_default();
    let no_handshake = matches!(&backend.seen.tls, Some(Err(Outcome::Hung)));
    let no_large = matches!(&backend.seen.large, Some(Err(Outcome::Hung | Outcome::Slow)));
    (no_handshake && path.out_of_order > 0)
        || (no_large && path.unacknowledged > 0 && path.retransmitted > 0)
}

fn tls(backend: &Backend) -> Option<Check> {
    const WHAT: &str = "tls";
    let outcome = match backend.seen.tls.as_ref()? {
        Ok(took) => return Some(backend.pass(WHAT, ms(*took))),
        Err(outcome) => outcome,
    };
    let reason = if let Outcome::TlsFailed { reason } = outcome { reason } else { "" };
    let fix = if reason.contains("NotValidForName") || reason.contains("not valid for name") {
        "add the address to the certificate's names (kubeadm certSANs, k0s api.sans, k3s and RKE2 tls-san), \
         or say in probe.serverName for which name it is"
    } else if reason.contains("UnknownIssuer") {
        "name the cluster's CA in probe.caFile; was it renewed?"
    } else if reason.to_lowercase().contains("expired") {
        "renew the certificate (kubeadm certs renew apiserver), or set this host's clock"
    } else if *outcome == Outcome::Hung && !loses_large(backend) {
        "the kernel there accepts and the process does not answer: look whether it is stuck or starved, \
         and restart it"
    } else if *outcome == Outcome::Hung {
        "see mtu below"
    } else if matches!(outcome, Outcome::Local { .. }) {
        "mend the file that the message names; it is one of the pool's probe"
    } else {
        "look whether an API server listens there, and what stands between"
    };
    Some(backend.fail(WHAT, outcome.to_string(), fix))
}

fn certificate(backend: &Backend, now: i64) -> Option<Check> {
    const WHAT: &str = "certificate";
    let certificate = backend.seen.certificate.as_ref()?;
    let expiry = Expiry::of(certificate, now);
    let renew =
        "renew it (kubeadm certs renew, or restart k3s, RKE2 or k0s) before clients refuse it";
    let days = (expiry.ends - now) / 86_400;
    if !backend.uncovered.is_empty() {
        let fix = "add what is missing to the certificate's names (kubeadm certSANs, k0s api.sans, k3s and \
                   RKE2 tls-san); until then others serve those frontends";
        return Some(backend.fail(WHAT, backend.uncovered.join("; "), fix));
    }
    if now < certificate.not_before {
        let found = format!("not valid before unix time {}", certificate.not_before);
        return Some(backend.fail(WHAT, found, "set this host's clock, or wait"));
    }
    Some(match expiry.urgency {
        Urgency::None => backend.pass(WHAT, format!("for every frontend, {days} days left")),
        Urgency::Month => backend.warn(WHAT, expiry.to_string(), renew),
        Urgency::Week | Urgency::Expired => backend.fail(WHAT, expiry.to_string(), renew),
    })
}

fn answer(backend: &Backend) -> Option<Check> {
    let what = backend.question.as_str();
    let (outcome, took) = match backend.seen.answer.as_ref()? {
        Ok(Answer { outcome, took, .. }) => (outcome, Some(*took)),
        Err(outcome) => (outcome, None),
    };
    let found = took.map_or_else(|| outcome.to_string(), |took| format!("{outcome}, {}", ms(took)));
    Some(match outcome {
        Outcome::Ready => backend.pass(what, found),
        Outcome::Unauthorized => backend.warn(
            what,
            format!("{found}: it lives, and whether it is ready nobody tells"),
            "anonymous auth is off: give probes a token or certificate (probe.bearerTokenFile, kubeconfig)",
        ),
        Outcome::CredentialsRefused => {
            backend.warn(what, found, "renew the token or certificate of the pool's probe")
        }
        Outcome::NotReady { status: 403 } if !backend.known => backend.fail(
            what,
            format!("{found}: anonymous requests are forbidden"),
            "give probes a token or certificate, or allow system:public-info-viewer to anonymous users",
        ),
        Outcome::NotServing { reason } if reason.starts_with("DNS") => backend.fail(
            what,
            found,
            "look into the name server's log: CoreDNS answers SERVFAIL until it has reached its API server",
        ),
        Outcome::NotReady { .. } | Outcome::NotServing { .. } => backend.fail(
            what,
            found,
            "it is starting, stopping or lost etcd: kubectl get --raw /readyz?verbose at that server",
        ),
        Outcome::Refused
        | Outcome::Reset
        | Outcome::Unreachable
        | Outcome::Silent
        | Outcome::Unanswered
        | Outcome::TlsFailed { .. }
        | Outcome::Slow
        | Outcome::Hung
        | Outcome::Closed
        | Outcome::Unresponsive
        | Outcome::Local { .. } => {
            backend.fail(what, found, "look into that server's log and load")
        }
    })
}

fn anonymous(backend: &Backend) -> Option<Check> {
    const WHAT: &str = "anonymous auth";
    let outcome = backend.anonymous.as_ref()?;
    let found = if *outcome == Outcome::Ready {
        "on: readiness is told without credentials"
    } else if *outcome == Outcome::Unauthorized {
        "off: probes need the credentials that they have"
    } else if *outcome == (Outcome::NotReady { status: 403 }) {
        "on, without the right to ask for readiness"
    } else {
        let found = format!("without credentials: {outcome}");
        return Some(Check::skip(BACKENDS, backend.name(WHAT), found));
    };
    Some(backend.pass(WHAT, found))
}

fn packets(backend: &Backend) -> Option<Check> {
    const WHAT: &str = "mtu";
    let path = backend.seen.path?;
    let Path { mtu, retransmitted, out_of_order, .. } = path;
    if loses_large(backend) {
        let found = format!(
            "small packets pass and full ones do not (path MTU {mtu}, {retransmitted} sent again, \
             {out_of_order} received out of order)"
        );
        let fix = "let ICMP \"fragmentation needed\" through, or lower the MTU of the interface or overlay; \
                   net.ipv4.tcp_mtu_probing=1 helps this host's own packets";
        return Some(backend.fail(WHAT, found, fix));
    }
    let took = backend.seen.large.as_ref()?.as_ref().ok()?;
    Some(
        backend
            .pass(WHAT, format!("a request of several packets took {}, path MTU {mtu}", ms(*took))),
    )
}

fn version(backend: &Backend, kubelet: Option<&KubeVersion>) -> Option<Check> {
    const WHAT: &str = "version";
    let version = backend.seen.version.as_ref()?;
    let Some(kubelet) = kubelet else {
        return Some(backend.pass(WHAT, format!("{version}; the kubelet's is not known")));
    };
    let ((major, api), (_, node)) = (version.release(), kubelet.release());
    let found = format!("{version}, the kubelet {kubelet}");
    Some(if kubelet.release() > version.release() {
        backend.fail(
            WHAT,
            format!("{found}: a kubelet must not be newer than its API server"),
            "upgrade the API server; until then set versionSkew: kubelet on the frontends",
        )
    } else if major == kubelet.release().0 && api - node > MOST_BEHIND {
        let found = format!("{found}: more than {MOST_BEHIND} minor versions behind");
        backend.warn(WHAT, found, "upgrade the kubelet")
    } else {
        backend.pass(WHAT, found)
    })
}

fn from_pod(backend: &Backend) -> Option<Check> {
    const WHAT: &str = "from a pod";
    let (from, outcome) = backend.from_pod.as_ref()?;
    let found = format!("{from}: {outcome}");
    Some(if outcome.is_success() {
        backend.pass(WHAT, found)
    } else if matches!(outcome, Outcome::Local { .. }) {
        Check::skip(BACKENDS, backend.name(WHAT), found)
    } else {
        let fix = "look at network policies, and at masquerading and MTU of the pod network";
        backend.warn(WHAT, found, fix)
    })
}

#[cfg(test)]
mod tests;
