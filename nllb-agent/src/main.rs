//! The agent's program. Everything is in the library, so that the lab can run the agent too.

use std::process::ExitCode;

fn main() -> ExitCode {
    nllb_agent::cli::main()
}
