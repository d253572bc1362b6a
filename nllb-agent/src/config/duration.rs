//! Durations as people write them: `100ms`, `2s`, `1m30s`.

use super::error::Fault;
use super::error::Problem;
use super::place::At;
use std::time::Duration;

/// Bounds of a duration and what it is when left out.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) default: Duration,
    pub(super) min: Duration,
    pub(super) max: Duration,
}

impl Limits {
    /// The duration that is written, within the bounds, or the default.
    pub(super) fn apply(self, raw: Option<At<String>>) -> Result<Duration, Fault> {
        match raw {
            Some(raw) => Ok(raw.check(|text| within(&text, self.min, self.max))?.value),
            None => Ok(self.default),
        }
    }
}

/// The duration that is written, when it is not out of bounds.
///
/// # Errors
/// When it is, or is no duration.
pub fn within(text: &str, min: Duration, max: Duration) -> Result<Duration, Problem> {
    let duration = parse(text).ok_or_else(|| Problem::Duration { found: text.to_owned() })?;
    if (min..=max).contains(&duration) {
        return Ok(duration);
    }
    Err(Problem::Range { found: text.to_owned(), min: show(min), max: show(max) })
}

/// Reads numbers with the units h, m, s and ms, in any number and order.
fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let part = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        };
        total = total.checked_add(part)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// The shortest way to write `duration`.
#[must_use]
pub fn show(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis.is_multiple_of(3_600_000) && millis > 0 {
        format!("{}h", millis / 3_600_000)
    } else if millis.is_multiple_of(60_000) && millis > 0 {
        format!("{}m", millis / 60_000)
    } else if millis.is_multiple_of(1000) {
        format!("{}s", millis / 1000)
    } else {
        format!("{millis}ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, millis) in [("100ms", 100), ("2s", 2000), ("1m30s", 90_000), ("1h", 3_600_000)] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "1", "s", "1.5s", "-1s", "1 s", "1sec", "99999999999999999999s"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read_back() {
        for millis in [0, 1, 999, 1000, 1500, 60_000, 90_000, 3_600_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse(&show(duration)), Some(duration));
        }
    }
}
