//! What keeps a machine from building the BPF object, and what to do about it. The text is all that
//! a reader gets who ran plain `cargo build`, so it holds whole commands.

use std::{fmt, path::PathBuf};

use super::{BPF_LINKER_VERSION, DEBIAN_PACKAGES, OLDEST_MINOR, Road, bpf_target};

/// One thing that a road lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// No compiler answers there, or one that is too old.
    Rustc(PathBuf),
    /// The active toolchain has no library sources.
    RustSrc(PathBuf),
    /// The distribution's compiler has no core for the BPF target.
    Core(PathBuf),
    /// No bpf-linker on this LLVM; the others that were found, with their LLVM.
    Linker { llvm_major: u32, found: Vec<(PathBuf, Option<u32>)> },
}

/// What each road lacks; neither list is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) rustup: Vec<Lack>,
    pub(crate) distribution: Vec<Lack>,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rustc(path) => {
                write!(f, "no Rust 1.{OLDEST_MINOR} or newer at {}", path.display())
            }
            Self::RustSrc(sysroot) => write!(f, "no library sources in {}", sysroot.display()),
            Self::Core(sysroot) => {
                write!(f, "no core for {} in {}", bpf_target(), sysroot.display())
            }
            Self::Linker { llvm_major, found } => {
                write!(f, "no bpf-linker on LLVM {llvm_major}")?;
                for (path, major) in found {
                    let major = major.map_or_else(|| "unknown".into(), |major| major.to_string());
                    write!(f, "; {} has LLVM {major}", path.display())?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rustup, distribution } = self;
        writeln!(f, "the BPF programs cannot be built here.")?;
        for (road, lacks) in [(Road::Rustup, rustup), (Road::Distribution, distribution)] {
            for lack in lacks {
                writeln!(f, "  {road} road: {lack}")?;
            }
        }
        let llvm = self.wanted_llvm();
        let [compiler, core] = DEBIAN_PACKAGES;
        let install = |features: &str| {
            format!("cargo install bpf-linker --version {BPF_LINKER_VERSION} --locked{features}")
        };
        let features = format!(" --no-default-features --features llvm-{llvm}");
        writeln!(f, "On Debian 12 or 13, `cargo xtask setup` as root installs it, or by hand:")?;
        writeln!(f, "  apt-get install --no-install-recommends {compiler} {core} llvm-{llvm}-dev")?;
        writeln!(f, "  LLVM_PREFIX=/usr/lib/llvm-{llvm} {}", install(&features))?;
        writeln!(f, "On other systems:")?;
        writeln!(f, "  rustup component add rust-src")?;
        writeln!(f, "  with LLVM {llvm} and its headers: {}", install(&features))?;
        write!(f, "  (or a released binary of bpf-linker on LLVM {llvm}, anywhere in PATH)")
    }
}

impl Missing {
    /// The LLVM for which a linker is wanted: the distribution compiler's, else the active one's.
    /// Debian's compiler with a core for BPF is on LLVM 22.
    pub(crate) fn wanted_llvm(&self) -> u32 {
        let wanted = |lack: &Lack| match lack {
            Lack::Linker { llvm_major, .. } => Some(*llvm_major),
            Lack::Rustc(_) | Lack::RustSrc(_) | Lack::Core(_) => None,
        };
        self.distribution.iter().chain(&self.rustup).find_map(wanted).unwrap_or(22)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_the_commands_for_the_llvm_in_question() {
        let linker = PathBuf::from("/opt/bpf-linker");
        let text = Missing {
            rustup: vec![Lack::RustSrc("/opt/rust".into())],
            distribution: vec![Lack::Linker { llvm_major: 23, found: vec![(linker, Some(21))] }],
        }
        .to_string();
        assert!(text.contains("rustup road: no library sources in /opt/rust"), "{text}");
        assert!(text.contains("no bpf-linker on LLVM 23; /opt/bpf-linker has LLVM 21"), "{text}");
        assert!(text.contains("rustc-web libstd-rust-web-dev-bpf llvm-23-dev"), "{text}");
        assert!(text.contains("--features llvm-23"), "{text}");
    }
}
