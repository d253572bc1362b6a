//! `cargo xtask vm-test`: the data path on other kernels, in virtual machines. What runs on which kernel, and
//! what must work there, is in `vm-tests/kernels.toml`; what runs inside is the crate `vm-tests`.

mod cpio;
mod guest;
mod kernel;
mod kernels;
mod packages;
#[path = "../../vm-tests/src/protocol.rs"]
mod protocol;
mod qemu;
mod report;
mod table;
mod userland;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Args, ValueEnum};

use crate::{
    setup::machine::{Debian, Machine},
    workspace::{Workspace, say},
};
use guest::{Accelerator, Guest};
use kernels::{Boot, Kernel, Kernels};
use packages::{Package, Store};
use protocol::{PLAN, Plan, Step};
use qemu::Qemu;
use report::{Findings, Run};
use table::{Summary, Taken};
use userland::Built;

/// A guest died or hung.
const EXIT_DIED: u8 = 4;
/// A test failed, or a feature is lost.
const EXIT_FAILED: u8 = 5;
/// How long a machine with KVM may take for a kernel that has nothing to do.
const KVM_PATIENCE: Duration = Duration::from_secs(6);
/// Beside a step's own limit, before a guest that tells nothing is given up.
const GRACE: Duration = Duration::from_secs(60);

/// What to run.
#[derive(Args)]
pub(crate) struct Options {
    /// Names in vm-tests/kernels.toml, or releases of these kernels; without one: all.
    kernels: Vec<String>,
    /// Only this boot of each.
    #[arg(long)]
    boot: Option<String>,
    /// How to tell what came of it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// `cargo xtask vm-test`.
pub(crate) fn command(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let Some(findings) = run(workspace, options)? else { return Ok(ExitCode::FAILURE) };
    Ok(match findings {
        Findings { deaths, .. } if !deaths.is_empty() => ExitCode::from(EXIT_DIED),
        Findings { failures, .. } if !failures.is_empty() => ExitCode::from(EXIT_FAILED),
        Findings { .. } => ExitCode::SUCCESS,
    })
}

/// What is started once it is fetched and built.
struct Fetched {
    kernel: Kernel,
    packages: Vec<Package>,
    image: PathBuf,
    modules: Vec<u8>,
}

/// One start.
struct Job<'a> {
    fetched: &'a Fetched,
    boot: &'a Boot,
}

/// None when the build failed, which was said.
fn run(workspace: &Workspace, options: &Options) -> Result<Option<Findings>> {
    let since = Instant::now();
    let file = workspace.root.join("vm-tests/kernels.toml");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let all = Kernels::parse(&text).with_context(|| file.display().to_string())?;
    let kernels = all.chosen(&options.kernels)?;
    let wanted = |boot: &&Boot| options.boot.as_ref().is_none_or(|name| *name == boot.name);
    let boots: Vec<_> = all.boots.iter().filter(wanted).collect();
    ensure!(!boots.is_empty(), "there is no such boot in {}", file.display());
    let root = workspace.side_target("vm");
    let store = Store::new(root.clone());
    // The network and the processor are busy at the same time.
    let (fetched, built) = thread::scope(|scope| {
        let fetching = scope.spawn(|| fetch(&store, &kernels));
        let built = Built::build(workspace);
        (fetching.join().map_err(|_| anyhow!("fetching has panicked")), built)
    });
    let ((fetched, qemu), Some(built)) = (fetched??, built?) else { return Ok(None) };
    let userland = Userland::make(&built, &boots, &root)?;
    let accelerator = choose_accelerator(&qemu, &fetched, &userland, &root)?;
    say(&format!("vm-test: guests run by {}", accelerator.label()));
    let runs = run_all(&qemu, accelerator, &fetched, &boots, &userland, &root)?;
    let findings = report::judge(&runs);
    let taken: Taken = fetched
        .into_iter()
        .map(|Fetched { kernel, packages, .. }| (kernel.name, packages))
        .collect();
    let total_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    let summary = Summary {
        runs: &runs,
        taken: &taken,
        findings: &findings,
        accelerator: accelerator.label(),
        total_ms,
    };
    match options.output {
        Output::Table => println!("{summary}"),
        Output::Json => println!("{}", summary.json()?),
    }
    Ok(Some(findings))
}

fn fetch(store: &Store, kernels: &[Kernel]) -> Result<(Vec<Fetched>, Qemu)> {
    let debian_12 = Machine::look().debian == Some(Debian::Bookworm);
    let qemu = Qemu::find(store, debian_12).context("QEMU")?;
    let one = |kernel: &Kernel| -> Result<Fetched> {
        let packages = store.newest_kernel(&kernel.suite)?;
        let directory = store.unpacked(&packages, prepare)?;
        let modules = fs::read(directory.join("modules"))?;
        let image = directory.join("kernel");
        Ok(Fetched { kernel: kernel.clone(), packages, image, modules })
    };
    let fetched = kernels.iter().map(|kernel| {
        one(kernel).with_context(|| format!("kernel {} of {}", kernel.name, kernel.suite))
    });
    Ok((fetched.collect::<Result<_>>()?, qemu))
}

/// Of a kernel's packages, what guests use.
fn prepare(raw: &Path, kept: &Path) -> Result<()> {
    let image = find_image(raw)?.context("no kernel in its packages")?;
    fs::write(kept.join("kernel"), kernel::unpack(&fs::read(image)?)?)?;
    fs::write(kept.join("modules"), kernel::modules(raw)?).context("cannot write")
}

fn find_image(directory: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_image = entry.file_name().to_string_lossy().starts_with("vmlinuz");
        let kind = entry.file_type()?;
        if kind.is_file() && is_image {
            return Ok(Some(entry.path()));
        }
        if kind.is_dir() {
            if let Some(found) = find_image(&entry.path())? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// The archives that do not depend on the kernel.
struct Userland {
    base: Vec<u8>,
    programs: BTreeMap<String, Vec<u8>>,
}

impl Userland {
    fn make(built: &Built, boots: &[&Boot], scratch: &Path) -> Result<Self> {
        let mut names = BTreeSet::new();
        for boot in boots {
            names.extend(boot.steps()?.into_iter().filter_map(|step| match step {
                Step::Test { program, .. } => Some(program),
                Step::Features | Step::Verifier | Step::Check(_) => None,
            }));
        }
        let program = |name: String| {
            let archive = built.program(&name, scratch)?;
            Ok((name, archive))
        };
        let programs = names.into_iter().map(program).collect::<Result<_>>()?;
        Ok(Self { base: built.base(scratch)?, programs })
    }

    /// What a guest with these steps has.
    fn of<'a>(&'a self, steps: &[Step]) -> Vec<&'a [u8]> {
        let used = self.programs.iter().filter(|(name, _)| {
            let is_it =
                |step: &Step| matches!(step, Step::Test { program, .. } if program == *name);
            steps.iter().any(is_it)
        });
        std::iter::once(self.base.as_slice()).chain(used.map(|(_, archive)| &archive[..])).collect()
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
    fetched: &[Fetched],
    userland: &Userland,
    root: &Path,
) -> Result<Accelerator> {
    let Some(Fetched { kernel, image, modules, .. }) = fetched.last() else {
        return Ok(Accelerator::Tcg);
    };
    let plan = plan(Vec::new(), KVM_PATIENCE)?;
    let guest = Guest {
        kernel,
        boot: "kvm",
        image,
        initramfs: &[&userland.base, modules, &plan],
        append: "",
        silence: KVM_PATIENCE,
        directory: root.join("run/kvm"),
    };
    let kvm = guest::try_kvm(qemu, &guest);
    Ok(if kvm { Accelerator::Kvm } else { Accelerator::Tcg })
}

/// As many at a time as there are processors, those with the most to do first.
fn run_all(
    qemu: &Qemu,
    accelerator: Accelerator,
    fetched: &[Fetched],
    boots: &[&Boot],
    userland: &Userland,
    root: &Path,
) -> Result<Vec<Run>> {
    let mut jobs: Vec<_> =
        boots.iter().flat_map(|boot| fetched.iter().map(|fetched| Job { fetched, boot })).collect();
    jobs.sort_by_key(|job| std::cmp::Reverse(job.boot.steps().map_or(0, |steps| steps.len())));
    let jobs = Mutex::new(VecDeque::from(jobs));
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let workers = thread::available_parallelism().map_or(1, |count| count.get().min(4));
    let runs: Result<Vec<Vec<Run>>> = thread::scope(|scope| {
        let work = || {
            let mut runs = Vec::new();
            while let Some(job) = next() {
                runs.push(run_one(qemu, accelerator, &job, userland, root)?);
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
        let kernel = fetched.iter().position(|one| one.kernel.name == run.kernel.name);
        (kernel, boots.iter().position(|boot| boot.name == run.boot))
    };
    runs.sort_by_key(place);
    Ok(runs)
}

fn run_one(
    qemu: &Qemu,
    accelerator: Accelerator,
    job: &Job<'_>,
    userland: &Userland,
    root: &Path,
) -> Result<Run> {
    let Job { fetched, boot } = job;
    let steps = boot.steps()?;
    let limit = accelerator.step_limit();
    let plan = plan(steps.clone(), limit)?;
    let mut initramfs = userland.of(&steps);
    initramfs.extend([fetched.modules.as_slice(), &plan]);
    let name = &fetched.kernel.name;
    let run = Guest {
        kernel: &fetched.kernel,
        boot: &boot.name,
        image: &fetched.image,
        initramfs: &initramfs,
        append: &boot.append,
        silence: limit + GRACE,
        directory: root.join("run").join(format!("{name}-{}", boot.name)),
    }
    .run(qemu, accelerator)?;
    let passed = run.told.steps.iter().filter(|step| step.outcome == protocol::Outcome::Passed);
    let (passed, all) = (passed.count(), steps.len());
    say(&format!(
        "vm-test: {name} {}: {passed} of {all} passed in {} s",
        boot.name,
        run.run_ms / 1000
    ));
    Ok(run)
}
