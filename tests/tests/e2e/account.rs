//! The agent's service account, as `deploy/` has it: the very manifests, and nothing beside them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use hyper::Method;
use nllb_lab::wait::wait_until;
use serde_json::{Value, json};

use crate::admin::Admin;

const ACCOUNTS: &str = "/api/v1/namespaces/kube-system/serviceaccounts";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";

/// Makes every object of `deploy/kustomize/base/rbac.yaml`.
pub(crate) fn create(admin: &Admin) -> Result<()> {
    // The server makes its namespaces soon after its start.
    for namespace in ["default", "kube-system"] {
        let path = format!("/api/v1/namespaces/{namespace}");
        let there = || matches!(admin.ask(Method::GET, &path, None), Ok((200, _)));
        wait_until(&path, || Ok(there().then_some(())))?;
    }
    make(admin, &manifests("base")?)
}

/// Makes every object of the component that lets the agent tell events.
pub(crate) fn allow_events(admin: &Admin) -> Result<()> {
    make(admin, &manifests("components/events")?)
}

fn make(admin: &Admin, objects: &[Value]) -> Result<()> {
    objects.iter().try_for_each(|object| admin.create(&collection(object)?, object).map(drop))
}

/// A token of the account, as the kubelet asks for it.
pub(crate) fn token(admin: &Admin) -> Result<String> {
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": { "expirationSeconds": 600 },
    });
    let answer = admin.create(&format!("{ACCOUNTS}/nllb/token"), &request)?;
    Ok(answer["status"]["token"].as_str().context("no token")?.to_owned())
}

/// Makes the account anew: another one of the same name, so that no token of the first is any good.
pub(crate) fn replace(admin: &Admin) -> Result<()> {
    admin.delete(&format!("{ACCOUNTS}/nllb"))?;
    admin.create(ACCOUNTS, &manifest("ServiceAccount")?).map(drop)
}

/// Takes the right to look at the EndpointSlices and the Service.
pub(crate) fn withdraw(admin: &Admin) -> Result<()> {
    admin.delete(&format!("{BINDINGS}/nllb"))
}

/// Gives it back.
pub(crate) fn give_back(admin: &Admin) -> Result<()> {
    admin.create(BINDINGS, &manifest("RoleBinding")?).map(drop)
}

/// The objects of a file `rbac.yaml` below `deploy/kustomize`.
fn manifests(of: &str) -> Result<Vec<Value>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kustomize");
    let file = file.join(of).join("rbac.yaml");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    serde_saphyr::from_multiple(&text).with_context(|| file.display().to_string())
}

fn manifest(kind: &str) -> Result<Value> {
    let found = manifests("base")?.into_iter().find(|object| object["kind"] == kind);
    found.with_context(|| format!("no {kind}"))
}

/// Where objects of this kind are made.
fn collection(object: &Value) -> Result<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let kind = text(&object["kind"]).context("an object of no kind")?;
    let version = text(&object["apiVersion"]).context("an object of no version")?;
    let root = if version.contains('/') { "apis" } else { "api" };
    let namespace = text(&object["metadata"]["namespace"]);
    let namespace = namespace.map(|name| format!("/namespaces/{name}")).unwrap_or_default();
    Ok(format!("/{root}/{version}{namespace}/{}s", kind.to_lowercase()))
}
