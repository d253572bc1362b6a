//! What can be wrong with a configuration: one clear line each, ending in what to do.

mod question;
mod sandbox;
mod service;
mod vip;

pub(super) use super::place::Fault;
use super::place::Place;
use crate::text::OneLine;
use crate::yaml::{YamlProblem, suggestion};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use question::QuestionProblem;
pub use sandbox::SandboxProblem;
pub use service::ServiceProblem;
pub use vip::VipProblem;

/// Why a configuration is refused: `file:line:column: key: what is wrong: what to do`.
#[derive(Debug, thiserror::Error)]
#[error("{}", OneLine(format_args!("{}{}: {problem}", file.display(), position(place))))]
pub struct ConfigError {
    /// The configuration file.
    pub file: PathBuf,
    /// Where in it.
    pub place: Place,
    /// What is wrong.
    pub problem: Box<Problem>,
}

fn position(place: &Place) -> String {
    let Place { line, column, key } = place;
    let mut out = if *line > 0 { format!(":{line}:{column}") } else { String::new() };
    if !key.is_empty() {
        out.push_str(": ");
        out.push_str(key);
    }
    out
}

/// What is wrong and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot be read ({source}): check the path and its permissions")]
    Read {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The YAML does not fit.
    #[error(transparent)]
    Yaml(#[from] YamlProblem),
    /// A key is not there.
    #[error("missing: add {example}")]
    Missing {
        /// How it could look.
        example: &'static str,
    },
    /// A value that is none of the known ones.
    #[error("\"{found}\" is not known{}", suggestion(found, known))]
    UnknownValue {
        /// As written.
        found: String,
        /// What is possible.
        known: Vec<&'static str>,
    },
    /// `apiVersion` or `kind` of something else.
    #[error("\"{found}\" is not supported by this agent: write {wanted}")]
    Unsupported {
        /// As written.
        found: String,
        /// The one that is.
        wanted: &'static str,
    },
    /// A list that must not be empty.
    #[error("the list is empty: add at least one {what}")]
    Empty {
        /// An item of the list.
        what: &'static str,
    },
    /// A name with other characters than a DNS label's.
    #[error("\"{found}\" is not a name: use 1 to 63 letters a-z, digits and dashes")]
    Name {
        /// As written.
        found: String,
    },
    /// A name that is taken.
    #[error("the name \"{name}\" is taken by line {line}: choose another")]
    DuplicateName {
        /// The name.
        name: String,
        /// Where it was first used.
        line: u64,
    },
    /// A pool that does not exist.
    #[error("there is no pool \"{found}\": use one of {known}")]
    UnknownPool {
        /// As written.
        found: String,
        /// Every pool.
        known: String,
    },
    /// More than one pool, and the frontend names none.
    #[error("missing: there is more than one pool, write one of {known}")]
    PoolNeeded {
        /// Every pool.
        known: String,
    },
    /// A control plane of nobody.
    #[error("names nobody: add hosts, files, kubeconfigs, names or kubernetes")]
    NoSource,
    /// An item that stands twice in a list.
    #[error("\"{found}\" stands twice in this list: remove one")]
    Twice {
        /// As written.
        found: String,
    },
    /// Not the address of a host.
    #[error(
        "\"{found}\" is not a host's address: write it like 10.0.0.11 or 10.0.0.11:6443; DNS names go under names"
    )]
    Host {
        /// As written.
        found: String,
    },
    /// Not a DNS name.
    #[error(
        "\"{found}\" is not a DNS name: write it like cp.example.org or cp.example.org:6443; addresses go under hosts"
    )]
    DnsName {
        /// As written.
        found: String,
    },
    /// Two frontends would have the same addresses.
    #[error(
        "missing: the addresses of the Service belong to frontend \"{frontend}\": give this one its own"
    )]
    ServiceTaken {
        /// Whose they are.
        frontend: String,
    },
    /// A pool without backends.
    #[error("the pool has no endpoint: add endpoints, a kubeconfig, or a controlPlane")]
    NoEndpoints,
    /// More endpoints than a pool can hold.
    #[error("the pool has {count} endpoints, more than {max}: remove some or make two pools")]
    TooManyEndpoints {
        /// How many.
        count: usize,
        /// Most of them.
        max: usize,
    },
    /// An endpoint that stands twice.
    #[error("the endpoint {address} stands twice in this pool: remove one")]
    DuplicateEndpoint {
        /// The endpoint.
        address: SocketAddr,
    },
    /// A frontend that is a backend of its own pool.
    #[error(
        "{address} is also an endpoint of pool \"{pool}\", so connects would loop: use another address, or kind node-address"
    )]
    Loop {
        /// The address.
        address: SocketAddr,
        /// The pool.
        pool: String,
    },
    /// A node address that is no backend's.
    #[error("{address} is no endpoint of pool \"{pool}\": a node address must be one of them")]
    NotAnEndpoint {
        /// The address.
        address: SocketAddr,
        /// The pool.
        pool: String,
    },
    /// An address that stands in two frontends, or twice in one.
    #[error("{address} already belongs to frontend \"{frontend}\": remove one of them")]
    DuplicateAddress {
        /// The address.
        address: SocketAddr,
        /// Whose it is.
        frontend: String,
    },
    /// Not an address.
    #[error("\"{found}\" is not an address: write it like 10.96.0.1:443 or \"[fd00::1]:443\"")]
    Address {
        /// As written.
        found: String,
    },
    /// An address without a port.
    #[error("\"{found}\" has no port: write it like {example}")]
    NoPort {
        /// As written.
        found: String,
        /// With a port.
        example: String,
    },
    /// Port 0.
    #[error("\"{found}\" has port 0: write the port that is dialled, 1 to 65535")]
    PortZero {
        /// As written.
        found: String,
    },
    /// `0.0.0.0`, `::` or a multicast address.
    #[error("\"{found}\" is not one host's address: write the address that is dialled")]
    NotUnicast {
        /// As written.
        found: String,
    },
    /// A loopback frontend elsewhere.
    #[error("{address} is not a loopback address: use 127.0.0.0/8 or ::1, or kind vip")]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// A loopback address on another kind of frontend.
    #[error("{address} is a loopback address: use kind loopback")]
    IsLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// An address of the agent's own.
    #[error("{address} is reserved for the agent itself: use another port")]
    Reserved {
        /// The address.
        address: SocketAddr,
    },
    /// A frontend where the agent itself listens.
    #[error("{address} is http.listen, where the agent itself answers: change one of them")]
    OwnListener {
        /// The address.
        address: SocketAddr,
    },
    /// The agent's own listener would be open to others.
    #[error(
        "{address} is not a loopback address: metrics are for this host only, use 127.0.0.1:7473"
    )]
    OpenListener {
        /// The address.
        address: SocketAddr,
    },
    /// Not the name of a node.
    #[error("\"{found}\" is not the name of a node: write it as kubectl get nodes shows it")]
    NodeName {
        /// As written.
        found: String,
    },
    /// Not a version of Kubernetes.
    #[error("\"{found}\" is not a version of Kubernetes: write it like \"1.30\" or v1.30.4")]
    Version {
        /// As written.
        found: String,
    },
    /// Not a duration.
    #[error("\"{found}\" is not a duration: write it like 100ms, 2s or 1m30s")]
    Duration {
        /// As written.
        found: String,
    },
    /// A number or duration out of bounds.
    #[error("{found} is out of range: use {min} to {max}")]
    Range {
        /// As written.
        found: String,
        /// Least.
        min: String,
        /// Most.
        max: String,
    },
    /// Less than another value that must not be more.
    #[error("{found} is less than {other}: raise it to that or more")]
    LessThan {
        /// As written.
        found: String,
        /// The other key and its value.
        other: String,
    },
    /// A relative path.
    #[error("\"{}\" is a relative path: write it from the root, like {example}", found.display())]
    Relative {
        /// As written.
        found: PathBuf,
        /// One that starts with a slash.
        example: &'static str,
    },
    /// A file of the agent where only pins can be.
    #[error("\"{}\" is below datapath.bpffs, where no file can be: name another", path.display())]
    AmongPins {
        /// The file.
        path: PathBuf,
    },
    /// A file of the agent that is needed for something else.
    #[error("\"{}\" is {what}, which would be replaced: name another file", path.display())]
    Replaces {
        /// The file.
        path: PathBuf,
        /// What it is needed for.
        what: &'static str,
    },
    /// A name that a certificate is to cover, and nobody sees a certificate.
    #[error(
        "the probe of pool \"{pool}\" ({kind}) sees no certificate that could cover a name: remove it, or use a kind with TLS"
    )]
    NoCertificate {
        /// The pool.
        pool: String,
        /// Its probe's kind, as it is written.
        kind: &'static str,
    },
    /// Neither a DNS name nor an IP address.
    #[error("\"{found}\" is neither a DNS name nor an IP address: write one, like kubernetes")]
    ServerName {
        /// As written.
        found: String,
    },
    /// A file that is named and cannot be read.
    #[error("\"{}\" cannot be read ({source}): check the path and its permissions", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file without what it should hold.
    #[error("\"{}\" holds no {what} in PEM: name the right file", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// A token file without a token.
    #[error("\"{}\" holds no token: name a file with one line", path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
    },
    /// What is wrong with a question of a probe.
    #[error(transparent)]
    Question(#[from] QuestionProblem),
    /// What is wrong with a Service.
    #[error(transparent)]
    Service(#[from] ServiceProblem),
    /// What is wrong with the control-plane VIP.
    #[error(transparent)]
    Vip(Box<VipProblem>),
    /// What is wrong with the choice of sandboxed pods.
    #[error(transparent)]
    Sandbox(#[from] SandboxProblem),
    /// Two keys that do not go together.
    #[error("excludes {other}: remove one of them")]
    Excludes {
        /// The other key.
        other: &'static str,
    },
    /// Connections are to be closed that would come back to where they were.
    #[error(
        "clients come back to the server they had, so rebalance of pool \"{pool}\" would close their connections in vain: use another policy, or remove rebalance"
    )]
    ClosesInVain {
        /// The pool.
        pool: String,
    },
    /// Connections are to be closed, and nothing is to close any.
    #[error("closes connections, which datapath.closeSockets: {mode} does not: remove one of them")]
    NothingCloses {
        /// As written or by default.
        mode: &'static str,
    },
    /// A key that is nothing without another.
    #[error("is of no use without {other}: add it")]
    Needs {
        /// The other key.
        other: &'static str,
    },
    /// A watch that has no way to the API server.
    #[error(
        "no pool with profile: apiserver has the hosts of controlPlane: add one without endpoints, or give it a port"
    )]
    NoApiServers,
    /// Nothing to verify the servers with.
    #[error(
        "missing: the backends' certificates cannot be verified; name the cluster's CA, give a kubeconfig that has it, or set insecureSkipVerify: true"
    )]
    NoAuthority,
    /// The kubeconfig, or what else holds credentials, is no good.
    #[error("{reason}")]
    Kubeconfig {
        /// File, key and what to do.
        reason: String,
    },
}
