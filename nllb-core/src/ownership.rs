//! Who answers for the control-plane VIP: the holder of a Lease, as leader election does it, with a deadline
//! that the kernel keeps.
//!
//! ```text
//!             take (a write that went through)
//!   Waiting ─────────────────────────────────────► Owner ──┐ renewed every quarter of the duration
//!      ▲  ▲                                        │ │ ▲───┘
//!      │  └──────── deadline, or taken by another ─┘ │
//!      │                                             │ drained, leaving or unfit, and another may be fit
//!      └─────────── "" written ◄──── Releasing ◄─────┘ (answers no more from here on)
//! ```
//!
//! **Never two.** An owner answers until the *start* of its last write that went through plus the duration less
//! a margin; the kernel stops it then, whatever becomes of the agent. Another takes the lease only when it
//! has seen no new version for the whole duration by its own clock, by a write that names the version it saw:
//! so no renewal came after that version, and it was written after its renewal's start. Clocks need not
//! agree; one may gain a tenth on another, which is the margin. Times that others wrote are never read.
//!
//! **Not unseated by a hiccup.** A write that fails, is refused or meets another version changes nothing before
//! the deadline: it is tried again, three times even against servers that never answer.
//!
//! **Given away at once** by who is drained, leaves, or whose own API server is dead, if another member may be
//! fit: it stops to answer, then writes that nobody holds the lease, and who watches takes it. Whether another can
//! is known only then, so who finds it untaken takes it back. A member that comes back takes nothing.
//!
//! A lease that somebody deleted is as if held for one duration more: its holder may still answer.

mod known;
mod rules;
#[cfg(test)]
mod tests;
mod words;

use std::collections::VecDeque;
use std::time::Instant;

use known::Known;
pub use rules::{Rules, Unfit};
pub use words::{Answer, Command, Loss, Notice, OwnershipView, Record, Write, Written};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Waiting,
    Owner { since: Instant, until: Instant, renew_at: Instant },
    Releasing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Read,
    /// To be owner, or to stay it.
    Hold {
        started: Instant,
    },
    Release,
}

/// The machine. Its methods take the time as a parameter; commands are for who has sockets.
#[derive(Debug)]
pub struct Ownership {
    rules: Rules,
    unfit: Option<Unfit>,
    /// Whether another member may be fit.
    others: bool,
    leaving: bool,
    role: Role,
    known: Option<Known>,
    /// What is known may be old: it is read before anything else.
    stale: bool,
    request: Option<Request>,
    /// Nothing is asked before.
    next_try: Instant,
    /// The lease is not offered to others before.
    offer_at: Instant,
    /// It was given away, and nobody has taken it yet.
    offered: bool,
    conflicts: u32,
    answer: Option<Answer>,
    commands: VecDeque<Command>,
}

impl Ownership {
    /// One that knows nothing yet, and that is not fit. What the kernel answers is left as it is until then.
    #[must_use]
    pub fn new(rules: Rules, now: Instant) -> Self {
        let mut new = Self {
            rules,
            unfit: Some(Unfit::DataPath),
            others: false,
            leaving: false,
            role: Role::Waiting,
            known: None,
            stale: true,
            request: None,
            next_try: now,
            offer_at: now,
            offered: false,
            conflicts: 0,
            answer: None,
            commands: VecDeque::new(),
        };
        new.step(now);
        new
    }

    /// Whether this node may own the VIP, and whether another member may.
    pub fn handle_fitness(&mut self, unfit: Option<Unfit>, others: bool, now: Instant) {
        (self.unfit, self.others) = (unfit, others);
        self.step(now);
    }

    /// The agent is about to end. Whoever waits for [`Self::has_left`] may give up at any time.
    pub fn handle_leave(&mut self, now: Instant) {
        self.leaving = true;
        self.step(now);
    }

    /// What a read gave: the Lease, or that there is none; `Err` when it gave nothing.
    pub fn handle_read(&mut self, read: Result<Option<Record>, ()>, now: Instant) {
        self.request = None;
        match read {
            Ok(record) => {
                self.stale = false;
                self.learn(record, now);
            }
            Err(()) => self.next_try = now + self.rules.retry(self.is_waiting()),
        }
        self.step(now);
    }

    /// What a watch saw: the Lease, or that it is gone. `version` is that of the change.
    pub fn handle_watched(&mut self, version: &str, record: Option<Record>, now: Instant) {
        // The answer of a request under way tells more; and a watch may be behind what requests told.
        let is_own = self.request.is_some_and(|request| request != Request::Read);
        let is_news = self.known.as_ref().is_some_and(|known| known.is_older(version));
        let is_mine = record.as_ref().is_some_and(|record| record.holder == self.rules.me);
        if is_news && !(is_own && (is_mine || record.is_none())) {
            self.learn(record, now);
        }
        self.step(now);
    }

    /// What came of the write under way.
    pub fn handle_written(&mut self, written: Written, now: Instant) {
        let Some(request) = self.request.take() else { return };
        if written != Written::Conflict {
            self.conflicts = 0;
        }
        match written {
            Written::Done(record) => {
                let from = self.known.take().and_then(|known| known.record);
                self.known = Some(Known { record: Some(record), since: now });
                match request {
                    Request::Hold { started } => self.hold(started, from, now),
                    Request::Release => {
                        (self.role, self.offered) = (Role::Waiting, true);
                        let why = self.why();
                        self.commands.push_back(Command::Tell(Notice::Released { why }));
                    }
                    Request::Read => {}
                }
            }
            Written::Conflict => {
                self.conflicts += 1;
                self.stale = true;
                if self.conflicts > 1 {
                    self.next_try = now + self.rules.retry(self.is_waiting());
                }
            }
            Written::Absent => self.learn(None, now),
            Written::Refused => self.next_try = now + self.rules.retry(true),
            Written::Failed => {
                self.next_try = now + self.rules.retry(self.is_waiting());
                // A release that went through may be taken by others at once.
                self.stale |= request == Request::Release;
            }
        }
        self.step(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.step(now);
    }

    /// When to call that unless something else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = match self.role {
            Role::Owner { until, .. } => Some(until),
            Role::Waiting | Role::Releasing => None,
        };
        let act = if self.request.is_some() {
            None
        } else if self.stale {
            Some(self.next_try)
        } else {
            match self.role {
                Role::Owner { renew_at, .. } => {
                    let offer = self.wants_off().then_some(self.offer_at);
                    Some(offer.unwrap_or(renew_at).min(renew_at))
                }
                Role::Releasing => Some(self.next_try),
                Role::Waiting => self.takes_at(),
            }
            .map(|at| at.max(self.next_try))
        };
        deadline.into_iter().chain(act).min()
    }

    /// What is to be done next, in this order.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Whether a node that leaves has nothing more to do for the others.
    #[must_use]
    pub fn has_left(&self) -> bool {
        let done = match self.role {
            Role::Waiting => !self.offered,
            Role::Owner { .. } => self.answer == Some(Answer::Always),
            Role::Releasing => false,
        };
        self.leaving && done
    }

    /// What can be seen of it.
    #[must_use]
    pub fn view(&self) -> OwnershipView {
        let (since, until) = match self.role {
            Role::Owner { since, until, .. } => (Some(since), Some(until)),
            Role::Waiting | Role::Releasing => (None, None),
        };
        let record = self.known.as_ref().and_then(|known| known.record.as_ref());
        let holder = record.map(|record| record.holder.clone()).filter(|name| !name.is_empty());
        OwnershipView { holder, since, until, unfit: self.unfit, known: self.known.is_some() }
    }

    /// Takes what is known now, and what follows for an owner.
    fn learn(&mut self, record: Option<Record>, now: Instant) {
        let version = |record: &Option<Record>| record.as_ref().map(|one| one.version.clone());
        match &self.known {
            Some(known) if version(&known.record) == version(&record) => {}
            _ => self.known = Some(Known { record: record.clone(), since: now }),
        }
        let holder = record.map(|record| record.holder);
        let is_mine = holder.as_ref().is_none_or(|holder| *holder == self.rules.me);
        if holder.as_ref().is_some_and(|holder| !holder.is_empty()) {
            self.offered = false;
        }
        match (&mut self.role, is_mine) {
            // What others did to it is undone by the next renewal, and there is no time to lose.
            (Role::Owner { renew_at, .. }, true) => *renew_at = now,
            (Role::Owner { .. }, false) => self.lose(Loss::Taken(holder.unwrap_or_default())),
            (Role::Releasing, true) if holder.is_some() => {}
            (Role::Releasing, _) => {
                self.offered = holder.is_none_or(|holder| holder.is_empty());
                self.role = Role::Waiting;
            }
            (Role::Waiting, _) => {}
        }
    }

    /// A write that makes this node the holder went through.
    fn hold(&mut self, started: Instant, from: Option<Record>, now: Instant) {
        let until = started + self.rules.held();
        let renew_at = started + self.rules.renewal();
        let since = match self.role {
            Role::Owner { since, .. } => since,
            Role::Waiting | Role::Releasing => {
                let from = from.map(|record| record.holder);
                let from = from.filter(|name| !name.is_empty() && *name != self.rules.me);
                self.commands.push_back(Command::Tell(Notice::Took { from }));
                if self.is_poor() {
                    self.offer_at = now + rules::OFFER_AGAIN;
                }
                now
            }
        };
        self.offered = false;
        self.role = Role::Owner { since, until, renew_at };
        self.set_answer(Answer::Until(until));
    }

    fn lose(&mut self, loss: Loss) {
        self.role = Role::Waiting;
        self.set_answer(Answer::No);
        self.commands.push_back(Command::Tell(Notice::Lost(loss)));
    }

    fn step(&mut self, now: Instant) {
        if let Role::Owner { until, .. } = self.role
            && now >= until
            && self.answer != Some(Answer::Always)
        {
            self.lose(Loss::Expired);
        }
        self.settle();
        if self.request.is_some() || now < self.next_try {
            return;
        }
        let patience = self.rules.patience();
        if self.stale || self.known.is_none() {
            self.request = Some(Request::Read);
            self.commands.push_back(Command::Read { patience });
            return;
        }
        match self.role {
            Role::Owner { .. } if self.wants_off() && now >= self.offer_at => {
                self.role = Role::Releasing;
                // First, or two could answer.
                self.set_answer(Answer::No);
                self.write(Request::Release);
            }
            Role::Owner { .. } if self.leaving => self.set_answer(Answer::Always),
            Role::Owner { renew_at, .. } if now >= renew_at => {
                self.write(Request::Hold { started: now });
            }
            Role::Releasing => self.write(Request::Release),
            Role::Waiting if self.takes_at().is_some_and(|at| now >= at) => {
                self.write(Request::Hold { started: now });
            }
            Role::Owner { .. } | Role::Waiting => {}
        }
    }

    /// Who is known not to own it does not answer, whatever an earlier agent left behind.
    fn settle(&mut self) {
        let Some(known) = self.known.as_ref().filter(|_| self.role == Role::Waiting) else {
            return;
        };
        let holds = known.record.as_ref().is_some_and(|record| record.holder == self.rules.me);
        if !holds || self.unfit.is_some_and(|unfit| !unfit.can_answer()) {
            self.set_answer(Answer::No);
        }
    }

    fn write(&mut self, request: Request) {
        let base = self.known.as_ref().and_then(|known| known.record.clone());
        let holder = match request {
            Request::Hold { .. } => self.rules.me.clone(),
            Request::Release | Request::Read => String::new(),
        };
        let acquired = base.as_ref().is_none_or(|base| base.holder != holder);
        let patience = self.rules.patience();
        self.request = Some(request);
        self.commands.push_back(Command::Write(Write { base, holder, acquired, patience }));
    }

    fn set_answer(&mut self, answer: Answer) {
        if self.answer != Some(answer) {
            self.answer = Some(answer);
            self.commands.push_back(Command::Answer(answer));
        }
    }

    const fn is_waiting(&self) -> bool {
        matches!(self.role, Role::Waiting)
    }

    /// Whether it can own the VIP, and another should rather.
    fn is_poor(&self) -> bool {
        self.leaving || self.unfit.is_some_and(Unfit::can_answer)
    }

    /// Whether an owner should give it away.
    fn wants_off(&self) -> bool {
        self.unfit.is_some_and(|unfit| !unfit.can_answer()) || (self.is_poor() && self.others)
    }

    fn why(&self) -> Unfit {
        self.unfit.unwrap_or(Unfit::Leaving)
    }

    /// When this node may take the lease as it is known; `None` when it should not.
    fn takes_at(&self) -> Option<Instant> {
        if self.unfit.is_some_and(|unfit| !unfit.can_answer()) || (self.leaving && !self.offered) {
            return None;
        }
        let Known { record, since } = self.known.as_ref()?;
        let free_at = match record {
            // Nobody else can have taken it since.
            Some(record) if record.holder == self.rules.me => return Some(*since),
            Some(record) if record.holder.is_empty() => *since,
            Some(record) => *since + self.rules.held_by_other(record.duration),
            None => *since + self.rules.held_by_other(self.rules.duration),
        };
        Some(if self.is_poor() { free_at + self.rules.courtesy() } else { free_at })
    }
}
