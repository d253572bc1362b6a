//! Loads the object: new programs on the maps that are pinned already, or on new maps.
//!
//! Everything newer than Linux 5.10 is probed, never concluded from a version, and the answer is
//! written into the read-only data of the programs, where the verifier drops the branch not taken.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use aya::programs::{
    CgroupSockAddr, Program, ProgramError, ProgramType, SchedClassifier, SockOps, Xdp,
};
use aya::sys::is_helper_supported;
use aya::{Ebpf, EbpfLoader};
use aya_obj::generated::bpf_func_id;
use nllb_common::ABI_VERSION;
use nllb_common::maps::{MAX_CLIENTS, VIP_FLOWS_PER_CPU, names};
use rustix::thread::{CapabilitySet, capabilities};
use thiserror::Error;

use super::attach::Hook;
use super::directory::{BPF_FS, Directory};
use super::guests;
use super::maps::{self, MapsError};
use super::sys::interface::Direction;

/// Name of the program of the control-plane VIP.
pub const VIP_PROGRAM: &str = "nllb_vip";

/// The object built from `nllb-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/", "nllb-ebpf"));

/// The object with the kernel programs that is built in, an ELF file.
#[must_use]
pub fn object() -> &'static [u8] {
    OBJECT
}

/// Why the programs could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The directory is not on a BPF file system.
    #[error(
        "{path}: not on a BPF file system; mount one: mount -t bpf -o mode=0700 bpf /sys/fs/bpf"
    )]
    NoBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// The directory could not be made or read.
    #[error("{path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Others can put something into the directory.
    #[error("{path}: {reason}")]
    NotOwn {
        /// The directory.
        path: PathBuf,
        /// Who, and what to do.
        reason: String,
    },
    /// Another agent uses the pins.
    #[error("{path}: another agent is running on these pins; stop it first")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Not allowed to load programs.
    #[error(
        "not permitted to load BPF programs{}; run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; \
         before Linux 5.11 also with LimitMEMLOCK=infinity, or CAP_SYS_RESOURCE",
        without(missing)
    )]
    NotPermitted {
        /// The capabilities that are not held.
        missing: Vec<&'static str>,
    },
    /// Programs that were not wanted at the start.
    #[error("an agent loads programs only when it starts; restart it")]
    Later,
    /// The array of pools could not be created.
    #[error(transparent)]
    Maps(#[from] MapsError),
    /// The object could not be loaded.
    #[error("cannot load the BPF object: {reason}")]
    Object {
        /// Every cause, outermost first.
        reason: String,
    },
    /// The verifier refused a program.
    #[error("the kernel refused program {program}: {reason}")]
    Program {
        /// Name of the program.
        program: &'static str,
        /// Every cause, outermost first; the verifier's last lines.
        reason: String,
    },
}

/// What this kernel can do beyond what is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// `bpf_set_retval`: a refused connect says why. Without it the error is `EPERM`.
    pub set_retval: bool,
}

impl Features {
    /// Asks the kernel; `None` when it does not answer, which is so without CAP_BPF.
    #[must_use]
    pub fn ask() -> Option<Self> {
        let set_retval =
            is_helper_supported(ProgramType::CgroupSockAddr, bpf_func_id::BPF_FUNC_set_retval);
        Some(Self { set_retval: set_retval.ok()? })
    }

    /// What can be relied on.
    fn probe() -> Self {
        Self::ask().unwrap_or(Self { set_retval: false })
    }

    /// Every feature by name.
    #[must_use]
    pub fn names(self) -> BTreeMap<String, bool> {
        let Self { set_retval } = self;
        BTreeMap::from([("set_retval".to_owned(), set_retval)])
    }
}

/// Verbosity of the BPF programs' own diagnostics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum BpfLogLevel {
    /// Nothing; the verifier removes the code.
    #[default]
    Off = 0,
    /// Errors.
    Error = 1,
    /// Warnings.
    Warn = 2,
    /// What a user notices.
    Info = 3,
    /// Every decision.
    Debug = 4,
    /// As debug; the programs have nothing finer.
    Trace = 5,
}

/// The pin directory of this ABI version below `bpffs`.
#[must_use]
pub fn pin_directory(bpffs: &Path) -> PathBuf {
    bpffs.join(format!("v{ABI_VERSION}"))
}

/// Programs that not every data path has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Those for datagrams.
    pub datagrams: bool,
    /// That of the control-plane VIP.
    pub vip: bool,
    /// Those for guests.
    pub guests: bool,
}

/// What was loaded.
pub struct Object {
    /// Maps and programs.
    pub bpf: Ebpf,
    /// What this kernel can do.
    pub features: Features,
    /// Whether the programs for datagrams are there; if not, why.
    pub datagrams: Result<(), String>,
    /// Whether that of the control-plane VIP is; if not, why.
    pub vip: Result<(), String>,
    /// The programs for guests, or why they are not there.
    pub guests: Result<guests::Programs, String>,
}

/// Loads maps and programs; maps pinned in `directory` are taken over. Connections do without the `extras`, so what
/// the kernel says of those is no error.
///
/// # Errors
/// When the kernel refuses a map, or a program that is no extra.
pub fn load(directory: &Path, log_level: BpfLogLevel, extras: Extras) -> Result<Object, LoadError> {
    let Extras { datagrams, vip, guests } = extras;
    maps::pin_pools(&directory.join(names::POOLS))
        .and_then(|()| guests::pin_guests(&directory.join(names::GUESTS)))
        .map_err(|error| if permission(&error) { not_permitted() } else { error.into() })?;
    if datagrams {
        make_room(&directory.join(names::DATAGRAM_PEERS), MAX_CLIENTS)?;
    }
    if vip {
        make_room(&directory.join(names::VIP_FLOWS), VIP_FLOWS_PER_CPU)?;
    }
    let features = Features::probe();
    let log_level = log_level as u8;
    let set_retval = u8::from(features.set_retval);
    let mut loader = EbpfLoader::new();
    loader
        // Types of the kernel, several megabytes of them, are for programs that look into its structures.
        .btf(None)
        .override_global("HAS_SET_RETVAL", &set_retval, true)
        .map_max_entries(names::CLIENTS, clients())
        .map_max_entries(names::DATAGRAM_PEERS, if datagrams { clients() } else { 1 })
        .map_max_entries(names::VIP_FLOWS, if vip { vip_flows() } else { 1 })
        // The programs only have this global while they log something.
        .override_global("AYA_LOG_LEVEL", &log_level, false);
    for map in names::ALL {
        loader.map_pin_path(map, directory.join(map));
    }
    let mut bpf = loader.load(OBJECT).map_err(|error| match permission(&error) {
        true => not_permitted(),
        false => LoadError::Object { reason: causes(&error) },
    })?;
    Hook::ALWAYS.into_iter().try_for_each(|hook| load_program(&mut bpf, hook))?;
    let datagrams = match datagrams {
        true => Hook::DATAGRAMS.into_iter().try_for_each(|hook| load_program(&mut bpf, hook)),
        false => Err(LoadError::Later),
    };
    let datagrams = datagrams.map_err(|error| error.to_string());
    let vip = if vip { load_vip(&mut bpf) } else { Err(LoadError::Later) };
    let vip = vip.map_err(|error| error.to_string());
    let guests = if guests { load_for_guests(&mut bpf) } else { Err(LoadError::Later.to_string()) };
    Ok(Object { bpf, features, datagrams, vip, guests })
}

fn load_for_guests(bpf: &mut Ebpf) -> Result<guests::Programs, String> {
    for direction in Direction::IN_ORDER {
        let name = direction.program();
        let refused = |reason: String| LoadError::Program { program: name, reason }.to_string();
        let missing = || refused("not in the object".to_owned());
        let program = bpf.program_mut(name).ok_or_else(missing)?;
        <&mut SchedClassifier>::try_from(program)
            .and_then(SchedClassifier::load)
            .map_err(|error| refused(causes(&error)))?;
    }
    guests::Programs::of(bpf)
}

/// Gives up the map of an agent that had no use for it and made it small. Programs that use it go on to do so
/// until their successors are attached.
fn make_room(pin: &Path, least: u32) -> Result<(), LoadError> {
    let small = MapInfo::from_pin(pin).is_ok_and(|info| info.max_entries() < least);
    if !small {
        return Ok(());
    }
    let failed = |source| LoadError::Directory { path: pin.to_owned(), source };
    fs::remove_file(pin).map_err(failed)
}

/// Entries of the least-recently-used maps: each CPU may hold 128 of them in reserve, so a map that is
/// large enough on a small machine would forget at once on a large one.
fn clients() -> u32 {
    let cpus = aya::util::nr_cpus().unwrap_or(1);
    u32::try_from(cpus).unwrap_or(u32::MAX).saturating_mul(512).clamp(MAX_CLIENTS, 1 << 17)
}

/// The same for the map of flows, of which each CPU has its own part.
fn vip_flows() -> u32 {
    let cpus = aya::util::nr_cpus().unwrap_or(1);
    u32::try_from(cpus).unwrap_or(u32::MAX).saturating_mul(VIP_FLOWS_PER_CPU).min(1 << 18)
}

fn load_program(bpf: &mut Ebpf, hook: Hook) -> Result<(), LoadError> {
    load_by(bpf, hook.program(), |program| match hook {
        Hook::SockOps => <&mut SockOps>::try_from(program).and_then(SockOps::load),
        Hook::Connect4
        | Hook::Connect6
        | Hook::UdpConnect4
        | Hook::UdpConnect6
        | Hook::Sendmsg4
        | Hook::Sendmsg6
        | Hook::Recvmsg4
        | Hook::Recvmsg6
        | Hook::Getpeername4
        | Hook::Getpeername6 => {
            <&mut CgroupSockAddr>::try_from(program).and_then(CgroupSockAddr::load)
        }
    })
}

fn load_vip(bpf: &mut Ebpf) -> Result<(), LoadError> {
    load_by(bpf, VIP_PROGRAM, |program| <&mut Xdp>::try_from(program).and_then(Xdp::load))
}

fn load_by(
    bpf: &mut Ebpf,
    name: &'static str,
    load: impl FnOnce(&mut Program) -> Result<(), ProgramError>,
) -> Result<(), LoadError> {
    let refused = |reason: String| LoadError::Program { program: name, reason };
    let program = bpf.program_mut(name).ok_or_else(|| refused("not in the object".to_owned()))?;
    let loaded = load(program);
    // Without CAP_PERFMON it is the verifier that refuses, with a page about pointers.
    loaded.map_err(|error| match permission(&error) || !missing_capabilities().is_empty() {
        true => not_permitted(),
        false => refused(causes(&error)),
    })
}

/// Creates the pin directory, readable by root alone, or opens it if nobody else can have put anything into
/// it.
pub(super) fn make_directory(directory: &Path) -> Result<Directory, LoadError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let failed = |source| LoadError::Directory { path: directory.to_owned(), source };
    let existing = directory.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let fs = rustix::fs::statfs(existing).map_err(|errno| failed(errno.into()))?;
    if fs.f_type != BPF_FS {
        return Err(LoadError::NoBpffs { path: directory.to_owned() });
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let gone = || failed(io::Error::from(io::ErrorKind::NotFound));
    let (base, name) = directory.parent().zip(directory.file_name()).ok_or_else(gone)?;
    let base = Directory::open(base)?.ok_or_else(gone)?;
    base.require_own()?;
    let directory = base.sub(name)?;
    directory.require_own()?;
    directory.require_on(BPF_FS)?;
    Ok(directory)
}

fn not_permitted() -> LoadError {
    LoadError::NotPermitted { missing: missing_capabilities() }
}

/// Those that loading takes and this thread does not hold; CAP_SYS_ADMIN stands for each of them.
fn missing_capabilities() -> Vec<&'static str> {
    let wanted = [
        (CapabilitySet::BPF, "CAP_BPF"),
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
        (CapabilitySet::PERFMON, "CAP_PERFMON"),
    ];
    // The kernel always tells; else the refusal itself has to do.
    let held = capabilities(None).map_or(CapabilitySet::SYS_ADMIN, |sets| sets.effective);
    let stands = held.contains(CapabilitySet::SYS_ADMIN);
    let missing = wanted.into_iter().filter(|(one, _)| !stands && !held.contains(*one));
    missing.map(|(_, name)| name).collect()
}

fn without(missing: &[&str]) -> String {
    if missing.is_empty() { String::new() } else { format!(" without {}", missing.join(", ")) }
}

fn permission(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.raw_os_error() == Some(libc::EPERM))
}

fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_need_no_types_of_the_kernel() {
        // They would be left as they are, with the offsets of another kernel.
        let object = aya_obj::Object::parse(OBJECT).expect("an object");
        assert!(!object.has_btf_relocations(), "the loader needs the kernel's types now");
    }
}
