//! Patterns that expand to text: `[a|b]` chooses, `{name}` fills a slot, `{2..9}` draws a number.

use std::collections::BTreeMap;

use super::rng::Rng;

/// Slots by name; the values of a slot are patterns themselves.
#[derive(Clone, Debug, Default)]
pub struct Grammar {
    slots: BTreeMap<String, Vec<String>>,
}

/// Deepest nesting of slots in slots; what lies deeper stays as written, so that a cycle ends.
const MAX_DEPTH: usize = 8;

impl Grammar {
    /// Reads lines of `name: a | b | c`; blank lines and lines that start with `#` do not count.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let slots = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, values)| {
                let values = alternatives(values).iter().map(|v| v.trim().to_owned()).collect();
                (name.trim().to_owned(), values)
            })
            .collect();
        Self { slots }
    }

    /// The values of a slot; empty where there is no such slot.
    pub fn slot(&self, name: &str) -> &[String] {
        self.slots.get(name).map_or(&[], Vec::as_slice)
    }

    /// One text that `pattern` stands for. An unknown slot stays as written.
    pub fn expand(&self, rng: &mut Rng, pattern: &str) -> String {
        let mut out = String::new();
        self.write(rng, pattern, 0, &mut out);
        tidy(&out)
    }

    fn write(&self, rng: &mut Rng, pattern: &str, depth: usize, out: &mut String) {
        let mut rest = pattern;
        while let Some(at) = rest.find(['[', '{']) {
            out.push_str(&rest[..at]);
            let Some(len) = group_len(&rest[at..]) else {
                out.push_str(&rest[at..]);
                return;
            };
            let inner = &rest[at + 1..at + len - 1];
            if rest[at..].starts_with('[') {
                let choice = *rng.pick(&alternatives(inner));
                self.write(rng, choice, depth, out);
            } else {
                self.fill(rng, inner, depth, out);
            }
            rest = &rest[at + len..];
        }
        out.push_str(rest);
    }

    fn fill(&self, rng: &mut Rng, name: &str, depth: usize, out: &mut String) {
        if let Some((low, high)) = number_range(name) {
            out.push_str(&rng.range(low, high).to_string());
            return;
        }
        match self.slots.get(name) {
            Some(values) if depth < MAX_DEPTH && !values.is_empty() => {
                let value = rng.pick(values);
                self.write(rng, value, depth + 1, out);
            }
            _ => {
                out.push('{');
                out.push_str(name);
                out.push('}');
            }
        }
    }
}

/// Length in bytes of the bracketed group that `text` starts with, brackets included.
fn group_len(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Splits at `|` outside of brackets.
fn alternatives(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'|' if depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn number_range(name: &str) -> Option<(usize, usize)> {
    let (low, high) = name.split_once("..")?;
    Some((low.parse().ok()?, high.parse().ok()?))
}

/// Single spaces, none before punctuation: what empty alternatives leave behind.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            ' ' if out.ends_with([' ', '\n']) => {}
            ',' | '.' | '?' | '!' | ':' | ';' | '\n' => {
                out.truncate(out.trim_end_matches(' ').len());
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_slots_and_numbers_nest() {
        let grammar = Grammar::parse("# kinds\nthing: [red |]lamp | sofa\n");
        let mut rng = Rng::new(1);
        let mut seen: Vec<String> = (0..200).map(|_| grammar.expand(&mut rng, "my {thing} [, please|]  .")).collect();
        seen.sort();
        seen.dedup();
        let want =
            ["my lamp, please.", "my lamp.", "my red lamp, please.", "my red lamp.", "my sofa, please.", "my sofa."];
        assert_eq!(seen, want);
        assert_eq!(grammar.expand(&mut rng, "{7..7} {nothing} [open"), "7 {nothing} [open");
    }

    #[test]
    fn a_cycle_of_slots_ends() {
        let grammar = Grammar::parse("a: x{b}\nb: y{a}");
        assert_eq!(grammar.expand(&mut Rng::new(0), "{a}"), "xyxyxyxy{a}");
    }
}
