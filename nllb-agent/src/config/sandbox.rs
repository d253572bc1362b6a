//! The `sandboxes` section: pods whose sockets no hook of this kernel sees, served on the node's side of their
//! cables.

use super::address::{node_name, one_of};
use super::error::{Fault, Problem, SandboxProblem};
use super::place::At;
use nllb_core::guests::Pattern;
use serde::Deserialize;
use serde_saphyr::Spanned;

/// Interfaces that are named in one list. Each is held against each pattern.
const MAX_PATTERNS: usize = 64;
/// The longest name of an annotation that the API server takes, without what stands before the slash.
const MAX_ANNOTATION: usize = 63;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawSandboxes {
    interfaces: Option<Spanned<Vec<Spanned<String>>>>,
    annotation: Option<Spanned<String>>,
    attach: Option<Spanned<String>>,
}

/// Which sandboxed pods are served, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandboxes {
    /// Those behind interfaces with such names.
    pub interfaces: Vec<Pattern>,
    /// Those whose annotation of this name is `true`, where the cluster is asked for this node's pods.
    pub annotation: Option<String>,
    /// By what the programs are attached.
    pub attach: GuestAttach,
}

/// By what programs are attached to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuestAttach {
    /// By tcx where the kernel has it, else by clsact.
    #[default]
    Auto,
    /// By links (Linux 6.6).
    Tcx,
    /// By filters of a qdisc.
    Clsact,
}

impl GuestAttach {
    const ALL: [Self; 3] = [Self::Auto, Self::Tcx, Self::Clsact];

    /// The word for it in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

impl Sandboxes {
    /// Checks the section; `asked` says whether the cluster can be asked.
    pub(super) fn check(raw: At<RawSandboxes>, asked: bool) -> Result<Self, Fault> {
        let At { place, value: RawSandboxes { interfaces, annotation, attach } } = raw;
        let annotation = match place.optional("annotation", annotation) {
            Some(raw) if !asked => {
                return Err(raw.fault(Problem::Needs { other: "controlPlane.kubernetes" }));
            }
            Some(raw) => Some(raw.check(self::annotation)?.value),
            None => None,
        };
        let interfaces = match place.optional("interfaces", interfaces) {
            Some(raw) if raw.value.is_empty() => {
                return Err(raw.fault(Problem::Empty { what: "name of an interface, like tap*" }));
            }
            Some(raw) if raw.value.len() > MAX_PATTERNS => {
                let count = raw.value.len();
                let problem = SandboxProblem::TooMany { count, max: MAX_PATTERNS };
                return Err(raw.fault(problem.into()));
            }
            Some(raw) => raw.items(),
            None if annotation.is_some() => Vec::new(),
            None => {
                let example = "names of interfaces, like [\"tap*\"], or an annotation of pods";
                return Err(place.named("interfaces").fault(Problem::Missing { example }));
            }
        };
        let mut patterns: Vec<Pattern> = Vec::new();
        for item in interfaces {
            let At { place, value } = item.check(pattern)?;
            if patterns.contains(&value) {
                return Err(place.fault(Problem::Twice { found: value.to_string() }));
            }
            patterns.push(value);
        }
        let attach = place.optional("attach", attach);
        let attach = attach.map(|raw| one_of(raw, &GuestAttach::ALL, GuestAttach::label));
        let attach = attach.transpose()?.map_or(GuestAttach::Auto, |attach| attach.value);
        Ok(Self { interfaces: patterns, annotation, attach })
    }
}

fn pattern(found: String) -> Result<Pattern, Problem> {
    Pattern::new(&found).map_err(|reason| SandboxProblem::Pattern { found, reason }.into())
}

/// The name of an annotation, as the API server takes it: a name, behind a DNS subdomain or not.
fn annotation(found: String) -> Result<String, Problem> {
    let (prefix, name) = match found.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, found.as_str()),
    };
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = name.len() <= MAX_ANNOTATION
        && name.chars().all(inside)
        && edge(name.chars().next())
        && edge(name.chars().next_back());
    if is_name && prefix.is_none_or(|prefix| node_name(prefix.to_owned()).is_ok()) {
        Ok(found)
    } else {
        Err(SandboxProblem::Annotation { found }.into())
    }
}
