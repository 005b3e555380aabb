//! Damage that texts have taken on their way: wrong encodings, control characters, entities of HTML.

use std::sync::LazyLock;

use regex::Regex;

/// What was found in a text, with the place of the first of each kind.
pub(super) fn find(text: &str) -> Vec<(&'static str, std::ops::Range<usize>)> {
    let mut found: Vec<(&'static str, std::ops::Range<usize>)> = Vec::new();
    // Most texts are sound, and most letters plain.
    let odd = |byte: u8| byte >= 0x7f || byte < b' ' && !matches!(byte, b'\n' | b'\r' | b'\t');
    let mut at = 0;
    while let Some(next) = text.as_bytes()[at..].iter().position(|byte| odd(*byte)) {
        at += next;
        let Some(c) = text[at..].chars().next() else { break };
        let end = at + c.len_utf8();
        let kind = match c {
            '\u{fffd}' => Some(("replacement_characters", end)),
            '\u{200b}' | '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{e000}'..='\u{f8ff}' => {
                Some(("invisible_characters", end))
            }
            c if c.is_control() => Some(("control_characters", end)),
            'Â'..='ô' => mojibake(&text[at..]).map(|length| ("mojibake", at + length)),
            _ => None,
        };
        if let Some((kind, end)) = kind
            && found.iter().all(|(known, _)| *known != kind)
        {
            found.push((kind, at..end));
        }
        at = end;
    }
    found.extend(entity(text));
    found
}

static ENTITY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new("&(?:amp|lt|gt|quot|apos|nbsp|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});").ok());

fn entity(text: &str) -> Option<(&'static str, std::ops::Range<usize>)> {
    let found = ENTITY.as_ref()?.find(text)?;
    Some(("html_entities", found.range()))
}

/// The length of letters of UTF-8 at the beginning of a text that were read as if their bytes were letters of Windows-1252, as `Ã©` for `é`.
///
/// One is enough where it begins as most do: accents, quotation marks and emoji. `É»` may stand in sound French, so that
/// of others two must follow each other.
fn mojibake(text: &str) -> Option<usize> {
    let length = misread(text)?;
    let common = text.starts_with(['Â', 'Ã', 'â', 'ð']);
    (common || misread(&text[length..]).is_some()).then_some(length)
}

/// The length of one such letter at the beginning of a text.
fn misread(text: &str) -> Option<usize> {
    let mut chars = text.chars();
    let first = chars.next()?;
    let more = match first {
        '\u{c2}'..='\u{df}' => 1,
        '\u{e0}'..='\u{ef}' => 2,
        '\u{f0}'..='\u{f4}' => 3,
        _ => return None,
    };
    let mut bytes = vec![first as u8];
    let mut length = first.len_utf8();
    for c in chars.take(more) {
        bytes.push(continued(c)?);
        length += c.len_utf8();
    }
    (bytes.len() == more + 1 && std::str::from_utf8(&bytes).is_ok()).then_some(length)
}

/// The byte from 0x80 to 0xbf that Windows-1252 reads as this character; bytes that it has no character for are read as
/// those of Latin-1.
fn continued(c: char) -> Option<u8> {
    const UPPER: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match c {
        '\u{80}'..='\u{bf}' => Some(c as u8),
        _ => UPPER.iter().position(|upper| *upper == c).map(|at| 0x80 + at as u8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_found_and_sound_texts_are_left_alone() {
        let table: [(&str, &[(&str, &str)]); 16] = [
            ("plain text,\twith\r\nlines", &[]),
            ("été à l'Âge «Ça» — naïve, 100 € “quoted” ™", &[]),
            ("ÃO É Ã Â£ 5", &[("mojibake", "Â£")]),
            ("sÃ£o em SÃO", &[("mojibake", "Ã£")]),
            ("«CAFÉ» É\u{a0}: é”…", &[]),
            ("ÐŸÑ€Ð¸Ð²ÐµÑ‚", &[("mojibake", "ÐŸ")]),
            ("cafÃ©", &[("mojibake", "Ã©")]),
            ("itâ€™s", &[("mojibake", "â€™")]),
            ("ðŸ˜€", &[("mojibake", "ðŸ˜€")]),
            ("caf\u{fffd}", &[("replacement_characters", "\u{fffd}")]),
            ("a\u{1b}[0m", &[("control_characters", "\u{1b}")]),
            ("a\u{85}b", &[("control_characters", "\u{85}")]),
            ("a\u{200b}b", &[("invisible_characters", "\u{200b}")]),
            ("Tom &amp; Jerry &#39;s", &[("html_entities", "&amp;")]),
            ("R&D; a & b; &copy", &[]),
            ("日本語のテキスト 👩‍🚀", &[]),
        ];
        for (text, want) in table {
            let found: Vec<(&str, &str)> = find(text).into_iter().map(|(kind, at)| (kind, &text[at])).collect();
            assert_eq!(found, want, "{text}");
        }
    }
}
