//! The one machine: all pools, their backends and what the maps should hold.
//!
//! It owns every decision and does nothing: the driver tells it what happened and carries out its
//! commands. There is one machine and not one per pool, because ids, limits and the table are shared.
//!
//! Every signal has its file, with the `handle_*` that takes it: a `probe`, a `sentinel`,
//! `evidence` of the kernel, an `answer` to a question, a `drain` by an operator, other `members`, the
//! `timer`.
//! What follows from them is in `review` (verdicts, doubts, transitions) and `close`.
//!
//! What holds after every call:
//! - at most one probe and one ping per backend are outstanding;
//! - the table changes only with a transition, a doubt, a certificate, a version, a latency band or the
//!   settings, each followed by [`Command::Apply`];
//! - a backend keeps its id as long as its pool names its address, and an id that is given to another
//!   has a new epoch;
//! - hints from the kernel change the time of a probe or a ping and nothing else.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use crate::backend::BackendId;
use crate::command::{Command, Question};
use crate::settings::Settings;
use crate::table::{self, Table, TableError};
use crate::view::{HistoryView, View};

mod adopt;
mod answer;
pub(crate) mod check;
mod close;
mod drain;
mod evidence;
pub(crate) mod fronts;
mod known;
mod members;
mod nearness;
mod probe;
mod review;
pub(crate) mod roster;
mod sentinel;
pub(crate) mod shares;
mod timer;
mod witness;

use roster::Roster;

/// All pools, their backends and what the maps should hold.
#[derive(Debug)]
pub struct Machine {
    roster: Roster,
    table: Table,
    /// Whether the driver was not told yet that the table changed.
    apply: bool,
    /// Transitions, and connections to close.
    notices: VecDeque<Command>,
    wishes: VecDeque<Wish>,
    seed: u32,
    started: Instant,
}

/// Something to do for a backend, not handed out yet. Only who, so that new settings cannot outdate it.
#[derive(Clone, Copy, Debug)]
struct Wish {
    id: BackendId,
    epoch: u32,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Probe,
    Open,
    Ping,
    Inspect,
    Ask(Question),
}

impl Machine {
    /// A machine that knows nothing but its settings. `seed` spreads the probes of different nodes.
    ///
    /// # Errors
    /// When the settings give no table.
    pub fn new(settings: Settings, seed: u32, now: Instant) -> Result<Self, TableError> {
        let roster = Roster::default().rearranged(settings, seed, now)?;
        Ok(Self {
            table: table::build(&roster)?,
            roster,
            apply: true,
            notices: VecDeque::new(),
            wishes: VecDeque::new(),
            seed,
            started: now,
        })
    }

    /// Changes the settings. Backends that stay keep their id and all that is known of them, and are
    /// probed at once, since the way to probe them may be what changed. Sentinels stay as well: the
    /// driver says so when it ends one because it would be opened in another way now.
    ///
    /// # Errors
    /// When the settings give no table; then nothing changed.
    pub fn handle_settings(&mut self, settings: Settings, now: Instant) -> Result<(), TableError> {
        let roster = self.roster.rearranged(settings, self.seed, now)?;
        self.rearrange(roster)?;
        self.hurry_all(now);
        self.review(now);
        Ok(())
    }

    /// The way from this host to backends is another: what was unreachable may no longer be.
    pub fn handle_network_change(&mut self, now: Instant) {
        self.hurry_all(now);
    }

    /// Takes the addresses of this host: node addresses among them are left alone. Most of them lead
    /// nowhere (kube-proxy gives a host every Service's), so this is no change of the network.
    pub fn handle_own_addresses(&mut self, own: BTreeSet<IpAddr>) {
        if own != self.roster.own {
            self.roster.own = own;
            self.rebuild_table();
        }
    }

    /// The next thing to do, until `None`. The maps come first, since clients depend on them.
    pub fn next_command(&mut self) -> Option<Command> {
        if std::mem::take(&mut self.apply) {
            return Some(Command::Apply);
        }
        self.notices.pop_front().or_else(|| self.next_wish())
    }

    /// What the maps should hold.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// Everything known, for status and metrics.
    #[must_use]
    pub fn view(&self) -> View {
        View::of(&self.roster)
    }

    /// The round trips of the last hour, backend by backend in the order of [`Self::view`].
    #[must_use]
    pub fn history(&self, now: Instant) -> Vec<HistoryView> {
        HistoryView::of(&self.roster, now)
    }

    fn next_wish(&mut self) -> Option<Command> {
        while let Some(Wish { id, epoch, what }) = self.wishes.pop_front() {
            let Some((backend, _)) = self.roster.backend_mut(id, epoch) else { continue };
            let (addr, pool) = (backend.addr, backend.pool);
            let connect_timeout = backend.connect_timeout();
            return Some(match what {
                What::Probe => {
                    let via = backend.via();
                    Command::Probe { id, epoch, addr, pool, connect_timeout, via }
                }
                What::Open => Command::Open { id, epoch, addr, pool, connect_timeout },
                What::Ping => Command::Ping { id, epoch },
                What::Inspect => Command::Inspect { id, epoch },
                What::Ask(question) => Command::Ask { id, epoch, question },
            });
        }
        None
    }

    fn wish(&mut self, (id, epoch): (BackendId, u32), what: What) {
        self.wishes.push_back(Wish { id, epoch, what });
    }

    fn hurry_all(&mut self, now: Instant) {
        for (backend, settings) in self.roster.backends_mut() {
            backend.schedule.reset_backoff();
            backend.schedule.hurry(&settings, now);
            backend.ping_soon(&settings, now);
        }
    }

    fn rebuild_table(&mut self) {
        // The limits were checked with the settings, so this does not fail; if it did, the table that
        // the maps hold would still be the best there is.
        if let Ok(table) = table::build(&self.roster) {
            self.replace_table(table);
        }
    }

    /// Puts the verdict on a backend into the table.
    fn tell_verdict(&mut self, id: BackendId) {
        let Some(backend) = self.roster.backends.get(&id) else { return };
        let verdict = backend.verdict();
        if self.table.verdicts.insert(id.0, verdict) != Some(verdict) {
            self.apply = true;
        }
    }

    fn rearrange(&mut self, roster: Roster) -> Result<(), TableError> {
        let table = table::build(&roster)?;
        self.roster = roster;
        self.replace_table(table);
        Ok(())
    }

    fn replace_table(&mut self, table: Table) {
        if table != self.table {
            self.table = table;
            self.apply = true;
        }
    }
}
