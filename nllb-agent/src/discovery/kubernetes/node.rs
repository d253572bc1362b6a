//! This node as the cluster knows it: the zone in which it is.
//!
//! A zone hardly ever changes, and a watch of the object would hear of every heartbeat of the kubelet. So it is read
//! now and then.

use super::Settings;
use super::backoff::Backoff;
use super::client::Connection;
use super::trouble::Trouble;
use crate::discovery::{News, Sender, What};
use crate::text::printable;
use nllb_core::{SourceId, SourceKind};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Where nodes are.
const PATH: &str = "/api/v1/nodes";
/// The longest value of a label.
const LONGEST_ZONE: usize = 63;
/// Time between two looks that were answered, at least and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(480), Duration::from_secs(720));

/// Tells the zone of a node again and again, until nobody takes the news any more. Needs a runtime with I/O and timers.
pub async fn follow_zone(node: String, settings: Settings, news: Sender) {
    let source = SourceId { kind: SourceKind::Node, name: "".into() };
    let mut backoff = Backoff::new(&settings.pace, settings.seed);
    let telling = async {
        loop {
            let (what, pause) = match zone(&settings, &node).await {
                Ok(zone) => {
                    backoff.reset();
                    (What::Zone(zone), backoff.between(AGAIN))
                }
                Err(trouble) => {
                    let reason = reason(&trouble, &node);
                    // What an operator has to allow is not asked for by every node twice a minute.
                    let pause =
                        if is_refused(&trouble) { backoff.between(AGAIN) } else { backoff.next() };
                    (What::Failed { reason }, pause)
                }
            };
            if news.send(News { source: source.clone(), what }).await.is_err() {
                return;
            }
            sleep(pause).await;
        }
    };
    tokio::select! {
        () = telling => {}
        () = news.closed() => {}
    }
}

async fn zone(settings: &Settings, node: &str) -> Result<Option<Arc<str>>, Trouble> {
    let answer = Connection::open(settings).await?.recent(PATH, node).await?;
    let node: Node = serde_json::from_slice(&answer).map_err(Trouble::Nonsense)?;
    Ok(node.zone())
}

const fn is_refused(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Forbidden(_) | Trouble::Status(404, _))
}

fn reason(trouble: &Trouble, node: &str) -> String {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others speak for themselves")]
    let reason = match trouble {
        Trouble::Forbidden(said) => format!("403: allow the account to get nodes ({said})"),
        Trouble::Status(404, _) => format!("the cluster has no node {node}: set node.name"),
        _ => trouble.to_string(),
    };
    printable(&reason)
}

#[derive(Debug, Deserialize)]
struct Node {
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    labels: Option<Labels>,
}

#[derive(Debug, Deserialize)]
struct Labels {
    #[serde(rename = "topology.kubernetes.io/zone")]
    zone: Option<String>,
}

impl Node {
    fn zone(self) -> Option<Arc<str>> {
        let zone = self.metadata.labels?.zone?;
        (1..=LONGEST_ZONE).contains(&zone.len()).then(|| zone.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_zone_is_a_label_of_the_node() {
        let zone = |labels: serde_json::Value| {
            let node = json!({"metadata": {"name": "worker-1", "labels": labels}, "status": {}});
            serde_json::from_value::<Node>(node).expect("a node").zone()
        };
        let label = "topology.kubernetes.io/zone";
        assert_eq!(zone(json!({label: "eu-1a", "other": "x"})).as_deref(), Some("eu-1a"));
        assert_eq!(zone(json!({"other": "x"})), None);
        assert_eq!(zone(json!(null)), None);
        assert_eq!(zone(json!({label: ""})), None);
        assert_eq!(zone(json!({label: "x".repeat(64)})), None);
    }

    #[test]
    fn what_is_wrong_says_what_to_do() {
        let forbidden = Trouble::of_status(403, "nodes is forbidden");
        let told = "403: allow the account to get nodes (nodes is forbidden)";
        assert_eq!(reason(&forbidden, "worker-1"), told);
        let unknown = Trouble::of_status(404, "not found");
        assert_eq!(reason(&unknown, "worker-1"), "the cluster has no node worker-1: set node.name");
    }
}
