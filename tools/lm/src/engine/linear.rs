//! A linear layer with its adapter: forward, and a backward written by hand.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    dropout::Dropout,
    math::{self, nn, nt, product, tn},
    params::{LayerSlots, LinearSlot, LoraSlot},
};
use crate::{
    kernels::{
        Isa, few,
        product::{Columns, Operand, Panels, Rows, To, multiply},
        room::Room,
    },
    matrix::{Matrix, Stored},
};

/// Rows that are decoded at a time where a weight is not f32.
const TILE: usize = 256;

/// A weight `[out, in]`: f32, or as it is stored.
#[derive(Clone, Copy)]
pub enum Weight<'a> {
    /// Plain numbers.
    Plain(&'a [f32]),
    /// Decoded part by part.
    Stored(&'a Matrix),
}

impl<'a> From<&'a Matrix> for Weight<'a> {
    fn from(matrix: &'a Matrix) -> Self {
        matrix.plain().map_or(Weight::Stored(matrix), Weight::Plain)
    }
}

impl<'a> Weight<'a> {
    /// `y = x Wᵀ`, with W `[out, in]` and y `[rows, out]`.
    pub fn forward(self, (rows, out, inp): (usize, usize, usize), y: &mut [f32], x: &[f32]) {
        self.times(&laid_out(rows, x), (None, None), (out, inp), y, false);
    }

    /// `y (+)= x Wᵀ + l Bᵀ` in one pass over y, with W laid out if it was, and `[out, r]` numbers of B.
    fn times(
        self,
        x: &Rows<'_>,
        (panels, more): (Option<&Panels>, Beside<'_>),
        (out, inp): (usize, usize),
        y: &mut [f32],
        add: bool,
    ) {
        if y.is_empty() {
            return;
        }
        let mut part = |first: usize, columns: usize, w: Columns<'_>| {
            let to = To { numbers: &mut y[first..], stride: out, columns, add, scale: 1.0 };
            match more {
                None => multiply(&[(x, w)], to),
                Some((low, b, r)) => {
                    multiply(&[(x, w), (low, Columns::InPlace(Operand::rows(&b[first * r..], r)))], to);
                }
            }
        };
        match (self, panels) {
            (_, Some(panels)) => part(0, out, Columns::Laid(panels)),
            (Weight::Plain(w), None) => part(0, out, Columns::InPlace(Operand::rows(w, inp))),
            (Weight::Stored(matrix), None) => {
                self.tiles(matrix, inp, |first, n, w| part(first, n, Columns::InPlace(Operand::rows(w, inp))));
            }
        }
    }

    /// The same for the rows of a step, straight from how the weight is stored, on all threads: a row has the same bits
    /// whatever rows come with it.
    pub fn step(self, rows: usize, y: &mut [f32], x: &[f32], adding: (bool, f32)) {
        few::multiply(Isa::best(), (rows, x), &mut [self.product(y)], adding);
    }

    /// The weight as it is stored, and where its products go.
    fn product<'b>(self, y: &'b mut [f32]) -> few::Product<'b>
    where
        'a: 'b,
    {
        let (stored, w) = match self {
            Weight::Plain(w) => (Stored::F32, bytemuck::cast_slice(w)),
            Weight::Stored(matrix) => matrix.raw(),
        };
        few::Product { stored, w, y }
    }

    /// `dx (+)= dy W`.
    pub fn backward(self, (rows, out, inp): (usize, usize, usize), dx: &mut [f32], dy: &[f32], add: bool) {
        let mut part = |first: usize, n: usize, w: &[f32]| {
            let dy = Operand::rows(&dy[first..], out);
            product((rows, inp, n), (&mut *dx, inp), dy, Operand::columns(w, inp), (add || first > 0, 1.0));
        };
        match self {
            Weight::Plain(w) => part(0, out, w),
            Weight::Stored(matrix) => self.tiles(matrix, inp, part),
        }
    }

    /// `dx (+)= dy W + dl A`, in one pass over dx where W is plain or laid out, with `[r, in]` numbers of A. `laid` is `dy` laid
    /// out.
    fn back(
        self,
        (laid, dy): (&Rows<'_>, &[f32]),
        (panels, more): (Option<&Panels>, Option<(&Rows<'_>, &[f32])>),
        (rows, out, inp): (usize, usize, usize),
        (dx, add): (&mut [f32], bool),
    ) {
        let (mut parts, mut done) = (Vec::with_capacity(2), false);
        match (self, panels) {
            (_, Some(panels)) => parts.push((laid, Columns::Laid(panels))),
            (Weight::Plain(w), None) => parts.push((laid, Columns::InPlace(Operand::columns(w, inp)))),
            (Weight::Stored(_), None) => {
                self.backward((rows, out, inp), dx, dy, add);
                done = true;
            }
        }
        parts.extend(more.map(|(dlow, a)| (dlow, Columns::InPlace(Operand::columns(a, inp)))));
        multiply(&parts, To { numbers: dx, stride: inp, columns: inp, add: add || done, scale: 1.0 });
    }

    /// Calls `f` with the first row, the number of rows and the numbers of each part.
    fn tiles(self, matrix: &Matrix, inp: usize, mut f: impl FnMut(usize, usize, &[f32])) {
        matrix.parts(TILE * inp, |range, w| f(range.start / inp, range.len() / inp, w));
    }

    /// Calls `f` with the first row and the numbers of each part, whatever it is.
    fn parts(self, inp: usize, mut f: impl FnMut(usize, &[f32])) {
        match self {
            Weight::Plain(w) => w.chunks(TILE * inp).enumerate().for_each(|(i, w)| f(i * TILE, w)),
            Weight::Stored(matrix) => self.tiles(matrix, inp, |first, _, w| f(first, w)),
        }
    }
}

/// `x Aᵀ` of an adapter, laid out, with `[out, r]` numbers of B, and the rank.
type Beside<'a> = Option<(&'a Rows<'a>, &'a [f32], usize)>;

/// So many rows.
fn laid_out(rows: usize, x: &[f32]) -> Rows<'_> {
    let terms = x.len() / rows.max(1);
    Rows::new(Isa::best(), (rows, terms), Operand::rows(x, terms))
}

/// A linear layer `y = x Wᵀ + b + s (x Aᵀ) Bᵀ`; with DoRA `y = g · (x Wᵀ + s (x Aᵀ) Bᵀ) + b`.
pub struct Linear<'a> {
    /// `[out, in]`.
    pub weight: Weight<'a>,
    /// `[out]`.
    pub bias: Option<&'a [f32]>,
    /// Rows of the weight.
    pub out: usize,
    /// Columns of the weight.
    pub inp: usize,
    /// The adapter.
    pub lora: Option<Lora<'a>>,
    /// Whether its rows are those of a step of generation, see [`Weight::step`].
    pub steps: bool,
    /// The weight laid out for the pass that is done: its rows for [`Linear::forward`], its columns for [`Linear::backward`].
    pub panels: Option<&'a Panels>,
}

/// Which pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the input to the output.
    Forward,
    /// The gradient.
    Backward,
}

/// A weight that is ready for a pass of many shards.
pub enum Laid {
    /// As it was.
    Not,
    /// Laid out.
    Panels(Panels),
    /// Decoded, where panels are of no use.
    Numbers(Room),
}

/// An adapter in place.
pub struct Lora<'a> {
    a: &'a [f32],
    b: &'a [f32],
    r: usize,
    scaling: f32,
    /// DoRA's magnitude over the norm of each row of `W + s B A`, `[out]`, and that norm. The norm is not differentiated.
    dora: Option<(Vec<f32>, &'a [f32])>,
}

/// What the backward pass needs of a linear layer's forward pass.
#[derive(Debug, Default)]
pub struct Kept {
    /// `s x Aᵀ`, `[rows, r]`.
    low: Vec<f32>,
    /// With DoRA what the magnitude multiplies, `[rows, out]`.
    before: Vec<f32>,
}

impl<'a> Lora<'a> {
    /// The adapter that `slot` finds in `theta`; `norms` are those of [`row_norms`], with DoRA.
    pub fn new(slot: &LoraSlot, theta: &'a [f32], norms: &'a [f32]) -> Self {
        let dora = slot.magnitude.clone().map(|range| {
            let gain = theta[range].iter().zip(norms).map(|(magnitude, norm)| magnitude / norm).collect();
            (gain, norms)
        });
        Lora { a: &theta[slot.a.clone()], b: &theta[slot.b.clone()], r: slot.r, scaling: slot.scaling, dora }
    }
}

/// The norm of each row of `W + s B A` where `slot` has DoRA, else nothing.
pub fn row_norms(slot: &LinearSlot, weight: Weight<'_>, (out, inp): (usize, usize), theta: &[f32]) -> Vec<f32> {
    let Some(LoraSlot { a, b, magnitude: Some(_), r, scaling }) = &slot.lora else { return Vec::new() };
    let (mut norms, mut changed) = (vec![0.0; out], Vec::new());
    weight.parts(inp, |first, w| {
        let rows = w.len() / inp;
        changed.clear();
        changed.extend_from_slice(w);
        nn(
            (rows, inp, *r),
            &mut changed,
            &theta[b.clone()][first * r..][..rows * r],
            &theta[a.clone()],
            true,
            *scaling,
        );
        norms[first..].iter_mut().zip(changed.chunks_exact(inp)).for_each(|(norm, row)| *norm = math::norm(row));
    });
    norms
}

impl<'a> Linear<'a> {
    /// Its weight made ready for a pass of many shards. One that is stored is left as it is unless it may be decoded whole.
    pub fn lay_out(&self, way: Way, decode: bool) -> Laid {
        let (isa, inp) = (Isa::best(), self.inp);
        let (forward, backward) = ((self.out, inp), (inp, self.out));
        let read =
            |matrix: &Matrix, rows: Range<usize>, to: &mut [f32]| matrix.read(rows.start * inp..rows.end * inp, to);
        let panels = match (self.weight, way) {
            (Weight::Stored(_), _) if !decode => return Laid::Not,
            (Weight::Plain(w), Way::Forward) => Panels::together(isa, forward, Operand::rows(w, inp)),
            (Weight::Plain(w), Way::Backward) => Panels::together(isa, backward, Operand::columns(w, inp)),
            (Weight::Stored(w), Way::Forward) => Panels::of_rows(isa, forward, |rows, to| read(w, rows, to)),
            (Weight::Stored(w), Way::Backward) => Panels::of_columns(isa, backward, |rows, to| read(w, rows, to)),
        };
        match (panels, self.weight) {
            (Some(panels), _) => Laid::Panels(panels),
            (None, Weight::Plain(_)) => Laid::Not,
            (None, Weight::Stored(w)) => {
                let mut numbers = Room::new(self.out * inp);
                let parts = numbers.par_chunks_mut(TILE * inp).enumerate();
                parts.for_each(|(i, to)| read(w, i * TILE..i * TILE + to.len() / inp, to));
                Laid::Numbers(numbers)
            }
        }
    }

    /// The same layer with what [`Linear::lay_out`] gave for the pass that is done.
    pub fn with(&mut self, laid: &'a Laid) {
        match laid {
            Laid::Not => {}
            Laid::Panels(panels) => self.panels = Some(panels),
            Laid::Numbers(numbers) => self.weight = Weight::Plain(numbers),
        }
    }

    /// `y = forward(x)`.
    pub fn forward(&self, rows: usize, x: &[f32], y: &mut Vec<f32>, kept: &mut Kept, dropout: Dropout<'_>) {
        Self::together([self], (rows, x), [(y, kept, dropout)]);
    }

    /// [`Linear::forward`] of several layers with the same input; of steps all at once.
    pub fn together<const N: usize>(
        linears: [&Linear<'_>; N],
        (rows, x): (usize, &[f32]),
        mut to: [(&mut Vec<f32>, &mut Kept, Dropout<'_>); N],
    ) {
        for (linear, (y, ..)) in linears.iter().zip(&mut to) {
            y.resize(rows * linear.out, 0.0);
        }
        if linears.iter().all(|linear| linear.steps) {
            let each = linears.iter().zip(&mut to);
            let mut products: Vec<_> = each.map(|(linear, (y, ..))| linear.weight.product(y)).collect();
            few::multiply(Isa::best(), (rows, x), &mut products, (false, 1.0));
            for (linear, (y, kept, dropout)) in linears.into_iter().zip(to) {
                linear.add_rest(rows, x, y, kept, &dropout);
            }
        } else {
            let laid = laid_out(rows, x);
            for (linear, (y, kept, dropout)) in linears.into_iter().zip(to) {
                linear.apply((rows, x, &laid), y, false, kept, &dropout);
            }
        }
    }

    /// `y += forward(x)`.
    pub fn accumulate(&self, rows: usize, x: &[f32], y: &mut [f32], kept: &mut Kept, dropout: Dropout<'_>) {
        if self.lora.as_ref().is_some_and(|lora| lora.dora.is_some()) {
            let mut part = Vec::new();
            self.forward(rows, x, &mut part, kept, dropout);
            add(y, &part);
        } else if self.steps {
            self.weight.step(rows, y, x, (true, 1.0));
            self.add_rest(rows, x, y, kept, &dropout);
        } else {
            self.apply((rows, x, &laid_out(rows, x)), y, true, kept, &dropout);
        }
    }

    /// `y (+)= forward(x)` of rows that are laid out; not added with DoRA.
    fn apply(
        &self,
        (rows, x, laid): (usize, &[f32], &Rows<'_>),
        y: &mut [f32],
        add: bool,
        kept: &mut Kept,
        dropout: &Dropout<'_>,
    ) {
        match self.lora.as_ref().filter(|lora| lora.dora.is_none()) {
            None => {
                self.weight.times(laid, (self.panels, None), (self.out, self.inp), y, add);
                self.add_rest(rows, x, y, kept, dropout);
            }
            Some(lora) => {
                let low = room(&mut kept.low, rows * lora.r);
                match dropout.apply(x, self.inp) {
                    Some(x) => nt((rows, lora.r, self.inp), low, &x, lora.a, false, lora.scaling),
                    None => {
                        let to = To { numbers: low, stride: lora.r, columns: lora.r, add: false, scale: lora.scaling };
                        multiply(&[(laid, Columns::InPlace(Operand::rows(lora.a, self.inp)))], to);
                    }
                }
                let low = laid_out(rows, &kept.low);
                self.weight.times(laid, (self.panels, Some((&low, lora.b, lora.r))), (self.out, self.inp), y, add);
                self.add_bias(y);
            }
        }
    }

    /// `y = x Wᵀ`.
    fn weigh(&self, rows: usize, y: &mut [f32], x: &[f32]) {
        match self.steps {
            true => self.weight.step(rows, y, x, (false, 1.0)),
            false => self.weight.times(&laid_out(rows, x), (self.panels, None), (self.out, self.inp), y, false),
        }
    }

    /// `y (+)= scale · x mᵀ` with a matrix of the adapter.
    fn adapt(&self, dims: (usize, usize, usize), y: &mut [f32], x: &[f32], m: &[f32], (add, scale): (bool, f32)) {
        match self.steps {
            true => Weight::Plain(m).step(dims.0, y, x, (add, scale)),
            false => nt(dims, y, x, m, add, scale),
        }
    }

    /// Adds the adapter and the bias. With DoRA, `y` holds `x Wᵀ` alone.
    fn add_rest(&self, rows: usize, x: &[f32], y: &mut [f32], kept: &mut Kept, dropout: &Dropout<'_>) {
        if let Some(lora) = &self.lora {
            let dropped = dropout.apply(x, self.inp);
            let x = dropped.as_deref().unwrap_or(x);
            let low = room(&mut kept.low, rows * lora.r);
            self.adapt((rows, lora.r, self.inp), low, x, lora.a, (false, lora.scaling));
            match &lora.dora {
                None => self.adapt((rows, self.out, lora.r), y, &kept.low, lora.b, (true, 1.0)),
                Some((gain, _)) => self.magnify(rows, (lora, gain), dropped.as_deref(), y, kept),
            }
        }
        self.add_bias(y);
    }

    fn add_bias(&self, y: &mut [f32]) {
        if let Some(bias) = self.bias {
            y.chunks_exact_mut(self.out).for_each(|row| add(row, bias));
        }
    }

    /// DoRA: `y += (g − 1) · u + g · z`, where `u` is `x Wᵀ` of the dropped-out `x` and `z` what the adapter adds, as in
    /// PEFT. Without dropout `u` is `y`.
    fn magnify(
        &self,
        rows: usize,
        (lora, gain): (&Lora, &[f32]),
        dropped: Option<&[f32]>,
        y: &mut [f32],
        kept: &mut Kept,
    ) {
        let before = &mut kept.before;
        match dropped {
            None => {
                before.clear();
                before.extend_from_slice(y);
            }
            Some(x) => {
                before.resize(rows * self.out, 0.0);
                self.weigh(rows, before, x);
                y.iter_mut().zip(before.iter()).for_each(|(y, u)| *y -= u);
            }
        }
        self.adapt((rows, self.out, lora.r), before, &kept.low, lora.b, (true, 1.0));
        for (y, before) in y.chunks_exact_mut(self.out).zip(before.chunks_exact(self.out)) {
            for ((y, before), gain) in y.iter_mut().zip(before).zip(gain) {
                *y = if dropped.is_some() { *y } else { 0.0 } + gain * before;
            }
        }
    }

    /// `dx (+)= dy · d(forward)/dx`, and the gradients of what of linear layer `index` is trained and needs no input. Gives
    /// what [`Linear::learn`] takes. A frozen weight costs no gradient.
    pub fn backward(
        &self,
        (rows, index): (usize, usize),
        (kept, dy): (&Kept, &[f32]),
        (dx, add): (&mut [f32], bool),
        grads: &mut Grads,
        dropout: &Dropout<'_>,
    ) -> Low {
        let LinearSlot { bias, lora, .. } = &grads.slots.linears[index];
        if let Some(range) = bias {
            let dbias = &mut grads.dtheta[range.clone()];
            dy.chunks_exact(self.out).for_each(|row| self::add(dbias, row));
        }
        let sizes = (rows, self.out, self.inp);
        let (Some(lora), Some(slot)) = (&self.lora, lora) else {
            match (self.weight, self.panels) {
                (Weight::Stored(_), None) => self.weight.backward(sizes, dx, dy, add),
                (weight, panels) => weight.back((&laid_out(rows, dy), dy), (panels, None), sizes, (dx, add)),
            }
            return Low::default();
        };
        let mut behind = dropout.drops().then(|| vec![0.0; rows * self.inp]);
        let scaled = lora.dora.as_ref().map(|(gain, norms)| {
            let range = slot.magnitude.clone().unwrap_or_default();
            magnitude_gradient(dy, &kept.before, norms, &mut grads.dtheta[range]);
            scale_columns(dy, gain)
        });
        if let (Some(scaled), Some(behind)) = (&scaled, &mut behind) {
            // y = x Wᵀ + (g − 1) · (x' Wᵀ) + …, with x' the dropped-out x.
            self.weight.back((&laid_out(rows, dy), dy), (self.panels, None), sizes, (dx, add));
            let rest: Vec<f32> = scaled.iter().zip(dy).map(|(scaled, dy)| scaled - dy).collect();
            self.weight.back((&laid_out(rows, &rest), &rest), (self.panels, None), sizes, (behind, true));
        }
        let apart = scaled.is_some() && behind.is_some();
        let dy = scaled.as_deref().unwrap_or(dy);
        let (laid, r) = (laid_out(rows, dy), lora.r);
        let mut dlow = Room::new(rows * r);
        let to = To { numbers: &mut dlow, stride: r, columns: r, add: false, scale: lora.scaling };
        multiply(&[(&laid, Columns::InPlace(Operand::columns(lora.b, r)))], to);
        laid.add_transposed(&kept.low, r, &mut grads.dtheta[slot.b.clone()]);
        match behind {
            None => {
                let dlow = laid_out(rows, &dlow);
                self.weight.back((&laid, dy), (self.panels, Some((&dlow, lora.a))), sizes, (dx, add));
            }
            Some(mut behind) => {
                if !apart {
                    self.weight.back((&laid, dy), (self.panels, None), sizes, (dx, add));
                }
                nn((rows, self.inp, r), &mut behind, &dlow, lora.a, true, 1.0);
                dropout.backward(&behind, self.inp, dx);
            }
        }
        Low(dlow)
    }

    /// The gradients of what of linear layer `index` is multiplied with its input `x`.
    pub fn learn(
        &self,
        (rows, index): (usize, usize),
        (x, dy, low): (&[f32], &[f32], &Low),
        grads: &mut Grads,
        dropout: &Dropout<'_>,
    ) {
        let LinearSlot { weight, lora, .. } = &grads.slots.linears[index];
        if let Some(range) = weight {
            tn((self.out, self.inp, rows), &mut grads.dtheta[range.clone()], dy, x, true, 1.0);
        }
        if let Some(slot) = lora {
            let dropped = dropout.apply(x, self.inp);
            let (x, da) = (dropped.as_deref().unwrap_or(x), &mut grads.dtheta[slot.a.clone()]);
            tn((slot.r, self.inp, rows), da, &low.0, x, true, 1.0);
        }
    }
}

/// The gradient of `x Aᵀ`, `[rows, r]`; nothing without an adapter.
#[derive(Default)]
pub struct Low(Room);

/// So many numbers, whatever they are.
fn room(to: &mut Vec<f32>, numbers: usize) -> &mut [f32] {
    to.resize(numbers, 0.0);
    to
}

/// Where gradients of a layer's trained tensors go.
pub struct Grads<'a> {
    /// The flat gradient, laid out by `slots`.
    pub dtheta: &'a mut [f32],
    /// Its layout.
    pub slots: &'a LayerSlots,
}

impl Grads<'_> {
    /// The gradient of norm `i`, where it is trained.
    pub fn norm(&mut self, i: usize) -> Option<&mut [f32]> {
        self.slots.norms[i].clone().map(|range| &mut self.dtheta[range])
    }
}

/// `dm += Σ dy · before / norm`.
fn magnitude_gradient(dy: &[f32], before: &[f32], norms: &[f32], dm: &mut [f32]) {
    let width = norms.len();
    for (dy, before) in dy.chunks_exact(width).zip(before.chunks_exact(width)) {
        for (((dm, dy), before), norm) in dm.iter_mut().zip(dy).zip(before).zip(norms) {
            *dm += dy * before / norm;
        }
    }
}

fn scale_columns(dy: &[f32], gain: &[f32]) -> Vec<f32> {
    dy.chunks_exact(gain.len()).flat_map(|row| row.iter().zip(gain).map(|(dy, gain)| dy * gain)).collect()
}

/// `y += x`.
pub fn add(y: &mut [f32], x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{
        Device, Tensor,
        quantized::{GgmlDType, QTensor},
    };

    use super::Weight;
    use crate::{
        matrix::{Bytes, Matrix, Stored},
        rng::Rng,
        storage::to_bytes,
        weights::Dtype,
    };

    /// A kind, numbers stored in it, and what they are decoded to.
    type Kept = (Stored, Matrix, Vec<f32>);

    fn kept((stored, bytes, decoded): (Stored, Vec<u8>, Vec<f32>)) -> Kept {
        (stored, Matrix::stored(Bytes::Owned(bytes.into()), stored, decoded.len()).unwrap(), decoded)
    }

    /// Numbers stored as floats of every width.
    fn floats(values: &[f32]) -> Vec<Kept> {
        let f16 = |x: &f32| half::f16::from_f32(*x).to_f32();
        let bf16 = |x: &f32| half::bf16::from_f32(*x).to_f32();
        let plain = [
            (Stored::F32, to_bytes(values, Dtype::F32), values.to_vec()),
            (Stored::F16, to_bytes(values, Dtype::F16), values.iter().map(f16).collect()),
            (Stored::BF16, to_bytes(values, Dtype::BF16), values.iter().map(bf16).collect()),
        ];
        plain.into_iter().map(kept).collect()
    }

    /// `[out, in]` numbers stored in every way, with what the library decodes them to.
    fn stored(values: &[f32], (out, inp): (usize, usize)) -> Vec<Kept> {
        let tensor = Tensor::from_slice(values, (out, inp), &Device::Cpu).unwrap();
        let blocks = [(Stored::Q8_0, GgmlDType::Q8_0), (Stored::Q4K, GgmlDType::Q4K), (Stored::Q6K, GgmlDType::Q6K)];
        let blocks = blocks.map(|(stored, dtype)| {
            let quantized = QTensor::quantize(&tensor, dtype).unwrap();
            let decoded = quantized.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            kept((stored, quantized.data().unwrap().into_owned(), decoded))
        });
        blocks.into_iter().chain(floats(values)).collect()
    }

    #[test]
    fn a_stored_weight_computes_what_its_numbers_do() {
        // More rows than one part holds.
        let (rows, out, inp) = (3, 300, 512);
        let mut rng = Rng::new(1, "weights");
        let mut random = |n: usize| (0..n).map(|_| rng.normal()).collect::<Vec<f32>>();
        let (values, x, dy) = (random(out * inp), random(rows * inp), random(rows * out));
        for (kind, matrix, decoded) in stored(&values, (out, inp)) {
            assert!(matrix.floats() == decoded, "{kind:?} is decoded otherwise");
            let run = |weight: Weight<'_>| {
                let (mut y, mut dx) = (vec![1.0; rows * out], vec![1.0; rows * inp]);
                weight.forward((rows, out, inp), &mut y, &x);
                weight.backward((rows, out, inp), &mut dx, &dy, true);
                [y, dx].concat()
            };
            let (got, want) = (run(Weight::Stored(&matrix)), run(Weight::Plain(&decoded)));
            assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-3), "{kind:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_whole_blocks_are_refused() {
        let matrix =
            |bytes: usize, stored, numbers| Matrix::stored(Bytes::Owned(vec![0; bytes].into()), stored, numbers);
        assert_eq!(matrix(143, Stored::Q4K, 256).unwrap_err(), "has 143 bytes, expected 144");
        assert_eq!(matrix(144, Stored::Q4K, 255).unwrap_err(), "has 255 numbers, which are no whole blocks");
    }
}
