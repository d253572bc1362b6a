//! The product at work, for somebody who has no control plane at hand: a lab, the agent on its
//! node, a client that dials the VIP in a loop, and servers that fail and come back.
//!
//! One loop, [`Demo::run`], takes events in their order and owns what is known ([`ledger`]); what
//! happens next is decided by the [`story`] from that alone. Events come from the threads of
//! [`sources`]; all that outlives a thread is removed when the lab is dropped, however the
//! demonstration ends.

mod fault;
pub(crate) mod keep;
mod ledger;
mod plain;
pub(crate) mod preflight;
mod screen;
mod sources;
mod story;
mod summary;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nllb_agent::exit::Exit;

use crate::agent::{Agent, Configuration};
use crate::lab::Lab;
use ledger::{Kind, Ledger};
use plain::{Plain, print};
use screen::Screen;
use sources::Event;
use story::{Action, FAULTS, Story};

/// What a shell reports of a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// Ctrl-C reaches our children too. When one is found gone, the signal is this close behind.
const SIGNAL_DELAY: Duration = Duration::from_millis(300);

/// How the demonstration is given.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Leave everything running at the end, for trying things out, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Print lines, also on a terminal.
    #[arg(long)]
    plain: bool,
}

/// Gives the demonstration.
pub(crate) fn run(options: Options) -> Result<ExitCode> {
    if let Err(reason) = preflight::check() {
        eprintln!("nllb-lab: the demonstration {reason:#}");
        return Ok(Exit::Datapath.into());
    }
    let (sender, events) = mpsc::channel();
    sources::signals(sender.clone())?;
    match perform(options, &sender, &events) {
        Ok(End::Seen(code)) => Ok(code),
        Ok(End::Interrupted) => Ok(interrupted()),
        Err(_) if stopped(&events) => Ok(interrupted()),
        Err(error) => Err(error),
    }
}

enum End {
    Seen(ExitCode),
    Interrupted,
}

fn interrupted() -> ExitCode {
    print("interrupted; everything is removed");
    INTERRUPTED.into()
}

/// Whether a signal has asked to stop, or does so at once.
fn stopped(events: &Receiver<Event>) -> bool {
    let deadline = Instant::now() + SIGNAL_DELAY;
    while let Ok(event) = events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if matches!(event, Event::Stop) {
            return true;
        }
    }
    false
}

fn perform(options: Options, sender: &Sender<Event>, events: &Receiver<Event>) -> Result<End> {
    let started = Instant::now();
    let mut ledger = Ledger::new(started);
    print("building a lab: 3 control-plane hosts, 1 node, each a network namespace");
    let lab = Lab::builder().build().context("cannot build the lab")?;
    print("starting the agent on the node, attached to the node's cgroup alone");
    let agent = Agent::start(&lab, &Configuration::of(&lab)).context("cannot start the agent")?;
    ledger.tell(Instant::now(), "lab and agent are ready".to_owned());
    let (from_threads, inbox) = mpsc::channel();
    thread::scope(|scope| {
        // Owned by this closure: once it has ended, the threads have nobody to send to and end too.
        let inbox = inbox;
        sources::connects(scope, &lab, from_threads.clone())?;
        sources::status(scope, &lab, &agent, from_threads);
        let mut demo = Demo { lab: &lab, ledger, inbox: &inbox, signals: events };
        let view = View::open(options)?;
        let Some(missing) = demo.run(view)? else { return Ok(End::Interrupted) };
        let code = demo.conclude(missing);
        if options.keep {
            keep::run(&mut demo, &agent, sender)?;
        }
        Ok(End::Seen(code))
    })
}

/// The demonstration under way.
struct Demo<'a> {
    lab: &'a Lab,
    ledger: Ledger,
    inbox: &'a Receiver<Event>,
    /// Signals and typed lines.
    signals: &'a Receiver<Event>,
}

impl Demo<'_> {
    /// Tells the story to its end; gives what was not seen, or nothing when interrupted.
    fn run(&mut self, mut view: View) -> Result<Option<Option<String>>> {
        let mut story = Story::new(Instant::now());
        loop {
            if matches!(self.signals.try_recv(), Ok(Event::Stop)) {
                return Ok(None);
            }
            if self.take()? {
                view.draw(&self.ledger)?;
            }
            match story.next(&self.ledger, Instant::now()) {
                None => {}
                Some(Action::Strike(kind, victim)) => self.strike(kind, victim)?,
                Some(Action::Restore(kind, victim)) => self.restore(kind, victim)?,
                Some(Action::End) => {
                    view.close(&self.ledger);
                    return Ok(Some(None));
                }
                Some(Action::GiveUp(missing)) => {
                    view.close(&self.ledger);
                    return Ok(Some(Some(missing)));
                }
            }
        }
    }

    /// Takes one event; says whether it is time to draw.
    fn take(&mut self) -> Result<bool> {
        match self.inbox.recv().context("client and agent have gone")? {
            Event::Attempt(attempt) => self.ledger.attempt(&attempt),
            Event::Tick(backends) => {
                self.ledger.look(Instant::now(), backends);
                return Ok(true);
            }
            Event::Trouble(error) => return Err(error),
            Event::Line(_) | Event::Stop => {}
        }
        Ok(false)
    }

    fn strike(&mut self, kind: Kind, victim: usize) -> Result<()> {
        let plane = self.lab.control_plane(victim);
        // What clients see meanwhile waits in the inbox, so the ledger hears of the fault first.
        let at = Instant::now();
        match kind {
            Kind::Crash => plane.crash(),
            Kind::PowerOff => plane.power_off(),
        }?;
        self.ledger.strike(at, kind, plane.name());
        Ok(())
    }

    fn restore(&mut self, kind: Kind, victim: usize) -> Result<()> {
        let plane = self.lab.control_plane(victim);
        match kind {
            Kind::Crash => plane.restart(),
            Kind::PowerOff => plane.power_on(),
        }?;
        self.ledger.restore(Instant::now());
        Ok(())
    }

    /// Prints the summary.
    fn conclude(&self, missing: Option<String>) -> ExitCode {
        print(&format!("\n{}", summary::table(&self.ledger)));
        let mut failures = summary::failures(&self.ledger, FAULTS.len());
        failures.extend(missing.map(|missing| format!("given up: {missing}")));
        if failures.is_empty() {
            print("both failovers seen");
            return ExitCode::SUCCESS;
        }
        for failure in failures {
            print(&format!("FAILED: {failure}"));
        }
        ExitCode::FAILURE
    }
}

/// Where the demonstration is shown.
enum View {
    Plain(Plain),
    Screen(Box<Screen>),
}

impl View {
    fn open(options: Options) -> Result<Self> {
        if options.plain || !std::io::stdout().is_terminal() {
            return Ok(Self::Plain(Plain::new(0)));
        }
        if std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb") {
            bail!("this terminal cannot place text; use --plain");
        }
        Ok(Self::Screen(Box::new(Screen::open()?)))
    }

    fn draw(&mut self, ledger: &Ledger) -> Result<()> {
        let now = Instant::now();
        match self {
            Self::Plain(plain) => plain.draw(ledger, now),
            Self::Screen(screen) => screen.draw(ledger, now)?,
        }
        Ok(())
    }

    /// Leaves what happened on the ordinary screen.
    fn close(self, ledger: &Ledger) {
        let mut plain = match self {
            Self::Plain(plain) => plain,
            Self::Screen(screen) => {
                drop(screen);
                Plain::new(0)
            }
        };
        plain.news(ledger);
    }
}
