//! What becomes of connections from outside the nodes, by the control-plane VIP.

use crate::cli::status::table::vip::owner;
use crate::cli::{Failure, Output};
use crate::datapath::explain::outside::{Candidate, Outside, outside};
use crate::datapath::maps::KernelMaps;
use crate::datapath::monotonic_ns;
use crate::datapath::vip::{Held, look};
use crate::exit::Exit;
use crate::status::Status;
use nllb_common::addr;
use nllb_common::maps::VipSet;
use serde::Serialize;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) address: SocketAddr,
    /// One client, or any.
    pub(super) client: Option<SocketAddr>,
}

/// What is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    address: SocketAddr,
    client: Option<SocketAddr>,
    /// Whether this host answers for the VIP.
    is_owner: bool,
    owner: String,
    lease_valid: bool,
    members: Vec<Row>,
    /// Who is asked for an open connection of the client, in this order.
    order: Vec<IpAddr>,
    text: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    address: IpAddr,
    own: bool,
    state: &'static str,
    /// From 0 to 1, rounded to a hundredth.
    share: f64,
    /// link, tunnel or unknown; `None` for this host, and without an agent.
    way: Option<String>,
}

pub(super) fn run(
    asked: Asked,
    maps: &KernelMaps,
    directory: &Path,
    status: Option<&Status>,
    output: Output,
    out: &mut dyn io::Write,
) -> Result<(), Failure> {
    let Asked { address, client } = asked;
    if client.is_some_and(|client| client.is_ipv4() != address.is_ipv4()) {
        let line = "a client has an address of the same family as the VIP that it dials";
        return Err(Failure::new(Exit::Configuration, &line));
    }
    let held = look(directory).map_err(|error| Failure::new(Exit::Datapath, &error))?;
    let now_ns = monotonic_ns();
    let set = of(&held, address);
    let found = set.map(|set| outside(maps, set, client, now_ns)).transpose();
    let found = found.map_err(|error| Failure::new(Exit::Datapath, &error))?;
    let Some(found) = found else {
        let line = format!(
            "{address} is not the control-plane VIP of this host, see vip in its configuration"
        );
        return Err(Failure::new(Exit::Configuration, &line));
    };
    let document = Document::new(asked, &found, held.answers_until_ns > now_ns, status);
    match output {
        Output::Json => {
            let document = serde_json::to_value(&document).map_err(io::Error::other)?;
            writeln!(out, "{document:#}")?;
        }
        Output::Table => document.write(out)?,
    }
    Ok(())
}

/// The VIP with this address, if it is one.
pub(super) fn of(held: &Held, address: SocketAddr) -> Option<&VipSet> {
    let (ip, port) = addr::split(address);
    held.sets.iter().flatten().find(|set| set.vip == ip && set.port == port)
}

impl Document {
    fn new(asked: Asked, found: &Outside, is_owner: bool, status: Option<&Status>) -> Self {
        let Asked { address, client } = asked;
        let Outside { lease_valid, members, order } = found;
        let told = status.and_then(|status| owner(status.vip_ownership.as_ref()));
        let owner = match (is_owner, told) {
            (true, _) => "this node answers for it".to_owned(),
            (false, Some(owner)) => format!("the Lease names {owner}"),
            (false, None) => "this node does not answer for it".to_owned(),
        };
        let vip = status.and_then(|status| status.vip.as_ref());
        let way = |address| {
            let mut known = vip.into_iter().flat_map(|vip| &vip.members);
            known.find(|member| member.address == address).and_then(|member| member.way.clone())
        };
        let row = |member: &Candidate| {
            let Candidate { address, own, state, share } = *member;
            let (state, share) = (state.label(), (share * 100.0).round() / 100.0);
            Row { address, own, state, share, way: way(address) }
        };
        let members: Vec<_> = members.iter().map(row).collect();
        let text = text(client, &members, order);
        let (lease_valid, order) = (*lease_valid, order.clone());
        Self { address, client, is_owner, owner, lease_valid, members, order, text }
    }

    fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let Self { address, client, is_owner: _, owner, lease_valid, members, order: _, text } =
            self;
        let who = client.map_or("a client outside".to_owned(), |client| client.to_string());
        writeln!(out, "{address} from {who}: the control-plane VIP; {owner}")?;
        if !lease_valid {
            writeln!(
                out,
                "the lease has lapsed: verdicts do not count, all members are taken for well"
            )?;
        }
        writeln!(out, "\n{:<24}{:>6}  {:<10}WAY", "MEMBER", "SHARE", "STATE")?;
        for Row { address, own, state, share, way } in members {
            let share =
                if *share > 0.0 { format!("{:.0} %", share * 100.0) } else { "-".to_owned() };
            let way = if *own { "this node" } else { way.as_deref().unwrap_or("-") };
            writeln!(out, "{:<24}{share:>6}  {state:<10}{way}", address.to_string())?;
        }
        writeln!(out, "\n{text}")
    }
}

fn text(client: Option<SocketAddr>, members: &[Row], order: &[IpAddr]) -> String {
    let list = |all: &[IpAddr], word: &str| {
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join(word)
    };
    let begins: Vec<IpAddr> =
        members.iter().filter(|row| row.share > 0.0).map(|row| row.address).collect();
    if begins.is_empty() {
        return "nobody serves it: no member has an address of this family".to_owned();
    }
    let begins = list(&begins, " or ");
    if client.is_none() {
        return format!(
            "a new connection goes to {begins}, by its client's address and port, whoever directs it"
        );
    }
    let order = list(order, ", then ");
    format!("a new connection goes to {begins}; one that is open is looked for at {order}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::example;
    use nllb_common::maps::State;

    fn found(client: Option<SocketAddr>) -> String {
        let member = |last, own, state, share| Candidate {
            address: [10, 0, 0, last].into(),
            own,
            state,
            share,
        };
        let dead = if client.is_some() { 0.0 } else { 0.5 };
        let members = vec![
            member(11, true, State::Healthy, 1.0 - dead),
            member(12, false, State::Healthy, dead),
        ];
        let order = client.map(|_| vec![[10, 0, 0, 12].into(), [10, 0, 0, 11].into()]);
        let outside =
            Outside { lease_valid: client.is_none(), members, order: order.unwrap_or_default() };
        let asked = Asked { address: ([10, 0, 0, 100], 6443).into(), client };
        let document = Document::new(asked, &outside, client.is_some(), Some(&example::status()));
        let mut text = Vec::new();
        document.write(&mut text).expect("written");
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn shares_are_shown_of_all_clients_and_the_order_of_one() {
        let any = found(None);
        let expected = [
            "10.0.0.100:6443 from a client outside: the control-plane VIP; the Lease names this node, for 93s",
            "",
            "MEMBER                   SHARE  STATE     WAY",
            "10.0.0.11                 50 %  healthy   this node",
            "10.0.0.12                 50 %  healthy   link",
            "",
            "a new connection goes to 10.0.0.11 or 10.0.0.12, by its client's address and port, whoever directs it",
            "",
        ];
        assert_eq!(any, expected.join("\n"));
        let one = found(Some(([192, 0, 2, 7], 40_000).into()));
        assert!(
            one.starts_with(
                "10.0.0.100:6443 from 192.0.2.7:40000: the control-plane VIP; this node answers"
            ),
            "{one}"
        );
        assert!(one.contains("the lease has lapsed"), "{one}");
        assert!(
            one.contains(
                "goes to 10.0.0.11; one that is open is looked for at 10.0.0.12, then 10.0.0.11"
            ),
            "{one}"
        );
    }
}
