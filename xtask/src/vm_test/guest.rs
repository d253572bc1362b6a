//! Runs one guest in QEMU and watches it.
//!
//! The machine is the plainest that has what is needed: two serial ports, one for what the kernel and the
//! programs print, one for the report. Where the processor is emulated it is the plainest as well, since each
//! instruction that it does not have needs no emulation.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    kernels::Kernel,
    qemu::Qemu,
    report::{Run, Told},
};

/// With room for the programs, which are unpacked into it.
const MEMORY_MIB: u32 = 1024;
/// Quick to start, the same each time, and dead at the first fault.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 oops=panic mitigations=off nokaslr \
    no_timer_check random.trust_cpu=on cryptomgr.notests";
/// An emulated clock is not to be calibrated.
const EMULATED: &str = "lpj=10000000 tsc=reliable";
/// How often a guest is looked at.
const GLANCE: Duration = Duration::from_millis(50);
/// Lines of what a dead guest wrote last.
const LAST_LINES: usize = 30;

/// How guests run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// The processor's own support.
    Kvm,
    /// Emulation.
    Tcg,
}

impl Accelerator {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// Longest time of one step.
    pub(crate) const fn step_limit(self) -> Duration {
        match self {
            Self::Kvm => Duration::from_secs(120),
            Self::Tcg => Duration::from_secs(300),
        }
    }
}

/// What is started.
pub(crate) struct Guest<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) boot: &'a str,
    /// The kernel itself.
    pub(crate) image: &'a Path,
    /// Its first file system, a file for each archive.
    pub(crate) initramfs: &'a [&'a [u8]],
    pub(crate) append: &'a str,
    /// Whether its clock stands still while the machine below is busy with something else; only an emulated one can.
    pub(crate) virtual_time: bool,
    /// A guest that tells nothing for so long is given up.
    pub(crate) silence: Duration,
    /// For its files, of its own.
    pub(crate) directory: PathBuf,
}

impl Guest<'_> {
    /// Runs it to its end.
    pub(crate) fn run(&self, qemu: &Qemu, accelerator: Accelerator) -> Result<Run> {
        let directory = &self.directory;
        // Of an earlier run; mostly there is none.
        let _ = fs::remove_dir_all(directory);
        fs::create_dir_all(directory)?;
        let file = |name: &str| directory.join(name);
        fs::write(file("initramfs"), self.initramfs.concat()).context("cannot write")?;
        let mut command = qemu.command();
        command
            .args(self.processors(accelerator))
            .args(["-m", &MEMORY_MIB.to_string(), "-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none"])
            .args(["-serial", &format!("file:{}", file("log").display())])
            .args(["-serial", &format!("file:{}", file("report").display())])
            .arg("-kernel")
            .arg(self.image)
            .arg("-initrd")
            .arg(file("initramfs"))
            .args(["-append", &self.command_line(accelerator)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(file("qemu"))?);
        let since = Instant::now();
        let child = command.spawn().context("cannot run QEMU")?;
        let (boot, hung) = watch(child, &file("report"), self.silence)?;
        let run_ms = millis(since.elapsed());
        let read = |name: &str| {
            String::from_utf8_lossy(&fs::read(file(name)).unwrap_or_default()).into_owned()
        };
        let told = Told::read(&read("report"));
        let death = (!told.over).then(|| death(hung, self.silence, &read("log"), &read("qemu")));
        fs::remove_file(file("initramfs"))?;
        Ok(Run {
            kernel: self.kernel.clone(),
            boot: self.boot.to_owned(),
            told,
            boot_ms: boot.map(millis),
            run_ms,
            death,
        })
    }

    /// Virtual time is that of the instructions, and goes on at once while all wait; only one processor can have it.
    fn processors(&self, accelerator: Accelerator) -> Vec<&'static str> {
        let arguments = match accelerator {
            Accelerator::Kvm => "-accel kvm -cpu host -smp 2",
            Accelerator::Tcg if self.virtual_time => {
                "-accel tcg,thread=single -cpu qemu64 -smp 1 -icount shift=0,sleep=off"
            }
            Accelerator::Tcg => "-accel tcg,thread=multi -cpu qemu64 -smp 2",
        };
        arguments.split(' ').collect()
    }

    fn command_line(&self, accelerator: Accelerator) -> String {
        let emulated = if accelerator == Accelerator::Tcg { EMULATED } else { "" };
        format!("{COMMAND_LINE} {emulated} {}", self.append)
    }
}

/// Waits for the end: after how long the report began, and whether it was given up.
fn watch(mut child: Child, report: &Path, silence: Duration) -> Result<(Option<Duration>, bool)> {
    let since = Instant::now();
    let (mut boot, mut length, mut heard) = (None, 0, since);
    loop {
        let now = fs::metadata(report).map_or(0, |report| report.len());
        if now > length {
            (length, heard) = (now, Instant::now());
            boot = boot.or_else(|| Some(since.elapsed()));
        }
        if child.try_wait()?.is_some() {
            return Ok((boot, false));
        }
        if heard.elapsed() > silence {
            child.kill()?;
            child.wait()?;
            return Ok((boot, true));
        }
        thread::sleep(GLANCE);
    }
}

/// Why a guest that has not done all has ended.
fn death(hung: bool, silence: Duration, log: &str, qemu: &str) -> String {
    let why = if hung {
        format!("it told nothing for {} s", silence.as_secs())
    } else if log.contains("Kernel panic") {
        "the kernel panicked".to_owned()
    } else {
        "it ended early".to_owned()
    };
    let lines: Vec<_> =
        log.lines().chain(qemu.lines()).filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    format!("{why}; its last lines:\n  {}", last.join("\n  "))
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether guests run with the processor's support. A device that can be opened says little: below some
/// hypervisors a guest hangs at its first instructions. So a kernel is started that has nothing to do.
pub(crate) fn try_kvm(qemu: &Qemu, guest: &Guest<'_>) -> bool {
    let device = fs::File::options().read(true).write(true).open("/dev/kvm");
    device.is_ok() && guest.run(qemu, Accelerator::Kvm).is_ok_and(|run| run.told.over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_guest_is_told_of_with_its_last_lines() {
        let log = (0..100).map(|n| format!("line {n}\n")).collect::<String>();
        let told = death(true, Duration::from_secs(9), &log, "qemu: bad\n");
        assert!(told.starts_with("it told nothing for 9 s"), "{told}");
        assert!(told.ends_with("line 99\n  qemu: bad") && !told.contains("line 5\n"), "{told}");
        let panic = death(false, Duration::ZERO, "x\n[1.0] Kernel panic - not syncing\n", "");
        assert!(panic.starts_with("the kernel panicked"), "{panic}");
    }
}
