//! What can be wrong with what a probe asks.

/// What is wrong with a question of a probe.
#[derive(Debug, thiserror::Error)]
pub enum QuestionProblem {
    /// Not a name that a name server can be asked for.
    #[error("\"{found}\" is not a DNS name: write it like kubernetes.default.svc.cluster.local")]
    QueryName {
        /// As written.
        found: String,
    },
    /// Something that is no port, nor `off`.
    #[error("\"{found}\" is not a port: write 1 to 65535, or off")]
    PortOrOff {
        /// As written.
        found: String,
    },
    /// Not a status of HTTP, nor a range of them.
    #[error("\"{found}\" is not a status: write one or a range in 200 to 599, like 204 or 200-299")]
    Statuses {
        /// As written.
        found: String,
    },
    /// A URL path without its slash, or with characters that cannot be sent.
    #[error("\"{found}\" is not a path of a URL: write it like /readyz")]
    UrlPath {
        /// As written.
        found: String,
    },
}
