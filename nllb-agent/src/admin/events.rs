//! The journal on the admin socket: what came after an entry, at once or as soon as there is something.

use crate::journal::{Feed, LONGEST_WAIT};
use crate::serve::{self, Answer};
use hyper::StatusCode;
use std::time::Duration;

/// Answers `after=SEQ&wait=SECONDS`, each of which may be left out.
pub(super) async fn answer(query: Option<&str>, feed: &Feed) -> Answer {
    match read(query.unwrap_or_default()) {
        Ok((after, wait)) => {
            let events = feed.after(after, wait).await;
            serve::answer(StatusCode::OK, "application/json", events)
        }
        Err(line) => serve::text(StatusCode::BAD_REQUEST, &line),
    }
}

fn read(query: &str) -> Result<(u64, Duration), String> {
    let (mut after, mut wait) = (0, Duration::ZERO);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let number = || value.parse().map_err(|_| format!("{key}: \"{value}\" is not a number"));
        match key {
            "after" => after = number()?,
            "wait" => wait = Duration::from_secs(number()?),
            _ => return Err(format!("\"{key}\" is not known: use after and wait")),
        }
    }
    if wait > LONGEST_WAIT {
        return Err(format!("wait is out of range: use 0 to {}", LONGEST_WAIT.as_secs()));
    }
    Ok((after, wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_may_be_left_out_and_nothing_else_is_known() {
        let seconds = Duration::from_secs;
        assert_eq!(read(""), Ok((0, seconds(0))));
        assert_eq!(read("after=7"), Ok((7, seconds(0))));
        assert_eq!(read("wait=30&after=7"), Ok((7, seconds(30))));
        for (query, words) in [
            ("after=x", "after: \"x\" is not a number"),
            ("after", "after: \"\" is not a number"),
            ("wait=31", "wait is out of range: use 0 to 30"),
            ("since=7", "\"since\" is not known: use after and wait"),
        ] {
            assert_eq!(read(query), Err(words.to_owned()), "{query}");
        }
    }
}
