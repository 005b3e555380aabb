//! Exact arithmetic in templates: `{a + 2 * (b - c)}`, in decimals, so that 0.1 + 0.2 is 0.3.

use std::fmt;

/// Most digits after the point that a division may need.
const MOST_SCALE: u32 = 6;
/// Deepest nesting of an expression.
const MOST_DEPTH: usize = 40;

/// A decimal number: `digits` with the point before the last `scale` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    digits: i128,
    scale: u32,
}

/// What stands between braces.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A number.
    Number(Decimal),
    /// The value of a slot.
    Slot(String),
    /// Two of them with one of `+ - * / %` between.
    Of(char, Box<Expr>, Box<Expr>),
}

impl Decimal {
    /// Reads `-12` or `3.50`.
    pub fn parse(text: &str) -> Option<Decimal> {
        let text = text.trim();
        let (minus, bare) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, part) = bare.split_once('.').unwrap_or((bare, ""));
        let digits = [whole, part].concat();
        if whole.is_empty() || bare.ends_with('.') || digits.len() > 30 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let digits: i128 = digits.parse().ok()?;
        Some(Decimal { digits: if minus { -digits } else { digits }, scale: part.len() as u32 })
    }

    fn at(self, scale: u32) -> Option<i128> {
        self.digits.checked_mul(10i128.checked_pow(scale.checked_sub(self.scale)?)?)
    }

    /// Without zeros at the end, down to `scale` digits after the point.
    fn tidy(mut self, scale: u32) -> Decimal {
        while self.scale > scale && self.digits % 10 == 0 {
            self = Decimal { digits: self.digits / 10, scale: self.scale - 1 };
        }
        self
    }

    fn of(op: char, a: Decimal, b: Decimal) -> Result<Decimal, String> {
        let scale = a.scale.max(b.scale);
        let aligned = || Some((a.at(scale)?, b.at(scale)?));
        let large = || "a number became too large".to_owned();
        let (x, y) = aligned().ok_or_else(large)?;
        let sum = |digits: Option<i128>| digits.map(|digits| Decimal { digits, scale }).ok_or_else(large);
        match op {
            '+' => sum(x.checked_add(y)),
            '-' => sum(x.checked_sub(y)),
            '*' => {
                let digits = a.digits.checked_mul(b.digits).ok_or_else(large)?;
                Ok(Decimal { digits, scale: a.scale + b.scale }.tidy(scale))
            }
            _ if y == 0 => Err("a division by zero".into()),
            '%' => sum(x.checked_rem(y)),
            _ => {
                let exact = (0..=MOST_SCALE).find_map(|scale| {
                    let above = x.checked_mul(10i128.checked_pow(scale)?)?;
                    (above.checked_rem(y)? == 0).then_some(Decimal { digits: above / y, scale })
                });
                exact.ok_or_else(|| format!("{a} / {b} does not come out even"))
            }
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, digits) = (if self.digits < 0 { "-" } else { "" }, self.digits.unsigned_abs().to_string());
        let scale = self.scale as usize;
        if scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, part) = padded.split_at(padded.len() - scale);
        write!(f, "{sign}{whole}.{part}")
    }
}

impl Expr {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Expr, String> {
        let mut parser = Parser { text, at: 0, depth: 0 };
        let expr = parser.sum()?;
        match parser.peek() {
            None => Ok(expr),
            Some(c) => Err(format!("{{{text}}}: {c:?} is not expected there")),
        }
    }

    /// The slots in it.
    pub fn slots(&self) -> Vec<&str> {
        match self {
            Expr::Number(_) => Vec::new(),
            Expr::Slot(name) => vec![name],
            Expr::Of(_, a, b) => [a.slots(), b.slots()].concat(),
        }
    }

    /// Its value, where `slot` gives those of slots.
    pub fn value(&self, slot: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<Decimal, String> {
        match self {
            Expr::Number(number) => Ok(*number),
            Expr::Slot(name) => {
                let value = slot(name)?;
                Decimal::parse(&value).ok_or_else(|| format!("slot {name:?} is {value:?}, which is no number"))
            }
            Expr::Of(op, a, b) => Decimal::of(*op, a.value(slot)?, b.value(slot)?),
        }
    }
}

/// Whether `text` can be the name of a slot.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, wanted: &[char]) -> Option<char> {
        let c = self.peek().filter(|c| wanted.contains(c))?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn sum(&mut self) -> Result<Expr, String> {
        let mut expr = self.product()?;
        while let Some(op) = self.take(&['+', '-']) {
            expr = self.of(op, expr, Self::product)?;
        }
        Ok(expr)
    }

    fn product(&mut self) -> Result<Expr, String> {
        let mut expr = self.single()?;
        while let Some(op) = self.take(&['*', '/', '%']) {
            expr = self.of(op, expr, Self::single)?;
        }
        Ok(expr)
    }

    fn of(&mut self, op: char, a: Expr, next: fn(&mut Self) -> Result<Expr, String>) -> Result<Expr, String> {
        // A long chain is as deep as it is long.
        self.deeper()?;
        Ok(Expr::Of(op, Box::new(a), Box::new(next(self)?)))
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            Err("an expression is too long; use a slot for a part of it".into())
        } else {
            Ok(())
        }
    }

    fn single(&mut self) -> Result<Expr, String> {
        if self.take(&['(']).is_some() {
            self.deeper()?;
            let expr = self.sum()?;
            return self.take(&[')']).map(|_| expr).ok_or_else(|| format!("{{{}}}: a ) is missing", self.text));
        }
        self.peek();
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(rest.len());
        let word = &rest[..end];
        self.at += end;
        match Decimal::parse(word) {
            Some(number) => Ok(Expr::Number(number)),
            None if is_name(word) => Ok(Expr::Slot(word.to_owned())),
            None => Err(format!(
                "{{{}}}: write a slot's name or arithmetic between braces, and {{{{ for a brace",
                self.text
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<String, String> {
        let mut slot = |name: &str| match name {
            "a" => Ok("0.1".to_owned()),
            "b" => Ok("12".to_owned()),
            _ => Ok("word".to_owned()),
        };
        Expr::parse(text)?.value(&mut slot).map(|value| value.to_string())
    }

    #[test]
    fn arithmetic_is_exact() {
        let cases = [
            ("a + 0.2", "0.3"),
            ("b-2*(3-b)", "30"),
            ("1.50*2", "3.00"),
            ("1.50 * 1.50", "2.25"),
            ("b / 8", "1.5"),
            ("b % 5", "2"),
            ("0 - a", "-0.1"),
            ("0.05 + 0", "0.05"),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_has_no_exact_value_says_so() {
        let cases = [
            ("b / 7", "12 / 7 does not come out even"),
            ("b / (a - a)", "a division by zero"),
            ("c + 1", "slot \"c\" is \"word\", which is no number"),
            ("999999999999999999999999999999 * 999999999999999999999999999999", "a number became too large"),
            ("(1", "{(1}: a ) is missing"),
            ("1 2", "{1 2}: '2' is not expected there"),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text), Err(expected.into()), "{text}");
        }
        assert!(value("").unwrap_err().contains("write a slot's name or arithmetic"));
        assert!(value(&"(".repeat(1000)).unwrap_err().contains("too long"));
        assert!(value(&"1+".repeat(1000)).unwrap_err().contains("too long"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 500, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..Default::default()
        })]

        #[test]
        fn no_text_makes_the_parser_panic(text in "[ab0-9+*/%(). {}é-]{0,40}") {
            let _ = value(&text);
        }

        #[test]
        fn whole_numbers_are_computed_as_integers_are(a in -9999i64..9999, b in -9999i64..9999, c in 1i64..99) {
            let text = format!("({} - {}) * {c} + {} % {c}", a.max(0), b.max(0), a.max(0));
            let expected = (a.max(0) - b.max(0)) * c + a.max(0) % c;
            proptest::prop_assert_eq!(value(&text), Ok(expected.to_string()));
        }
    }
}
