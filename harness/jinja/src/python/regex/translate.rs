//! From a pattern of Python's `re` to one of `fancy_regex`.

use std::{collections::BTreeMap, iter::Peekable, str::Chars};

mod escape;

/// No pattern may be longer.
const LONGEST: usize = 1 << 16;
/// No groups may nest deeper: both translator and compiler are recursive.
const DEEPEST: usize = 60;

/// A translated pattern.
#[derive(Clone, Debug)]
pub(super) struct Translated {
    /// The pattern, cut short, for messages.
    pub source: String,
    /// What `fancy_regex` reads.
    pub pattern: String,
    /// Number of groups.
    pub groups: usize,
    /// Their numbers by name.
    pub names: BTreeMap<String, usize>,
}

/// Flags that are translated here; case is left to `fancy_regex`.
#[derive(Clone, Copy, Default)]
struct Flags {
    multi_line: bool,
    dot_all: bool,
    verbose: bool,
    ascii: bool,
}

struct Translator<'p> {
    chars: Peekable<Chars<'p>>,
    flags: Flags,
    groups: usize,
    open: Vec<usize>,
    names: BTreeMap<String, usize>,
    depth: usize,
}

/// What the last item was, for the quantifier after it.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    Nothing,
    Item,
    Repeated,
}

pub(super) fn translate(pattern: &str) -> Result<Translated, String> {
    if pattern.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let mut translator = Translator {
        chars: pattern.chars().peekable(),
        flags: Flags::default(),
        groups: 0,
        open: Vec::new(),
        names: BTreeMap::new(),
        depth: 0,
    };
    let mut out = translator.global_flags()?;
    translator.alternatives(&mut out)?;
    if translator.chars.next().is_some() {
        return Err("a parenthesis is closed that was not opened".into());
    }
    let (groups, names) = (translator.groups, translator.names);
    Ok(Translated { source: super::shortened(pattern), pattern: out, groups, names })
}

impl Translator<'_> {
    fn eat(&mut self, text: &str) -> bool {
        let mut ahead = self.chars.clone();
        let same = text.chars().all(|c| ahead.next() == Some(c));
        if same {
            self.chars = ahead;
        }
        same
    }

    /// Flags for the whole pattern, which stand at its start.
    fn global_flags(&mut self) -> Result<String, String> {
        let mut out = String::new();
        loop {
            let before = self.chars.clone();
            if !self.eat("(?") {
                return Ok(out);
            }
            let mut letters = String::new();
            while let Some(c) = self.chars.next_if(char::is_ascii_alphabetic) {
                letters.push(c);
            }
            if letters.is_empty() || !self.eat(")") {
                self.chars = before;
                return Ok(out);
            }
            for letter in letters.chars() {
                out.push_str(if self.flag(letter, true)? { "(?i)" } else { "" });
            }
        }
    }

    /// Sets a flag; true for the one that `fancy_regex` handles.
    fn flag(&mut self, letter: char, on: bool) -> Result<bool, String> {
        match letter {
            'i' => return Ok(true),
            'm' => self.flags.multi_line = on,
            's' => self.flags.dot_all = on,
            'x' => self.flags.verbose = on,
            'a' => self.flags.ascii = on,
            'u' => self.flags.ascii = false,
            _ => return Err(format!("the flag `{letter}` is not supported")),
        }
        Ok(false)
    }

    fn alternatives(&mut self, out: &mut String) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("its groups nest deeper than {DEEPEST}"));
        }
        let mut last = Last::Nothing;
        while let Some(&c) = self.chars.peek() {
            if c == ')' {
                break;
            }
            self.chars.next();
            if self.flags.verbose && (c.is_ascii_whitespace() || c == '\u{b}') {
                continue;
            }
            last = match c {
                '#' if self.flags.verbose => {
                    self.chars.by_ref().take_while(|&c| c != '\n').for_each(drop);
                    last
                }
                '|' => {
                    out.push('|');
                    Last::Nothing
                }
                '*' | '+' | '?' => self.repeat(out, last, &c.to_string())?,
                '{' => match self.counts() {
                    Some(counts) => self.repeat(out, last, &counts?)?,
                    None => {
                        out.push_str(r"\{");
                        Last::Item
                    }
                },
                _ => self.item(c, last, out)?,
            };
        }
        self.depth -= 1;
        Ok(())
    }

    /// One item that is no quantifier.
    fn item(&mut self, c: char, last: Last, out: &mut String) -> Result<Last, String> {
        match c {
            '(' if self.eat("?#") => {
                if !self.chars.any(|c| c == ')') {
                    return Err("a comment is not closed".into());
                }
                return Ok(last);
            }
            '(' => self.group(out)?,
            '[' => self.class(out)?,
            '\\' => return self.escape(out),
            '.' => out.push_str(if self.flags.dot_all { "(?s:.)" } else { r"[^\n]" }),
            '^' => {
                out.push_str(if self.flags.multi_line { "(?m:^)" } else { r"\A" });
                return Ok(Last::Nothing);
            }
            '$' => {
                out.push_str(if self.flags.multi_line { "(?m:$)" } else { r"(?=\n?\z)" });
                return Ok(Last::Nothing);
            }
            c => literal(c, out),
        }
        Ok(Last::Item)
    }

    fn repeat(&mut self, out: &mut String, last: Last, quantifier: &str) -> Result<Last, String> {
        match last {
            Last::Nothing => return Err("there is nothing to repeat before a quantifier".into()),
            Last::Repeated => return Err("a quantifier follows another".into()),
            Last::Item => out.push_str(quantifier),
        }
        if let Some(mode) = self.chars.next_if(|&c| matches!(c, '?' | '+')) {
            out.push(mode);
        }
        Ok(Last::Repeated)
    }

    /// `{2}`, `{2,}`, `{,3}`, `{2,3}` after the brace; `None` where it is a plain brace.
    fn counts(&mut self) -> Option<Result<String, String>> {
        let mut ahead = self.chars.clone();
        let number = |ahead: &mut Peekable<Chars<'_>>| {
            let mut digits = String::new();
            while let Some(c) = ahead.next_if(char::is_ascii_digit) {
                digits.push(c);
            }
            digits
        };
        let least = number(&mut ahead);
        let comma = ahead.next_if_eq(&',').is_some();
        let most = if comma { number(&mut ahead) } else { least.clone() };
        if ahead.next() != Some('}') || (least.is_empty() && !comma) {
            return None;
        }
        self.chars = ahead;
        let value = |digits: &str, empty: u32| if digits.is_empty() { Some(empty) } else { digits.parse().ok() };
        Some(match (value(&least, 0), value(&most, u32::MAX)) {
            (Some(least), Some(u32::MAX)) => Ok(format!("{{{least},}}")),
            (Some(least), Some(most)) if least <= most => Ok(format!("{{{least},{most}}}")),
            (Some(_), Some(_)) => Err("a quantifier's least is more than its most".into()),
            _ => Err("a quantifier's number is too large".into()),
        })
    }

    fn group(&mut self, out: &mut String) -> Result<(), String> {
        let flags = self.flags;
        let mut number = None;
        if !self.eat("?") {
            number = Some(self.new_group()?);
            out.push('(');
        } else if self.eat("P<") {
            let name = self.name('>')?;
            let new = self.new_group()?;
            if self.names.insert(name.clone(), new).is_some() {
                return Err(format!("two groups have the name `{name}`"));
            }
            number = Some(new);
            out.push('(');
        } else if self.eat("P=") {
            let name = self.name(')')?;
            let group = self.names.get(&name).copied().ok_or_else(|| format!("there is no group `{name}` yet"))?;
            return self.backreference(group, out);
        } else if let Some(kind) = [":", "=", "!", "<=", "<!", ">"].into_iter().find(|kind| self.eat(kind)) {
            out.push_str("(?");
            out.push_str(kind);
        } else if self.eat("(") {
            let name = self.name(')')?;
            let group =
                self.names.get(&name).copied().or_else(|| name.parse().ok().filter(|&n| n > 0 && n <= self.groups));
            let group = group.ok_or_else(|| format!("there is no group `{name}` for a condition"))?;
            out.push_str(&format!("(?({group})"));
        } else {
            self.local_flags(out)?;
        }
        self.open.extend(number);
        self.alternatives(out)?;
        if number.is_some() {
            self.open.pop();
        }
        if self.chars.next() != Some(')') {
            return Err("a parenthesis is not closed".into());
        }
        out.push(')');
        self.flags = flags;
        Ok(())
    }

    /// `(?i:`, `(?s-i:` and their like.
    fn local_flags(&mut self, out: &mut String) -> Result<(), String> {
        let mut on = true;
        let mut case = None;
        loop {
            match self.chars.next() {
                Some(':') => break,
                Some('-') if on => on = false,
                Some(')') => return Err("flags for the whole pattern must stand at its start".into()),
                Some(letter) if letter.is_ascii_alphabetic() => {
                    case = if self.flag(letter, on)? { Some(on) } else { case };
                }
                _ => return Err("an extension after `(?` is not known".into()),
            }
        }
        out.push_str(match case {
            None => "(?:",
            Some(true) => "(?i:",
            Some(false) => "(?-i:",
        });
        Ok(())
    }

    fn new_group(&mut self) -> Result<usize, String> {
        self.groups += 1;
        if self.groups > 1000 { Err("it has more than 1000 groups".into()) } else { Ok(self.groups) }
    }

    fn name(&mut self, close: char) -> Result<String, String> {
        let mut name = String::new();
        loop {
            match self.chars.next() {
                Some(c) if c == close && !name.is_empty() => return Ok(name),
                Some(c) if c.is_alphanumeric() || c == '_' => name.push(c),
                _ => return Err("the name of a group is wrong".into()),
            }
        }
    }

    fn backreference(&mut self, group: usize, out: &mut String) -> Result<(), String> {
        if group > self.groups || self.open.contains(&group) {
            return Err(format!("there is no group {group} yet"));
        }
        out.push_str(&format!(r"(?:\{group})"));
        Ok(())
    }
}

fn literal(c: char, out: &mut String) {
    if c.is_alphanumeric() || (!c.is_ascii() && !c.is_whitespace()) {
        out.push(c);
    } else {
        out.push_str(&format!(r"\x{{{:x}}}", u32::from(c)));
    }
}
