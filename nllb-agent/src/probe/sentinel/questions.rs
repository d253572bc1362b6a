//! What else a sentinel can ask an API server, and what of the answers matters.

use hyper::Uri;
use nllb_core::{Answer, KubeVersion, Question};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The answer to `/version`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    git_version: String,
}

/// The part of a list that counts.
#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: ListMetadata,
    items: Vec<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMetadata {
    #[serde(rename = "continue")]
    next: String,
    remaining_item_count: Option<u64>,
}

#[derive(Deserialize)]
struct Node {
    status: NodeStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeStatus {
    node_info: NodeInfo,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeInfo {
    kubelet_version: String,
}

/// What to ask for, on the server that `like` is on; `None` when that cannot be asked.
pub(super) fn target(question: Question, like: &Uri, node_name: Option<&str>) -> Option<Uri> {
    let path = match question {
        Question::Version => "/version".to_owned(),
        Question::Nodes => "/api/v1/nodes?limit=1".to_owned(),
        Question::Kubelet => format!("/api/v1/nodes/{}", node_name.filter(|name| is_name(name))?),
    };
    let mut parts = like.clone().into_parts();
    parts.path_and_query = Some(path.try_into().ok()?);
    Uri::from_parts(parts).ok()
}

/// Whether an object can have this name, so that it leads to no other path.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    name.bytes().all(fits) && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

/// What a body says; `None` when it makes no sense.
pub(super) fn answer(question: Question, body: &[u8]) -> Option<Answer> {
    match question {
        Question::Version => {
            let Info { git_version } = serde_json::from_slice(body).ok()?;
            version(&git_version).map(Answer::Version)
        }
        Question::Nodes => nodes(&serde_json::from_slice(body).ok()?).map(Answer::Nodes),
        Question::Kubelet => {
            let Node { status } = serde_json::from_slice(body).ok()?;
            version(&status.node_info.kubelet_version).map(Answer::KubeletVersion)
        }
    }
}

/// A version that can be shown to people.
fn version(text: &str) -> Option<KubeVersion> {
    /// Distributions add a dozen characters to the number.
    const LONGEST: usize = 64;
    let fits = text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.parse().ok())?
}

/// How many there are; `None` when the list goes on and does not say how far.
fn nodes(list: &List) -> Option<u64> {
    let List { metadata: ListMetadata { next, remaining_item_count }, items } = list;
    let here = u64::try_from(items.len()).ok()?;
    match remaining_item_count {
        Some(more) => here.checked_add(*more),
        None => next.is_empty().then_some(here),
    }
}
