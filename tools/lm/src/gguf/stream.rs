//! The tensors of a file, piece by piece: while one piece is written, all threads convert the next, and what was read of
//! the source is let go behind them. Memory holds two pieces, however large the model is.

use std::{
    cell::RefCell,
    io::{self, Write},
    mem,
    ops::Range,
};

use rayon::prelude::*;

use super::{Rows, bytes::ALIGNMENT, quants, source_row};
use crate::{matrix::Stored, model::Model, weights::Numbers};

/// Numbers of a piece.
const PIECE: usize = 1 << 23;
/// Numbers that a thread converts at a time, at least: they fit its cache.
const TASK: usize = 1 << 14;
/// The first magnitude that is infinite as f16.
const TOO_LARGE: f32 = 65520.0;

/// One tensor on its way into the file.
pub(super) struct Part<'a> {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) values: Source<'a>,
    pub(super) stored: Stored,
    /// Whether that is how the file's format stores such a tensor.
    pub(super) meant: bool,
    pub(super) rows: Rows,
}

/// Where the numbers of a tensor come from; those of a file are decoded when they are written.
pub(super) enum Source<'a> {
    Model(Numbers<'a>),
    Made(Vec<f32>),
}

impl Source<'_> {
    fn len(&self) -> usize {
        match self {
            Source::Model(numbers) => numbers.len(),
            Source::Made(values) => values.len(),
        }
    }

    fn read(&self, range: Range<usize>, out: &mut [f32]) {
        match self {
            Source::Model(Numbers::Matrix(matrix)) => matrix.read(range, out),
            Source::Model(Numbers::Vector(values)) => out.copy_from_slice(&values[range]),
            Source::Made(values) => out.copy_from_slice(&values[range]),
        }
    }
}

impl Part<'_> {
    /// Bytes that it takes; a matrix is stored in what its rows are whole blocks of.
    pub(super) fn bytes(&self) -> usize {
        self.stored.bytes(self.values.len()).unwrap_or(0)
    }

    fn columns(&self) -> usize {
        self.shape.get(1).copied().unwrap_or(1)
    }

    /// Decodes `rows`, in the file's order.
    fn read(&self, rows: Range<usize>, head_dim: usize, out: &mut [f32]) {
        let columns = self.columns();
        match self.rows {
            Rows::Plain => self.values.read(rows.start * columns..rows.end * columns, out),
            Rows::Rotated => {
                for (row, out) in rows.zip(out.chunks_exact_mut(columns)) {
                    let from = row / head_dim * head_dim + source_row(row % head_dim, head_dim);
                    self.values.read(from * columns..(from + 1) * columns, out);
                }
            }
        }
    }

    fn refusal(&self, largest: f32) -> Option<String> {
        let what = match self.stored {
            _ if !largest.is_finite() => "a number that is not finite",
            Stored::F32 => return None,
            _ if largest >= TOO_LARGE => "numbers too large for f16 and for scales in f16; use f32",
            _ => return None,
        };
        Some(format!("{} has {what}", self.name))
    }
}

/// Some rows of a tensor, and the bytes that they take with what fills the file up behind its last row.
struct Task<'a> {
    part: &'a Part<'a>,
    rows: Range<usize>,
    bytes: usize,
}

impl Task<'_> {
    /// Fills `out`; what it returns is why these rows cannot be written.
    fn convert(&self, head_dim: usize, out: &mut [u8]) -> Option<String> {
        thread_local!(static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) });
        let numbers = self.rows.len() * self.part.columns();
        let (out, filling) = out.split_at_mut(self.part.stored.bytes(numbers).unwrap_or(0).min(out.len()));
        filling.fill(0);
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(numbers, 0.0);
            self.part.read(self.rows.clone(), head_dim, scratch);
            let refusal = self.part.refusal(quants::largest(scratch));
            if refusal.is_none() {
                quants::encode(self.part.stored, scratch, out);
            }
            refusal
        })
    }
}

/// Writes the parts one after the other, each filled up to the file's alignment. What it returns is why they cannot be
/// written.
pub(super) fn write(out: &mut (impl Write + Send), parts: &[Part<'_>], model: &Model) -> io::Result<Option<String>> {
    let tasks: Vec<Task<'_>> = parts.iter().flat_map(tasks).collect();
    let (mut full, mut next) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tasks.len() {
        let mut numbers = 0;
        let piece = tasks[at..].iter().take_while(|task| {
            let begins = numbers < PIECE;
            numbers += task.rows.len() * task.part.columns();
            begins
        });
        let piece = &tasks[at..at + piece.count()];
        let (written, refusal) =
            rayon::join(|| out.write_all(&full), || convert(piece, model.config.head_dim, &mut next));
        written?;
        if refusal.is_some() {
            return Ok(refusal);
        }
        model.files.let_go();
        mem::swap(&mut full, &mut next);
        at += piece.len();
    }
    out.write_all(&full)?;
    Ok(None)
}

fn tasks<'a>(part: &'a Part<'a>) -> impl Iterator<Item = Task<'a>> {
    let (columns, numbers) = (part.columns().max(1), part.values.len());
    let (rows, step) = (numbers / columns, TASK.div_ceil(columns));
    let filling = part.bytes().next_multiple_of(ALIGNMENT) - part.bytes();
    (0..rows).step_by(step).map(move |first| {
        let rows = first..(first + step).min(rows);
        let bytes = part.stored.bytes(rows.len() * columns).unwrap_or(0);
        let last = (rows.end * columns == numbers) as usize;
        Task { part, rows, bytes: bytes + last * filling }
    })
}

/// Converts the tasks of a piece on all threads; each has its own place in `out`.
fn convert(piece: &[Task<'_>], head_dim: usize, out: &mut Vec<u8>) -> Option<String> {
    out.resize(piece.iter().map(|task| task.bytes).sum(), 0);
    let mut rest = out.as_mut_slice();
    let mut places = Vec::with_capacity(piece.len());
    for task in piece {
        let (place, more) = rest.split_at_mut(task.bytes);
        places.push((task, place));
        rest = more;
    }
    places.into_par_iter().map(|(task, place)| task.convert(head_dim, place)).reduce(|| None, Option::or)
}
