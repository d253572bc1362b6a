//! `nllb uninstall`: removes what outlives the agent.

use super::Failure;
use crate::datapath::{self, Removal};
use crate::driver::{self, Unresolved};
use crate::exit::Exit;
use crate::network::vicinity::Vicinity;
use std::io;
use std::path::PathBuf;

pub(super) fn run(
    config: Option<PathBuf>,
    bpffs: Option<PathBuf>,
    out: &mut dyn io::Write,
) -> Result<(), Failure> {
    let directory = match (config, bpffs) {
        (Some(file), _) => {
            // What is to be removed may be all that is left of an installation.
            let config = driver::load(&file, Unresolved::Remember).map_err(|error| {
                let line = format!("{error} (--bpffs DIR works without the configuration)");
                Failure { exit: Exit::Configuration, line }
            })?;
            config.datapath.bpffs
        }
        (None, Some(directory)) => directory,
        (None, None) => PathBuf::from(crate::config::DEFAULT_BPFFS),
    };
    // Which addresses they are is in the maps that are about to go.
    let addresses = datapath::vip::addresses(&datapath::pin_directory(&directory));
    let Removal { removed, left } =
        datapath::uninstall(&directory).map_err(|error| Failure::new(Exit::Datapath, &error))?;
    for vip in addresses {
        let taken = Vicinity::open().and_then(|mut vicinity| vicinity.remove_address(vip));
        taken.map_err(|error| Failure {
            exit: Exit::Datapath,
            line: format!("{vip} stays on lo: {error}"),
        })?;
        writeln!(out, "removed {vip} from lo")?;
    }
    if removed.is_empty() {
        writeln!(out, "{}: nothing to remove", directory.display())?;
    }
    for path in removed {
        writeln!(out, "removed {}", path.display())?;
    }
    for path in left {
        writeln!(out, "left {}: nothing that nllb puts there", path.display())?;
    }
    Ok(())
}
