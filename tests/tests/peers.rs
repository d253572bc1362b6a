//! The measurement of peers runs: whom this machine has, for one round.

use std::process::Command;

use nllb_lab::lab::{available_or_say, say_skipped};
use nllb_lab::{process, tools};

#[test]
fn each_peer_that_is_here_has_a_figure_of_everything() {
    if !available_or_say() {
        return;
    }
    let mut peers = vec!["direct"];
    if tools::find("haproxy", "haproxy").is_some() {
        peers.push("haproxy");
    } else {
        say_skipped("no haproxy here: `cargo xtask bench peers` unpacks it");
    }
    peers.push("nftables");
    let mut command = Command::new(process::program().expect("the lab's program"));
    command.args(["bench", "peers", "--rounds=1", "--runs=0", "--output=json"]);
    command.args(peers[1..].iter().flat_map(|peer| ["--peer", peer]));
    let output = command.output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(result["version"], 1);
    let measured = result["peers"].as_array().expect("peers");
    let names: Vec<_> = measured.iter().filter_map(|peer| peer["peer"].as_str()).collect();
    assert_eq!(names, peers);
    for peer in measured {
        for metric in ["connect_us", "first_byte_us", "request_us", "throughput_mb_per_s"] {
            let median = peer[metric]["median"].as_f64().expect("a number");
            let ratio = peer[metric]["to_direct"]["median"].as_f64().expect("a number");
            assert!(median > 0.0 && ratio > 0.0, "{peer}");
        }
        let memory = peer["rss_mib"].as_f64();
        assert_eq!(memory.is_some(), peer["peer"] == "haproxy", "{peer}");
    }
}
