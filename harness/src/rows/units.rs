//! Cutting a text into chunks of whole units: lines, records, elements of an array, paragraphs, or the whole.
//!
//! Where a chunk ends depends on the text alone, so that the same file gives the same chunks wherever it is read. No more
//! than a chunk, a piece and one unit are held.

use std::mem;

use memchr::{memchr, memchr_iter};

use super::{
    MAX_ROW, Problem,
    open::{PIECE, Text},
};
use cutter::Quote;

mod cutter;

pub(super) use cutter::Cutter;

/// A chunk ends with the first unit that reaches this many bytes.
const CHUNK: usize = 1 << 20;
/// Quotes that never end after which only their line is bad; after more, all that was read in search of the end is.
const OPEN_QUOTES: usize = 64;

/// Some units of a text, in order.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Their bytes.
    pub bytes: Vec<u8>,
    /// Where each unit ends.
    pub ends: Vec<usize>,
    /// The line of the first byte, from 1.
    pub line: u64,
    /// Units before these.
    pub before: u64,
    /// Where the first byte stands in the text.
    pub offset: u64,
    /// What is wrong with the one unit that is here, of which only the beginning is kept.
    pub wrong: Option<Problem>,
    /// From which unit on they stand behind the array's end.
    pub closed: Option<usize>,
    /// Whether the text ends before the array does.
    pub cut_off: bool,
    /// Bytes of the file that were taken so far.
    pub taken: u64,
}

impl Chunk {
    /// The units with the line and the place in the text at which each begins.
    pub fn units(&self) -> impl Iterator<Item = Unit<'_>> {
        let (mut start, mut line) = (0, self.line);
        self.ends.iter().zip(self.before..).map(move |(&end, number)| {
            let bytes = &self.bytes[start..end];
            let unit = Unit { bytes, line, number, offset: self.offset + start as u64 };
            line += lines(bytes);
            start = end;
            unit
        })
    }
}

/// One unit of a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit<'a> {
    pub bytes: &'a [u8],
    /// The line on which it begins, from 1.
    pub line: u64,
    /// Units before it.
    pub number: u64,
    /// Where it stands in the text.
    pub offset: u64,
}

fn lines(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

/// A text in chunks.
pub(super) struct Units {
    text: Text,
    cutter: Cutter,
    /// What was read and not handed out, and how much of it the cutter has seen.
    pending: Vec<u8>,
    seen: usize,
    ends: Vec<usize>,
    /// Line breaks that the text begins with.
    blank: usize,
    line: u64,
    before: u64,
    offset: u64,
    open_quotes: usize,
    closed: Option<usize>,
    over: bool,
}

impl Units {
    pub fn new(text: Text, cutter: Cutter) -> Units {
        Units {
            offset: 0,
            text,
            cutter,
            pending: Vec::new(),
            seen: 0,
            ends: Vec::new(),
            blank: 0,
            line: 1,
            before: 0,
            open_quotes: 0,
            closed: None,
            over: false,
        }
    }

    /// The same where the text begins on another line than the first.
    pub fn starting_at(self, line: u64) -> Units {
        Units { line, ..self }
    }

    /// The first unit alone, which is not one of the rows: a header, or the bracket of an array. Line breaks before it are
    /// part of it.
    pub fn head(&mut self) -> Result<Chunk, Problem> {
        let chunk = loop {
            if let Some(chunk) = self.cut(true)? {
                break chunk;
            }
        };
        self.before = 0;
        Ok(chunk)
    }

    /// The next chunk; the last one may hold no unit.
    pub fn next(&mut self) -> Result<Option<Chunk>, Problem> {
        while !self.over {
            if let Some(chunk) = self.cut(false)? {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    /// Looks at what is pending and hands out a chunk if there is one, or only its head; else reads on.
    fn cut(&mut self, head: bool) -> Result<Option<Chunk>, Problem> {
        while let Some(end) = self.cutter.end(&self.pending[self.seen..]) {
            self.seen += end;
            if head {
                let breaks = self.pending[self.blank..self.seen].iter().take_while(|b| matches!(b, b'\n' | b'\r'));
                self.blank += breaks.count();
                if self.blank == self.seen {
                    continue;
                }
            }
            self.ends.push(self.seen);
            if matches!(self.cutter, Cutter::Elements { ended: true, .. }) {
                self.closed = self.closed.or(Some(self.ends.len()));
            }
            if self.seen >= CHUNK || head {
                return Ok(Some(self.hand_out()));
            }
        }
        self.seen = self.pending.len();
        let open = self.pending.len() - self.ends.last().copied().unwrap_or(0);
        if open > MAX_ROW {
            return if self.ends.is_empty() { self.too_long().map(Some) } else { Ok(Some(self.hand_out())) };
        }
        if self.text.read(&mut self.pending)? {
            return Ok(None);
        }
        if self.cutter.missing() && matches!(self.cutter, Cutter::Records { .. }) {
            return Ok(Some(if self.ends.is_empty() { self.open_quote() } else { self.hand_out() }));
        }
        self.over = true;
        if open > 0 {
            self.ends.push(self.pending.len());
        }
        let mut chunk = self.hand_out();
        chunk.cut_off = self.cutter.missing();
        Ok(Some(chunk))
    }

    /// A chunk of the units that are complete.
    fn hand_out(&mut self) -> Chunk {
        let end = self.ends.last().copied().unwrap_or(0);
        let mut bytes = mem::replace(&mut self.pending, Vec::with_capacity(CHUNK + 2 * PIECE));
        self.pending.extend_from_slice(&bytes[end..]);
        bytes.truncate(end);
        self.seen -= end;
        let ends = mem::take(&mut self.ends);
        let chunk = Chunk {
            line: self.line,
            before: self.before,
            offset: self.offset,
            taken: self.text.taken(),
            wrong: None,
            closed: self.closed,
            cut_off: false,
            bytes,
            ends,
        };
        self.closed = self.closed.map(|_| 0);
        self.line += lines(&chunk.bytes);
        self.before += chunk.ends.len() as u64;
        self.offset += chunk.bytes.len() as u64;
        chunk
    }

    /// A chunk of the one unit that is too long, or is taken for one that never ends; the text goes on behind it.
    fn too_long(&mut self) -> Result<Chunk, Problem> {
        if self.cutter.missing() && matches!(self.cutter, Cutter::Records { .. }) {
            return Ok(self.open_quote());
        }
        let bytes = self.pending[..SHOWN].to_vec();
        let mut chunk = Chunk {
            ends: vec![bytes.len()],
            bytes,
            line: self.line,
            before: self.before,
            offset: self.offset,
            wrong: Some(Problem::TooLong { line: self.line }),
            ..Chunk::default()
        };
        loop {
            let end = self.cutter.end(&self.pending[self.seen..]).map(|end| self.seen + end);
            let upto = end.unwrap_or(self.pending.len());
            self.line += lines(&self.pending[..upto]);
            self.offset += upto as u64;
            self.pending.drain(..upto);
            self.seen = 0;
            if end.is_some() || !self.text.read(&mut self.pending)? {
                break;
            }
        }
        self.before += 1;
        chunk.taken = self.text.taken();
        Ok(chunk)
    }

    /// A chunk of the line on which a quote begins that never ends; the text goes on with the next line.
    fn open_quote(&mut self) -> Chunk {
        self.open_quotes += 1;
        let line = memchr(b'\n', &self.pending).map_or(self.pending.len(), |at| at + 1);
        // Looking for the end again and again would take time without bound.
        let end = if self.open_quotes > OPEN_QUOTES { self.pending.len() } else { line };
        if let Cutter::Records { quote, before, .. } = &mut self.cutter {
            (*quote, *before) = (Quote::Outside, b'\n');
        }
        self.ends.push(end);
        self.seen = end;
        let mut chunk = self.hand_out();
        chunk.bytes.truncate(SHOWN);
        chunk.ends = vec![chunk.bytes.len()];
        chunk.wrong = Some(Problem::OpenQuote { line: chunk.line });
        chunk
    }
}

/// Bytes that are kept of a unit that cannot be read.
pub(super) const SHOWN: usize = 200;
