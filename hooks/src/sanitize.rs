//! Text of modules, made fit for logs, statuses and terminals.

/// Escapes control characters, and whatever turns or hides text, and cuts at `most` bytes.
pub fn line(text: &str, most: usize) -> String {
    let mut line = String::with_capacity(text.len().min(most));
    for letter in text.chars() {
        let escaped: String =
            if is_plain(letter) { letter.into() } else { letter.escape_default().collect() };
        if line.len() + escaped.len() > most {
            line.push('…');
            break;
        }
        line.push_str(&escaped);
    }
    line
}

/// Control characters move the cursor, end the line and colour what follows; format characters reorder it.
fn is_plain(letter: char) -> bool {
    !letter.is_control()
        && !matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_end_a_line_or_colour_it() {
        assert_eq!(line("a\nlevel=ERROR b\r", 99), "a\\nlevel=ERROR b\\r");
        assert_eq!(line("\u{1b}[31mred\u{7}", 99), "\\u{1b}[31mred\\u{7}");
        assert_eq!(line("\u{202e}txt\u{2028}\u{9b}", 99), "\\u{202e}txt\\u{2028}\\u{9b}");
        assert_eq!(line("häufig 日本", 99), "häufig 日本");
    }

    #[test]
    fn long_text_is_cut_between_letters() {
        assert_eq!(line("日本語", 6), "日本…");
        assert_eq!(line(&"\n".repeat(10), 5), "\\n\\n…");
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_one_plain_line(text in "\\PC*|.*|[\\x00-\\x20]*", most in 0_usize..64) {
            let line = line(&text, most);
            proptest::prop_assert!(line.chars().all(is_plain));
            proptest::prop_assert!(line.len() <= most + '…'.len_utf8());
        }
    }
}
