//! What is in a guest beside its kernel: the programs under test as cargo has built them, without their
//! symbols, a few tools of this machine, and the libraries of all.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    cpio::Archive,
    kernels::Boot,
    protocol::{PROGRAMS, Step},
};
use crate::workspace::Workspace;

/// What the lab runs.
const TOOLS: [&str; 4] = ["ip", "bridge", "ss", "nft"];
const GUEST: &str = "nllb-vm";
const LAB: &str = "nllb-lab";

/// The archives that do not depend on the kernel.
pub(crate) struct Userland {
    pub(crate) base: Vec<u8>,
    programs: BTreeMap<String, Vec<u8>>,
}

impl Userland {
    pub(crate) fn make(built: &Built, boots: &[&Boot], scratch: &Path) -> Result<Self> {
        let mut names = BTreeSet::new();
        for boot in boots {
            names.extend(boot.steps()?.into_iter().filter_map(|step| match step {
                Step::Test { program, .. } => Some(program),
                Step::Features | Step::Verifier | Step::Check(_) => None,
            }));
        }
        let program = |name: String| {
            let archive = built.program(&name, scratch)?;
            Ok((name, archive))
        };
        let programs = names.into_iter().map(program).collect::<Result<_>>()?;
        Ok(Self { base: built.base(scratch)?, programs })
    }

    /// What a guest with these steps has.
    pub(crate) fn of<'a>(&'a self, steps: &[Step]) -> Vec<&'a [u8]> {
        let used = self.programs.iter().filter(|(name, _)| {
            let is_it =
                |step: &Step| matches!(step, Step::Test { program, .. } if program == *name);
            steps.iter().any(is_it)
        });
        std::iter::once(self.base.as_slice()).chain(used.map(|(_, archive)| &archive[..])).collect()
    }
}

/// Everything that was built, by name.
pub(crate) struct Built(BTreeMap<String, PathBuf>);

impl Built {
    /// Builds what `cargo xtask test` builds, so that nothing is built twice. None when that fails.
    pub(crate) fn build(workspace: &Workspace) -> Result<Option<Self>> {
        let mut command = workspace.cargo(["test", "--workspace", "--exclude", "nllb-ebpf"]);
        command.args(["--no-run", "--quiet", "--message-format=json-render-diagnostics"]);
        command.stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command.output().context("cannot start cargo")?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(output.status.success().then(|| Self(executables(&text))))
    }

    /// The archive that every guest has.
    fn base(&self, scratch: &Path) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        let mut libraries = BTreeSet::new();
        for tool in TOOLS {
            let path = in_path(tool).with_context(|| format!("{tool} is not in PATH"))?;
            libraries.extend(libraries_of(&path)?);
            archive.file(&format!("/bin/{tool}"), &read(&path)?);
        }
        for (name, place) in [(GUEST, "/init".to_owned()), (LAB, format!("{PROGRAMS}/{LAB}"))] {
            let path = self.path(name)?;
            libraries.extend(libraries_of(path)?);
            archive.file(&place, &stripped(path, scratch)?);
        }
        for library in libraries {
            archive.file(&library, &read(Path::new(&library))?);
        }
        archive.file("/etc/hosts", b"127.0.0.1 localhost\n");
        archive.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/false\n");
        archive.directories("/root/");
        Ok(archive.finish())
    }

    /// The archive of one test program.
    fn program(&self, name: &str, scratch: &Path) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        archive.file(&format!("{PROGRAMS}/{name}"), &stripped(self.path(name)?, scratch)?);
        Ok(archive.finish())
    }

    fn path(&self, name: &str) -> Result<&PathBuf> {
        self.0.get(name).with_context(|| format!("cargo has built no program {name}"))
    }
}

/// Test programs and programs that cargo tells of.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let kind = message["target"]["kind"][0].as_str()?;
        let wanted = ["bin", "test"].contains(&kind);
        // The unit tests of a program are a program of its name as well.
        let unit_tests = kind == "bin" && message["profile"]["test"] == true;
        let path = message["executable"].as_str().filter(|_| wanted && !unit_tests)?;
        Some((message["target"]["name"].as_str()?.to_owned(), PathBuf::from(path)))
    };
    messages.lines().filter_map(executable).collect()
}

/// A program without what only debuggers read, which is nine tenths of it.
fn stripped(path: &Path, scratch: &Path) -> Result<Vec<u8>> {
    let to = scratch.join(path.file_name().context("no program")?);
    let status = Command::new("strip").arg("-o").arg(&to).arg(path).status();
    ensure!(status.context("cannot run strip")?.success(), "strip failed: {}", path.display());
    let content = read(&to)?;
    fs::remove_file(to)?;
    Ok(content)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    places.map(|place| place.join(program)).find(|path| path.is_file())
}

fn libraries_of(program: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    Ok(libraries(&String::from_utf8_lossy(&output.stdout)))
}

/// The paths in what `ldd` prints; a static program has none.
fn libraries(text: &str) -> Vec<String> {
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_where_ldd_finds_them_and_the_loader_where_programs_want_it() {
        let text = "\tlinux-vdso.so.1 (0x1)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x2)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        assert_eq!(
            libraries(text),
            ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"]
        );
        assert!(libraries("\tnot a dynamic executable\n").is_empty());
    }

    #[test]
    fn tests_and_programs_are_found_and_unit_tests_are_not() {
        let line = |kind: &str, name: &str, test: bool| {
            format!(
                "{{\"target\":{{\"kind\":[\"{kind}\"],\"name\":\"{name}\"}},\
                 \"profile\":{{\"test\":{test}}},\"executable\":\"/{name}-{test}\"}}\n"
            )
        };
        let text = line("test", "attach", true)
            + &line("bin", "nllb-vm", true)
            + &line("bin", "nllb-vm", false)
            + &line("lib", "nllb_lab", true)
            + "other\n";
        let found = executables(&text);
        let expected = [("attach", "/attach-true"), ("nllb-vm", "/nllb-vm-false")];
        let expected = expected.map(|(name, path)| (name.to_owned(), PathBuf::from(path)));
        assert_eq!(found, BTreeMap::from(expected));
    }
}
