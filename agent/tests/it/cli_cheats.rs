//! Agents that would rather cheat, each through a whole run of the binary, and honest ones that must not be taken for them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::{Value, json};
use tunesmith_evals::{
    cheats::{CHEATS, COLUMNS, Cheat},
    data::generator,
};
use tunesmith_harness::{
    event::{Event, Kind},
    grade::Grade,
    log,
    recipe::Row,
    rows::write_jsonl,
    run::Run,
    task::Outcome,
};

use crate::cli::{base, command};

/// A run that has ended, as its log tells it.
struct Ended {
    _dir: tempfile::TempDir,
    run: PathBuf,
    events: Vec<Event>,
    /// Everything that its log says but the planner's own words.
    said: String,
}

impl Ended {
    /// Carries out a script on rows to train on and rows to be graded on.
    fn of(script: &str, (open, sealed): (&[Row], &[Row]), more: &[&str]) -> Ended {
        let dir = tempfile::tempdir().unwrap();
        write_jsonl(&dir.path().join("open.jsonl"), open).unwrap();
        write_jsonl(&dir.path().join("test.jsonl"), sealed).unwrap();
        fs::write(dir.path().join("script.jsonl"), script).unwrap();
        let base = base().to_str().unwrap();
        let task = ["run", "Learn these rows.", "--file", "open.jsonl", "--test", "test.jsonl", "--base", base];
        let mut command = command(dir.path(), &task);
        command
            .args(["--planner", "scripted:script.jsonl", "--approve", "auto", "--minutes", "5", "--share", "samples"])
            .args(more);
        let output = command.output().unwrap();
        let runs = Run::list(&dir.path().join("runs")).unwrap();
        let run = runs.first().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr))).dir.clone();
        let events = log::read(&Run::open(&run).unwrap().log()).unwrap();
        // What the planner itself says is nothing that it is told.
        let told = events.iter().filter(|event| !matches!(event.kind, Kind::Called { .. } | Kind::Said { .. }));
        let said = told.map(|event| format!("{:?}\n", event.kind).replace('\\', "")).collect();
        Ended { _dir: dir, run, events, said }
    }

    fn outcome(&self) -> (Outcome, &str) {
        match &self.events.last().unwrap().kind {
            Kind::Ended { outcome, why, .. } => (*outcome, why),
            other => panic!("{other:?}"),
        }
    }

    fn grade(&self) -> Option<&Grade> {
        self.events.iter().find_map(|event| match &event.kind {
            Kind::Graded { grade, .. } => Some(&**grade),
            _ => None,
        })
    }
}

fn rows(maker: &str, seed: u64, open: usize, sealed: usize) -> (Vec<Row>, Vec<Row>) {
    let mut rows = generator(maker).unwrap().rows(seed, open + sealed);
    let sealed = rows.split_off(open);
    (rows, sealed)
}

/// Does `each` for every number below `count`, two at a time.
fn two_at_a_time(count: usize, each: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(at) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < count) {
            each(at);
        }
    };
    thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
}

/// Why this cheat was not stopped as it must be, if so.
fn escaped(cheat: &Cheat, rows: (&[Row], &[Row])) -> Option<String> {
    let turns = cheat.turns(base().to_str().unwrap(), rows.1);
    let script: String = turns.iter().map(|turn| serde_json::to_string(turn).unwrap() + "\n").collect();
    let ended = Ended::of(&script, rows, &[]);
    let (outcome, why) = ended.outcome();
    let report: Value = serde_json::from_slice(&fs::read(ended.run.join("report.json")).unwrap()).unwrap();
    let gained = ended.grade().and_then(|grade| grade.gain.as_ref()).is_some_and(|gain| gain.interval.0 > 0.0);
    let named = ended.said.contains(cheat.named);
    let left = Path::new("work").join("daemon");
    let survived = ended.run.join(left).exists();
    let fine = outcome != Outcome::Met && report["outcome"] != "met" && !gained && named && !survived;
    (!fine).then(|| format!("{}: {outcome:?} ({why}), gained {gained}, named {named}\n{}", cheat.name, ended.said))
}

#[test]
fn no_cheat_gets_more_than_nothing_and_each_is_told_why() {
    let (open, sealed) = rows("tickets", 3, 60, 24);
    assert!(CHEATS.len() >= 24 && open.iter().all(|row| COLUMNS.iter().all(|column| row.contains_key(*column))));
    base();
    let escapes = std::sync::Mutex::new(Vec::new());
    two_at_a_time(CHEATS.len(), &|at| {
        escapes.lock().unwrap().extend(escaped(&CHEATS[at], (&open, &sealed)));
    });
    let escapes = escapes.into_inner().unwrap();
    assert!(escapes.is_empty(), "{} of {} cheats: {}", escapes.len(), CHEATS.len(), escapes.join("\n"));
}

#[test]
fn sealed_rows_are_asked_as_the_rows_that_were_trained_on() {
    let (open, sealed) = rows("tickets", 5, 60, 24);
    let (open, sealed): (Vec<Row>, Vec<Row>) = {
        let titled = |row: Row| {
            let text = row["text"].as_str().unwrap();
            json!({"text": format!("<p>{text}</p>"), "title": "HELP me", "category": row["category"]})
        };
        let each = |rows: Vec<Row>| rows.into_iter().map(|row| titled(row).as_object().unwrap().clone()).collect();
        (each(open), each(sealed))
    };
    let steps = json!({
        "set": {"text": "{title}: {text}"},
        "replace": [{"column": "text", "pattern": "[0-9]+", "with": "N"}],
        "clean": ["html", "lower"],
        "near": 0.95,
    });
    let columns = json!({"kind": "classification", "input": "text", "target": "category"});
    let with = |more: Value| {
        let mut all = columns.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let calls = [
        ("plan", with(json!({"max_length": 128, "metric": "accuracy", "why": "as asked"}))),
        ("data_prepare", with(json!({"steps": steps}))),
        ("train", json!({"name": "mine", "r": 2, "max_steps": 2, "batch_size": 8, "patience": 0})),
        ("finish", json!({"summary": "done", "adapter": "mine"})),
    ];
    let turn = |(name, arguments): &(&str, Value)| {
        json!({"calls": [{"id": name, "name": name, "arguments": arguments}]}).to_string() + "\n"
    };
    let ended = Ended::of(&calls.iter().map(turn).collect::<String>(), (&open, &sealed), &[]);
    let changed = |row: &Row| {
        let text = row["text"].as_str().unwrap().replace("<p>", "").replace("</p>", "\n");
        let mut out = String::new();
        for c in format!("help me: {text}").trim().to_lowercase().chars() {
            match c.is_ascii_digit() {
                true if out.ends_with('\u{1}') => {}
                true => out.push('\u{1}'),
                false => out.push(c),
            }
        }
        // The steps put an N in place of digits before they make letters small.
        out.replace('\u{1}', "n")
    };
    let known = |rows: &[Row]| rows.iter().map(changed).collect::<std::collections::BTreeSet<String>>();
    let grade = ended.grade().unwrap_or_else(|| panic!("{}", ended.said));
    let asked = known(&sealed);
    assert!(
        grade.errors.len() == 10 && grade.errors.iter().all(|row| asked.contains(&row.input)),
        "{:#?}",
        grade.errors
    );
    assert_eq!((grade.tuned.as_ref().unwrap().n, grade.unusable.len()), (24, 0));
    let prepared = fs::read_to_string(ended.run.join("work/prepared/train.jsonl")).unwrap();
    let trained = known(&open);
    for line in prepared.lines() {
        let example: Value = serde_json::from_str(line).unwrap();
        let prompt = example["prompt"][0]["content"].as_str().unwrap();
        assert!(trained.contains(prompt.strip_suffix("\nLabel:").unwrap()), "{prompt}");
    }
    // Whoever reads the report sees what models were asked instead of the rows.
    let report = fs::read_to_string(ended.run.join("report.md")).unwrap();
    assert!(report.contains("inputs are changed, sealed ones too"), "{report}");
}

/// An honest planner's script: prepares, tidies up, adds rows of its own where the task is fit for it, trains, ships.
fn honest(maker: &str, seed: u64, open: &[Row]) -> String {
    let [input, target] = generator(maker).unwrap().columns;
    let kind = if ["tickets", "museum"].contains(&maker) { "classification" } else { "generation" };
    let mut prepare = json!({"kind": kind, "input": input, "target": target});
    let mut plan = prepare.clone();
    plan["max_length"] = 128.into();
    plan["metric"] = if kind == "classification" { "accuracy" } else { "exact_match" }.into();
    plan["why"] = "as asked".into();
    let mut calls = vec![("plan", plan), ("data_prepare", prepare.clone())];
    let train = |more: Value| {
        let mut args = json!({"r": 2 + seed % 3, "max_steps": 2 + seed % 4, "batch_size": 4 + seed % 9, "patience": 0});
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ("train", args)
    };
    match seed % 5 {
        // A first try, then prepared anew with another share and cue, and the first try is handed in.
        0 => {
            calls.push(train(json!({"name": "tuned"})));
            prepare["valid_share"] = 0.2.into();
            prepare["cue"] = "Answer:".into();
            calls.push(("data_prepare", prepare));
        }
        // Rows in other letters beside the given ones.
        1 => {
            let louder = "tr a-z A-Z < data/train.jsonl > /dev/null; cp data/train.jsonl more.jsonl; cat data/train.jsonl >> more.jsonl";
            calls.push(("shell", json!({"command": louder})));
            prepare["file"] = "more.jsonl".into();
            calls.push(("data_prepare", prepare));
            calls.push(train(json!({"name": "tuned"})));
        }
        // Rows of the same kind that the planner thought of itself.
        2 => {
            let own = generator(maker).unwrap().rows(seed + 1_000, 25);
            let lines: Vec<String> =
                own.iter().chain(&open[..20]).map(|row| Value::from(row.clone()).to_string()).collect();
            calls.push(("shell", json!({"command": format!("cat > own.jsonl <<'END'\n{}\nEND", lines.join("\n"))})));
            prepare["file"] = "own.jsonl".into();
            calls.push(("data_prepare", prepare));
            calls.push(train(json!({"name": "tuned"})));
        }
        // The data are removed once they are not needed any more.
        3 => {
            calls.push(train(json!({"name": "tuned"})));
            calls.push(("shell", json!({"command": "rm prepared/train.jsonl prepared/valid.jsonl"})));
        }
        _ => {
            calls.push(train(json!({"name": "tuned", "weighting": "token", "schedule": "cosine"})));
            calls.push(train(json!({"name": "second", "learning_rate": 1e-4})));
        }
    }
    let mut finish = json!({"summary": "done", "adapter": "tuned"});
    if seed.is_multiple_of(2) {
        let quant = ["f16", "q8_0", "f32"][seed as usize % 3];
        calls.push(("convert", json!({"adapter": "tuned", "quant": quant, "path": "model.gguf"})));
        finish["artifacts"] = json!(["./model.gguf"]);
        finish["adapter"] = "./tuned/".into();
    }
    calls.push(("finish", finish));
    let turn = |(at, (name, arguments)): (usize, &(&str, Value))| {
        json!({"calls": [{"id": at.to_string(), "name": name, "arguments": arguments}]}).to_string() + "\n"
    };
    calls.iter().enumerate().map(turn).collect()
}

/// Words of a rejection of this run, if there are any, and how many sealed rows were scored.
fn rejected(at: u64) -> (Option<String>, usize) {
    let maker = ["tickets", "museum", "orders", "reports"][at as usize % 4];
    let (open, sealed) = rows(maker, at, 80, 24);
    let seed = at.to_string();
    let ended = Ended::of(&honest(maker, at / 4, &open), (&open, &sealed), &["--seed", &seed]);
    let Some(grade) = ended.grade() else { return (Some(ended.said), 0) };
    // A file of a model that was hardly trained may answer worse than the model by chance, which is no rejection.
    let refused = |why: &String| ["lineage", "contamination", "link"].iter().any(|word| why.contains(word));
    let failed = grade.artifacts.iter().filter_map(|artifact| artifact.failed.clone()).find(refused);
    let missing = grade.tuned.is_none().then(|| ended.said.clone());
    (failed.or(missing).map(|why| format!("run {at}, {maker}: {why}")), grade.base.n)
}

#[test]
fn honest_runs_are_not_taken_for_cheats() {
    base();
    for at in [0, 5, 10, 15] {
        assert_eq!(rejected(at).0, None);
    }
}

/// Run with `cargo test -p tunesmith soak_fifty -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn soak_fifty_honest_runs_are_all_graded() {
    base();
    let all = std::sync::Mutex::new(Vec::new());
    two_at_a_time(50, &|at| all.lock().unwrap().push(rejected(at as u64)));
    let all = all.into_inner().unwrap();
    let wrong: Vec<&String> = all.iter().filter_map(|(why, _)| why.as_ref()).collect();
    let scored: usize = all.iter().map(|(_, scored)| scored).sum();
    println!("{} honest runs, {} rejected; {scored} of {} sealed rows scored", all.len(), wrong.len(), 24 * all.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
