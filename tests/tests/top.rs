//! `nllb top` in a terminal: what is on the screen, and how the terminal is left.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::Signal;
use nllb_lab::process::Process;
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Configuration, Lab};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use vt100::{Parser, Screen};

#[test]
fn the_screen_follows_the_agent_and_the_terminal_and_is_given_back() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::prepare(&lab, 0).expect("prepared");
    // Without a journal on disk the next agent begins another one.
    let text = agent.text(&Configuration::of(&lab).quick());
    agent.write(&text.replace("state: {", "state: { journal: off,")).expect("written");
    agent.restart().expect("an agent");
    let addresses: Vec<_> =
        lab.control_planes().iter().map(|plane| plane.tls().to_string()).collect();
    let mut terminal = Terminal::open(24, 80);
    let mut top = terminal.start(&agent, &[]);
    let first = terminal.shows("every backend", |screen| {
        let text = screen.contents();
        let all = addresses.iter().all(|address| text.contains(&format!("\n{address} healthy")));
        (all && text.starts_with("healthy: 3 of 3") && text.contains("WHAT HAPPENED"))
            .then_some(text)
    });
    println!("{first}");
    assert!(first.contains("RTT to "), "{first}");
    assert!(terminal.is_raw(), "keys are read one by one");

    terminal.type_in("j");
    let second = format!("{}: of pool apiserver", addresses[1]);
    terminal
        .shows("the second backend", |screen| screen.contents().contains(&second).then_some(()));
    terminal.resize(40, 120);
    terminal.shows("the larger screen", |screen| {
        let last = screen.rows(0, 120).nth(39)?;
        last.starts_with("q quit").then_some(())
    });
    terminal.resize(8, 40);
    let small = |screen: &Screen| screen.contents().contains("40x8 is too small").then_some(());
    terminal.shows("that it is too small", small);
    terminal.resize(24, 80);

    let dead = lab.control_plane(0);
    dead.crash().expect("crashed");
    let transition = format!("transition {} healthy to unhealthy: connect refused", dead.tls());
    let failover = format!("failover   {} left apiserver, 2 in service: ", dead.tls());
    let after = terminal.shows("the transition and what came of it", |screen| {
        let text = screen.contents();
        let told = text.contains(&transition) && text.contains(&failover);
        (told && text.starts_with("degraded: ")).then_some(text)
    });
    println!("{after}");
    agent.kill().expect("killed");
    terminal.shows("that nobody answers", |screen| {
        screen.contents().starts_with("no answer, this is ").then_some(())
    });
    agent.restart().expect("restarted");
    terminal.shows("the next agent, and what the last one told", |screen| {
        let text = screen.contents();
        let starts = text.matches(" started ").count();
        let told = starts == 2 && text.contains(&transition);
        (told && text.starts_with("degraded: ")).then_some(())
    });

    terminal.type_in("q");
    terminal.is_given_back(top.wait().expect("ended"));
}

#[test]
fn signals_and_the_other_keys_end_it_cleanly_and_no_color_is_heeded() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let agent = Agent::start(&lab, &Configuration::of(&lab).quick()).expect("an agent");
    let start = |variables: &[(&str, &str)]| {
        let terminal = Terminal::open(24, 80);
        let top = terminal.start(&agent, variables);
        terminal
            .shows("a verdict", |screen| screen.contents().starts_with("healthy: ").then_some(()));
        (terminal, top)
    };
    let is_coloured = |terminal: &Terminal| {
        let parser = terminal.parser.lock().expect("no panic");
        let screen = parser.screen();
        let mut cells = (0..24).flat_map(|row| (0..80).map(move |column| (row, column)));
        cells.any(|(row, column)| {
            screen.cell(row, column).is_some_and(|cell| cell.fgcolor() != vt100::Color::Default)
        })
    };
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let (terminal, mut top) = start(&[]);
        assert!(is_coloured(&terminal));
        top.signal(signal).expect("sent");
        terminal.is_given_back(top.wait().expect("ended"));
    }
    for keys in ["\x03", "\x1b"] {
        let (mut terminal, mut top) = start(&[("NO_COLOR", "1")]);
        assert!(!is_coloured(&terminal));
        terminal.type_in(keys);
        terminal.is_given_back(top.wait().expect("ended"));
    }
}

#[test]
fn what_happened_before_it_was_started_is_told_with_cause_and_duration() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::start(&lab, &Configuration::of(&lab).quick()).expect("an agent");
    let dead = lab.control_plane(1);
    dead.crash().expect("crashed");
    agent.await_state(dead.tls(), "unhealthy").expect("seen");
    agent.kill().expect("killed");
    agent.restart().expect("restarted");
    let terminal = Terminal::open(40, 160);
    let mut top = terminal.start(&agent, &[]);
    let start = format!(" transition {} healthy to unhealthy: connect refused (", dead.tls());
    let text = terminal.shows("the transition of an agent that has gone", |screen| {
        let text = screen.contents();
        text.contains(&start).then_some(text)
    });
    println!("{text}");
    let (_, lasted) = text.split_once(&start).expect("it is there");
    let (lasted, _) = lasted.split_once(" healthy)").expect("how long it was healthy");
    assert!(lasted.ends_with('s') && lasted.starts_with(|first: char| first.is_ascii_digit()));
    top.signal(Signal::SIGTERM).expect("sent");
    terminal.is_given_back(top.wait().expect("ended"));
}

#[test]
fn without_a_terminal_it_names_the_way_without_one() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let agent = Agent::start(&lab, &Configuration::of(&lab).quick()).expect("an agent");
    let output = agent.nllb(&words(&agent)).expect("it runs");
    assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("use nllb status --watch"), "{said}");
}

fn words(agent: &Agent) -> Vec<OsString> {
    vec!["top".into(), "--socket".into(), agent.socket().into()]
}

fn size(cells: u16) -> NonZero<u16> {
    NonZero::new(cells).expect("some")
}

/// A pseudo-terminal, and what a terminal would show.
struct Terminal {
    ours: File,
    theirs: OwnedFd,
    parser: Arc<Mutex<Parser>>,
}

impl Terminal {
    fn open(rows: u16, columns: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&ours).expect("granted");
        unlockpt(&ours).expect("unlocked");
        let name = ptsname(&ours, Vec::new()).expect("a name");
        let theirs = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("open");
        let parser = Arc::new(Mutex::new(Parser::new(size(rows), size(columns), 0)));
        let ours = File::from(ours);
        let mut output = ours.try_clone().expect("another descriptor");
        let shown = Arc::clone(&parser);
        // It ends when the last descriptor of the other side is closed.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().expect("no panic").process(&bytes[..count]);
            }
        });
        let terminal = Self { ours, theirs, parser };
        terminal.resize(rows, columns);
        terminal
    }

    /// Starts `nllb top` with this as its controlling terminal.
    fn start(&self, agent: &Agent, variables: &[(&str, &str)]) -> Process {
        let top = agent.command(&words(agent)).expect("a command");
        let side = || self.theirs.try_clone().expect("another descriptor");
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(top.get_program()).args(top.get_args());
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.envs(variables.iter().copied());
        command.stdin(side()).stdout(side()).stderr(side());
        Process::start(command).expect("started")
    }

    fn resize(&self, rows: u16, columns: u16) {
        self.parser.lock().expect("no panic").screen_mut().set_size(size(rows), size(columns));
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.ours, size).expect("resized");
    }

    fn type_in(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).expect("typed");
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.theirs).expect("a terminal").local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits until the screen has what `look` finds.
    fn shows<T>(&self, what: &str, look: impl Fn(&Screen) -> Option<T>) -> T {
        let found = wait_until(what, || Ok(look(self.parser.lock().expect("no panic").screen())));
        found.unwrap_or_else(|error| {
            let text = self.parser.lock().expect("no panic").screen().contents();
            panic!("{error:#}; the screen:\n{text}")
        })
    }

    /// It ended well, and whoever had the terminal before finds it as it was.
    fn is_given_back(&self, end: ExitStatus) {
        assert_eq!(end.code(), Some(0), "{end}");
        self.shows("the screen from before", |screen| {
            (!screen.alternate_screen() && !screen.hide_cursor()).then_some(())
        });
        assert!(!self.is_raw());
    }
}
