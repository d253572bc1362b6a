//! The commands of the guides, run beside an agent.

mod operations;
mod shell;
mod shown;
mod troubleshooting;
