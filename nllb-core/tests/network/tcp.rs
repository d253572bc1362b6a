//! As much of TCP as decides when a probe or a ping is answered: what is lost is sent again after a
//! timeout that doubles, for a SYN as for data, by the client as by the server.

use std::time::{Duration, Instant};

use nllb_core::Outcome;

use crate::path::{Dice, Path};

/// Linux adds at least so much to the round trip.
const RTO_MIN: Duration = Duration::from_millis(200);
/// Times that something is sent again.
const TRIES: u32 = 14;
/// Limits of the agent's prober: of the whole probe, and half of it for the connect.
pub(crate) const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// A question and its answer over an established connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    /// When the question was acknowledged.
    pub(crate) acknowledged: Option<Instant>,
    /// When the answer came.
    pub(crate) answered: Option<Instant>,
}

/// The timeout of a connection that has carried data for a while.
pub(crate) fn settled(path: &Path) -> Duration {
    path.rtt + RTO_MIN
}

/// The timeout just after the handshake, whose round trip is the only one known.
fn unsettled(path: &Path) -> Duration {
    (path.rtt * 3).max(settled(path))
}

/// Sends something until it arrives: when each try starts, and when it arrives if it does.
fn tries<'a>(
    path: &'a Path,
    start: Instant,
    rto: Duration,
    dice: &'a mut Dice,
) -> impl Iterator<Item = (Instant, Option<Instant>)> + 'a {
    (0..TRIES).map(move |number| {
        let at = start + rto * (2_u32.pow(number) - 1);
        (at, path.deliver(at, dice))
    })
}

/// Asks something over an established connection.
pub(crate) fn exchange(path: &Path, rto: Duration, now: Instant, dice: &mut Dice) -> Exchange {
    let mut got = None;
    let mut acknowledged = None;
    for number in 0..TRIES {
        let at = now + rto * (2_u32.pow(number) - 1);
        if acknowledged.is_some_and(|acknowledged| acknowledged <= at) {
            break;
        }
        let Some(arrived) = path.deliver(at, dice) else { continue };
        got.get_or_insert(arrived);
        acknowledged = acknowledged.or_else(|| path.deliver(arrived, dice));
    }
    let answered = got.and_then(|got| {
        let served = path.served(got);
        tries(path, served, rto, dice).find_map(|(_, arrived)| arrived)
    });
    // An answer acknowledges the question.
    let acknowledged = acknowledged.into_iter().chain(answered).min();
    Exchange { acknowledged, answered }
}

/// A handshake that takes at most `limit`: when it is done, or what came instead and when.
pub(crate) fn connect(
    path: &Path,
    limit: Duration,
    now: Instant,
    dice: &mut Dice,
) -> Result<Instant, (Outcome, Instant)> {
    // The kernel programs shorten the wait to three round trips.
    let rto = (path.rtt * 3).clamp(Duration::from_millis(80), Duration::from_secs(1));
    for number in 0..TRIES {
        let at = now + rto * (2_u32.pow(number) - 1);
        if at >= now + limit {
            break;
        }
        let Some(arrived) = path.deliver(at, dice) else { continue };
        let Some(back) = path.deliver(arrived, dice) else { continue };
        if back > now + limit {
            break;
        }
        let refused = path.is_gone(arrived);
        return if refused { Err((Outcome::Refused, back)) } else { Ok(back) };
    }
    Err((Outcome::Silent, now + limit))
}

/// A connection of its own with TLS, and then something asked over it.
pub(crate) fn fresh(
    path: &Path,
    connect_limit: Option<Duration>,
    now: Instant,
    dice: &mut Dice,
) -> (Outcome, Instant, Option<Duration>) {
    let half = PROBE_LIMIT / 2;
    let limit = connect_limit.map_or(half, |limit| limit.min(half));
    let connected = match connect(path, limit, now, dice) {
        Ok(connected) => connected,
        Err((outcome, at)) => return (outcome, at, None),
    };
    let rtt = Some(connected.duration_since(now));
    let end = now + PROBE_LIMIT;
    let in_time = |at: Option<Instant>| at.filter(|at| *at <= end);
    let handshake = exchange(path, unsettled(path), connected, dice).answered;
    let Some(secured) = in_time(handshake) else { return (Outcome::Hung, end, rtt) };
    let answer = exchange(path, unsettled(path), secured, dice).answered;
    match in_time(answer) {
        Some(at) => (Outcome::Ready, at, rtt),
        None => (Outcome::Slow, end, rtt),
    }
}
