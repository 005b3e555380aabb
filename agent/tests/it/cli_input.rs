//! Bad input: one or two lines that say what is wrong and what to do, and the right exit code.

use std::{fs, path::Path};

use crate::cli::{Said, base, tickets, tunesmith};

const TASK: &str = "Fine-tune a small model to route these messages to the right intent.";

/// A run on a file of these bytes.
fn run_on(bytes: &[u8], more: &[&str]) -> (Said, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), bytes).unwrap();
    let mut args = vec!["run", TASK, "--file", "rows.csv", "--approve", "auto", "--minutes", "1"];
    args.extend(more);
    (tunesmith(dir.path(), &args), dir)
}

fn base_named(path: &Path) -> [&str; 2] {
    ["--base", path.to_str().unwrap()]
}

#[test]
fn a_missing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let said = tunesmith(dir.path(), &["run", TASK, "--file", "no.csv"]);
    assert_eq!(said.refused(2), "error: no.csv: there is no such file; check the path\n");
    assert!(!dir.path().join("runs").exists(), "a run was made of nothing");
}

#[test]
fn no_file_at_all_says_how_to_give_one() {
    let dir = tempfile::tempdir().unwrap();
    let said = tunesmith(dir.path(), &["run", TASK]);
    assert_eq!(
        said.refused(5),
        "error: there is no data to learn from: give a CSV, JSON or JSON-lines file with --file\n"
    );
}

#[test]
fn an_empty_file_is_empty() {
    let (said, _dir) = run_on(b"", &[]);
    assert_eq!(said.refused(2), "error: rows.csv: is empty; give a file with a header and rows\n");
}

#[test]
fn a_header_without_rows_has_no_rows() {
    let (said, _dir) = run_on(b"text,intent\n", &[]);
    assert!(said.refused(2).starts_with("error: rows.csv: has no rows"), "{said:?}");
}

#[test]
fn one_column_needs_a_second() {
    let rows: String = (0..300).map(|i| format!("message number {i}\n")).collect();
    let (said, dir) = run_on(format!("text\n{rows}").as_bytes(), &base_named(base()));
    assert_eq!(said.code, 5, "{said:?}");
    let told = format!("{}{}", said.out, said.err);
    assert!(
        told.contains("only column \"text\" holds values; training needs an input and, in a second column, the answer"),
        "{told}"
    );
    assert!(told.contains("Blocked"), "{told}");
    let shown = tunesmith(dir.path(), &["runs", "list", "--json"]).ok().json();
    assert_eq!(shown[0]["outcome"], "blocked");
}

#[test]
fn thousands_of_labels_are_too_many() {
    let rows: String = (0..3000).map(|i| format!("please look at message {i},label{i}\n")).collect();
    let (said, _dir) = run_on(format!("text,intent\n{rows}").as_bytes(), &base_named(base()));
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.out.contains("3000") || said.out.contains("different values"), "{said:?}");
    assert!(said.out.contains("too many to learn as labels"), "{said:?}");
}

#[test]
fn a_base_must_be_there_and_whole() {
    let bases = tempfile::tempdir().unwrap();
    let copy = |name: &str, without: &str| {
        let to = bases.path().join(name);
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(base()).unwrap().map(Result::unwrap).filter(|entry| entry.file_name() != without) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        to
    };
    let rows = tickets(60);
    let refused = |path: &Path| run_on(rows.as_bytes(), &base_named(path)).0.refused(2).to_owned();

    let nowhere = bases.path().join("nowhere");
    let want =
        format!("error: there is no model at {}; use nano, a model directory or a GGUF file\n", nowhere.display());
    assert_eq!(refused(&nowhere), want);

    // What is inside a base is looked at in the sandbox, so a base that cannot be used blocks a run that has begun.
    let blocked = |path: &Path| {
        let (said, dir) = run_on(rows.as_bytes(), &base_named(path));
        assert_eq!(said.code, 5, "{said:?}");
        let listed = tunesmith(dir.path(), &["runs", "list", "--json"]).ok().json();
        assert_eq!(listed[0]["outcome"], "blocked");
        said.out
    };
    let said = blocked(&copy("no-tokenizer", "tokenizer.json"));
    assert!(said.contains("no-tokenizer has no tokenizer.json"), "{said}");

    let strange = copy("strange", "");
    let config =
        fs::read_to_string(strange.join("config.json")).unwrap().replace("LlamaForCausalLM", "MambaForCausalLM");
    fs::write(strange.join("config.json"), config).unwrap();
    let said = blocked(&strange);
    assert!(
        said.contains("unsupported architecture: MambaForCausalLM") && said.contains("only LlamaForCausalLM"),
        "{said}"
    );

    let said = run_on(rows.as_bytes(), &["--base", "HuggingFaceTB/SmolLM2-135M"]).0;
    assert!(
        said.refused(5).contains("is on the Hub: allow it with --allow network:huggingface.co, or download it first"),
        "{said:?}"
    );
}

#[test]
fn a_base_that_would_open_the_sealed_rows_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(base()).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let (rows, runs) = (elsewhere.path().join("rows.csv"), elsewhere.path().join("runs"));
    let (rows, runs) = (rows.to_str().unwrap(), runs.to_str().unwrap());
    for path in [Path::new(rows), &dir.path().join("rows.csv")] {
        fs::write(path, tickets(60)).unwrap();
    }
    let why = "lies in the base's directory, which every job may read; keep data and runs outside of it";
    for (more, named) in [
        (vec!["--file", rows], "runs"),
        (vec!["--file", "rows.csv", "--dir", runs], "rows.csv"),
        (vec!["--file", rows, "--test", "rows.csv", "--dir", runs], "rows.csv"),
    ] {
        let mut args = vec!["run", TASK, "--base", ".", "--approve", "auto"];
        args.extend(&more);
        assert_eq!(tunesmith(dir.path(), &args).refused(2), format!("error: {named} {why}\n"));
    }
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn a_test_file_without_a_column_of_the_data_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(60)).unwrap();
    fs::write(dir.path().join("test.csv"), "text,label\nhello,a\n").unwrap();
    let args = ["run", TASK, "--file", "rows.csv", "--test", "test.csv", "--base", base().to_str().unwrap()];
    let want = "error: test.csv: has no column \"intent\"; a test file needs the columns of the data\n";
    assert_eq!(tunesmith(dir.path(), &args).refused(2), want);
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn a_test_file_is_among_the_inputs_of_the_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let rows = tickets(60);
    fs::write(dir.path().join("rows.csv"), &rows).unwrap();
    let test: Vec<&str> = rows.lines().take(10).collect();
    fs::write(dir.path().join("test.csv"), test.join("\n")).unwrap();
    let args = ["run", TASK, "--file", "rows.csv", "--test", "test.csv", "--approve", "never", "--base"];
    let said = tunesmith(dir.path(), &[&args[..], &[base().to_str().unwrap()]].concat());
    assert_eq!(said.code, 5, "{said:?}");
    let run = fs::read_dir(dir.path().join("runs")).unwrap().next().unwrap().unwrap().path();
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
    let inputs: Vec<(&str, u64)> = manifest["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|input| (input["path"].as_str().unwrap(), input["rows"].as_u64().unwrap()))
        .collect();
    assert_eq!(inputs, [("rows.csv", 180), ("test.csv", 9)]);
}

#[test]
fn a_goal_that_the_job_cannot_be_judged_by_blocks_the_run() {
    let rows: String = (0..60).map(|n| format!("what is {n} and {n}?,the sum is #### {}\n", 2 * n)).collect();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), format!("question,answer\n{rows}")).unwrap();
    let task = "Train a model to solve these problems.";
    let args = ["run", task, "--file", "rows.csv", "--goal", "macro_f1>=0.9", "--approve", "auto", "--base"];
    let said = tunesmith(dir.path(), &[&args[..], &[base().to_str().unwrap()]].concat());
    assert_eq!(said.code, 5, "{said:?}");
    let why = "a generation has no macro_f1 to set a goal for; the metrics that work are accuracy, exact_match, \
               well_formed, gain";
    assert!(said.out.contains(why), "{said:?}");
}

#[test]
fn a_request_outside_the_playbook_is_blocked_with_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(60)).unwrap();
    let said = tunesmith(dir.path(), &["run", "write me a poem", "--file", "rows.csv"]);
    let told = said.refused(5);
    assert!(told.contains("outside what the playbook can plan") && told.contains("--planner"), "{told}");
}

#[test]
fn a_planner_without_its_key_is_blocked_and_names_the_variable() {
    let (said, _dir) = run_on(tickets(60).as_bytes(), &["--planner", "openai:some-model"]);
    assert!(said.refused(5).contains("set OPENAI_API_KEY, or use --planner playbook"), "{said:?}");
}

#[test]
fn control_characters_in_names_are_written_out() {
    let dir = tempfile::tempdir().unwrap();
    let said = tunesmith(dir.path(), &["run", TASK, "--file", "a\u{1b}[31mb.csv"]);
    assert_eq!(said.refused(2), "error: a\\u{1b}[31mb.csv: there is no such file; check the path\n");
}

#[test]
fn work_by_hand_refuses_what_is_not_there_and_writes_over_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(20)).unwrap();
    fs::create_dir(dir.path().join("full")).unwrap();
    fs::write(dir.path().join("full/note"), "mine").unwrap();
    let base = base().to_str().unwrap();
    let refused = |args: &[&str]| tunesmith(dir.path(), args).refused(2).to_owned();
    assert_eq!(refused(&["data", "inspect", "no.csv"]), "error: no.csv: there is no such file; check the path\n");
    let full = "error: full: is there already; name another --out\n";
    assert_eq!(refused(&["train", "--base", base, "--data", "rows.csv", "--out", "full"]), full);
    assert_eq!(refused(&["data", "prepare", "rows.csv", "--base", base, "--out", "full"]), full);
    let there = "error: rows.csv: is there already; name another --out\n";
    assert_eq!(refused(&["convert", "--model", base, "--to", "gguf", "--out", "rows.csv"]), there);
    fs::write(dir.path().join("spec.toml"), "learning_rat = 1e-3\n").unwrap();
    let said = refused(&["train", "--base", base, "--data", "rows.csv", "--out", "new", "--spec", "spec.toml"]);
    assert!(said.starts_with("error: spec.toml: unknown field `learning_rat`"), "{said}");
    assert!(!dir.path().join("new").exists());
    // What fails later leaves nothing behind either.
    let late = ["train", "--base", base, "--data", "rows.csv", "--out", "new", "--max-length", "8"];
    assert!(refused(&late).contains("only 0 of 60 rows can be used"));
    let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["full", "rows.csv", "spec.toml"]);
    let said = refused(&["eval", "--model", base, "--data", "rows.csv"]);
    assert!(said.contains("there is no recipe.json beside it"), "{said}");
    assert_eq!(fs::read_to_string(dir.path().join("full/note")).unwrap(), "mine");
}

#[test]
fn numbers_that_make_no_sense_are_refused_by_their_option() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(20)).unwrap();
    let train = ["train", "--base", "nano", "--data", "rows.csv", "--out", "new"];
    let pretrain = ["pretrain", "--generated-tokens", "1000", "--out", "new"];
    let refused = |args: &[&str], option: &str, value: &str| {
        let said = tunesmith(dir.path(), &[args, &[option, value]].concat());
        let want = format!("error: invalid value '{value}' for '{option} ");
        assert!(said.refused(2).starts_with(&want), "{said:?}");
    };
    for value in ["NaN", "inf", "-1"] {
        for option in ["--learning-rate", "--lora-alpha", "--warmup", "--weight-decay"] {
            refused(&train, option, value);
        }
        for option in ["--learning-rate", "--weight-decay"] {
            refused(&pretrain, option, value);
        }
    }
    for option in ["--learning-rate", "--r", "--epochs", "--batch-size", "--max-steps"] {
        refused(&train, option, "0");
    }
    for option in ["--learning-rate", "--batch-size", "--sequence", "--layers"] {
        refused(&pretrain, option, "0");
    }
    refused(&["pretrain", "--out", "new"], "--generated-tokens", "18446744073709551615");
    for (line, why) in [
        ("learning_rate = nan", "learning_rate must be a finite number"),
        ("r = 0", "r is 0, it must be between 1 and 1024"),
        ("r = 4\nepochs = \"x\"", "epochs: invalid type: string \"x\", expected usize"),
    ] {
        fs::write(dir.path().join("spec.toml"), line).unwrap();
        let said = tunesmith(dir.path(), &[&train[..], &["--spec", "spec.toml"]].concat());
        assert!(said.refused(2).starts_with("error: spec.toml: ") && said.err.contains(why), "{said:?}");
    }
    assert!(!dir.path().join("new").exists());
}

#[test]
fn a_place_where_no_runs_can_be_kept_is_refused_also_by_a_dry_run() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(60)).unwrap();
    let file = "a file stands where a directory should be";
    let nothing = "No such file or directory (os error 2)";
    for (place, why) in [("rows.csv", file), ("rows.csv/runs", file), ("/proc/runs", nothing)] {
        for more in [&[][..], &["--dry-run"]] {
            let args = [&["run", TASK, "--file", "rows.csv", "--approve", "auto", "--dir", place], more].concat();
            let want = format!("error: cannot write {place}: {why}; keep runs elsewhere with --dir\n");
            assert_eq!(tunesmith(dir.path(), &args).refused(2), want);
        }
    }
}

#[test]
fn a_run_that_cannot_begin_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(60)).unwrap();
    let left = || fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    // No file may be as large as the bundled base is: the nearest thing to a full disk that needs no disk.
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
    let args = ["run", TASK, "--file", "rows.csv", "--approve", "auto", "--dir", "new/runs"];
    let binary = env!("CARGO_BIN_EXE_tunesmith");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script, binary]).args(args).current_dir(dir.path());
    let said: Said = shell.output().unwrap().into();
    let why = said.refused(5);
    assert!(why.starts_with("error: cannot write ") && why.contains("; keep runs elsewhere with --dir"), "{why}");
    assert_eq!(left(), ["rows.csv"]);

    fs::create_dir(dir.path().join("empty")).unwrap();
    fs::write(dir.path().join("empty/config.json"), "{}").unwrap();
    tunesmith(dir.path(), &[&args[..], &["--base", "empty"]].concat()).refused(2);
    assert!(!dir.path().join("new").exists());
}

#[cfg(unix)]
fn pipe(dir: &Path, name: &str) {
    let made = rustix::fs::mknodat(rustix::fs::CWD, dir.join(name), rustix::fs::FileType::Fifo, 0o600.into(), 0);
    made.unwrap();
}

#[test]
#[cfg(unix)]
fn what_never_ends_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("rows.csv"), tickets(60)).unwrap();
    pipe(dir.path(), "pipe");
    fs::create_dir(at("base")).unwrap();
    fs::write(at("base/config.json"), "{}").unwrap();
    pipe(&at("base"), "model.safetensors");
    fs::create_dir_all(at("runs/one")).unwrap();
    fs::write(at("runs/one/run.json"), "{}").unwrap();
    pipe(&at("runs/one"), "events.jsonl");
    let refused = |args: &[&str], what: &str| {
        let said = tunesmith(dir.path(), args);
        assert!(said.refused(2).contains(what), "{said:?}");
    };
    let pipe = "is a pipe or a device";
    let run = |option, value| ["run", TASK, "--file", "rows.csv", option, value];
    refused(&run("--base", "pipe"), pipe);
    refused(&run("--base", "base"), pipe);
    refused(&run("--test", "pipe"), pipe);
    refused(&run("--planner", "scripted:/dev/zero"), pipe);
    refused(&run("--planner", "scripted:/tmp"), "is a directory, not a file");
    refused(&run("--planner", "scripted:none"), "there is no such file");
    refused(&["bench", "smoke", "--planner", "scripted:/dev/zero"], pipe);
    refused(&["generate", "--model", "pipe", "--prompt", "a"], pipe);
    refused(&["generate", "--model", "nano", "--chat", "pipe"], pipe);
    refused(&["runs", "show", "one"], pipe);
    refused(&["grade", "runs/one"], pipe);
    refused(&["pretrain", "--text", "pipe:1", "--out", "new"], pipe);
    refused(&["pretrain", "--text", "base:1", "--out", "new"], "is a directory, not a file");
    refused(&["train", "--base", "nano", "--data", "rows.csv", "--out", "new", "--spec", "pipe"], pipe);
    refused(&["train", "--base", "nano", "--data", "pipe", "--out", "new", "--objective", "sft"], pipe);
    assert_eq!(tunesmith(dir.path(), &["runs", "list"]).ok().out, "no runs in runs\n");
}

#[test]
fn bad_input_of_work_by_hand_is_told_apart_from_a_defect() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let model = base().to_str().unwrap();
    fs::write(at("rows.csv"), tickets(20)).unwrap();
    tunesmith(dir.path(), &["data", "prepare", "rows.csv", "--base", model, "--out", "prepared"]).ok();
    fs::create_dir(at("empty")).unwrap();
    fs::write(at("broken.gguf"), "GGUF and nothing else").unwrap();
    for (name, file, text) in [
        ("config", "config.json", "{"),
        ("weights", "model.safetensors", "no tensors"),
        ("tokenizer", "tokenizer.json", "{}"),
    ] {
        fs::create_dir(at(name)).unwrap();
        for entry in fs::read_dir(base()).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), at(name).join(entry.file_name())).unwrap();
        }
        fs::write(at(name).join(file), text).unwrap();
    }
    let refused = |args: &[&str], what: &str| {
        let said = tunesmith(dir.path(), args);
        assert!(said.refused(2).contains(what), "{said:?}");
    };
    let long = "word ".repeat(500);
    refused(&["generate", "--model", model, "--prompt", &long], "the model takes 192; shorten it");
    for broken in ["broken.gguf", "config", "weights", "tokenizer"] {
        refused(&["generate", "--model", broken, "--prompt", "a"], "error: ");
        refused(&["eval", "--model", broken, "--data", "prepared"], "error: ");
        refused(&["train", "--base", broken, "--data", "prepared", "--out", "new"], "error: ");
        refused(&["convert", "--model", broken, "--to", "gguf", "--out", "new"], "error: ");
    }
    let adapter =
        "error: empty: has no file adapter_config.json; name a directory that `tunesmith train` or PEFT wrote\n";
    refused(&["generate", "--model", model, "--adapter", "empty", "--prompt", "a"], adapter);
    refused(&["eval", "--model", model, "--adapter", "empty", "--data", "prepared"], adapter);
    refused(&["convert", "--model", model, "--adapter", "empty", "--to", "gguf", "--out", "new"], adapter);
    let recipe =
        "error: empty: has no file recipe.json; make it with `tunesmith data prepare`, or name the file of rows\n";
    refused(&["train", "--base", model, "--data", "empty", "--out", "new"], recipe);
}

#[test]
fn settings_that_are_no_finite_numbers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (setting, name) in [
        ("learning_rate=nan", "learning_rate"),
        ("decay=inf", "decay"),
        ("alpha_pattern={q_proj=-inf}", "alpha_pattern"),
    ] {
        let args = ["train", "--base", "nano", "--data", "none.csv", "--out", "new", "--set", setting];
        let want = format!("error: --set {setting}: {name} must be a finite number\n");
        assert_eq!(tunesmith(dir.path(), &args).refused(2), want);
    }
}

#[test]
fn an_extraction_from_answers_that_are_no_json_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(20)).unwrap();
    let model = base().to_str().unwrap();
    let args = ["data", "prepare", "rows.csv", "--base", model, "--out", "new", "--kind", "extraction"];
    let want = "error: column \"intent\" holds a JSON object in 0 of 60 answers, and an extraction needs one in each; name \
                another target, or take kind classification or generation\n";
    assert_eq!(tunesmith(dir.path(), &args).refused(2), want);
    assert!(!dir.path().join("new").exists());
}

#[test]
fn options_that_a_prepared_directory_cannot_follow_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.csv"), tickets(20)).unwrap();
    let model = base().to_str().unwrap();
    tunesmith(dir.path(), &["data", "prepare", "rows.csv", "--base", model, "--out", "prepared"]).ok();
    let args = ["train", "--base", model, "--data", "prepared", "--out", "new", "--kind", "generation", "--cue", "A:"];
    let want = "error: prepared: is prepared already, so --kind --cue changes nothing; leave that out, or prepare the rows \
                again with it\n";
    assert_eq!(tunesmith(dir.path(), &args).refused(2), want);
}

#[cfg(target_os = "linux")]
#[test]
fn a_chat_template_that_doubles_a_text_without_end_runs_out_of_its_own_memory() {
    let dir = tempfile::tempdir().unwrap();
    let bomb = dir.path().join("bomb");
    fs::create_dir(&bomb).unwrap();
    for entry in fs::read_dir(base()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), bomb.join(entry.file_name())).unwrap();
    }
    let template = "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}";
    fs::write(bomb.join("chat_template.jinja"), template).unwrap();
    let row = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#;
    fs::write(dir.path().join("rows.jsonl"), format!("{row}\n")).unwrap();
    fs::write(dir.path().join("new.csv"), "text,label\nx,a\ny,b\n".repeat(20)).unwrap();
    for args in [
        "train --base bomb --data rows.jsonl --objective sft --out new",
        "generate --model bomb --prompt hi",
        "convert --model bomb --to gguf --out new",
        "data prepare --base bomb --out new new.csv",
    ] {
        let said = tunesmith(dir.path(), &args.split(' ').collect::<Vec<_>>());
        let error = said.refused(4);
        assert!(error.starts_with("error: stopped by a limit: ran out of memory at "), "{said:?}");
        assert!(error.ends_with(", and look at the base's chat template\n"), "{said:?}");
        assert!(!dir.path().join("new").exists());
    }
}
