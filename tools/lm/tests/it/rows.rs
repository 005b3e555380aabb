//! Rows to sequences and pairs, against TRL; checks, warnings, and rows that are wrong.

use serde_json::{Value, json};
use tunesmith_lm::{
    chat::ChatTemplate,
    engine::batch::Sequence,
    rows::{Count, Encoder, Tally, Train, Warning, pack},
    tokens::Tokenizer,
};

use crate::{chat, copy, golden};

fn expected() -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden("rows.json")).unwrap()).unwrap()
}

fn tied() -> Tokenizer {
    Tokenizer::from_dir(&golden("llama/tied")).unwrap()
}

/// The tokenizer of the golden files, which may be told to begin every text.
fn tokenizer(file: &Value, begins: bool) -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden("llama/tied"), dir.path());
    let path = dir.path().join("tokenizer.json");
    let mut settings: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    if begins {
        settings["post_processor"] = file["begins"][0].clone();
    }
    std::fs::write(&path, settings.to_string()).unwrap();
    Tokenizer::from_dir(dir.path()).unwrap()
}

fn named(template: &Value) -> Option<ChatTemplate> {
    let path = golden(&format!("chat/templates/{}.jinja", template.as_str()?));
    Some(chat::template(&std::fs::read_to_string(path).unwrap()).unwrap())
}

/// Tokens and indices of those that are trained; the first never is, whatever TRL's label for it says.
fn told(sequence: &Value) -> (Vec<u32>, Vec<usize>) {
    let ids = serde_json::from_value(sequence["ids"].clone()).unwrap();
    let trained: Vec<usize> = serde_json::from_value(sequence["trained"].clone()).unwrap();
    (ids, trained.into_iter().filter(|at| *at > 0).collect())
}

fn ours(sequence: &Sequence) -> (Vec<u32>, Vec<usize>) {
    (sequence.tokens.clone(), sequence.trained_tokens().collect())
}

#[test]
fn sequences_and_their_labels_equal_those_of_trl() {
    let file = expected();
    for case in file["sft"].as_array().unwrap() {
        let tokenizer = tokenizer(&file, case["begins"].as_bool().unwrap());
        let template = named(&case["template"]);
        let train = serde_json::from_value(case["train"].clone()).unwrap();
        let max_length = case["max_length"].as_u64().map(|n| n as usize);
        let encoder = Encoder { tokenizer: &tokenizer, template: template.as_ref(), train, max_length };
        let label = format!("{} {} {train:?} {max_length:?}", case["name"], case["template"]);
        let rows = case["rows"].as_array().unwrap();
        let (sequences, tally) = encoder.sequences(rows).unwrap_or_else(|e| panic!("{label}: {e}"));
        // A row of which only the first token has a label has nothing to predict, and is left out here.
        let theirs: Vec<_> = case["sequences"].as_array().unwrap().iter().map(told).filter(|s| !s.1.is_empty()).collect();
        assert_eq!(sequences.iter().map(ours).collect::<Vec<_>>(), theirs, "{label}");
        assert_eq!(tally.rows, rows.len());
        assert_eq!(tally.sequences + tally.dropped.rows, tally.rows, "{label}");
        assert_eq!(tally.trained, theirs.iter().map(|s| s.1.len()).sum::<usize>(), "{label}");
        assert_eq!(tally.tokens, theirs.iter().map(|s| s.0.len()).sum::<usize>(), "{label}");
    }
}

#[test]
fn pairs_equal_those_of_trl() {
    let file = expected();
    for case in file["dpo"].as_array().unwrap() {
        let tokenizer = tokenizer(&file, case["begins"].as_bool().unwrap());
        let template = named(&case["template"]);
        let max_length = case["max_length"].as_u64().map(|n| n as usize);
        let encoder = Encoder { tokenizer: &tokenizer, template: template.as_ref(), train: None, max_length };
        let label = format!("{} {} {max_length:?}", case["name"], case["template"]);
        let (pairs, tally) = encoder.pairs(case["rows"].as_array().unwrap()).unwrap_or_else(|e| panic!("{label}: {e}"));
        let theirs: Vec<_> = case["pairs"].as_array().unwrap().iter().map(|p| [told(&p[0]), told(&p[1])]).collect();
        assert_eq!(pairs.iter().map(|p| [ours(&p.chosen), ours(&p.rejected)]).collect::<Vec<_>>(), theirs, "{label}");
        assert_eq!((tally.sequences, tally.rows), (pairs.len(), case["rows"].as_array().unwrap().len()));
    }
}

#[test]
fn packing_and_blocks_equal_those_of_trl() {
    let file = expected();
    for case in file["packs"].as_array().unwrap() {
        let lengths: Vec<usize> = serde_json::from_value(case["lengths"].clone()).unwrap();
        let bins: Vec<Vec<usize>> = serde_json::from_value(case["bins"].clone()).unwrap();
        assert_eq!(pack(&lengths, case["max"].as_u64().unwrap() as usize), bins, "bins of {}", case["max"]);
    }
    let tokenizer = tied();
    for case in file["blocks"].as_array().unwrap() {
        let max_length = case["max"].as_u64().map(|n| n as usize);
        let encoder = Encoder { tokenizer: &tokenizer, template: None, train: None, max_length };
        let texts: Vec<String> = serde_json::from_value(case["texts"].clone()).unwrap();
        let (blocks, tally) = encoder.blocks(&texts).unwrap();
        let mut theirs: Vec<Vec<u32>> = serde_json::from_value(case["blocks"].clone()).unwrap();
        // Nothing is predicted in a block of one token.
        theirs.retain(|block| block.len() > 1);
        assert_eq!(blocks.iter().map(|b| b.tokens.clone()).collect::<Vec<_>>(), theirs);
        assert!(blocks.iter().all(|block| block.targets() + 1 == block.tokens.len()));
        assert_eq!((tally.rows, tally.sequences), (texts.len(), blocks.len()));
    }
}
