//! What is fetched before a guest can be started: kernels, each with its modules, and QEMU.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    kernel,
    kernels::Kernel,
    packages::{Package, Store},
    qemu::Qemu,
};
use crate::setup::machine::{Debian, Machine};

/// All that guests run on.
pub(crate) struct Fetched {
    pub(crate) qemu: Qemu,
    pub(crate) kernels: Vec<Ready>,
}

/// A kernel that can be started.
pub(crate) struct Ready {
    pub(crate) kernel: Kernel,
    pub(crate) packages: Vec<Package>,
    pub(crate) image: PathBuf,
    pub(crate) modules: Vec<u8>,
}

impl Fetched {
    /// Fetches what the store does not have yet.
    pub(crate) fn fetch(store: &Store, kernels: &[Kernel]) -> Result<Self> {
        let debian_12 = Machine::look().debian == Some(Debian::Bookworm);
        let qemu = Qemu::find(store, debian_12).context("QEMU")?;
        let kernels = kernels.iter().map(|kernel| {
            ready(store, kernel)
                .with_context(|| format!("kernel {} of {}", kernel.name, kernel.suite))
        });
        Ok(Self { qemu, kernels: kernels.collect::<Result<_>>()? })
    }
}

fn ready(store: &Store, kernel: &Kernel) -> Result<Ready> {
    let packages = store.newest_kernel(&kernel.suite)?;
    let directory = store.unpacked(&packages, prepare)?;
    let modules = fs::read(directory.join("modules"))?;
    Ok(Ready { kernel: kernel.clone(), packages, image: directory.join("kernel"), modules })
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
