//! The signal of a sentinel: that a backend lives, or that its process, its kernel or its network does
//! not, without any client having to find out.

use std::time::{Duration, Instant};

use nllb_common::maps::State;

use crate::backend::BackendId;
use crate::command::Question;
use crate::death::Answered;
use crate::doubt::Doubt;
use crate::eligible::Seen;
use crate::ping::Others;
use crate::pool::{Machine, What};
use crate::report::{SentinelFact, TcpState};

impl Machine {
    /// Takes what became of a sentinel, or was heard over it. What nobody asked for is ignored.
    pub fn handle_sentinel(&mut self, id: BackendId, epoch: u32, fact: SentinelFact, now: Instant) {
        let alone = self.roster.is_alone(id);
        let Some((backend, settings)) = self.roster.backend_mut(id, epoch) else { return };
        match fact {
            SentinelFact::Up { rtt, certificate, unix_time } => {
                let Some(asked) = backend.sentinel.up(&settings, now) else { return };
                backend.answered = Some(Answered { asked, at: now });
                backend.heard();
                backend.rtt.observe(rtt);
                if backend.ping_rtt.smoothed().is_none() {
                    backend.ping_rtt.observe(rtt);
                }
                backend.keep_round_trip(rtt, now);
                let seen = certificate.map(|certificate| Seen { certificate, unix_time });
                let changed = seen.is_some_and(|seen| backend.show(seen));
                self.wish((id, epoch), What::Ask(Question::Version));
                self.count_soon(id, now);
                self.observe_distance(id, rtt, now);
                if changed {
                    self.rebuild_table();
                }
            }
            SentinelFact::Failed { outcome } => backend.sentinel.failed(Some(outcome), now),
            SentinelFact::NoHttp2 => backend.sentinel.no_http2(now),
            SentinelFact::Pong { rtt } => {
                let Some(ping) = backend.sentinel.ping_mut() else { return };
                let (overdue, frozen) = (ping.is_late(), ping.is_frozen());
                let Some(asked) = ping.answer() else { return };
                backend.answered = Some(Answered { asked, at: now });
                backend.ponged = Some(now);
                backend.heard();
                backend.ping_rtt.observe(rtt);
                backend.keep_round_trip(rtt, now);
                // It is back, or at least its process is.
                if frozen && !alone {
                    backend.returned(&settings, now);
                } else if overdue && !backend.is_eligible() {
                    backend.check_soon(&settings, now);
                }
                self.observe_distance(id, rtt, now);
            }
            SentinelFact::Tcp(state) => self.inspected(id, epoch, state, now),
            SentinelFact::GoAway
            | SentinelFact::Closed
            | SentinelFact::Reset
            | SentinelFact::Lost => {
                let lost = fact == SentinelFact::Lost;
                if backend.sentinel.ended(now) {
                    // Perhaps it only wants a new connection, as a server does that spreads its load.
                    backend.doubts.raise(Doubt::SentinelEnded);
                    if lost {
                        backend.may_be_dead(Doubt::SentinelEnded);
                    }
                    if backend.state() != State::Unhealthy || backend.wants_look {
                        backend.check_soon(&settings, now);
                    }
                }
            }
        }
        self.review(now);
    }

    /// TCP told how it is doing while a ping is overdue.
    fn inspected(&mut self, id: BackendId, epoch: u32, state: TcpState, now: Instant) {
        let quiet = self.roster.quiet_at(id);
        let counted = self.roster.backends.get(&id).and_then(|one| one.sentinel.ping()?.counted());
        let witness = counted.and_then(|from| self.roster.witness(id, from, Some(from)));
        let others = Others { quiet, witnessed: witness.is_some() };
        let Some((backend, _)) = self.roster.backend_mut(id, epoch) else { return };
        let ping = backend.sentinel.ping_mut();
        let Some(sent) = ping.and_then(|ping| ping.tcp(state, others, now)) else { return };
        if backend.probe_answered.is_some_and(|at| at > sent) {
            // The process answers others: this connection is what is broken.
            backend.sentinel.ended(now);
            backend.doubts.ponged();
            return;
        }
        if !backend.probes_agree(sent) {
            return;
        }
        let since = quiet.map_or(sent, |quiet| quiet.max(sent) + Duration::from_nanos(1));
        let Some(witness) = self.roster.witness(id, since, Some(sent)) else { return };
        let Some((backend, _)) = self.roster.backend_mut(id, epoch) else { return };
        backend.condemn(now);
        self.review(now);
        let reason = format!("TCP acknowledges, but pings go unanswered, while {witness} answers");
        self.close_dead(id, &reason);
    }
}
