//! What lm-eval's own HFLM answered, by the script beside the golden file.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tunesmith_harness::{
    eval::request::Generation,
    model::{LanguageModel, Message},
};
use tunesmith_lm::tokens::Tokenizer;

use super::{TextModel, conventions::Conventions};

const GOLDEN: &str = include_str!("../../tests/golden/lm_eval.json");

fn quiet() -> impl FnMut(usize, usize) {
    |_, _| {}
}

/// Models of the golden files, with a tokenizer that adds a BOS and one that adds none, and what lm-eval answered.
fn models() -> Vec<(String, tempfile::TempDir, Value)> {
    let golden: serde_json::Map<String, Value> = serde_json::from_str(GOLDEN).unwrap();
    let made = golden.into_iter().map(|(name, answers)| {
        let (model, _) = name.split_once(' ').unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("lm/tests/golden").join(model);
        let to = tempfile::tempdir().unwrap();
        for file in tunesmith_lm::model::FILES.into_iter().chain(["model.safetensors"]) {
            if from.join(file).is_file() {
                std::fs::copy(from.join(file), to.path().join(file)).unwrap();
            }
        }
        let file = to.path().join("tokenizer.json");
        let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        tokenizer["post_processor"] = answers["post_processor"].clone();
        std::fs::write(file, tokenizer.to_string()).unwrap();
        (name.clone(), to, answers)
    });
    made.collect()
}

fn list<'a>(answers: &'a Value, kind: &str) -> &'a Vec<Value> {
    answers[kind].as_array().unwrap()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap().to_string()
}

#[test]
fn likelihoods_equal_lm_evals_for_every_batch() {
    for (name, dir, answers) in models() {
        let (known, refused): (Vec<&Value>, Vec<&Value>) =
            list(&answers, "loglikelihood").iter().partition(|answer| answer[2].is_number());
        let requests: Vec<(String, String)> = known.iter().map(|a| (string(&a[0]), string(&a[1]))).collect();
        assert!(requests.len() > 60);
        for batch in [1, 4, 32] {
            let mut model = TextModel::open(dir.path(), None).unwrap().batch(batch);
            let got = model.loglikelihood(&requests, &mut quiet()).unwrap();
            for (got, want) in got.iter().zip(&known) {
                let difference = (got.sum - want[2].as_f64().unwrap()).abs();
                assert!(difference < 1e-4, "{name}, batch {batch}: {want} {got:?}");
                assert_eq!(got.greedy, want[3].as_bool().unwrap(), "{name}, batch {batch}: {want}");
            }
        }
        let mut model = TextModel::open(dir.path(), None).unwrap();
        for answer in refused {
            let request = [(string(&answer[0]), string(&answer[1]))];
            assert!(model.loglikelihood(&request, &mut quiet()).is_err(), "{name}: {answer}");
        }
    }
}

#[test]
fn rolling_likelihoods_equal_lm_evals() {
    for (name, dir, answers) in models() {
        let answers = list(&answers, "rolling");
        let texts: Vec<String> = answers.iter().map(|answer| string(&answer[0])).collect();
        let mut model = TextModel::open(dir.path(), None).unwrap().batch(3);
        let got = model.loglikelihood_rolling(&texts, &mut quiet()).unwrap();
        for (got, want) in got.iter().zip(answers) {
            let want = want[1].as_f64().unwrap();
            // lm-eval adds in f32, which has seven digits.
            assert!((got - want).abs() < 1e-4 * (1.0 + want.abs() / 1000.0), "{name}: {got} {want}");
        }
    }
}

fn settings(value: &Value) -> Generation {
    Generation {
        until: value["until"].as_array().unwrap().iter().map(string).collect(),
        max_gen_toks: value["max_gen_toks"].as_u64().map(|n| n as usize),
        do_sample: false,
        temperature: 0.0,
        top_p: 1.0,
        top_k: None,
        repeat: 0,
    }
}

#[test]
fn generated_texts_equal_lm_evals_for_every_batch() {
    for (name, dir, answers) in models() {
        let answers = list(&answers, "generate");
        let requests: Vec<_> = answers.iter().map(|a| (string(&a[0]), settings(&a[1]))).collect();
        let want: Vec<String> = answers.iter().map(|answer| string(&answer[2])).collect();
        for batch in [1, 16] {
            let mut model = TextModel::open(dir.path(), None).unwrap().batch(batch);
            assert_eq!(model.generate_until(&requests, &mut quiet()).unwrap(), want, "{name}, batch {batch}");
        }
    }
}

#[test]
fn chat_prompts_equal_transformers() {
    for (name, dir, answers) in models() {
        let model = TextModel::open(dir.path(), None).unwrap();
        for chat in list(&answers, "chat") {
            let messages: Vec<Message> = serde_json::from_value(chat[0].clone()).unwrap();
            assert_eq!(model.chat_prompt(&messages).unwrap(), string(&chat[1]), "{name}");
        }
    }
}

fn tied() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("lm/tests/golden/llama/tied")
}

#[test]
fn classic_bug_a_bos_that_the_tokenizer_does_not_add_is_not_added() {
    let tokenizer = Tokenizer::from_dir(&tied()).unwrap();
    let question = Conventions::new(&tokenizer, 128).unwrap().pair("the sun", " was").unwrap();
    assert_eq!(question.tokens, tokenizer.encode("the sun was").unwrap());
    let mut adds = tokenizer.clone();
    adds.add_bos = true;
    assert_ne!(tokenizer.bos, None);
    assert_eq!(Conventions::new(&adds, 128).unwrap().pair("the sun", " was").unwrap(), question);
}

#[test]
fn classic_bug_context_and_continuation_are_encoded_as_one_text() {
    let tokenizer = Tokenizer::from_dir(&tied()).unwrap();
    let mut conventions = Conventions::new(&tokenizer, 128).unwrap();
    let question = conventions.pair("the sun ", "was").unwrap();
    let (whole, context) = (tokenizer.encode("the sun was").unwrap(), tokenizer.encode("the sun").unwrap());
    assert_eq!((&question.tokens, question.from), (&whole, context.len()));
    let apart = [tokenizer.encode("the sun ").unwrap(), tokenizer.encode("was").unwrap()].concat();
    assert_ne!(question.tokens, apart);
}

#[test]
fn draws_depend_on_the_request_and_its_repeat_alone() {
    let drawn = Generation {
        do_sample: true,
        temperature: 1.0,
        max_gen_toks: Some(12),
        ..settings(&serde_json::json!({"until": []}))
    };
    let ask = |contexts: &[(&str, usize)], batch: usize| {
        let request =
            |(context, repeat): &(&str, usize)| (context.to_string(), Generation { repeat: *repeat, ..drawn.clone() });
        let requests: Vec<_> = contexts.iter().map(request).collect();
        TextModel::open(&tied(), None).unwrap().batch(batch).generate_until(&requests, &mut quiet()).unwrap()
    };
    let all = ask(&[("the sun", 0), ("a cat", 0), ("the sun", 1)], 1);
    assert_ne!(all[0], all[2]);
    assert_eq!(ask(&[("a cat", 0), ("the sun", 1), ("the sun", 0)], 4), [&all[1], &all[2], &all[0]].map(String::clone));
}

#[test]
fn a_fingerprint_names_weights_tokenizer_and_adapter() {
    let base = TextModel::open(&tied(), None).unwrap().fingerprint();
    let adapted = TextModel::open(&tied(), Some(&tied().join("adapter"))).unwrap().fingerprint();
    let (_, other, _) = models().swap_remove(1);
    let tokenizer = TextModel::open(other.path(), None).unwrap().fingerprint();
    assert_eq!(TextModel::open(&tied(), None).unwrap().fingerprint(), base);
    assert!(base != adapted && base != tokenizer && adapted != tokenizer);
}

#[test]
fn what_cannot_be_answered_is_refused() {
    let mut model = TextModel::open(&tied(), None).unwrap();
    let mut ask = |context: &str, text: &str| {
        model.loglikelihood(&[(context.into(), text.into())], &mut quiet()).unwrap_err().to_string()
    };
    assert!(ask("the sun", "").starts_with("a continuation has no tokens; drop rows with empty answers"));
    assert!(ask(" \n", "\t").starts_with("a context has no tokens but its blanks"));
    assert!(ask("a", &" the 1".repeat(100)).starts_with("a continuation has "));
    let long = Generation { max_gen_toks: None, ..settings(&serde_json::json!({"until": []})) };
    let refused = model.generate_until(&[("a".into(), long)], &mut quiet()).unwrap_err().to_string();
    assert!(refused.starts_with("max_gen_toks (256) leaves no room"), "{refused}");
}
