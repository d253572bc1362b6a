//! The program of the control-plane VIP: attached to one interface, with what it is told in its maps.
//!
//! Its link is pinned like the others, so frames are looked at without an agent as well: flows go where they went, and
//! only the answers for the VIP's address end, after the time that was last written. The mode is in the link's
//! name, since the kernel does not tell it of a link.

mod look;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::Program;
use nllb_common::maps::{VIP_GENERATIONS, VipControl, VipOutcome, VipSet, VipWays, names};
use nllb_core::vip::XdpMode;
use thiserror::Error;

use super::load::VIP_PROGRAM;
use super::maps::{MapsError, kernel, pinned, take};
use super::sys::{self, XdpFlag};

pub use look::{Held, look};

/// Why the program is not attached.
#[derive(Debug, Error)]
pub enum VipError {
    /// It could not be loaded.
    #[error("{reason}")]
    NotLoaded {
        /// What the kernel said.
        reason: String,
    },
    /// Another program has the interface.
    #[error(
        "another XDP program is attached to {interface}; detach it (ip link set dev {interface} xdp off), or name another interface (vip.interface)"
    )]
    Taken {
        /// The interface.
        interface: String,
    },
    /// The kernel refused.
    #[error("cannot {verb} {interface}: {source}")]
    Kernel {
        /// What was tried.
        verb: &'static str,
        /// The interface.
        interface: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// How the program runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// Behind it.
    Generic,
}

impl Mode {
    const ALL: [Self; 2] = [Self::Native, Self::Generic];

    /// The word for it in status.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Native => XdpMode::Native.label(),
            Self::Generic => XdpMode::Generic.label(),
        }
    }

    const fn flag(self) -> XdpFlag {
        match self {
            Self::Native => XdpFlag::Native,
            Self::Generic => XdpFlag::Generic,
        }
    }

    fn pin(self, directory: &Path) -> PathBuf {
        directory.join(format!("link_vip_{}", self.label()))
    }
}

/// Where the program is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Number of the interface.
    pub interface: u32,
    /// Its name.
    pub name: String,
    /// Modes to try, the best first.
    pub modes: &'static [Mode],
}

impl Wanted {
    /// The modes for what is configured. Frames that a native program sends back on a veth are lost unless the other
    /// end has such a program, too.
    #[must_use]
    pub const fn modes(configured: XdpMode, is_veth: bool) -> &'static [Mode] {
        match (configured, is_veth) {
            (XdpMode::Auto, false) => &[Mode::Native, Mode::Generic],
            (XdpMode::Native, _) => &[Mode::Native],
            (XdpMode::Auto, true) | (XdpMode::Generic, _) => &[Mode::Generic],
        }
    }
}

/// The maps of the VIP.
struct VipMaps {
    control: Array<MapData, VipControl>,
    owner: Array<MapData, u64>,
    sets: Array<MapData, VipSet>,
    ways: Array<MapData, VipWays>,
    stats: PerCpuArray<MapData, u64>,
}

/// The program and its maps.
pub struct Vip {
    program: Result<OwnedFd, String>,
    directory: PathBuf,
    maps: VipMaps,
    control: VipControl,
    attached: Option<(OwnedFd, Mode)>,
}

impl Vip {
    /// Takes maps and program out of the loaded object. What an earlier agent attached stays.
    pub(super) fn take(
        bpf: &mut Ebpf,
        directory: &Path,
        loaded: Result<(), String>,
    ) -> Result<Self, MapsError> {
        let maps = VipMaps {
            control: take(bpf, names::VIP_CONTROL)?,
            owner: take(bpf, names::VIP_OWNER)?,
            sets: take(bpf, names::VIP_SETS)?,
            ways: take(bpf, names::VIP_WAYS)?,
            stats: take(bpf, names::VIP_STATS)?,
        };
        let program = loaded.and_then(|()| program(bpf));
        let control = maps.control()?;
        let attached = Mode::ALL.into_iter().find_map(|mode| {
            let link = sys::open_pin(&mode.pin(directory)).ok()?;
            Some((link, mode))
        });
        Ok(Self { program, directory: directory.to_owned(), maps, control, attached })
    }

    /// Attaches the program, or takes over the link that is there already. Gives the mode.
    ///
    /// # Errors
    /// When the kernel refuses every mode that is wanted, or did not load the program.
    pub fn attach(&mut self, wanted: &Wanted) -> Result<Mode, VipError> {
        let program = match &self.program {
            Ok(program) => program,
            Err(reason) => return Err(VipError::NotLoaded { reason: reason.clone() }),
        };
        let Wanted { interface, name, modes } = wanted;
        let failed =
            |verb| move |source| VipError::Kernel { verb, interface: name.clone(), source };
        if let Some((link, mode)) = &self.attached {
            let held = sys::xdp_link_info(link).ok();
            let is_there = held.is_some_and(|(_, at)| at == *interface);
            if is_there && modes.contains(mode) && mode.pin(&self.directory).exists() {
                let id = sys::program_id(program).map_err(failed("ask about the program on"))?;
                if held.is_none_or(|(runs, _)| runs != id) {
                    sys::link_update(link, program).map_err(failed("replace the program on"))?;
                }
                return Ok(*mode);
            }
        }
        self.detach();
        let program = match &self.program {
            Ok(program) => program,
            Err(reason) => return Err(VipError::NotLoaded { reason: reason.clone() }),
        };
        let mut refused = None;
        for mode in modes.iter().copied() {
            match sys::xdp_link_create(program, *interface, mode.flag()) {
                Ok(link) => {
                    sys::pin(&link, &mode.pin(&self.directory))
                        .map_err(failed("pin the link of"))?;
                    self.attached = Some((link, mode));
                    return Ok(mode);
                }
                Err(source) => refused = Some(source),
            }
        }
        let source = refused.unwrap_or_else(|| io::Error::from(io::ErrorKind::InvalidInput));
        Err(match source.raw_os_error() {
            Some(libc::EBUSY) => VipError::Taken { interface: name.clone() },
            _ => failed("attach the program to")(source),
        })
    }

    /// Detaches the program, an earlier agent's as well.
    pub fn detach(&mut self) {
        self.attached = None;
        for mode in Mode::ALL {
            let pin = mode.pin(&self.directory);
            // At once, and not some time after the last reference. One that is gone ends with its pin.
            let _not_attached = sys::open_pin(&pin).and_then(sys::link_detach);
            let _not_there = fs::remove_file(&pin);
        }
    }

    /// Whether any program is attached, an earlier agent's as well.
    #[must_use]
    pub const fn is_attached(&self) -> bool {
        self.attached.is_some()
    }

    /// The number of the interface where the program runs; `None` when it runs nowhere.
    #[must_use]
    pub fn interface(&self) -> Option<u32> {
        let (link, _) = self.attached.as_ref()?;
        let (_, interface) = sys::xdp_link_info(link).ok()?;
        (interface != 0).then_some(interface)
    }

    /// Says what is served: the interface's MAC address and largest packet, and of each family the VIP with its members
    /// and the ways to them. What differs is written.
    ///
    /// # Errors
    /// When a map cannot be written; the older state stays then.
    pub fn serve(
        &mut self,
        mac: u64,
        mtu: u32,
        families: [Option<(&VipSet, &VipWays)>; 2],
    ) -> Result<(), MapsError> {
        let mut control = VipControl { mac, mtu, ..self.control };
        for (family, wanted) in (0u32..).zip(families) {
            let active = self.control.sets[family as usize];
            control.sets[family as usize] = match wanted {
                Some((set, ways)) => self.publish(family, active, set, ways)?,
                None => 0,
            };
        }
        if control != self.control {
            self.maps.set_control(control)?;
            self.control = control;
        }
        Ok(())
    }

    /// Writes a set where no program reads, unless it is the one that is served, and the ways to its members. Gives one
    /// more than its index.
    fn publish(
        &mut self,
        family: u32,
        active: u32,
        set: &VipSet,
        ways: &VipWays,
    ) -> Result<u32, MapsError> {
        let first = family * VIP_GENERATIONS;
        let held = active.checked_sub(1).map(|index| self.maps.set(index)).transpose()?;
        let index = if held.as_ref() == Some(set) {
            active - 1
        } else {
            let next =
                active.checked_sub(1).map_or(0, |index| (index - first + 1) % VIP_GENERATIONS);
            self.maps.write_set(first + next, set)?;
            first + next
        };
        self.maps.write_ways(index, ways)?;
        Ok(index + 1)
    }

    /// Serves nothing: every frame is left to the kernel.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn serve_nothing(&mut self) -> Result<(), MapsError> {
        self.answer_until(0)?;
        let VipControl { mac, mtu, .. } = self.control;
        self.serve(mac, mtu, [None, None])
    }

    /// Answers for the VIP's address until then, in nanoseconds of `CLOCK_MONOTONIC`; 0 for not at all.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn answer_until(&mut self, until_ns: u64) -> Result<(), MapsError> {
        self.maps.owner.set(0, until_ns, 0).map_err(kernel(names::VIP_OWNER, "write the owner"))
    }

    /// Until when it answers, in nanoseconds of `CLOCK_MONOTONIC`.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn answers_until(&self) -> Result<u64, MapsError> {
        self.maps.owner.get(&0, 0).map_err(kernel(names::VIP_OWNER, "read the owner"))
    }

    /// Notes which of the VIP's addresses, by family, the agent has put on the loopback interface.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn note_added(&mut self, added: [bool; 2]) -> Result<(), MapsError> {
        let control = VipControl { added: bits(added), ..self.control };
        if control != self.control {
            self.maps.set_control(control)?;
            self.control = control;
        }
        Ok(())
    }

    /// Which of the VIP's addresses an agent has put there, by family: those of the sets that are served.
    #[must_use]
    pub fn added(&self) -> [Option<IpAddr>; 2] {
        added(&self.maps, &self.control)
    }

    /// What became of packets, summed over all CPUs.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn counters(&self) -> Result<Vec<(VipOutcome, u64)>, MapsError> {
        let read = |outcome: &VipOutcome| {
            let cpus = self.maps.stats.get(&(*outcome as u32), 0);
            let cpus = cpus.map_err(kernel(names::VIP_STATS, "read a counter"))?;
            Ok((*outcome, cpus.iter().sum()))
        };
        VipOutcome::ALL.iter().map(read).collect()
    }
}

/// The addresses that the agent of a data path has put on the loopback interface, by its pins in `directory`.
#[must_use]
pub fn addresses(directory: &Path) -> Vec<IpAddr> {
    let maps = VipMaps::open(directory);
    let found = maps.and_then(|maps| Ok(added(&maps, &maps.control()?)));
    found.unwrap_or_default().into_iter().flatten().collect()
}

fn added(maps: &VipMaps, control: &VipControl) -> [Option<IpAddr>; 2] {
    [0, 1].map(|family| {
        let index = control.sets[family].checked_sub(1)?;
        let vip = maps.set(index).ok()?.vip;
        (control.added >> family & 1 != 0).then(|| vip.into())
    })
}

fn bits([v4, v6]: [bool; 2]) -> u32 {
    u32::from(v4) | u32::from(v6) << 1
}

impl VipMaps {
    fn open(directory: &Path) -> Result<Self, MapsError> {
        Ok(Self {
            control: pinned(directory, names::VIP_CONTROL)?,
            owner: pinned(directory, names::VIP_OWNER)?,
            sets: pinned(directory, names::VIP_SETS)?,
            ways: pinned(directory, names::VIP_WAYS)?,
            stats: pinned(directory, names::VIP_STATS)?,
        })
    }

    fn control(&self) -> Result<VipControl, MapsError> {
        self.control.get(&0, 0).map_err(kernel(names::VIP_CONTROL, "read what is served"))
    }

    fn set_control(&mut self, control: VipControl) -> Result<(), MapsError> {
        self.control.set(0, control, 0).map_err(kernel(names::VIP_CONTROL, "write what is served"))
    }

    fn set(&self, index: u32) -> Result<VipSet, MapsError> {
        self.sets.get(&index, 0).map_err(kernel(names::VIP_SETS, "read the members"))
    }

    fn write_set(&mut self, index: u32, set: &VipSet) -> Result<(), MapsError> {
        self.sets.set(index, set, 0).map_err(kernel(names::VIP_SETS, "write the members"))
    }

    fn write_ways(&mut self, index: u32, ways: &VipWays) -> Result<(), MapsError> {
        let held = self.ways.get(&index, 0).map_err(kernel(names::VIP_WAYS, "read the ways"))?;
        if held == *ways {
            return Ok(());
        }
        self.ways.set(index, ways, 0).map_err(kernel(names::VIP_WAYS, "write the ways"))
    }
}

/// A descriptor of the loaded program.
fn program(bpf: &Ebpf) -> Result<OwnedFd, String> {
    let Some(Program::Xdp(program)) = bpf.program(VIP_PROGRAM) else {
        return Err(format!("{VIP_PROGRAM} is not in the object"));
    };
    let fd = program.fd().map_err(|error| error.to_string())?;
    fd.as_fd().try_clone_to_owned().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_come_back_are_not_lost_on_a_veth() {
        assert_eq!(Wanted::modes(XdpMode::Auto, true), [Mode::Generic]);
        assert_eq!(Wanted::modes(XdpMode::Auto, false), [Mode::Native, Mode::Generic]);
        assert_eq!(Wanted::modes(XdpMode::Native, true), [Mode::Native]);
        assert_eq!(Wanted::modes(XdpMode::Generic, false), [Mode::Generic]);
    }

    #[test]
    fn the_modes_have_pins_of_their_own_that_uninstall_knows() {
        let pins = Mode::ALL.map(|mode| mode.pin(Path::new("/pins")));
        assert_ne!(pins[0], pins[1]);
        for pin in pins {
            assert!(super::super::uninstall::is_link(pin.file_name().expect("a name")));
        }
    }
}
