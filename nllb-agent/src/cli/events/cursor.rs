//! How far an agent's journal was read, for whoever goes on reading it.

use crate::admin::EVENTS_PATH;
use crate::journal::Events;
use serde_json::Value;

/// The number of the newest entry that was read; 0 before the first.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Cursor(u64);

impl Cursor {
    /// What came after this entry is next.
    pub(in crate::cli) const fn after(seq: u64) -> Self {
        Self(seq)
    }

    /// Where to ask the agent what is next, and for how many seconds it may keep the question.
    pub(in crate::cli) fn question(self, wait: u64) -> String {
        format!("{EVENTS_PATH}?after={}&wait={wait}", self.0)
    }

    /// Reads the answer. That of another journal has no entries and tells of more: everything in that one is next.
    pub(in crate::cli) fn read(&mut self, answer: &[u8]) -> serde_json::Result<Events> {
        let events: Events = serde_json::from_slice(answer)?;
        if events.newest < self.0 {
            self.0 = 0;
            return Ok(Events { entries: Vec::new(), more: true, ..events });
        }
        events.entries.iter().for_each(|entry| self.pass(entry));
        Ok(events)
    }

    /// An entry was read from elsewhere.
    pub(in crate::cli) fn pass(&mut self, entry: &Value) {
        self.0 = self.0.max(entry["seq"].as_u64().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_behind_the_newest_and_begins_again_with_another_journal() {
        let mut cursor = Cursor::after(7);
        let answer = br#"{"entries":[{"seq":8},{"seq":9}],"newest":12,"more":true}"#;
        assert_eq!(cursor.read(answer).expect("read").entries.len(), 2);
        assert_eq!(cursor.question(3), "/v1/events?after=9&wait=3");
        let events = cursor.read(br#"{"entries":[],"newest":2,"more":false}"#).expect("read");
        assert!(events.entries.is_empty() && events.more);
        assert_eq!(cursor.question(0), "/v1/events?after=0&wait=0");
    }
}
