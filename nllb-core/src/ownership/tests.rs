//! One node's machine, event by event. Many of them against one database are in `tests/ownership.rs`.

use super::*;
use std::time::Duration;

const D: Duration = Duration::from_secs(2);

struct Node {
    machine: Ownership,
    now: Instant,
    start: Instant,
}

impl Node {
    fn new() -> Self {
        let now = Instant::now();
        let rules = Rules { me: "10.0.0.11".to_owned(), duration: D };
        let mut machine = Ownership::new(rules, now);
        machine.handle_fitness(None, true, now);
        Self { machine, now, start: now }
    }

    /// A fit one that has read this.
    fn with(record: Option<Record>) -> Self {
        let mut node = Self::new();
        assert!(matches!(node.commands()[..], [Command::Read { .. }]));
        node.machine.handle_read(Ok(record), node.now);
        node
    }

    /// One that has just taken the lease.
    fn owner() -> Self {
        let mut node = Self::with(Some(record(5, "")));
        node.expect_write(Some(5), "10.0.0.11");
        node.done(6, "10.0.0.11");
        let told = Command::Tell(Notice::Took { from: None });
        let until = Answer::Until(node.now + Duration::from_millis(1800));
        assert_eq!(node.commands(), [told, Command::Answer(until)]);
        node
    }

    fn commands(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.machine.next_command()).collect()
    }

    fn write(&mut self) -> Option<Write> {
        self.commands().into_iter().find_map(|command| match command {
            Command::Write(write) => Some(write),
            Command::Read { .. } | Command::Answer(_) | Command::Tell(_) => None,
        })
    }

    fn expect_write(&mut self, base: Option<u64>, holder: &str) {
        let write = self.write().expect("a write");
        let version = write.base.map(|record| record.version);
        assert_eq!((version, write.holder.as_str()), (base.map(|base| base.to_string()), holder));
    }

    fn done(&mut self, version: u64, holder: &str) {
        self.machine.handle_written(Written::Done(record(version, holder)), self.now);
    }

    fn written(&mut self, written: Written) {
        self.machine.handle_written(written, self.now);
    }

    fn watched(&mut self, version: u64, holder: Option<&str>) {
        let seen = holder.map(|holder| record(version, holder));
        self.machine.handle_watched(&version.to_string(), seen, self.now);
    }

    /// Lets the time pass to what is due next.
    fn wait(&mut self) {
        let due = self.machine.poll_timeout().expect("something due");
        assert!(due >= self.now, "nothing is left undone");
        self.now = due;
        self.machine.handle_timeout(due);
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.machine.handle_timeout(self.now);
    }

    fn millis(&self) -> u128 {
        (self.now - self.start).as_millis()
    }

    fn owns(&self) -> bool {
        self.machine.view().since.is_some()
    }
}

fn record(version: u64, holder: &str) -> Record {
    let (version, holder) = (version.to_string(), holder.to_owned());
    Record { version, holder, duration: D, object: "".into() }
}

#[test]
fn a_free_lease_is_taken_at_once_and_renewed_every_quarter() {
    let mut node = Node::owner();
    for version in 7..20 {
        let before = node.now;
        node.wait();
        assert_eq!(node.now - before, D / 4);
        node.expect_write(Some(version - 1), "10.0.0.11");
        node.done(version, "10.0.0.11");
        let until = Answer::Until(node.now + Duration::from_millis(1800));
        assert_eq!(node.commands(), [Command::Answer(until)]);
    }
}

#[test]
fn the_deadline_counts_from_the_start_of_a_renewal_not_from_its_answer() {
    let mut node = Node::owner();
    node.wait();
    node.expect_write(Some(6), "10.0.0.11");
    let started = node.now;
    node.now += Duration::from_millis(390);
    node.done(7, "10.0.0.11");
    let until = started + Duration::from_millis(1800);
    assert_eq!(node.machine.view().until, Some(until));
}

#[test]
fn another_ones_lease_is_taken_when_it_was_seen_unchanged_for_its_duration() {
    let mut node = Node::with(Some(record(5, "10.0.0.12")));
    assert_eq!(node.commands(), [Command::Answer(Answer::No)]);
    node.pass(1500);
    node.watched(6, Some("10.0.0.12"));
    assert_eq!(node.commands(), []);
    node.wait();
    assert_eq!(node.millis(), 3500);
    node.expect_write(Some(6), "10.0.0.11");
    node.done(7, "10.0.0.11");
    let told = Command::Tell(Notice::Took { from: Some("10.0.0.12".to_owned()) });
    assert!(node.commands().contains(&told));
}

#[test]
fn reading_the_same_version_again_does_not_prolong_it() {
    let mut node = Node::with(Some(record(5, "10.0.0.12")));
    node.wait();
    node.expect_write(Some(5), "10.0.0.11");
    node.written(Written::Failed);
    node.wait();
    node.expect_write(Some(5), "10.0.0.11");
    node.written(Written::Conflict);
    assert!(matches!(node.commands()[..], [Command::Read { .. }]));
    node.machine.handle_read(Ok(Some(record(5, "10.0.0.12"))), node.now);
    node.expect_write(Some(5), "10.0.0.11");
}

#[test]
fn who_loses_the_race_for_a_lease_waits_its_duration_again() {
    let mut node = Node::with(Some(record(5, "")));
    node.expect_write(Some(5), "10.0.0.11");
    node.written(Written::Conflict);
    assert!(node.commands().iter().any(|command| matches!(command, Command::Read { .. })));
    node.machine.handle_read(Ok(Some(record(6, "10.0.0.13"))), node.now);
    node.wait();
    assert_eq!(node.millis(), 2000);
    assert!(!node.owns());
}

#[test]
fn failed_renewals_are_tried_again_and_unseat_nobody_before_the_deadline() {
    let mut node = Node::owner();
    let mut tries = 0;
    while node.owns() {
        node.wait();
        if node.write().is_some() {
            tries += 1;
            // Nobody answers.
            let end = node.now + Duration::from_millis(400);
            while let Some(due) = node.machine.poll_timeout().filter(|due| *due < end) {
                node.now = due;
                node.machine.handle_timeout(due);
            }
            node.now = end;
            node.written(Written::Failed);
        }
    }
    assert_eq!(tries, 3);
    assert!(node.commands().contains(&Command::Tell(Notice::Lost(Loss::Expired))));
}

#[test]
fn a_renewal_that_went_through_without_an_answer_is_found_by_the_next() {
    let mut node = Node::owner();
    node.wait();
    node.expect_write(Some(6), "10.0.0.11");
    let until = node.machine.view().until;
    node.written(Written::Failed);
    node.wait();
    node.expect_write(Some(6), "10.0.0.11");
    node.written(Written::Conflict);
    assert!(matches!(node.commands()[..], [Command::Read { .. }]));
    node.machine.handle_read(Ok(Some(record(7, "10.0.0.11"))), node.now);
    assert_eq!(node.machine.view().until, until, "whose write that was is not known");
    node.expect_write(Some(7), "10.0.0.11");
    node.done(8, "10.0.0.11");
    assert!(node.machine.view().until > until);
}

#[test]
fn a_refused_renewal_unseats_nobody_before_the_deadline() {
    let mut node = Node::owner();
    node.wait();
    node.expect_write(Some(6), "10.0.0.11");
    node.written(Written::Refused);
    assert!(node.owns());
    node.wait();
    node.expect_write(Some(6), "10.0.0.11");
    node.done(7, "10.0.0.11");
    assert!(node.owns());
}

#[test]
fn a_drained_owner_stops_to_answer_and_then_gives_the_lease_away() {
    let mut node = Node::owner();
    node.machine.handle_fitness(Some(Unfit::Drained), true, node.now);
    let commands = node.commands();
    assert_eq!(commands[0], Command::Answer(Answer::No));
    assert!(matches!(&commands[1], Command::Write(write) if write.holder.is_empty()));
    node.done(7, "");
    assert_eq!(node.commands(), [Command::Tell(Notice::Released { why: Unfit::Drained })]);
    node.watched(8, Some("10.0.0.12"));
    node.pass(200);
    node.machine.handle_fitness(None, true, node.now);
    node.watched(9, Some("10.0.0.12"));
    node.pass(1900);
    assert_eq!(node.commands(), [], "who is back takes nothing away");
}

#[test]
fn a_lease_that_nobody_takes_is_taken_back_and_not_offered_again_soon() {
    let mut node = Node::owner();
    node.machine.handle_fitness(Some(Unfit::ApiServer), true, node.now);
    node.commands();
    node.done(7, "");
    node.commands();
    let before = node.now;
    node.wait();
    assert_eq!(node.now - before, Duration::from_millis(500));
    node.expect_write(Some(7), "10.0.0.11");
    node.done(8, "10.0.0.11");
    node.commands();
    for version in 9..100 {
        node.wait();
        node.expect_write(Some(version - 1), "10.0.0.11");
        node.done(version, "10.0.0.11");
        node.commands();
    }
}

#[test]
fn with_nobody_else_fit_an_owner_keeps_the_vip() {
    let mut node = Node::owner();
    node.machine.handle_fitness(Some(Unfit::ApiServer), false, node.now);
    assert_eq!(node.commands(), []);
    node.wait();
    node.expect_write(Some(6), "10.0.0.11");
    node.done(7, "10.0.0.11");
    node.commands();
    node.machine.handle_fitness(Some(Unfit::ApiServer), true, node.now);
    node.expect_write(Some(7), "");
}

#[test]
fn who_cannot_answer_gives_the_lease_away_whoever_else_is_fit() {
    for unfit in [Unfit::DataPath, Unfit::NotMember] {
        let mut node = Node::owner();
        node.machine.handle_fitness(Some(unfit), false, node.now);
        node.expect_write(Some(6), "");
        node.done(7, "");
        node.commands();
        node.pass(60_000);
        assert_eq!(node.commands(), []);
        assert_eq!(node.machine.poll_timeout(), None);
    }
}

#[test]
fn who_is_not_fit_takes_an_abandoned_lease_after_those_who_are() {
    let mut node = Node::new();
    node.commands();
    node.machine.handle_fitness(Some(Unfit::ApiServer), true, node.now);
    node.machine.handle_read(Ok(Some(record(5, "10.0.0.12"))), node.now);
    node.commands();
    node.wait();
    assert_eq!(node.millis(), 2500);
    node.expect_write(Some(5), "10.0.0.11");
}

#[test]
fn a_release_without_an_answer_is_read_before_anything_else() {
    let mut node = Node::owner();
    node.machine.handle_fitness(Some(Unfit::Drained), true, node.now);
    node.commands();
    node.written(Written::Failed);
    node.wait();
    assert!(matches!(node.commands()[..], [Command::Read { .. }]));
    node.machine.handle_read(Ok(Some(record(6, "10.0.0.11"))), node.now);
    node.expect_write(Some(6), "");
    node.written(Written::Failed);
    node.wait();
    node.commands();
    node.machine.handle_read(Ok(Some(record(8, "10.0.0.12"))), node.now);
    assert_eq!(node.commands(), []);
    assert!(!node.owns());
}

#[test]
fn a_lease_that_others_took_or_emptied_is_lost_at_once() {
    for holder in ["10.0.0.12", ""] {
        let mut node = Node::owner();
        node.watched(7, Some(holder));
        let commands = node.commands();
        let lost = Command::Tell(Notice::Lost(Loss::Taken(holder.to_owned())));
        assert_eq!(commands[..2], [Command::Answer(Answer::No), lost]);
    }
}

#[test]
fn a_deleted_lease_is_made_anew_by_its_owner_at_once() {
    let mut node = Node::owner();
    node.watched(7, None);
    node.expect_write(None, "10.0.0.11");
    node.done(8, "10.0.0.11");
    assert!(node.owns());

    let mut node = Node::owner();
    node.wait();
    node.expect_write(Some(6), "10.0.0.11");
    node.written(Written::Absent);
    node.expect_write(None, "10.0.0.11");
}

#[test]
fn a_deleted_lease_is_another_ones_for_its_duration() {
    let mut node = Node::with(Some(record(5, "10.0.0.12")));
    node.commands();
    node.pass(1000);
    node.watched(6, None);
    node.wait();
    assert_eq!(node.millis(), 3000);
    node.expect_write(None, "10.0.0.11");
}

#[test]
fn what_a_slow_watch_tells_is_no_news() {
    let mut node = Node::owner();
    node.watched(4, Some("10.0.0.12"));
    node.watched(5, Some(""));
    node.watched(6, Some("10.0.0.11"));
    assert_eq!(node.commands(), []);
    node.wait();
    node.expect_write(Some(6), "10.0.0.11");
    // Its own write comes by the watch first.
    node.watched(7, Some("10.0.0.11"));
    assert_eq!(node.commands(), []);
    node.done(7, "10.0.0.11");
    assert!(node.owns());
}

#[test]
fn a_note_that_somebody_adds_to_the_lease_costs_no_conflict() {
    let mut node = Node::owner();
    node.watched(7, Some("10.0.0.11"));
    node.expect_write(Some(7), "10.0.0.11");
}

#[test]
fn an_agent_that_comes_back_to_its_own_lease_goes_on_at_once() {
    let mut node = Node::with(Some(record(5, "10.0.0.11")));
    let commands = node.commands();
    assert!(matches!(&commands[..], [Command::Write(write)] if !write.acquired), "{commands:?}");
}

#[test]
fn without_a_word_of_the_cluster_what_an_earlier_agent_left_stays() {
    let mut node = Node::new();
    for _ in 0..10 {
        assert!(matches!(node.commands()[..], [Command::Read { .. }]));
        node.machine.handle_read(Err(()), node.now);
        node.wait();
    }
}

#[test]
fn a_stop_gives_the_lease_away_and_is_over_when_somebody_has_it() {
    let mut node = Node::owner();
    node.machine.handle_leave(node.now);
    assert!(!node.machine.has_left());
    node.expect_write(Some(6), "");
    node.done(7, "");
    assert!(!node.machine.has_left());
    node.watched(8, Some("10.0.0.13"));
    assert!(node.machine.has_left());
    assert_eq!(node.machine.answer, Some(Answer::No));
}

#[test]
fn a_stop_without_a_successor_leaves_the_answers_on() {
    let mut node = Node::owner();
    node.machine.handle_fitness(None, false, node.now);
    node.machine.handle_leave(node.now);
    assert_eq!(node.commands(), [Command::Answer(Answer::Always)]);
    assert!(node.machine.has_left());

    let mut node = Node::owner();
    node.machine.handle_leave(node.now);
    node.expect_write(Some(6), "");
    node.done(7, "");
    node.commands();
    node.wait();
    node.expect_write(Some(7), "10.0.0.11");
    node.done(8, "10.0.0.11");
    assert_eq!(node.commands().pop(), Some(Command::Answer(Answer::Always)));
    assert!(node.machine.has_left());
}

#[test]
fn a_stop_of_a_node_that_owns_nothing_is_over_at_once() {
    let mut node = Node::with(Some(record(5, "10.0.0.12")));
    node.machine.handle_leave(node.now);
    assert!(node.machine.has_left());
    node.commands();
    node.watched(6, Some(""));
    assert_eq!(node.commands(), [], "who leaves takes nothing");
}

#[test]
fn a_longer_duration_of_the_holder_is_respected() {
    let theirs = Record { duration: Duration::from_secs(15), ..record(5, "10.0.0.12") };
    let mut node = Node::with(Some(theirs));
    node.commands();
    node.wait();
    assert_eq!(node.millis(), 15_000);
}
