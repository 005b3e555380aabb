//! What keeping to a schema costs for each token: `cargo run -p tunesmith-lm --example constrain -- MODEL...`
//!
//! For each model (a directory or a GGUF file) it writes with and without a schema, in turns, and prints the median time of a token
//! and the ratio. Then it times sets of tokens over a vocabulary of 150,000, first and remembered.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Instant};

use serde_json::{Map, Value, json};
use tunesmith_lm::{
    constrain::{Grammar, Guide, Vocabulary},
    generate::{Sampling, Session},
    model::Model,
    rng::Rng,
    tokens::Tokenizer,
};

const TOKENS: usize = 160;

fn main() {
    let schema = json!({"type": "object", "required": ["name", "tags", "score"], "properties": {
        "name": {"type": "string", "minLength": 60, "maxLength": 400}, "tags": {"type": "array", "items": {"type": "string"}},
        "score": {"type": "number", "minimum": 0, "maximum": 1}, "team": {"enum": ["cards", "fees", "transfers"]}}});
    let grammar = Arc::new(Grammar::of_schema(&schema).unwrap());
    for name in std::env::args().skip(1) {
        of_model(&name, &grammar);
    }
    of_vocabulary(&grammar);
}

fn of_model(name: &str, grammar: &Arc<Grammar>) {
    let model = Model::open(Path::new(name)).unwrap();
    let session = Session::new(&model, None).unwrap();
    let vocabulary = Arc::new(Vocabulary::new(&model.tokenizer, &[]).unwrap());
    let prompt = vec![model.tokenizer.encode("Describe the customer as JSON.").unwrap()];
    let sampling = |stops: &[u32]| Sampling { temperature: 1.0, seed: 1, ..Sampling::greedy(TOKENS, stops.to_vec()) };
    let (mut free, mut guided) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        let begun = Instant::now();
        let done = session.generate(&prompt, &sampling(&[]), &mut |_, _| {}).unwrap();
        free.push(begun.elapsed().as_secs_f64() * 1e6 / done[0].ids.len() as f64);
        let begun = Instant::now();
        // A fresh guide: what it must find out is part of the cost.
        let mut guide = Guide::new(vocabulary.clone(), grammar.clone(), &model.tokenizer.stops);
        let sampling = sampling(&model.tokenizer.stops);
        let done = session.generate_guided(&prompt, &sampling, &mut guide, &mut |_, _| {}).unwrap();
        guided.push(begun.elapsed().as_secs_f64() * 1e6 / done[0].ids.len() as f64);
    }
    let (free, guided) = (median(free), median(guided));
    println!("{name}: {free:.0} us a token, with the schema {guided:.0} us, ratio {:.3}", guided / free);
}

/// Random words of bytes, as many as large vocabularies have.
fn of_vocabulary(grammar: &Arc<Grammar>) {
    let mut rng = Rng::new(1, "words");
    let letters: Vec<char> = ('!'..='~').chain(['\u{120}'; 12]).collect();
    let mut words: BTreeSet<String> =
        ('!'..='~').chain('\u{a1}'..='\u{ac}').chain('\u{ae}'..='\u{ff}').map(String::from).collect();
    words.extend(('\u{100}'..='\u{143}').map(String::from));
    while words.len() < 150_000 {
        words.insert((0..2 + rng.below(8)).map(|_| letters[rng.below(letters.len())]).collect());
    }
    let vocab: Map<String, Value> = words.into_iter().enumerate().map(|(id, word)| (word, id.into())).collect();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let json = json!({"version": "1.0", "added_tokens": [], "pre_tokenizer": bytes, "decoder": bytes,
        "model": {"type": "BPE", "vocab": vocab, "merges": []}});
    let tokenizer = Tokenizer::from_json(&json.to_string()).unwrap();
    let begun = Instant::now();
    let vocabulary = Arc::new(Vocabulary::new(&tokenizer, &[]).unwrap());
    println!("150,000 tokens: tree {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    let mut guide = Guide::new(vocabulary, grammar.clone(), &[]);
    let mut state = guide.start();
    for text in ["{", "\"name\": \"", "Ab", "c", &"x".repeat(60), "\", \"tags\": [", "\"", "a\"], \"score\": 0.", "5"] {
        state = guide.read(state, text.as_bytes()).unwrap();
        let time = |guide: &mut Guide| {
            let begun = Instant::now();
            let tokens = guide.mask(state).ids().count();
            (begun.elapsed().as_secs_f64() * 1e6, tokens)
        };
        let ((first, tokens), (again, _)) = (time(&mut guide), time(&mut guide));
        let shown: String = text.chars().take(16).collect();
        println!("  after {shown:?}: {tokens} tokens, first {first:.0} us, then {again:.0} us");
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
