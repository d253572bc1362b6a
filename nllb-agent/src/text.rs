//! Words of others, made fit for a line that people read: in a log, a status or a terminal.

use std::fmt::{self, Display, Write as _};

/// Longer than anything useful that an API server says.
const LONGEST: usize = 300;

/// Shows something in one line: control characters are escaped, since a terminal obeys them.
pub(crate) struct OneLine<T>(pub(crate) T);

impl<T: Display> Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for plain in text.split_inclusive(char::is_control) {
            let control = plain.chars().next_back().filter(|last| last.is_control());
            let length = plain.len() - control.map_or(0, char::len_utf8);
            self.0.write_str(&plain[..length])?;
            control.map_or(Ok(()), |control| write!(self.0, "{}", control.escape_default()))?;
        }
        Ok(())
    }
}

/// `text` in one line, the end cut off when it is long.
pub(crate) fn printable(text: &str) -> String {
    let mut line = OneLine(text).to_string();
    if let Some((cut, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(cut);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_control_characters_and_an_end() {
        assert_eq!(printable("one\ntwo\u{1b}[31m ü"), "one\\ntwo\\u{1b}[31m ü");
        assert_eq!(printable(&"ü".repeat(LONGEST)), "ü".repeat(LONGEST));
        assert_eq!(printable(&"ü".repeat(5000)), "ü".repeat(LONGEST) + "…");
        assert_eq!(OneLine("\u{85}\u{7f}\t").to_string(), "\\u{85}\\u{7f}\\t");
        assert_eq!(OneLine("").to_string(), "");
    }
}
