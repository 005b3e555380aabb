//! Rows in batches: read in order, parsed on all cores, handed out in order.

use std::{path::PathBuf, sync::Arc};

use super::{
    Bad, Documents, Format, Input, Problem, Reading, RowsError,
    ahead::Ahead,
    delimited::Header,
    document, json,
    open::Text,
    parquet,
    units::{Chunk, Cutter, SHOWN, Unit, Units},
};
use crate::recipe::Row;

/// What a cell of a table takes in memory beside its text, in bytes, at the least.
const CELL: usize = 32;

/// Some rows of one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The file: its place among the source's inputs.
    pub file: usize,
    /// The rows, in file order.
    pub rows: Vec<Row>,
    /// The line on which each row begins, from 1; the number of the row in a Parquet file.
    pub lines: Vec<u64>,
    /// What gave no row.
    pub bad: Vec<BadRow>,
    /// Bytes of text or values in this batch.
    pub bytes: u64,
    /// Bytes of the file that were read up to here, of [`Input::bytes`].
    pub read: u64,
}

/// A line or record that gave no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The file: its place among the source's inputs.
    pub file: usize,
    /// The line on which it begins, from 1.
    pub line: u64,
    /// What is wrong with it, and where.
    pub why: String,
    /// Its first bytes.
    pub raw: String,
}

/// What becomes of rows while a chunk is parsed.
pub(super) struct Sink {
    batch: Batch,
    bad: Bad,
    /// What the file is written in, if that is not UTF-8.
    encoding: Option<&'static str>,
    /// Whether the chunk holds NUL bytes.
    nul: bool,
}

impl Sink {
    /// A unit as text, if it is text.
    pub fn text<'a>(&self, unit: &Unit<'a>) -> Result<&'a str, Problem> {
        let Unit { bytes, line, offset, .. } = *unit;
        let place = |at: usize| (line + memchr::memchr_iter(b'\n', &bytes[..at]).count() as u64, offset + at as u64);
        let text = str::from_utf8(bytes).map_err(|e| {
            let (line, offset) = place(e.valid_up_to());
            match self.encoding {
                Some(encoding) => Problem::NotDecoded { line, encoding },
                None => Problem::NotUtf8 { line, offset },
            }
        })?;
        match memchr::memchr(0, bytes).filter(|_| self.nul) {
            Some(at) => {
                let (line, offset) = place(at);
                Err(Problem::Nul { line, offset, byte: 0 })
            }
            None => Ok(text),
        }
    }

    /// Takes a row, or what is wrong with it.
    pub fn take(&mut self, row: Result<Row, Problem>, line: u64, raw: &[u8]) -> Result<(), Problem> {
        match row {
            Ok(row) => {
                self.batch.rows.push(row);
                self.batch.lines.push(line);
            }
            Err(problem) if self.bad == Bad::Refuse => return Err(problem),
            Err(problem) => {
                let raw = String::from_utf8_lossy(&raw[..raw.len().min(SHOWN)]).trim_end().to_owned();
                self.batch.bad.push(BadRow { file: self.batch.file, line, why: problem.said(), raw });
            }
        }
        Ok(())
    }
}

/// How the chunks of one file become rows.
#[derive(Clone)]
struct Parser {
    file: usize,
    format: Format,
    bad: Bad,
    encoding: Option<&'static str>,
    header: Option<Header>,
}

impl Parser {
    fn parse(&self, chunk: &mut Chunk) -> Result<Batch, Problem> {
        let nul = memchr::memchr(0, &chunk.bytes).is_some();
        let batch = Batch {
            file: self.file,
            bytes: chunk.bytes.len() as u64,
            read: chunk.taken,
            rows: Vec::with_capacity(chunk.ends.len()),
            lines: Vec::with_capacity(chunk.ends.len()),
            bad: Vec::new(),
        };
        let mut sink = Sink { batch, bad: self.bad, encoding: self.encoding, nul };
        if let Some(problem) = chunk.wrong.take() {
            sink.take(Err(problem), chunk.line, &chunk.bytes)?;
            return Ok(sink.batch);
        }
        match (self.format, &self.header) {
            (_, Some(header)) => header.records(chunk, &mut sink)?,
            (Format::Json, _) => json::elements(chunk, &mut sink)?,
            (Format::JsonLines, _) => json::lines(chunk, &mut sink)?,
            (format, _) => document::read(chunk, format, &mut sink)?,
        }
        Ok(sink.batch)
    }
}

/// One file on its way.
enum Stream {
    Text(Box<Units>, Arc<Parser>),
    Parquet(parquet::Groups, Bad),
}

/// What is read in order and parsed in any.
enum Piece {
    Text(Chunk, Arc<Parser>),
    Parquet(parquet::Piece, Bad),
}

impl Piece {
    /// What it takes in memory, at the least. A table of many columns is mostly their names.
    fn bytes(&self) -> usize {
        match self {
            Piece::Text(chunk, parser) => {
                let columns = parser.header.as_ref().map_or(0, Header::len);
                chunk.bytes.len() + chunk.ends.len() * columns * CELL
            }
            Piece::Parquet(piece, _) => piece.bytes,
        }
    }

    fn parse(self) -> Result<Batch, Problem> {
        match self {
            Piece::Text(mut chunk, parser) => parser.parse(&mut chunk),
            Piece::Parquet(piece, bad) => piece.parse(bad),
        }
    }
}

impl Stream {
    fn open(file: usize, input: &Input, reading: &Reading) -> Result<Stream, Problem> {
        if input.format == Format::Parquet {
            return parquet::Groups::open(file, &input.path).map(|groups| Stream::Parquet(groups, reading.bad));
        }
        let whole = reading.documents == Documents::Whole || input.format == Format::Markdown;
        let cutter = match input.format {
            Format::Csv | Format::Tsv => Cutter::records(input.delimiter),
            Format::Json => Cutter::elements(),
            Format::Text | Format::Markdown if whole => Cutter::Whole,
            Format::Text | Format::Markdown => Cutter::Paragraphs { blank: true },
            Format::JsonLines | Format::Parquet => Cutter::Lines,
        };
        let text = Text::open(&input.path, input.encoding)?;
        let mut units = match &input.listed {
            Some(listed) => Units::new(text.part(&listed.at), cutter).starting_at(listed.line),
            None => Units::new(text, cutter),
        };
        let encoding = (input.encoding != encoding_rs::UTF_8).then(|| input.encoding.name());
        let mut parser = Parser { file, format: input.format, bad: reading.bad, encoding, header: None };
        if matches!(input.format, Format::Csv | Format::Tsv | Format::Json) {
            let mut head = units.head()?;
            if let Some(problem) = head.wrong.take() {
                return Err(problem);
            }
            if input.format != Format::Json {
                parser.header = Some(Header::read(&head, input.delimiter)?);
            }
        }
        Ok(Stream::Text(Box::new(units), Arc::new(parser)))
    }

    fn next(&mut self) -> Result<Option<Piece>, Problem> {
        match self {
            Stream::Text(units, parser) => Ok(units.next()?.map(|chunk| Piece::Text(chunk, parser.clone()))),
            Stream::Parquet(groups, bad) => Ok(groups.next()?.map(|piece| Piece::Parquet(piece, *bad))),
        }
    }
}

type Work<T> = Arc<dyn Fn(Batch) -> T + Send + Sync>;

/// The batches of a source, in order. Ends after the first error.
pub struct Batches<T = Batch> {
    files: std::iter::Enumerate<std::vec::IntoIter<Input>>,
    current: Option<(Input, Stream)>,
    reading: Reading,
    work: Work<T>,
    ahead: Ahead<Result<T, RowsError>>,
    /// What ended the reading, to be said after the rows before it.
    error: Option<RowsError>,
    over: bool,
}

impl<T: Send + 'static> Batches<T> {
    pub(super) fn new(inputs: Vec<Input>, reading: Reading, work: Work<T>) -> Batches<T> {
        let files = inputs.into_iter().enumerate();
        Batches { files, current: None, reading, work, ahead: Ahead::new(), error: None, over: false }
    }

    /// The next piece of the file that is read, or of the one after it.
    fn piece(&mut self) -> Result<Option<(Input, Piece)>, RowsError> {
        loop {
            if self.current.is_none() {
                let Some((file, input)) = self.files.next() else { return Ok(None) };
                let stream = Stream::open(file, &input, &self.reading);
                let stream = stream.map_err(|problem| RowsError { path: input.path.clone(), problem })?;
                self.current = Some((input, stream));
            }
            let Some((input, stream)) = &mut self.current else { return Ok(None) };
            let piece = stream.next().map_err(|problem| RowsError { path: input.path.clone(), problem })?;
            match piece {
                Some(piece) => return Ok(Some((input.clone(), piece))),
                None => self.current = None,
            }
        }
    }

    /// Starts the work on pieces until enough are on their way.
    fn fill(&mut self) {
        while !self.over && !self.ahead.is_full() {
            match self.piece() {
                Ok(Some((input, piece))) => {
                    let work = self.work.clone();
                    self.ahead.ask(piece.bytes(), move || {
                        let parsed = piece.parse().map(|batch| work(batch));
                        parsed.map_err(|problem| RowsError { path: input.path, problem })
                    });
                }
                Ok(None) => self.over = true,
                Err(error) => (self.over, self.error) = (true, Some(error)),
            }
        }
    }
}

impl<T: Send + 'static> Iterator for Batches<T> {
    type Item = Result<T, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.fill();
        let Some(item) = self.ahead.wait() else { return self.error.take().map(Err) };
        let broke_down = || Err(RowsError { path: PathBuf::new(), problem: Problem::Panicked });
        let item = item.unwrap_or_else(broke_down);
        if item.is_err() {
            (self.over, self.error) = (true, None);
            self.ahead.clear();
        }
        Some(item)
    }
}
