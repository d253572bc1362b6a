//! `nllb init`: writes the configuration that fits this host, and says why it looks so.

use super::Failure;
use crate::exit::Exit;
use crate::init::{self, Distribution, Tree, Trouble};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What to look at and where to write.
#[derive(Debug, clap::Args)]
pub(super) struct InitArgs {
    /// auto, k0s, k3s, rke2, microk8s, kubeadm or talos; auto takes the one that is there.
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = distribution)]
    distribution: Wanted,
    /// Write there instead of to standard output; a file that is there stays.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file that is there.
    #[arg(long, requires = "output")]
    force: bool,
    /// The host's root directory, as in a container that has the host at /host.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// A control-plane host's address, besides those that are found; may be given several times.
    #[arg(long = "host", value_name = "ADDRESS")]
    hosts: Vec<IpAddr>,
}

/// `None`: whichever is there. A type of its own, since clap reads an `Option` as "may be left out".
#[derive(Clone, Copy, Debug)]
struct Wanted(Option<Distribution>);

fn distribution(text: &str) -> Result<Wanted, String> {
    if text == "auto" {
        return Ok(Wanted(None));
    }
    let found = Distribution::ALL.into_iter().find(|distribution| distribution.label() == text);
    let known = Distribution::ALL.map(Distribution::label).join(", ");
    found.map(|found| Wanted(Some(found))).ok_or_else(|| format!("use auto, {known}"))
}

pub(super) fn run(
    args: InitArgs,
    out: &mut dyn io::Write,
    err: &mut dyn io::Write,
) -> Result<(), Failure> {
    let InitArgs { distribution: Wanted(distribution), output, force, root, hosts } = args;
    let tree = Tree::open(&root).map_err(|error| Failure {
        exit: Exit::Configuration,
        line: format!(
            "--root {}: {error}: name the directory that the host's files are in",
            root.display()
        ),
    })?;
    let plan = init::look(&tree, distribution, &hosts);
    // Most useful when nothing was found: often it only could not be read.
    for line in tree.unread() {
        writeln!(err, "cannot use: {line}")?;
    }
    let plan = plan.map_err(|trouble| Failure::new(exit(&trouble), &trouble))?;
    for line in plan.report() {
        writeln!(err, "{line}")?;
    }
    let text = plan.render();
    match output {
        None => out.write_all(text.as_bytes())?,
        Some(file) => {
            write(&file, text.as_bytes(), force)?;
            writeln!(err, "wrote {}", file.display())?;
        }
    }
    Ok(())
}

const fn exit(trouble: &Trouble) -> Exit {
    match trouble {
        Trouble::Nothing { .. } | Trouble::Absent { .. } => Exit::NoDistribution,
        Trouble::Several { .. } => Exit::SeveralDistributions,
        Trouble::NothingToDo { .. } => Exit::Refused,
        Trouble::NoHost { .. } => Exit::Configuration,
    }
}

/// Writes a file for root only, whole or not at all.
fn write(file: &Path, text: &[u8], force: bool) -> Result<(), Failure> {
    let taken = ErrorKind::AlreadyExists;
    let failure = |error: &io::Error| {
        let (exit, why) = if error.kind() == taken {
            (
                Exit::Refused,
                "is there already: name another file, or replace it with --force".into(),
            )
        } else {
            (
                Exit::Unexpected,
                format!("cannot be written ({error}): check the path and its permissions"),
            )
        };
        Failure { exit, line: format!("{} {why}", file.display()) }
    };
    if !force && file.symlink_metadata().is_ok() {
        return Err(failure(&taken.into()));
    }
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let placed = fill(&beside, text).and_then(|()| {
        if force {
            return fs::rename(&beside, file);
        }
        // A link, which fails when somebody else was faster.
        fs::hard_link(&beside, file).and_then(|()| fs::remove_file(&beside))
    });
    if let Err(error) = placed {
        // The reason is told; what is left then is a file that names itself.
        let _gone = fs::remove_file(&beside);
        return Err(failure(&error));
    }
    Ok(())
}

fn fill(file: &Path, text: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(text)?;
    file.sync_all()
}
