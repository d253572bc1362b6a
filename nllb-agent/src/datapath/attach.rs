//! Attaches the programs, and proves that they are effective.
//!
//! The classic failure of this field is an attachment that is silently partial. So what is effective
//! on the cgroups of the processes that matter is asked of the kernel, again and again.

mod cgroup;
mod hook;
pub mod inspect;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::sys;

pub use cgroup::{Cgroup, CgroupChoice, Process, kubelets, still_kubelets};
pub use hook::Hook;

/// Why the programs could not be attached.
#[derive(Debug, Error)]
pub enum AttachError {
    /// No cgroup2 hierarchy is mounted.
    #[error(
        "no cgroup2 hierarchy is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup/unified"
    )]
    NoCgroup2,
    /// The cgroup could not be opened.
    #[error("cgroup {path}: {source}")]
    Cgroup {
        /// The cgroup.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Somebody attached a program that excludes all others.
    #[error(
        "cgroup {cgroup}: {hook} is taken by {owner}, attached so that it excludes all others; detach it (bpftool cgroup detach) or attach it with the multi flag"
    )]
    Exclusive {
        /// The cgroup where it sits.
        cgroup: PathBuf,
        /// Name of the hook.
        hook: &'static str,
        /// The other program.
        owner: String,
    },
    /// The kernel refused.
    #[error("cannot {verb} {hook}: {source}")]
    Kernel {
        /// What was tried.
        verb: &'static str,
        /// Name of the hook.
        hook: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// A loaded program, ready to attach.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loaded<'a> {
    pub(super) hook: Hook,
    pub(super) fd: BorrowedFd<'a>,
    pub(super) id: u32,
}

/// Whether a hook was found attached or is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A pinned link was there; its program was replaced without a gap.
    Adopted,
    /// There was none for this cgroup.
    New,
}

/// One attached program.
#[derive(Debug)]
struct AttachedLink {
    hook: Hook,
    link: OwnedFd,
    program: u32,
    origin: Origin,
}

/// The attached programs.
#[derive(Debug)]
pub struct Attachment {
    cgroup: Cgroup,
    directory: PathBuf,
    links: Vec<AttachedLink>,
}

impl Attachment {
    /// Attaches `programs` to `cgroup`; links pinned in `directory` get the new programs. When one is
    /// refused, those that were new go again: half a data path is worse than none.
    pub(super) fn establish(
        programs: &[Loaded<'_>],
        cgroup: Cgroup,
        directory: &Path,
    ) -> Result<Self, AttachError> {
        let mut attachment = Self { cgroup, directory: directory.to_owned(), links: Vec::new() };
        if let Err(error) = attachment.repair(programs) {
            attachment.withdraw();
            return Err(error);
        }
        Ok(attachment)
    }

    /// Unpins the links that were not there before; closing them detaches them.
    fn withdraw(self) {
        for link in self.links.iter().filter(|link| link.origin == Origin::New) {
            // The reason for withdrawing is what is reported.
            let _ = fs::remove_file(link.hook.pin(&self.directory));
        }
    }

    /// Detaches these hooks and removes their pins, those that an earlier agent has left included.
    pub(super) fn remove(&mut self, hooks: &[Hook]) -> Result<(), AttachError> {
        self.links.retain(|link| !hooks.contains(&link.hook));
        for hook in hooks {
            let pin = hook.pin(&self.directory);
            // At once, and not some time after the last reference. One that is gone ends with its pin.
            let _not_attached = sys::open_pin(&pin).and_then(sys::link_detach);
            match fs::remove_file(&pin) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    let (verb, hook) = ("unpin the link of", hook.label());
                    return Err(AttachError::Kernel { verb, hook, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Attaches what is not attached as it should be.
    pub(super) fn repair(&mut self, programs: &[Loaded<'_>]) -> Result<(), AttachError> {
        for program in programs {
            let link = attach(program, &self.cgroup, &self.directory)?;
            self.links.retain(|link| link.hook != program.hook);
            self.links.push(link);
        }
        Ok(())
    }

    /// The cgroup attached to.
    #[must_use]
    pub const fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Whether every link was there before.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.links.iter().all(|link| link.origin == Origin::Adopted)
    }

    /// Asks the kernel whether the programs are where they should be.
    #[must_use]
    pub fn verify(&self, kubelets: &[Process]) -> Coverage {
        let hooks = self
            .links
            .iter()
            .map(|link| (link.hook, link.program, self.check_link(link)))
            .collect();
        let watched = self
            .cgroup
            .watched(kubelets)
            .into_iter()
            .map(|(whose, path)| {
                let missing = self.missing(&path);
                Watched { whose, path, missing }
            })
            .collect();
        Coverage { hooks, watched, shortcomings: self.cgroup.shortcomings() }
    }

    fn check_link(&self, link: &AttachedLink) -> Result<(), String> {
        let info = sys::link_info(&link.link).map_err(|error| error.to_string())?;
        if info.cgroup != self.cgroup.id {
            return Err(format!(
                "attached to cgroup {} instead of {}",
                info.cgroup, self.cgroup.id
            ));
        }
        if info.program != link.program {
            return Err(format!("runs program {} instead of {}", info.program, link.program));
        }
        if !link.hook.pin(&self.directory).exists() {
            return Err("its pin is gone".to_owned());
        }
        Ok(())
    }

    /// Hooks that are not effective for the sockets of a cgroup, or why that is not known.
    fn missing(&self, path: &Path) -> Result<Vec<Hook>, String> {
        let dir = File::open(path).map_err(|error| error.to_string())?;
        let mut missing = Vec::new();
        for link in &self.links {
            let effective = sys::query(&dir, link.hook.attach_type(), true)
                .map_err(|error| error.to_string())?;
            if !effective.programs.contains(&link.program) {
                missing.push(link.hook);
            }
        }
        Ok(missing)
    }
}

/// The hooks whose link is pinned in `directory` and still attached, with or without an agent.
#[must_use]
pub fn standing(directory: &Path) -> Vec<Hook> {
    let is_attached = |hook: &Hook| {
        let link = sys::open_pin(&hook.pin(directory));
        // A link outlives its cgroup, and then has none.
        link.and_then(sys::link_info).is_ok_and(|info| info.cgroup != 0)
    };
    Hook::expected(directory).filter(is_attached).collect()
}

/// What the kernel says of the attachment.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// Per hook: the program's id, and what is wrong with the link.
    pub hooks: Vec<(Hook, u32, Result<(), String>)>,
    /// Per cgroup that matters: what does not run there.
    pub watched: Vec<Watched>,
    /// What keeps the data path from serving the whole host, one line each.
    pub shortcomings: Vec<String>,
}

impl Coverage {
    /// Whether everything is where it should be.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.attached() && self.shortcomings.is_empty()
    }

    /// Whether the links hold and are effective. A cgroup that could not be read counts as well:
    /// processes come and go while we look.
    #[must_use]
    pub fn attached(&self) -> bool {
        self.hooks.iter().all(|(_, _, state)| state.is_ok())
            && self
                .watched
                .iter()
                .all(|watched| watched.missing.as_ref().map_or(true, |missing| missing.is_empty()))
    }
}

/// A cgroup whose sockets must be covered.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Whose it is, for a reader.
    pub whose: String,
    /// Its path.
    pub path: PathBuf,
    /// Hooks that are not effective there, or why that is not known.
    pub missing: Result<Vec<Hook>, String>,
}

fn attach(
    program: &Loaded<'_>,
    cgroup: &Cgroup,
    directory: &Path,
) -> Result<AttachedLink, AttachError> {
    let Loaded { hook, fd, id } = *program;
    let pin = hook.pin(directory);
    let failed = |verb| move |source| AttachError::Kernel { verb, hook: hook.label(), source };
    if let Ok(link) = sys::open_pin(&pin) {
        let same = sys::link_info(&link).is_ok_and(|info| info.cgroup == cgroup.id);
        if same {
            sys::link_update(&link, fd).map_err(failed("replace the program of"))?;
            return Ok(AttachedLink { hook, link, program: id, origin: Origin::Adopted });
        }
    }
    let link = sys::link_create(fd, &cgroup.dir, hook.attach_type()).map_err(|source| {
        let refused = source.raw_os_error() == Some(libc::EPERM);
        let owner = if refused { exclusive_owner(cgroup, hook) } else { None };
        owner.unwrap_or_else(|| failed("attach")(source))
    })?;
    // A pin of a link on another cgroup goes only now, when its successor works.
    match fs::remove_file(&pin) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(failed("unpin the old link of")(source));
        }
        _ => {}
    }
    sys::pin(&link, &pin).map_err(failed("pin the link of"))?;
    Ok(AttachedLink { hook, link, program: id, origin: Origin::New })
}

/// Finds the program on the cgroup or above it that excludes all others.
fn exclusive_owner(cgroup: &Cgroup, hook: Hook) -> Option<AttachError> {
    cgroup.path.ancestors().take_while(|path| path.starts_with(&cgroup.mount)).find_map(|path| {
        let dir = File::open(path).ok()?;
        let attached = sys::query(dir.as_fd(), hook.attach_type(), false).ok()?;
        let &[first, ..] = attached.programs.as_slice() else {
            return None;
        };
        (attached.flags == 0).then(|| AttachError::Exclusive {
            cgroup: path.to_owned(),
            hook: hook.label(),
            owner: describe(first),
        })
    })
}

fn describe(program: u32) -> String {
    let name = aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .find(|info| info.id() == program)
        .and_then(|info| info.name_as_str().map(str::to_owned));
    match name {
        Some(name) if !name.is_empty() => format!("program {name} (id {program})"),
        _ => format!("the program with id {program}"),
    }
}
