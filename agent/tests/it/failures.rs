//! What failed in the closest predecessor cannot happen here: each failure names its tests, and these are looked up. Those
//! that no other file has are here.

use std::{collections::BTreeSet, fs, net::TcpListener, path::Path};

use serde::Deserialize;
use serde_json::{Value, json};
use tunesmith::{
    approvals::Flag,
    model::{ChatModel, Message, scripted::Scripted},
    planner_loop::{End, LoopEnd, Planning, drive},
    show::Share,
};
use tunesmith_harness::{
    budget::{Budget, Caps},
    event::Kind,
    run::Run,
};
use tunesmith_tools::{registry, tool::AnyTool};

use crate::{
    cli::Said,
    fakes::{Fake, Kept, Talker, World, finish, plan, scope, scope_of},
    scripts::{Scripts, columns},
};

/// A failure, and what shows that it cannot happen.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    id: String,
    what: String,
    #[serde(default)]
    measured: bool,
    tests: Vec<String>,
}

fn failures() -> Vec<Failure> {
    #[derive(Deserialize)]
    struct File {
        failure: Vec<Failure>,
    }
    toml::from_str::<File>(include_str!("../failures.toml")).unwrap().failure
}

/// Whether a source has a test of this name.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let is_test = |at: usize| {
        let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        above.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    };
    let starts = [format!("fn {name}("), format!("async fn {name}(")];
    lines
        .iter()
        .enumerate()
        .any(|(at, line)| starts.iter().any(|start| line.starts_with(start.as_str())) && is_test(at))
}

#[test]
fn each_failure_of_the_predecessor_has_a_test_that_shows_it_cannot_happen() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let failures = failures();
    let ids: BTreeSet<&str> = failures.iter().map(|failure| failure.id.as_str()).collect();
    assert_eq!(ids.len(), failures.len(), "each has a name of its own");
    assert_eq!(failures.iter().filter(|failure| failure.measured).count(), 12);
    assert_eq!(failures.len(), 38);
    let missing = |failure: &Failure| -> Vec<String> {
        let stands = |test: &&String| {
            let (file, name) = test.split_once("::").unwrap();
            fs::read_to_string(root.join(file)).is_ok_and(|source| has_test(&source, name))
        };
        let lacking =
            failure.tests.iter().filter(|test| !stands(test)).map(|test| format!("{}: no {test}", failure.id));
        let bare = (failure.tests.is_empty() || failure.what.is_empty()).then(|| format!("{}: nothing", failure.id));
        lacking.chain(bare).collect()
    };
    assert_eq!(failures.iter().flat_map(missing).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn what_is_no_test_shows_nothing() {
    let source =
        "#[test]\n#[ignore]\nfn a_test() {}\n\nfn a_helper() {}\n// fn a_word()\n#[tokio::test]\nasync fn other() {}";
    let found = ["a_test", "other", "a_helper", "a_word", "a_tes"].map(|name| has_test(source, name));
    assert_eq!(found, [true, true, false, false, false]);
}

/// Lets a model plan with these tools.
async fn planned(model: &dyn ChatModel, tools: &[&dyn AnyTool]) -> (LoopEnd, Vec<Kind>) {
    let (world, mut kept) = (World::new(), Kept::default());
    let planning = Planning {
        model,
        tools,
        cx: &world.cx(),
        budget: &Budget::new(Caps::default(), std::time::Instant::now()),
        window: None,
        longest: None,
        price: None,
        outputs: world.outputs(),
        system: "s".into(),
        request: "r".into(),
        instruction: None,
        share: Share::Samples,
        scope_of: &scope_of,
        may_amend: false,
        decide: &Flag(false),
    };
    let end = drive(planning, &mut kept, &mut |_| {}).await.unwrap();
    (end, kept.events)
}

fn turn(name: &str, arguments: Value) -> Value {
    json!({"calls": [{"name": name, "arguments": arguments}]})
}

fn script(turns: &[Value]) -> Scripted {
    Scripted::parse(&turns.iter().map(|turn| format!("{turn}\n")).collect::<String>(), "test").unwrap()
}

#[tokio::test]
async fn what_a_guard_says_is_no_message_of_the_user() {
    let talk = |text: &str| Ok(tunesmith::model::Reply { text: text.into(), usd: Some(0.0), ..Default::default() });
    let model = Talker::new(vec![talk("I would train."), talk("I will."), talk("Soon.")]);
    let (ended, events) = planned(&model, &[]).await;
    assert_eq!(ended.end, End::Stuck);
    let seen = model.seen.lock().unwrap();
    let last = seen.last().unwrap();
    // The request stays the only message of the user, wherever somebody goes back to it; reminders are of a kind of
    // their own, and in the log they answer no step and are told apart from what the user decides.
    let users: Vec<usize> = (0..last.len()).filter(|at| matches!(last[*at], Message::User(_))).collect();
    let notes = last.iter().filter(|message| matches!(message, Message::Note(_))).count();
    assert_eq!((users, notes), (vec![1], 2));
    let count = |kind: &str| events.iter().filter(|event| event.name() == kind).count();
    assert_eq!((count("briefed"), count("told"), count("guarded"), count("approved")), (1, 3, 3, 0));
    assert!(events.iter().all(|event| !matches!(event, Kind::Told { step: Some(_), .. })));
}

#[tokio::test]
async fn two_runs_in_one_process_share_nothing() {
    /// A run whose steps are of one length and one word, each given to others between them.
    async fn run(length: usize, word: &'static str) -> (LoopEnd, Vec<Kind>) {
        let (plan, finish) = (plan(), finish());
        let look = Fake::new("look", move |args| Ok(json!({"seen": args, "word": word})));
        let mut turns = vec![turn("plan", json!({"max_length": length}))];
        // The same calls as the other run's: a streak of both together would be a circle.
        turns.extend((0..2).map(|_| turn("look", json!({"n": 1}))));
        turns.extend([turn("look", json!({"n": 2})), turn("finish", json!({"summary": word}))]);
        planned(&script(&turns), &[&plan, &look, &finish]).await
    }
    let (one, two, again) = tokio::join!(run(60, "alpha"), run(20, "omega"), run(60, "alpha"));
    for ((end, events), length, word, other) in [(&one, 60, "alpha", "omega"), (&two, 20, "omega", "alpha")] {
        assert_eq!(end.end, End::Finished(json!({"summary": word})));
        let scopes: Vec<&Kind> = events.iter().filter(|event| event.name() == "scoped").collect();
        assert_eq!(scopes, [&Kind::Scoped { scope: scope(length) }]);
        assert!(!format!("{events:?}").contains(other) && !events.iter().any(|event| event.name() == "guarded"));
    }
    assert_eq!(one, again, "a run is the same whatever else goes on in its process");
}

#[test]
fn no_tool_changes_a_text_by_what_is_like_it() {
    let registry = registry::all();
    let mut names: Vec<&str> = registry.iter().map(|tool| tool.name()).collect();
    names.sort_unstable();
    let known = [
        "convert",
        "data_inspect",
        "data_make",
        "data_prepare",
        "evaluate",
        "finish",
        "generate",
        "hub_search",
        "plan",
        "read_file",
        "shell",
        "train",
    ];
    // Whoever adds a tool that edits decides here how it finds what it replaces: exactly, or not at all.
    assert_eq!(names, known);
    let editing = |tool: &&dyn AnyTool| {
        let fields = tool.schema()["properties"].as_object().cloned().unwrap_or_default();
        fields.keys().any(|field| {
            ["old", "new", "old_str", "new_str", "search", "replace", "patch", "diff"].contains(&field.as_str())
        })
    };
    assert_eq!(registry.iter().filter(editing).count(), 0);
}

/// Every path below a directory, without what lies in one that is named.
fn paths(dir: &Path, without: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(at) = left.pop() {
        for path in fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            if path.is_dir() && name != without {
                left.push(path);
            } else if name != without {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_run_says_all_that_it_was_made_of_and_leaves_nothing_but_itself() {
    let train = json!({"name": "tuned", "epochs": 6, "learning_rate": 1e-2, "patience": 0});
    let scripts = Scripts::new(&[
        ("plan", crate::scripts::plan()),
        ("data_prepare", columns()),
        ("train", train),
        ("finish", json!({"summary": "done", "adapter": "tuned"})),
    ]);
    let (hub, dir) = (TcpListener::bind("127.0.0.1:0").unwrap(), scripts.dir.path());
    hub.set_nonblocking(true).unwrap();
    let before = paths(dir, "runs");
    let mut command = scripts.command(&["--seed", "11"]);
    command.env("HF_ENDPOINT", format!("http://{}", hub.local_addr().unwrap())).env("HF_TOKEN", "canary");
    // Where the list of one's own runs is.
    let state = tempfile::tempdir().unwrap();
    command.env("XDG_STATE_HOME", state.path());
    let said: Said = command.output().unwrap().into();
    assert!([0, 3].contains(&said.code), "{said:?}");
    // No card, no collection, no trace: nobody was spoken to, and nothing was written beside the run.
    assert!(hub.accept().is_err(), "the Hub was spoken to");
    assert_eq!(paths(dir, "runs"), before);
    let run = Run::open(&scripts.path()).unwrap();
    assert_eq!(run.foreign().unwrap(), Vec::<String>::new());
    // What it was made of.
    let manifest = run.manifest().unwrap();
    assert_eq!((manifest.task.seed, manifest.version.as_str()), (11, env!("CARGO_PKG_VERSION")));
    assert!(manifest.device.is_some() && !manifest.layers.is_empty() && manifest.inputs[0].sha256.len() == 64);
    for name in ["base", "data", "sealed", "tokenizer"] {
        assert_eq!(manifest.hashes.get(name).map(String::len), Some(64), "{name}");
    }
    // What was kept of the training is its best, and what it is worth is counted from the base.
    let report: Value = serde_json::from_slice(&fs::read(run.report("json")).unwrap()).unwrap();
    let curve = &report["curves"][0];
    let loss = |point: &Value| point[1].as_f64().unwrap();
    let valid = curve["valid"].as_array().unwrap();
    let best = valid.iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).unwrap();
    assert!(valid.len() > 1 && curve["best_step"] == best[0], "{curve}");
    for figure in ["/base/value", "/tuned/value", "/gain/value", "/gain/interval/0", "/baselines/majority"] {
        assert!(report.pointer(figure).is_some_and(Value::is_number), "{figure}: {report}");
    }
}
