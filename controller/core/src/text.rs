//! Texts of somebody else's: a status, a condition and an Event have room for a line.

/// A text of somebody else's, as one line of at most `max` bytes.
pub(crate) fn clean(text: &str, max: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    bounded(line.trim(), max).to_owned()
}

/// The beginning of a text: whole characters, at most `max` bytes.
pub(crate) fn bounded(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// A sentence, and what follows from it as the next one.
pub(crate) fn sentences(first: &str, second: &str) -> String {
    format!("{}. {second}", first.trim_end_matches('.')).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_and_cut_between_characters() {
        assert_eq!(clean(" a\r\nb\x1b[31m ", 100), "a  b [31m");
        assert_eq!(clean("aé", 2), "a");
        assert_eq!(clean("aé", 3), "aé");
    }

    #[test]
    fn sentences_have_one_full_stop() {
        assert_eq!(sentences("it broke.", "Repair it."), "it broke. Repair it.");
        assert_eq!(sentences("it broke", ""), "it broke.");
    }
}
