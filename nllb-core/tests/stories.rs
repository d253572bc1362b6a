//! Runs the stories in `tests/stories`: events in, what the machine does and the map content out.
//!
//! The file name is the behaviour. Above the line `----` stands what happens (see `story/script.rs`
//! for the words), below it what must come of it. Time is virtual and jitter is off unless a story
//! asks for it, so the text is the same in every run. `UPDATE_STORIES=1` rewrites what stands below
//! the line; read the difference before you keep it.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "story/network.rs"]
mod network;
#[path = "story/play.rs"]
mod play;
#[path = "story/script.rs"]
mod script;

const LINE: &str = "----\n";

#[test]
fn every_story_ends_as_told() {
    let update = std::env::var_os("UPDATE_STORIES").is_some();
    let stories = stories();
    assert!(!stories.is_empty(), "no stories found");
    let failures: Vec<String> = stories.iter().filter_map(|path| check(path, update)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn stories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let entries = fs::read_dir(folder).expect("the folder of stories");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths
}

/// Plays a story and says how it differs from what is told, if it does.
fn check(path: &Path, update: bool) -> Option<String> {
    let name = path.file_stem().expect("a name").to_string_lossy();
    let text = fs::read_to_string(path).expect("a readable story");
    let (events, told) = text.split_once(LINE).unwrap_or((&text, ""));
    let came = play::play(&name, events);
    if told == came {
        return None;
    }
    if update {
        fs::write(path, format!("{events}{LINE}{came}")).expect("a writable story");
        return None;
    }
    let at = told.lines().zip(came.lines()).take_while(|(told, came)| told == came).count();
    let line = |text: &str| text.lines().nth(at).unwrap_or("(the end)").to_owned();
    Some(format!(
        "{name}: line {} below the ----\n  told: {}\n  came: {}\n",
        at + 1,
        line(told),
        line(&came)
    ))
}
