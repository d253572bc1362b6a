//! The pods of a node: their addresses, and whether they are sandboxed. Nothing else is taken from them.

use super::*;
use nllb_core::guests::PodAddress;
use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use std::fmt;
use std::sync::Arc;

/// What the annotation says of a pod that is sandboxed.
const YES: &str = "true";
/// Annotations of a pod that say this; nobody has as many.
const MOST_MARKS: usize = 64;
/// A pod has one address of each family.
const MOST_ADDRESSES: usize = 2;
/// The phases of a pod that has ended, and whose address may be another's.
const ENDED: [&str; 2] = ["Succeeded", "Failed"];

/// A pod.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::discovery::kubernetes) struct Pod {
    metadata: Metadata,
    spec: Option<PodSpec>,
    status: Option<PodStatus>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    host_network: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIp>>,
}

#[derive(Clone, Debug, Deserialize)]
struct PodIp {
    ip: Option<String>,
}

/// The names of annotations that say yes. The others may be a quarter of a megabyte in each pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(Vec<String>);

impl<'de> Deserialize<'de> for Marks {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Those;

        impl<'de> Visitor<'de> for Those {
            type Value = Marks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("annotations")
            }

            fn visit_unit<E>(self) -> Result<Marks, E> {
                Ok(Marks::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Marks, A::Error> {
                let mut marks = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if value == YES && marks.len() < MOST_MARKS {
                        marks.push(name);
                    }
                }
                Ok(Marks(marks))
            }
        }

        from.deserialize_any(Those)
    }
}

impl Object for Pod {
    type Item = PodAddress;
    /// The annotation of sandboxed ones.
    type Sought = Arc<str>;
    const PLURAL: &'static str = "pods";
    const GROUP: &'static str = "/api/v1";
    const MARK: Mark = Mark::Field("spec.nodeName");
    /// Several times the pods that a node can have, at the 15 kB that one usually takes.
    const ROOM: Room = Room { objects: 1024, items: 2048, answer: 16 << 20 };

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn read(&self, annotation: &Arc<str>, into: &mut Reading<PodAddress>) {
        let Self { metadata, spec, status } = self;
        let Metadata { name, namespace, resource_version: _, annotations, deletion_timestamp } =
            metadata;
        let Some(PodStatus { phase, pod_ip, pod_ips }) = status else { return };
        let has_ended = phase.as_deref().is_some_and(|phase| ENDED.contains(&phase));
        // Its address is the node's.
        let on_host = spec.and_then(|spec| spec.host_network).unwrap_or(false);
        if has_ended || on_host {
            return;
        }
        let name = printable(&format!("{namespace}/{name}"));
        let pod: Arc<str> = name.as_str().into();
        let sandboxed = annotations.0.iter().any(|mark| **mark == **annotation);
        // The list is the newer key and holds the other one too.
        let listed = pod_ips.iter().flatten().filter_map(|one| one.ip.as_ref());
        let listed: Vec<&String> = listed.take(MOST_ADDRESSES).collect();
        let addresses = if listed.is_empty() { pod_ip.iter().collect() } else { listed };
        for address in addresses.into_iter().filter(|address| !address.is_empty()) {
            let (pod, ending) = (Arc::clone(&pod), deletion_timestamp.is_some());
            match host(address, "") {
                Ok(ip) => into.add(PodAddress { ip, pod, sandboxed, ending }, || name.clone()),
                Err(why) => into.leave_out(|| format!("{name}: {} is {why}", printable(address))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const MARK: &str = "nllb.dev/sandbox";

    fn pod(name: &str, ips: &[&str], mark: &str) -> Value {
        let ips: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        json!({
            "metadata": {"name": name, "namespace": "shop", "uid": "1", "resourceVersion": "7",
                "annotations": {MARK: mark, "other": "true"}, "labels": {MARK: "true"}},
            "spec": {"nodeName": "worker-1", "containers": []},
            "status": {"phase": "Running", "podIP": ips.first().map(|ip| ip["ip"].clone()), "podIPs": ips},
        })
    }

    fn read(pods: &[Value]) -> (Vec<String>, String) {
        let mut store: Store<Pod> = Store::new(MARK.into());
        let pods = pods.iter().map(|pod| serde_json::from_value(pod.clone()).expect("a pod"));
        store.replace(&pods.collect::<Vec<Pod>>());
        let reading = store.reading();
        let complaint = reading.complaint().1;
        let shown = reading.items.into_iter().map(|PodAddress { ip, pod, sandboxed, ending }| {
            let words = [(sandboxed, " sandboxed"), (ending, " ending")];
            let words = words.into_iter().filter(|(is, _)| *is).map(|(_, word)| word);
            format!("{pod} {ip}{}", words.collect::<String>())
        });
        (shown.collect(), complaint)
    }

    #[test]
    fn a_pod_is_sandboxed_when_its_annotation_says_true() {
        let mut bare = pod("bare", &["10.1.0.5"], "");
        bare["metadata"].as_object_mut().expect("an object").remove("annotations");
        let mut null = pod("null", &["10.1.0.6"], "");
        null["metadata"]["annotations"] = Value::Null;
        let pods = [
            pod("yes", &["10.1.0.2", "fd00::2"], "true"),
            pod("no", &["10.1.0.3"], "false"),
            pod("loud", &["10.1.0.4"], "TRUE"),
            bare,
            null,
        ];
        let expected = [
            "shop/yes 10.1.0.2 sandboxed",
            "shop/no 10.1.0.3",
            "shop/loud 10.1.0.4",
            "shop/bare 10.1.0.5",
            "shop/null 10.1.0.6",
            "shop/yes fd00::2 sandboxed",
        ];
        assert_eq!(read(&pods), (expected.map(str::to_owned).into(), String::new()));
    }

    #[test]
    fn pods_without_a_network_of_their_own_and_those_that_have_ended_are_none() {
        let mut on_host = pod("host", &["10.0.0.5"], "true");
        on_host["spec"]["hostNetwork"] = json!(true);
        let mut done = pod("done", &["10.1.0.2"], "true");
        done["status"]["phase"] = json!("Succeeded");
        let mut failed = pod("failed", &["10.1.0.3"], "true");
        failed["status"]["phase"] = json!("Failed");
        let mut going = pod("going", &["10.1.0.4"], "true");
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let waiting = pod("waiting", &[], "true");
        let mut early = pod("early", &[], "true");
        early.as_object_mut().expect("an object").remove("status");
        let mut old = pod("old", &["10.1.0.9"], "true");
        old["status"].as_object_mut().expect("an object").remove("podIPs");
        let (pods, complaint) = read(&[on_host, done, failed, going, waiting, early, old]);
        assert_eq!(pods, ["shop/going 10.1.0.4 sandboxed ending", "shop/old 10.1.0.9 sandboxed"]);
        assert_eq!(complaint, "");
    }

    #[test]
    fn addresses_that_no_pod_has_are_left_out_and_pods_of_one_name_in_two_namespaces_are_two() {
        let mut other = pod("a", &["10.1.0.3"], "true");
        other["metadata"]["namespace"] = json!("bank");
        let strange = pod("b", &["127.0.0.1", "169.254.1.1", "10.1.0.4"], "true");
        let (pods, complaint) = read(&[pod("a", &["10.1.0.2"], "true"), other, strange]);
        assert_eq!(pods, ["shop/a 10.1.0.2 sandboxed", "bank/a 10.1.0.3 sandboxed"]);
        assert_eq!(complaint, "shop/b: 127.0.0.1 is loopback, shop/b: 169.254.1.1 is link-local");
    }

    #[test]
    fn the_marks_of_one_pod_are_bounded() {
        let mut many = pod("many", &["10.1.0.2"], "true");
        for number in 0..1000 {
            many["metadata"]["annotations"][format!("a{number:04}")] = json!("true");
        }
        let pod: Pod = serde_json::from_value(many).expect("a pod");
        assert_eq!(pod.metadata.annotations.0.len(), MOST_MARKS);
    }
}
