//! Events of a node: what `kubectl describe node` and `kubectl get events` show of what the agent saw.
//!
//! One request over one connection that ends with it, since there are few. Events of nodes are in the
//! namespace `default`, and whoever looks for those of a node looks for its name as uid, as kubelets write it.

use super::Settings;
use super::client::Connection;
use super::trouble::Trouble;
use crate::text::printable;
use chrono::{DateTime, SecondsFormat};
use serde_json::json;

/// Where they are.
const PATH: &str = "/api/v1/namespaces/default/events";
/// Who reports.
const COMPONENT: &str = "nllb";

/// Something to be told of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEvent {
    /// Name of the node.
    pub node: String,
    /// What sort of thing it is, in one word.
    pub reason: &'static str,
    /// The rest, in a sentence.
    pub message: String,
    /// Whether somebody should look.
    pub is_warning: bool,
    /// When, in unix milliseconds.
    pub time_ms: i64,
}

/// Why it was not taken. One line each.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// The account may not.
    #[error(
        "403: allow the account to create events in the namespace default, or take \
         controlPlane.kubernetes.events away ({0})"
    )]
    Refused(String),
    /// It may be taken later.
    #[error("{0}")]
    Failed(String),
}

impl NodeEvent {
    /// Tells it to the API server. Needs a runtime with I/O and timers.
    ///
    /// # Errors
    /// When it is not taken.
    pub async fn tell(&self, settings: &Settings) -> Result<(), NotTaken> {
        let told = async {
            let mut connection = Connection::open(settings).await?;
            // The answer is the object again, which says nothing new.
            connection.create(PATH, self.body()).await.map(drop)
        };
        told.await.map_err(|trouble| {
            if let Trouble::Forbidden(said) = trouble {
                NotTaken::Refused(said)
            } else {
                NotTaken::Failed(printable(&trouble.to_string()))
            }
        })
    }

    /// It as JSON.
    fn body(&self) -> Vec<u8> {
        let Self { node, reason, message, is_warning, time_ms } = self;
        let time = DateTime::from_timestamp_millis(*time_ms).unwrap_or_default();
        // The API server takes whole seconds here.
        let time = time.to_rfc3339_opts(SecondsFormat::Secs, true);
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": "nllb-", "namespace": "default"},
            "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node},
            "reason": reason,
            "message": message,
            "type": if *is_warning { "Warning" } else { "Normal" },
            "source": {"component": COMPONENT, "host": node},
            "reportingComponent": COMPONENT,
            "reportingInstance": node,
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        });
        event.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Event;

    #[test]
    fn an_event_is_one_that_kubernetes_knows() {
        let event = NodeEvent {
            node: "worker-1".to_owned(),
            reason: "ControlPlaneFailover",
            message: "\"quoted\"\n".to_owned(),
            is_warning: true,
            time_ms: 1_800_000_000_999,
        };
        let read: Event = serde_json::from_slice(&event.body()).expect("an event");
        assert_eq!(read.metadata.generate_name.as_deref(), Some("nllb-"));
        assert_eq!(read.involved_object.uid.as_deref(), Some("worker-1"));
        assert_eq!(read.message, Some(event.message));
        assert_eq!(read.type_.as_deref(), Some("Warning"));
        let time = read.last_timestamp.expect("a time").0;
        assert_eq!(time.timestamp(), 1_800_000_000);
    }
}
