//! The kernel side as the agent holds it: loaded, attached, proven, and left in place at exit.
//!
//! Maps and links are pinned in one directory per ABI version. An agent that starts takes over what
//! is pinned and swaps the programs under the links, so no connect is ever without translation; an
//! agent that ends leaves everything running.

pub mod attach;
mod clock;
pub mod closing;
mod directory;
pub mod events;
pub mod explain;
pub mod fake;
pub mod guests;
pub mod load;
mod lock;
pub mod maps;
pub mod packet;
pub mod selftest;
mod sets;
mod sys;
mod uninstall;
pub mod vantage;
pub mod vip;

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::Ebpf;
use aya::programs::Program;
use nllb_common::maps::{Control, control_flags};
use thiserror::Error;
use tracing::{info, warn};

use self::attach::{
    AttachError, Attachment, Cgroup, CgroupChoice, Coverage, Hook, Loaded, Process,
};
use self::directory::BPF_FS;
use self::guests::Guests;
use self::load::{BpfLogLevel, Extras, Features, LoadError, Object};
use self::lock::Lock;
use self::maps::{KernelMaps, Maps as _, MapsError, Sockets};
use self::uninstall::Versions;
use self::vip::Vip;

pub use self::clock::{Timer, monotonic_ns};
pub use self::load::{object, pin_directory};
pub use self::uninstall::{Removal, uninstall};

/// Where and how the data path is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory on a BPF file system; the ABI version is appended.
    pub bpffs: PathBuf,
    /// Where to attach.
    pub cgroup: CgroupChoice,
    /// Diagnostics of the BPF programs.
    pub log_level: BpfLogLevel,
    /// What may be needed: programs can only be loaded now.
    pub extras: Extras,
}

/// Whether datagrams are translated.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Datagrams {
    /// As an earlier agent left it.
    Undecided,
    /// There is no frontend for them.
    Off,
    /// They are.
    On,
    /// There is one, but they cannot be.
    Failed(String),
}

/// Why there is no data path.
#[derive(Debug, Error)]
pub enum DatapathError {
    /// The programs could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The programs could not be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A map could not be used.
    #[error(transparent)]
    Maps(#[from] MapsError),
    /// The self-test's listeners could not be opened.
    #[error("cannot open the listener of the self-test: {0}")]
    SelfTest(#[source] io::Error),
    /// The ring buffer could not be watched.
    #[error("cannot watch the event ring buffer: {0}")]
    Events(#[source] io::Error),
}

/// The loaded and attached programs. Dropping it leaves links and maps where they are.
#[derive(Debug)]
pub struct Datapath {
    bpf: Ebpf,
    directory: PathBuf,
    _lock: Lock,
    others: Versions,
    /// Why the others could not be removed when that was last tried.
    others_stay: Option<String>,
    features: Features,
    attachment: Attachment,
    host_netns: u64,
    hz: u32,
    short_timeouts: bool,
    datagrams: Datagrams,
    extras: Extras,
    /// Why the programs for datagrams are not loaded.
    no_datagrams: Option<String>,
}

/// Everything that is opened at once, each part with its own owner.
pub struct Opened {
    /// Programs and links.
    pub datapath: Datapath,
    /// The maps.
    pub maps: KernelMaps,
    /// Records of sockets.
    pub sockets: Sockets,
    /// The program of the control-plane VIP.
    pub vip: Vip,
    /// What the programs report.
    pub events: events::Events,
    /// Diagnostics of the programs, when asked for.
    pub log: Option<events::Log>,
    /// Who looks after guests, if they are served; or why nobody can.
    pub guests: Option<Result<Guests, String>>,
    /// Whether maps and links of an earlier agent were taken over.
    pub adopted: bool,
}

impl Datapath {
    /// Loads the programs on new or pinned maps, and attaches them. What is in pinned maps is kept. To be called on
    /// the driver's thread.
    ///
    /// # Errors
    /// When the kernel or the host's set-up does not allow it; nothing new is attached then.
    pub fn open(settings: &Settings) -> Result<Opened, DatapathError> {
        let Settings { bpffs, cgroup, log_level, extras } = settings;
        let Extras { datagrams, vip: _, guests } = *extras;
        let cgroup = Cgroup::find(cgroup)?;
        let directory = pin_directory(bpffs);
        let lock = Lock::take(load::make_directory(&directory)?)?;
        // An agent of another version of the layout would translate as well, and otherwise.
        let others = Versions::lock(bpffs, Some(&directory), BPF_FS)?;
        for path in others.left() {
            warn!(path = %path.display(), "not a directory of pins, left alone");
        }
        let Object { mut bpf, features, datagrams: loaded, vip, guests: for_guests } =
            load::load(&directory, *log_level, *extras)?;
        let mut maps = KernelMaps::take(&mut bpf, &directory)?;
        let sockets = Sockets::take(&mut bpf)?;
        let vip = Vip::take(&mut bpf, &directory, vip)?;
        let events = events::Events::take(&mut bpf)?;
        let log = (*log_level > BpfLogLevel::Off).then(|| events::Log::take(&mut bpf)).flatten();
        let hz = clock::hz();
        // The lease of an earlier agent stays: until this one renews it, its verdicts are the best
        // there are.
        let Control { lease_until_ns, host_netns, flags, .. } = maps.control()?;
        // So do datagrams, as long as they may be translated.
        let flags = if datagrams { flags & control_flags::DATAGRAMS } else { 0 };
        maps.set_control(Control { lease_until_ns, host_netns, flags, ..Control::new(hz) })?;
        let always = programs(&bpf, Hook::ALWAYS)?;
        let attachment = Attachment::establish(&always, cgroup, &directory)?;
        let adopted = attachment.adopted();
        let guests = guests.then(|| for_guests.and_then(|it| Guests::start(&directory, it)));
        if !matches!(guests, Some(Ok(_))) {
            guests::remove_all(&directory);
        }
        let datapath = Self {
            bpf,
            directory,
            _lock: lock,
            others,
            others_stay: None,
            features,
            attachment,
            host_netns,
            hz,
            short_timeouts: false,
            datagrams: Datagrams::Undecided,
            extras: *extras,
            no_datagrams: loaded.err(),
        };
        Ok(Opened { datapath, maps, sockets, vip, events, log, guests, adopted })
    }

    /// Removes what other versions of the layout have attached and pinned. To be called when the maps are
    /// written and a self-test has passed: until then they are the ones that are known to translate.
    pub fn remove_other_versions(&mut self) {
        let directories = self.others.directories();
        if directories.is_empty() {
            return;
        }
        match self.others.remove() {
            Ok(Removal { removed: _, left }) => {
                info!(?directories, ?left, "other versions are removed");
                self.others_stay = None;
            }
            Err(error) => {
                let error = error.to_string();
                if self.others_stay.replace(error.clone()).is_none() {
                    warn!(error, "another version stays attached");
                }
            }
        }
    }

    /// Other versions of the layout that are still attached, and why: they run before ours and know nothing
    /// of the present.
    pub fn other_versions(&self) -> impl Iterator<Item = String> + '_ {
        let why = self.others_stay.as_deref().unwrap_or("until this one has passed a self-test");
        let others = self.others.directories().into_iter();
        others.map(move |path| format!("{}: another version is attached: {why}", path.display()))
    }

    /// Asks the kernel whether the programs are where they should be.
    #[must_use]
    pub fn verify(&self, kubelets: &[Process]) -> Coverage {
        self.attachment.verify(kubelets)
    }

    /// Attaches what is not attached as it should be.
    ///
    /// # Errors
    /// When the kernel refuses; what was attached stays. For datagrams that is no error: the next
    /// [`Self::serve_datagrams`] has the last word on them.
    pub fn repair(&mut self) -> Result<(), DatapathError> {
        load::make_directory(&self.directory)?;
        let programs = programs(&self.bpf, Hook::ALWAYS)?;
        self.attachment.repair(&programs)?;
        if self.serves_datagrams() {
            if let Err(reason) = self.attach_datagrams() {
                self.fail_datagrams(reason);
            }
        }
        Ok(())
    }

    /// Translates datagrams from now on, or none any more. What the kernel refuses is tried again with the next
    /// call; connections go on in any case.
    ///
    /// The programs leave datagrams alone until CONTROL says otherwise, and that it says only while all of them
    /// are attached. Sockets that are connected when the last frontend goes learn who their peer is then.
    ///
    /// # Errors
    /// When CONTROL cannot be read or written.
    pub fn serve_datagrams(
        &mut self,
        wanted: bool,
        maps: &mut impl maps::Maps,
    ) -> Result<(), MapsError> {
        match (&self.datagrams, wanted) {
            (Datagrams::On, true) | (Datagrams::Off, false) => return Ok(()),
            (Datagrams::On | Datagrams::Off | Datagrams::Undecided | Datagrams::Failed(_), _) => {}
        }
        if wanted {
            match self.attach_datagrams() {
                Ok(()) => {
                    info!("datagrams are translated");
                    self.datagrams = Datagrams::On;
                }
                Err(reason) => self.fail_datagrams(reason),
            }
        } else {
            self.datagrams = Datagrams::Off;
        }
        let control = maps.control()?;
        maps.set_control(Control { flags: self.flags(), ..control })?;
        if self.datagrams != Datagrams::On {
            self.detach_datagrams();
        }
        Ok(())
    }

    fn fail_datagrams(&mut self, reason: String) {
        if !matches!(self.datagrams, Datagrams::Failed(_)) {
            warn!(reason, "datagrams are not translated");
        }
        self.datagrams = Datagrams::Failed(reason);
    }

    fn attach_datagrams(&mut self) -> Result<(), String> {
        if let Some(reason) = &self.no_datagrams {
            return Err(reason.clone());
        }
        let programs = programs(&self.bpf, Hook::DATAGRAMS).map_err(|error| error.to_string())?;
        self.attachment.repair(&programs).map_err(|error| error.to_string())
    }

    /// Detaches the programs that only datagrams need, those that an earlier agent has left included.
    fn detach_datagrams(&mut self) {
        if let Err(error) = self.attachment.remove(&Hook::DATAGRAMS) {
            warn!(%error, "a program for datagrams stays attached; it does nothing");
        }
    }

    /// What was wanted when the programs were loaded. The kernel may have refused some of it; then
    /// [`Self::datagrams_problem`] and [`vip::Vip::attach`] say so.
    #[must_use]
    pub const fn extras(&self) -> Extras {
        self.extras
    }

    /// Whether datagrams are translated.
    #[must_use]
    pub fn serves_datagrams(&self) -> bool {
        self.datagrams == Datagrams::On
    }

    /// Why datagrams are not translated although there is a frontend for them.
    #[must_use]
    pub fn datagrams_problem(&self) -> Option<String> {
        match &self.datagrams {
            Datagrams::Failed(reason) => Some(format!("datagrams are not translated: {reason}")),
            Datagrams::Undecided | Datagrams::Off | Datagrams::On => None,
        }
    }

    /// The cgroup attached to.
    #[must_use]
    pub const fn cgroup(&self) -> &Cgroup {
        self.attachment.cgroup()
    }

    /// The directory of the pins.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What the kernel can do beyond what is required.
    #[must_use]
    pub const fn features(&self) -> Features {
        self.features
    }

    /// Notes the cookie of the host's network namespace, as the self-test found it.
    pub fn set_host_netns(&mut self, cookie: u64) {
        self.host_netns = cookie;
    }

    /// Whether each translated connection gets a limit of its own on silence.
    pub fn set_short_timeouts(&mut self, on: bool) {
        self.short_timeouts = on;
    }

    /// The content of CONTROL with a lease of this length from now.
    #[must_use]
    pub fn lease(&self, length: Duration) -> Control {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Control {
            lease_until_ns: monotonic_ns().saturating_add(length),
            host_netns: self.host_netns,
            flags: self.flags(),
            ..Control::new(self.hz)
        }
    }

    fn flags(&self) -> u32 {
        let short = if self.short_timeouts { control_flags::SHORT_TIMEOUTS } else { 0 };
        let datagrams = if self.serves_datagrams() { control_flags::DATAGRAMS } else { 0 };
        short | datagrams
    }
}

/// The loaded programs with what attaching them needs.
fn programs(
    bpf: &Ebpf,
    hooks: impl IntoIterator<Item = Hook>,
) -> Result<Vec<Loaded<'_>>, AttachError> {
    hooks
        .into_iter()
        .map(|hook| {
            let failed = |reason: String| AttachError::Kernel {
                verb: "find the program of",
                hook: hook.label(),
                source: io::Error::other(reason),
            };
            let program = bpf
                .program(hook.program())
                .ok_or_else(|| failed("it is not in the object".to_owned()))?;
            #[expect(clippy::wildcard_enum_match_arm, reason = "the object has only these two")]
            let fd = match program {
                Program::CgroupSockAddr(program) => program.fd(),
                Program::SockOps(program) => program.fd(),
                _ => return Err(failed("it has another type".to_owned())),
            };
            let fd = fd.map_err(|error| failed(error.to_string()))?.as_fd();
            let id = program.info().map_err(|error| failed(error.to_string()))?.id();
            Ok(Loaded { hook, fd, id })
        })
        .collect()
}
