//! What runs in a guest: the first process, the driver of the steps, and the steps that are not tests of
//! the lab. They do to the whole machine what no test may do to a host, so elsewhere it refuses.

mod checks;
mod drive;
mod features;
mod init;
mod machine;
mod private;
mod protocol;

use std::io::{Write as _, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use nllb_lab::verifier;

use protocol::{Line, PLAN};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("nllb-vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<ExitCode> {
    let called = std::env::args().next().unwrap_or_default();
    let private = private::NAMES.iter().find(|(name, _)| called.ends_with(&format!("/{name}")));
    if private.is_none() && std::process::id() == 1 {
        init::run();
    }
    ensure!(
        Path::new(PLAN).is_file(),
        "not in a guest: this program changes the whole machine; cargo xtask vm-test runs it in one"
    );
    if let Some((_, own_pids)) = private {
        private::become_private(*own_pids, arguments)?;
    }
    match arguments {
        ["drive"] => drive::run()?,
        ["features"] => features::tell_all()?,
        ["verifier"] => {
            // The programs go with it.
            let _machine = machine::Machine::start("verifier")?;
            for verifier::Cost { program, verified, remembered } in verifier::costs()? {
                tell(&Line::Verified { program, instructions: verified, remembered })?;
            }
        }
        ["check", name] => {
            let check = checks::ALL.iter().find(|(known, _)| known == name);
            let (_, check) = check.with_context(|| format!("no check is called {name}"))?;
            check()?;
        }
        other => bail!("nllb-vm does not know {other:?}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// For the driver, which passes it on.
fn tell(line: &Line) -> Result<()> {
    writeln!(stdout(), "{}", serde_json::to_string(line)?).context("nobody listens")
}
