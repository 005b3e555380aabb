//! Text that the repository makes for pretraining its base: an endless, seeded stream of English documents.
//!
//! Two thirds of it are chats with short exact answers, so that the base learns what a cue asks for. Nothing in it
//! comes from a published data set, and subjects of benchmarks (banking) are left out.

mod extract;
pub mod grammar;
mod numbers;
mod prose;
pub mod rng;
mod service;
mod skills;

use grammar::Grammar;
use rng::Rng;

/// One speaker's part of a chat: role and text.
pub type Turn = (&'static str, String);

/// A document of the corpus.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Doc {
    /// Text without roles.
    Plain(String),
    /// Turns, the last one by the assistant.
    Chat(Vec<Turn>),
}

/// The endless stream of documents for one seed.
#[derive(Clone, Debug)]
pub struct Generator {
    rng: Rng,
    words: Words,
}

impl Generator {
    /// A stream that depends on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), words: Words::load() }
    }
}

impl Iterator for Generator {
    type Item = Doc;

    fn next(&mut self) -> Option<Doc> {
        let (words, rng) = (&self.words, &mut self.rng);
        // Shares of documents; prose is longer, so that about a third of the text is plain.
        Some(match rng.below(100) {
            0..40 => service::doc(words, rng),
            40..50 => extract::doc(words, rng),
            50..62 => skills::doc(words, rng),
            62..69 => numbers::doc(words, rng),
            _ => prose::doc(words, rng),
        })
    }
}

/// What all templates draw from.
#[derive(Clone, Debug)]
struct Words {
    grammar: Grammar,
    intents: Vec<service::Intent>,
}

impl Words {
    fn load() -> Self {
        Self { grammar: Grammar::parse(include_str!("corpus/slots.txt")), intents: service::intents() }
    }

    fn expand(&self, rng: &mut Rng, pattern: &str) -> String {
        self.grammar.expand(rng, pattern)
    }

    fn slot(&self, name: &str) -> &[String] {
        self.grammar.slot(name)
    }
}

/// `text` with a capital first letter.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn text_of(doc: &Doc) -> String {
        match doc {
            Doc::Plain(text) => text.clone(),
            Doc::Chat(turns) => turns.iter().map(|(role, text)| format!("{role}: {text}\n")).collect(),
        }
    }

    #[test]
    fn one_seed_gives_one_stream() {
        let docs = |seed| Generator::new(seed).take(2_000).collect::<Vec<_>>();
        assert_eq!(docs(7), docs(7));
        assert_ne!(docs(7), docs(8));
    }

    #[test]
    fn twenty_thousand_documents_are_distinct_complete_and_mostly_chat() {
        let docs: Vec<Doc> = Generator::new(1).take(20_000).collect();
        let distinct: BTreeSet<String> = docs.iter().map(text_of).collect();
        assert!(distinct.len() > 18_000, "only {} of 20,000 documents are distinct", distinct.len());
        let (mut chat, mut all) = (0, 0);
        for doc in &docs {
            let text = text_of(doc);
            all += text.len();
            if let Doc::Chat(turns) = doc {
                chat += text.len();
                assert!(turns.iter().all(|(_, text)| !text.trim().is_empty()), "an empty turn in {turns:?}");
                assert_eq!(turns.last().map(|t| t.0), Some("assistant"));
            }
            assert!(!text.trim().is_empty());
            assert!(text.len() < 1_400, "too long for a context of 512 tokens: {text:?}");
            let unfilled = ["|", "[", "]", "{item", "{name", "{can", "LABEL", "DETAIL", "HERO", "THING", "<n>"];
            assert!(!unfilled.iter().any(|u| text.contains(u)), "an unfilled slot in {text:?}");
        }
        let share = chat as f64 / f64::from(all as u32);
        assert!((0.60..0.75).contains(&share), "chat is {share:.2} of the text");
        println!("distinct {} of {}, {} bytes, chat {share:.3}", distinct.len(), docs.len(), all);
    }

    #[test]
    fn banking_stays_out() {
        let banned = [
            "bank",
            "banking",
            "card",
            "cards",
            "debit",
            "credit",
            "atm",
            "pin",
            "transfer",
            "transfers",
            "currency",
            "currencies",
            "cash",
            "payment",
            "payments",
            "passcode",
            "refund",
            "refunds",
            "deposit",
            "withdraw",
            "withdrawal",
            "balance",
            "cheque",
            "visa",
            "mastercard",
            "loan",
            "mortgage",
            "iban",
            "topup",
            "top-up",
            "exchange",
            "beneficiary",
            "salary",
        ];
        for doc in Generator::new(2).take(10_000) {
            let text = text_of(&doc).to_lowercase();
            let found = text.split(|c: char| !c.is_alphanumeric() && c != '-').find(|w| banned.contains(w));
            assert_eq!(found, None, "in {text:?}");
        }
    }

    #[test]
    fn there_are_more_than_a_hundred_intents_with_their_own_labels() {
        let intents = service::intents();
        let labels: BTreeSet<&str> = intents.iter().map(|i| i.label.as_str()).collect();
        assert_eq!(labels.len(), intents.len());
        assert!(intents.len() > 100);
        assert!(intents.iter().all(|i| !i.messages.is_empty() && !i.domain.is_empty()));
    }
}
