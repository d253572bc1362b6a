//! Where the repository is and how cargo is called in it.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

/// The repository that this xtask was built from.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    cargo: OsString,
}

impl Workspace {
    pub(crate) fn here() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().context("xtask is not inside a workspace")?.to_owned();
        if !root.join("Cargo.toml").is_file() {
            bail!("{} is not there any more: run xtask through cargo", root.display());
        }
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Ok(Self { root, cargo })
    }

    /// The cargo that runs us, so that a choice like `cargo +nightly` holds for all that follows.
    pub(crate) fn cargo_program(&self) -> &OsString {
        &self.cargo
    }

    pub(crate) fn cargo<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = Command::new(&self.cargo);
        // What cargo told us of our own package. Build scripts that look at it would run anew, since a
        // cargo that the user starts has none of it.
        let ours = |name: &OsString| {
            let name = name.to_string_lossy();
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        };
        for (name, _) in env::vars_os().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        command.current_dir(&self.root).args(arguments);
        command
    }

    /// The outer target directory.
    pub(crate) fn target(&self) -> PathBuf {
        self.root.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
    }

    /// For what is built beside the outer target directory, because its flags differ.
    pub(crate) fn side_target(&self, name: &str) -> PathBuf {
        self.target().join(name)
    }

    /// Builds the agent as it is shipped, static; nothing when that fails. Only the last step of the build is
    /// static, so that everything before it is shared with other builds. With `dev` it is not optimised.
    pub(crate) fn shipped_program(&self, dev: bool) -> Result<Option<PathBuf>> {
        let mut command = self.cargo(["rustc", "--package", "nllb-agent", "--bin", "nllb"]);
        command.args((!dev).then_some("--release"));
        // The names of functions are a seventh of it, and a panic names its place without them.
        command.args(["--", "-Ctarget-feature=+crt-static", "-Cstrip=symbols"]);
        let profile = if dev { "debug" } else { "release" };
        Ok(succeeds(&mut command)?.then(|| self.side_target(profile).join("nllb")))
    }

    /// Builds a program of `package` for release; false when that fails.
    fn builds_for_release(&self, package: &str, program: &str) -> Result<bool> {
        let selection = ["--release", "--package", package, "--bin", program];
        succeeds(self.cargo(["build"]).args(selection))
    }

    /// Builds `package` for release, then becomes its program, so that signals and the exit
    /// status are the program's own.
    pub(crate) fn become_program(
        &self,
        package: &str,
        program: &str,
        arguments: &[OsString],
    ) -> Result<ExitCode> {
        if !self.builds_for_release(package, program)? {
            return Ok(ExitCode::FAILURE);
        }
        let selection = ["--release", "--package", package, "--bin", program];
        let mut command = self.cargo(["run", "--quiet"]);
        command.args(selection).arg("--").args(arguments);
        // Relative paths on the command line are the caller's.
        command.current_dir(env::current_dir()?);
        Err(command.exec()).context("cargo cannot be started")
    }
}

/// Runs a command with our own input and output.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    let program = command.get_program().to_owned();
    let status = command.status();
    Ok(status.with_context(|| format!("cannot start {}", program.display()))?.success())
}

/// A line about what is done next, on stderr: stdout is for results.
pub(crate) fn say(line: &str) {
    // Nobody reads it when stderr is closed, and that is no reason to stop.
    let _ = writeln!(io::stderr(), "{line}");
}
