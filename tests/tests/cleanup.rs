//! Nothing of a lab stays behind, however it ended.

use std::fs;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nllb_lab::process::{Process, command, program};
use nllb_lab::{Lab, Place, bpffs, cgroup, netns};

#[test]
fn nothing_of_a_lab_is_left_after_a_panic() {
    let name = Mutex::new(None);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let Some(lab) = Lab::builder().pods(1).build_or_skip() else {
            return;
        };
        let _client = lab.client(0).expect("a client");
        lab.control_plane(0).freeze().expect("frozen");
        lab.control_plane(1).delay(Duration::from_millis(1)).expect("delayed");
        lab.control_plane(2).power_off().expect("off");
        *name.lock().expect("a name") = Some(lab.name().to_owned());
        assert_ne!(remains_of(lab.name()), Vec::<String>::new());
        std::panic::resume_unwind(Box::new("as a failing test would"));
    }));
    let Some(name) = name.into_inner().expect("a name") else {
        return;
    };
    assert!(panic.is_err());
    assert_eq!(remains_of(&name), Vec::<String>::new());
}

#[test]
fn clean_removes_the_lab_of_a_process_that_was_killed() {
    if !nllb_lab::lab::available_or_say() {
        return;
    }
    let mut up = command(&Place::default(), &["up".into()]).expect("a command");
    up.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut up = Process::start(up).expect("a process");
    let mut line = String::new();
    let stdout = up.take_stdout().expect("its output");
    BufReader::new(stdout).read_line(&mut line).expect("its lab's name");
    let name = line.trim();
    // A frozen server does not notice that its lab has gone.
    let frozen = inhabitants(&format!("{name}-cp0"));
    assert_eq!(frozen.len(), 1, "{frozen:?}");
    kill(frozen[0], Signal::SIGSTOP).expect("stopped");
    up.kill().expect("killed");
    assert_ne!(remains_of(name), Vec::<String>::new());

    let clean = Command::new(program().expect("a program")).arg("clean").output();
    let clean = clean.expect("an output");
    assert!(String::from_utf8_lossy(&clean.stdout).contains(name), "{clean:?}");
    assert_eq!(remains_of(name), Vec::<String>::new());
    assert!(!Path::new(&format!("/proc/{}", frozen[0])).exists() || is_zombie(frozen[0]));
}

/// Everything that has the lab's name.
fn remains_of(lab: &str) -> Vec<String> {
    let places = [
        cgroup::mount_point().expect("cgroup2").join(lab),
        Path::new(bpffs::MOUNT_POINT).join(lab),
        std::env::temp_dir().join(lab),
    ];
    let paths = places.iter().filter(|path| path.exists()).map(|path| path.display().to_string());
    paths.chain(netns::names().into_iter().filter(|name| name.starts_with(lab))).collect()
}

fn inhabitants(netns: &str) -> Vec<Pid> {
    let output = Command::new("ip").args(["netns", "pids", netns]).output().expect("pids");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(|id| id.trim().parse().ok()).map(Pid::from_raw).collect()
}

fn is_zombie(id: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}
