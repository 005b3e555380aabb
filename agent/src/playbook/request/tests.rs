//! Requests, and what is understood of them.
#![allow(clippy::unwrap_used)]
use tunesmith_harness::task::JobKind::{Classification, Extraction, Generation};

use super::*;

#[test]
fn the_main_job_is_understood() {
    let wanted = read(
        "Fine-tune a small model to route these customer messages to the right intent. Tell me how good it is before \
         and after on messages it has not seen, and give me a GGUF file I can ship.",
    );
    let exports = vec![Export { format: "gguf", quant: "q8_0" }];
    assert_eq!(wanted, Some(Wanted { kinds: vec![Classification], exports, ..Wanted::default() }));
    let maths = read("Fine-tune a small model to solve these maths problems; show accuracy before and after.");
    assert_eq!(maths, Some(Wanted { kinds: vec![Generation], ..Wanted::default() }));
}

#[test]
fn what_is_no_training_is_refused() {
    for request in [
        "write me a poem",
        "What is the capital of France?",
        "",
        "delete all my files",
        "hello",
        "Translate this to French.",
        "Summarise this report.",
        "How many rows are in this file?",
    ] {
        assert_eq!(read(request), None, "{request}");
    }
}

#[test]
fn kinds_are_understood_without_jargon() {
    for (request, want) in [
        ("Make something that tells me which team a complaint should go to", vec![Classification]),
        ("I want it to spot junk mail", vec![Classification]),
        ("teach it to tell whether a review is good or bad", vec![Classification]),
        ("It should pull the order number and the date out of each mail", vec![Extraction]),
        ("train a bot that replies to customers in our tone", vec![Generation]),
        ("make a model that rewrites my notes in plain English", vec![Generation]),
        ("teach it to turn notes into letters", vec![Generation]),
        ("fine-tune a model on this", vec![]),
        ("we need our letters in German", vec![Generation]),
        ("turn questions into SQL", vec![Generation]),
        ("turn this file into a small spam filter", vec![Classification]),
        ("put each ad in the right band", vec![Classification]),
    ] {
        assert_eq!(read(request).unwrap().kinds, want, "{request}");
    }
}

#[test]
fn what_the_playbook_does_not_do_is_named() {
    for (request, want) in [
        ("classify these and give me an ONNX file", vec!["an ONNX file"]),
        ("classify these as a Q4_K_M gguf", vec![]),
        ("classify these as a Q4_0 gguf", vec!["4-bit quantisation other than Q4_K_M"]),
        ("full fine-tuning with DPO, no LoRA", vec!["DPO", "full fine-tuning"]),
        ("Do not train anything, just classify", vec!["anything but training"]),
        ("route support tickets to departments and adopt a tone; no ONNX please", vec![]),
        ("classify my photos", vec!["images"]),
        ("teach a model to predict the price of a house", vec![phrases::NUMBERS]),
        ("classify them with at least 90 % recall", vec!["a target for recall"]),
    ] {
        assert_eq!(read(request).unwrap().beyond, want, "{request}");
    }
}

#[test]
fn files_to_ship_are_read_with_how_they_store_numbers() {
    let of = |request| -> Vec<(&str, &str)> {
        read(request).unwrap().exports.iter().map(|export| (export.format, export.quant)).collect()
    };
    assert_eq!(of("classify them; I run it in Ollama"), [("gguf", "q8_0")]);
    assert_eq!(of("classify them; a GGUF in F16 and one in Q8_0"), [("gguf", "q8_0"), ("gguf", "f16")]);
    assert_eq!(of("classify them; a Q4_K_M gguf"), [("gguf", "q4_k_m")]);
    assert_eq!(of("classify them, quantised to 4 bits"), [("gguf", "q4_k_m")]);
    assert_eq!(of("classify them; safetensors, and a 4-bit gguf"), [("gguf", "q4_k_m"), ("safetensors", "f16")]);
    assert_eq!(of("classify them; safetensors and llama.cpp"), [("gguf", "q8_0"), ("safetensors", "f16")]);
    assert_eq!(of("classify them, in a file under 5 MB"), [("gguf", "q8_0")]);
    assert!(of("classify them, I need no gguf").is_empty());
}

#[test]
fn ids_are_told_apart_by_the_words_around_them() {
    let wanted = read(
        "Fine-tune HuggingFaceTB/SmolLM2-135M on the stanfordnlp/imdb dataset to tell good or bad reviews apart and \
         publish it privately as my-org/Reviews, with yes/no answers.",
    );
    let wanted = wanted.unwrap();
    assert_eq!(wanted.base.name.as_deref(), Some("HuggingFaceTB/SmolLM2-135M"));
    assert_eq!(wanted.dataset.as_deref(), Some("stanfordnlp/imdb"));
    assert_eq!(wanted.publish, Some(Publish { to: "my-org/Reviews".into(), public: false }));
    assert_eq!(wanted.questions, Vec::<String>::new());
    let local = read("classify positive/negative reviews from data/reviews.csv").unwrap();
    assert_eq!((local.base, local.dataset, local.publish), (Base::default(), None, None));
}

#[test]
fn contradictions_are_asked_about() {
    for (request, question) in [
        ("classify them, under 5 MB, at most 10 MB", "which size holds"),
        ("classify them in 10 minutes, within an hour", "which time holds"),
        ("classify them with 90 % accuracy, at least 95 % accuracy", "which target for accuracy holds"),
        ("continue pretraining on our letters; it should be 5 points better", "what the text shall take"),
        ("classify them and publish it on the Hub", "under which name to publish"),
        ("classify them and publish it privately and publicly as a-b/c-d", "whether to publish privately"),
    ] {
        let questions = read(request).unwrap().questions;
        assert!(questions.len() == 1 && questions[0].starts_with(question), "{request}: {questions:?}");
    }
}

#[test]
fn licences_families_and_sizes_of_bases_are_read() {
    let of = |request| {
        let wanted = read(request).unwrap();
        (wanted.licence, wanted.base.name, wanted.base.parameters)
    };
    assert_eq!(
        of("classify with an Apache-licensed Qwen of about 0.5B"),
        (Some("apache-2.0".into()), Some("Qwen".into()), Some(500_000_000))
    );
    assert_eq!(of("classify; we sell it, so it must allow commercial use"), (Some("permissive".into()), None, None));
    assert_eq!(of("classify for llama.cpp"), (None, None, None));
}
