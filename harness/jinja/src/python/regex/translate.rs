//! From a pattern of Python's `re` to one of `fancy_regex`.

use std::{collections::BTreeMap, iter::Peekable, str::Chars};

/// No pattern may be longer.
const LONGEST: usize = 1 << 16;
/// No groups may nest deeper: both translator and compiler are recursive.
const DEEPEST: usize = 60;
/// What Python's `\w` and `\s` stand for, inside of a class.
const WORD: &str = r"\p{L}\p{N}_";
const SPACE: &str = r"\s\x{1c}-\x{1f}";

/// A translated pattern.
#[derive(Debug)]
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

    /// What follows a backslash outside of a class.
    fn escape(&mut self, out: &mut String) -> Result<Last, String> {
        let word = if self.flags.ascii { "A-Za-z0-9_" } else { WORD };
        let Some(&c) = self.chars.peek() else { return Err("a backslash ends it".into()) };
        match c {
            'A' | 'Z' | 'b' | 'B' => {
                self.chars.next();
                match c {
                    'A' => out.push_str(r"\A"),
                    'Z' => out.push_str(r"\z"),
                    'b' => out.push_str(&format!("(?:(?<=[{word}])(?![{word}])|(?<![{word}])(?=[{word}]))")),
                    // In Python an empty text has no place that is no boundary.
                    _ => out.push_str(&format!(r"(?!\A\z)(?:(?<=[{word}])(?=[{word}])|(?<![{word}])(?![{word}]))")),
                }
                Ok(Last::Nothing)
            }
            '1'..='9' => {
                let mut ahead = self.chars.clone();
                let digits: String = std::iter::from_fn(|| ahead.next_if(char::is_ascii_digit)).take(3).collect();
                let octal = digits.len() == 3 && digits.bytes().all(|b| b < b'8');
                let used = if octal { 3 } else { digits.len().min(2) };
                self.chars.by_ref().take(used).for_each(drop);
                match octal {
                    true => literal(code(&digits, 8)?, out),
                    false => self.backreference(digits[..used].parse().unwrap_or(0), out)?,
                }
                Ok(Last::Item)
            }
            _ => {
                match self.escaped(false)? {
                    Escaped::Char(c) => literal(c, out),
                    Escaped::Class(class) => out.push_str(&format!("[{class}]")),
                }
                Ok(Last::Item)
            }
        }
    }

    /// What follows a backslash and means the same inside and outside of a class.
    fn escaped(&mut self, in_class: bool) -> Result<Escaped, String> {
        let Some(c) = self.chars.next() else { return Err("a backslash ends it".into()) };
        let class = |text: &str| Ok(Escaped::Class(text.to_string()));
        let ascii = self.flags.ascii;
        let (digit, word, space) =
            if ascii { ("0-9", "A-Za-z0-9_", r"\x{9}-\x{d}\x{20}") } else { (r"\p{Nd}", WORD, SPACE) };
        Ok(Escaped::Char(match c {
            'd' => return class(digit),
            'w' => return class(word),
            's' => return class(space),
            'D' => return class(&format!("[^{digit}]")),
            'W' => return class(&format!("[^{word}]")),
            'S' => return class(&format!("[^{space}]")),
            'a' => '\u{7}',
            'b' if in_class => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'x' => self.hex(2)?,
            'u' => self.hex(4)?,
            'U' => self.hex(8)?,
            '0'..='7' => {
                let mut digits = c.to_string();
                let most = if c == '0' || in_class { 2 } else { 0 };
                for _ in 0..most {
                    digits.extend(self.chars.next_if(|c| ('0'..='7').contains(c)));
                }
                code(&digits, 8)?
            }
            c if c.is_ascii_alphanumeric() => return Err(format!(r"the escape `\{c}` is not supported")),
            c => c,
        }))
    }

    fn hex(&mut self, length: usize) -> Result<char, String> {
        let digits: String = self.chars.by_ref().take(length).collect();
        if digits.len() != length || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("an escape of a character is not whole".into());
        }
        code(&digits, 16)
    }

    /// `[…]`, after its bracket.
    fn class(&mut self, out: &mut String) -> Result<(), String> {
        out.push_str(if self.eat("^") { "[^" } else { "[" });
        let mut first = true;
        loop {
            let Some(c) = self.chars.next() else { return Err("a class is not closed".into()) };
            if c == ']' && !first {
                out.push(']');
                return Ok(());
            }
            first = false;
            let low = if c == '\\' { self.escaped(true)? } else { Escaped::Char(c) };
            let mut ahead = self.chars.clone();
            let range = ahead.next() == Some('-') && ahead.peek().is_some_and(|&c| c != ']');
            match low {
                Escaped::Class(class) if range => return Err(format!("`[{class}]` cannot begin a range")),
                Escaped::Class(class) => out.push_str(&class),
                Escaped::Char(low) if range => {
                    self.chars.next();
                    let high = match self.chars.next() {
                        Some('\\') => self.escaped(true)?,
                        Some(c) => Escaped::Char(c),
                        None => return Err("a class is not closed".into()),
                    };
                    match high {
                        Escaped::Char(high) if low <= high => {
                            out.push_str(&format!(r"\x{{{:x}}}-\x{{{:x}}}", u32::from(low), u32::from(high)));
                        }
                        _ => return Err("a range in a class has a wrong end".into()),
                    }
                }
                Escaped::Char(c) => out.push_str(&format!(r"\x{{{:x}}}", u32::from(c))),
            }
        }
    }
}

enum Escaped {
    Char(char),
    /// What stands between the brackets of a class.
    Class(String),
}

fn literal(c: char, out: &mut String) {
    if c.is_alphanumeric() || (!c.is_ascii() && !c.is_whitespace()) {
        out.push(c);
    } else {
        out.push_str(&format!(r"\x{{{:x}}}", u32::from(c)));
    }
}

fn code(digits: &str, radix: u32) -> Result<char, String> {
    let code = u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    code.ok_or_else(|| format!("the character {digits} does not exist"))
}
