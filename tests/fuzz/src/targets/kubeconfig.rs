//! A kubeconfig is refused with one line that names the file, or its servers can be dialled.

use crate::rig::one_line;
use nllb_agent::discovery::fuzz;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

const FILE: &str = "/nowhere/kubeconfig";

pub(crate) fn run(data: &[u8]) {
    let Some((&helps, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    // What the table on disk may know of a name that nobody resolves.
    let remembered = |port: u16| match helps {
        b'+' => vec![SocketAddr::from(([10, 0, 0, 11], port))],
        _ => Vec::new(),
    };
    match fuzz::kubeconfig(text, Path::new(FILE), &remembered) {
        Ok(read) => {
            let each: BTreeSet<_> = read.endpoints.iter().collect();
            assert_eq!(each.len(), read.endpoints.len(), "a server twice");
            assert!(!read.endpoints.is_empty(), "nobody, and no complaint");
            assert!(read.unresolved.is_empty() || helps == b'+');
            for unresolved in &read.unresolved {
                one_line(&unresolved.to_string());
            }
            // Secrets are in it.
            let shown = format!("{:?} {:?}", read.credentials.token, read.credentials.client);
            assert!(!shown.contains("s3cr3t-in-place"), "{shown}");
        }
        Err(error) => {
            let line = error.to_string();
            one_line(&line);
            assert!(line.starts_with(FILE), "{line}");
        }
    }
}
