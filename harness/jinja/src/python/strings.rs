//! Methods of Python's `str`.
//!
//! Python's white space has the four separators U+001C to U+001F, which Unicode's property leaves out; all functions here
//! agree with Python on that.

/// Whether Python's `str.isspace` holds for `c`.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `text.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `text.lstrip()`.
pub fn lstrip(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

/// `text.rstrip()`.
pub fn rstrip(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// `text.split()`: the words between runs of white space.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// `text.split(None, most)`: at most `most` splits at runs of white space; the rest stays as it is.
pub fn split_words(text: &str, most: Option<usize>) -> Vec<&str> {
    let mut rest = lstrip(text);
    let mut parts = Vec::new();
    while !rest.is_empty() {
        if most.is_some_and(|most| parts.len() >= most) {
            parts.push(rest);
            break;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = lstrip(&rest[end..]);
    }
    parts
}

/// `text.splitlines(keepends)`.
pub fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let ends = |c: char| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(end) = rest.find(ends) else {
            lines.push(rest);
            break;
        };
        let width = match rest[end..].starts_with("\r\n") {
            true => 2,
            false => rest[end..].chars().next().map_or(0, char::len_utf8),
        };
        lines.push(if keep_ends { &rest[..end + width] } else { &rest[..end] });
        rest = &rest[end + width..];
    }
    lines
}

/// `text.capitalize()`: the first character in title case, the rest in lower case.
pub fn capitalize(text: &str) -> String {
    let Some(first) = text.chars().next() else { return String::new() };
    // Lowered as a whole, because a final sigma depends on what stands around it.
    let lower = text.to_lowercase();
    let tail = lower.get(lower_length(first)..).unwrap_or_default();
    title_case(first) + tail
}

/// `text.title()`: every run of letters begins with title case.
pub fn title(text: &str) -> String {
    let lower = text.to_lowercase();
    let mut out = String::with_capacity(text.len());
    let (mut inside, mut at) = (false, 0);
    for c in text.chars() {
        let cased = c.is_lowercase() || c.is_uppercase() || is_titlecase(c);
        let next = at + lower_length(c);
        match (cased, inside) {
            (false, _) => out.push(c),
            (true, true) => out.push_str(lower.get(at..next).unwrap_or_default()),
            (true, false) => out.push_str(&title_case(c)),
        }
        (inside, at) = (cased, next);
    }
    out
}

/// Bytes of a character in lower case, which do not depend on what stands around it.
fn lower_length(c: char) -> usize {
    c.to_lowercase().map(char::len_utf8).sum()
}

fn is_titlecase(c: char) -> bool {
    matches!(c, 'ǅ' | 'ǈ' | 'ǋ' | 'ǲ' | '\u{1f88}'..='\u{1f8f}' | '\u{1f98}'..='\u{1f9f}' | '\u{1fa8}'..='\u{1faf}'
        | '\u{1fbc}' | '\u{1fcc}' | '\u{1ffc}')
}

/// The title-case form of one character, which for some is not the upper-case form.
fn title_case(c: char) -> String {
    let shifted = |by: u32| char::from_u32(u32::from(c) + by).map_or_else(String::new, String::from);
    match c {
        'Ǆ' | 'ǅ' | 'ǆ' => "ǅ".into(),
        'Ǉ' | 'ǈ' | 'ǉ' => "ǈ".into(),
        'Ǌ' | 'ǋ' | 'ǌ' => "ǋ".into(),
        'Ǳ' | 'ǲ' | 'ǳ' => "ǲ".into(),
        // Georgian letters have no title case.
        '\u{10d0}'..='\u{10ff}' => c.into(),
        _ if is_titlecase(c) => c.into(),
        // Greek letters with a iota below.
        '\u{1f80}'..='\u{1faf}' => shifted(8),
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => shifted(9),
        _ => {
            let upper = c.to_uppercase();
            if upper.len() == 1 {
                return upper.collect();
            }
            // One that becomes several: only the first letter of them is a capital, and a iota stays below.
            let mut out = String::new();
            let mut seen = false;
            for c in upper {
                match (seen, c) {
                    (false, c) => out.push(c),
                    (true, 'Ι') => out.push('\u{345}'),
                    (true, c) => out.extend(c.to_lowercase()),
                }
                seen |= c.is_uppercase() || c.is_lowercase();
            }
            out
        }
    }
}

/// Whether `text.isdigit()` holds: not empty, and all characters are digits, superscripts and the like included.
pub fn is_digit(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || (!c.is_ascii() && is_digit_char(c)))
}

fn is_digit_char(c: char) -> bool {
    let at = DIGITS.partition_point(|&(first, _)| first <= u32::from(c));
    at > 0 && u32::from(c) <= DIGITS[at - 1].1
}

/// Unicode's characters of numeric type decimal or digit beyond ASCII, as ranges in order.
const DIGITS: &[(u32, u32)] = &[
    (0xb2, 0xb3),
    (0xb9, 0xb9),
    (0x660, 0x669),
    (0x6f0, 0x6f9),
    (0x7c0, 0x7c9),
    (0x966, 0x96f),
    (0x9e6, 0x9ef),
    (0xa66, 0xa6f),
    (0xae6, 0xaef),
    (0xb66, 0xb6f),
    (0xbe6, 0xbef),
    (0xc66, 0xc6f),
    (0xce6, 0xcef),
    (0xd66, 0xd6f),
    (0xde6, 0xdef),
    (0xe50, 0xe59),
    (0xed0, 0xed9),
    (0xf20, 0xf29),
    (0x1040, 0x1049),
    (0x1090, 0x1099),
    (0x1369, 0x1371),
    (0x17e0, 0x17e9),
    (0x1810, 0x1819),
    (0x1946, 0x194f),
    (0x19d0, 0x19da),
    (0x1a80, 0x1a89),
    (0x1a90, 0x1a99),
    (0x1b50, 0x1b59),
    (0x1bb0, 0x1bb9),
    (0x1c40, 0x1c49),
    (0x1c50, 0x1c59),
    (0x2070, 0x2070),
    (0x2074, 0x2079),
    (0x2080, 0x2089),
    (0x2460, 0x2468),
    (0x2474, 0x247c),
    (0x2488, 0x2490),
    (0x24ea, 0x24ea),
    (0x24f5, 0x24fd),
    (0x24ff, 0x24ff),
    (0x2776, 0x277e),
    (0x2780, 0x2788),
    (0x278a, 0x2792),
    (0xa620, 0xa629),
    (0xa8d0, 0xa8d9),
    (0xa900, 0xa909),
    (0xa9d0, 0xa9d9),
    (0xa9f0, 0xa9f9),
    (0xaa50, 0xaa59),
    (0xabf0, 0xabf9),
    (0xff10, 0xff19),
    (0x104a0, 0x104a9),
    (0x10a40, 0x10a43),
    (0x10d30, 0x10d39),
    (0x10e60, 0x10e68),
    (0x11052, 0x1105a),
    (0x11066, 0x1106f),
    (0x110f0, 0x110f9),
    (0x11136, 0x1113f),
    (0x111d0, 0x111d9),
    (0x112f0, 0x112f9),
    (0x11450, 0x11459),
    (0x114d0, 0x114d9),
    (0x11650, 0x11659),
    (0x116c0, 0x116c9),
    (0x11730, 0x11739),
    (0x118e0, 0x118e9),
    (0x11950, 0x11959),
    (0x11c50, 0x11c59),
    (0x11d50, 0x11d59),
    (0x11da0, 0x11da9),
    (0x16a60, 0x16a69),
    (0x16ac0, 0x16ac9),
    (0x16b50, 0x16b59),
    (0x1d7ce, 0x1d7ff),
    (0x1e140, 0x1e149),
    (0x1e2f0, 0x1e2f9),
    (0x1e950, 0x1e959),
    (0x1f100, 0x1f10a),
    (0x1fbf0, 0x1fbf9),
];

#[cfg(test)]
mod tests;
