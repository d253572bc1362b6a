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
pub(super) fn target(question: Question, like: &Uri, node_name: &str) -> Option<Uri> {
    let path = match question {
        Question::Version => "/version".to_owned(),
        Question::Nodes => "/api/v1/nodes?limit=1".to_owned(),
        Question::Kubelet => {
            format!("/api/v1/nodes/{}", Some(node_name).filter(|name| is_name(name))?)
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_every_distribution_are_read() {
        for (text, release) in [
            ("v1.30.4", (1, 30)),
            ("v1.30.4+k3s1", (1, 30)),
            ("v1.29.8+rke2r1", (1, 29)),
            ("v1.30.4-eks-a737599", (1, 30)),
            ("v1.31.1-gke.1846000", (1, 31)),
            ("v1.36.0-alpha.2.14+0a9b8c7d6e5f4a-dirty", (1, 36)),
        ] {
            let info = format!(
                r#"{{"major":"1","minor":"30+","gitVersion":"{text}","platform":"linux/amd64"}}"#
            );
            let Some(Answer::Version(version)) = answer(Question::Version, info.as_bytes()) else {
                panic!("no version in {info}");
            };
            assert_eq!((version.text.as_str(), version.release()), (text, release));
            let node = format!(
                r#"{{"kind":"Node","status":{{"images":[],"nodeInfo":{{"kubeletVersion":"{text}"}}}}}}"#
            );
            let kubelet = answer(Question::Kubelet, node.as_bytes());
            assert_eq!(kubelet, Some(Answer::KubeletVersion(version)));
        }
    }

    #[test]
    fn the_nodes_are_those_in_the_list_and_those_that_remain() {
        for (list, nodes) in [
            (r#"{"metadata":{"continue":"x","remainingItemCount":4999},"items":[{}]}"#, Some(5000)),
            // One node, or none: everything is here.
            (r#"{"metadata":{"resourceVersion":"7"},"items":[{"metadata":{}}]}"#, Some(1)),
            (r#"{"metadata":{"continue":""},"items":[]}"#, Some(0)),
            (r#"{"items":[{},{}]}"#, Some(2)),
            // There are more, but nobody says how many.
            (r#"{"metadata":{"continue":"x"},"items":[{}]}"#, None),
            (r#"{"metadata":{"remainingItemCount":-1},"items":[{}]}"#, None),
            (r#"{"metadata":{"remainingItemCount":18446744073709551615},"items":[{}]}"#, None),
        ] {
            let expected = nodes.map(Answer::Nodes);
            assert_eq!(answer(Question::Nodes, list.as_bytes()), expected, "{list}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_no_answer() {
        let long = format!(r#"{{"gitVersion":"v1.30.{}"}}"#, "9".repeat(100));
        for body in ["", "{}", "[]", "null", "<html>", r#"{"gitVersion":"x"}"#, &long] {
            for question in [Question::Version, Question::Nodes, Question::Kubelet] {
                assert_eq!(answer(question, body.as_bytes()), None, "{body}");
            }
        }
        let escaped = br#"{"gitVersion":"v1.30.0\u001b[2J"}"#;
        assert_eq!(answer(Question::Version, escaped), None);
    }

    #[test]
    fn a_name_leads_to_its_node_and_nowhere_else() {
        let like = Uri::from_static("https://10.0.0.1:6443/readyz?verbose");
        let path = |question, name| target(question, &like, name).map(|uri| uri.to_string());
        let at = |path: &str| Some(format!("https://10.0.0.1:6443{path}"));
        assert_eq!(path(Question::Version, ""), at("/version"));
        assert_eq!(path(Question::Nodes, "ignored"), at("/api/v1/nodes?limit=1"));
        assert_eq!(path(Question::Kubelet, "a-1.b"), at("/api/v1/nodes/a-1.b"));
        for name in ["", "..", "a/b", "a?b", "a%2fb"] {
            assert_eq!(path(Question::Kubelet, name), None, "{name}");
        }
    }
}
