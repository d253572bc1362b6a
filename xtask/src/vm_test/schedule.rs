//! Starts every kernel with every boot, as many guests at a time as there are processors.

use std::{
    cmp::Reverse,
    collections::VecDeque,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use super::{
    cpio,
    fetch::{Fetched, Ready},
    guest::{self, Accelerator, Guest},
    kernels::Boot,
    protocol::{Outcome, PLAN, Plan, Step},
    qemu::Qemu,
    report::{self, Run},
    table::Summary,
    userland::{Built, Userland},
};
use crate::workspace::say;

/// How long a machine with KVM may take for a kernel that has nothing to do.
const KVM_PATIENCE: Duration = Duration::from_secs(6);
/// Beside a step's own limit, before a guest that tells nothing is given up.
const GRACE: Duration = Duration::from_secs(60);
/// The same for a guest with virtual time, which a busy machine below stops: steps end by their limit there, so that
/// only a kernel that hangs is silent for so long.
const VIRTUAL_GRACE: Duration = Duration::from_secs(20 * 60);

/// Runs all guests, with their files below `root`, and judges what they tell; `since` is when all began.
pub(crate) fn run(
    fetched: Fetched,
    boots: &[&Boot],
    built: &Built,
    root: &Path,
    since: Instant,
) -> Result<Summary> {
    let Fetched { qemu, kernels } = fetched;
    let userland = Userland::make(built, boots, root)?;
    let accelerator = choose_accelerator(&qemu, &kernels, &userland, root)?;
    say(&format!("vm-test: guests run by {}", accelerator.label()));
    let floor = Floor { qemu: &qemu, accelerator, userland: &userland, root };
    let runs = floor.run_all(&kernels, boots)?;
    let findings = report::judge(&runs);
    let taken = kernels.into_iter().map(|ready| (ready.kernel.name, ready.packages)).collect();
    let total_ms = guest::millis(since.elapsed());
    Ok(Summary { runs, taken, findings, accelerator: accelerator.label(), total_ms })
}

/// One start.
struct Job<'a> {
    ready: &'a Ready,
    boot: &'a Boot,
    steps: Vec<Step>,
}

/// What all guests have in common.
struct Floor<'a> {
    qemu: &'a Qemu,
    accelerator: Accelerator,
    userland: &'a Userland,
    root: &'a Path,
}

impl Floor<'_> {
    /// Those with the most to do first.
    fn run_all(&self, kernels: &[Ready], boots: &[&Boot]) -> Result<Vec<Run>> {
        let mut jobs = Vec::new();
        for boot in boots {
            for ready in kernels {
                jobs.push(Job { ready, boot, steps: boot.steps()? });
            }
        }
        jobs.sort_by_key(|job| Reverse(job.steps.len()));
        let jobs = Mutex::new(VecDeque::from(jobs));
        let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let workers = thread::available_parallelism().map_or(1, |count| count.get().min(4));
        let runs: Result<Vec<Vec<Run>>> = thread::scope(|scope| {
            let work = || {
                let mut runs = Vec::new();
                while let Some(job) = next() {
                    runs.push(self.run_one(&job)?);
                }
                Ok(runs)
            };
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let ended = workers.into_iter().map(|worker| worker.join());
            ended.map(|runs| runs.map_err(|_| anyhow!("a worker has panicked"))?).collect()
        });
        let mut runs: Vec<_> = runs?.into_iter().flatten().collect();
        // As they are in the file.
        let place = |run: &Run| {
            let kernel = kernels.iter().position(|ready| ready.kernel.name == run.kernel.name);
            (kernel, boots.iter().position(|boot| boot.name == run.boot))
        };
        runs.sort_by_key(place);
        Ok(runs)
    }

    fn run_one(&self, job: &Job<'_>) -> Result<Run> {
        let Job { ready, boot, steps } = job;
        let limit = self.accelerator.step_limit();
        let virtual_time = boot.virtual_time && self.accelerator == Accelerator::Tcg;
        let plan = plan(steps.clone(), limit)?;
        let mut initramfs = self.userland.of(steps);
        initramfs.extend([ready.modules.as_slice(), &plan]);
        let name = &ready.kernel.name;
        let run = Guest {
            kernel: &ready.kernel,
            boot: &boot.name,
            image: &ready.image,
            initramfs: &initramfs,
            append: &boot.append,
            virtual_time,
            silence: limit + if virtual_time { VIRTUAL_GRACE } else { GRACE },
            directory: self.root.join("run").join(format!("{name}-{}", boot.name)),
        }
        .run(self.qemu, self.accelerator)?;
        let passed = run.told.steps.iter().filter(|step| step.outcome == Outcome::Passed).count();
        let (all, seconds) = (steps.len(), run.run_ms / 1000);
        say(&format!("vm-test: {name} {}: {passed} of {all} passed in {seconds} s", boot.name));
        Ok(run)
    }
}

/// The plan as an archive.
fn plan(steps: Vec<Step>, limit: Duration) -> Result<Vec<u8>> {
    let limit_s = limit.as_secs();
    // Several things are waited for in a step.
    let plan = serde_json::to_vec(&Plan { steps, limit_s, patience_s: limit_s / 2 })?;
    let mut archive = cpio::Archive::default();
    archive.file(PLAN, &plan);
    Ok(archive.finish())
}

fn choose_accelerator(
    qemu: &Qemu,
    kernels: &[Ready],
    userland: &Userland,
    root: &Path,
) -> Result<Accelerator> {
    let Some(Ready { kernel, image, modules, .. }) = kernels.last() else {
        return Ok(Accelerator::Tcg);
    };
    let plan = plan(Vec::new(), KVM_PATIENCE)?;
    let guest = Guest {
        kernel,
        boot: "kvm",
        image,
        initramfs: &[&userland.base, modules, &plan],
        append: "",
        virtual_time: false,
        silence: KVM_PATIENCE,
        directory: root.join("run/kvm"),
    };
    let kvm = guest::try_kvm(qemu, &guest);
    Ok(if kvm { Accelerator::Kvm } else { Accelerator::Tcg })
}
