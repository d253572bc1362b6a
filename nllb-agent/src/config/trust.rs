//! What a probe takes from elsewhere: whom to trust, and who to be.

use super::control_plane::ControlPlane;
use super::error::{Fault, Problem};
use super::place::Place;
use super::{Discover, Discovered, Wanted};
use crate::health_check::{Credentials, HealthCheck};

/// Fills what the probe section left open. A probe that skips verification keeps skipping it, and
/// a client identity or token given there stands alone: two identities at once would be a riddle. One
/// without TLS needs nothing and would give everything away.
pub(super) fn filled(check: HealthCheck, found: Credentials) -> HealthCheck {
    if !check.kind.uses_tls() {
        return check;
    }
    let Credentials { authority, server_name, client, token, insecure_skip_verify } =
        check.credentials;
    let anonymous = client.is_none() && token.is_none();
    let trusting = insecure_skip_verify || (authority.is_none() && found.insecure_skip_verify);
    let credentials = Credentials {
        authority: if trusting { None } else { authority.or(found.authority) },
        server_name: server_name.or(found.server_name),
        client: if anonymous { found.client } else { client },
        token: if anonymous { found.token } else { token },
        insecure_skip_verify: trusting,
    };
    HealthCheck { credentials, ..check }
}

/// What `controlPlane.kubernetes` lends a pool with its hosts whose probe, at `place`, says nothing about
/// whom to trust. Only API servers are told who the agent is: nobody else would know.
pub(super) fn lent(
    plane: Option<&ControlPlane>,
    check: &HealthCheck,
    place: &Place,
    discover: Discover<'_>,
) -> Result<Option<Credentials>, Fault> {
    let Credentials { authority, insecure_skip_verify, .. } = &check.credentials;
    let open = check.kind.uses_tls() && authority.is_none() && !insecure_skip_verify;
    let kubernetes = plane.and_then(|plane| plane.kubernetes.as_ref()).filter(|_| open);
    let Some(kubernetes) = kubernetes else { return Ok(None) };
    let unusable = |reason| {
        let missing = "missing, and those of controlPlane.kubernetes cannot be used";
        let reason = format!("{missing}: {reason}; or name a CA here");
        place.named("caFile").fault(Problem::Kubeconfig { reason })
    };
    let Discovered { credentials, .. } =
        discover(Wanted::Kubernetes(kubernetes)).map_err(unusable)?;
    Ok(Some(match check.is_api {
        true => credentials,
        false => Credentials { authority: credentials.authority, ..Credentials::default() },
    }))
}
