//! What `nllb init` says of a plan to who runs it.

use super::plan::{Frontend, Kind, Plan};

impl Plan {
    /// What was found, what would be translated, what is left alone and what was not found: a line each.
    #[must_use]
    pub fn report(&self) -> Vec<String> {
        let Self { title, seen, hosts, names, watch: _, pools: _, frontends, left, missing } = self;
        let mut lines = vec![format!("found: {title} ({})", seen.join(", "))];
        let hosts = hosts.iter().map(|host| host.ip.to_string());
        let known: Vec<String> = hosts.chain(names.iter().map(|name| name.name.clone())).collect();
        lines.push(format!("control plane: {}", known.join(", ")));
        let active = frontends.iter().filter(|frontend| frontend.active);
        lines.extend(
            active.map(|frontend| {
                format!("would translate: {}: {}", dialled(frontend), frontend.why)
            }),
        );
        lines.extend(left.iter().map(|what| format!("left alone: {what}")));
        lines.extend(missing.iter().map(|what| format!("not found: {what}")));
        lines
    }
}

fn dialled(frontend: &Frontend) -> String {
    let addresses: Vec<String> = frontend.addresses.iter().map(ToString::to_string).collect();
    match (addresses.as_slice(), frontend.kind) {
        ([], Kind::NodeAddress) => "the hosts' own addresses".to_owned(),
        ([], Kind::Vip | Kind::Loopback) => "the addresses of a Service".to_owned(),
        (addresses, _) => addresses.join(", "),
    }
}
