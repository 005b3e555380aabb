//! The output layer: logits of chosen rows, and the cross-entropy fused with them so that the logits of a whole batch
//! never exist at once.

use super::{
    linear::Weight,
    math::{self, RmsNorm, tn},
};

/// Rows whose logits are made at a time.
pub(crate) const CHUNK: usize = 256;

/// The last norm and the output layer.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// Gain of the last norm, `[hidden]`.
    pub norm: &'a [f32],
    /// `[vocab, hidden]`.
    pub weight: Weight<'a>,
    /// Tokens.
    pub vocab: usize,
    /// How it is computed.
    pub rms: RmsNorm,
}

/// What a cross-entropy gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loss {
    /// Σ weight · −log p(target).
    pub sum: f64,
    /// For each target in order, whether it was the most likely token.
    pub greedy: Vec<bool>,
    /// For each target in order, log p(target).
    pub log_p: Vec<f32>,
}

/// Where the gradients of the cross-entropy go.
pub struct HeadGrads<'a> {
    /// `[rows, hidden]`, added to.
    pub dx: &'a mut [f32],
    /// `[hidden]`, added to, when the norm is trained.
    pub dnorm: Option<&'a mut [f32]>,
    /// `[vocab, hidden]`, added to, when the output layer is trained.
    pub dweight: Option<&'a mut [f32]>,
}

impl Head<'_> {
    /// Logits of the rows of `x`, `[rows, vocab]`.
    pub fn logits(&self, x: &[f32], out: &mut Vec<f32>) {
        let (rows, hidden) = (x.len() / self.norm.len(), self.norm.len());
        let normed = self.normed(x);
        out.resize(rows * self.vocab, 0.0);
        self.weight.forward((rows, self.vocab, hidden), out, &normed);
    }

    /// The same for rows that are each a step of a generation: on all threads, straight from how the weight is stored, and with
    /// the same bits whatever rows come with a row.
    pub fn next(&self, x: &[f32], out: &mut Vec<f32>) {
        let rows = x.len() / self.norm.len();
        out.resize(rows * self.vocab, 0.0);
        self.weight.step(rows, out, &self.normed(x), (false, 1.0));
    }

    fn normed(&self, x: &[f32]) -> Vec<f32> {
        let (mut normed, mut inverse) = (vec![0.0; x.len()], vec![0.0; x.len() / self.norm.len()]);
        self.rms.forward(x, self.norm, &mut normed, &mut inverse);
        normed
    }

    /// For each group of rows of `x` and tokens that may follow: the log-probability of each token, and whether it is the
    /// most likely one. The logits of a row are made once, and are the same whatever rows come with it.
    pub fn score(&self, x: &[f32], groups: &[(usize, &[u32])]) -> Vec<(f32, bool)> {
        let hidden = self.norm.len();
        let mut rows = Vec::with_capacity(groups.len() * hidden);
        groups.iter().for_each(|(row, _)| rows.extend_from_slice(&x[row * hidden..(row + 1) * hidden]));
        let mut logits = Vec::new();
        self.logits(&rows, &mut logits);
        let mut scores = Vec::new();
        for (row, (_, tokens)) in logits.chunks_exact_mut(self.vocab).zip(groups) {
            let (lse, best) = math::log_sum_exp(row, None);
            scores.extend(tokens.iter().map(|&token| (row[token as usize] - lse, best == token as usize)));
        }
        scores
    }

    /// The weighted cross-entropy of `targets` — `(row of x, token, weight)` — and, where asked, its gradients.
    pub fn cross_entropy(&self, x: &[f32], targets: &[(usize, u32, f32)], mut grads: Option<HeadGrads>) -> Loss {
        let (hidden, vocab) = (self.norm.len(), self.vocab);
        let mut loss = Loss::default();
        let mut s = Scratch::default();
        for chunk in targets.chunks(CHUNK) {
            let n = chunk.len();
            s.x.clear();
            chunk.iter().for_each(|(row, ..)| s.x.extend_from_slice(&x[row * hidden..(row + 1) * hidden]));
            s.normed.resize(n * hidden, 0.0);
            s.inverse.resize(n, 0.0);
            s.logits.resize(n * vocab, 0.0);
            self.rms.forward(&s.x, self.norm, &mut s.normed, &mut s.inverse);
            self.weight.forward((n, vocab, hidden), &mut s.logits, &s.normed);
            for (row, &(_, token, weight)) in s.logits.chunks_exact_mut(vocab).zip(chunk) {
                let token = token as usize;
                let logit = row[token];
                let (lse, best) = math::log_sum_exp(row, grads.is_some().then_some(weight));
                loss.sum += f64::from(weight) * f64::from(lse - logit);
                loss.log_p.push(logit - lse);
                loss.greedy.push(best == token);
                if grads.is_some() {
                    row[token] -= weight;
                }
            }
            if let Some(grads) = &mut grads {
                self.chunk_backward(chunk, &mut s, grads);
            }
        }
        loss
    }

    /// `s.logits` holds the gradient of the logits.
    fn chunk_backward(&self, chunk: &[(usize, u32, f32)], s: &mut Scratch, grads: &mut HeadGrads) {
        let (n, hidden, vocab) = (chunk.len(), self.norm.len(), self.vocab);
        s.dnormed.resize(n * hidden, 0.0);
        self.weight.backward((n, vocab, hidden), &mut s.dnormed, &s.logits, false);
        if let Some(dweight) = &mut grads.dweight {
            tn((vocab, hidden, n), dweight, &s.logits, &s.normed, true, 1.0);
        }
        s.dx.clear();
        s.dx.resize(n * hidden, 0.0);
        let dnorm = grads.dnorm.as_deref_mut();
        self.rms.backward(&s.x, self.norm, &s.inverse, &s.dnormed, &mut s.dx, dnorm);
        for (&(row, ..), dx) in chunk.iter().zip(s.dx.chunks_exact(hidden)) {
            for (to, from) in grads.dx[row * hidden..(row + 1) * hidden].iter_mut().zip(dx) {
                *to += from;
            }
        }
    }
}

#[derive(Default)]
struct Scratch {
    x: Vec<f32>,
    normed: Vec<f32>,
    inverse: Vec<f32>,
    logits: Vec<f32>,
    dnormed: Vec<f32>,
    dx: Vec<f32>,
}
