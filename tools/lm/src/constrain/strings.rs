//! Texts byte by byte: UTF-8, and the strings of JSON.

/// What of a character is still to come: how many bytes, and between which bounds the next of them lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Utf8 {
    left: u8,
    low: u8,
    high: u8,
}

impl Utf8 {
    /// After one more byte; `None` where no text has it there.
    pub(super) fn read(self, byte: u8) -> Option<Utf8> {
        let after = |left, low, high| Some(Utf8 { left, low, high });
        match (self.left, byte) {
            (0, 0x00..=0x7F) => after(0, 0, 0),
            (0, 0xC2..=0xDF) => after(1, 0x80, 0xBF),
            (0, 0xE0) => after(2, 0xA0, 0xBF),
            (0, 0xED) => after(2, 0x80, 0x9F),
            (0, 0xE1..=0xEF) => after(2, 0x80, 0xBF),
            (0, 0xF0) => after(3, 0x90, 0xBF),
            (0, 0xF1..=0xF3) => after(3, 0x80, 0xBF),
            (0, 0xF4) => after(3, 0x80, 0x8F),
            (0, _) => None,
            (1, byte) if (self.low..=self.high).contains(&byte) => after(0, 0, 0),
            (left, byte) if (self.low..=self.high).contains(&byte) => after(left - 1, 0x80, 0xBF),
            _ => None,
        }
    }

    /// Bytes that the character lacks; 0 between characters.
    pub(super) fn left(self) -> u32 {
        self.left.into()
    }
}

/// A place inside a JSON string, after its first quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Text {
    /// Characters that must still come.
    pub(super) least: u32,
    /// Characters that may still come; [`ENDLESS`](super::grammar::ENDLESS) is no bound.
    pub(super) most: u32,
    pub(super) at: At,
}

/// Where between two characters, or in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum At {
    Body,
    Char(Utf8),
    /// After a backslash.
    Escape,
    /// After `\u`.
    Hex,
    /// After `\ud`: it may become half of a pair.
    HexD,
    /// So many digits are missing; with `pair`, then the second half.
    Digits {
        left: u8,
        pair: bool,
    },
    /// So many bytes of `\uDC` have been read.
    Low(u8),
}

impl Text {
    /// At the beginning of a string of so many characters.
    pub(super) fn new(least: u32, most: u32) -> Self {
        Text { least, most, at: At::Body }
    }

    /// After one more byte: `Some(None)` where it ends the string, `None` where it cannot stand there.
    pub(super) fn read(self, byte: u8) -> Option<Option<Text>> {
        let hex = byte.is_ascii_hexdigit();
        let next = match (self.at, byte) {
            (At::Body, b'"') => return (self.least == 0).then_some(None),
            (At::Body, _) if self.most == 0 || byte < b' ' => return None,
            (At::Body, b'\\') => return Some(Some(self.counted(At::Escape))),
            (At::Body, _) => return Some(Some(self.counted(At::char(Utf8::default().read(byte)?)))),
            (At::Char(utf8), _) => At::char(utf8.read(byte)?),
            (At::Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => At::Body,
            (At::Escape, b'u') => At::Hex,
            (At::Hex, b'd' | b'D') => At::HexD,
            (At::Hex, _) if hex => At::Digits { left: 3, pair: false },
            (At::HexD, b'0'..=b'7') => At::Digits { left: 2, pair: false },
            (At::HexD, b'8' | b'9' | b'a' | b'A' | b'b' | b'B') => At::Digits { left: 2, pair: true },
            (At::Digits { left: 1, pair: false }, _) if hex => At::Body,
            (At::Digits { left: 1, pair: true }, _) if hex => At::Low(0),
            (At::Digits { left, pair }, _) if hex => At::Digits { left: left - 1, pair },
            (At::Low(0), b'\\') => At::Low(1),
            (At::Low(1), b'u') => At::Low(2),
            (At::Low(2), b'd' | b'D') => At::Low(3),
            (At::Low(3), b'c'..=b'f' | b'C'..=b'F') => At::Digits { left: 2, pair: false },
            _ => return None,
        };
        Some(Some(Text { at: next, ..self }))
    }

    /// Bytes to the end of the string, its quote included, at least.
    pub(super) fn left(self) -> u32 {
        let begun = match self.at {
            At::Body => 0,
            At::Char(utf8) => utf8.left(),
            At::Escape => 1,
            At::Hex => 4,
            At::HexD => 3,
            At::Digits { left, pair } => u32::from(left) + if pair { 6 } else { 0 },
            At::Low(read) => 6 - u32::from(read),
        };
        begun.saturating_add(self.least).saturating_add(1)
    }

    /// With one character less to come.
    fn counted(self, at: At) -> Text {
        let most = if self.most == super::grammar::ENDLESS { self.most } else { self.most - 1 };
        Text { least: self.least.saturating_sub(1), most, at }
    }
}

impl At {
    fn char(utf8: Utf8) -> At {
        if utf8.left == 0 { At::Body } else { At::Char(utf8) }
    }
}
