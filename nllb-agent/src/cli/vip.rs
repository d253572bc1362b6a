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
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// How often the agent is asked: a fifth of what a withdrawal may take.
const EVERY: Duration = Duration::from_millis(200);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(1);
/// How often the command is run though nothing changed: a routing daemon may have been restarted.
const AGAIN: Duration = Duration::from_secs(10);
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
    /// What the command was told last; `None` when it has not taken anything yet.
    told: Option<bool>,
    /// What went wrong last, which is said once.
    failure: Option<String>,
}

impl Follow {
    const fn new(args: FollowArgs) -> Self {
        Self { args, told: None, failure: None }
    }

    /// Until a signal ends it; then nobody follows any more, and the command is told `down`.
    fn run(mut self, out: &mut dyn io::Write, err: &mut dyn io::Write) -> Result<(), Failure> {
        runtime()?.block_on(async {
            let mut stop = Stop::new().map_err(Failure::of_signals)?;
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut again = interval(AGAIN);
            let mut patience = Box::pin(sleep(self.args.grace));
            let mut is_away = false;
            loop {
                let socket = self.args.socket.clone();
                let look = async {
                    ticks.tick().await;
                    look(&socket).await
                };
                tokio::select! {
                    _ = stop.requested() => break,
                    () = &mut patience, if !is_away => {
                        is_away = true;
                        self.tell(false, "no agent answers", out, err)?;
                    }
                    _ = again.tick() => {
                        if let Some(up) = self.told {
                            self.command(up, err)?;
                        }
                    }
                    answer = look => if let Some((up, line)) = answer {
                        is_away = false;
                        patience = Box::pin(sleep(self.args.grace));
                        self.tell(up, &line, out, err)?;
                    },
                }
            }
            self.tell(false, "nobody follows any more", out, err)
        })
    }

    /// Runs the command if this is news to it.
    fn tell(
        &mut self,
        up: bool,
        why: &str,
        out: &mut dyn io::Write,
        err: &mut dyn io::Write,
    ) -> Result<(), Failure> {
        if self.told == Some(up) {
            return Ok(());
        }
        if self.command(up, err)? {
            self.told = Some(up);
            writeln!(out, "{}: {why}", word(up))?;
        }
        Ok(())
    }

    /// Whether it took it; one that did not is asked again in the next round.
    fn command(&mut self, up: bool, err: &mut dyn io::Write) -> Result<bool, Failure> {
        let Some((program, arguments)) = self.args.command.split_first() else { return Ok(true) };
        let command =
            || Command::new(program).args(arguments).arg(word(up)).stdin(Stdio::null()).status();
        let line = match command() {
            Ok(status) if status.success() => {
                self.failure = None;
                return Ok(true);
            }
            Ok(status) => format!("{program} {}: {status}", word(up)),
            Err(error) => format!("{program} cannot be run: {error}"),
        };
        if self.failure.as_ref() != Some(&line) {
            writeln!(err, "nllb: {line}; it is tried again")?;
            self.failure = Some(line);
        }
        Ok(false)
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
}
