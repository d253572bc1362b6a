//! How the terminal is left by a panic. What signals and keys do is seen in the lab.

use super::Screen;
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread;

/// Set for the process that panics.
const PANICS: &str = "NLLB_TEST_PANICS";

#[test]
fn a_panic_is_shown_on_the_terminal_as_it_was_before() {
    if std::env::var_os(PANICS).is_some() {
        let _screen = Screen::open().expect("a terminal");
        panic!("on purpose");
    }
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&ours).expect("granted");
    unlockpt(&ours).expect("unlocked");
    let name = ptsname(&ours, Vec::new()).expect("a name");
    let theirs = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("open");
    let side = || Stdio::from(theirs.try_clone().expect("another descriptor"));
    let name = "cli::top::tests::a_panic_is_shown_on_the_terminal_as_it_was_before";
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args([name, "--exact", "--nocapture"]).env(PANICS, "1");
    let mut child = command.stdin(side()).stdout(side()).stderr(side()).spawn().expect("it starts");
    // What it holds of the terminal is closed, so that the end of the child is the end of the output.
    drop(command);
    let reading = thread::spawn(move || {
        let mut shown = Vec::new();
        // A pseudo-terminal whose other side is closed ends with an error.
        let _end = File::from(ours).read_to_end(&mut shown);
        shown
    });
    let before = LocalModes::ICANON | LocalModes::ECHO;
    assert!(!child.wait().expect("it ends").success());
    assert!(tcgetattr(&theirs).expect("a terminal").local_modes.contains(before));
    drop(theirs);
    let shown = reading.join().expect("read");
    let shown = String::from_utf8_lossy(&shown).into_owned();
    let (_, opened) = shown.split_once("\x1b[?1049h").expect("the alternate screen");
    let (_, left) = opened.split_once("\x1b[?1049l").expect("the screen from before");
    assert!(left.contains("on purpose"), "{shown}");
}
