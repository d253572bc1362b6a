//! What is read back after crashes, garbage and long use, and what is never written to.

use super::*;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt as _;

fn line(seq: u64) -> Arc<str> {
    format!(r#"{{"seq":{seq},"timeMs":1800000000000,"what":"undrain","backend":"10.0.0.1:6443"}}"#)
        .into()
}

fn lines(seqs: std::ops::RangeInclusive<u64>) -> Vec<Arc<str>> {
    seqs.map(line).collect()
}

/// The numbers that are read, and how much is skipped.
fn numbers(file: &Path) -> (Vec<u64>, u64) {
    let mut numbers = Vec::new();
    let read = read(file, |seq, text| {
        assert_eq!(*text, *line(seq));
        numbers.push(seq);
    });
    let Read { newest, skipped } = read.expect("readable");
    assert_eq!(newest, numbers.last().copied().unwrap_or_default());
    (numbers, skipped)
}

fn file(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("lib/nllb/journal.jsonl")
}

#[test]
fn what_was_written_is_read_back_from_a_file_for_root_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = file(&directory);
    assert_eq!(numbers(&file), (vec![], 0), "no file is no entry");
    append(&file, &lines(1..=2)).expect("written");
    append(&file, &lines(3..=3)).expect("written");
    assert_eq!(numbers(&file), (vec![1, 2, 3], 0));
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().expect("a directory")), 0o700);
}

#[test]
fn it_takes_two_files_of_a_bounded_length_however_long_it_is_used() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = file(&directory);
    let batch = 100;
    for round in 0..200 {
        append(&file, &lines(round * batch + 1..=(round + 1) * batch)).expect("written");
        let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        assert!(length(&file) <= LONGEST_FILE && length(&older(&file)) <= LONGEST_FILE);
    }
    let (found, skipped) = numbers(&file);
    assert_eq!((found.last(), skipped), (Some(&(200 * batch)), 0));
    assert!(found.windows(2).all(|pair| pair[0] + 1 == pair[1]), "none between is lost");
    let kept = found.len() as u64 * (line(10_000).len() as u64 + 1);
    assert!(kept > LONGEST_FILE, "more than one file full is kept: {kept}");
    assert_eq!(fs::read_dir(file.parent().expect("a directory")).expect("readable").count(), 2);
}

#[test]
fn a_crash_at_any_byte_costs_the_line_under_way_and_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("journal.jsonl");
    append(&file, &lines(1..=4)).expect("written");
    let whole = fs::read(&file).expect("there");
    for length in 0..=whole.len() {
        fs::write(&file, &whole[..length]).expect("torn");
        let complete = whole[..length].iter().filter(|byte| **byte == b'\n').count() as u64;
        let before = numbers(&file).0;
        // All of a line but its end is a line.
        let has = before.len() as u64;
        assert!(has == complete || has == complete + 1, "{length}: {before:?}");
        append(&file, &[line(has + 1)]).expect("it goes on");
        assert_eq!(numbers(&file).0, (1..=has + 1).collect::<Vec<_>>(), "{length}");
    }
}

#[test]
fn a_crash_between_the_steps_of_a_change_of_files_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("journal.jsonl");
    append(&file, &lines(1..=3)).expect("written");
    fs::rename(&file, older(&file)).expect("the first step");
    assert_eq!(numbers(&file), (vec![1, 2, 3], 0));
    append(&file, &lines(4..=4)).expect("it goes on");
    assert_eq!(numbers(&file), (vec![1, 2, 3, 4], 0));
}

#[test]
fn garbage_between_lines_is_skipped_and_zeros_at_the_end_are_no_garbage() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("journal.jsonl");
    let mut text = format!("{}\nnonsense\n{{\"seq\":\"x\"}}\n\u{fffd}\n", line(1)).into_bytes();
    text.extend([0xff, 0xfe, b'\n']);
    text.extend(vec![b'x'; 30_000]);
    // Twice the same, one from far away, and one that is fine.
    let far = LONGEST_GAP + 3;
    text.extend(format!("\n{}\n{}\n{}\n", line(1), line(far), line(2)).into_bytes());
    text.extend([0; 100]);
    fs::write(&file, &text).expect("written");
    assert_eq!(numbers(&file), (vec![1, 2], 7));
    append(&file, &lines(3..=3)).expect("it goes on");
    assert_eq!(numbers(&file).0, [1, 2, 3]);
}

#[test]
fn what_is_no_journal_is_never_written_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("journal.jsonl");
    for text in ["root:x:0:0:root\n", "{\"version\": 1}", "\n", "{\"sequel\":1}"] {
        fs::write(&file, text).expect("written");
        let error = append(&file, &lines(1..=1)).expect_err(text).to_string();
        assert!(error.ends_with("remove it or name another file in state.journal"), "{error}");
        assert_eq!(read(&file, |_, _| {}).expect_err(text).to_string(), error);
        assert_eq!(fs::read_to_string(&file).expect("there"), text);
    }
    fs::remove_file(&file).expect("removed");
    append(&file, &lines(1..=6000)).expect("written");
    fs::write(older(&file), "mine").expect("written");
    append(&file, &lines(6001..=7000)).expect_err("the older one would be lost");
    assert_eq!(fs::read_to_string(older(&file)).expect("there"), "mine");

    let pipe = directory.path().join("pipe");
    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, mode, 0).expect("a pipe");
    for path in [pipe.as_path(), directory.path()] {
        append(path, &lines(1..=1)).expect_err("no file");
        read(path, |_, _| {}).expect_err("no file");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail_and_what_is_added_is_read(
        start in prop::sample::select(vec![&b""[..], b"{\"seq\":", b"\0\0"]),
        bytes in proptest::collection::vec(any::<u8>(), 0..3000),
        cut in any::<prop::sample::Index>(),
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("journal.jsonl");
        let mut text = start.to_vec();
        let whole: Vec<u8> = lines(1..=9).iter().flat_map(|line| line.bytes().chain([b'\n'])).collect();
        text.extend(&whole[..cut.index(whole.len())]);
        text.extend(bytes);
        fs::write(&file, &text).expect("written");
        let Ok(found) = read(&file, |_, _| {}) else {
            // Nothing that begins like a journal is taken for a stranger.
            prop_assert_ne!(start, HEAD);
            return Ok(());
        };
        let next = found.newest + 1;
        if next <= LARGEST_SEQ {
            append(&file, &[line(next)]).expect("it goes on");
            prop_assert_eq!(read(&file, |_, _| {}).expect("readable").newest, next);
        }
    }

    #[test]
    fn damage_costs_the_lines_that_it_meets_and_never_the_new_one(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("journal.jsonl");
        append(&file, &lines(1..=20)).expect("written");
        let mut text = fs::read(&file).expect("there");
        for (index, byte) in changes {
            // The first bytes say whose file it is.
            let index = HEAD.len() + index.index(text.len() - HEAD.len());
            text[index] = byte;
        }
        fs::write(&file, &text).expect("damaged");
        let mut found = 0;
        let Read { newest, .. } = read(&file, |_, _| found += 1).expect("readable");
        prop_assert!(found >= 1);
        append(&file, &[line(newest + 1)]).expect("it goes on");
        prop_assert_eq!(read(&file, |_, _| {}).expect("readable").newest, newest + 1);
    }
}
