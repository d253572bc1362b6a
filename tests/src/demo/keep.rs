//! After the story: everything goes on until Ctrl-C, and a reader may break things.

use std::sync::mpsc::{Sender, TryRecvError};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};

use super::plain::{Plain, print, state};
use super::sources::{self, Event};
use super::{Demo, Kind, stopped};
use crate::agent::Agent;
use crate::lab::VIP_V4;
use crate::process::program;

/// What can be typed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Order {
    State,
    Strike(Kind, String),
    Restore(Kind, String),
}

/// Goes on until a signal comes.
pub(super) fn run(demo: &mut Demo<'_>, agent: &Agent, sender: &Sender<Event>) -> Result<()> {
    print(&help(demo, agent)?);
    sources::keyboard(sender.clone());
    let mut plain = Plain::new(demo.ledger.news.len());
    loop {
        match demo.signals.try_recv() {
            Ok(Event::Stop) => {
                print("everything is removed");
                return Ok(());
            }
            Ok(Event::Line(line)) => {
                if let Err(error) = obey(demo, &line) {
                    print(&format!("{error:#}"));
                }
            }
            Ok(Event::Attempt(_) | Event::Tick(_) | Event::Trouble(_))
            | Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
        match demo.take() {
            Ok(true) => plain.news(&demo.ledger),
            Ok(false) => {}
            Err(_) if stopped(demo.signals) => {
                print("everything is removed");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

fn obey(demo: &mut Demo<'_>, line: &str) -> Result<()> {
    if line.trim().is_empty() {
        return Ok(());
    }
    let find = |name: &str| {
        let mut planes = demo.lab.control_planes().iter();
        planes.position(|plane| plane.name() == name).with_context(|| format!("no server {name}"))
    };
    match parse(line)? {
        Order::State => print(&state(&demo.ledger)),
        Order::Strike(kind, name) => {
            let victim = find(&name)?;
            demo.strike(kind, victim)?;
        }
        Order::Restore(kind, name) => {
            let victim = find(&name)?;
            demo.restore(kind, victim)?;
        }
    }
    Ok(())
}

fn parse(line: &str) -> Result<Order> {
    let words: Vec<_> = line.split_whitespace().collect();
    Ok(match words[..] {
        ["state"] => Order::State,
        ["crash", name] => Order::Strike(Kind::Crash, name.to_owned()),
        ["restart", name] => Order::Restore(Kind::Crash, name.to_owned()),
        ["power-off", name] => Order::Strike(Kind::PowerOff, name.to_owned()),
        ["power-on", name] => Order::Restore(Kind::PowerOff, name.to_owned()),
        _ => bail!(
            "not understood: {line}; type state, or crash, restart, power-off or power-on and a \
             server's name"
        ),
    })
}

/// The commands to try.
fn help(demo: &Demo<'_>, agent: &Agent) -> Result<String> {
    let program = program()?;
    let place = demo.lab.node(0).place().to_args();
    let place: Option<Vec<_>> = place.iter().map(|word| word.to_str()).collect();
    let place = place.ok_or_else(|| anyhow!("the lab's name is not text"))?.join(" ");
    Ok(format!(
        "\nEverything goes on until Ctrl-C. In another terminal:\n\
         \n  what the agent knows\n    {program} agent status --socket {socket}\n\
         \n  connect to the VIP as a process of the node\n    {program} {place} dial {VIP_V4}:443\n\
         \n  the same from outside of the node's cgroup, where nothing is translated\n    \
         {program} --netns {netns} dial {VIP_V4}:443\n\
         \nIn this one type: state, crash cp0, restart cp0, power-off cp1, power-on cp1\n",
        program = program.display(),
        socket = agent.socket().display(),
        netns = demo.lab.node(0).netns(),
    ))
}

/// `nllb-lab dial ADDRESS`: one connect from wherever the process was placed.
pub(crate) fn dial(address: std::net::SocketAddr) -> Result<()> {
    use crate::client::Client;
    use crate::client::protocol::Connect;
    let began = Instant::now();
    let outcome = Client::start(&crate::place::Place::default())?
        .connect(&Connect::name_of(address))
        .with_context(|| format!("cannot dial {address}"))?;
    match (outcome.server, outcome.error) {
        (Some(server), None) => {
            print(&format!(
                "{address} is answered by {server}, connected in {} us",
                outcome.connect_us
            ));
            Ok(())
        }
        (_, error) => {
            let error = error.unwrap_or_else(|| "no answer".to_owned());
            bail!("{address}: {error} after {} ms", began.elapsed().as_millis())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_a_verb_and_a_server() {
        assert_eq!(parse("state").expect("an order"), Order::State);
        assert_eq!(
            parse(" power-off  cp1").expect("an order"),
            Order::Strike(Kind::PowerOff, "cp1".to_owned())
        );
        assert_eq!(
            parse("restart cp0").expect("an order"),
            Order::Restore(Kind::Crash, "cp0".to_owned())
        );
        let error = parse("explode cp0").expect_err("no order");
        assert!(error.to_string().contains("crash, restart"), "{error}");
    }
}
