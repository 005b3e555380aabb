//! Checks with the real PEFT, transformers and llama.cpp. They need what the repository does not carry, so each is
//! skipped with a message unless its environment variable says where the peer is:
//! `TUNESMITH_PEER_PYTHON` (a Python with torch, transformers, peft) and `TUNESMITH_PEER_LLAMA` (llama.cpp's `bin`).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use serde_json::Value;
use tunesmith_lm::{
    gguf::{self, Quant},
    lora::Adapter,
    matrix::Stored,
    model::Model,
    weights::Dtype,
};

use crate::{chat, golden, methods, quants};

fn peer(variable: &str) -> Option<String> {
    let found = std::env::var(variable).ok().filter(|path| !path.is_empty());
    if found.is_none() {
        eprintln!("skipped: set {variable} to run this check");
    }
    found
}

fn run(python: &str, script: &str, arguments: &[&Path]) {
    let output = Command::new(python).arg(golden(script)).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    println!("{}", text(&output.stdout));
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn our_adapters_load_in_peft_with_every_key() {
    for name in crate::MODELS {
        let model = Model::open(&golden(name)).unwrap();
        let adapter = Adapter::load(&model.path.join("adapter"), &model.config).unwrap();
        check_peft(&model, &adapter, None);
    }
}

#[test]
fn our_adapters_of_every_method_load_in_peft_with_every_key() {
    for name in methods::NAMES {
        let dir = golden("methods").join(name);
        let model = Model::open(&golden(&std::fs::read_to_string(dir.join("base.txt")).unwrap())).unwrap();
        let adapter = Adapter::load(&dir.join("adapter"), &model.config).unwrap();
        println!("{name}");
        check_peft(&model, &adapter, Some(&dir.join("expected.safetensors")));
    }
}

/// The adapter as written here gives the logits of `expected` in PEFT, and so does the merged model in transformers.
fn check_peft(model: &Model, adapter: &Adapter, expected: Option<&Path>) {
    let Some(python) = peer("TUNESMITH_PEER_PYTHON") else { return };
    let dir = tempfile::tempdir().unwrap();
    adapter.save(dir.path(), &model.config).unwrap();
    let merged = dir.path().join("merged");
    crate::copy(&model.path, &merged);
    for entry in std::fs::read_dir(&merged).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("safetensors") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let (config, weights) = adapter.merge(&model.weights, &model.config).unwrap();
    weights.save(&merged, &config, Dtype::F32).unwrap();
    std::fs::write(merged.join("config.json"), config.to_json()).unwrap();
    let arguments = [Some(model.path.as_path()), Some(dir.path()), Some(&merged), expected];
    run(&python, "check_peft.py", &arguments.into_iter().flatten().collect::<Vec<_>>());
}

/// The mixture of Q4_K and Q6_K that most files are stored in.
#[test]
fn a_base_that_llama_cpp_quantised_trains_as_its_decoded_numbers_do() {
    let (Some(python), Some(llama)) = (peer("TUNESMITH_PEER_PYTHON"), peer("TUNESMITH_PEER_LLAMA")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (made, whole, quantised) = (dir.path().join("made"), dir.path().join("f16.gguf"), dir.path().join("q4.gguf"));
    run(&python, "make_k_quants.py", &[&made]);
    let model = Model::open(&made).unwrap();
    methods::same_gradients(&methods::decoded(&model), &model, Stored::BF16);
    gguf::write(&whole, &model, Quant::F16).unwrap();
    let quantize = Path::new(&llama).join("llama-quantize");
    let output = Command::new(quantize).args([&whole, &quantised]).arg("Q4_K_M").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stored = Model::open(&quantised).unwrap();
    let kinds: BTreeSet<String> =
        stored.weights.layers.iter().flat_map(|layer| layer.linears().map(|m| format!("{:?}", m.dtype()))).collect();
    assert!(kinds.iter().eq(["Some(Q4K)", "Some(Q6K)"]), "{kinds:?}");
    methods::same_gradients(&methods::decoded(&stored), &stored, Stored::Q4K);
    let ours = dir.path().join("ours.gguf");
    assert_eq!(gguf::write(&ours, &model, Quant::Q4KM).unwrap().not_quantized, Vec::<String>::new());
    let ours = Model::open(&ours).unwrap();
    for ((name, source), (ours, theirs)) in
        quants::matrices(&model).into_iter().zip(quants::matrices(&ours).into_iter().zip(quants::matrices(&stored)))
    {
        assert_eq!(ours.1.dtype(), theirs.1.dtype(), "{name}");
        let ratio = quants::difference(ours.1, source) / quants::difference(theirs.1, source);
        println!("{name} as {:?}: {ratio:.4} of llama-quantize's difference", ours.1.dtype());
        assert!(ratio <= 1.02, "{name}: {ratio}");
    }
    // llama.cpp rounds what it multiplies with such blocks to 8 bits, so that near-ties of a random model fall otherwise.
    check_llama_cpp(&model, Quant::Q4KM, "50");
}

#[test]
fn our_gguf_files_run_in_llama_cpp() {
    for name in ["tied", "wide"] {
        let model = Model::open(&golden("llama").join(name)).unwrap();
        for (quant, allowed) in [(Quant::F32, "0"), (Quant::F16, "0"), (Quant::Q8_0, "20")] {
            check_llama_cpp(&model, quant, allowed);
        }
    }
}

#[test]
fn gguf_files_of_each_family_run_in_llama_cpp() {
    for name in crate::families::NAMES {
        let mut model = crate::gguf::expressible(name);
        // Room for the prompts: llama.cpp's server takes no more than the model's context.
        model.config.max_position_embeddings = 512;
        println!("{name}");
        check_llama_cpp(&model, Quant::F32, "0");
        // Sums in F16 go another way at near-ties: one prompt of qwen2.
        check_llama_cpp(&model, Quant::F16, "2");
    }
}

/// Ids must be equal on every prompt, and greedy tokens but for `allowed` prompts.
fn check_llama_cpp(model: &Model, quant: Quant, allowed: &str) {
    let (Some(python), Some(llama)) = (peer("TUNESMITH_PEER_PYTHON"), peer("TUNESMITH_PEER_LLAMA")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(format!("{}.gguf", quant.name()));
    gguf::write(&path, model, quant).unwrap();
    // transformers computes with what the file holds, rounded as it is.
    let back = Model::open(&path).unwrap();
    let reread = dir.path().join("reread");
    crate::copy(&model.path, &reread);
    back.weights.save(&reread, &back.config, Dtype::F32).unwrap();
    std::fs::write(reread.join("config.json"), model.config.to_json()).unwrap();
    run(&python, "check_llama_cpp.py", &[Path::new(&llama), &reread, &path, Path::new(allowed)]);
}

/// Every chat template in TRL's package and in the folders of `TUNESMITH_PEER_TEMPLATES` (separated by `:`).
#[test]
fn chat_templates_of_installed_packages_render_as_in_transformers() {
    let Some(python) = peer("TUNESMITH_PEER_PYTHON") else { return };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("cases.json");
    let folders = std::env::var("TUNESMITH_PEER_TEMPLATES").unwrap_or_default();
    let folders: Vec<&Path> = folders.split(':').filter(|f| !f.is_empty()).map(Path::new).collect();
    run(&python, "check_chat.py", &[&[out.as_path()], &folders[..]].concat());
    let file: Value = serde_json::from_str(&std::fs::read_to_string(out).unwrap()).unwrap();
    let (mut equal, mut different) = (0, BTreeMap::<&str, Vec<String>>::new());
    for case in file["cases"].as_array().unwrap() {
        let template = &file["templates"][case["template"].as_u64().unwrap() as usize];
        let difference = chat::difference(template["source"].as_str().unwrap(), &file["conversations"], case);
        match difference {
            None => equal += 1,
            Some(line) => different.entry(template["name"].as_str().unwrap()).or_default().push(line),
        }
    }
    for (name, lines) in &different {
        println!("{name}: {} differ\n  {}", lines.len(), lines.join("\n  "));
    }
    let templates = file["templates"].as_array().unwrap().len();
    println!("{} of {templates} templates equal; {equal} cases equal", templates - different.len());
    // What is known to differ: none that is looped over and generators in tojson are errors in Python and not here, and
    // a text that Python marks as safe escapes what is added to it.
    let known = [
        "c4ai-command-r-plus-tool_use",
        "Hermes-2-Pro-Llama-3-8B-tool_use",
        "llama-cpp-deepseek-r1",
        "functionary-medium-v3.1",
    ];
    let unknown: Vec<_> = different.keys().filter(|name| !known.iter().any(|known| name.contains(known))).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
