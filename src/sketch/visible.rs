//! Text from outside, made safe for a terminal.

/// Text from outside made safe for a terminal: control characters, line breaks and what turns or hides text
/// become visible escapes.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            '\r' => shown.push_str("\\r"),
            _ if acts(letter) => shown.extend(letter.escape_unicode()),
            _ => shown.push(letter),
        }
    }
    shown
}

/// A letter that is not seen but does something: moves a cursor, turns the direction, hides what stands beside it.
pub fn acts(letter: char) -> bool {
    let hides = matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{61c}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    hides || letter.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_the_cursor_or_hide_text_is_shown_instead() {
        assert_eq!(visible("a\u{1b}[2Jb\nc\td\u{202e}e\u{0}"), "a\\u{1b}[2Jb\\nc\\td\\u{202e}e\\u{0}");
        assert_eq!(visible("Grüße, 世界 🌍"), "Grüße, 世界 🌍");
    }
}
