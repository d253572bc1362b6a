//! `cargo xtask setup`: finds what the build and the tests need and installs only what is missing.
//! Every other command runs it first, so that nobody has to read a list of prerequisites; when
//! nothing is missing it costs a tenth of a second and prints nothing.

pub(crate) mod apt;
mod linker;
pub(crate) mod machine;
mod unpacked;

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    toolchain::{self, DEBIAN_PACKAGES, Lack, Missing, Toolchain},
    workspace::{Workspace, say},
};
use apt::Apt;
use machine::{Machine, Purpose, Tool};

/// Something is missing and cannot be installed from here.
const EXIT_MISSING: u8 = 3;

/// `cargo xtask setup`.
pub(crate) fn command(workspace: &Workspace, check: bool) -> Result<ExitCode> {
    let machine = Machine::look();
    let everything = Purpose::Deploy;
    let found = if check {
        State::look(&machine, everything)
    } else {
        add_for_tests(workspace);
        install(workspace, &machine, everything)?
    };
    Ok(match found.complete() {
        Ok(toolchain) => {
            println!("nothing is missing; {toolchain}");
            ExitCode::SUCCESS
        }
        Err(lacking) => lacking.report(&machine),
    })
}

/// What the other commands start with: the toolchain, or the exit code of a set-up that could not
/// be completed and has said why.
pub(crate) fn ensure(
    workspace: &Workspace,
    purpose: Purpose,
) -> Result<Result<Toolchain, ExitCode>> {
    let machine = Machine::look();
    Ok(install(workspace, &machine, purpose)?
        .complete()
        .map_err(|lacking| lacking.report(&machine)))
}

/// Adds what only tests use, and can do without.
pub(crate) fn add_for_tests(workspace: &Workspace) {
    if Machine::look().may_use_apt() {
        unpacked::ensure(workspace, &mut Apt::default());
    }
}

/// Adds the peers of `bench peers`, which leaves out those that are not there.
pub(crate) fn add_peers(workspace: &Workspace) {
    let machine = Machine::look();
    if let Some(debian) = machine.debian.filter(|_| machine.may_use_apt()) {
        unpacked::ensure_peers(workspace, debian, &mut Apt::default());
    }
}

/// What is there and what is not.
struct State {
    toolchain: Result<Toolchain, Missing>,
    tools: Vec<Tool>,
}

impl State {
    fn look(machine: &Machine, purpose: Purpose) -> Self {
        Self { toolchain: toolchain::find(), tools: machine.missing_tools(purpose) }
    }

    fn complete(self) -> Result<Toolchain, Self> {
        match self.toolchain {
            Ok(toolchain) if self.tools.is_empty() => Ok(toolchain),
            toolchain => Err(Self { toolchain, tools: self.tools }),
        }
    }

    fn report(self, machine: &Machine) -> ExitCode {
        let Self { toolchain, tools } = self;
        if let Err(missing) = toolchain {
            say(&missing.to_string());
        }
        if !tools.is_empty() {
            let names: Vec<_> = tools.iter().map(|tool| tool.program).collect();
            say(&format!("programs that are not in PATH: {}", names.join(", ")));
            let packages: Vec<_> = tools.iter().flat_map(|tool| tool.packages).copied().collect();
            say(&if machine.debian.is_some() {
                format!("  apt-get install --no-install-recommends {}", packages.join(" "))
            } else {
                format!("  they are in packages like {}", packages.join(", "))
            });
        }
        ExitCode::from(EXIT_MISSING)
    }
}

/// Takes every step that this machine allows, then looks again.
fn install(workspace: &Workspace, machine: &Machine, purpose: Purpose) -> Result<State> {
    let mut state = State::look(machine, purpose);
    let mut apt = machine.may_use_apt().then(Apt::default);
    if let (Some(apt), false) = (&mut apt, state.tools.is_empty()) {
        let packages = state.tools.iter().flat_map(|tool| tool.packages).copied();
        let (newer, own): (Vec<_>, Vec<_>) =
            packages.partition(|package| machine.is_too_old_for(package));
        if !own.is_empty() {
            apt.install(own);
        }
        for package in newer {
            apt.install_newer(package)?;
        }
        state.tools = machine.missing_tools(purpose);
    }
    if let Err(missing) = state.toolchain {
        state.toolchain = open_a_road(workspace, machine, &mut apt, missing)?;
        if let Ok(toolchain) = &state.toolchain {
            say(&format!("set-up: {toolchain}"));
        }
    }
    Ok(state)
}

/// A step that may open a road; false when there is nothing that it could do.
type Step = fn(&Workspace, &Machine, &mut Option<Apt>, &Missing) -> Result<bool>;

/// Rustup's road first, as [`toolchain::find`] prefers it and it touches the least. On the other the
/// linker follows the compiler, whose LLVM is known only when it is there.
const STEPS: [Step; 4] = [
    |workspace, machine, _, missing| {
        let lacks_sources = missing.rustup.iter().any(|lack| matches!(lack, Lack::RustSrc(_)));
        Ok(lacks_sources && machine.add_rust_src(workspace))
    },
    |workspace, _, apt, missing| only_linker(workspace, apt, &missing.rustup),
    |_, _, apt, missing| {
        let has_compiler = matches!(*missing.distribution, [Lack::Linker { .. }]);
        let Some(apt) = apt.as_mut().filter(|_| !has_compiler) else {
            return Ok(false);
        };
        apt.install(DEBIAN_PACKAGES);
        Ok(true)
    },
    |workspace, _, apt, missing| only_linker(workspace, apt, &missing.distribution),
];

fn only_linker(workspace: &Workspace, apt: &mut Option<Apt>, lacks: &[Lack]) -> Result<bool> {
    match *lacks {
        [Lack::Linker { llvm_major, .. }] => linker::install(workspace, apt.as_mut(), llvm_major),
        _ => Ok(false),
    }
}

fn open_a_road(
    workspace: &Workspace,
    machine: &Machine,
    apt: &mut Option<Apt>,
    mut missing: Missing,
) -> Result<Result<Toolchain, Missing>> {
    for step in STEPS {
        if step(workspace, machine, apt, &missing)? {
            missing = match toolchain::find() {
                Ok(toolchain) => return Ok(Ok(toolchain)),
                Err(missing) => missing,
            };
        }
    }
    Ok(Err(missing))
}
