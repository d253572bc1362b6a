//! Debian packages of suites that this machine does not use: looked up, downloaded and unpacked by apt with
//! lists of its own, never installed. What was downloaded is kept by its checksum.

use std::{
    error, fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::{
    setup::apt::archive,
    workspace::{Workspace, say},
};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The package that depends on the newest kernel for virtual machines.
const NEWEST_KERNEL: &str = "linux-image-cloud-amd64";

/// To be raised when other things are kept of a package.
const KEPT: &str = "unpacked-1";

/// One version of one package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) sha256: String,
}

/// Everything that is kept between runs.
pub(crate) struct Store {
    root: PathBuf,
}

/// What is to be fetched cannot be had from here.
#[derive(Debug)]
pub(crate) struct Unreachable(String);

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for Unreachable {}

/// What was fetched, or that it could not be.
fn reached<T>(fetched: Result<T>) -> Result<T> {
    fetched.map_err(|error| Unreachable(format!("{error:#}")).into())
}

impl Store {
    /// The one of this repository.
    pub(crate) fn of(workspace: &Workspace) -> Self {
        Self { root: workspace.side_target("vm") }
    }

    /// Where all is kept.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The packages of the newest kernel in a suite. Without a network, of the lists that are there.
    pub(crate) fn newest_kernel(&self, suite: &str) -> Result<Vec<Package>> {
        let apt = Apt::of(&self.root.join("apt").join(suite), &sources(suite)?)?;
        let updated = apt.run("update", &[]);
        if let Err(error) = &updated {
            say(&format!("vm-test: {suite}: {error:#}; what is known of it is taken"));
        }
        // Without lists it is the network's fault, and not the suite's.
        let packages = newest_of(&apt, suite).or_else(|error| reached(updated).and(Err(error)))?;
        for package in &packages {
            self.fetch(&apt, package)?;
        }
        Ok(packages)
    }

    /// Unpacks packages into one directory, unless that was done; `prepare` makes of it what is to be kept.
    pub(crate) fn unpacked(
        &self,
        packages: &[Package],
        prepare: impl FnOnce(&Path, &Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let key: Vec<_> = packages.iter().map(|package| &package.sha256[..16]).collect();
        let directory = self.root.join(KEPT).join(key.join("-"));
        if directory.is_dir() {
            return Ok(directory);
        }
        let (raw, new) = (directory.with_extension("raw"), directory.with_extension("new"));
        for left in [&raw, &new] {
            // Of an earlier attempt; mostly there is none.
            let _ = fs::remove_dir_all(left);
            fs::create_dir_all(left)?;
        }
        for package in packages {
            extract(&self.path(package), &raw)?;
        }
        prepare(&raw, &new)?;
        fs::remove_dir_all(&raw)?;
        // Whole or not at all.
        fs::rename(&new, &directory)?;
        Ok(directory)
    }

    /// A package as this machine's own lists and `newer` have it, with those that it depends on and this
    /// machine lacks, unpacked.
    pub(crate) fn program(&self, package: &str, newer: Option<&str>) -> Result<PathBuf> {
        let directory = self.root.join("apt/own");
        let own = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
        let newer_line = newer.map(sources).transpose()?.unwrap_or_default();
        let apt = Apt { directory: directory.clone(), private: false };
        apt.create(&format!("{own}\n{newer_line}"))?;
        reached(apt.run("update", &[]))?;
        let target = newer.map(|suite| format!("--target-release={suite}"));
        let options = ["--download-only", "--no-install-recommends", "--yes", "--reinstall"];
        let mut arguments = options.to_vec();
        arguments.extend(target.as_deref());
        arguments.push(package);
        reached(apt.run("install", &arguments))?;
        let root = self.program_root();
        fs::create_dir_all(&root)?;
        for file in debs(&directory.join("cache/archives"))? {
            extract(&file, &root)?;
        }
        Ok(root)
    }

    /// Where [`Self::program`] unpacks.
    pub(crate) fn program_root(&self) -> PathBuf {
        self.root.join("apt/own/root")
    }

    fn path(&self, package: &Package) -> PathBuf {
        self.root.join("packages").join(format!("{}.deb", package.sha256))
    }

    fn fetch(&self, apt: &Apt, package: &Package) -> Result<()> {
        let Package { name, version, sha256: _ } = package;
        let path = self.path(package);
        if path.is_file() {
            return Ok(());
        }
        say(&format!("vm-test: downloading {name} {version}"));
        let directory = apt.directory.join("download");
        // Of an earlier attempt; mostly there is none.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        // Apt checks it against the checksum in the signed lists.
        let mut download = apt.command("download");
        reached(succeed(download.arg(format!("{name}={version}")).current_dir(&directory)))?;
        let file = debs(&directory)?.pop().with_context(|| format!("apt has no file of {name}"))?;
        fs::create_dir_all(self.root.join("packages"))?;
        fs::rename(file, path).context("cannot keep the package")
    }
}

/// The packages of the newest kernel in a suite, as apt knows them.
fn newest_of(apt: &Apt, suite: &str) -> Result<Vec<Package>> {
    let newest = parse(&apt.show(NEWEST_KERNEL)?);
    let newest = newest.first().with_context(|| format!("{suite} has no {NEWEST_KERNEL}"))?;
    let image = newest.depends.iter().find(|name| name.starts_with("linux-image-"));
    let image = image.with_context(|| format!("{NEWEST_KERNEL} of {suite} depends on none"))?;
    let image = parse(&apt.show(image)?);
    let image = image.first().with_context(|| format!("{suite} has no kernel"))?;
    // Since 6.19 the kernel, its modules and its configuration are packages of their own.
    let release = image.package.name.trim_start_matches("linux-image-");
    let is_part = |name: &&String| name.ends_with(release) && !name.starts_with("linux-image-");
    let mut packages = vec![image.package.clone()];
    for part in image.depends.iter().filter(is_part) {
        let part = parse(&apt.show(part)?);
        packages.extend(part.first().map(|stanza| stanza.package.clone()));
    }
    Ok(packages)
}

/// apt-get with directories of its own.
struct Apt {
    directory: PathBuf,
    /// Whether it knows nothing of this machine.
    private: bool,
}

impl Apt {
    fn of(directory: &Path, sources: &str) -> Result<Self> {
        let this = Self { directory: directory.to_owned(), private: true };
        this.create(sources)?;
        fs::write(directory.join("status"), "")?;
        Ok(this)
    }

    fn create(&self, sources: &str) -> Result<()> {
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(self.directory.join(part))?;
        }
        fs::write(self.directory.join("sources.list"), sources).context("cannot write")
    }

    fn command(&self, action: &str) -> Command {
        self.tool("apt-get", action)
    }

    fn tool(&self, program: &str, action: &str) -> Command {
        let mut command = Command::new(program);
        let mut option = |key: &str, value: &str| {
            command.args(["-o", &format!("{key}={value}")]);
        };
        let place = |part: &str| self.directory.join(part).display().to_string();
        option("Dir::Etc::sourcelist", &place("sources.list"));
        option("Dir::State::lists", &place("lists"));
        option("Dir::Cache", &place("cache"));
        option("APT::Sandbox::User", "root");
        option("Acquire::Languages", "none");
        option("Acquire::Retries", "3");
        // The set-up of this machine may be at work.
        option("DPkg::Lock::Timeout", "300");
        if self.private {
            option("Dir::Etc::sourceparts", "/dev/null");
            option("Dir::Etc::preferencesparts", "/dev/null");
            option("Dir::State::status", &place("status"));
            option("APT::Architecture", "amd64");
            // Else what cannot be fetched is a warning.
            option("APT::Update::Error-Mode", "any");
            // The suites of releases that are not maintained any more stay as they are.
            option("Acquire::Check-Valid-Until", "false");
        }
        command.arg("--quiet").arg(action);
        command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    fn run(&self, action: &str, arguments: &[&str]) -> Result<String> {
        succeed(self.command(action).args(arguments))
    }

    fn show(&self, package: &str) -> Result<String> {
        succeed(self.tool("apt-cache", "show").arg(package))
    }
}

/// A line of apt's for a suite, at the place where this machine has its packages from.
fn sources(suite: &str) -> Result<String> {
    let archive = archive().context("apt does not say where Debian's packages are");
    let archive = reached(archive)?;
    let archive = if suite.ends_with("-security") {
        format!("{archive}-security")
    } else {
        archive.to_owned()
    };
    Ok(format!("deb [signed-by={KEYRING}] {archive} {suite} main\n"))
}

fn extract(package: &Path, directory: &Path) -> Result<()> {
    succeed(Command::new("dpkg-deb").arg("--extract").arg(package).arg(directory)).map(drop)
}

fn debs(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(entries.filter(|path| path.extension().is_some_and(|kind| kind == "deb")).collect())
}

/// What a command printed.
fn succeed(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        // The first error of apt's is what went wrong, the last what came of it.
        let first = errors.lines().find(|line| line.starts_with("E: "));
        bail!("{program}: {}", first.or(errors.trim().lines().last()).unwrap_or("failed"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What apt knows of one version.
#[derive(Debug, PartialEq, Eq)]
struct Stanza {
    package: Package,
    depends: Vec<String>,
}

/// Versions as `apt-cache show` prints them, the newest first.
fn parse(text: &str) -> Vec<Stanza> {
    let field = |stanza: &str, name: &str| {
        let line = stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(str::to_owned)
    };
    let stanza = |stanza: &str| {
        let depends = field(stanza, "Depends").unwrap_or_default();
        let names = depends.split([',', '|']).filter_map(|one| one.split_whitespace().next());
        Some(Stanza {
            package: Package {
                name: field(stanza, "Package")?,
                version: field(stanza, "Version")?,
                sha256: field(stanza, "SHA256")?,
            },
            depends: names.map(str::to_owned).collect(),
        })
    };
    text.split("\n\n").filter_map(stanza).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_reached_is_told_from_other_failures_whatever_it_is_told_with() {
        let failed = || Err::<(), _>(anyhow::anyhow!("no route")).context("update");
        let reached = reached(failed()).context("kernel 5.10").expect_err("it failed");
        assert!(reached.is::<Unreachable>());
        assert_eq!(format!("{reached:#}"), "kernel 5.10: update: no route");
        assert!(!failed().expect_err("it failed").is::<Unreachable>());
    }

    #[test]
    fn a_package_and_what_it_depends_on_are_read_from_what_apt_prints() {
        let text = "Package: linux-image-cloud-amd64\nVersion: 7.2.12-1\n\
                    Depends: linux-image-7.2.12-cloud-amd64 (= 7.2.12-1), a | b\nSHA256: abcd\n\n\
                    Package: linux-image-cloud-amd64\nVersion: 7.1.1-1\nSHA256: ef\n\n";
        let found = parse(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].package.version, "7.2.12-1");
        assert_eq!(found[0].depends, ["linux-image-7.2.12-cloud-amd64", "a", "b"]);
        assert!(found[1].depends.is_empty());
    }
}
