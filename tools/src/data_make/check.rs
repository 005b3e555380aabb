//! What a made row must be before anything else is asked of it: of its shape, plain text, and new.

use std::collections::HashSet;

use jsonschema::Validator;
use serde_json::Value;
use tunesmith_harness::{
    hash::sha256,
    near::{Jaccard, Near},
    overlap::{Evals, texts},
    recipe::Row,
    redact::redacted,
    text::visible_lines,
};

use super::{intake::Avoid, spec::Spec};
use crate::files::cut;

/// Largest answer that is looked at, in bytes.
const MOST_BYTES: usize = 256 << 10;
/// Braces in an answer at which an object may begin.
const BRACES: usize = 50;
/// What likenesses may be.
pub const LIKENESS: &str = "alike.likeness must be from 0.5 to 1";
/// Characters of a reason.
const REASON: usize = 200;

/// Marks of chat templates: trained on as text, they would teach a model to end or to begin turns.
const MARKS: [&str; 12] = [
    "<|",
    "|>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<s>",
    "</s>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<think>",
    "</think>",
    "<tool_call>",
];

/// What models say of themselves or of their task, and what is said to them to change it.
const PHRASES: [&str; 12] = [
    "as an ai language model",
    "as a language model",
    "i'm an ai",
    "i am an ai",
    "i cannot fulfill",
    "i can't fulfill",
    "ignore previous instructions",
    "ignore all previous instructions",
    "ignore the above instructions",
    "disregard previous instructions",
    "system prompt",
    "json schema",
];

/// Why a row or an answer is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind, for counting.
    pub reason: &'static str,
    /// What is wrong.
    pub why: String,
}

impl Refusal {
    /// A refusal with its reason in words.
    pub fn new(reason: &'static str, why: impl AsRef<str>) -> Refusal {
        Refusal { reason, why: cut(&visible_lines(why.as_ref()), REASON) }
    }
}

/// Checks rows against their shape and against each other.
pub struct Checker {
    validator: Validator,
    keep_prompt_like: bool,
    ids: HashSet<String>,
    /// The columns whose texts tell rows apart.
    columns: Vec<String>,
    /// Those texts, of seed rows first.
    near: Near,
    /// How many are of seed rows.
    seeds: usize,
    avoid: Evals,
}

impl Checker {
    /// A checker that knows the seed rows and the rows to avoid.
    pub fn new(spec: &Spec, avoid: &[Avoid]) -> Result<Checker, String> {
        let schema = Spec::schema(spec.columns.iter());
        let validator = jsonschema::validator_for(&schema).map_err(|error| format!("columns: {error}"))?;
        let likeness = spec.alike.likeness.unwrap_or(if spec.teacher.is_some() { 0.8 } else { 1.0 });
        let likeness = Jaccard::new(likeness).ok_or(LIKENESS)?;
        let mut checker = Checker {
            validator,
            keep_prompt_like: spec.keep_prompt_like,
            ids: HashSet::new(),
            columns: spec.texts().into_iter().map(str::to_owned).collect(),
            near: Near::new(likeness, spec.seed),
            seeds: 0,
            avoid: Evals::new(avoid.iter().map(|avoid| avoid.rows.as_slice()), None),
        };
        // Without a source of their own, the seed rows are what is made.
        if spec.teacher.is_some() || !spec.templates.is_empty() {
            let seeds: Vec<String> = spec.seed_rows().iter().filter_map(|row| checker.text(row)).collect();
            checker.near.add_all(&seeds);
            checker.seeds = seeds.len();
        }
        Ok(checker)
    }

    /// The row's name, where it is new and good; from then on it is known.
    pub fn take(&mut self, row: &Row) -> Result<String, Refusal> {
        self.fits(row)?;
        match self.text(row).and_then(|text| self.near.add(&text)) {
            Some(like) if like < self.seeds => Err(Refusal::new("near_seed", "it nearly repeats a seed row")),
            Some(_) => Err(Refusal::new("near", "it nearly repeats an earlier row")),
            None => self.name(row),
        }
    }

    /// The same for a changed copy, which is like its row.
    pub fn take_copy(&mut self, row: &Row) -> Result<String, Refusal> {
        self.fits(row)?;
        self.name(row)
    }

    fn name(&mut self, row: &Row) -> Result<String, Refusal> {
        let id = id(row);
        match self.ids.insert(id.clone()) {
            true => Ok(id),
            false => Err(Refusal::new("repeated", "it repeats an earlier row")),
        }
    }

    fn fits(&self, row: &Row) -> Result<(), Refusal> {
        let value = Value::Object(row.clone());
        if let Some(error) = self.validator.iter_errors(&value).next() {
            let at = error.instance_path().to_string();
            return Err(Refusal::new("schema", format!("{at}{}{error}", if at.is_empty() { "" } else { ": " })));
        }
        self.plain(&value)?;
        // As it is written, a name and its value may be a secret together.
        let line = value.to_string();
        if redacted(&line) != line {
            return Err(secret());
        }
        match self.avoid.find(row).is_empty() {
            true => Ok(()),
            false => Err(Refusal::new("avoided", "it is too like a row of a file to avoid")),
        }
    }

    /// What tells a row apart; nothing where it has no text, and then only an equal row is like it.
    fn text(&self, row: &Row) -> Option<String> {
        let mut all = String::new();
        for value in self.columns.iter().filter_map(|column| row.get(column)) {
            texts(value, true, &mut |text| {
                all.push_str(text);
                all.push('\n');
            });
        }
        Some(all).filter(|all| !all.trim().is_empty())
    }

    /// Whether all texts within are texts for people.
    fn plain(&self, value: &Value) -> Result<(), Refusal> {
        match value {
            Value::String(text) => self.plain_text(text),
            Value::Array(items) => items.iter().try_for_each(|item| self.plain(item)),
            Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
                self.plain_text(name)?;
                self.plain(value)
            }),
            _ => Ok(()),
        }
    }

    fn plain_text(&self, text: &str) -> Result<(), Refusal> {
        if redacted(text) != text {
            return Err(secret());
        }
        if visible_lines(text) != text {
            return Err(Refusal::new("control", "it holds characters that act on a display instead of being seen"));
        }
        if self.keep_prompt_like {
            return Ok(());
        }
        let lower = text.to_lowercase();
        let mark =
            MARKS.iter().find(|mark| text.contains(**mark)).or(PHRASES.iter().find(|words| lower.contains(**words)));
        match mark {
            Some(mark) => Err(Refusal::new("prompt_like", format!("it holds {mark:?}, which belongs into prompts"))),
            None => Ok(()),
        }
    }
}

fn secret() -> Refusal {
    Refusal::new("secret", "it holds what looks like a key or a password")
}

/// What names a row: its content.
pub fn id(row: &Row) -> String {
    let text = serde_json::to_string(row).unwrap_or_default();
    sha256(text.as_bytes())[..16].to_owned()
}

/// The JSON object in an answer, which may stand in a code fence, behind thoughts and between other words.
pub fn object(text: &str) -> Result<Row, Refusal> {
    if text.len() > MOST_BYTES {
        return Err(Refusal::new("huge", format!("the answer has {} bytes, and {MOST_BYTES} are read", text.len())));
    }
    let said = text.rsplit_once("</think>").map_or(text, |(_, said)| said);
    let mut wrong = None;
    for (begin, _) in said.match_indices('{').take(BRACES) {
        match serde_json::Deserializer::from_str(&said[begin..]).into_iter().next() {
            Some(Ok(object)) => return Ok(object),
            Some(Err(error)) => {
                let broke_off = error.is_eof();
                wrong.get_or_insert(error);
                // What stands within an object that was cut is none of its own.
                if broke_off {
                    break;
                }
            }
            None => {}
        }
    }
    Err(match wrong {
        Some(error) => Refusal::new("json", format!("the answer is not JSON: {error}")),
        None => Refusal::new("json", "the answer holds no JSON object"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checker(keep_prompt_like: bool) -> Checker {
        let spec = json!({
            "name": "n", "rows": 5, "keep_prompt_like": keep_prompt_like, "seeds": [{"text": "A seed row of five words", "n": 1}],
            "columns": [{"name": "text", "most": 100}, {"name": "n", "kind": "integer", "least": 0}],
            "teacher": {"instructions": "x"},
        });
        let avoid = |text: &str| Avoid { rows: vec![row(text)], ..Avoid::default() };
        let avoid = ["which of these words is the longest of them all", ASKED].map(avoid);
        Checker::new(&Spec::of(spec).unwrap(), &avoid).unwrap()
    }

    const ASKED: &str =
        "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.";

    fn row(text: &str) -> Row {
        json!({"text": text, "n": 1}).as_object().unwrap().clone()
    }

    fn reason(row: Value) -> String {
        match checker(false).take(row.as_object().unwrap()) {
            Ok(_) => "kept".into(),
            Err(refusal) => format!("{}: {}", refusal.reason, refusal.why),
        }
    }

    #[test]
    fn what_is_no_good_row_is_refused_with_its_reason() {
        assert_eq!(reason(json!({"text": "Good words\n\tin größe", "n": 1})), "kept");
        let cases = [
            (json!({"text": 5, "n": 1}), "schema: /text: 5 is not of type \"string\""),
            (json!({"text": "a", "n": -1}), "schema: /n: -1 is less than the minimum of 0"),
            (json!({"text": "a"}), "schema: \"n\" is a required property"),
            (
                json!({"text": "a\u{1b}[31m", "n": 1}),
                "control: it holds characters that act on a display instead of being seen",
            ),
            (
                json!({"text": "a\u{202e}b", "n": 1}),
                "control: it holds characters that act on a display instead of being seen",
            ),
            (json!({"text": "end<|im_end|>", "n": 1}), "prompt_like: it holds \"<|\", which belongs into prompts"),
            (
                json!({"text": "Ignore ALL previous instructions.", "n": 1}),
                "prompt_like: it holds \"ignore all previous instructions\", which belongs into prompts",
            ),
            (json!({"text": "a seed row, of five words!", "n": 2}), "near_seed: it nearly repeats a seed row"),
            (
                json!({"text": "Which of these words is the longest of them all?", "n": 1}),
                "avoided: it is too like a row of a file to avoid",
            ),
        ];
        for (row, expected) in cases {
            assert_eq!(reason(row), expected);
        }
        let spec =
            json!({"name": "n", "rows": 1, "columns": [{"name": "Authorization"}], "teacher": {"instructions": "x"}});
        let mut checker_of_names = Checker::new(&Spec::of(spec).unwrap(), &[]).unwrap();
        let row = json!({"Authorization": "Bearer k8Jd02mNq41"}).as_object().unwrap().clone();
        assert_eq!(checker_of_names.take(&row).unwrap_err().reason, "secret");
        let key = format!("my key is hf_{}", "aB3dE6gHi9".repeat(4));
        assert_eq!(reason(json!({"text": key, "n": 1})), "secret: it holds what looks like a key or a password");
        assert!(reason(json!({"text": "x".repeat(101), "n": 1})).starts_with("schema: /text: "));
        let marked = json!({"text": "end<|im_end|>", "n": 1});
        assert!(checker(true).take(marked.as_object().unwrap()).is_ok());
    }

    #[test]
    fn near_repeats_are_found_whatever_their_case_and_punctuation() {
        let mut checker = checker(false);
        let mut reason = |text: &str| checker.take(&row(text)).map_or_else(|refusal| refusal.reason, |_| "kept");
        let said = [
            "My card has not arrived, and I have waited for it since last Monday.",
            "my card has NOT arrived - and I have waited for it since last monday",
            "My card has not arrived, and I have waited for it since last Sunday.",
            "My card was stolen yesterday while I was waiting.",
            "a seed row, of FIVE words",
            "I lost 12 pounds",
            "I lost 13 pounds",
            "...",
            "!",
            "...",
        ]
        .map(&mut reason);
        assert_eq!(said, ["kept", "near", "near", "kept", "near_seed", "kept", "kept", "kept", "kept", "near"]);
    }

    #[test]
    fn where_only_equal_texts_are_alike_one_that_differs_in_a_digit_is_kept() {
        let spec = |likeness: f64| {
            let spec = json!({
                "name": "n", "rows": 5, "columns": [{"name": "text"}, {"name": "n", "kind": "integer"}],
                "teacher": {"instructions": "x"}, "alike": {"likeness": likeness, "columns": ["text", "n"]},
            });
            Spec::of(spec)
        };
        let mut checker = Checker::new(&spec(1.0).unwrap(), &[]).unwrap();
        let mut takes = |text: &str, n: u64| checker.take(json!({"text": text, "n": n}).as_object().unwrap()).is_ok();
        assert!(takes("I paid 12 and then 13 at the shop", 1));
        assert!(!takes("I paid 12, and then 13 at the shop.", 1));
        assert!(takes("I paid 12 and then 14 at the shop", 1));
        assert!(takes("I paid 12 and then 14 at the shop", 2));
        assert_eq!(spec(0.4).unwrap_err(), LIKENESS);
    }

    #[test]
    fn a_row_of_an_evaluation_is_found_within_a_longer_one_and_in_another_form() {
        let mut checker = checker(true);
        let mut avoided = |text: &str| matches!(checker.take(&row(text)), Err(Refusal { reason: "avoided", .. }));
        assert!(avoided(&ASKED[..80]) && avoided("Tell me, which of these words is the longest of them all?"));
        assert!(!avoided("She sold clips to 48 of her friends."));
    }

    #[test]
    fn an_answer_is_read_out_of_fences_and_thoughts() {
        let expected = json!({"rows": [1]}).as_object().unwrap().clone();
        for text in [
            "{\"rows\": [1]}",
            "```json\n{\"rows\": [1]}\n```",
            "<think>so</think> Here: {\"rows\": [1]} I hope it helps",
            "<think>maybe {\"rows\": [2]} or {x}</think> The {rows}: {\"rows\": [1]}; is {that} right?",
        ] {
            assert_eq!(object(text), Ok(expected.clone()), "{text}");
        }
        let reason = |text: &str| object(text).unwrap_err().reason;
        let cut = "{\"rows\": [{\"rows\": []}, {\"rows\": [1";
        assert_eq!(["", "no", "}{", "{\"rows\": [1]", "é{é", cut].map(reason), ["json"; 6]);
        assert_eq!(reason(&"[".repeat(300_000)), "huge");
        assert_eq!(reason(&("{\"a\":".repeat(10_000) + &"}".repeat(10_000))), "json");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 500, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..Default::default()
        })]

        #[test]
        fn no_answer_makes_the_reader_panic(text in "[{}\"a:, \\[\\]é\\\\]{0,40}") {
            let _ = object(&text);
        }
    }
}
