//! Products of f32 matrices of many rows, each on the calling thread. Both operands are laid out so that the innermost loop reads
//! one number after the other: the left one once for all that it is multiplied with, the right one in panels over which all
//! rows of the left one pass.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    Isa, Kernel, gemm,
    lanes::{LANES, Lanes},
    room::Room,
};

/// Terms that are summed in registers at a time. Sums are cut at its multiples, so that terms of zero at their end change
/// no bit; the library cuts its sums otherwise.
pub const DEPTH: usize = 576;

/// Terms up to which an operand joins the last piece of the one before it, instead of passing over the result once more.
const SHORT: usize = 64;

/// Rows of a matrix that are read at a time where they are terms. It divides [`DEPTH`].
const READ: usize = 32;

/// Bytes of a cache line, at which panels begin.
const LINE: usize = 64;

/// An operand in place: its numbers, from one row of the left one or column of the right one to the next, and from one term of
/// a sum to the next.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    /// Begin with the first.
    pub numbers: &'a [f32],
    /// Between sums.
    pub across: usize,
    /// Between terms.
    pub along: usize,
}

/// A left operand that is laid out for any number of products.
pub struct Rows<'a> {
    isa: Isa,
    from: Operand<'a>,
    /// Rows, and terms of a sum.
    dims: (usize, usize),
    /// Rows of a tile.
    high: usize,
    /// For each piece of [`DEPTH`] terms, for each tile, for each term: a number of each row. Nothing on the portable set.
    laid: Room,
}

/// Where sums go: the first of them, from one row to the next, how many columns there are, whether they are added, and what
/// they are multiplied by.
pub struct To<'a> {
    /// Begin with the first row.
    pub numbers: &'a mut [f32],
    /// Between rows.
    pub stride: usize,
    /// Columns.
    pub columns: usize,
    /// Whether sums are added to what is there.
    pub add: bool,
    /// Sums are multiplied by it.
    pub scale: f32,
}

/// A right operand: in place, or laid out before.
#[derive(Clone, Copy)]
pub enum Columns<'a> {
    /// Laid out anew for each product.
    InPlace(Operand<'a>),
    /// Laid out for many.
    Laid(&'a Panels),
}

/// A right operand that is laid out for any number of products, also for products with its first columns and terms alone.
pub struct Panels {
    /// Columns of a panel.
    wide: usize,
    /// Columns in whole panels, and terms.
    dims: (usize, usize),
    /// For each piece of [`DEPTH`] terms, for each panel, for each term: a number of each column. It begins at a cache line.
    laid: Room,
    begin: usize,
}

impl Panels {
    /// Lays out `dims.0` columns of `dims.1` terms each, on this thread. Nothing where a set has no use for it, or a panel would be
    /// mostly empty.
    pub fn new(isa: Isa, dims: (usize, usize), from: Operand<'_>) -> Option<Self> {
        Self::fill(isa, dims, |panels| panels.into_iter().for_each(|mut panel| panel.lay_out(isa, from, (0, 0))))
    }

    /// The same on all threads.
    pub fn together(isa: Isa, dims: (usize, usize), from: Operand<'_>) -> Option<Self> {
        Self::fill(isa, dims, |panels| panels.into_par_iter().for_each(|mut panel| panel.lay_out(isa, from, (0, 0))))
    }

    /// [`Panels::together`] whose columns are the rows of a matrix `[columns, terms]` that must be read: `read` is called with some
    /// of its rows, and where to write their numbers.
    pub fn of_rows(
        isa: Isa,
        (columns, terms): (usize, usize),
        read: impl Fn(Range<usize>, &mut [f32]) + Sync,
    ) -> Option<Self> {
        Self::fill(isa, (columns, terms), |panels| {
            let by_column = |panel: &LayPanel<'_>| panel.column;
            in_groups(panels, by_column, |panels| {
                let first = panels[0].column;
                let rows = first..columns.min(first + panels[0].wide);
                let mut numbers = Room::new(rows.len() * terms);
                read(rows, &mut numbers);
                panels.iter_mut().for_each(|panel| panel.lay_out(isa, Operand::rows(&numbers, terms), (first, 0)));
            });
        })
    }

    /// [`Panels::of_rows`] of a matrix `[terms, columns]`.
    pub fn of_columns(
        isa: Isa,
        (columns, terms): (usize, usize),
        read: impl Fn(Range<usize>, &mut [f32]) + Sync,
    ) -> Option<Self> {
        Self::fill(isa, (columns, terms), |panels| {
            let parts = panels.into_iter().flat_map(LayPanel::split).collect();
            let by_term = |panel: &LayPanel<'_>| panel.term;
            in_groups(parts, by_term, |panels| {
                let (first, terms) = (panels[0].term, panels[0].terms);
                let mut numbers = Room::new(terms * columns);
                read(first..first + terms, &mut numbers);
                let from = Operand::columns(&numbers, columns);
                panels.iter_mut().for_each(|panel| panel.lay_out(isa, from, (0, first)));
            });
        })
    }

    fn fill(isa: Isa, (columns, terms): (usize, usize), lay: impl FnOnce(Vec<LayPanel<'_>>)) -> Option<Self> {
        let wide = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) if columns > LANES => 32,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) if columns > 0 => 16,
            _ => return None,
        };
        let all = columns.next_multiple_of(wide);
        let mut laid = Room::new(all * terms + LINE);
        let begin = laid.as_ptr().align_offset(LINE);
        let mut panels = Vec::with_capacity(all / wide * terms.div_ceil(DEPTH));
        for (piece, laid) in laid[begin..][..all * terms].chunks_mut(all * DEPTH).enumerate() {
            let terms = laid.len() / all;
            panels.extend(laid.chunks_mut(wide * terms).enumerate().map(|(panel, to)| {
                let (column, term) = (panel * wide, piece * DEPTH);
                LayPanel { wide, to, terms, column, term, left: columns - column }
            }));
        }
        lay(panels);
        Some(Panels { wide, dims: (all, terms), laid, begin })
    }

    /// The terms of a piece of the panel that begins with this column.
    #[inline(always)]
    fn piece<const P: usize>(&self, terms: &Range<usize>, column: usize) -> &[[f32; P]] {
        let (columns, all) = self.dims;
        let first = self.begin + columns * terms.start + column * DEPTH.min(all - terms.start);
        &self.laid[first..].as_chunks().0[..terms.len()]
    }
}

/// Some terms of a panel that is to be laid out.
struct LayPanel<'a> {
    wide: usize,
    to: &'a mut [f32],
    terms: usize,
    /// The first of its columns and of its terms.
    column: usize,
    term: usize,
    /// Columns from the first on.
    left: usize,
}

impl<'a> LayPanel<'a> {
    /// `from` begins with this column and this term.
    fn lay_out(&mut self, isa: Isa, from: Operand<'_>, (column, term): (usize, usize)) {
        isa.run(LayFrom(from.from(self.column - column, self.term - term), self));
    }

    /// In parts of [`READ`] terms.
    fn split(self) -> impl Iterator<Item = Self> {
        let LayPanel { wide, to, column, term, left, .. } = self;
        to.chunks_mut(wide * READ).enumerate().map(move |(part, to)| {
            let terms = to.len() / wide;
            LayPanel { wide, to, terms, column, term: term + part * READ, left }
        })
    }
}

/// Calls `lay` with the panels that agree in `key`, on all threads.
fn in_groups<'a>(
    mut panels: Vec<LayPanel<'a>>,
    key: fn(&LayPanel<'a>) -> usize,
    lay: impl Fn(&mut [LayPanel<'a>]) + Sync + Send,
) {
    panels.sort_by_key(key);
    panels.par_chunk_by_mut(|a, b| key(a) == key(b)).for_each(lay);
}

struct LayFrom<'a, 'b, 'c>(Operand<'a>, &'b mut LayPanel<'c>);

impl Kernel for LayFrom<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, set: S) {
        let LayFrom(from, LayPanel { wide, to, terms, left, .. }) = self;
        match wide {
            32 => lay_out::<S, 32>(set, to, *terms, from, *left),
            _ => lay_out::<S, 16>(set, to, *terms, from, *left),
        }
    }
}

impl<'a> Rows<'a> {
    /// Lays out `dims.0` rows of `dims.1` terms each.
    pub fn new(isa: Isa, dims: (usize, usize), from: Operand<'a>) -> Self {
        let high = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => {
                if dims.0 <= 16 {
                    8
                } else {
                    14
                }
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => 6,
            Isa::Portable(_) => 0,
        };
        let laid = Room::new(if high > 0 { dims.0.next_multiple_of(high) * dims.1 + LANES } else { 0 });
        let mut rows = Rows { isa, from, dims, high, laid };
        isa.run(Lay(&mut rows));
        rows
    }

    /// The terms of a piece, for all tiles.
    fn piece<const M: usize>(&self, terms: &Range<usize>) -> &[[f32; M]] {
        let (rows, depth) = (self.dims.0.next_multiple_of(M), terms.len());
        &self.laid[rows * terms.start..].as_chunks().0[..rows / M * depth]
    }
}

struct Lay<'a, 'b>(&'a mut Rows<'b>);

impl Kernel for Lay<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, set: S) {
        match self.0.high {
            14 => self.tiles::<S, 14>(set),
            8 => self.tiles::<S, 8>(set),
            6 => self.tiles::<S, 6>(set),
            _ => {}
        }
    }
}

impl Lay<'_, '_> {
    #[inline(always)]
    fn tiles<S: Lanes, const M: usize>(self, set: S) {
        let Rows { from, dims: (rows, terms), laid, .. } = self.0;
        let mut laid = &mut laid[..];
        for first in (0..*terms).step_by(DEPTH) {
            let depth = DEPTH.min(*terms - first);
            for row in (0..*rows).step_by(M) {
                lay_out::<S, M>(set, laid, depth, from.from(row, first), *rows - row);
                laid = &mut laid[M * depth..];
            }
        }
    }
}

impl Rows<'_> {
    /// `to += rowsᵀ · b`, with as many rows of `b` as of these, `columns` numbers each: `[terms, columns]`.
    pub fn add_transposed(&self, b: &[f32], columns: usize, to: &mut [f32]) {
        let (rows, terms) = self.dims;
        assert!(b.len() == rows * columns && to.len() == terms * columns, "product: operands of other sizes");
        match self.high {
            0 => {
                let by_term = Operand { numbers: self.from.numbers, across: self.from.along, along: self.from.across };
                let dims = (terms, columns, rows);
                gemm::multiply(dims, (to, columns), by_term, Operand::columns(b, columns), (true, 1.0));
            }
            _ => self.isa.run(AddTransposed { rows: self, b, columns, to }),
        }
    }
}

struct AddTransposed<'a, 'b> {
    rows: &'a Rows<'b>,
    b: &'a [f32],
    columns: usize,
    to: &'a mut [f32],
}

impl Kernel for AddTransposed<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, set: S) {
        match self.rows.high {
            14 => self.tiles::<S, 14>(set),
            8 => self.tiles::<S, 8>(set),
            _ => self.tiles::<S, 6>(set),
        }
    }
}

impl AddTransposed<'_, '_> {
    #[inline(always)]
    fn tiles<S: Lanes, const M: usize>(self, set: S) {
        let AddTransposed { rows, b, columns, to } = self;
        for first in (0..rows.dims.1).step_by(DEPTH) {
            let terms = first..rows.dims.1.min(first + DEPTH);
            for (tile, a) in rows.piece::<M>(&terms).chunks_exact(terms.len()).enumerate() {
                for column in (0..columns).step_by(LANES) {
                    let count = LANES.min(columns - column);
                    let mut of_rows = [[0.0; LANES]; M];
                    for (to, row) in of_rows.iter_mut().zip(b.chunks_exact(columns).skip(tile * M)) {
                        to[..count].copy_from_slice(&row[column..][..count]);
                    }
                    let mut numbers = [set.splat(0.0); M];
                    for i in 0..M {
                        numbers[i] = set.floats(&of_rows[i]);
                    }
                    for (a, to) in a.iter().zip(to[terms.start * columns..].chunks_exact_mut(columns)) {
                        let to = &mut to[column..][..count];
                        let mut before = [0.0; LANES];
                        match <&mut [f32; LANES]>::try_from(&mut *to) {
                            Ok(to) => *to = set.array(sum(set, a, &numbers, set.floats(to))),
                            Err(_) => {
                                before[..count].copy_from_slice(to);
                                let sums = set.array(sum(set, a, &numbers, set.floats(&before)));
                                to.copy_from_slice(&sums[..count]);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// One term of each sum of a tile.
#[inline(always)]
fn step<S: Lanes, const M: usize, const N: usize, const P: usize, const R: usize>(
    set: S,
    x: &[f32; M],
    columns: &[f32; P],
    sums: &mut [[S::V; N]; R],
) {
    let mut numbers = [set.splat(0.0); N];
    for j in 0..N {
        if let Some(part) = columns[j * LANES..].first_chunk() {
            numbers[j] = set.floats(part);
        }
    }
    for i in 0..R {
        let x = set.splat(x[i]);
        for j in 0..N {
            sums[i][j] = set.fma(x, numbers[j], sums[i][j]);
        }
    }
}

/// `before + Σ a b`
#[inline(always)]
fn sum<S: Lanes, const M: usize>(set: S, a: &[f32; M], b: &[S::V; M], before: S::V) -> S::V {
    let mut sum = before;
    for i in 0..M {
        sum = set.fma(set.splat(a[i]), b[i], sum);
    }
    sum
}

/// `to (+)= scale · Σ rows · columns` over the pairs of `parts`, all of which have the same rows. A row has the same bits however
/// many rows there are.
pub fn multiply(parts: &[(&Rows<'_>, Columns<'_>)], to: To<'_>) {
    let Some((first, _)) = parts.first() else { return };
    let rows = first.dims.0;
    if rows == 0 || to.columns == 0 {
        return;
    }
    if parts.iter().all(|(rows, _)| rows.dims.1 == 0) && !to.add {
        return to.numbers.chunks_mut(to.stride).take(rows).for_each(|row| row[..to.columns].fill(0.0));
    }
    match first.high {
        0 => plainly(parts, to),
        _ => first.isa.run(Multiply { parts, rows, to }),
    }
}

/// By the library.
fn plainly(parts: &[(&Rows<'_>, Columns<'_>)], to: To<'_>) {
    let mut add = to.add;
    for (rows, columns) in parts {
        let Columns::InPlace(columns) = *columns else { unreachable!("this set has no panels") };
        let (m, k) = rows.dims;
        gemm::multiply((m, to.columns, k), (to.numbers, to.stride), rows.from, columns, (add, to.scale));
        add = true;
    }
}

struct Multiply<'a, 'b> {
    parts: &'a [(&'a Rows<'b>, Columns<'a>)],
    rows: usize,
    to: To<'a>,
}

impl Kernel for Multiply<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, set: S) {
        let laid = |(_, columns): &(_, Columns<'_>)| matches!(columns, Columns::Laid(panels) if panels.wide > LANES);
        match (self.parts[0].0.high, self.to.columns > LANES || self.parts.iter().any(laid)) {
            (14, true) => self.with::<S, 14, 2, 32>(set),
            (14, false) => self.with::<S, 14, 1, 16>(set),
            (8, true) => self.with::<S, 8, 2, 32>(set),
            (8, false) => self.with::<S, 8, 1, 16>(set),
            _ => self.with::<S, 6, 1, 16>(set),
        }
    }
}

/// A part and some of its terms.
type Piece = (usize, Range<usize>);

impl Multiply<'_, '_> {
    /// In tiles of M rows and of P columns, which are N registers.
    #[inline(always)]
    fn with<S: Lanes, const M: usize, const N: usize, const P: usize>(mut self, set: S) {
        let mut panels = Room::new((DEPTH + SHORT) * P + LINE);
        let begin = panels.as_ptr().align_offset(LINE);
        let panel = &mut panels[begin..];
        let terms = |part: usize| self.parts.get(part).map_or(0, |(rows, _)| rows.dims.1);
        let (mut part, mut first) = (0, 0);
        while part < self.parts.len() {
            let all = terms(part);
            let piece = (part, first..all.min(first + DEPTH));
            first = piece.1.end;
            let mut joined = (part, 0..0);
            if first == all {
                (part, first) = (part + 1, 0);
                if terms(part) <= SHORT {
                    joined = (part.min(self.parts.len() - 1), 0..terms(part));
                    part += 1;
                }
            }
            self.pieces::<S, M, N, P>(set, [piece, joined], panel);
            self.to.add = true;
        }
    }

    /// What some terms of each sum give.
    #[inline(always)]
    fn pieces<S: Lanes, const M: usize, const N: usize, const P: usize>(
        &mut self,
        set: S,
        [(p, first), (q, second)]: [Piece; 2],
        panel: &mut [f32],
    ) {
        let ((a, b), (c, d)) = (&self.parts[p], &self.parts[q]);
        let (a, c) = (a.piece::<M>(&first), c.piece::<M>(&second));
        let (one, two) = panel.split_at_mut(first.len() * P);
        for column in (0..self.to.columns).step_by(P) {
            let left = self.to.columns - column;
            let one = b.panel::<S, P>(set, one, &first, (column, left));
            let two = d.panel::<S, P>(set, two, &second, (column, left));
            for row in (0..self.rows).step_by(M) {
                let tile = row / M;
                let a = &a[tile * first.len()..][..first.len()];
                let c = &c[tile * second.len()..][..second.len()];
                let to = Tile {
                    y: &mut self.to.numbers[row * self.to.stride + column..],
                    stride: self.to.stride,
                    rows: M.min(self.rows - row),
                    columns: P.min(left),
                    adding: (self.to.add, self.to.scale),
                };
                let terms = [(a, one), (c, two)];
                match to.rows {
                    1 => to.sum::<S, M, N, P, 1>(set, terms),
                    2 => to.sum::<S, M, N, P, 2>(set, terms),
                    3 | 4 => to.sum::<S, M, N, P, 4>(set, terms),
                    5..=8 if M > 8 => to.sum::<S, M, N, P, 8>(set, terms),
                    _ => to.sum::<S, M, N, P, M>(set, terms),
                }
            }
        }
    }
}

impl Columns<'_> {
    /// Some terms of the panel that begins with a column and has so many `left`; laid out in `room` if it was not before.
    #[inline(always)]
    fn panel<'a, S: Lanes, const P: usize>(
        &'a self,
        set: S,
        room: &'a mut [f32],
        terms: &Range<usize>,
        (column, left): (usize, usize),
    ) -> &'a [[f32; P]] {
        match self {
            Columns::Laid(panels) => panels.piece(terms, column),
            Columns::InPlace(_) if terms.is_empty() => &[],
            Columns::InPlace(from) => {
                lay_out::<S, P>(set, room, terms.len(), from.from(column, terms.start), left);
                &room.as_chunks().0[..terms.len()]
            }
        }
    }
}

impl<'a> Operand<'a> {
    /// Of a matrix whose rows, of `terms` numbers each, are what is summed over.
    pub fn rows(numbers: &'a [f32], terms: usize) -> Self {
        Operand { numbers, across: terms, along: 1 }
    }

    /// Of a matrix whose columns, of which there are so many, are what is summed over.
    pub fn columns(numbers: &'a [f32], columns: usize) -> Self {
        Operand { numbers, across: 1, along: columns }
    }

    /// Without the first rows or columns and the first terms.
    #[inline(always)]
    pub fn from(self, first: usize, term: usize) -> Self {
        Operand { numbers: &self.numbers[first * self.across + term * self.along..], ..self }
    }
}

/// Lays out some terms of up to P rows or columns of an operand side by side, term by term. What is missing
/// becomes a number of the operand, or zero.
#[inline(always)]
fn lay_out<S: Lanes, const P: usize>(set: S, to: &mut [f32], terms: usize, from: Operand<'_>, left: usize) {
    let Operand { numbers, across, along } = from;
    let count = left.min(P);
    assert!(terms == 0 || (count - 1) * across + (terms - 1) * along < numbers.len(), "product: operand too short");
    if across > 1 {
        return turn::<S, P>(set, to, terms, from, count);
    }
    for (term, to) in to.chunks_exact_mut(P).enumerate().take(terms) {
        let numbers = &numbers[term * along..];
        match numbers.first_chunk::<P>() {
            Some(all) if count == P => to.copy_from_slice(all),
            _ => {
                to[..count].copy_from_slice(&numbers[..count]);
                to[count..].fill(0.0);
            }
        }
    }
}

/// [`lay_out`] of an operand whose terms lie side by side.
#[inline(always)]
fn turn<S: Lanes, const P: usize>(set: S, to: &mut [f32], terms: usize, from: Operand<'_>, count: usize) {
    let Operand { numbers, across, along } = from;
    let whole = if along == 1 { terms / LANES * LANES } else { 0 };
    for term in (0..whole).step_by(LANES) {
        for first in (0..P).step_by(LANES) {
            let mut square = [set.splat(0.0); LANES];
            for (i, row) in square.iter_mut().enumerate().take(P - first) {
                // Of a row that is missing the last one is taken, to be thrown away with its sums.
                let i = (first + i).min(count - 1);
                if let Some(line) = numbers[i * across + term..].first_chunk() {
                    *row = set.floats(line);
                }
            }
            let to = &mut to[term * P..][..LANES * P];
            for (to, row) in to.chunks_exact_mut(P).zip(set.transpose(square)) {
                if P < LANES {
                    to.copy_from_slice(&set.array(row)[..P]);
                } else {
                    to[first..first + LANES].copy_from_slice(&set.array(row));
                }
            }
        }
    }
    for (term, to) in to.chunks_exact_mut(P).enumerate().take(terms).skip(whole) {
        for (i, to) in to.iter_mut().enumerate() {
            *to = numbers[i.min(count - 1) * across + term * along];
        }
    }
}

/// Where the sums of a tile go.
struct Tile<'a> {
    y: &'a mut [f32],
    stride: usize,
    rows: usize,
    columns: usize,
    adding: (bool, f32),
}

/// Some terms of the rows of a tile, and of its columns.
type Terms<'a, const M: usize, const P: usize> = (&'a [[f32; M]], &'a [[f32; P]]);

impl Tile<'_> {
    /// Sums of R rows, which are all that the tile has.
    #[inline(always)]
    fn sum<S: Lanes, const M: usize, const N: usize, const P: usize, const R: usize>(
        self,
        set: S,
        terms: [Terms<'_, M, P>; 2],
    ) {
        for row in 0..self.rows {
            set.fetch(&self.y[row * self.stride]);
            set.fetch(&self.y[row * self.stride + self.columns - 1]);
        }
        let mut sums = [[set.splat(0.0); N]; R];
        for (rows, columns) in terms {
            for (x, columns) in rows.iter().zip(columns) {
                step(set, x, columns, &mut sums);
            }
        }
        self.put(set, sums);
    }

    #[inline(always)]
    fn put<S: Lanes, const N: usize, const R: usize>(self, set: S, sums: [[S::V; N]; R]) {
        let (add, scale) = (self.adding.0, set.splat(self.adding.1));
        for (row, sums) in sums.into_iter().enumerate().take(self.rows) {
            let y = &mut self.y[row * self.stride..][..self.columns];
            for (y, sum) in y.chunks_mut(LANES).zip(sums) {
                let mut before = [0.0; LANES];
                match <&mut [f32; LANES]>::try_from(&mut *y) {
                    Ok(y) if add => *y = set.array(set.fma(scale, sum, set.floats(y))),
                    Ok(y) => *y = set.array(set.mul(scale, sum)),
                    Err(_) => {
                        before[..y.len()].copy_from_slice(y);
                        let sum = if add { set.fma(scale, sum, set.floats(&before)) } else { set.mul(scale, sum) };
                        y.copy_from_slice(&set.array(sum)[..y.len()]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    fn random(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed, "numbers");
        (0..n).map(|_| rng.normal()).collect()
    }

    /// Numbers of an operand of so many sums, with its terms side by side or its sums, and gaps.
    fn operand(numbers: &[f32], (sums, terms): (usize, usize), by_sum: bool, gap: usize) -> Operand<'_> {
        match by_sum {
            true => Operand { numbers, across: terms + gap, along: 1 },
            false => Operand { numbers, across: 1, along: sums + gap },
        }
    }

    /// How a right operand is laid out.
    #[derive(Clone, Copy)]
    enum Laid {
        InPlace,
        Before,
        Read,
    }

    /// Panels of an operand that is read row by row.
    fn read(isa: Isa, dims: (usize, usize), from: Operand<'_>) -> Option<Panels> {
        let (between, width) = if from.along == 1 { (from.across, dims.1) } else { (from.along, dims.0) };
        let rows = |rows: Range<usize>, to: &mut [f32]| {
            assert_eq!(to.len(), rows.len() * width);
            rows.zip(to.chunks_mut(width))
                .for_each(|(i, to)| to.copy_from_slice(&from.numbers[i * between..][..width]));
        };
        if from.along == 1 { Panels::of_rows(isa, dims, rows) } else { Panels::of_columns(isa, dims, rows) }
    }

    fn at(operand: &Operand<'_>, sum: usize, term: usize) -> f64 {
        f64::from(operand.numbers[sum * operand.across + term * operand.along])
    }

    proptest! {
        /// Every set, tails of all lengths, operands that lie either way with gaps, one part or two, pieces, and panels.
        #[test]
        fn every_set_gives_the_product_and_a_row_has_the_same_bits_alone(
            (m, n, k, extra, gap) in (1usize..40, 1usize..70, prop_oneof![1usize..40, 570usize..600, 1150usize..1160], prop_oneof![0usize..20, 60usize..70, 570usize..700], 0usize..3),
            (left, right, add) in any::<(bool, bool, bool)>(),
        ) {
            // No operand is so short that none of its sums has a place.
            let numbers = |sums: usize, terms: usize, seed| random((sums + gap) * (terms + gap) + sums, seed);
            let (a, b, c, d) = (numbers(m, k, 1), numbers(n, k, 2), numbers(m, extra, 3), numbers(n, extra, 4));
            let (a, b) = (operand(&a, (m, k), left, gap), operand(&b, (n, k), right, gap));
            let (c, d) = (operand(&c, (m, extra), left, gap), operand(&d, (n, extra), !right, gap));
            Room::new(1 << 17).fill(f32::NAN);
            for isa in Isa::all() {
                let run = |first: usize, rows: usize, laid: Laid| {
                    let (x, z) = (a.from(first, 0), c.from(first, 0));
                    let (x, z) = (Rows::new(isa, (rows, k), x), Rows::new(isa, (rows, extra), z));
                    let panels = match laid {
                        Laid::InPlace => None,
                        Laid::Before => Panels::new(isa, (n, k), b),
                        Laid::Read => read(isa, (n, k), b),
                    };
                    let mut parts = vec![(&x, panels.as_ref().map_or(Columns::InPlace(b), Columns::Laid))];
                    parts.extend((extra > 0).then_some((&z, Columns::InPlace(d))));
                    let mut y = vec![1.0; rows * (n + gap)];
                    let to = To { numbers: &mut y, stride: n + gap, columns: n, add, scale: 0.5 };
                    multiply(&parts, to);
                    y
                };
                let got = run(0, m, Laid::InPlace);
                prop_assert_eq!(&got, &run(0, m, Laid::Before), "{}: panels change it", isa.name());
                prop_assert_eq!(&got, &run(0, m, Laid::Read), "{}: panels that are read change it", isa.name());
                for (i, row) in got.chunks_exact(n + gap).enumerate() {
                    let (row, behind) = row.split_at(n);
                    prop_assert!(behind.iter().all(|x| *x == 1.0), "{} writes between rows", isa.name());
                    for (j, got) in row.iter().enumerate() {
                        let sum = |a: &Operand<'_>, b: &Operand<'_>, k| (0..k).map(|t| at(a, i, t) * at(b, j, t)).sum::<f64>();
                        let want = f64::from(u8::from(add)) + 0.5 * (sum(&a, &b, k) + sum(&c, &d, extra));
                        prop_assert!((f64::from(*got) - want).abs() < 2e-4, "{}: {got} for {want}", isa.name());
                    }
                }
                for row in [0, m / 2, m - 1] {
                    let alone = run(row, 1, Laid::InPlace);
                    prop_assert_eq!(&got[row * (n + gap)..][..n + gap], &alone[..], "{}: alone it differs", isa.name());
                }
            }
        }

        /// Against the product of the transposed rows.
        #[test]
        fn every_set_adds_the_product_of_transposed_rows((m, n, k) in (1usize..40, 1usize..40, prop_oneof![1usize..40, 570usize..600])) {
            let (a, b) = (random(m * k, 1), random(m * n, 2));
            Room::new(1 << 17).fill(f32::NAN);
            for isa in Isa::all() {
                let mut got = vec![1.0; k * n];
                Rows::new(isa, (m, k), Operand::rows(&a, k)).add_transposed(&b, n, &mut got);
                for (at, got) in got.iter().enumerate() {
                    let want: f64 = (0..m).map(|i| f64::from(a[i * k + at / n]) * f64::from(b[i * n + at % n])).sum();
                    prop_assert!((f64::from(*got) - 1.0 - want).abs() < 2e-4, "{}: {got} for {want}", isa.name());
                }
            }
        }
    }

    #[test]
    fn terms_of_zero_at_the_end_change_no_bit() {
        let (m, n) = (5, 40);
        let (a, b) = (random(m * 256, 1), random(n * 1024, 2));
        let run = |isa: Isa, k: usize| {
            let padded: Vec<f32> =
                a.chunks(256).flat_map(|row| (0..k).map(|t| row.get(t).copied().unwrap_or(0.0))).collect();
            let (rows, mut y) = (Rows::new(isa, (m, k), Operand::rows(&padded, k)), vec![0.0; m * n]);
            let to = To { numbers: &mut y, stride: n, columns: n, add: false, scale: 1.0 };
            multiply(&[(&rows, Columns::InPlace(Operand { numbers: &b, across: 1024, along: 1 }))], to);
            y
        };
        for isa in Isa::all().into_iter().filter(|isa| isa.name() != "portable") {
            assert!(run(isa, 256) == run(isa, 300) && run(isa, 256) == run(isa, 1024), "{}", isa.name());
        }
    }

    #[test]
    fn no_terms_give_zero_unless_sums_are_added() {
        let rows = Rows::new(Isa::best(), (2, 0), Operand::rows(&[], 0));
        let run = |add: bool| {
            let mut y = vec![1.0; 6];
            let to = To { numbers: &mut y, stride: 3, columns: 2, add, scale: 1.0 };
            multiply(&[(&rows, Columns::InPlace(Operand::rows(&[], 0)))], to);
            y
        };
        assert_eq!((run(false), run(true)), (vec![0.0, 0.0, 1.0, 0.0, 0.0, 1.0], vec![1.0; 6]));
    }
}
