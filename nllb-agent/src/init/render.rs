//! The commented configuration of a plan.

use super::plan::{Credentials, Frontend, Plan, Pool, Watch};

/// The longest line of a comment.
const WIDTH: usize = 100;

impl Plan {
    /// The configuration file, with the reason of each part.
    #[must_use]
    pub fn render(&self) -> String {
        let Self { title, seen: _, hosts, names, watch, pools, frontends, left, missing } = self;
        let mut text = Text::default();
        text.comment(0, &format!("nllb on this host: {title}. Written by nllb init."));
        text.comment(
            0,
            "docs/configuration.md explains every key, nllb check-config checks this file.",
        );
        text.line(0, "apiVersion: nllb.dev/v1alpha1\nkind: AgentConfiguration\n");
        text.comment(0, "Who the control-plane hosts are. All sources count together.");
        text.line(0, "controlPlane:");
        if !hosts.is_empty() {
            text.line(1, "hosts:");
            for host in hosts {
                text.line(2, &format!("- \"{}\" # {}", host.ip, host.from));
            }
        }
        if !names.is_empty() {
            text.line(1, "names:");
            for name in names {
                text.line(2, &format!("- \"{}\" # {}", name.name, name.from));
            }
        }
        text.watch(watch);
        text.line(0, "\npools:");
        for pool in pools {
            text.pool(pool);
        }
        text.line(0, "\nfrontends:");
        for what in left {
            text.comment(1, &format!("Left alone: {what}."));
        }
        for frontend in frontends {
            text.frontend(frontend);
        }
        if !missing.is_empty() {
            text.line(0, "");
            text.comment(0, "Not found, and what to do about it:");
        }
        for what in missing {
            text.comment(0, &format!("- {what}."));
        }
        text.0
    }
}

/// A text that grows by lines, indented by twos.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, depth: usize, line: &str) {
        self.0.push_str(&"  ".repeat(depth));
        self.0.push_str(line);
        self.0.push('\n');
    }

    /// A comment, broken between words. What follows a dash hangs below it.
    fn comment(&mut self, depth: usize, comment: &str) {
        let hanging = if comment.starts_with("- ") { "#  " } else { "#" };
        let mut line = "#".to_owned();
        for word in comment.split_whitespace() {
            if line.len() + word.len() >= WIDTH {
                self.line(depth, &line);
                hanging.clone_into(&mut line);
            }
            line.push(' ');
            line.push_str(word);
        }
        self.line(depth, &line);
    }

    fn watch(&mut self, watch: &Watch) {
        match watch {
            Watch::Kubeconfig(path) => {
                self.comment(
                    1,
                    "Hosts that come and go are noticed by watching the Service kubernetes.",
                );
                self.line(1, "kubernetes:");
                self.line(2, &format!("kubeconfig: {path}"));
            }
            Watch::ServiceAccount => {
                self.comment(
                    1,
                    "Hosts that come and go are noticed by watching the Service kubernetes, with the service account of the \
                     agent's pod.",
                );
                self.line(1, "kubernetes: {}");
            }
            Watch::Kubelet(path) => {
                self.comment(
                    1,
                    "Hosts that come and go are noticed by watching the Service kubernetes. A kubelet may not, unless it is \
                     allowed to; then uncomment the last two lines:",
                );
                self.line(1, "#   kubectl -n default create role nllb --verb=get,list,watch \\");
                self.line(1, "#     --resource=services,endpointslices.discovery.k8s.io");
                self.line(1, "#   kubectl -n default create rolebinding nllb --role=nllb --group=system:nodes");
                self.line(1, "# kubernetes:");
                self.line(1, &format!("#   kubeconfig: {path}"));
            }
            Watch::Off => {}
        }
    }

    fn pool(&mut self, pool: &Pool) {
        let Pool { profile, port, credentials } = pool;
        self.line(1, &format!("- name: {}", profile.label()));
        self.line(2, &format!("profile: {}", profile.label()));
        self.line(2, &format!("port: {port}"));
        match credentials {
            Credentials::Kubeconfig(path) => self.line(2, &format!("kubeconfig: {path}")),
            Credentials::Files { authority, client } => {
                self.line(2, "probe:");
                self.line(3, &format!("caFile: {authority}"));
                if let Some((certificate, key)) = client {
                    self.line(3, &format!("clientCertificateFile: {certificate}"));
                    self.line(3, &format!("clientKeyFile: {key}"));
                }
            }
            Credentials::Unverified => {
                self.line(2, "probe:");
                self.comment(3, "The probe is a TLS handshake that tells nothing. With caFile it also verifies.");
                self.line(3, "insecureSkipVerify: true");
            }
        }
    }

    fn frontend(&mut self, frontend: &Frontend) {
        let Frontend { name, kind, addresses, pool, server_name, why, active } = frontend;
        let mark = if *active { "" } else { "# " };
        let optional = if *active { "" } else { "Optional: " };
        self.comment(1, &format!("{optional}{}.", capital(why, *active)));
        self.line(1, &format!("{mark}- name: {name}"));
        self.line(1, &format!("{mark}  kind: {}", kind.label()));
        if !addresses.is_empty() {
            let addresses: Vec<String> =
                addresses.iter().map(|address| format!("\"{address}\"")).collect();
            self.line(1, &format!("{mark}  addresses: [{}]", addresses.join(", ")));
        }
        self.line(1, &format!("{mark}  pool: {}", pool.label()));
        if let Some(name) = server_name {
            self.line(1, &format!("{mark}  serverName: {name}"));
        }
    }
}

/// A sentence's beginning, unless something stands before it, or it is a name that is spelt small.
fn capital(text: &str, first: bool) -> String {
    let mut rest = text.chars();
    match rest.next() {
        Some(start) if first && !text.starts_with("k0s") => {
            start.to_uppercase().chain(rest).collect()
        }
        _ => text.to_owned(),
    }
}
