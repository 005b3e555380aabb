//! Models that know nothing. What they reach is what a task gives away: the floor under every result.

use super::{LanguageModel, Loglikelihood, Message, ModelError, OnProgress};
use crate::{eval::request::Generation, hash::sha256};

/// Longest sequence of models that have no limit.
const LENGTH: usize = 1 << 20;

/// Finds every answer equally likely, takes texts for random bytes, and always writes the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant {
    /// What it writes.
    pub text: String,
}

/// Draws every answer by a hash of the seed and of what it is asked, so that order and batches do not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random {
    /// Another seed is another model.
    pub seed: u64,
}

impl Random {
    /// Uniform in (0, 1], of the first 53 bits of a hash.
    fn draw(&self, kind: &str, question: &[&str]) -> f64 {
        let bits = u64::from_str_radix(&self.hash(kind, question)[..14], 16).unwrap_or_default() >> 3;
        (bits + 1) as f64 / (1u64 << 53) as f64
    }

    /// Each part has its length before it: no two questions are hashed as the same bytes.
    fn hash(&self, kind: &str, question: &[&str]) -> String {
        let parts: String = question.iter().map(|part| format!("{}:{part}", part.len())).collect();
        sha256(format!("{} {kind} {parts}", self.seed).as_bytes())
    }
}

impl LanguageModel for Constant {
    fn loglikelihood(
        &mut self,
        requests: &[(String, String)],
        on: OnProgress<'_>,
    ) -> Result<Vec<Loglikelihood>, ModelError> {
        Ok(answers(requests, on, |(_, text)| Loglikelihood { sum: -1.0, tokens: text.len(), greedy: false }))
    }

    fn loglikelihood_rolling(&mut self, texts: &[String], on: OnProgress<'_>) -> Result<Vec<f64>, ModelError> {
        Ok(answers(texts, on, |text| uniform(text)))
    }

    fn generate_until(
        &mut self,
        requests: &[(String, Generation)],
        on: OnProgress<'_>,
    ) -> Result<Vec<String>, ModelError> {
        Ok(answers(requests, on, |_| self.text.clone()))
    }

    fn chat_prompt(&self, messages: &[Message]) -> Result<String, ModelError> {
        Ok(plain(messages))
    }

    fn max_length(&self) -> usize {
        LENGTH
    }

    fn fingerprint(&self) -> String {
        format!("constant {}", sha256(self.text.as_bytes()))
    }
}

impl LanguageModel for Random {
    fn loglikelihood(
        &mut self,
        requests: &[(String, String)],
        on: OnProgress<'_>,
    ) -> Result<Vec<Loglikelihood>, ModelError> {
        Ok(answers(requests, on, |(context, text)| Loglikelihood {
            sum: self.draw("loglikelihood", &[context, text]).ln(),
            tokens: text.len(),
            greedy: false,
        }))
    }

    fn loglikelihood_rolling(&mut self, texts: &[String], on: OnProgress<'_>) -> Result<Vec<f64>, ModelError> {
        Ok(answers(texts, on, |text| uniform(text) * (0.5 + self.draw("rolling", &[text]))))
    }

    fn generate_until(
        &mut self,
        requests: &[(String, Generation)],
        on: OnProgress<'_>,
    ) -> Result<Vec<String>, ModelError> {
        Ok(answers(requests, on, |(context, _)| self.hash("generate", &[context])[..8].to_string()))
    }

    fn chat_prompt(&self, messages: &[Message]) -> Result<String, ModelError> {
        Ok(plain(messages))
    }

    fn max_length(&self) -> usize {
        LENGTH
    }

    fn fingerprint(&self) -> String {
        format!("random {}", self.seed)
    }
}

/// Answers every request at once.
fn answers<Q, A>(requests: &[Q], on: OnProgress<'_>, answer: impl Fn(&Q) -> A) -> Vec<A> {
    let answers = requests.iter().map(answer).collect();
    on(requests.len(), requests.len());
    answers
}

/// The log-likelihood of a text whose bytes are drawn at random: eight bits each.
fn uniform(text: &str) -> f64 {
    -(text.len() as f64) * 256f64.ln()
}

/// Messages without a template: a line for each.
fn plain(messages: &[Message]) -> String {
    let lines = messages.iter().map(|message| format!("{}: {}", message.role, message.content));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pairs(n: usize) -> Vec<(String, String)> {
        (0..n).map(|i| (format!("question {}", i / 4), format!(" answer {}", i % 4))).collect()
    }

    #[test]
    fn constant_prefers_no_answer_and_needs_eight_bits_for_a_byte() {
        let mut model = Constant { text: "no".into() };
        let answers = model.loglikelihood(&pairs(8), &mut |_, _| {}).unwrap();
        assert!(answers.iter().all(|answer| *answer == answers[0]));
        let text = "héllo".to_string();
        let sums = model.loglikelihood_rolling(std::slice::from_ref(&text), &mut |_, _| {}).unwrap();
        assert!((-sums[0] / text.len() as f64 / 2f64.ln() - 8.0).abs() < 1e-12);
    }

    #[test]
    fn random_picks_each_of_four_answers_equally_often_and_the_same_in_any_order() {
        let (n, mut model) = (4_000, Random { seed: 1 });
        let answers = model.loglikelihood(&pairs(4 * n), &mut |_, _| {}).unwrap();
        let mut picked = [0usize; 4];
        for row in answers.chunks(4) {
            picked[(0..4).max_by(|a, b| row[*a].sum.total_cmp(&row[*b].sum)).unwrap()] += 1;
        }
        // 1,000 each, with a standard deviation of 27.
        assert!(picked.iter().all(|picked| picked.abs_diff(n / 4) < 120), "{picked:?}");
        let mut reversed: Vec<_> = pairs(4 * n).into_iter().rev().collect();
        reversed.truncate(9);
        let again = model.loglikelihood(&reversed, &mut |_, _| {}).unwrap();
        assert_eq!(again, answers.into_iter().rev().take(9).collect::<Vec<_>>());
        assert_ne!(again, Random { seed: 2 }.loglikelihood(&reversed, &mut |_, _| {}).unwrap());
        assert!(again.iter().all(|answer| answer.sum.is_finite() && answer.sum <= 0.0));
    }
}
