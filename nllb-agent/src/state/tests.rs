//! What is read back, what is refused, and what is never replaced.

mod crash;

use super::*;
use nllb_common::maps::{Protocol, State};
use nllb_core::services::{ServiceAddress, ServiceEndpoint};
use nllb_core::{ServiceListing, SubjectName};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

fn at(unix: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(unix)
}

const NOW: u64 = 1_800_000_000;

fn backends(state: State) -> Vec<Remembered> {
    let backend = |addr: &str, drained| Remembered {
        pool: "apiserver".to_owned(),
        addr: addr.parse().expect("an address"),
        state,
        drained,
        close_after: drained.then_some(Duration::from_secs(90)),
        rtt: Some(Duration::from_micros(420)),
        names: vec![
            SubjectName::Dns("kubernetes".to_owned()),
            SubjectName::Dns("10.0.0.1".to_owned()),
            SubjectName::Ip("10.96.0.1".parse().expect("an address")),
        ],
        version: Some("v1.30.4+k3s1".parse().expect("a version")),
    };
    vec![backend("10.0.0.11:6443", false), backend("[fd86::12]:6443", true)]
}

/// What a Service offered.
fn service() -> (Arc<str>, ServiceListing) {
    let (port, protocol): (Arc<str>, _) = ("dns".into(), Protocol::Udp);
    let vip = "10.96.0.10:53".parse().expect("an address");
    let addr = "10.244.0.2:53".parse().expect("an address");
    let endpoint = ServiceEndpoint::ready(addr, Arc::clone(&port), protocol);
    let addresses = vec![ServiceAddress { vip, port, protocol }];
    ("kube-system/kube-dns".into(), ServiceListing { addresses, endpoints: vec![endpoint] })
}

fn known(state: State) -> Recollection {
    let vips = vec!["10.96.0.1:443".parse().expect("an address")];
    Recollection { backends: backends(state), vips, services: vec![service()] }
}

fn read_text(text: &[u8]) -> Result<Option<Kept>, Ignored> {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("table.json");
    fs::write(&file, text).expect("written");
    read(&file, at(NOW))
        .map_err(|Ignored { file: _, reason }| Ignored { file: "table.json".into(), reason })
}

#[test]
fn what_was_written_is_read_back_from_a_file_for_root_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("lib/nllb/table.json");
    assert_eq!(read(&file, at(NOW)).expect("nothing is wrong"), None);
    write(&file, 6, &known(State::Draining), at(NOW - 90)).expect("written");
    write(&file, 7, &known(State::Healthy), at(NOW - 60)).expect("written over");
    let kept = read(&file, at(NOW)).expect("good").expect("there");
    let age = Duration::from_secs(60);
    let expected = Kept { known: known(State::Healthy), generation: 7, age, outdated: None };
    assert_eq!(kept, expected);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().expect("a directory")), 0o700);
    let names = fs::read_dir(file.parent().expect("a directory")).expect("readable");
    assert_eq!(names.count(), 1, "nothing else is left there");
}

#[test]
fn a_table_of_a_week_ago_or_of_the_future_keeps_addresses_and_drains_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("table.json");
    let read_after = |seconds: i64| {
        let now = NOW.checked_add_signed(seconds).expect("a time");
        read(&file, at(now)).expect("good").expect("there")
    };
    write(&file, 7, &known(State::Healthy), at(NOW)).expect("written");
    for (seconds, words) in [
        (
            8 * 24 * 3600,
            "the table on disk is 8 days old: of it only addresses and drains are used",
        ),
        (-3600, "the table on disk is from 3600 s in the future: of it only addresses and drains"),
    ] {
        let Kept { known: Recollection { backends: found, vips, services }, outdated, .. } =
            read_after(seconds);
        assert_eq!(vips, known(State::Healthy).vips);
        assert_eq!(services, known(State::Healthy).services);
        assert!(outdated.as_ref().is_some_and(|line| line.contains(words)), "{outdated:?}");
        let expected: Vec<_> = backends(State::Healthy).into_iter().map(forgotten).collect();
        assert_eq!(found, expected);
        assert!(found[1].drained && found[1].state == State::Unknown && found[1].rtt.is_none());
    }
    for seconds in [-200, 0, 6 * 24 * 3600] {
        assert_eq!(read_after(seconds).outdated, None);
    }
}

#[test]
fn what_is_no_table_of_this_agent_is_ignored_with_one_line_that_names_it() {
    let backend = r#"{"version":1,"generation":1,"writtenAt":1,"backends":[{"pool":"a",
        "address":"ADDRESS","state":"STATE","drained":false,"names":[],"version":VERSION}]}"#;
    let with = |address, state, version| {
        let text = backend.replace("ADDRESS", address).replace("STATE", state);
        text.replace("VERSION", version).into_bytes()
    };
    let table = |rest: &str| format!(r#"{{"version": 1, "generation": 1{rest}"#).into_bytes();
    let vip = |vip| {
        format!(r#"{{"version":1,"generation":1,"writtenAt":1,"backends":[],"vips":["{vip}"]}}"#)
    };
    assert!(read_text(vip("10.96.0.1:443").as_bytes()).is_ok());
    let cases: [(Vec<u8>, &str); 12] = [
        (vip("0.0.0.0:443").into_bytes(), "0.0.0.0:443 is nobody's address"),
        (Vec::new(), "it is damaged (EOF while parsing a value at line 1 column 0)"),
        (table(""), "it is damaged ("),
        (br#"{"version":2,"generation":1}"#.to_vec(), "it is of format 2, this agent knows 1"),
        (table("}"), "it is damaged (missing field `writtenAt`"),
        (table(&" ".repeat(4 << 20)), "it has more than 4194304 bytes"),
        (table(&format!(r#","a":{}"#, "[".repeat(100_000))), "it is damaged ("),
        (with("10.0.0.1", "healthy", "null"), "it is damaged ("),
        (with("10.0.0.1:0", "healthy", "null"), "10.0.0.1:0 is nobody's address"),
        (with("224.0.0.1:6443", "healthy", "null"), "224.0.0.1:6443 is nobody's address"),
        (with("10.0.0.1:6443", "well", "null"), "no state is \"well\""),
        (with("10.0.0.1:6443", "healthy", "\"new\""), "\"new\" is no Kubernetes version"),
    ];
    assert!(read_text(&with("10.0.0.1:6443", "healthy", "\"v1.30\"")).is_ok());
    for (text, words) in cases {
        let line = read_text(&text).expect_err(words).to_string();
        assert!(line.starts_with("table.json: the table on disk is ignored: "), "{line}");
        assert!(line.contains(words) && !line.contains('\n'), "{line}");
    }
}

#[test]
fn what_is_no_table_is_never_replaced_and_the_line_that_says_so_is_always_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("table.json");
    let strangers: [&[u8]; 7] = [
        b"-----BEGIN CERTIFICATE-----\nMIIC\n",
        b"\n",
        b"\0\0\0\0",
        b"apiVersion: nllb.dev/v1alpha1\n",
        br#"{"version":1}"#,
        br#"{"version":"1","generation":1}"#,
        br#"{"cniVersion":"1.0.0","generation":1}"#,
    ];
    for text in strangers {
        fs::write(&file, text).expect("written");
        let ignored = read(&file, at(NOW)).expect_err("no table").to_string();
        assert!(
            ignored.ends_with(
                "it is no table of an agent, so it stays as it is: remove it or name another file"
            ),
            "{ignored}"
        );
        let error = write(&file, 1, &known(State::Healthy), at(NOW)).expect_err("taken");
        assert_eq!(error.to_string(), ignored);
        assert_eq!(fs::read(&file).expect("there"), text);
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1, "nothing beside it");
    }
    fs::remove_file(&file).expect("removed");
    std::os::unix::fs::symlink("/dev/null", &file).expect("a link");
    let error = write(&file, 1, &known(State::Healthy), at(NOW)).expect_err("taken");
    assert!(
        matches!(error, WriteError::Taken(Ignored { reason: Reason::NotAFile, .. })),
        "{error}"
    );
    assert!(file.is_symlink());
}

#[test]
fn a_table_that_is_damaged_or_of_another_format_is_replaced_and_so_is_an_empty_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("table.json");
    let whole = document::render(1, &known(State::Healthy), at(NOW));
    let longer = format!("{whole}{}", " ".repeat(4 << 20));
    let other = r#"{"version":2,"generation":1,"tables":[]}"#;
    for text in ["", &whole[..whole.len() / 2], &longer, other] {
        fs::write(&file, text).expect("written");
        assert!(read(&file, at(NOW)).is_err());
        write(&file, 2, &known(State::Healthy), at(NOW)).expect("replaced");
        assert!(read(&file, at(NOW)).expect("good").is_some());
    }
}

#[test]
fn what_is_no_file_is_ignored_and_nobody_waits_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("a pipe");
    for path in [pipe.as_path(), dir.path()] {
        let error = read(path, at(NOW)).expect_err("no file");
        assert!(matches!(error.reason, Reason::NotAFile), "{error}");
    }
}

#[test]
fn a_disk_that_cannot_be_written_is_an_error_that_names_the_step() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("file"), "").expect("written");
    let file = dir.path().join("file/table.json");
    let error = write(&file, 1, &known(State::Healthy), at(NOW)).expect_err("no directory");
    assert!(error.to_string().contains("table.json: reading what is there: "), "{error}");
}

#[test]
fn a_certificate_with_too_many_names_is_kept_without_names() {
    let name = |n| SubjectName::Dns(format!("{n}.{}", "a".repeat(240)));
    let all = |names: usize| {
        let mut backends = backends(State::Healthy);
        for backend in &mut backends {
            backend.names = (0..names).map(name).collect();
        }
        let known = Recollection { backends, ..Recollection::default() };
        let text = document::render(1, &known, at(NOW));
        document::parse(text.as_bytes()).expect("good").known.backends
    };
    assert_eq!(all(64)[0].names.len(), 64);
    assert_eq!(all(65)[0].names.len(), 0);
    let most: Vec<Remembered> = (0..128)
        .map(|_| Remembered {
            names: (0..64).map(name).collect(),
            ..backends(State::Healthy)[0].clone()
        })
        .collect();
    let most = Recollection { backends: most, ..known(State::Healthy) };
    let length = document::render(1, &most, at(NOW)).len();
    assert!(length as u64 <= LARGEST, "{length}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(text in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = document::parse(&text);
    }

    #[test]
    fn no_damage_to_a_good_table_makes_it_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut text = document::render(7, &known(State::Healthy), at(NOW)).into_bytes();
        for (index, byte) in changes {
            let index = index.index(text.len());
            text[index] = byte;
        }
        let _ = document::parse(&text);
        if let Ok(document) = document::parse(&text[..cut.index(text.len())]) {
            let _ = judge(Path::new("table.json"), document, at(NOW));
        }
    }
}

#[test]
fn why_a_table_is_ignored_is_one_line_whatever_is_in_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("table.json");
    let name =
        r#"{"version":1,"generation":1,"writtenAt":1,"backends":[{"names":[{"a\u001b[2J":1}]}]}"#;
    fs::write(&file, name).expect("written");
    let ignored = read(&file, SystemTime::now()).expect_err("no such name").to_string();
    assert!(ignored.contains("unknown variant `a\\u{1b}[2J`"), "{ignored}");
    assert!(!ignored.contains(char::is_control), "{ignored:?}");
}
