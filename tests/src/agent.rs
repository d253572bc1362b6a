//! The agent on a node of a lab: a process in the node's network namespace and cgroup, attached to
//! that cgroup only, with pins in the node's directory. Dropping it removes its data path.

mod admin;
mod configuration;
mod guarded;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nllb_agent::status::{Backend, Status};

use crate::lab::{Lab, TOKEN};
use crate::place::Place;
use crate::process::{Process, command, program};
use crate::{bpffs, cgroup};
use configuration::Files;

pub use configuration::{Configuration, NodeAddresses};

/// A directory into which the system calls of all agents are written (strace).
pub const CALLS_VARIABLE: &str = "NLLB_LAB_CALLS";

/// An agent, running or not.
pub struct Agent {
    process: Option<Process>,
    program: Option<PathBuf>,
    calls: Option<PathBuf>,
    arguments: Vec<OsString>,
    log_level: Option<&'static str>,
    log_format: Option<&'static str>,
    place: Place,
    cgroup: PathBuf,
    bpffs: PathBuf,
    directory: PathBuf,
}

impl Agent {
    /// Starts an agent on the first node of a lab and waits until it is ready.
    pub fn start(lab: &Lab, configuration: &Configuration) -> Result<Self> {
        let mut agent = Self::prepare(lab, 0)?;
        agent.configure(configuration)?;
        agent.restart()?;
        Ok(agent)
    }

    /// An agent that is not running yet, and has no configuration.
    pub fn prepare(lab: &Lab, node: usize) -> Result<Self> {
        let directory = lab.directory().join(format!("agent{node}"));
        let node = lab.node(node);
        Self::prepare_at(lab, directory, node.place(), node.cgroup(), node.bpffs())
    }

    /// The same on a control-plane host, beside its API server.
    pub fn prepare_on_plane(lab: &Lab, plane: usize) -> Result<Self> {
        let (name, netns) = (format!("cp{plane}"), lab.control_plane(plane).netns());
        let cgroup = cgroup::mount_point()?.join(lab.name()).join(&name);
        cgroup::create(&cgroup)?;
        let bpffs = bpffs::create(&format!("{}/{name}", lab.name()))?;
        let place = Place { cgroup: Some(cgroup.clone()), ..Place::in_netns(netns) };
        Self::prepare_at(lab, lab.directory().join(format!("agent-{name}")), place, &cgroup, &bpffs)
    }

    fn prepare_at(
        lab: &Lab,
        directory: PathBuf,
        place: Place,
        cgroup: &Path,
        bpffs: &Path,
    ) -> Result<Self> {
        fs::create_dir_all(&directory).context("cannot create the agent's directory")?;
        fs::write(directory.join("ca.pem"), lab.authority().pem())?;
        fs::write(directory.join("token"), TOKEN)?;
        Ok(Self {
            process: None,
            program: None,
            calls: std::env::var_os(CALLS_VARIABLE).map(PathBuf::from),
            arguments: Vec::new(),
            log_level: Some("debug"),
            log_format: None,
            place,
            cgroup: cgroup.to_owned(),
            bpffs: bpffs.to_owned(),
            directory,
        })
    }

    /// An agent of this whole machine, in a guest that nobody else lives in: with the program's own places for
    /// pins and cgroup.
    #[must_use]
    pub fn of_machine(directory: &Path) -> Self {
        Self {
            process: None,
            program: None,
            calls: None,
            arguments: Vec::new(),
            log_level: None,
            log_format: None,
            place: Place::default(),
            cgroup: PathBuf::from("auto"),
            bpffs: PathBuf::from(bpffs::MOUNT_POINT).join("nllb"),
            directory: directory.to_owned(),
        }
    }

    /// How many file descriptors it may have from its next start on.
    pub fn limit_descriptors(&mut self, most: u64) {
        self.place.descriptors = Some(most);
    }

    /// Which capabilities it is given from its next start on.
    pub fn limit_capabilities(&mut self, kept: &[u32]) {
        self.place.capabilities = Some(kept.to_owned());
    }

    /// More arguments of `nllb run`, from its next start on.
    pub fn run_with(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(OsString::from).collect();
    }

    /// Writes its system calls into this directory from its next start on: a file for each thread. It is slower then,
    /// and needs strace.
    pub fn write_calls(&mut self, directory: &Path) {
        self.calls = Some(directory.to_owned());
    }

    /// Runs this program from its next start on. Without it, the lab's own runs the agent, which has
    /// the same code and much more beside it.
    pub fn run_program(&mut self, program: &Path) {
        self.program = Some(program.to_owned());
    }

    /// Runs the program that users have from its next start on, where it was built beside the lab's, and lets it
    /// log what it logs for them: for figures of its memory and its speed.
    pub fn run_shipped(&mut self) -> Result<()> {
        let shipped = program()?.with_file_name("nllb");
        if shipped.exists() {
            self.run_program(&shipped);
        } else {
            eprintln!("nllb-lab: no nllb beside it, so it is the agent itself, of more memory");
        }
        self.log_level = None;
        Ok(())
    }

    /// Runs the lab's own program again from its next start on.
    pub fn run_own_program(&mut self) {
        self.program = None;
    }

    /// Lets it log, from its next start on, what it logs when it is told nothing. Otherwise it tells more.
    pub fn log_by_default(&mut self) {
        self.log_level = None;
    }

    /// Lets it log objects, from its next start on.
    pub fn log_json(&mut self) {
        self.log_format = Some("json");
    }

    /// Its configuration file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.join("config.yaml")
    }

    /// Its admin socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("admin.sock")
    }

    /// The directory of its pins.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        nllb_agent::datapath::pin_directory(&self.bpffs)
    }

    /// The directory above it, the one in the configuration.
    #[must_use]
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// All it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// What its log has for users: without the lines for those who look for faults.
    fn told(&self) -> String {
        let log = self.log();
        let told = log.lines().filter(|line| !line.contains(" DEBUG "));
        format!("the agent has told:\n{}", told.collect::<Vec<_>>().join("\n"))
    }

    /// The text of a configuration, with this agent's paths.
    #[must_use]
    pub fn text(&self, configuration: &Configuration) -> String {
        let text = configuration.text(&Files {
            authority: &self.directory.join("ca.pem"),
            token: &self.directory.join("token"),
            socket: &self.socket(),
            bpffs: &self.bpffs,
            cgroup: &self.cgroup,
            table: &self.directory.join("table.json"),
        });
        text.replace("$AGENT", &self.directory.display().to_string())
    }

    /// Writes the configuration file.
    pub fn configure(&self, configuration: &Configuration) -> Result<()> {
        self.write(&self.text(configuration))
    }

    /// Writes any text as the configuration file, in one step as an editor does.
    pub fn write(&self, text: &str) -> Result<()> {
        let new = self.directory.join("config.new");
        fs::write(&new, text)?;
        fs::rename(new, self.file()).context("cannot write the configuration")
    }

    /// Writes a kubeconfig of the cluster with what this agent trusts and who it is; gives where it is.
    pub fn write_kubeconfig(&self) -> Result<PathBuf> {
        let own = self.directory.display();
        let text = format!(
            "clusters: [{{name: a, cluster: {{server: 'https://kubernetes:6443', \
             certificate-authority: {own}/ca.pem}}}}]\nusers: [{{name: a, user: {{tokenFile: {own}/token}}}}]\n"
        );
        let file = self.directory.join("kubeconfig");
        fs::write(&file, text).context("cannot write a kubeconfig")?;
        Ok(file)
    }

    /// Starts it and waits until it is ready and every server has been probed.
    pub fn restart(&mut self) -> Result<Status> {
        self.spawn()?;
        self.await_status("a ready agent", |status| {
            status.obstacles().is_empty()
                && status.backends().all(|(_, backend)| backend.last_probe.is_some())
        })
    }

    /// Starts its process and does not wait.
    pub fn spawn(&mut self) -> Result<()> {
        self.spawn_behind(Vec::new())
    }

    /// Starts its process behind these words.
    fn spawn_behind(&mut self, before: Vec<OsString>) -> Result<()> {
        let level = self.log_level.map(|level| format!("--log-level={level}").into());
        let args: Vec<OsString> = ["run".into(), "--config".into(), self.file().into()]
            .into_iter()
            .chain(level)
            .chain(self.log_format.map(|format| format!("--log-format={format}").into()))
            .chain(self.arguments.iter().cloned())
            .collect();
        let args = [before, self.watched(self.words(&args))?].concat();
        let log = self.directory.join("log");
        self.process = Some(Process::spawn(&self.place, &args, Some(&log))?);
        Ok(())
    }

    /// Runs its program once more on the same node to its end.
    pub fn nllb(&self, args: &[OsString]) -> Result<Output> {
        self.command(args)?.output().context("cannot run nllb")
    }

    /// The same, not started yet.
    pub fn command(&self, args: &[OsString]) -> Result<Command> {
        command(&self.place, &self.words(args))
    }

    /// What `nllb-lab` is told so that its program runs with these arguments.
    fn words(&self, args: &[OsString]) -> Vec<OsString> {
        let before: Vec<OsString> = match &self.program {
            Some(program) => vec!["exec".into(), "--".into(), program.into()],
            None => vec!["agent".into()],
        };
        [&before, args].concat()
    }

    /// The same words, such that its system calls are written.
    fn watched(&self, words: Vec<OsString>) -> Result<Vec<OsString>> {
        let Some(directory) = &self.calls else { return Ok(words) };
        let calls = directory.join("calls");
        // It stays the lab's own child, and the other two watch from aside.
        let strace = ["exec", "--", "strace", "-D", "-ff", "-qq", "-s", "32", "-o"];
        let strace = strace.map(OsString::from).into_iter().chain([calls.into()]);
        Ok(strace.chain([program()?.into()]).chain(words).collect())
    }

    /// Starts another `nllb` on the same node, with a pipe for what it says. Its errors go to this file.
    pub fn start_nllb(&self, args: &[OsString], errors: &Path) -> Result<Process> {
        let args: Vec<_> = ["agent".into()].into_iter().chain(args.iter().cloned()).collect();
        Process::spawn(&self.place, &args, Some(errors))
    }

    /// Its process id; none when it does not run.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) -> Result<()> {
        self.process()?.kill()?;
        self.process = None;
        Ok(())
    }

    /// Tells it to stop (SIGTERM) and waits for its end.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.process()?.signal(Signal::SIGTERM)?;
        self.await_end()
    }

    /// Waits for its end.
    pub fn await_end(&mut self) -> Result<ExitStatus> {
        let status = self.process()?.wait()?;
        self.process = None;
        Ok(status)
    }

    /// Tells it to read its configuration again (SIGHUP).
    pub fn hang_up(&mut self) -> Result<()> {
        self.process()?.signal(Signal::SIGHUP)
    }

    /// Gives it another configuration and waits until that is in force.
    pub fn reload(&mut self, configuration: &Configuration) -> Result<Status> {
        let before = self.status()?.config.generation;
        self.configure(configuration)?;
        self.hang_up()?;
        self.await_status("a reload", |status| status.config.generation > before)
    }

    /// Removes its data path; gives what was removed.
    pub fn uninstall(&self) -> Result<Vec<PathBuf>> {
        Ok(nllb_agent::datapath::uninstall(&self.bpffs)?.removed)
    }

    fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the agent does not run")
    }

    fn ensure_running(&mut self) -> Result<()> {
        if !self.process()?.is_running() {
            let status = self.process()?.wait()?;
            bail!("the agent has ended: {status}");
        }
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // First the process, which would repair what is removed.
        self.process = None;
        if std::thread::panicking() {
            eprintln!("{}", self.told());
        }
        if let Err(error) = self.uninstall() {
            eprintln!("lab: {error:#}");
        }
    }
}

/// What a status document says of a server.
#[must_use]
pub fn backend(status: &Status, server: std::net::SocketAddr) -> Option<&Backend> {
    let mut backends = status.backends();
    let found = backends.find(|(_, backend)| backend.address == server)?;
    Some(found.1)
}

/// State and number of changes of each server.
#[must_use]
pub fn verdicts(status: &Status) -> Vec<(std::net::SocketAddr, String, u64)> {
    let backends = status.backends();
    backends.map(|(_, b)| (b.address, b.state.clone(), b.transitions)).collect()
}
