//! Text made safe and short for people: terminals, file names, one-line messages.

use std::borrow::Cow;

use crate::redact::redacted;

/// Longest slug in characters.
const SLUG: usize = 40;

/// `text` on one line, with control characters, line breaks and bidi overrides written out.
///
/// A request, a label or a model's answer may hold escape sequences that repaint a terminal or reorder what is read;
/// everything that comes from outside goes through here before it is shown in a line, and loses its secrets.
pub fn visible(text: &str) -> Cow<'_, str> {
    escape(text, |c| c == '\t')
}

/// Like [`visible`], but line breaks stay: for blocks of text.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| c == '\t' || c == '\n')
}

/// A file-name part from free text: lower-case ASCII words joined by `-`, at most 40 characters, never empty.
pub fn slug(text: &str) -> String {
    let mut slug = String::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let room = SLUG - slug.len();
        if slug.is_empty() {
            slug.push_str(&word[..word.len().min(room)]);
        } else if word.len() < room {
            slug.push('-');
            slug.push_str(word);
        } else {
            break;
        }
    }
    slug.make_ascii_lowercase();
    if slug.is_empty() { "run".into() } else { slug }
}

/// `text` in at most `max` characters: the beginning and the end stay, the middle gives way to a note of its length.
pub fn truncate_middle(text: &str, max: usize) -> Cow<'_, str> {
    // A text has at most as many characters as bytes, so that short ones need no counting.
    if text.len() <= max {
        return text.into();
    }
    let count = text.chars().count();
    if count <= max {
        return text.into();
    }
    let note = format!(" [{count} characters, the middle left out] ");
    let note = if note.len() * 2 <= max { note.as_str() } else { "…" };
    let kept = max.saturating_sub(note.chars().count());
    if kept == 0 {
        return text.chars().take(max).collect::<String>().into();
    }
    let head: String = text.chars().take(kept.div_ceil(2)).collect();
    let tail: String = text.chars().skip(count - kept / 2).collect();
    format!("{head}{note}{tail}").into()
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    // Before anything is written out or cut, while a secret is still in one piece.
    match redacted(text) {
        Cow::Borrowed(text) => written_out(text, keep),
        Cow::Owned(text) => written_out(&text, keep).into_owned().into(),
    }
}

fn written_out(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(|c| hidden(c) && !keep(c)) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if keep(c) || !hidden(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
        }
    }
    out.into()
}

/// Characters that act on a display instead of being seen. The joiners U+200C and U+200D stay: Persian and emoji need
/// them, and they reorder nothing.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_writes_out_what_would_act_on_a_terminal() {
        assert_eq!(visible("a\u{1b}[31mred\nb"), "a\\u{1b}[31mred\\nb");
        assert_eq!(visible("abc\u{202e}fdp.exe\u{7f}\u{9b}"), "abc\\u{202e}fdp.exe\\u{7f}\\u{9b}");
        assert_eq!(visible_lines("a\r\nb\tc"), "a\\r\nb\tc");
    }

    #[test]
    fn visible_leaves_ordinary_text_of_any_script_alone() {
        for text in ["plain", "größe, 大きい, نمی\u{200c}خواهم", "👩\u{200d}🚀"] {
            assert!(matches!(visible(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn a_slug_is_short_plain_and_never_empty() {
        assert_eq!(
            slug("Fine-tune a small model to route these customer messages!"),
            "fine-tune-a-small-model-to-route-these"
        );
        assert_eq!(slug("../../etc/passwd"), "etc-passwd");
        assert_eq!(slug("  大きい …"), "run");
        assert_eq!(slug(""), "run");
        assert_eq!(slug(&"x".repeat(100)), "x".repeat(40));
    }

    #[test]
    fn truncation_keeps_both_ends_within_the_limit() {
        assert_eq!(truncate_middle("short", 5), "short");
        assert_eq!(truncate_middle("größe", 5), "größe");
        assert_eq!(truncate_middle("0123456789", 5), "01…89");
        assert_eq!(truncate_middle("0123456789", 1), "0");
        assert_eq!(truncate_middle("0123456789", 0), "");
        let long = format!("{}{}", "a".repeat(500), "z".repeat(500));
        let cut = truncate_middle(&long, 100);
        assert_eq!(cut.chars().count(), 100);
        assert!(cut.starts_with("aaa") && cut.ends_with("zzz") && cut.contains("1000 characters"));
    }
}
