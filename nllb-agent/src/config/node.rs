//! The `node` section: what this node is called and which kubelet it runs.

use super::address;
use super::error::{Fault, Problem, ServiceProblem};
use super::place::At;
use nllb_core::KubeVersion;
use serde::Deserialize;
use serde_saphyr::Spanned;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawNode {
    name: Option<Spanned<String>>,
    kubelet_version: Option<Spanned<String>>,
    zone: Option<Spanned<String>>,
}

/// This node, as far as the operator tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name in the cluster, under which the API knows its kubelet's version.
    pub name: Option<String>,
    /// That version, where it is not to be asked for.
    pub kubelet_version: Option<KubeVersion>,
    /// Its zone, where the endpoints of Services do not tell.
    pub zone: Option<String>,
}

impl Node {
    pub(super) fn check(raw: Option<At<RawNode>>) -> Result<Self, Fault> {
        let Some(At { place, value: RawNode { name, kubelet_version, zone } }) = raw else {
            return Ok(Self::default());
        };
        let name = match place.optional("name", name) {
            Some(raw) => Some(raw.check(address::node_name)?.value),
            None => None,
        };
        let kubelet_version = match place.optional("kubeletVersion", kubelet_version) {
            Some(raw) => Some(raw.check(address::version)?.value),
            None => None,
        };
        let zone = match place.optional("zone", zone) {
            Some(raw) => Some(raw.check(label_value)?.value),
            None => None,
        };
        Ok(Self { name, kubelet_version, zone })
    }
}

/// The value of a label, which is what a zone is.
fn label_value(found: String) -> Result<String, Problem> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=63).contains(&found.len()) && found.chars().all(fits) {
        Ok(found)
    } else {
        Err(ServiceProblem::Zone { found }.into())
    }
}
