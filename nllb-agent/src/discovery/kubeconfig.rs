//! Reads a kubeconfig: the servers of all its clusters, whom to trust and who to be.
//!
//! Own types and not kube's: that crate brings a client with it, and this needs eight keys. A
//! kubeconfig belongs to others, so unknown keys are fine here.

use crate::health_check::{ClientIdentity, Credentials, Material, holds_authority};
use crate::text::OneLine;
use crate::yaml::{self, YamlError, YamlProblem};
use current::Current;
use serde::Deserialize;
use serde::de::IgnoredAny;
use server::{Server, resolve};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

mod base64;
mod current;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzz;
mod server;

pub use current::identity;

/// Kubeconfigs carry certificates and the like in place.
const LARGEST: u64 = 4 << 20;

/// What the agent takes from a kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubeconfig {
    /// The server of every cluster, in the order of the file, each once.
    pub endpoints: Vec<SocketAddr>,
    /// Trust of the current context's cluster and identity of its user.
    pub credentials: Credentials,
    /// Servers that nobody resolved and whose known addresses stand in for the answer.
    pub unresolved: Vec<Unresolved>,
}

/// A server that nobody resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{}",
    OneLine(format_args!("{}: {key}: \"{server}\" cannot be resolved ({reason})", file.display()))
)]
pub struct Unresolved {
    /// The kubeconfig.
    pub file: PathBuf,
    /// Key path.
    pub key: String,
    /// As written.
    pub server: String,
    /// What the resolver said.
    pub reason: String,
}

/// The addresses that a server with this port is known to have had; none when it is not known.
pub type Known<'a> = &'a dyn Fn(u16) -> Vec<SocketAddr>;

/// Why a kubeconfig cannot be used. The line ends in what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}", OneLine(format_args!("{}: {problem}", file.display())))]
pub struct KubeconfigError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong.
    pub problem: KubeconfigProblem,
}

/// What is wrong with a kubeconfig.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigProblem {
    /// It cannot be read.
    #[error("cannot be read ({0}): check the path and its permissions")]
    Read(#[source] io::Error),
    /// It is not the YAML it should be.
    #[error("line {line}: {key}{problem}")]
    Yaml {
        /// Line, from 1.
        line: u64,
        /// Key path and a colon, or nothing.
        key: String,
        /// What is wrong there.
        problem: YamlProblem,
    },
    /// It has no clusters.
    #[error("clusters: the list is empty: name a kubeconfig that has a cluster")]
    NoCluster,
    /// A server that is no URL of the expected form.
    #[error("{key}: \"{found}\" is not a server: write it like https://10.0.0.11:6443")]
    Server {
        /// Key path.
        key: String,
        /// As written.
        found: String,
    },
    /// A server whose name is not resolved.
    #[error("{key}: \"{found}\" cannot be resolved ({source}): use an IP address, or fix DNS")]
    Resolve {
        /// Key path.
        key: String,
        /// As written.
        found: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Data that is not base64.
    #[error("{key}: this is not base64: copy the data again")]
    Base64 {
        /// Key path.
        key: String,
    },
    /// A file that is named and cannot be read.
    #[error("{key}: \"{}\" cannot be read ({source}): check the path and its permissions", path.display())]
    File {
        /// Key path.
        key: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A CA without a certificate.
    #[error("{key}: no certificate in PEM is there: copy the cluster's CA again")]
    NoCertificate {
        /// Key path.
        key: String,
    },
    /// An identity that another program would have to give.
    #[error(
        "{key}: the agent runs no plug-ins: use a kubeconfig with a client certificate or a token"
    )]
    PlugIn {
        /// Key path.
        key: String,
    },
    /// A certificate without its key, or the reverse.
    #[error("{key}: missing: a client certificate and its key go together")]
    HalfIdentity {
        /// Key path of what is missing.
        key: String,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Raw {
    clusters: Option<Vec<Named<RawCluster>>>,
    contexts: Option<Vec<Named<RawContext>>>,
    users: Option<Vec<Named<RawUser>>>,
    current_context: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "cluster", alias = "context", alias = "user")]
    content: Option<T>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct RawCluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    tls_server_name: Option<String>,
    insecure_skip_tls_verify: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct RawContext {
    cluster: String,
    user: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct RawUser {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    exec: Option<IgnoredAny>,
    auth_provider: Option<IgnoredAny>,
}

/// Reads the kubeconfig at `file`. Blocks on files and on the resolver. Where that fails, `known` may
/// help out.
pub fn load(file: &Path, known: Known<'_>) -> Result<Kubeconfig, KubeconfigError> {
    let fail = |problem| KubeconfigError { file: file.to_owned(), problem };
    let text = std::fs::read_to_string(file).map_err(KubeconfigProblem::Read).map_err(fail)?;
    read(&text, file, known, resolve).map_err(fail)
}

/// The servers of all clusters of the kubeconfig at `file`: host, a name or an address without brackets,
/// and port. Blocks on the file.
///
/// # Errors
/// One line, when it cannot be read or names a server that is none.
pub(super) fn servers(file: &Path) -> Result<Vec<(String, u16)>, String> {
    let text = super::text_of(file, LARGEST)?;
    let raw = parse(&text).map_err(|problem| problem.to_string())?;
    let clusters = raw.clusters.unwrap_or_default().into_iter().enumerate();
    let servers = clusters.map(|(index, Named { content, .. })| {
        let found = content.map(|cluster| cluster.server).unwrap_or_default();
        let server = Server::parse(&server_key(index), &found).map_err(|bad| bad.to_string())?;
        Ok((server.host.to_owned(), server.port))
    });
    servers.collect()
}

fn parse(text: &str) -> Result<Raw, KubeconfigProblem> {
    yaml::parse(text).map_err(|error| {
        let YamlError { line, column: _, key, problem } = error;
        let key = if key.is_empty() { key } else { format!("{key}: ") };
        KubeconfigProblem::Yaml { line, key, problem }
    })
}

fn server_key(index: usize) -> String {
    format!("clusters[{index}].cluster.server")
}

/// Asks for the addresses of a server.
type Resolve = fn(&Server<'_>) -> io::Result<Vec<SocketAddr>>;

fn read(
    text: &str,
    file: &Path,
    known: Known<'_>,
    ask: Resolve,
) -> Result<Kubeconfig, KubeconfigProblem> {
    let current = Current::of(parse(text)?);
    let (mut endpoints, mut unresolved) = (Vec::new(), Vec::new());
    for (index, Named { content, .. }) in current.clusters.iter().enumerate() {
        let found = content.as_ref().map_or("", |cluster| &cluster.server);
        let key = server_key(index);
        let server = Server::parse(&key, found)?;
        let addresses = match ask(&server) {
            Ok(addresses) => addresses,
            Err(source) => {
                let addresses = known(server.port);
                if addresses.is_empty() {
                    return Err(KubeconfigProblem::Resolve {
                        key,
                        found: found.to_owned(),
                        source,
                    });
                }
                let (file, reason) = (file.to_owned(), source.to_string());
                unresolved.push(Unresolved { file, key, server: found.to_owned(), reason });
                addresses
            }
        };
        for address in addresses {
            if !endpoints.contains(&address) {
                endpoints.push(address);
            }
        }
    }
    let credentials = current.credentials(file)?;
    Ok(Kubeconfig { endpoints, credentials, unresolved })
}

fn trust(key: &str, raw: RawCluster, base: &Path) -> Result<Credentials, KubeconfigProblem> {
    let RawCluster {
        server: _,
        certificate_authority,
        certificate_authority_data,
        tls_server_name,
        insecure_skip_tls_verify,
    } = raw;
    let at = format!("{key}.certificate-authority");
    let authority = material(&at, certificate_authority_data, certificate_authority, base)?;
    match &authority {
        Some((_, pem)) if holds_authority(pem) => {}
        Some((material, _)) => {
            let suffix = if material.path().is_some() { "" } else { "-data" };
            return Err(KubeconfigProblem::NoCertificate { key: format!("{at}{suffix}") });
        }
        None => {}
    }
    Ok(Credentials {
        authority: authority.map(|(material, _)| material),
        server_name: tls_server_name,
        client: None,
        token: None,
        insecure_skip_verify: insecure_skip_tls_verify,
    })
}

type Identity = (Option<ClientIdentity>, Option<Material>);

fn user(key: &str, raw: RawUser, base: &Path) -> Result<Identity, KubeconfigProblem> {
    let RawUser {
        client_certificate,
        client_certificate_data,
        client_key,
        client_key_data,
        token,
        token_file,
        exec: _,
        auth_provider: _,
    } = raw;
    let certificate_at = format!("{key}.client-certificate");
    let key_at = format!("{key}.client-key");
    let certificate = material(&certificate_at, client_certificate_data, client_certificate, base)?;
    let private = material(&key_at, client_key_data, client_key, base)?;
    let client = match (certificate, private) {
        (None, None) => None,
        (Some((certificate, _)), Some((key, _))) => Some(ClientIdentity { certificate, key }),
        (Some(_), None) => return Err(KubeconfigProblem::HalfIdentity { key: key_at }),
        (None, Some(_)) => {
            return Err(KubeconfigProblem::HalfIdentity { key: certificate_at });
        }
    };
    // As in client-go, the file wins over the token in place: it is the one that is renewed.
    let token = match (token_file, token) {
        (Some(path), _) => Some(Material::File(base.join(path))),
        (None, Some(token)) => Some(Material::Inline(token.into_bytes())),
        (None, None) => None,
    };
    Ok((client, token))
}

/// Data in place wins over a file, as in client-go. A relative path starts at the kubeconfig.
fn material(
    key: &str,
    data: Option<String>,
    file: Option<PathBuf>,
    base: &Path,
) -> Result<Option<(Material, Vec<u8>)>, KubeconfigProblem> {
    if let Some(data) = data {
        let decoded = base64::decode(&data)
            .ok_or_else(|| KubeconfigProblem::Base64 { key: format!("{key}-data") })?;
        return Ok(Some((Material::Inline(decoded.clone()), decoded)));
    }
    let Some(file) = file else { return Ok(None) };
    let path = base.join(file);
    match std::fs::read(&path) {
        Ok(content) => Ok(Some((Material::File(path), content))),
        Err(source) => Err(KubeconfigProblem::File { key: key.to_owned(), path, source }),
    }
}

#[cfg(test)]
mod tests;
