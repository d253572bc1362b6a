//! Words of others, made fit for a line of log.

/// Longer than anything useful that an API server says.
const LONGEST: usize = 300;

/// `text` in one line: control characters escaped, the end cut off when it is long.
pub(super) fn printable(text: &str) -> String {
    let escaped = text.chars().flat_map(|character| {
        let plain = !character.is_control();
        let (as_it_is, escaped) = (plain.then_some(character), character.escape_default());
        as_it_is.into_iter().chain(escaped.filter(move |_| !plain))
    });
    let mut line: String = escaped.take(LONGEST + 1).collect();
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
    }
}
