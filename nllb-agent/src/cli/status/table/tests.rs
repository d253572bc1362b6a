//! The table as a person sees it, against expected files.

use super::*;
use crate::status::example;

const PLAIN: Paint = Paint::NONE;

#[test]
fn the_table_of_a_good_agent() {
    matches("good", &render(&example::healthy(), Detail::Screen, PLAIN));
}

#[test]
fn all_that_a_good_agent_knows() {
    matches("good-wide", &render(&example::healthy(), Detail::Wide, PLAIN));
}

#[test]
fn a_good_agent_of_three_backends_fits_a_screen_of_24_lines() {
    let mut status = example::healthy();
    let third = status.pools[0].backends[1].clone();
    status.pools[0].backends.push(third);
    let text = render(&status, Detail::Screen, PLAIN);
    assert!(text.lines().count() < 24, "{text}");
}

#[test]
fn the_table_of_an_agent_in_trouble_names_every_problem() {
    let status = trouble();
    matches("trouble", &render(&status, Detail::Screen, PLAIN));
    matches("trouble-wide", &render(&status, Detail::Wide, PLAIN));
}

fn trouble() -> Status {
    let mut status = example::status();
    status.config.last_reload_error =
        Some("agent.yaml:3:1: unknown key \"pool\": did you mean \"pools\"?".to_owned());
    status.datapath.links[1].problem = Some("detached by another program".to_owned());
    status.datapath.self_test.failures = vec!["127.86.0.1:1 was not translated".to_owned()];
    status.listeners = vec![
        example::listener("127.0.0.1:7443", ListenerState::OwnedByOther),
        example::listener("[::1]:7443", ListenerState::Failed("no such address".to_owned())),
    ];
    status.closing.mode = "timeouts".to_owned();
    status.closing.reason = Some("this kernel has no CONFIG_INET_DIAG_DESTROY".to_owned());
    status.closing.unreached = vec!["network namespace 4711: no process is in it".to_owned()];
    status.table_on_disk.age_ms = None;
    status.table_on_disk.error = Some("cannot write /var/lib/nllb/table.json: full".to_owned());
    status.config.unresolved = vec!["/etc/k: \"https://api:6443\" cannot be resolved".to_owned()];
    status.discovery.sources[2].error =
        Some("cp.example.org cannot be resolved: no name server answers (timed out)".to_owned());
    status.discovery.sources[2].error_age_ms = Some(240_000);
    status.discovery.sources[1].heard_ms = None;
    status.discovery.sources[1].changed_ms = None;
    status.discovery.sources[1].ignored = 3;
    status.discovery.left_out = vec![
        "pool apiserver: 10.96.0.1:443 (dns cp.example.org) is left out: it is a frontend's address"
            .to_owned(),
    ];
    let sandboxes = status.sandboxes.as_mut().expect("some are wanted");
    let refused = "cannot attach a program: Device or resource busy (os error 16)".to_owned();
    let failed = GuestInterface { problem: Some(refused), ..GuestInterface::default() };
    let (name, chosen_by) = ("tap1".to_owned(), "pod default/web-0".to_owned());
    sandboxes.interfaces.push(GuestInterface { name, index: 8, chosen_by, ..failed });
    sandboxes.left_alone = vec!["tap9: never served: it has a default route".to_owned()];
    status.kubelet_version = None;
    for backend in &mut status.pools[0].backends {
        backend.evidence = None;
        backend.last_probe = None;
        backend.rtt_us = None;
        backend.version = None;
    }
    status.frontends[1].backends[1].reason = Some(
        "not eligible: its certificate does not cover 10.0.0.11, only kubernetes, \
         kubernetes.default, kubernetes.default.svc, 10.96.0.1"
            .to_owned(),
    );
    let drained = &mut status.pools[0].backends[0];
    drained.state = "draining".to_owned();
    drained.reason = "drained by an operator".to_owned();
    drained.drained = true;
    drained.closes_in_ms = Some(240_000);
    drained.doubt = Some("a ping is overdue".to_owned());
    if let Some(certificate) = &mut drained.certificate {
        certificate.warning = Some("its certificate ends within 7 days".to_owned());
    }
    Status { verdict: status.judge(), ..status }
}

#[test]
fn the_verdict_is_one_line_that_counts_what_it_has_no_room_for() {
    let status = trouble();
    for room in [40, 79, 100, 400] {
        let line = verdict(&status, room);
        assert!(line.chars().count() <= room, "{room}: {line}");
        assert!(line.starts_with("not-attached: ") && line.contains(" more"), "{room}: {line}");
    }
    assert!(!verdict(&status, 10_000).contains(" more"));
    let healthy = example::healthy();
    assert!(verdict(&healthy, 100).starts_with("healthy: 2 of 2 backends"));
}

#[test]
fn colour_is_all_that_paint_adds() {
    let status = trouble();
    let plain = render(&status, Detail::Screen, PLAIN);
    let painted = render(&status, Detail::Screen, Paint::ALL);
    assert!(painted.starts_with("\x1b[1;31mnot-attached\x1b[0m: "), "{painted}");
    let mut bare = painted.clone();
    for code in ["\x1b[32m", "\x1b[33m", "\x1b[1;31m", "\x1b[0m"] {
        bare = bare.replace(code, "");
    }
    assert_eq!(bare, plain);
    assert!(painted.contains("\x1b[1;31munhealthy\x1b[0m"), "{painted}");
}

#[test]
fn why_a_sentinel_is_down_is_not_said_twice() {
    let mut status = example::status();
    let dead = &mut status.pools[0].backends[1];
    assert!(dead.sentinel.reason.as_ref().is_some_and(|reason| *reason != dead.reason));
    dead.sentinel.reason = Some(dead.reason.clone());
    assert!(!render(&status, Detail::Wide, PLAIN).contains("has no sentinel"));
}

#[test]
fn off_says_that_the_kernel_alone_still_ends_some() {
    let mut status = example::status();
    status.closing.mode = "off".to_owned();
    let text = render(&status, Detail::Wide, PLAIN);
    let line = text.lines().find(|line| line.starts_with("closing ")).expect("a line");
    assert!(
        line.ends_with(
            " off, except that without an agent the kernel ends those with unanswered data"
        ),
        "{line}"
    );
    assert!(line.len() <= WIDTH, "{line}");
}

#[test]
fn no_line_of_the_screen_is_wider_than_a_hundred_columns() {
    for text in [include_str!("good.txt"), include_str!("trouble.txt")] {
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }
}

/// Compares with the file of that name; `UPDATE_EXPECTED=1` writes it anew.
fn matches(name: &str, text: &str) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/status/table");
    let file = dir.join(name).with_extension("txt");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&file, text).expect("writable");
    }
    assert_eq!(text, std::fs::read_to_string(&file).expect("readable"));
}
