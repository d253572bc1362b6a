//! The fuzz targets, whatever reads the words of others, in one program: which of them it is says the argument
//! `--target=NAME`, that libFuzzer ignores as it does whatever begins with two dashes.

#![no_main]

mod rig;
mod script;
mod targets;

use libfuzzer_sys::fuzz_target;
use std::env;
use std::sync::OnceLock;
use targets::{TARGETS, Target};

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(init: choose(), |data: &[u8]| {
    let run = TARGET.get().expect("a target was chosen");
    run(data);
});

fn choose() {
    let name = env::args().find_map(|arg| Some(arg.strip_prefix("--target=")?.to_owned()));
    let chosen = TARGETS.iter().find(|(known, _)| name.as_deref() == Some(known));
    let (_, run) = chosen.unwrap_or_else(|| panic!("--target= has none of the targets: {name:?}"));
    TARGET.get_or_init(|| *run);
}
