//! A PodMonitor as the Prometheus operator has it (`monitoring.coreos.com/v1`), as far as ours needs: whatever
//! else is in one has to be looked up there and added here. The types that are generated from the operator's own
//! schema want another version of those of Kubernetes.

use k8s_openapi::api::core::v1::SecretKeySelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PodMonitor {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: Spec,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    selector: LabelSelector,
    pod_metrics_endpoints: Vec<Endpoint>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Endpoint {
    /// The name of a container's port.
    port: String,
    scheme: Option<Scheme>,
    path: Option<String>,
    tls_config: Option<TlsConfig>,
    authorization: Option<Authorization>,
    relabelings: Option<Vec<Relabeling>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Scheme {
    Http,
    Https,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TlsConfig {
    insecure_skip_verify: Option<bool>,
    server_name: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Authorization {
    credentials: SecretKeySelector,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Relabeling {
    source_labels: Option<Vec<String>>,
    target_label: String,
    replacement: Option<String>,
}
