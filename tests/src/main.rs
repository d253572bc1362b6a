//! The lab's own program: API servers, clients and relays run as processes of it.
use std::process::ExitCode;

fn main() -> ExitCode {
    nllb_lab::cli::main()
}
