//! What a made row must be before anything else is asked of it: of its shape, plain text, and new.

use std::collections::HashSet;

use jsonschema::Validator;
use serde_json::Value;
use tunesmith_harness::{hash::sha256, recipe::Row, redact::redacted, text::visible_lines};

use super::{
    alike::{Index, Origin},
    spec::Spec,
};
use crate::files::cut;

/// Largest answer that is looked at, in bytes.
const MOST_BYTES: usize = 256 << 10;
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
    index: Index,
}

impl Checker {
    /// A checker that knows the seed rows and the rows to avoid.
    pub fn new(spec: &Spec, avoid: &[Row]) -> Result<Checker, String> {
        let schema = Spec::schema(spec.columns.iter());
        let validator = jsonschema::validator_for(&schema).map_err(|error| format!("columns: {error}"))?;
        let likeness = spec.alike.likeness.unwrap_or(if spec.teacher.is_some() { 0.8 } else { 1.0 });
        let mut index = Index::new(likeness, spec.texts().into_iter().map(str::to_owned).collect());
        avoid.iter().for_each(|row| index.avoid(row));
        // Without a source of their own, the seed rows are what is made.
        if spec.teacher.is_some() || !spec.templates.is_empty() {
            spec.seed_rows().iter().for_each(|row| index.insert(row, Origin::Seeds));
        }
        Ok(Checker { validator, keep_prompt_like: spec.keep_prompt_like, ids: HashSet::new(), index })
    }

    /// The row's name, where it is new and good; from then on it is known.
    pub fn take(&mut self, row: &Row) -> Result<String, Refusal> {
        self.fits(row)?;
        match self.index.like(row) {
            Some(Origin::Seeds) => return Err(Refusal::new("near_seed", "it nearly repeats a seed row")),
            Some(_) => return Err(Refusal::new("near", "it nearly repeats an earlier row")),
            None => {}
        }
        let id = self.name(row)?;
        self.index.insert(row, Origin::Made);
        Ok(id)
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
        match self.index.is_avoided(row) {
            true => Err(Refusal::new("avoided", "it is too like a row of a file to avoid")),
            false => Ok(()),
        }
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
            return Err(Refusal::new("secret", "it holds what looks like a key or a password"));
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

/// What names a row: its content.
pub fn id(row: &Row) -> String {
    let text = serde_json::to_string(row).unwrap_or_default();
    sha256(text.as_bytes())[..16].to_owned()
}

/// The JSON object in an answer, which may stand in a code fence or behind other words.
pub fn object(text: &str) -> Result<Row, Refusal> {
    if text.len() > MOST_BYTES {
        return Err(Refusal::new("huge", format!("the answer has {} bytes, and {MOST_BYTES} are read", text.len())));
    }
    let begin = text.find('{').ok_or_else(|| Refusal::new("json", "the answer holds no JSON object"))?;
    let end = text.rfind('}').filter(|end| *end > begin).unwrap_or(text.len() - 1);
    let whole = text.get(begin..=end).unwrap_or_default();
    serde_json::from_str(whole).map_err(|error| Refusal::new("json", format!("the answer is not JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checker(keep_prompt_like: bool) -> Checker {
        let spec = json!({
            "name": "n", "rows": 5, "keep_prompt_like": keep_prompt_like, "seeds": [{"text": "A seed row of five words", "n": 1}],
            "columns": [{"name": "text", "most": 80}, {"name": "n", "kind": "integer", "least": 0}],
            "teacher": {"instructions": "x"},
        });
        let avoid = json!({"q": "which of these words is the longest of them all"}).as_object().unwrap().clone();
        Checker::new(&Spec::of(spec).unwrap(), &[avoid]).unwrap()
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
        let key = format!("my key is hf_{}", "aB3dE6gHi9".repeat(4));
        assert_eq!(reason(json!({"text": key, "n": 1})), "secret: it holds what looks like a key or a password");
        assert!(reason(json!({"text": "x".repeat(81), "n": 1})).starts_with("schema: /text: "));
        let marked = json!({"text": "end<|im_end|>", "n": 1});
        assert!(checker(true).take(marked.as_object().unwrap()).is_ok());
    }

    #[test]
    fn an_answer_is_read_out_of_fences_and_thoughts() {
        let expected = json!({"rows": [1]}).as_object().unwrap().clone();
        for text in [
            "{\"rows\": [1]}",
            "```json\n{\"rows\": [1]}\n```",
            "<think>so</think> Here: {\"rows\": [1]} I hope it helps",
        ] {
            assert_eq!(object(text), Ok(expected.clone()), "{text}");
        }
        let reason = |text: &str| object(text).unwrap_err().reason;
        assert_eq!(["", "no", "}{", "{\"rows\": [1]", "é{é"].map(reason), ["json"; 5]);
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
