//! The tools by hand: from rows to a shipped file with the commands alone.

use std::{fs, process::Stdio};

use serde_json::{Value, json};

use crate::cli::{Said, base, command, tickets, tunesmith};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn rows_become_a_shipped_model_command_by_command() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(40)).unwrap();
    let base = base().to_str().unwrap();
    let run = |args: &[&str]| tunesmith(dir.path(), args).ok();

    let seen = run(&["data", "inspect", "rows.csv", "--json"]).json();
    assert_eq!(keys(&seen)[..5], ["rows", "duplicates", "columns", "proposal", "note"]);
    let found: Vec<&str> = seen["findings"].as_array().unwrap().iter().map(|f| f["kind"].as_str().unwrap()).collect();
    assert_eq!((&seen["format"], found.contains(&"near_duplicates")), (&json!("classification"), true), "{seen}");
    assert_eq!(
        (&seen["rows"], &seen["proposal"]["kind"], &seen["proposal"]["target"]),
        (&json!(120), &json!("classification"), &json!("intent"))
    );

    let prepared =
        run(&["data", "prepare", "rows.csv", "--base", base, "--out", "prepared", "--valid-share", "0.2", "--json"])
            .json();
    assert_eq!((&prepared["train"], &prepared["valid"]), (&json!(96), &json!(24)));
    assert!(dir.path().join("prepared/recipe.json").is_file());

    fs::write(dir.path().join("spec.toml"), "epochs = 1\nlearning_rate = 1e-2\nselect = \"loss\"\n").unwrap();
    let train = [
        "train",
        "--base",
        base,
        "--data",
        "prepared",
        "--out",
        "adapter",
        "--spec",
        "spec.toml",
        "--epochs",
        "14",
        "--json",
    ];
    let trained = run(&train).json();
    // The option goes before the file, and the file before the default.
    let record: Value =
        serde_json::from_str(&fs::read_to_string(dir.path().join("adapter/training.json")).unwrap()).unwrap();
    assert_eq!((&record["spec"]["epochs"], &record["spec"]["learning_rate"]), (&json!(14), &json!(1e-2)));
    assert_eq!(trained["rows"], json!([96, 24]));
    assert!(dir.path().join("adapter/adapter_model.safetensors").is_file());

    let eval = |more: &[&str]| {
        let mut args = vec!["eval", "--model", base, "--data", "prepared", "--json"];
        args.extend(more);
        run(&args).json()
    };
    let (before, after) = (eval(&[]), eval(&["--adapter", "adapter"]));
    assert_eq!(keys(&after), ["results", "n-samples", "config", "tunesmith"]);
    let task = &after["results"]["prepared"];
    assert_eq!(
        keys(task),
        ["alias", "acc,none", "acc_stderr,none", "exact_match,none", "exact_match_stderr,none", "macro_f1,none"]
    );
    assert_eq!(after["n-samples"], json!({"prepared": {"original": 24, "effective": 24}}));
    let accuracy = |scored: &Value| scored["results"]["prepared"]["acc,none"].as_f64().unwrap();
    assert!(
        accuracy(&after) > accuracy(&before) && accuracy(&after) > 0.9,
        "{} to {}",
        accuracy(&before),
        accuracy(&after)
    );

    let prompt = "Nora asks number 99: my phone is the problem, can you find it\nLabel:";
    let said = run(&["generate", "--model", base, "--adapter", "adapter", "--prompt", prompt]);
    assert_eq!(said.out, "lost phone\n");
    let chat = json!([{"role": "user", "content": prompt}]).to_string();
    fs::write(dir.path().join("chat.json"), chat).unwrap();
    let said = run(&["generate", "--model", base, "--adapter", "adapter", "--chat", "chat.json", "--json"]).json();
    assert_eq!(said["answers"][0]["text"], "lost phone");

    let convert = [
        "convert",
        "--model",
        base,
        "--adapter",
        "adapter",
        "--to",
        "gguf",
        "--quant",
        "q8_0",
        "--out",
        "model.gguf",
        "--json",
    ];
    let shipped = run(&convert).json();
    assert_eq!(
        (&shipped["path"], &shipped["kind"], &shipped["quant"]),
        (&json!("model.gguf"), &json!("gguf"), &json!("q8_0"))
    );
    assert_eq!(shipped["bytes"], fs::metadata(dir.path().join("model.gguf")).unwrap().len());
    let said = run(&["generate", "--model", "model.gguf", "--prompt", prompt, "--max-tokens", "8"]);
    assert_eq!(said.out, "lost phone\n");
    // Nothing half made is left beside the results.
    let mut left: Vec<String> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["adapter", "chat.json", "model.gguf", "prepared", "rows.csv", "spec.toml"]);
}

#[test]
fn rows_and_a_recipe_are_scored_as_the_grader_would() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(12)).unwrap();
    let base = base().to_str().unwrap();
    let run = |args: &[&str]| tunesmith(dir.path(), args).ok();
    run(&["data", "prepare", "rows.csv", "--base", base, "--out", "prepared"]);
    let recipe = "prepared/recipe.json";
    let scored =
        run(&["eval", "--model", base, "--data", "rows.csv", "--recipe", recipe, "--limit", "20", "--json"]).json();
    assert_eq!(scored["n-samples"], json!({"rows": {"original": 20, "effective": 20}}));
    assert_eq!(scored["tunesmith"]["baselines"]["chance"], json!(1.0 / 3.0));
}

#[test]
fn the_same_seed_writes_the_same_adapter() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(12)).unwrap();
    let train = |out: &str, seed: &str| {
        let base = base().to_str().unwrap();
        let args = ["train", "--base", base, "--data", "rows.csv", "--out", out, "--epochs", "2", "--seed", seed];
        tunesmith(dir.path(), &args).ok();
        fs::read(dir.path().join(out).join("adapter_model.safetensors")).unwrap()
    };
    let first = train("a", "5");
    assert!(first == train("b", "5"), "the same seed gave another adapter");
    assert!(first != train("c", "6"), "the seed changes nothing");
}

#[test]
fn a_pretraining_that_was_stopped_goes_on_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let shape = "--vocab 400 --hidden 16 --inner 32 --layers 1 --heads 2 --kv-heads 1 --context 64 --sequence 64";
    let text = format!("pretrain --generated-tokens 12000 --max-steps 6 --batch-size 4 {shape} --save-steps 2 --out");
    let run = |out: &str| {
        let mut args: Vec<&str> = text.split(' ').collect();
        args.push(out);
        tunesmith(dir.path(), &args)
    };
    run("whole").ok();
    let again = run("whole");
    assert_eq!(again.refused(2), "error: whole already holds a model; name another --out\n");
    let card = fs::read_to_string(dir.path().join("whole/README.md")).unwrap();
    assert!(card.contains("--vocab 400") && card.contains("--generated-tokens 12000"), "{card}");
    run("second").ok();
    let model = |out: &str| fs::read(dir.path().join(out).join("model.safetensors")).unwrap();
    assert!(model("whole") == model("second"));

    // Killed as soon as it has a checkpoint; where it was quicker, it is whole as well.
    let mut args: Vec<&str> = text.split(' ').collect();
    args.push("third");
    let mut child = command(dir.path(), &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let saved = || dir.path().join("third/checkpoints/checkpoint-2.safetensors").exists();
    while !saved() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    if !child.wait().unwrap().success() {
        run("third").ok();
    }
    assert!(model("whole") == model("third") && !dir.path().join("third/checkpoints").exists());
}

/// The worker below process `root`, as soon as there is one.
fn worker_of(root: u32) -> u32 {
    loop {
        if let Some(worker) = find_worker(root) {
            return worker;
        }
        std::thread::yield_now();
    }
}

/// The worker below process `root`, if there is one.
pub fn find_worker(root: u32) -> Option<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let is_worker = |pid: u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).nth(1) == Some(&b"worker"[..])
    };
    let names = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut workers = names.filter_map(|name| name.parse::<u32>().ok()).filter(|pid| is_worker(*pid));
    workers.find(|pid| std::iter::successors(Some(*pid), |pid| parent(*pid)).take(8).any(|pid| pid == root))
}

#[test]
#[cfg(target_os = "linux")]
fn a_worker_that_the_system_kills_is_a_lack_of_memory() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(40)).unwrap();
    let base = base().to_str().unwrap();
    tunesmith(dir.path(), &["data", "prepare", "rows.csv", "--base", base, "--out", "prepared"]).ok();
    let args = ["train", "--base", base, "--data", "prepared", "--out", "new", "--epochs", "1000", "--patience", "0"];
    let child = command(dir.path(), &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let worker = worker_of(child.id());
    assert!(std::process::Command::new("kill").args(["-9", &worker.to_string()]).status().unwrap().success());
    let said: Said = child.wait_with_output().unwrap().into();
    let why = said.refused(5);
    assert!(why.contains("probably because the machine ran out of memory; use a smaller"), "{why}");
    assert!(!dir.path().join("new").exists());
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_device_that_is_unknown_or_not_built_in_is_wrong_usage() {
    let dir = tempfile::tempdir().unwrap();
    let train = |device: &str| {
        let args = ["train", "--base", "nano", "--data", "rows.csv", "--out", "new", "--device", device];
        tunesmith(dir.path(), &args).refused(2).to_owned()
    };
    let want = "error: device: this build cannot use cuda; build it with `cargo build --release --features cuda`, or use cpu\n";
    assert_eq!(train("cuda"), want);
    assert_eq!(train("gpu"), "error: device: gpu is none; use cpu, cuda, cuda:N or metal\n");
}

#[test]
fn a_vocabulary_that_is_too_small_says_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let args = "pretrain --generated-tokens 2000 --vocab 10 --hidden 16 --heads 2 --kv-heads 1 --inner 32 --layers 1 --out new";
    let said = tunesmith(dir.path(), &args.split(' ').collect::<Vec<_>>());
    let want =
        "error: tokenizer: the vocabulary needs at least 261 entries, not 10: one for each byte and special token\n";
    assert_eq!(said.refused(2), want);
}

#[test]
fn a_dry_run_says_what_training_would_take_and_trains_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(20)).unwrap();
    let args =
        ["train", "--base", base().to_str().unwrap(), "--data", "rows.csv", "--out", "adapter", "--max-steps", "5"];
    let run = |more: &[&str]| {
        let args: Vec<&str> = args.iter().chain(more).copied().collect();
        tunesmith(dir.path(), &args)
    };
    let said = run(&["--dry-run", "--json"]).ok().json();
    let estimate = &said["estimate"];
    assert_eq!((&estimate["steps"], &estimate["plan"]["recompute"]), (&json!(5), &json!(false)));
    assert!(estimate["memory"].as_u64().unwrap() > 1 << 20 && estimate["seconds"].as_f64().unwrap() > 0.0, "{said}");
    let refused = command(dir.path(), &[&args[..], &["--dry-run", "--memory", "2M"]].concat()).output().unwrap();
    assert_eq!(refused.status.code(), Some(5));
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(why.contains("memory: training needs ") && why.trim_end().ends_with("use a smaller base"), "{why}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["rows.csv"]);
}
