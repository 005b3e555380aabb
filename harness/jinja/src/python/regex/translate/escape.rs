//! Escapes and classes of characters, which mean other things in Python.

use super::{Last, Translator, literal};

/// What Python's `\w` and `\s` stand for, inside of a class.
const WORD: &str = r"\p{L}\p{N}_";
const SPACE: &str = r"\s\x{1c}-\x{1f}";

enum Escaped {
    Char(char),
    /// What stands between the brackets of a class.
    Class(String),
}

impl Translator<'_> {
    /// What follows a backslash outside of a class.
    pub(super) fn escape(&mut self, out: &mut String) -> Result<Last, String> {
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
    pub(super) fn class(&mut self, out: &mut String) -> Result<(), String> {
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

fn code(digits: &str, radix: u32) -> Result<char, String> {
    let code = u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    code.ok_or_else(|| format!("the character {digits} does not exist"))
}
