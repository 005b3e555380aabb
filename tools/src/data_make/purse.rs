//! What may be spent, and what was: every question is paid for, at most, before it is asked.

use serde::{Deserialize, Serialize};
use tunesmith_harness::ask::{Answer, Price, Question};

/// Upper limits; what is left out has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Tokens read and written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// Questions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub questions: Option<u64>,
}

/// What something took. A provider may not say; then it is the most that it can have been, and `exact` is not set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Questions.
    pub questions: u64,
    /// Tokens read and written.
    pub tokens: u64,
    /// US dollars; null is unknown.
    pub usd: Option<f64>,
    /// Whether every provider said what it took.
    pub exact: bool,
}

impl Cost {
    /// Nothing.
    pub const NONE: Cost = Cost { questions: 0, tokens: 0, usd: Some(0.0), exact: true };

    /// The most that a question can take.
    pub fn most(question: &Question, price: Option<Price>) -> Cost {
        let usd = price.map(|price| question.most_usd(price));
        Cost { questions: 1, tokens: question.most_tokens(), usd, exact: false }
    }

    /// What an answer took, given the most that it can have been.
    pub fn of(answer: &Answer, most: Cost) -> Cost {
        Cost {
            questions: 1,
            tokens: answer.tokens.unwrap_or(most.tokens),
            usd: answer.usd.or(most.usd),
            exact: answer.tokens.is_some() && answer.usd.is_some(),
        }
    }

    /// Both together.
    pub fn plus(self, other: Cost) -> Cost {
        Cost {
            questions: self.questions + other.questions,
            tokens: self.tokens.saturating_add(other.tokens),
            usd: self.usd.zip(other.usd).map(|(a, b)| a + b),
            exact: self.exact && other.exact,
        }
    }
}

impl Limits {
    /// The tighter of both, limit by limit.
    pub fn tightened(self, other: Limits) -> Limits {
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Limits {
            tokens: least(self.tokens, other.tokens),
            usd: self.usd.into_iter().chain(other.usd).reduce(f64::min),
            questions: least(self.questions, other.questions),
        }
    }

    /// Why `spent` would break a limit; nothing while it keeps all of them.
    pub fn broken(&self, spent: Cost, name: &str) -> Option<String> {
        if let Some(most) = self.questions.filter(|most| spent.questions > *most) {
            return Some(format!("all {most} questions are asked"));
        }
        if let Some(most) = self.tokens.filter(|most| spent.tokens > *most) {
            let tokens = spent.tokens;
            return Some(format!("another question may bring the tokens to {tokens}, and {most} are allowed"));
        }
        let most = self.usd?;
        match spent.usd {
            None => Some(format!(
                "what {name} costs is unknown, so the limit of {} cannot be kept; give --price, or limit tokens",
                dollars(most)
            )),
            Some(usd) if usd > most => {
                Some(format!("another question may bring the cost to ${usd:.4}, and {} are allowed", dollars(most)))
            }
            Some(_) => None,
        }
    }
}

/// A limit as it was given: cents, or as many digits as it has.
pub fn dollars(usd: f64) -> String {
    let cents = format!("${usd:.2}");
    if cents[1..].parse() == Ok(usd) { cents } else { format!("${usd}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Cost = Cost { questions: 1, tokens: 100, usd: Some(0.5), exact: false };

    #[test]
    fn what_a_provider_does_not_say_counts_as_the_most_it_can_have_been() {
        let answer = Answer { tokens: Some(10), usd: Some(0.25), ..Answer::default() };
        assert_eq!(Cost::of(&answer, MOST), Cost { questions: 1, tokens: 10, usd: Some(0.25), exact: true });
        let silent = Answer::default();
        assert_eq!(Cost::of(&silent, MOST), MOST);
        assert_eq!(Cost::of(&silent, Cost { usd: None, ..MOST }).usd, None);
    }

    #[test]
    fn limits_are_kept_before_they_are_reached_and_an_unknown_price_keeps_none() {
        let limits = Limits { tokens: Some(150), usd: Some(1.0), questions: Some(3) };
        assert_eq!(limits.broken(MOST, "m"), None);
        let broken = |spent: Cost| limits.broken(spent, "m").unwrap_or_default();
        assert_eq!(broken(MOST.plus(MOST)), "another question may bring the tokens to 200, and 150 are allowed");
        assert_eq!(broken(Cost { questions: 4, ..MOST }), "all 3 questions are asked");
        assert_eq!(
            broken(Cost { usd: Some(1.25), ..MOST }),
            "another question may bring the cost to $1.2500, and $1.00 are allowed"
        );
        assert_eq!(
            broken(Cost { usd: None, ..MOST }),
            "what m costs is unknown, so the limit of $1.00 cannot be kept; give --price, or limit tokens"
        );
        assert_eq!([0.0, 5.0, 0.25, 0.001].map(dollars), ["$0.00", "$5.00", "$0.25", "$0.001"]);
        let tighter = limits.tightened(Limits { tokens: Some(200), usd: Some(0.5), questions: None });
        assert_eq!(tighter, Limits { tokens: Some(150), usd: Some(0.5), questions: Some(3) });
    }
}
