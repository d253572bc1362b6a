//! When pings are due and overdue, and how much silence is a frozen process.

use super::*;

const MS: Duration = Duration::from_millis(1);
const PERIOD: Duration = Duration::from_millis(100);

/// Another backend answers all the time.
const SEEN: Others = Others { quiet: None, witnessed: true };

/// A ping that was sent just now.
fn sent(now: Instant) -> Ping {
    let mut ping = Ping::new(now, now);
    ping.send(now, PERIOD, now + 600 * MS);
    ping
}

/// Looks at the ping every period, with this answer of TCP, until something is decided.
fn watch(ping: &mut Ping, from: Instant, tcp: TcpState, periods: u32) -> Option<Duration> {
    (1..=periods).find_map(|period| {
        let now = from + PERIOD * period;
        ping.look(None, now);
        ping.tcp(tcp, SEEN, now).map(|_| now.duration_since(from))
    })
}

#[test]
fn no_ping_is_due_while_one_is_unanswered() {
    let now = Instant::now();
    let mut ping = Ping::new(now, now + 300 * MS);
    assert_eq!(ping.due(None), Some(now + 300 * MS));
    ping.send(now, PERIOD, now + 600 * MS);
    assert_eq!((ping.due(None), ping.due(Some(PERIOD))), (None, None));
    assert_eq!(ping.answer(), Some(now));
    assert_eq!(ping.due(None), Some(now + 600 * MS));
    assert_eq!(ping.answer(), None, "it was answered");
}

#[test]
fn in_an_alert_pings_follow_one_another_closely() {
    let now = Instant::now();
    let mut ping = sent(now);
    ping.answer();
    assert_eq!(ping.due(Some(PERIOD)), Some(now + PERIOD));
    let mut fresh = Ping::new(now, now + 600 * MS);
    assert_eq!(fresh.due(Some(PERIOD)), Some(now + PERIOD));
    fresh.hurry(PERIOD, now + 300 * MS);
    assert_eq!(fresh.due(None), Some(now + 300 * MS));
}

#[test]
fn what_else_was_answered_lets_the_next_ping_wait_unless_a_hint_wants_it() {
    let now = Instant::now();
    let mut ping = Ping::new(now, now + 300 * MS);
    ping.postpone(now + 800 * MS);
    assert_eq!(ping.due(None), Some(now + 800 * MS));
    assert_eq!(ping.due(Some(PERIOD)), Some(now + PERIOD), "not in an alert");
    ping.hurry(PERIOD, now + 50 * MS);
    ping.postpone(now + 900 * MS);
    assert_eq!(ping.due(None), Some(now + PERIOD));
    ping.send(now + PERIOD, PERIOD, now + 700 * MS);
    ping.answer();
    ping.postpone(now + 900 * MS);
    assert_eq!(ping.due(None), Some(now + 900 * MS), "the hint was followed");
}

#[test]
fn a_ping_is_overdue_after_its_period_and_only_once() {
    let now = Instant::now();
    let mut ping = sent(now);
    assert_eq!(ping.look(None, now + 99 * MS), (false, Look::Nothing));
    assert_eq!(ping.look(None, now + PERIOD), (true, Look::Inspect));
    assert_eq!(ping.look(None, now + 150 * MS), (false, Look::Nothing));
    assert_eq!(ping.look(None, now + 2 * PERIOD), (false, Look::Inspect));
}

#[test]
fn a_second_of_acknowledged_silence_is_a_frozen_process() {
    let now = Instant::now();
    let frozen = watch(&mut sent(now), now, TcpState::Acknowledged, 50);
    assert_eq!(frozen, Some(Duration::from_secs(1)));
}

#[test]
fn silence_of_tcp_is_never_a_frozen_process() {
    let now = Instant::now();
    assert_eq!(watch(&mut sent(now), now, TcpState::Silent, 1000), None);
}

#[test]
fn silence_counts_from_the_last_moment_that_was_not_acknowledged() {
    let now = Instant::now();
    let mut ping = sent(now);
    assert_eq!(watch(&mut ping, now, TcpState::Acknowledged, 9), None);
    let later = now + 9 * PERIOD;
    assert_eq!(watch(&mut ping, later, TcpState::Silent, 1), None);
    let frozen = watch(&mut ping, later + PERIOD, TcpState::Acknowledged, 50);
    assert!(frozen.is_some_and(|after| after >= Duration::from_secs(1)), "{frozen:?}");
}

#[test]
fn after_a_moment_in_which_nobody_answered_as_much_longer_is_waited() {
    let now = Instant::now();
    let mut ping = sent(now);
    // Nobody answers for 700 ms, then the others do.
    let frozen = (1..=50).find(|period| {
        let at = now + PERIOD * *period;
        ping.look(None, at);
        let quiet = Some(at.min(now + 7 * PERIOD));
        ping.tcp(TcpState::Acknowledged, Others { quiet, ..SEEN }, at).is_some()
    });
    assert_eq!(frozen, Some(8 + 10 + 7));
}

#[test]
fn an_agent_that_did_not_run_saw_no_silence() {
    let now = Instant::now();
    let mut ping = sent(now);
    let mut late = now;
    for _ in 0..4 {
        // Two seconds pass between one look and the next.
        late += Duration::from_secs(2);
        ping.look(None, late);
        assert_eq!(ping.tcp(TcpState::Acknowledged, SEEN, late), None);
    }
}

#[test]
fn a_far_network_gets_eight_of_its_own_periods() {
    let now = Instant::now();
    let mut ping = Ping::new(now, now);
    let period = 500 * MS;
    ping.send(now, period, now);
    let frozen = (1..=50).find(|times| {
        ping.look(None, now + period * *times);
        ping.tcp(TcpState::Acknowledged, SEEN, now + period * *times).is_some()
    });
    assert_eq!(frozen, Some(8));
}

#[test]
fn what_tcp_says_unasked_is_ignored() {
    let now = Instant::now();
    let mut ping = sent(now);
    for times in 1..100 {
        assert_eq!(ping.tcp(TcpState::Acknowledged, SEEN, now + PERIOD * times), None);
    }
}

#[test]
fn silence_without_a_witness_counts_for_nothing() {
    let now = Instant::now();
    let mut ping = sent(now);
    let mut watch = |from: u32, periods: u32, witnessed: bool| {
        (from + 1..=from + periods).find(|period| {
            let at = now + PERIOD * *period;
            ping.look(None, at);
            ping.tcp(TcpState::Acknowledged, Others { quiet: None, witnessed }, at).is_some()
        })
    };
    assert_eq!(watch(0, 50, false), None);
    // The first to thaw saw nothing of what was before.
    assert_eq!(watch(50, 8, true), None);
    assert_eq!(watch(58, 50, true), Some(59));
}

#[test]
fn a_witness_that_answers_seldom_is_one_for_a_part_of_the_time_since_it_was_asked() {
    let now = Instant::now();
    let mut ping = sent(now);
    let frozen = (1..=50).find(|period| {
        let at = now + PERIOD * *period;
        ping.look(None, at);
        let others = Others { quiet: None, witnessed: period % 5 == 0 };
        ping.tcp(TcpState::Acknowledged, others, at).is_some()
    });
    assert_eq!(frozen, Some(20));
}

#[test]
fn silence_that_is_looked_at_seldom_is_still_watched() {
    let now = Instant::now();
    let mut ping = sent(now);
    let silent = (1..=40).map(|seconds| now + Duration::from_secs(seconds));
    for at in silent {
        ping.look(None, at);
        ping.tcp(TcpState::Silent, SEEN, at);
    }
    // The first look only starts the count.
    let frozen = (41..=50).find(|seconds| {
        let at = now + Duration::from_secs(*seconds);
        ping.look(None, at);
        ping.tcp(TcpState::Acknowledged, SEEN, at).is_some()
    });
    assert_eq!(frozen, Some(42));
}

#[test]
fn a_ping_that_stays_unanswered_while_probes_are_answered_ends_the_sentinel() {
    let now = Instant::now();
    let mut ping = sent(now);
    let answered = Some(now + 200 * MS);
    let given_up = (1..=200).find(|times| {
        let at = now + PERIOD * *times;
        let (_, look) = ping.look(answered, at);
        ping.tcp(TcpState::Silent, SEEN, at);
        look == Look::GiveUp
    });
    assert!(given_up.is_some_and(|times| (100..=110).contains(&times)), "{given_up:?}");
    let mut ping = sent(now);
    let before = Some(now);
    let kept = (1..=200).all(|times| {
        let at = now + PERIOD * times;
        let (_, look) = ping.look(before, at);
        ping.tcp(TcpState::Silent, SEEN, at);
        look != Look::GiveUp
    });
    assert!(kept, "a probe answered before the ping says nothing");
}
