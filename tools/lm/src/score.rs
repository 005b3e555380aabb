//! How likely texts are. Sequences that begin alike share the computation of their beginning, however many they are.
//!
//! The sequences of a call are put in the order of their tokens, so that neighbours share as much as they can, and are cut
//! into passes. A pass computes the tokens that are new, each once; keys and values of what the next pass goes on from stay.
//! There is no padding, so equal lengths would gain nothing.

use rayon::prelude::*;

use crate::{
    engine::infer::{Cache, Run},
    error::{Error, Result},
    generate::{OnProgress, Scored, Session},
};

/// Tokens of one pass at most: what it needs of memory is a multiple of this.
const ROWS: usize = 2048;

/// Logits that a thread makes at a time, at most.
const LOGITS: usize = 4 << 20;

/// A question: how likely are `tokens[from..]` after `tokens[..from]`?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// All tokens.
    pub tokens: Vec<u32>,
    /// The first that is scored; at least 1.
    pub from: usize,
}

impl Question {
    /// What the model is fed: the last token predicts nothing.
    fn fed(&self) -> &[u32] {
        &self.tokens[..self.tokens.len() - 1]
    }
}

/// A token that is scored after a row.
struct Target {
    row: usize,
    token: u32,
    question: usize,
}

/// The questions as one stream of new tokens.
struct Plan<'a> {
    runs: Vec<Run<'a>>,
    /// For each run, how many questions are answered after it.
    answered: Vec<usize>,
    /// By row; rows count the tokens of the stream.
    targets: Vec<Target>,
}

impl Session {
    /// Answers `questions`. A pass takes the new tokens of `batch` of them at most: a smaller one needs less memory. An
    /// answer has the same bits whatever the batch, the other questions and the number of threads.
    pub fn score(&self, questions: &[Question], batch: usize, on: OnProgress<'_>) -> Result<Vec<Scored>> {
        self.score_in(questions, (batch, ROWS), on)
    }

    /// The same with passes of `most` tokens at most.
    fn score_in(
        &self,
        questions: &[Question],
        (batch, most): (usize, usize),
        on: OnProgress<'_>,
    ) -> Result<Vec<Scored>> {
        self.check(questions)?;
        let plan = Plan::new(questions, most);
        let mut scores: Vec<Scored> =
            questions.iter().map(|q| Scored { sum: 0.0, tokens: q.tokens.len() - q.from, greedy: true }).collect();
        let (mut stem, mut run, mut row, mut targets) = (Cache::default(), 0, 0, plan.targets.as_slice());
        while run < plan.runs.len() {
            let (end, rows) = plan.pass(run, batch, most);
            let keep = plan.runs.get(end).map_or(0, |next| next.start);
            let hidden = self.decoder().branches(&mut stem, &plan.runs[run..end], keep)?;
            let (now, later) = targets.split_at(targets.partition_point(|target| target.row < row + rows));
            for (target, (log_p, best)) in now.iter().zip(self.score_rows(&hidden, row, now)) {
                let score = &mut scores[target.question];
                score.sum += f64::from(log_p);
                score.greedy &= best;
            }
            (run, row, targets) = (end, row + rows, later);
            on(plan.answered[end - 1], questions.len());
        }
        Ok(scores)
    }

    fn check(&self, questions: &[Question]) -> Result<()> {
        if questions.iter().any(|q| q.from == 0 || q.from >= q.tokens.len()) {
            return Err(Error::Generate("a context and each continuation need at least one token".into()));
        }
        match questions.iter().find_map(|q| q.tokens.iter().find(|t| **t as usize >= self.vocab_size())) {
            Some(token) => Err(Error::Generate(format!("token {token} is outside the vocabulary"))),
            None => Ok(()),
        }
    }

    /// Scores targets of a pass whose rows begin with `first`, in pieces of a fixed size.
    fn score_rows(&self, hidden: &[f32], first: usize, targets: &[Target]) -> Vec<(f32, bool)> {
        let tokens: Vec<u32> = targets.iter().map(|target| target.token).collect();
        let (mut groups, mut done) = (Vec::new(), 0);
        for group in targets.chunk_by(|a, b| a.row == b.row) {
            groups.push((group[0].row - first, &tokens[done..done + group.len()]));
            done += group.len();
        }
        let size = (LOGITS / self.vocab_size()).clamp(8, 128);
        groups.par_chunks(size).map(|groups| self.decoder().head().score(hidden, groups)).collect::<Vec<_>>().concat()
    }
}

impl<'a> Plan<'a> {
    fn new(questions: &'a [Question], most: usize) -> Self {
        let mut order: Vec<usize> = (0..questions.len()).collect();
        order.sort_by(|&a, &b| questions[a].fed().cmp(questions[b].fed()).then(a.cmp(&b)));
        let mut plan = Plan { runs: Vec::new(), answered: Vec::new(), targets: Vec::new() };
        // Where the tokens of the current sequence are: (position, row) of each stretch of rows.
        let (mut path, mut row, mut before): (Vec<(usize, usize)>, usize, &[u32]) = (Vec::new(), 0, &[]);
        for (done, &question) in order.iter().enumerate() {
            let fed = questions[question].fed();
            let shared = before.iter().zip(fed).take_while(|(a, b)| a == b).count();
            path.retain(|(position, _)| *position < shared);
            if shared < fed.len() {
                path.push((shared, row));
            }
            for (i, tokens) in fed[shared..].chunks(most).enumerate() {
                plan.runs.push(Run { start: shared + i * most, tokens });
                plan.answered.push(done);
                row += tokens.len();
            }
            if let Some(answered) = plan.answered.last_mut() {
                *answered = done + 1;
            }
            plan.add_targets(&questions[question], question, &path);
            before = fed;
        }
        plan.targets.sort_by_key(|target| target.row);
        plan
    }

    fn add_targets(&mut self, Question { tokens, from }: &Question, question: usize, path: &[(usize, usize)]) {
        for (position, &token) in tokens.iter().enumerate().skip(*from) {
            let position = position - 1;
            let stretch = path.partition_point(|(start, _)| *start <= position).saturating_sub(1);
            let (start, row) = path[stretch];
            self.targets.push(Target { row: row + position - start, token, question });
        }
    }

    /// The end of the pass that begins with run `first`, and its rows.
    fn pass(&self, first: usize, batch: usize, most: usize) -> (usize, usize) {
        let (mut end, mut rows) = (first, 0);
        while let Some(run) = self.runs.get(end)
            && (end == first || (end - first < batch && rows + run.tokens.len() <= most))
        {
            rows += run.tokens.len();
            end += 1;
        }
        (end, rows)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{engine::math::log_sum_exp, model::Model, rng::Rng};

    fn session(name: &str) -> Session {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        Session::new(&Model::open(&dir).unwrap(), None).unwrap()
    }

    /// Questions that begin alike in many ways: equal ones, prefixes of others, branches off the middle.
    fn questions(session: &Session, n: usize, seed: u64) -> Vec<Question> {
        let (mut rng, longest) = (Rng::new(seed, "questions"), session.max_length() + 1);
        let mut all: Vec<Question> = Vec::new();
        for _ in 0..n {
            let mut tokens = match all.is_empty() {
                true => Vec::new(),
                false => all[rng.below(all.len())].tokens.clone(),
            };
            tokens.truncate(rng.below(tokens.len() + 1));
            let new = 2 + rng.below(longest / 2);
            tokens.extend((0..new).map(|_| rng.below(session.vocab_size()) as u32));
            tokens.truncate(longest);
            let from = 1 + rng.below(tokens.len() - 1);
            all.push(Question { tokens, from });
        }
        all
    }

    /// The same from the logits of a plain forward pass.
    fn oracle(session: &Session, Question { tokens, from }: &Question) -> (Scored, f32) {
        let mut logits = session.logits(&tokens[..tokens.len() - 1]).unwrap();
        let mut scored = Scored { sum: 0.0, tokens: tokens.len() - from, greedy: true };
        let mut margin = f32::INFINITY;
        for (row, &token) in logits.chunks_exact_mut(session.vocab_size()).zip(&tokens[1..]).skip(from - 1) {
            let (lse, best) = log_sum_exp(row, None);
            scored.sum += f64::from(row[token as usize] - lse);
            scored.greedy &= best == token as usize;
            let second = row.iter().enumerate().filter(|(i, _)| *i != best).map(|(_, v)| *v);
            margin = margin.min(row[best] - second.fold(f32::NEG_INFINITY, f32::max));
        }
        (scored, margin)
    }

    /// Models of every kind of layer, and one that has learnt something.
    const MODELS: [&str; 6] =
        ["llama/tied", "llama/wide", "families/qwen2", "families/qwen3", "families/gemma3", "../../../nano"];

    #[test]
    fn shared_beginnings_change_no_likelihood() {
        for name in MODELS {
            let session = session(name);
            let questions = questions(&session, 40, 5);
            let mut progress = Vec::new();
            let got = session.score(&questions, 32, &mut |done, all| progress.push((done, all))).unwrap();
            for (got, question) in got.iter().zip(&questions) {
                let (want, margin) = oracle(&session, question);
                // A sequence of one token is computed by other loops there, with another order of sums.
                let close = 1e-5 * want.tokens as f64;
                assert!((got.sum - want.sum).abs() < close, "{name} {question:?} {got:?} {want:?}");
                assert_eq!(got.tokens, want.tokens);
                assert!(got.greedy == want.greedy || margin < 1e-4);
            }
            assert_eq!(progress.last(), Some(&(40, 40)));
            assert!(progress.is_sorted());
        }
    }

    #[test]
    fn likelihoods_have_the_same_bits_in_any_batch_and_any_company() {
        for name in MODELS {
            let session = session(name);
            let questions = questions(&session, 24, 7);
            let score = |questions: &[Question], limits| session.score_in(questions, limits, &mut |_, _| {}).unwrap();
            let all = score(&questions, (32, ROWS));
            for limits in [(1, ROWS), (4, ROWS), (1, 7), (4, 100)] {
                assert_eq!(score(&questions, limits), all, "{name} {limits:?}");
            }
            let (half, alone) =
                (score(&questions[..11], (4, ROWS)), questions.chunks(1).flat_map(|q| score(q, (1, ROWS))));
            assert_eq!((half.as_slice(), alone.collect::<Vec<_>>()), (&all[..11], all.clone()), "{name}");
        }
    }

    #[test]
    fn likelihoods_have_the_same_bits_on_one_and_two_threads() {
        for name in ["llama/wide", "../../../nano"] {
            let session = session(name);
            let questions = questions(&session, 100, 6);
            let on = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| session.score(&questions, 64, &mut |_, _| {}).unwrap())
            };
            let one = on(1);
            assert_eq!((&one, &one), (&on(2), &on(1)), "{name}");
        }
    }

    #[test]
    fn every_token_is_computed_once() {
        let question = |tokens: &[u32], from| Question { tokens: tokens.to_vec(), from };
        let questions = [question(&[1, 2, 3, 4, 9], 4), question(&[1, 2, 3, 4, 7, 8], 4), question(&[1, 2, 5], 2)];
        let plan = Plan::new(&questions, 3);
        let runs: Vec<(usize, &[u32])> = plan.runs.iter().map(|run| (run.start, run.tokens)).collect();
        assert_eq!(runs, [(0, &[1, 2][..]), (2, &[3, 4]), (4, &[7])]);
        let targets: Vec<_> = plan.targets.iter().map(|t| (t.row, t.token, t.question)).collect();
        assert_eq!(targets, [(1, 5, 2), (3, 9, 0), (3, 7, 1), (4, 8, 1)]);
        assert_eq!(plan.answered, [1, 2, 3]);
        assert_eq!((plan.pass(0, 9, 3), plan.pass(1, 9, 3), plan.pass(0, 1, 3)), ((1, 2), (3, 3), (1, 2)));
    }

    #[test]
    fn questions_that_cannot_be_answered_are_refused() {
        let session = session("llama/tied");
        let ask = |tokens: Vec<u32>, from| {
            session.score(&[Question { tokens, from }], 1, &mut |_, _| {}).unwrap_err().to_string()
        };
        let refused = [ask(vec![1, 2], 0), ask(vec![1, 2], 2), ask(vec![1, u32::MAX], 1), ask(vec![1; 130], 1)];
        let no_tokens = "generation: a context and each continuation need at least one token";
        assert_eq!(
            refused,
            [
                no_tokens,
                no_tokens,
                "generation: token 4294967295 is outside the vocabulary",
                "generation: 129 tokens do not fit the model's context of 128",
            ]
        );
    }
}
