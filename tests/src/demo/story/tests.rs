//! The order of the story.

use super::super::ledger::{Attempt, Health};
use super::*;

struct Play {
    now: Instant,
    ledger: Ledger,
    story: Story,
}

impl Play {
    fn new() -> Self {
        let now = Instant::now();
        Self { now, ledger: Ledger::new(now), story: Story::new(now) }
    }

    fn dwell(&mut self, sick: Option<usize>, servers: &[&str]) {
        self.connect(DWELL_CONNECTS, servers);
        (0..DWELL).for_each(|_| self.look(sick));
    }

    fn look(&mut self, sick: Option<usize>) {
        let health = |index: usize| Health {
            name: format!("cp{index}"),
            address: String::new(),
            state: if sick == Some(index) { "unhealthy" } else { "healthy" }.to_owned(),
            since: self.now,
            reason: String::new(),
        };
        self.ledger.look(self.now, (0..3).map(health).collect());
    }

    fn connect(&mut self, count: u64, servers: &[&str]) {
        for server in servers.iter().cycle().take(usize::try_from(count).expect("small")) {
            let began = self.now;
            self.now += Duration::from_micros(100);
            let result = Ok((*server).to_owned());
            self.ledger.attempt(&Attempt { began, ended: self.now, result });
        }
    }

    fn next(&mut self) -> Option<Action> {
        self.story.next(&self.ledger, self.now)
    }
}

#[test]
fn both_servers_fall_and_rise_each_after_the_other_is_back() {
    let mut play = Play::new();
    for (number, (kind, victim)) in FAULTS.into_iter().enumerate() {
        play.look(None);
        play.connect(3, &["cp0", "cp1", "cp2"]);
        assert_eq!(play.next(), None, "calm has only just begun");
        play.dwell(None, &["cp0", "cp1", "cp2"]);
        assert_eq!(play.next(), Some(Action::Strike(kind, victim)));
        play.ledger.strike(play.now, kind, &format!("cp{victim}"));
        play.connect(DWELL_CONNECTS, &["cp2"]);
        assert_eq!(play.next(), None, "the agent has noticed nothing");
        play.look(Some(victim));
        assert_eq!(play.next(), None);
        play.dwell(Some(victim), &["cp2"]);
        assert_eq!(play.next(), Some(Action::Restore(kind, victim)));
        play.ledger.restore(play.now);
        assert!(!play.ledger.faults[number].is_overcome());
    }
    play.look(None);
    assert_eq!(play.next(), None);
    play.dwell(None, &["cp1"]);
    assert_eq!(play.next(), Some(Action::End));
    assert_eq!(play.next(), None);
}

#[test]
fn the_story_gives_up_on_what_does_not_happen_and_says_what() {
    let mut play = Play::new();
    play.look(Some(2));
    assert_eq!(play.next(), None);
    play.now += PATIENCE;
    let Some(Action::GiveUp(missing)) = play.next() else { panic!("it goes on") };
    assert!(missing.contains("cp2 is still unhealthy"), "{missing}");
    assert_eq!(play.next(), None);
}
