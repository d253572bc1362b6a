//! What the current context of a kubeconfig points at: whom to trust, and who to be.

use super::{
    KubeconfigError, KubeconfigProblem, Named, Raw, RawCluster, RawUser, parse, trust, user,
};
use crate::health_check::Credentials;
use std::path::Path;

/// Trust and identity of the current context of the kubeconfig at `file`, whose servers stay
/// unresolved. Blocks on files.
///
/// # Errors
/// When it cannot be used, or when only a plug-in could give the identity.
pub fn identity(file: &Path) -> Result<Credentials, KubeconfigError> {
    let fail = |problem| KubeconfigError { file: file.to_owned(), problem };
    let text = std::fs::read_to_string(file).map_err(KubeconfigProblem::Read).map_err(fail)?;
    let current = Current::of(parse(&text).map_err(fail)?);
    current.no_plug_in().map_err(fail)?;
    current.credentials(file).map_err(fail)
}

/// A kubeconfig with its current context.
pub(super) struct Current {
    pub(super) clusters: Vec<Named<RawCluster>>,
    cluster: usize,
    users: Vec<Named<RawUser>>,
    user: Option<usize>,
}

impl Current {
    pub(super) fn of(raw: Raw) -> Self {
        let Raw { clusters, contexts, users, current_context } = raw;
        let clusters = clusters.unwrap_or_default();
        let contexts = contexts.unwrap_or_default();
        let users = users.unwrap_or_default();

        let context = current_context
            .and_then(|current| position(&contexts, &current))
            .or(if contexts.is_empty() { None } else { Some(0) })
            .and_then(|index| contexts[index].content.clone())
            .unwrap_or_default();
        let cluster = position(&clusters, &context.cluster).unwrap_or(0);
        let only = if users.len() == 1 { Some(0) } else { None };
        let user = position(&users, &context.user).or(only);
        Self { clusters, cluster, users, user }
    }

    /// Its credentials; `file` is where relative paths start.
    pub(super) fn credentials(&self, file: &Path) -> Result<Credentials, KubeconfigProblem> {
        let base = file.parent().unwrap_or(Path::new("/"));
        let Self { clusters, cluster, users: _, user: _ } = self;
        let trusted = clusters.get(*cluster).ok_or(KubeconfigProblem::NoCluster)?;
        let trusted = trusted.content.clone().unwrap_or_default();
        let mut credentials = trust(&format!("clusters[{cluster}].cluster"), trusted, base)?;
        if let Some((key, raw)) = self.user() {
            (credentials.client, credentials.token) = user(&key, raw, base)?;
        }
        Ok(credentials)
    }

    /// Its user with the key path.
    fn user(&self) -> Option<(String, RawUser)> {
        let index = self.user?;
        let raw = self.users[index].content.clone().unwrap_or_default();
        Some((format!("users[{index}].user"), raw))
    }

    /// Fails when only a plug-in could give the identity.
    fn no_plug_in(&self) -> Result<(), KubeconfigProblem> {
        let Some((key, raw)) = self.user() else { return Ok(()) };
        let plug_ins =
            [("exec", raw.exec.is_some()), ("auth-provider", raw.auth_provider.is_some())];
        match plug_ins.iter().find(|(_, there)| *there) {
            Some((name, _)) => Err(KubeconfigProblem::PlugIn { key: format!("{key}.{name}") }),
            None => Ok(()),
        }
    }
}

fn position<T>(list: &[Named<T>], wanted: &str) -> Option<usize> {
    list.iter().position(|named| named.name == wanted)
}
