//! `nllb version`: what this program is, and what this kernel can do for it.

use super::{Failure, Output};
use crate::datapath::load::Features;
use nllb_common::ABI_VERSION;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    /// Layout of the maps.
    abi_version: u32,
    kernel: String,
    /// `None` when the kernel does not tell.
    kernel_features: Option<BTreeMap<String, bool>>,
}

pub(super) fn run(output: Output, out: &mut dyn io::Write) -> Result<(), Failure> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        abi_version: ABI_VERSION,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        kernel_features: Features::ask().map(Features::names),
    };
    match output {
        Output::Json => {
            let document = serde_json::to_value(&version).map_err(io::Error::other)?;
            writeln!(out, "{document:#}")?;
        }
        Output::Table => {
            let Version { version, abi_version, kernel, kernel_features } = version;
            writeln!(out, "nllb {version}, maps v{abi_version}")?;
            writeln!(out, "Linux {kernel}")?;
            match kernel_features {
                Some(features) => {
                    for (name, there) in features {
                        writeln!(out, "  {name}: {}", if there { "yes" } else { "no" })?;
                    }
                }
                None => {
                    writeln!(out, "  its features are not told without CAP_BPF: run it as root")?;
                }
            }
        }
    }
    Ok(())
}
