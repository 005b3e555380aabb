//! Texts in quotes, as Python's source code has them.

use super::{Error, Literal, Reader};

impl Reader<'_> {
    /// Texts one after the other are one text.
    pub(super) fn strings(&mut self) -> Result<Literal, Error> {
        let mut text = String::new();
        loop {
            let start = self.rest.find(['\'', '"']).unwrap_or(self.rest.len());
            let prefix = self.rest[..start].to_ascii_lowercase();
            let raw = match prefix.as_str() {
                "" | "u" => false,
                "r" => true,
                _ => return Err(self.error("only plain and raw texts are read")),
            };
            self.rest = &self.rest[start..];
            self.string(raw, &mut text)?;
            self.blanks();
            let next = self.rest.trim_start_matches(|c: char| c.is_ascii_alphabetic());
            if self.rest.len() - next.len() > 2 || !next.starts_with(['\'', '"']) {
                return Ok(Literal::Str(text));
            }
        }
    }

    fn string(&mut self, raw: bool, out: &mut String) -> Result<(), Error> {
        let quote = &self.rest[..1];
        let triple = quote.repeat(3);
        let end = if self.rest.starts_with(&triple) { triple.as_str() } else { quote };
        let long = end.len() == 3;
        self.rest = &self.rest[end.len()..];
        loop {
            if let Some(rest) = self.rest.strip_prefix(end) {
                self.rest = rest;
                return Ok(());
            }
            let Some(c) = self.rest.chars().next() else { return Err(self.error("a text is not closed")) };
            match c {
                '\0' => return Err(self.error("a text holds a zero byte")),
                '\n' | '\r' if !long => return Err(self.error("a text is not closed on its line")),
                '\\' => self.escape(raw, out)?,
                // The reader of source code turns all line breaks into one kind.
                '\r' => {
                    self.rest = self.rest.strip_prefix("\r\n").unwrap_or(&self.rest[1..]);
                    out.push('\n');
                }
                _ => {
                    out.push(c);
                    self.rest = &self.rest[c.len_utf8()..];
                }
            }
        }
    }

    fn escape(&mut self, raw: bool, out: &mut String) -> Result<(), Error> {
        let Some(c) = self.rest.chars().nth(1) else { return Err(self.error("a text is not closed")) };
        // Made only where it is needed: to find the place of an error takes as long as all before it.
        let whole = |reader: &Self, value: Option<char>| value.ok_or_else(|| reader.error("this escape is not whole"));
        self.rest = &self.rest[1 + c.len_utf8()..];
        if c == '\r' {
            self.rest = self.rest.strip_prefix('\n').unwrap_or(self.rest);
        }
        let c = if c == '\r' { '\n' } else { c };
        if raw {
            out.extend(['\\', c]);
            return Ok(());
        }
        let digits = match c {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        match c {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(c),
            'a' => out.push('\u{7}'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\u{b}'),
            '0'..='7' => {
                let more = self.rest.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
                let code = format!("{c}{}", &self.rest[..more]);
                self.rest = &self.rest[more..];
                out.push(whole(self, u32::from_str_radix(&code, 8).ok().and_then(char::from_u32))?);
            }
            'x' | 'u' | 'U' => {
                let code = self.rest.get(..digits).filter(|code| code.bytes().all(|b| b.is_ascii_hexdigit()));
                let code = code.and_then(|code| char::from_u32(u32::from_str_radix(code, 16).ok()?));
                out.push(whole(self, code)?);
                self.rest = &self.rest[digits..];
            }
            'N' => return Err(self.error("names of characters are not read")),
            // Python keeps what it does not know.
            _ => out.extend(['\\', c]),
        }
        Ok(())
    }
}
