//! lm-eval's bootstrap, to the last digit: which rows it draws, and in which order it adds.
//!
//! It resamples in chunks of at most 1,000, each with a generator of its own that is seeded with the chunk's number.
//! A chunk is the unit of work here, too, so that the number of threads does not show in the result.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::eval::python::random::Random;

/// Resamples that share a generator.
const CHUNK: usize = 1000;

/// A number that is computed from rows, and again from rows drawn with replacement.
pub(super) trait Statistic: Sync {
    /// Its value over all rows, once each.
    fn whole(&self) -> f64;

    /// Its values over `count` draws of as many rows as there are.
    fn chunk(&self, random: Random, count: usize) -> Vec<f64>;
}

/// A statistic that depends only on how many rows are in each of some cells.
pub(super) struct Cells {
    /// The cell of each row.
    pub(super) of: Vec<u32>,
    /// The value by counts.
    pub(super) value: Box<dyn Fn(&[u64]) -> f64 + Sync>,
}

impl Cells {
    fn empty(&self) -> Vec<u64> {
        vec![0; self.of.iter().max().map_or(0, |last| *last as usize + 1)]
    }
}

impl Statistic for Cells {
    fn whole(&self) -> f64 {
        let mut counts = self.empty();
        self.of.iter().for_each(|cell| counts[*cell as usize] += 1);
        (self.value)(&counts)
    }

    fn chunk(&self, mut random: Random, count: usize) -> Vec<f64> {
        let mut counts = self.empty();
        let draw = |_| {
            counts.fill(0);
            for _ in 0..self.of.len() {
                counts[self.of[pick(&mut random, self.of.len())] as usize] += 1;
            }
            (self.value)(&counts)
        };
        (0..count).map(draw).collect()
    }
}

/// A statistic that depends only on sums over rows of numbers.
pub(super) struct Sums {
    /// The rows, one after the other.
    pub(super) rows: Vec<f64>,
    /// Numbers in a row.
    pub(super) width: usize,
    /// The value by sums.
    pub(super) value: Box<dyn Fn(&[f64]) -> f64 + Sync>,
}

impl Sums {
    fn add(&self, sums: &mut [f64], row: usize) {
        let row = &self.rows[row * self.width..][..self.width];
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
}

impl Statistic for Sums {
    fn whole(&self) -> f64 {
        let mut sums = vec![0.0; self.width];
        (0..self.rows.len() / self.width).for_each(|row| self.add(&mut sums, row));
        (self.value)(&sums)
    }

    fn chunk(&self, mut random: Random, count: usize) -> Vec<f64> {
        let n = self.rows.len() / self.width;
        let mut sums = vec![0.0; self.width];
        let draw = |_| {
            sums.fill(0.0);
            for _ in 0..n {
                self.add(&mut sums, pick(&mut random, n));
            }
            (self.value)(&sums)
        };
        (0..count).map(draw).collect()
    }
}

/// One draw of Python's `choices`.
fn pick(random: &mut Random, n: usize) -> usize {
    (random.random() * n as f64) as usize
}

/// The statistic over `iterations` resamples, cut down to whole chunks.
pub(super) fn resample(statistic: &dyn Statistic, iterations: usize, threads: usize) -> Vec<f64> {
    let size = CHUNK.min(iterations);
    let chunks = iterations.checked_div(size).unwrap_or(0);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let chunk = next.fetch_add(1, Ordering::Relaxed);
            if chunk >= chunks {
                return done;
            }
            done.push((chunk, statistic.chunk(Random::new(chunk as u64), size)));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(chunks)).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(chunk, _)| *chunk);
    done.into_iter().flat_map(|(_, values)| values).collect()
}
