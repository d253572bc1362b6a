//! `nllb vip check` and `nllb vip follow`: whether routers should send the control-plane VIP to this node, as an exit
//! code and as a command that is run at each change.
//!
//! A routing daemon tracks this where no Lease decides (`ownership: ecmp`). An agent that does not answer for a moment
//! changes nothing, since the data path goes on without it and an update replaces it; one that stays away does.

use super::Failure;
use super::ask::{AskError, Question, ask, inquire, runtime};
use crate::admin::STATUS_PATH;
use crate::config;
use crate::exit::Exit;
use crate::shutdown::Stop;
use crate::status::{Status, VipOwnership};
use clap::{Args, Subcommand};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How often the agent is asked: a fifth of what a withdrawal may take.
const EVERY: Duration = Duration::from_millis(200);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(1);
/// How often the command is run though nothing changed: a routing daemon may have been restarted.
const AGAIN: Duration = Duration::from_secs(10);
/// How long the command may take: many times what a routing daemon needs that is there.
const COMMAND: Duration = Duration::from_secs(3);
/// How long the end may wait for a command to succeed: less than service managers wait.
const FAREWELL: Duration = Duration::from_secs(8);
/// What `--grace` may be.
const LONGEST_GRACE: Duration = Duration::from_secs(3600);

#[derive(Debug, Subcommand)]
pub(super) enum VipCommand {
    /// Say whether this node should be routed to: exit code 0, or else a line and another code.
    Check(CheckArgs),
    /// Run a command with the last word `up` or `down`, now and at each change.
    Follow(FollowArgs),
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The agent's admin socket.
    #[arg(long, default_value = config::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct FollowArgs {
    /// How long an agent may be away, as for an update, before that counts as down.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = grace)]
    grace: Duration,
    /// The agent's admin socket.
    #[arg(long, default_value = config::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// The command with its arguments, after `--`.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn grace(text: &str) -> Result<Duration, String> {
    config::read_duration(text, Duration::ZERO, LONGEST_GRACE).map_err(|error| error.to_string())
}

pub(super) fn run(
    command: VipCommand,
    out: &mut dyn io::Write,
    err: &mut dyn io::Write,
) -> Result<(), Failure> {
    match command {
        VipCommand::Check(CheckArgs { socket }) => {
            let answer = ask(&socket, Question::get(STATUS_PATH))?;
            let status: Status = serde_json::from_slice(&answer).map_err(AskError::from)?;
            writeln!(out, "{}", verdict(status.vip_ownership.as_ref())?)?;
            Ok(())
        }
        VipCommand::Follow(args) => Follow::new(args).run(out, err),
    }
}

/// One line: why this node should be routed to, or why not.
fn verdict(vip: Option<&VipOwnership>) -> Result<&'static str, Failure> {
    let Some(VipOwnership { unfit, .. }) = vip else {
        let line = "the agent's configuration has no vip";
        return Err(Failure::new(Exit::Configuration, &line));
    };
    match unfit {
        None => Ok("this node serves the VIP"),
        Some(why) => Err(Failure::new(Exit::Failed, &format!("not this node: {why}"))),
    }
}

/// Follows what the agent says.
struct Follow {
    args: FollowArgs,
    /// What the command is to be told, and why; `None` while nothing is known.
    wanted: Option<(bool, String)>,
    /// What it has taken last, and when it was told; `None` when that may not hold any more.
    told: Option<(bool, Instant)>,
    /// Since when no agent has answered; `None` when one did.
    silent_since: Option<Instant>,
    /// What went wrong last, which is said once.
    failure: Option<String>,
}

impl Follow {
    fn new(args: FollowArgs) -> Self {
        Self { args, wanted: None, told: None, silent_since: None, failure: None }
    }

    /// Until a signal ends it; then nobody follows any more, and the command is told `down`.
    fn run(mut self, out: &mut dyn io::Write, err: &mut dyn io::Write) -> Result<(), Failure> {
        runtime()?.block_on(async {
            let mut stop = Stop::new().map_err(Failure::of_signals)?;
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let round = async {
                    let now = ticks.tick().await;
                    let answer = look(&self.args.socket).await;
                    self.hear(answer, now);
                    self.tell(now, out, err).await
                };
                // A command that is under way then ends.
                tokio::select! {
                    _ = stop.requested() => break,
                    told = round => told?,
                }
            }
            self.wanted = Some((false, "nobody follows any more".to_owned()));
            let farewell = async {
                while self.told_last() != Some(false) {
                    let now = ticks.tick().await;
                    self.tell(now, out, err).await?;
                }
                Ok(())
            };
            // The command's last failure has been said.
            timeout(FAREWELL, farewell).await.unwrap_or(Ok(()))
        })
    }

    /// Takes an answer to what was asked now, or that there was none.
    fn hear(&mut self, answer: Option<(bool, String)>, now: Instant) {
        if answer.is_some() {
            (self.wanted, self.silent_since) = (answer, None);
            return;
        }
        let since = *self.silent_since.get_or_insert(now);
        if now.duration_since(since) >= self.args.grace {
            self.wanted = Some((false, "no agent answers".to_owned()));
        }
    }

    fn told_last(&self) -> Option<bool> {
        self.told.map(|(up, _)| up)
    }

    /// Runs the command if what is wanted is news to it, or was told long ago.
    async fn tell(
        &mut self,
        now: Instant,
        out: &mut dyn io::Write,
        err: &mut dyn io::Write,
    ) -> Result<(), Failure> {
        let Some((up, why)) = &self.wanted else { return Ok(()) };
        let is_known = self.told_last() == Some(*up);
        if is_known && self.told.is_some_and(|(_, at)| now.duration_since(at) < AGAIN) {
            return Ok(());
        }
        // Whatever becomes of this, what it was told before does not hold any more.
        self.told = None;
        if let Err(line) = command(&self.args.command, word(*up)).await {
            if self.failure.as_ref() != Some(&line) {
                writeln!(err, "nllb: {line}; it is tried again")?;
                self.failure = Some(line);
            }
            return Ok(());
        }
        (self.told, self.failure) = (Some((*up, now)), None);
        if !is_known {
            writeln!(out, "{}: {why}", word(*up))?;
        }
        Ok(())
    }
}

/// Runs a command with one word more. It has failed when it takes too long; it and what it has started are ended then, and
/// when this is cancelled.
async fn command(words: &[String], word: &str) -> Result<(), String> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(arguments).arg(word).stdin(Stdio::null()).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("{program} cannot be run: {error}"))?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let Ok(ended) = timeout(COMMAND, child.wait()).await else {
        return Err(format!("{program} {word}: it took more than {} s", COMMAND.as_secs()));
    };
    group.let_go();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} {word}: {status}")),
        Err(error) => Err(format!("{program} {word}: {error}")),
    }
}

/// A process with all that it has started, which ends with this.
struct Group(Option<Pid>);

impl Group {
    /// Its number may soon be another's. What goes on in the background may stay.
    fn let_go(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // The last of it may have ended by now.
            let _ended = kill_process_group(group, Signal::KILL);
        }
    }
}

const fn word(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

/// What the agent says, and why; `None` when it does not answer.
async fn look(socket: &Path) -> Option<(bool, String)> {
    let answer = timeout(ANSWER, inquire(socket, Question::get(STATUS_PATH))).await.ok()?.ok()?;
    let status: Status = serde_json::from_slice(&answer).ok()?;
    Some(match verdict(status.vip_ownership.as_ref()) {
        Ok(line) => (true, line.to_owned()),
        Err(Failure { exit: _, line }) => (false, line),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::example;

    #[test]
    fn who_is_fit_is_routed_to_and_who_is_not_is_told_why() {
        let vip = example::status().vip_ownership;
        assert_eq!(verdict(vip.as_ref()).expect("fit"), "this node serves the VIP");
        let why = Some("the API server of this node is dead".to_owned());
        let unfit = vip.map(|vip| VipOwnership { unfit: why, ..vip });
        let Failure { exit, line } = verdict(unfit.as_ref()).expect_err("not fit");
        assert_eq!(exit, Exit::Failed);
        assert_eq!(line, "not this node: the API server of this node is dead");
        assert_eq!(verdict(None).expect_err("none").exit, Exit::Configuration);
    }

    /// What a script of these lines is told until it was told what is wanted, and what is said of it.
    async fn told(script: &str, wants: &[bool]) -> (String, String, String) {
        let directory = tempfile::tempdir().expect("a directory");
        let words = ["sh", "-c", script, directory.path().to_str().expect("UTF-8")];
        let mut follow = Follow::new(FollowArgs {
            grace: Duration::ZERO,
            socket: directory.path().join("socket"),
            command: words.map(ToOwned::to_owned).to_vec(),
        });
        let (mut out, mut err, now) = (Vec::new(), Vec::new(), Instant::now());
        for up in wants {
            follow.wanted = Some((*up, "so it is".to_owned()));
            while follow.told_last() != Some(*up) {
                follow.tell(now, &mut out, &mut err).await.expect("writable");
            }
            // Nothing is news, and the time to say it again has not come.
            follow.tell(now, &mut out, &mut err).await.expect("writable");
        }
        let told = std::fs::read_to_string(directory.path().join("told")).expect("told");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (told, text(out), text(err))
    }

    #[tokio::test]
    async fn a_command_that_fails_is_told_the_same_until_it_takes_it() {
        let twice = r#"cd $0; echo $1 >> told; [ $(wc -l < told) -gt 2 ]"#;
        let (told, out, err) = told(twice, &[false, true]).await;
        assert_eq!(told, "down\ndown\ndown\nup\n");
        assert_eq!(out, "down: so it is\nup: so it is\n");
        assert_eq!(err, "nllb: sh down: exit status: 1; it is tried again\n");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended_with_what_it_started_and_tried_again() {
        let once = r#"cd $0; echo $1 >> told; [ $(wc -l < told) -gt 1 ] || { sleep 600 & echo $! > child; wait; }
            while [ -e /proc/$(cat child)/fd/0 ]; do :; done"#;
        let (told, out, err) = told(once, &[true]).await;
        assert_eq!((told.as_str(), out.as_str()), ("up\nup\n", "up: so it is\n"));
        assert!(
            err.starts_with("nllb: sh up: it took more than 3 s; it is tried again\n"),
            "{err}"
        );
    }

    #[test]
    fn an_agent_that_does_not_answer_is_down_after_the_grace_and_what_it_said_holds_until_then() {
        let args = FollowArgs {
            grace: Duration::from_secs(5),
            socket: PathBuf::new(),
            command: Vec::new(),
        };
        let mut follow = Follow::new(args);
        let wanted = |follow: &Follow| follow.wanted.as_ref().map(|(up, _)| *up);
        let now = Instant::now();
        follow.hear(None, now);
        assert_eq!(wanted(&follow), None, "it may just be starting");
        follow.hear(Some((true, "fit".to_owned())), now);
        follow.hear(None, now);
        assert_eq!(wanted(&follow), Some(true));
        follow.hear(None, now + Duration::from_secs(5));
        assert_eq!(wanted(&follow), Some(false));
        follow.hear(Some((true, "fit".to_owned())), now);
        assert_eq!((wanted(&follow), follow.silent_since), (Some(true), None));
    }
}
