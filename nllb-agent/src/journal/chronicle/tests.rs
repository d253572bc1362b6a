//! What becomes an entry, with which durations, and what does not.

use super::*;
use crate::journal::Entry;
use State::{Degraded, Draining, Healthy, Unhealthy, Unknown};

const POOL: &str = "apiserver";

fn backend(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 6443))
}

fn pools(states: &[State]) -> Pools {
    let backends = (1..).zip(states).map(|(last, state)| (backend(last), *state));
    [(POOL.to_owned(), backends.collect())].into()
}

fn moment(unix_ms: u64) -> Moment {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms);
    Moment { now: Instant::now(), wall }
}

/// A node that has been up for long.
const NOW: u64 = 1_800_000_000_000;

struct Scene {
    chronicle: Chronicle,
    start: Instant,
    after: Duration,
}

impl Scene {
    fn new(past: &Past, states: &[State]) -> Self {
        let at = moment(NOW);
        Self {
            chronicle: Chronicle::new(past, &pools(states), at),
            start: at.now,
            after: Duration::ZERO,
        }
    }

    fn now(&self) -> Instant {
        self.start + self.after
    }

    fn wait(&mut self, ms: u64) {
        self.after += Duration::from_millis(ms);
    }

    /// What follows besides the transition itself, as JSON without the pool.
    fn moves(&mut self, last: u8, from: State, to: State, doubted_ms: Option<u64>) -> Vec<String> {
        let change = Transition {
            pool: POOL,
            backend: backend(last),
            from,
            to,
            reason: "so",
            first_sign: doubted_ms.map(|ms| self.now() - Duration::from_millis(ms)),
        };
        let mut whats = self.chronicle.transition(change, self.now());
        let first = whats.remove(0);
        assert!(matches!(&first, What::Transition { reason, .. } if reason == "so"), "{first:?}");
        whats.iter().map(words).collect()
    }
}

/// What is told, in short.
fn words(what: &What) -> String {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are looked at whole")]
    match what {
        What::Failover { backend, remaining, duration_ms, .. } => {
            format!("failover of {}, {remaining} left, {duration_ms:?}", backend.ip())
        }
        What::Recovered { backend, duration_ms, .. } => {
            format!("{} recovered, {duration_ms:?}", backend.ip())
        }
        What::PanicEntered { reason, .. } => format!("panic: {reason}"),
        What::PanicLeft { backend, duration_ms, .. } => {
            format!("no panic by {}, {duration_ms:?}", backend.ip())
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn a_loss_is_a_failover_with_the_time_from_the_first_sign_and_a_return_tells_how_long_it_was_out() {
    let mut scene = Scene::new(&Past::default(), &[Healthy; 3]);
    let lost = scene.moves(1, Healthy, Unhealthy, Some(120));
    assert_eq!(lost, ["failover of 10.0.0.1, 2 left, Some(120)"]);
    scene.wait(5000);
    // Still out, only otherwise.
    assert_eq!(scene.moves(1, Unhealthy, Draining, None), [""; 0]);
    scene.wait(2000);
    assert_eq!(scene.moves(1, Draining, Healthy, None), ["10.0.0.1 recovered, Some(7000)"]);
    assert_eq!(scene.moves(2, Healthy, Degraded, None), [""; 0], "it still serves");
}

#[test]
fn a_first_look_is_neither_failover_nor_recovery_but_what_it_found_out_recovers_later() {
    let mut scene = Scene::new(&Past::default(), &[Unknown; 2]);
    assert_eq!(scene.moves(1, Unknown, Unhealthy, None), [""; 0], "the other was not asked yet");
    assert_eq!(scene.moves(2, Unknown, Healthy, None), [""; 0]);
    scene.wait(300);
    assert_eq!(scene.moves(1, Unhealthy, Healthy, None), ["10.0.0.1 recovered, Some(300)"]);
}

#[test]
fn a_panic_begins_with_the_last_one_and_ends_with_the_first() {
    let mut scene = Scene::new(&Past::default(), &[Healthy; 2]);
    assert_eq!(scene.moves(1, Healthy, Unhealthy, None).len(), 1);
    scene.wait(50);
    assert_eq!(scene.moves(2, Healthy, Unhealthy, None), ["panic: 10.0.0.2:6443: so"]);
    scene.wait(1000);
    assert_eq!(scene.moves(1, Unhealthy, Draining, None), [""; 0], "told once");
    let back = scene.moves(1, Draining, Degraded, None);
    let expected = ["10.0.0.1 recovered, Some(1050)", "no panic by 10.0.0.1, Some(1000)"];
    assert_eq!(back, expected);
}

#[test]
fn what_began_before_this_agent_ends_with_its_whole_duration() {
    let mut past = Past::default();
    let mut first = Scene::new(&past, &[Healthy, Healthy]);
    let mut whats = Vec::new();
    for last in [1, 2] {
        let backend = backend(last);
        let (from, to) = (Healthy, Unhealthy);
        let change = Transition { pool: POOL, backend, from, to, reason: "so", first_sign: None };
        whats.extend(first.chronicle.transition(change, first.start));
    }
    whats.extend(first.chronicle.attachment(Some("detached"), first.start));
    for (seq, what) in (1..).zip(whats) {
        past.take(Entry { seq, time_ms: (NOW - 60_000).cast_signed(), what });
    }
    assert_eq!(past.newest, 5);

    // One comes back while nobody looks, and the maps still have the other as it was.
    let mut scene = Scene::new(&past, &[Unknown, Unhealthy]);
    scene.wait(1000);
    let back = scene.moves(1, Unknown, Healthy, None);
    let expected = ["10.0.0.1 recovered, Some(61000)", "no panic by 10.0.0.1, Some(61000)"];
    assert_eq!(back, expected);
    assert_eq!(scene.moves(2, Unhealthy, Healthy, None), ["10.0.0.2 recovered, Some(61000)"]);
    let attached = scene.chronicle.attachment(None, scene.now());
    let (state, reason) = (AttachState::Repaired, None);
    assert_eq!(attached, Some(What::Attach { state, reason, duration_ms: Some(61_000) }));
}

#[test]
fn a_clock_that_was_set_back_costs_a_duration_and_nothing_else() {
    let mut past = Past::default();
    let (pool, reason) = (POOL.to_owned(), "so".to_owned());
    let what =
        What::Failover { pool, backend: backend(1), reason, remaining: 1, duration_ms: None };
    past.take(Entry { seq: 1, time_ms: (NOW + 60_000).cast_signed(), what });
    let mut scene = Scene::new(&past, &[Unhealthy, Healthy]);
    assert_eq!(scene.moves(1, Unhealthy, Healthy, None), ["10.0.0.1 recovered, None"]);
}

#[test]
fn members_that_join_and_leave_are_told_together_and_those_that_stay_are_kept() {
    let mut scene = Scene::new(&Past::default(), &[Healthy, Unhealthy]);
    let mut next = pools(&[Healthy, Unhealthy]);
    let backends = next.get_mut(POOL).expect("a pool");
    backends.remove(&backend(1));
    backends.insert(backend(7), Unknown);
    let whats = scene.chronicle.members(&next, "sources", scene.now());
    let (joined, left) = (vec![backend(7)], vec![backend(1)]);
    let (pool, reason) = (POOL.to_owned(), "sources".to_owned());
    assert_eq!(whats, [What::Members { pool, joined, left, reason }]);
    assert_eq!(scene.chronicle.members(&next, "sources", scene.now()), []);
    // Nobody is left but who is out.
    next.get_mut(POOL).expect("a pool").remove(&backend(7));
    let whats = scene.chronicle.members(&next, "sources", scene.now());
    assert_eq!(whats.iter().map(words).nth(1).as_deref(), Some("panic: sources"));
    assert_eq!(scene.chronicle.members(&Pools::new(), "sources", scene.now()), []);
}

#[test]
fn the_attachment_and_the_configuration_are_told_when_they_change() {
    let mut scene = Scene::new(&Past::default(), &[Healthy]);
    let now = scene.start;
    let chronicle = &mut scene.chronicle;
    assert_eq!(chronicle.attachment(None, now), None);
    assert!(chronicle.attachment(Some("sock_ops: detached"), now).is_some());
    assert_eq!(chronicle.attachment(Some("all: detached"), now), None);
    let later = now + Duration::from_secs(2);
    let (state, reason) = (AttachState::Repaired, None);
    let repaired = Some(What::Attach { state, reason, duration_ms: Some(2000) });
    assert_eq!(chronicle.attachment(None, later), repaired);

    assert_eq!(chronicle.configuration(Ok(false)), None);
    let told = chronicle.configuration(Err("line 1\nof many")).expect("it is told");
    let (outcome, reason) = (ConfigOutcome::Refused, Some("line 1 of many".to_owned()));
    assert_eq!(told, What::Config { outcome, reason });
    assert_eq!(chronicle.configuration(Err("line 1\nof many")), None, "once");
    assert!(chronicle.configuration(Err("another")).is_some());
    let applied = What::Config { outcome: ConfigOutcome::Applied, reason: None };
    assert_eq!(chronicle.configuration(Ok(true)), Some(applied));
    assert!(chronicle.configuration(Err("another")).is_some(), "anew");
}

#[test]
fn an_entry_is_a_flat_object_and_a_long_reason_is_cut() {
    let backend = backend(1);
    let what = What::Closed {
        backend,
        cause: "dead".into(),
        reason: short(&"x".repeat(400)),
        sockets: 3,
        duration_ms: 12,
    };
    let entry = Entry { seq: 7, time_ms: 5, what };
    let line = entry.line();
    assert!(line.starts_with(r#"{"seq":7,"timeMs":5,"what":"closed","backend":"10.0.0.1:6443","#));
    assert!(line.contains(r#""durationMs":12"#) && line.len() < 500, "{line}");
    assert_eq!(serde_json::from_str::<Entry>(&line).expect("the same"), entry);
    assert!(entry.what.is_about(|of| of == backend));
}
