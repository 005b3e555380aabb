//! The rows of one step: sequences laid end to end without padding, in a fixed number of shards.

use std::ops::Range;

use super::{dropout, preference::Preference};

/// Shards of a batch. Fixed, whatever the number of threads, so that sums are made in one order.
pub const SHARDS: usize = 4;

/// One sequence of a training batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Which of them are trained: ranges in ascending order without overlap, never the first token.
    pub trained: Vec<Range<usize>>,
}

impl Sequence {
    /// A sequence of which the tokens in `trained` are trained. Ranges may touch, overlap, come in any order and reach
    /// outside; the first token is never trained, because nothing predicts it.
    pub fn new(tokens: Vec<u32>, mut trained: Vec<Range<usize>>) -> Self {
        trained.iter_mut().for_each(|range| *range = range.start.max(1)..range.end.min(tokens.len()));
        trained.retain(|range| !range.is_empty());
        trained.sort_by_key(|range| range.start);
        trained.dedup_by(|next, last| {
            let touches = next.start <= last.end;
            if touches {
                last.end = last.end.max(next.end);
            }
            touches
        });
        Sequence { tokens, trained }
    }

    /// A sequence whose tokens from `start` on are trained: an answer after its prompt.
    pub fn from(tokens: Vec<u32>, start: usize) -> Self {
        let end = tokens.len();
        Self::new(tokens, std::iter::once(start..end).collect())
    }

    /// How many tokens are predicted and trained.
    pub fn targets(&self) -> usize {
        self.trained.iter().map(Range::len).sum()
    }

    /// Indices of the trained tokens, ascending.
    pub fn trained_tokens(&self) -> impl Iterator<Item = usize> + '_ {
        self.trained.iter().cloned().flatten()
    }
}

/// Sequences laid end to end.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// All tokens.
    pub tokens: Vec<u32>,
    /// Where each sequence stands in `tokens`.
    pub sequences: Vec<Range<usize>>,
    /// Ranges of `sequences`, about equal in tokens.
    pub shards: Vec<Range<usize>>,
    /// `(row that predicts, token it must predict, weight of its loss)`, by row.
    pub targets: Vec<(usize, u32, f32)>,
    /// A key of each token for dropout; none in evaluations.
    pub keys: Vec<u64>,
    /// Where the sequences are pairs of answers: what they are trained for instead of likelihood.
    pub preference: Option<Preference>,
}

impl Batch {
    /// Lays `sequences` end to end; `weight(sequence)` is the weight of the loss of each of its trained tokens.
    pub fn new(sequences: &[&Sequence], weight: impl Fn(&Sequence) -> f32) -> Self {
        let mut batch = Batch::default();
        for sequence in sequences {
            let start = batch.tokens.len();
            batch.tokens.extend_from_slice(&sequence.tokens);
            batch.sequences.push(start..batch.tokens.len());
            let w = weight(sequence);
            let targets = sequence.trained_tokens().map(|i| (start + i - 1, sequence.tokens[i], w));
            batch.targets.extend(targets);
        }
        batch.shards = shards(&batch.sequences.iter().map(Range::len).collect::<Vec<_>>());
        batch
    }

    /// Lays pairs of answers, chosen and rejected in turn, end to end.
    pub fn pairs(sequences: &[&Sequence], preference: Preference) -> Self {
        let mut batch = Self::new(sequences, |_| 1.0);
        let costs: Vec<usize> = batch.sequences.chunks(2).map(|pair| pair.iter().map(Range::len).sum()).collect();
        batch.shards = shards(&costs).into_iter().map(|pairs| 2 * pairs.start..2 * pairs.end).collect();
        batch.preference = Some(preference);
        batch
    }

    /// Turns dropout on: the sequences are numbers `first` and on of step `step` of a run with this seed.
    pub fn with_dropout(mut self, seed: u64, step: usize, first: usize) -> Self {
        let lengths = self.sequences.iter().map(Range::len).enumerate();
        self.keys = lengths.flat_map(|(i, len)| dropout::keys(seed, step, first + i, len)).collect();
        self
    }

    /// The keys of the rows of shard `index`.
    pub fn keys(&self, index: usize) -> &[u64] {
        self.keys.get(self.rows(index)).unwrap_or_default()
    }

    /// Whether some token is predicted from more than the first position of its sequence.
    pub fn attends(&self) -> bool {
        (0..self.sequences.len())
            .any(|i| self.targets_of(i).last().is_some_and(|last| last.0 > self.sequences[i].start))
    }

    /// The targets of sequence `index`.
    pub fn targets_of(&self, index: usize) -> &[(usize, u32, f32)] {
        self.targets_in(&self.sequences[index])
    }

    /// The sum of the log-likelihoods of each sequence's targets, from those of all targets.
    pub fn log_likelihoods(&self, log_p: &[f32]) -> Vec<f32> {
        let mut log_p = log_p.iter();
        let mut sum = |sequence| log_p.by_ref().take(self.targets_of(sequence).len()).sum();
        (0..self.sequences.len()).map(&mut sum).collect()
    }

    /// The targets of shard `index`, as rows of the shard.
    pub fn shard_targets(&self, index: usize) -> Vec<(usize, u32, f32)> {
        let rows = self.rows(index);
        self.targets_in(&rows).iter().map(|&(row, token, w)| (row - rows.start, token, w)).collect()
    }

    fn targets_in(&self, rows: &Range<usize>) -> &[(usize, u32, f32)] {
        let start = self.targets.partition_point(|t| t.0 < rows.start);
        let end = self.targets.partition_point(|t| t.0 < rows.end);
        &self.targets[start..end]
    }

    /// Rows of shard `index`.
    pub fn rows(&self, index: usize) -> Range<usize> {
        let sequences = &self.sequences[self.shards[index].clone()];
        sequences.first().map_or(0, |s| s.start)..sequences.last().map_or(0, |s| s.end)
    }
}

/// Cuts items with these costs into at most [`SHARDS`] runs of about equal cost.
pub fn shards(costs: &[usize]) -> Vec<Range<usize>> {
    let total: usize = costs.iter().sum();
    let (mut shards, mut start, mut done) = (Vec::new(), 0, 0);
    for (i, cost) in costs.iter().enumerate() {
        done += cost;
        let full = done * SHARDS >= total * (shards.len() + 1);
        if (full && shards.len() + 1 < SHARDS) || i + 1 == costs.len() {
            shards.push(start..i + 1);
            start = i + 1;
        }
    }
    shards
}

/// Cuts items into runs of at most `most` tokens together, each of at least one item.
pub fn runs<T>(items: &[T], tokens: impl Fn(&T) -> usize, most: usize) -> Vec<&[T]> {
    let (mut parts, mut start, mut sum) = (Vec::new(), 0, 0);
    for (i, item) in items.iter().enumerate() {
        if i > start && sum + tokens(item) > most {
            parts.push(&items[start..i]);
            (start, sum) = (i, 0);
        }
        sum += tokens(item);
    }
    if start < items.len() {
        parts.push(&items[start..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_every_item_once_in_order() {
        for costs in [vec![], vec![5], vec![1, 1, 1], vec![9, 1, 1, 1, 1, 1, 1, 9], vec![3; 50], vec![0, 0, 7, 0]] {
            let shards = shards(&costs);
            assert!(shards.len() <= SHARDS);
            assert_eq!(shards.into_iter().flatten().collect::<Vec<_>>(), (0..costs.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn runs_stay_within_the_limit_unless_one_item_is_larger() {
        let cut = |items: &[usize]| runs(items, |n| *n, 5).iter().map(|run| run.to_vec()).collect::<Vec<_>>();
        assert_eq!(cut(&[2, 3, 1, 9, 5, 1]), [vec![2, 3], vec![1], vec![9], vec![5], vec![1]]);
        assert!(cut(&[]).is_empty());
    }

    #[test]
    fn targets_are_the_completion_shifted_by_one() {
        let one = Sequence::from(vec![10, 11, 12, 13], 2);
        let two = Sequence::from(vec![20, 21], 0);
        let batch = Batch::new(&[&one, &two], |s| s.targets() as f32);
        assert_eq!(batch.targets, [(1, 12, 2.0), (2, 13, 2.0), (4, 21, 1.0)]);
        assert_eq!(batch.sequences, [0..4, 4..6]);
    }

    #[test]
    fn trained_ranges_are_merged_and_kept_inside() {
        let sequence = Sequence::new(vec![0; 9], vec![7..99, 0..2, 2..4, 3..5, 6..6]);
        assert_eq!(sequence.trained, [1..5, 7..9]);
        assert_eq!((sequence.targets(), sequence.trained_tokens().collect::<Vec<_>>()), (6, vec![1, 2, 3, 4, 7, 8]));
    }
}
