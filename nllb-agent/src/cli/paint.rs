//! Colour, where it is wanted: on a terminal, and not where `NO_COLOR` says no (no-color.org).

/// Whether words are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paint(bool);

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Warning,
    Bad,
}

impl Paint {
    /// Words as they are.
    #[cfg(test)]
    pub(super) const NONE: Self = Self(false);
    /// Words in their colours.
    #[cfg(test)]
    pub(super) const ALL: Self = Self(true);

    /// For standard output, which is a terminal or not.
    pub(super) fn of(terminal: bool) -> Self {
        Self(terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    /// Whether there is any colour.
    pub(super) const fn is_on(self) -> bool {
        self.0
    }

    /// `text` in the colour that `word` asks for; as it is where the word asks for none.
    pub(super) fn word(self, word: &str, text: &str) -> String {
        let Some(tone) = tone(word).filter(|_| self.0) else { return text.to_owned() };
        let code = match tone {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "1;31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The colour of a word for a verdict or a state.
pub(super) fn tone(word: &str) -> Option<Tone> {
    match word {
        "healthy" | "good" | "listening" | "pass" => Some(Tone::Good),
        "degraded" | "draining" | "unknown" | "WARN" => Some(Tone::Warning),
        "panic" | "not-attached" | "unhealthy" | "failing" | "failed" | "FAIL" => Some(Tone::Bad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_colours_on_a_terminal_and_nowhere_else() {
        assert_eq!(Paint(true).word("unhealthy", "unhealthy "), "\x1b[1;31munhealthy \x1b[0m");
        assert_eq!(Paint(true).word("apiserver", "apiserver"), "apiserver");
        assert_eq!(Paint(false).word("unhealthy", "unhealthy "), "unhealthy ");
        assert_eq!(Paint::of(false), Paint::NONE);
    }
}
