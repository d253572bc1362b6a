//! Takes a kernel's packages apart: the kernel itself, unpacked once here instead of at each start by the
//! guest, and the modules that the guest loads, with those they depend on.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, bail, ensure};
use object::{File, Object as _, ObjectSection as _};

use super::{cpio::Archive, protocol::MODULES};

/// What the lab, its faults, the sockets of the tests, and those need that nllb is measured beside.
const WANTED: [&str; 23] = [
    "veth",
    "bridge",
    "tun",
    "tcp_diag",
    "udp_diag",
    "nf_tables",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_counter",
    "nft_numgen",
    "nft_meta_bridge",
    "nf_tables_set",
    "nft_hash",
    "cls_cgroup",
    "dummy",
    "virtio_rng",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "ip_vs",
    "ip_vs_rr",
];

/// How the kernel, or a module, is packed.
const PACKED: [(&[u8], &str); 4] = [
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x02\x21\x4c\x18", "lz4"),
];

/// The kernel out of what a boot loader would load (`Documentation/arch/x86/boot.rst`).
pub(crate) fn unpack(image: &[u8]) -> Result<Vec<u8>> {
    const SETUP_SECTORS: usize = 0x1f1;
    const PAYLOAD_OFFSET: usize = 0x248;
    const PAYLOAD_LENGTH: usize = 0x24c;
    let word = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("too short")?;
        Ok(usize::try_from(u32::from_le_bytes(bytes.try_into()?))?)
    };
    let sectors = match *image.get(SETUP_SECTORS).context("too short")? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + word(PAYLOAD_OFFSET)?;
    let payload = image.get(start..start + word(PAYLOAD_LENGTH)?).context("too short")?;
    let gzip = payload.starts_with(PACKED[0].0);
    // The kernel's own build adds the unpacked size, except to what gzip makes, which has it already.
    let payload = if gzip { payload } else { &payload[..payload.len().saturating_sub(4)] };
    let kernel = decompress(payload).context("the kernel")?;
    ensure!(kernel.starts_with(b"\x7fELF"), "what is packed in it is no kernel");
    Ok(kernel)
}

/// The modules in an archive, with a list of their order. Those that the kernel has built in are none.
pub(crate) fn modules(root: &Path) -> Result<Vec<u8>> {
    let mut files = Vec::new();
    find_modules(root, &mut files)?;
    ensure!(!files.is_empty(), "{}: no modules", root.display());
    let mut order = Vec::new();
    for name in WANTED {
        add(name, &files, &mut order)?;
    }
    let mut archive = Archive::default();
    let mut list = String::new();
    for (name, content) in order {
        archive.file(&format!("{MODULES}/{name}"), &content);
        list += &format!("{name}\n");
    }
    archive.file(&format!("{MODULES}/order"), list.as_bytes());
    Ok(archive.finish())
}

/// A module after those it depends on.
fn add(name: &str, files: &[PathBuf], order: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    if order.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    let Some(path) = files.iter().find(|path| module_name(path).as_deref() == Some(name)) else {
        return Ok(());
    };
    let content = fs::read(path)?;
    let packed = PACKED.iter().any(|(magic, _)| content.starts_with(magic));
    let content = if packed { decompress(&content)? } else { content };
    for depended in depends(&content).with_context(|| path.display().to_string())? {
        add(&depended, files, order)?;
    }
    order.push((name.to_owned(), content));
    Ok(())
}

/// What `modinfo` shows as `depends`.
fn depends(module: &[u8]) -> Result<Vec<String>> {
    let file = File::parse(module)?;
    let info = file.section_by_name(".modinfo").context("not a module")?;
    let text = String::from_utf8_lossy(info.data()?).into_owned();
    let depends = text.split('\0').find_map(|line| line.strip_prefix("depends="));
    let names = depends.unwrap_or_default().split(',').filter(|name| !name.is_empty());
    Ok(names.map(plain).collect())
}

/// Files have dashes or underscores as their authors liked.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (stem, packed) = name.split_once(".ko")?;
    (packed.is_empty() || packed.starts_with('.')).then(|| plain(stem))
}

fn find_modules(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            find_modules(&entry.path(), found)?;
        } else if kind.is_file() && module_name(&entry.path()).is_some() {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// By the program for it, since no library here knows all of them.
fn decompress(packed: &[u8]) -> Result<Vec<u8>> {
    let Some((_, program)) = PACKED.iter().find(|(magic, _)| packed.starts_with(magic)) else {
        bail!("packed in a way that is not known: {:02x?}", &packed[..packed.len().min(6)]);
    };
    let mut child = Command::new(program)
        .args(["--decompress", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let mut stdin = child.stdin.take().context("no pipe")?;
    let output = thread::scope(|scope| {
        // It ends early when the other end does, and then the output tells.
        scope.spawn(move || stdin.write_all(packed));
        child.wait_with_output()
    })?;
    ensure!(output.status.success(), "{program} failed: {}", output.status);
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_known_by_its_file_packed_or_not() {
        let name = |path: &str| module_name(Path::new(path));
        assert_eq!(name("/lib/nft_reject.ko").as_deref(), Some("nft_reject"));
        assert_eq!(name("/lib/cls-cgroup.ko.xz").as_deref(), Some("cls_cgroup"));
        assert_eq!(name("/lib/modules.order"), None);
        assert_eq!(name("/lib/x.kob"), None);
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        assert!(unpack(b"short").is_err());
        assert!(unpack(&[0; 8192]).is_err());
    }
}
