//! How the program ends, as scripts see it.

use std::process::ExitCode;

/// An exit code with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Success,
    /// Something that should not happen.
    Unexpected,
    /// The configuration or the command line is wrong; nothing was applied.
    Configuration,
    /// It works, and something is not as it should be.
    Degraded,
    /// No backend is healthy; connects go to whoever may still answer.
    Panic,
    /// The data path: kernel, privileges, attachment.
    Datapath,
    /// The agent cannot be reached.
    Unreachable,
    /// What was asked is not done; nothing was changed.
    Refused,
    /// No Kubernetes distribution was found on the host.
    NoDistribution,
    /// More than one was.
    SeveralDistributions,
    /// What was examined did not pass.
    Failed,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Unexpected => 1,
            Self::Configuration => 2,
            Self::Degraded => 3,
            Self::Panic => 4,
            Self::Datapath => 5,
            Self::Unreachable => 6,
            Self::Refused => 7,
            Self::NoDistribution => 8,
            Self::SeveralDistributions => 9,
            Self::Failed => 10,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
