//! Finds how the BPF object can be built here. One file for two readers: `nllb-agent/build.rs`
//! includes it by path and xtask has it as a module, so that both always agree; hence only std.
//!
//! The BPF target ships with no compiler that rustup installs. Two roads give it a `core`:
//! rustup's rust-src (cargo builds core itself, `-Z build-std`), and a distribution's compiler
//! with core already built. Either needs a bpf-linker whose LLVM has the compiler's major: older
//! ones cannot read its bitcode, newer ones may and may not.

use std::{
    env,
    ffi::OsStr,
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

// The path holds for both readers: it counts from this file's directory.
#[path = "toolchain/missing.rs"]
mod missing;

pub(crate) use missing::{Lack, Missing};

/// How it is optimised: for speed, and not for size as the agent is.
const PROFILE: &str = "bpf";

/// The release of bpf-linker that set-up installs.
pub(crate) const BPF_LINKER_VERSION: &str = "0.13.0";
/// The Debian packages of the distribution road, without LLVM, whose major follows the compiler's.
pub(crate) const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
/// Where a distribution keeps its compiler; a rustup proxy is never there.
const DISTRIBUTION_RUSTC: &str = "/usr/bin/rustc";
/// The oldest Rust that builds this workspace: 1.87.
const OLDEST_MINOR: u32 = 87;
/// The package that is built.
const PACKAGE: &str = "nllb-ebpf";

/// Where the compiler and its `core` come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Road {
    /// The active toolchain has its library sources: cargo builds core.
    Rustup,
    /// The distribution's compiler has core for BPF, already built.
    Distribution,
}

/// A compiler and a linker that fit each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    pub(crate) road: Road,
    pub(crate) rustc: PathBuf,
    /// Whether cargo has to build core.
    pub(crate) build_std: bool,
    pub(crate) llvm_major: u32,
    /// The bpf-linker whose LLVM fits.
    pub(crate) linker: PathBuf,
}

/// Prefers the active toolchain, because it is the one the developer chose.
pub(crate) fn find() -> Result<Toolchain, Missing> {
    let active = env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
    let rustup = match try_road(Road::Rustup, &active) {
        Ok(toolchain) => return Ok(toolchain),
        Err(lacks) => lacks,
    };
    match try_road(Road::Distribution, Path::new(DISTRIBUTION_RUSTC)) {
        Ok(toolchain) => Ok(toolchain),
        Err(distribution) => Err(Missing { rustup, distribution }),
    }
}

impl Toolchain {
    /// The command that builds the object from the workspace in `workspace` into `target_dir`,
    /// for the machine that the outer cargo builds for, or this one outside a build script.
    pub(crate) fn command(&self, cargo: &OsStr, workspace: &Path, target_dir: &Path) -> Command {
        let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| env::consts::ARCH.into());
        let flags = [
            // aya-ebpf's register names follow the machine on which the programs run.
            format!("--cfg=bpf_target_arch=\"{arch}\""),
            // BTF is made from the debug information.
            "-Cdebuginfo=2".into(),
            "-Clink-arg=--btf".into(),
            format!("-Clinker={}", self.linker.display()),
        ];
        let mut command = Command::new(cargo);
        for (name, _) in env::vars_os().filter(|(name, _)| leaks(name)) {
            command.env_remove(name);
        }
        command
            .current_dir(workspace)
            .args(["build", "--profile", PROFILE, "--package", PACKAGE, "--target", bpf_target()])
            .arg("--target-dir")
            .arg(target_dir)
            .env("RUSTC", &self.rustc)
            // The BPF target is unstable on every road, as is build-std.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        if self.build_std {
            command.args(["-Z", "build-std=core"]);
        }
        command
    }

    /// Where [`Toolchain::command`] puts the object.
    pub(crate) fn object(&self, target_dir: &Path) -> PathBuf {
        target_dir.join(bpf_target()).join(PROFILE).join(PACKAGE)
    }
}

/// Set-up installs a bpf-linker in a directory of its own below this, with its program in `bin`.
/// `None` without a home directory.
pub(crate) fn cache_root() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("nllb/toolchain"))
}

fn try_road(road: Road, rustc: &Path) -> Result<Toolchain, Vec<Lack>> {
    let answer = output_of(Command::new(rustc).arg("-vV"));
    let sysroot = output_of(Command::new(rustc).args(["--print", "sysroot"]));
    let answer = answer.filter(|text| is_new_enough(text));
    let (Some(llvm_major), Some(sysroot)) = (answer.as_deref().and_then(rustc_llvm_major), sysroot)
    else {
        return Err(vec![Lack::Rustc(rustc.into())]);
    };
    let sysroot = PathBuf::from(sysroot.trim());
    let mut lacks = match road {
        Road::Rustup if has_library_sources(&sysroot) => vec![],
        Road::Rustup => vec![Lack::RustSrc(sysroot.clone())],
        Road::Distribution if has_core(&sysroot) => vec![],
        Road::Distribution => vec![Lack::Core(sysroot.clone())],
    };
    match find_linker(llvm_major) {
        Ok(linker) if lacks.is_empty() => {
            // Past the proxy: what a rustup proxy runs depends on the directory it is called in.
            let real = sysroot.join("bin/rustc");
            let rustc = if real.is_file() { real } else { rustc.into() };
            let build_std = road == Road::Rustup;
            return Ok(Toolchain { road, rustc, build_std, llvm_major, linker });
        }
        Ok(_) => {}
        Err(lack) => lacks.push(lack),
    }
    Err(lacks)
}

fn has_library_sources(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
}

fn has_core(sysroot: &Path) -> bool {
    let directory = sysroot.join("lib/rustlib").join(bpf_target()).join("lib");
    let is_core = |name: &OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    };
    list(&directory).iter().any(|path| path.file_name().is_some_and(is_core))
}

/// The first fitting bpf-linker of PATH, of cargo's own directory, of set-up's cache.
fn find_linker(llvm_major: u32) -> Result<PathBuf, Lack> {
    let mut found = Vec::new();
    for candidate in linker_candidates() {
        if !candidate.is_file() || found.iter().any(|(known, _)| *known == candidate) {
            continue;
        }
        match linker_llvm_major(&candidate) {
            Some(major) if major == llvm_major => return Ok(candidate),
            other => found.push((candidate, other)),
        }
    }
    Err(Lack::Linker { llvm_major, found })
}

fn linker_candidates() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    directories.extend(env::var_os("CARGO_HOME").map(|home| PathBuf::from(home).join("bin")));
    directories.extend(env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo/bin")));
    let mut cached = cache_root().map(|root| list(&root)).unwrap_or_default();
    // What set-up installs now goes before what it installed for an earlier commit.
    cached.sort_by_key(|path| !path.to_string_lossy().contains(BPF_LINKER_VERSION));
    directories.extend(cached.into_iter().map(|entry| entry.join("bin")));
    directories.into_iter().map(|directory| directory.join("bpf-linker")).collect()
}

/// Its version is not its LLVM's, and it tells the latter only through LLVM's own option parser;
/// the dynamic loader tells it sooner where LLVM is a shared library.
fn linker_llvm_major(linker: &Path) -> Option<u32> {
    let loaded = output_of(Command::new("ldd").arg(linker));
    loaded.as_deref().and_then(ldd_llvm_major).or_else(|| {
        // LLVM prints its version and exits before it would read or write anything.
        let nowhere = env::temp_dir().join("nllb-no-such-directory/object");
        let mut command = Command::new(linker);
        command.args(["--llvm-args=--version", "--output"]).arg(&nowhere).arg(&nowhere);
        output_of(&mut command).as_deref().and_then(llvm_version_major)
    })
}

/// From `rustc -vV`: `release: 1.96.0`.
fn is_new_enough(text: &str) -> bool {
    let minor = |line: &str| leading_number(line.strip_prefix("release: 1.")?);
    text.lines().find_map(minor).is_some_and(|minor| minor >= OLDEST_MINOR)
}

/// From `rustc -vV`: `LLVM version: 22.1.8`.
fn rustc_llvm_major(text: &str) -> Option<u32> {
    text.lines().find_map(|line| leading_number(line.strip_prefix("LLVM version: ")?))
}

/// From `ldd`: `libLLVM.so.22.1 => …`, `libLLVM-19.so.1 => …`, rustc's `libLLVM-22-rust-…`.
fn ldd_llvm_major(text: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let name = line.split_whitespace().next()?.rsplit('/').next()?;
        let rest = name.strip_prefix("libLLVM")?;
        leading_number(rest.strip_prefix(".so.").or_else(|| rest.strip_prefix('-'))?)
    })
}

/// From LLVM's `--version`: `Debian LLVM version 22.1.8`.
fn llvm_version_major(text: &str) -> Option<u32> {
    text.lines().find_map(|line| leading_number(line.split_once("LLVM version ")?.1))
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// What an outer cargo sets for its own build, or a developer for host builds.
fn leaks(name: &OsStr) -> bool {
    let beginnings = "RUSTFLAGS RUSTC_ CARGO_BUILD_RUST CARGO_BUILD_TARGET CARGO_CFG_ \
                      CARGO_INCREMENTAL CARGO_PROFILE_ CARGO_TARGET_";
    let name = name.to_string_lossy();
    beginnings.split(' ').any(|beginning| name.starts_with(beginning))
}

/// BPF runs in the byte order of its machine.
fn bpf_target() -> &'static str {
    let endian = env::var("CARGO_CFG_TARGET_ENDIAN");
    match endian.as_deref() {
        Ok("big") => "bpfeb-unknown-none",
        Err(_) if cfg!(target_endian = "big") => "bpfeb-unknown-none",
        Ok(_) | Err(_) => "bpfel-unknown-none",
    }
}

fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn list(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return vec![];
    };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { road, rustc, build_std, llvm_major, linker } = self;
        let (rustc, linker) = (rustc.display(), linker.display());
        let core = if *build_std { "core built from rust-src" } else { "prebuilt core" };
        write!(f, "{road} road: {rustc} ({core}), {linker}, LLVM {llvm_major}")
    }
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Rustup { "rustup" } else { "distribution" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustc_names_its_llvm() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25)\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(rustc_llvm_major(text), Some(22));
        assert_eq!(rustc_llvm_major("rustc 1.96.0\nrelease: 1.96.0\n"), None);
        assert_eq!(rustc_llvm_major("LLVM version: unknown\n"), None);
    }

    #[test]
    fn a_compiler_that_is_too_old_is_not_taken() {
        assert!(is_new_enough("rustc 1.96.0\nrelease: 1.96.0\n"));
        assert!(is_new_enough("release: 1.87.0-nightly\n"));
        assert!(!is_new_enough("release: 1.85.0\n"));
        assert!(!is_new_enough("gcc 12\n"));
    }

    #[test]
    fn the_loader_names_a_shared_llvm_in_every_known_spelling() {
        let debian = "\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x7f00)\n";
        let older = "\tlinux-vdso.so.1 (0x7f)\n\tlibLLVM-19.so.1 => /usr/lib/libLLVM-19.so.1\n";
        let rust = "\t/home/u/lib/libLLVM-21-rust-1.90.0-stable.so (0x7f00)\n";
        assert_eq!(ldd_llvm_major(debian), Some(22));
        assert_eq!(ldd_llvm_major(older), Some(19));
        assert_eq!(ldd_llvm_major(rust), Some(21));
    }

    #[test]
    fn a_statically_linked_llvm_is_unknown_to_the_loader_and_names_itself() {
        let loaded = "\tlinux-vdso.so.1 (0x7f)\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n";
        let itself = "LLVM (http://llvm.org/):\n  LLVM version 22.1.8\n  Optimized build.\n";
        assert_eq!(ldd_llvm_major(loaded), None);
        assert_eq!(ldd_llvm_major("\tstatically linked\n"), None);
        assert_eq!(llvm_version_major(itself), Some(22));
        assert_eq!(llvm_version_major("Debian LLVM version 22.1.8\n"), Some(22));
    }

    #[test]
    fn a_version_of_bpf_linker_is_not_taken_for_one_of_llvm() {
        assert_eq!(llvm_version_major("bpf-linker 0.13.0\n"), None);
    }

    #[test]
    fn an_outer_build_changes_nothing_of_the_inner_one() {
        for name in ["RUSTFLAGS", "CARGO_TARGET_DIR", "RUSTC_WORKSPACE_WRAPPER", "CARGO_CFG_UNIX"] {
            assert!(leaks(OsStr::new(name)), "{name} stays");
        }
        for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "CARGO_NET_OFFLINE"] {
            assert!(!leaks(OsStr::new(name)), "{name} is removed");
        }
    }
}
