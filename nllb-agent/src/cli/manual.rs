//! Completions for shells and manual pages, both from the command line itself.

use super::{Cli, Failure};
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::io;
use std::path::Path;

/// Writes the completions of a shell.
pub(super) fn completion(shell: Shell, out: &mut dyn io::Write) -> Result<(), Failure> {
    // In memory: the library panics when it cannot write.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "nllb", &mut text);
    Ok(out.write_all(&text)?)
}

/// Writes a page for the program and one for each command into a directory.
pub(super) fn pages(directory: &Path, out: &mut dyn io::Write) -> Result<(), Failure> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Cli::command(), directory)?;
    writeln!(out, "{}: written", directory.display())?;
    Ok(())
}
