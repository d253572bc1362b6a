//! A table on disk is ignored with one line, or it survives being written and read again. What is no table is never
//! replaced.

use crate::rig::{machine, one_line};
use nllb_agent::state::{self, Kept, Reason};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

/// In memory where there is such a place, so that bringing it to the disk takes no time.
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let own = base.join(format!("nllb-fuzz-{}", std::process::id()));
    fs::create_dir_all(&own).expect("a directory");
    own
});

pub(crate) fn run(data: &[u8]) {
    let file = DIRECTORY.join("table.json");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    fs::write(&file, data).expect("written");
    match state::read(&file, now) {
        Ok(Some(kept)) => survives(&kept, now),
        Ok(None) => panic!("the file is there"),
        Err(ignored) => {
            let line = ignored.to_string();
            one_line(&line);
            assert!(line.starts_with(&file.display().to_string()), "{line}");
            let refused = state::write(&file, 1, &Default::default(), now).is_err();
            let content = fs::read(&file).expect("readable");
            let foreign = matches!(ignored.reason, Reason::NotATable | Reason::NotAFile);
            assert_eq!(refused, foreign, "{line}");
            assert!(!refused || content == data, "it was replaced");
        }
    }
}

fn survives(kept: &Kept, now: SystemTime) {
    if let Some(line) = &kept.outdated {
        one_line(line);
    }
    let again = rewritten(kept, now);
    assert_eq!(again.generation, kept.generation);
    assert_eq!((again.age, again.outdated.as_ref()), (Duration::ZERO, None));
    assert_eq!(again.known.vips, kept.known.vips);
    assert_eq!(again.known.backends.len(), kept.known.backends.len());
    for (again, before) in again.known.backends.iter().zip(&kept.known.backends) {
        // Of too many names none are kept.
        if again.names.is_empty() {
            assert_eq!(again.addr, before.addr);
        } else {
            assert_eq!(again, before);
        }
        assert!(again.addr.port() != 0 && !again.addr.ip().is_unspecified());
    }
    assert_eq!(rewritten(&again, now), again, "the second time nothing is lost");
    believed(kept);
}

fn rewritten(kept: &Kept, now: SystemTime) -> Kept {
    let file: &Path = &DIRECTORY.join("again.json");
    state::write(file, kept.generation, &kept.known, now).expect("a table takes its place");
    state::read(file, now).expect("a table").expect("it was written")
}

/// Whatever is remembered, it is no reason for a machine to stop.
fn believed(kept: &Kept) {
    let now = Instant::now();
    let mut machine = machine(now);
    machine.handle_known(&kept.known.backends, now);
    while machine.next_command().is_some() {}
    assert_eq!(machine.remembered().len(), 3, "nobody joins a pool from memory");
}
