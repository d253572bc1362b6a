//! The oldest and the newest kernel, as a part of `cargo xtask test`: packages are fetched while the compiler is
//! busy, and guests run when no other test does, since both would take each other's time.

use std::{env, time::Instant};

use anyhow::{Context, Result};

use super::{
    fetch::Fetched,
    kernels::Kernels,
    packages::{Store, Unreachable},
    schedule,
    table::Summary,
    userland::Built,
};
use crate::{
    setup::machine::{Machine, Purpose},
    workspace::Workspace,
};

/// What is there before anything is built.
pub(crate) struct Ends {
    kernels: Kernels,
    store: Store,
    /// Or why guests cannot be had here.
    fetched: Result<Fetched, String>,
}

/// What came of them.
pub(crate) enum Came {
    /// All were run.
    Run(Box<Summary>),
    /// None was: how many steps that would have been, and why.
    Skipped(usize, String),
}

impl Ends {
    /// Fetches both, where that is possible.
    pub(crate) fn fetch(workspace: &Workspace) -> Result<Self> {
        let kernels = Kernels::read(workspace)?;
        let store = Store::of(workspace);
        let fetched = match obstacle() {
            Some(why) => Err(why),
            None => match Fetched::fetch(&store, &kernels.ends()) {
                Err(error) if error.is::<Unreachable>() => Err(format!("{error:#}")),
                fetched => Ok(fetched?),
            },
        };
        Ok(Self { kernels, store, fetched })
    }

    /// Runs them, where they could be fetched.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<Came> {
        let Self { kernels, store, fetched } = self;
        let since = Instant::now();
        let boots = kernels.boots_called(None)?;
        match fetched {
            Err(why) => {
                let names: Vec<_> = kernels.ends().into_iter().map(|kernel| kernel.name).collect();
                let steps = boots.iter().map(|boot| Ok(boot.steps()?.len()));
                let steps = names.len() * steps.sum::<Result<usize>>()?;
                Ok(Came::Skipped(steps, format!("Linux {} in guests: {why}", names.join(" and "))))
            }
            Ok(fetched) => {
                let built = Built::build(workspace)?.context("what guests run cannot be built")?;
                let summary = schedule::run(fetched, &boots, &built, store.root(), since)?;
                Ok(Came::Run(Box::new(summary)))
            }
        }
    }
}

/// Why there is no use in trying.
fn obstacle() -> Option<String> {
    if Machine::look().debian.is_none() || env::consts::ARCH != "x86_64" {
        return Some("this is no Debian 12 or 13 on x86-64".to_owned());
    }
    let lacking = Machine::lacks_for(Purpose::Guests);
    let names: Vec<_> = lacking.iter().map(|tool| tool.program).collect();
    (!names.is_empty()).then(|| format!("not in PATH: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_can_be_fetched_every_step_of_both_is_skipped() {
        let workspace = Workspace::here().expect("a workspace");
        let kernels = Kernels::read(&workspace).expect("the file");
        let boots = kernels.boots_called(None).expect("some");
        let steps: usize = boots.iter().map(|boot| boot.steps().expect("steps").len()).sum();
        let fetched = Err("no network".to_owned());
        let ends = Ends { kernels, store: Store::of(&workspace), fetched };
        let came = ends.run(&workspace).expect("no failure");
        let Came::Skipped(skipped, why) = came else { panic!("they were run") };
        assert_eq!(skipped, 2 * steps);
        assert!(why.starts_with("Linux 5.10 and ") && why.ends_with(": no network"), "{why}");
    }
}
