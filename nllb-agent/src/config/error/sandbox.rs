//! What can be wrong with the choice of sandboxed pods.

use nllb_core::guests::PatternError;

/// What is wrong with `sandboxes`.
#[derive(Debug, thiserror::Error)]
pub enum SandboxProblem {
    /// Not what an interface can be called.
    #[error("\"{found}\" {reason}: write a name like eth1, or a pattern like tap* or veth??")]
    Pattern {
        /// As written.
        found: String,
        /// What is wrong with it.
        reason: PatternError,
    },
    /// Not what an annotation can be called.
    #[error(
        "\"{found}\" is no annotation: write its name alone, like nllb.dev/sandbox; pods say \"true\" there"
    )]
    Annotation {
        /// As written.
        found: String,
    },
    /// A list that is too long.
    #[error("the list has {count} patterns, more than {max}: let one stand for several, like tap*")]
    TooMany {
        /// How many.
        count: usize,
        /// Most of them.
        max: usize,
    },
}
