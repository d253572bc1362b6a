//! The commands of docs/operations.md, run as they are shown, where what they show can be seen.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use nllb_lab::lab::VIP_V4;
use nllb_lab::process::Process;
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Client, Configuration, Connect, Lab};

use crate::shell::Shell;
use crate::shown::{Shown, shown};

/// What cannot be run here, and why.
const ELSEWHERE: [(&str, &str); 2] = [
    ("ssh ", "the same as the command before it, from another host"),
    (
        "kubectl ",
        "wants a cluster: what it shows is what tests/tests/events.rs and e2e/events.rs look at",
    ),
];
/// What goes on until it is stopped.
const LASTING: [&str; 2] = ["nllb run ", "nllb ui"];

/// How the node stands when a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// An agent and three good servers.
    Good,
    /// The same, nobody drained, with clients that open anew what is closed.
    Busy,
    /// A server was killed.
    Crashed,
    /// A server has no power and one is frozen.
    Failed,
    /// A server lost its power while it had connections, and then the agent was stopped.
    Past,
    /// The agent was stopped.
    Stopped,
    /// There is neither agent nor data path; the configuration asks for diagnostics.
    Blank,
}

impl Stage {
    fn of(shown: &Shown) -> Self {
        let shows = |text: &str| shown.output.iter().any(|line| line.contains(text));
        let words: Vec<_> = shown.command.split(' ').take(2).collect();
        match words[..] {
            ["nllb", "run"] => Self::Blank,
            ["nllb", "status"] if shows("no agent is running") => Self::Stopped,
            ["nllb", "status"] if shows("degraded") => Self::Crashed,
            ["nllb", "uninstall"] if shows("removed ") => Self::Stopped,
            ["nllb", "explain"] => Self::Crashed,
            ["nllb", "doctor"] => Self::Failed,
            ["nllb", "drill"] => Self::Busy,
            ["nllb", "events"] => Self::Past,
            _ => Self::Good,
        }
    }
}

#[test]
fn every_command_of_the_operations_guide_prints_what_is_shown() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let all = shown(&fs::read_to_string(guide).expect("readable"));
    assert!(all.len() > 10, "{all:?}");
    let mut scene = Scene::new(&lab);
    let mut faults = Vec::new();
    for shown in all {
        if ELSEWHERE.iter().any(|(start, _)| shown.command.starts_with(start)) {
            continue;
        }
        let program = shown.command.split(' ').next().expect("a program");
        if program != "nllb" && Command::new(program).arg("--version").output().is_err() {
            // Not by eprintln, which the test harness would swallow.
            let line = format!("skipped: {}: no {program} here\n", shown.command);
            let _ = std::io::stderr().write_all(line.as_bytes());
            continue;
        }
        scene.bring(Stage::of(&shown));
        faults.extend(scene.run(&shown));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A client that dials, and whether a server has lost its power meanwhile.
struct Dialling(bool);

impl Dialling {
    fn go_on(&mut self, scene: &Scene<'_>, printed: &str) -> anyhow::Result<()> {
        if !self.0 && printed.contains(": frontend 1 to backend ") {
            scene.lab.control_plane(2).power_off()?;
            self.0 = true;
        }
        // Whether it is answered is not the question.
        let _outcome = scene.client.connect(&Connect::to((VIP_V4, 443).into()))?;
        Ok(())
    }
}

struct Scene<'a> {
    lab: &'a Lab,
    agent: Agent,
    shell: Shell,
    client: Client,
    stage: Option<Stage>,
}

impl<'a> Scene<'a> {
    fn new(lab: &'a Lab) -> Self {
        let mut agent = Agent::prepare(lab, 0).expect("prepared");
        agent.log_by_default();
        agent.configure(&Configuration::of(lab).quick()).expect("written");
        let shell = Shell::beside(&agent, lab);
        let client = lab.client(0).expect("a client");
        Self { lab, agent, shell, client, stage: None }
    }

    /// Runs it; says what is otherwise than it is shown.
    fn run(&self, shown: &Shown) -> Option<String> {
        let Shown { command: line, output } = shown;
        let log = self.agent.file().with_file_name("printed");
        let file = File::create(&log).expect("created");
        let printed = || fs::read_to_string(&log).expect("readable");
        let lasts = LASTING.iter().any(|start| line.starts_with(start));
        let (mut command, _own) =
            self.shell.command(&if lasts { format!("exec {line}") } else { line.clone() });
        command.stdout(file.try_clone().expect("another descriptor")).stderr(file);
        let end = if lasts {
            let mut process = Process::start(command).expect("it starts");
            let mut dials =
                output.iter().any(|line| line.contains("SYN ")).then_some(Dialling(false));
            // What it lacks at last is told below.
            let _shown = wait_until("what is shown", || {
                if let Some(dialling) = &mut dials {
                    dialling.go_on(self, &printed())?;
                }
                Ok((!printed().is_empty() && shown.missing(&printed()).is_none()).then_some(()))
            });
            if dials.is_some() {
                self.lab.control_plane(2).power_on().expect("on");
            }
            process.signal(Signal::SIGTERM).expect("sent");
            process.wait().expect("it ends")
        } else {
            command.status().expect("it runs")
        };
        let printed = printed();
        println!("$ {line}\n{printed}");
        if let Some(missing) = shown.missing(&printed) {
            return Some(format!("{line}: does not print {missing:?} but\n{printed}"));
        }
        // A refusal is shown.
        (output.is_empty() && !end.success()).then(|| format!("{line}: {end}:\n{printed}"))
    }

    /// Makes it so, from the beginning unless it is so already.
    fn bring(&mut self, stage: Stage) {
        if self.stage == Some(stage) {
            return;
        }
        self.clear();
        self.stage = Some(stage);
        let configuration = Configuration::of(self.lab).quick();
        if stage == Stage::Blank {
            let pins = self.agent.bpffs().display().to_string();
            let text = self.agent.text(&configuration).replace(&pins, "/sys/fs/bpf/nllb");
            let text = text.replace("datapath: {", "datapath: { logLevel: debug,");
            return self.agent.write(&text).expect("written");
        }
        self.agent.configure(&configuration).expect("written");
        self.agent.restart().expect("an agent");
        let known = self.agent.await_status("versions and nodes", |status| {
            let pool = &status.pools[0];
            let known = |(_, backend): (&str, &nllb_agent::status::Backend)| {
                backend.state == "healthy" && backend.version.is_some()
            };
            pool.nodes.is_some() && status.backends().all(known)
        });
        known.expect("known");
        let [first, second] = [0, 1].map(|index| self.lab.control_plane(index));
        if stage == Stage::Busy {
            let servers: Vec<_> =
                self.lab.control_planes().iter().map(|server| server.name().to_owned()).collect();
            let traffic = self.client.traffic(&self.lab.traffic()).expect("clients");
            self.client.traffic_hold(traffic, &servers).expect("connections");
        } else {
            for server in [first, second, first, second] {
                self.client.open_to(server.tls()).expect("a connection");
            }
        }
        match stage {
            Stage::Good | Stage::Busy | Stage::Blank => {}
            Stage::Crashed => first.crash().expect("crashed"),
            Stage::Failed => {
                first.power_off().expect("off");
                second.freeze().expect("frozen");
            }
            Stage::Past => first.power_off().expect("off"),
            Stage::Stopped => {
                self.agent.terminate().expect("ended");
            }
        }
        let out: &[_] = match stage {
            Stage::Crashed | Stage::Past => &[first],
            Stage::Failed => &[first, second],
            Stage::Good | Stage::Busy | Stage::Blank | Stage::Stopped => &[],
        };
        for server in out {
            self.agent.await_state(server.tls(), "unhealthy").expect("seen");
        }
        if stage == Stage::Past {
            let closed = self.agent.await_status("closed connections", |status| {
                let (_, backend) = status.backends().next().expect("the first");
                backend.closed["dead"] > 0
            });
            closed.expect("closed");
            self.agent.terminate().expect("ended");
        }
    }

    /// Nothing is left of what was before.
    fn clear(&mut self) {
        if self.agent.id().is_some() {
            self.agent.kill().expect("killed");
        }
        self.agent.uninstall().expect("removed");
        for name in ["table.json", "journal.jsonl"] {
            // It may never have been written.
            let _gone = fs::remove_file(self.agent.file().with_file_name(name));
        }
        // The connections of before end with their client.
        self.client = self.lab.client(0).expect("a client");
        for (index, server) in self.lab.control_planes().iter().enumerate() {
            match (self.stage, index) {
                (Some(Stage::Crashed), 0) => server.restart().expect("restarted"),
                (Some(Stage::Failed | Stage::Past), 0) => server.power_on().expect("on"),
                (Some(Stage::Failed), 1) => server.thaw().expect("thawed"),
                _ => {}
            }
        }
    }
}
