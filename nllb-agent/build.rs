//! Builds the BPF object and puts it where `datapath/load.rs` includes it from.
//!
//! One mechanism for both toolchain roads; `cargo xtask setup` installs what is missing, and shares
//! the file that knows what that is.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

fn main() {
    if let Err(error) = build() {
        // One clear text instead of a panic message: this is what a user without set-up reads.
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let cargo = env::var_os("CARGO").ok_or("CARGO is not set")?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if env::var_os("CARGO_FEATURE_FUZZING").is_some() {
        // No fuzz target loads programs, and these would be built for them alone.
        return Ok(fs::write(out.join("nllb-ebpf"), [])?);
    }
    for path in ["nllb-ebpf", "nllb-common", "xtask/src/toolchain.rs", "xtask/src/toolchain"] {
        println!("cargo:rerun-if-changed={}", workspace.join(path).display());
    }
    let toolchain = toolchain::find().map_err(|missing| missing.to_string())?;
    let target_dir = out.join("bpf");
    let status = toolchain.command(&cargo, &workspace, &target_dir).status()?;
    if !status.success() {
        return Err(format!("building nllb-ebpf failed: {status}").into());
    }
    fs::copy(toolchain.object(&target_dir), out.join("nllb-ebpf"))?;
    Ok(())
}
