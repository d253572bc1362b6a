//! `cargo xtask image`: the agent as a container image. It holds one static program, the licences and
//! a list of what is in the program, because what is not there needs no update and helps no intruder.
//!
//! Buildah and not a Dockerfile: nothing is run inside, so no shell and no base image is needed.

mod sbom;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::workspace::{Workspace, say};

/// The largest an image may get: it is pulled by every node.
const MOST_BYTES: u64 = 15_000_000;
/// Where the list of packages is inside; scanners look for files with this ending.
const SBOM: &str = "/usr/share/doc/nllb/sbom.cdx.json";
const PROGRAM: &str = "/usr/bin/nllb";
/// For both halves of the program, see `nllb-ebpf/Cargo.toml`.
const LICENCES: &str = "(Apache-2.0 OR MIT) AND (MIT OR GPL-2.0-only)";
/// Without this file the C library asks DNS before `/etc/hosts`, and other modules than these two it
/// would have to load, which a static program cannot.
const NAME_SERVICE: &str = "hosts: files dns\n";

/// What to build.
#[derive(Args)]
pub(crate) struct Options {
    /// The archive that is written; for `podman load`, `ctr images import`, `skopeo copy`.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Without optimisation and limit of size, for tests: it takes a fifth of the time.
    #[arg(long)]
    dev: bool,
}

pub(crate) fn command(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let Some(program) = workspace.shipped_program(options.dev)? else {
        return Ok(ExitCode::FAILURE);
    };
    let version = version(&program)?;
    let directory = workspace.side_target("image");
    let archive = match &options.output {
        Some(path) => env::current_dir()?.join(path),
        None => directory.join(format!("nllb-{version}.tar")),
    };
    let root = directory.join("root");
    fill(workspace, &root, &program)?;
    let size = size(&root)?;
    if !options.dev {
        ensure!(size <= MOST_BYTES, "the image has {size} bytes, {MOST_BYTES} are the most");
    }
    Buildah::new(&directory)?.build(workspace, &root, &version, &archive)?;
    println!("{}: nllb:{version}, {:.1} MB", archive.display(), size as f64 / 1e6);
    Ok(ExitCode::SUCCESS)
}

/// As the program says it.
fn version(program: &Path) -> Result<String> {
    let said = output_of(Command::new(program).arg("--version"))?;
    let version = said.split_whitespace().last().context("the program has no version")?;
    Ok(version.to_owned())
}

/// Lays out the image's files.
fn fill(workspace: &Workspace, root: &Path, program: &Path) -> Result<()> {
    remove(root)?;
    let put = |path: &str, content: &[u8]| {
        let path = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().context("no directory")?)?;
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    };
    put(SBOM, sbom::list(workspace)?.as_bytes())?;
    put("/etc/nsswitch.conf", NAME_SERVICE.as_bytes())?;
    for licence in ["LICENSE-APACHE", "LICENSE-MIT", "LICENSE-GPL2"] {
        let text = fs::read(workspace.root.join(licence))?;
        put(&format!("/usr/share/doc/nllb/{licence}"), &text)?;
    }
    let inside = root.join(PROGRAM.trim_start_matches('/'));
    fs::create_dir_all(inside.parent().context("no directory")?)?;
    fs::copy(program, inside).with_context(|| format!("cannot copy {}", program.display()))?;
    Ok(())
}

fn size(directory: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(sum)
}

/// Buildah with a storage of its own, so that the machine's images are left alone.
struct Buildah {
    storage: PathBuf,
}

impl Buildah {
    fn new(directory: &Path) -> Result<Self> {
        let storage = directory.join("storage");
        remove(&storage)?;
        fs::create_dir_all(&storage)?;
        Ok(Self { storage })
    }

    fn build(&self, workspace: &Workspace, root: &Path, version: &str, to: &Path) -> Result<()> {
        let container = self.run(&["from", "scratch"])?;
        let container = container.trim();
        self.run(&["copy", "--quiet", container, &text(root)?, "/"])?;
        let mut config = vec!["config".to_owned()];
        let labels = [
            ("title", "nllb".to_owned()),
            ("description", "Node-local load balancer for the Kubernetes control plane".into()),
            ("version", version.to_owned()),
            ("licenses", LICENCES.into()),
            ("revision", git(workspace, "%H")),
        ];
        let labels = labels.map(|(key, value)| (format!("org.opencontainers.image.{key}"), value));
        let labels = labels.into_iter().chain([("dev.nllb.sbom".to_owned(), SBOM.to_owned())]);
        for (key, value) in labels.filter(|(_, value)| !value.is_empty()) {
            config.push(format!("--label={key}={value}"));
        }
        config.push(format!("--entrypoint=[\"{PROGRAM}\"]"));
        config.push("--cmd=run --config /etc/nllb/agent.yaml".into());
        config.push(container.to_owned());
        self.run(&config)?;
        let image = format!("nllb:{version}");
        // The time of the commit, so that the same sources give the same image.
        let time = Some(git(workspace, "%ct")).filter(|time| !time.is_empty());
        let time = format!("--timestamp={}", time.as_deref().unwrap_or("0"));
        self.run(&["commit", "--quiet", "--rm", &time, container, &image])?;
        remove(to)?;
        let archive = format!("oci-archive:{}:{image}", text(to)?);
        self.run(&["push", "--quiet", &image, &archive])?;
        remove(&self.storage)
    }

    fn run(&self, arguments: &[impl AsRef<str>]) -> Result<String> {
        let mut command = Command::new("buildah");
        // Needs nothing of the kernel, and there is one layer.
        command.args(["--storage-driver", "vfs", "--root"]).arg(self.storage.join("root"));
        command.arg("--runroot").arg(self.storage.join("run"));
        command.args(arguments.iter().map(AsRef::as_ref));
        output_of(&mut command)
    }
}

/// What git says of the commit; empty outside of a repository.
fn git(workspace: &Workspace, format: &str) -> String {
    let mut command = Command::new("git");
    let format = format!("--format={format}");
    command.current_dir(&workspace.root).args(["show", "--no-patch", &format, "HEAD"]);
    let said = output_of(&mut command).map(|said| said.trim().to_owned());
    said.unwrap_or_else(|error| {
        say(&format!("without the commit in the image: {error:#}"));
        String::new()
    })
}

/// Runs a command that must succeed; gives what it printed.
fn output_of(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} speaks no UTF-8"))
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("not UTF-8: {}", path.display()))
}

/// Removes a file or directory, if it is there.
fn remove(path: &Path) -> Result<()> {
    let gone = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match gone {
        Err(error) if path.exists() => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
