//! When the table is written: after a change that matters, and rarely, since nodes live on flash.

use nllb_core::{Recollection, Remembered};
use std::time::{Duration, Instant};

/// A flapping backend must not wear out a disk.
const PAUSE: Duration = Duration::from_secs(5);
/// A disk that failed will likely fail again.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(60);
/// Observations of a calm cluster must not look outdated after a reboot.
const REFRESH: Duration = Duration::from_secs(3600);
/// In some networks round-trip times never rest, and those on disk are a guess anyway.
const RTT_PAUSE: Duration = Duration::from_secs(600);
/// A round-trip time that is within this factor of the one on disk is the same.
const RTT_FACTOR: u32 = 2;

/// The last write that ended.
#[derive(Clone, Debug)]
pub struct Last {
    /// When it was begun.
    pub at: Instant,
    /// What is on disk since; `None` when the write failed.
    pub known: Option<Recollection>,
}

/// Whether `known` should be written now. An operator's drain does not wait for the pause.
#[must_use]
pub fn should_write(last: Option<&Last>, known: &Recollection, now: Instant) -> bool {
    let Recollection { backends, vips, services } = known;
    let Some(Last { at, known: written }) = last else {
        return !(backends.is_empty() && vips.is_empty() && services.is_empty());
    };
    let since = now.saturating_duration_since(*at);
    let Some(Recollection { backends: written, vips: written_vips, services: offered }) = written
    else {
        return since >= PAUSE_AFTER_FAILURE;
    };
    since >= REFRESH
        || drained(written) != drained(backends)
        || (since >= PAUSE
            && (written_vips != vips || offered != services || differ(written, backends, differs)))
        || (since >= RTT_PAUSE && differ(written, backends, differs_in_rtt))
}

fn drained(backends: &[Remembered]) -> Vec<(&str, std::net::SocketAddr, Option<Duration>)> {
    let drained = backends.iter().filter(|backend| backend.drained);
    drained.map(|backend| (backend.pool.as_str(), backend.addr, backend.close_after)).collect()
}

fn differ(
    one: &[Remembered],
    other: &[Remembered],
    differs: fn(&Remembered, &Remembered) -> bool,
) -> bool {
    one.len() != other.len() || one.iter().zip(other).any(|(one, other)| differs(one, other))
}

/// In anything but the round-trip time, of which only that there is one counts.
fn differs(one: &Remembered, other: &Remembered) -> bool {
    let Remembered { pool, addr, state, drained, close_after, rtt, names, version } = one;
    *pool != other.pool
        || *addr != other.addr
        || *state != other.state
        || *drained != other.drained
        || *close_after != other.close_after
        || rtt.is_some() != other.rtt.is_some()
        || *names != other.names
        || *version != other.version
}

fn differs_in_rtt(one: &Remembered, other: &Remembered) -> bool {
    let (one, other) = (one.rtt.unwrap_or_default(), other.rtt.unwrap_or_default());
    one > other * RTT_FACTOR || other > one * RTT_FACTOR
}

#[cfg(test)]
mod tests {
    use super::*;
    use nllb_common::maps::State;

    fn backend() -> Remembered {
        Remembered {
            pool: "apiserver".to_owned(),
            addr: "10.0.0.11:6443".parse().expect("an address"),
            state: State::Healthy,
            drained: false,
            close_after: None,
            rtt: Some(Duration::from_micros(400)),
            names: Vec::new(),
            version: None,
        }
    }

    fn known(backends: &[Remembered]) -> Recollection {
        Recollection { backends: backends.to_vec(), ..Recollection::default() }
    }

    #[test]
    fn the_first_table_is_written_unless_it_is_empty() {
        let now = Instant::now();
        assert!(should_write(None, &known(&[backend()]), now));
        assert!(!should_write(None, &known(&[]), now));
        let vips = vec!["10.96.0.1:443".parse().expect("an address")];
        assert!(should_write(None, &Recollection { vips, ..Recollection::default() }, now));
    }

    #[test]
    fn a_change_is_written_after_a_pause_and_nothing_else_but_a_refresh() {
        let at = Instant::now();
        let last = Last { at, known: Some(known(&[backend()])) };
        let due =
            |changed: Remembered, after| should_write(Some(&last), &known(&[changed]), at + after);
        let sick = || Remembered { state: State::Unhealthy, ..backend() };
        assert!(!due(sick(), PAUSE - Duration::from_millis(1)));
        assert!(due(sick(), PAUSE));
        assert!(due(Remembered { rtt: None, ..backend() }, PAUSE));
        let version = Some("v1.30.4".parse().expect("a version"));
        assert!(due(Remembered { version, ..backend() }, PAUSE));
        assert!(!due(backend(), REFRESH - Duration::from_millis(1)));
        assert!(due(backend(), REFRESH));
        assert!(should_write(Some(&last), &known(&[backend(), backend()]), at + PAUSE));
        let vips = vec!["10.96.0.1:443".parse().expect("an address")];
        assert!(should_write(
            Some(&last),
            &Recollection { vips, ..known(&[backend()]) },
            at + PAUSE
        ));
    }

    #[test]
    fn a_round_trip_time_that_doubled_or_halved_is_written_after_a_long_pause() {
        let at = Instant::now();
        let last = Last { at, known: Some(known(&[backend()])) };
        for (micros, expected) in [(150, true), (200, false), (800, false), (801, true)] {
            let changed = [Remembered { rtt: Some(Duration::from_micros(micros)), ..backend() }];
            assert!(!should_write(Some(&last), &known(&changed), at + PAUSE), "{micros}");
            assert_eq!(
                should_write(Some(&last), &known(&changed), at + RTT_PAUSE),
                expected,
                "{micros}"
            );
        }
    }

    #[test]
    fn an_operators_drain_is_written_at_once() {
        let at = Instant::now();
        let last = Last { at, known: Some(known(&[backend()])) };
        let drained = Remembered { drained: true, ..backend() };
        assert!(should_write(Some(&last), &known(std::slice::from_ref(&drained)), at));
        let last = Last { at, known: Some(known(std::slice::from_ref(&drained))) };
        assert!(!should_write(Some(&last), &known(std::slice::from_ref(&drained)), at));
        let close_after = Some(Duration::from_secs(60));
        assert!(should_write(Some(&last), &known(&[Remembered { close_after, ..drained }]), at));
    }

    #[test]
    fn a_failed_write_is_tried_again_after_a_minute_whatever_has_changed() {
        let at = Instant::now();
        let last = Last { at, known: None };
        let drained = [Remembered { drained: true, ..backend() }];
        assert!(!should_write(Some(&last), &known(&drained), at + PAUSE));
        assert!(should_write(Some(&last), &known(&drained), at + PAUSE_AFTER_FAILURE));
    }
}
