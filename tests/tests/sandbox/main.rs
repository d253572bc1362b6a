//! Guests behind interfaces of a node: their sockets are in no cgroup of the node, and are served all the same.

mod beside;
mod life;
mod pods;
mod told;
mod translate;

use std::net::SocketAddr;
use std::process::Command;

use nllb_agent::status::{GuestInterface, Sandboxes, Status};
use nllb_lab::lab::{Builder, say_skipped};
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Client, Configuration, Lab, Place, netns, pins};

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Tcx,
    Clsact,
}

impl By {
    const ALL: [Self; 2] = [Self::Tcx, Self::Clsact];

    const fn word(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// A lab with guests, and an agent that serves them.
struct Scene {
    lab: Lab,
    agent: Agent,
    configuration: Configuration,
}

impl Scene {
    fn start(builder: Builder, by: By) -> Option<Self> {
        Self::start_with(builder, &format!("interfaces: [\"pod*\"], attach: {}", by.word()))
    }

    fn start_with(builder: Builder, sandboxes: &str) -> Option<Self> {
        let lab = build_or_skip(builder)?;
        let configuration = dual(&lab);
        Some(Self::of(lab, configuration, sandboxes))
    }

    /// The same with more in the configuration.
    fn of(lab: Lab, mut configuration: Configuration, sandboxes: &str) -> Self {
        configuration.rest.push(format!("sandboxes: {{ {sandboxes} }}"));
        let agent = Agent::start(&lab, &configuration).expect("an agent");
        Self { lab, agent, configuration }
    }

    /// A process of a guest: in none of the node's cgroups, so that its sockets are not translated.
    fn guest(&self, pod: usize) -> Client {
        let place = Place::in_netns(self.lab.node(0).pods()[pod].netns());
        Client::start(&place).expect("a client")
    }

    /// The namespace of the node, where the interfaces are.
    fn node(&self) -> &str {
        self.lab.node(0).netns()
    }

    fn ip(&self, line: &str) {
        netns::ip(Some(self.node()), &[line.to_owned()]).expect("ip");
    }

    /// Waits until these interfaces are served, and no others.
    fn await_served(&mut self, names: &[&str]) -> Sandboxes {
        let wanted: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let status = self.agent.await_status("guests are served", |status| {
            let mut served: Vec<_> = served(status).map(|it| it.name.clone()).collect();
            served.sort();
            served == wanted
        });
        status.expect("served").sandboxes.expect("guests are wanted")
    }

    /// The configuration with another wish for guests; nothing for none.
    fn with(&self, sandboxes: Option<&str>) -> Configuration {
        let mut configuration = self.configuration.clone();
        configuration.rest.retain(|line| !line.starts_with("sandboxes:"));
        let line = sandboxes.map(|text| format!("sandboxes: {{ {text} }}"));
        configuration.rest.extend(line);
        configuration
    }

    /// What is left of us on the interfaces and among the pins.
    fn traces(&self) -> Vec<String> {
        let mut traces = Vec::new();
        for name in interfaces(self.node()) {
            for direction in ["ingress", "egress"] {
                let filters = tc(self.node(), &["filter", "show", "dev", &name, direction]);
                let ours = filters.lines().filter(|line| line.contains("nllb_"));
                traces.extend(ours.map(|line| format!("{name} {direction}: {line}")));
            }
            let qdiscs = tc(self.node(), &["qdisc", "show", "dev", &name]);
            let clsact = qdiscs.lines().filter(|line| line.contains("clsact"));
            traces.extend(clsact.map(|line| format!("{name}: {line}")));
        }
        let pins = std::fs::read_dir(self.agent.pins()).into_iter().flatten().flatten();
        let pins = pins.map(|pin| pin.file_name().to_string_lossy().into_owned());
        traces.extend(pins.filter(|pin| pin.contains("_guest_") || pin.starts_with("clsact_")));
        traces
    }

    /// Waits until nothing of us is left there.
    fn await_no_trace(&self) {
        let clean = wait_until("no trace", || {
            let traces = self.traces();
            Ok(traces.is_empty().then_some(()))
        });
        clean.unwrap_or_else(|error| panic!("{error:#}: {:?}", self.traces()));
    }

    /// The programs that the kernel runs for our links, by the name of the pin.
    fn links(&self) -> Vec<String> {
        let links = pins::links(&self.agent.pins()).expect("links");
        links.into_keys().filter(|name| name.contains("_guest_")).collect()
    }
}

/// Every server by both families, since a packet keeps its own.
fn dual(lab: &Lab) -> Configuration {
    let mut configuration = Configuration::of(lab).quick();
    let v6 = lab.control_planes().iter();
    let v6 = v6.map(|plane| SocketAddr::from((plane.v6(), plane.tls().port())));
    configuration.endpoints.extend(v6);
    configuration
}

/// A lab, where there are programs for guests.
fn build_or_skip(builder: Builder) -> Option<Lab> {
    let object = aya_obj::Object::parse(nllb_agent::datapath::object()).expect("an object");
    if !object.programs.contains_key("nllb_from_guest") {
        say_skipped("this build has no programs for guests");
        return None;
    }
    builder.build_or_skip()
}

/// The interfaces that are served.
fn served(status: &Status) -> impl Iterator<Item = &GuestInterface> {
    let interfaces = status.sandboxes.iter().flat_map(|sandboxes| &sandboxes.interfaces);
    interfaces.filter(|interface| interface.attached_by.is_some())
}

fn interfaces(namespace: &str) -> Vec<String> {
    let list = || -> std::io::Result<Vec<String>> {
        // Of the namespace of the thread, as /proc has it.
        let text = std::fs::read_to_string("/proc/thread-self/net/dev")?;
        let names = text.lines().skip(2).filter_map(|line| line.split(':').next());
        Ok(names.map(|name| name.trim().to_owned()).collect())
    };
    netns::run_in(namespace, list).expect("a namespace").expect("a list")
}

/// What `tc` says there.
fn tc(namespace: &str, args: &[&str]) -> String {
    let run = || Command::new("tc").args(args).output();
    let output = netns::run_in(namespace, run).expect("a namespace").expect("tc");
    assert!(output.status.success(), "tc {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
