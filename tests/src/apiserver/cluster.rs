//! What a server tells of itself and its cluster: its version, and the nodes.

use serde_json::{Value, json};

/// What the answers need and never changes while the server runs.
pub(super) struct Cluster {
    pub(super) version: String,
    pub(super) kubelet_version: String,
}

/// The answer of `/version`.
pub(super) fn version(version: &str) -> Value {
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next(), parts.next());
    json!({"major": major, "minor": minor, "gitVersion": version})
}

/// A list of nodes without the nodes: of `limit` of them, and how many remain.
pub(super) fn nodes(count: u64, query: Option<&str>) -> Value {
    let limit = query.into_iter().flat_map(|query| query.split('&'));
    let limit = limit.filter_map(|pair| pair.strip_prefix("limit=")?.parse().ok()).next();
    let limit: u64 = limit.unwrap_or(count).min(count);
    let mut metadata = json!({"resourceVersion": "1"});
    // Left out, as by the real one, when nothing remains.
    if count > limit {
        metadata["continue"] = json!("next");
        metadata["remainingItemCount"] = json!(count - limit);
    }
    let items: Vec<_> = (0..limit).map(|number| metadata_of(&format!("node{number}"))).collect();
    json!({"kind": "NodeList", "apiVersion": "v1", "metadata": metadata, "items": items})
}

/// A node, in this zone if in any.
pub(super) fn node(name: &str, kubelet_version: &str, zone: Option<&String>) -> Value {
    let mut node = metadata_of(name);
    if let Some(zone) = zone {
        node["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": zone});
    }
    node["status"] = json!({"nodeInfo": {"kubeletVersion": kubelet_version}});
    node
}

fn metadata_of(name: &str) -> Value {
    json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_nodes_tells_how_many_are_not_in_it() {
        let remaining =
            |count, query| nodes(count, query)["metadata"]["remainingItemCount"].as_u64();
        assert_eq!(remaining(5000, Some("limit=1")), Some(4999));
        assert_eq!(remaining(1, Some("limit=1")), None);
        assert_eq!(remaining(0, Some("limit=1")), None);
        assert_eq!(remaining(3, None), None);
        assert_eq!(nodes(3, None)["items"][2]["metadata"]["name"], "node2");
    }

    #[test]
    fn a_version_has_its_parts() {
        let expected = json!({"major": "1", "minor": "34", "gitVersion": "v1.34.2"});
        assert_eq!(version("v1.34.2"), expected);
    }
}
