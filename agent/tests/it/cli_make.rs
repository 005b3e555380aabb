//! `tunesmith data make` as a user meets it, and killed at random moments.
#![cfg(target_os = "linux")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tunesmith_lm::rng::Rng;

use crate::{
    cli::{Said, command, tunesmith},
    cli_kills::kin,
    server::{Answer, Server, delta, finish},
};

const SPEC: &str = r#"
name = "tickets"
about = "Messages of a bank's customers."
rows = 6
label = "intent"
seeds = "seeds.csv"

[[columns]]
name = "text"
most = 200

[[columns]]
name = "intent"
choices = ["lost", "fees"]

[teacher]
instructions = "Write what a customer would write."
rows_per_question = 2
side_by_side = 2
topics = ["cards", "cash", "travel"]

[[verify]]
by = "program"
command = ["sh", "check.sh"]

[alike]
avoid = ["test.jsonl"]
"#;

const TEMPLATES: &str = r#"
name = "sums"
rows = 15000

[[columns]]
name = "question"

[[columns]]
name = "answer"
kind = "integer"

[[templates]]
row = { question = "{who} has {a} {things} and buys {b}. How many {things} are there?", answer = "{a + b}" }

[slots]
who = { name = "person" }
a = { integer = [2, 99] }
b = { integer = [2, 99] }
things = ["plums", "pears", { text = "red {colour}s", weight = 0.5 }]
colour = ["pen", "cap"]

[[augment]]
how = "typos"
columns = ["question"]
share = 0.4
"#;

const FILES: [&str; 6] =
    ["rows.jsonl", "provenance.jsonl", "rejected.jsonl", "spec.json", "manifest.json", "README.md"];

/// A directory with a spec, its seed rows, its program and an evaluation.
fn place(spec: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("spec.toml", spec);
    write("seeds.csv", "text,intent\nI cannot find my card,lost\nWhy do I pay so much,fees\n");
    write("check.sh", "read row; case \"$row\" in *wrong*) echo it says wrong; exit 1;; esac\n");
    write("test.jsonl", "{\"text\": \"Somebody took the card out of my pocket on the bus\"}\n");
    dir
}

fn answer(rows: &[&str]) -> String {
    let rows: Vec<Value> = rows.iter().map(|text| json!({"text": text})).collect();
    json!({"rows": rows}).to_string()
}

fn script(dir: &Path, turns: &[(&str, String)]) {
    let turn = |(when, text): &(&str, String)| format!("{}\n", json!({"when": when, "text": text}));
    fs::write(dir.join("teacher.jsonl"), turns.iter().map(turn).collect::<String>()).unwrap();
}

fn make(dir: &Path, more: &[&str]) -> Said {
    tunesmith(dir, &[&["data", "make", "spec.toml", "--out", "out"], more].concat())
}

fn lines(dir: &Path, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("out").join(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_scripted_teacher_makes_a_data_set_that_ends_within_its_limits_and_goes_on_when_they_are_raised() {
    let dir = place(SPEC);
    let turns = [
        ("Batch 1.", answer(&["My card has gone missing since Monday", "this is wrong"])),
        (
            "Batch 2.",
            answer(&["The transfer cost me four euros", "Somebody took the card out of my pocket on the bus!"]),
        ),
        ("Batch 3.", answer(&["A thief has my purse with everything in it", "I left it in a taxi last night"])),
        ("Batch 4.", "I am sorry, no.".into()),
        ("Batch 5.", answer(&["What does it cost to pay abroad", "An odd charge of two pounds is on my statement"])),
        ("Batch 6.", answer(&["Is there a price for cash machines"])),
        ("Batch 7.", answer(&["Nothing more is needed"])),
    ];
    script(dir.path(), &turns);
    let limited = make(dir.path(), &["--teacher", "scripted:teacher.jsonl", "--max-questions", "3"]);
    assert_eq!(limited.code, 4, "{limited:?}");
    assert!(limited.out.contains("6 rows were wanted, but all 3 questions are asked\n"), "{limited:?}");
    let begun = make(dir.path(), &["--teacher", "scripted:teacher.jsonl"]);
    assert!(begun.refused(2).contains("go on with --resume"));
    let made = make(dir.path(), &["--teacher", "scripted:teacher.jsonl", "--resume", "--json"]).ok().json();
    assert_eq!((&made["rows"], &made["ended"]), (&json!(6), &json!("complete")), "{made}");
    assert_eq!(made["labels"], json!({"fees": 3, "lost": 3}));
    assert_eq!(made["rejected"], json!({"avoided": 1, "json": 1, "program": 1}));
    assert_eq!(made["spent"]["lost"]["questions"], 0);
    let provenance = lines(dir.path(), "provenance.jsonl");
    for (row, line) in lines(dir.path(), "rows.jsonl").iter().zip(&provenance) {
        assert_eq!((&row["intent"], &line["model"]), (&line["label"], &json!("a script")));
        assert_eq!(line["checks"], json!([{"by": "program"}]));
        assert_eq!(line["seeds"].as_array().unwrap().len(), 1);
    }
    let reasons: Vec<String> =
        lines(dir.path(), "rejected.jsonl").iter().map(|line| format!("{} {}", line["reason"], line["why"])).collect();
    assert!(reasons.contains(&"\"program\" \"it says wrong\"".to_owned()), "{reasons:?}");
    // All is answered, so that a script without turns is no harm.
    script(dir.path(), &[]);
    let again = make(dir.path(), &["--teacher", "scripted:teacher.jsonl", "--resume", "--json"]).ok().json();
    assert_eq!((&made["now"]["questions"], &again["now"]["questions"]), (&json!(2), &json!(0)));
    assert_eq!((&again["files"], &again["spent"]), (&made["files"], &made["spent"]));
}

#[test]
fn what_is_wrong_is_said_in_one_line_before_anything_is_asked() {
    let dir = place(SPEC);
    script(dir.path(), &[]);
    let teacher = ["--teacher", "scripted:teacher.jsonl"];
    let with = |more: &[&str]| make(dir.path(), &[&teacher[..], more].concat());
    assert_eq!(make(dir.path(), &[]).refused(5).matches("name one with --teacher").count(), 1);
    assert!(
        make(dir.path(), &["--teacher", "playbook"])
            .refused(2)
            .contains("--teacher: the playbook is no language model")
    );
    assert!(make(dir.path(), &["--teacher", "scripted:none"]).refused(2).contains("there is no such file"));
    let unpriced = ["--teacher", "url:http://127.0.0.1:9/v1#m", "--usd", "1"];
    assert!(make(dir.path(), &unpriced).refused(5).contains("give --price, or limit tokens instead"));
    assert!(with(&["--price", "1"]).refused(2).contains("write it as IN/OUT"));
    assert!(!dir.path().join("out").exists());
    let empty = with(&[]);
    assert!(empty.refused(5).contains("has no more turns"), "{empty:?}");
    assert!(empty.err.contains("out keeps the answers: go on with --resume"), "{empty:?}");
    let spec = |change: &dyn Fn(String) -> String| {
        fs::write(dir.path().join("spec.toml"), change(SPEC.to_owned())).unwrap();
        with(&["--resume"]).refused(2).to_owned()
    };
    assert!(
        spec(&|text| text.replace("most = 200", "mots = 200")).contains("spec.toml: line 10: unknown field `mots`")
    );
    assert!(spec(&|text| text.replace("rows = 6", "rows = 0")).contains("spec.toml: 0 rows cannot be made"));
    assert!(spec(&|text| text.replace("seeds.csv", "gone.csv")).contains("gone.csv: there is no such file"));
    assert!(spec(&|text| text.replace("rows = 6", "rows = 7")).contains("was begun with another spec"));
}

#[test]
fn a_model_in_files_answers_in_the_sandbox_for_nothing_and_what_it_says_is_checked() {
    let dir = place(&SPEC.replace("[teacher]", "[teacher]\nmax_tokens = 16\npatience = 3"));
    let local = ["--teacher", "local:nano"];
    // The bundled model writes no rows; that is known for every answer, and that it cost nothing.
    let made = make(dir.path(), &[&local[..], &["--usd", "0", "--json"]].concat());
    assert_eq!(made.code, 3, "{made:?}");
    let said = made.json();
    assert_eq!(
        (&said["ended"], &said["cost"]["usd"], &said["cost"]["exact"]),
        (&json!("stalled"), &json!(0.0), &json!(true))
    );
    let tokens = said["cost"]["tokens"].as_u64().unwrap();
    let questions = said["cost"]["questions"].as_u64().unwrap();
    assert!(questions >= 3 && tokens > questions * 16, "{said}");
    let teacher = said["teacher"].as_str().unwrap();
    assert!(
        teacher.starts_with("nano (SHA-256 ") && teacher.len() == "nano (SHA-256 0123456789abcdef)".len(),
        "{teacher}"
    );
    let rejected = lines(dir.path(), "rejected.jsonl");
    assert_eq!(rejected.len() as u64, questions);
    for line in &rejected {
        assert!(["json", "cut"].contains(&line["reason"].as_str().unwrap()), "{line}");
        assert_eq!(line["origin"]["model"], said["teacher"]);
    }
    // The same again, from nothing, answers the same.
    let again =
        tunesmith(dir.path(), &[&["data", "make", "spec.toml", "--out", "again", "--json"], &local[..]].concat());
    assert_eq!(again.json()["files"], said["files"]);
    let refused = |model: &str| make(dir.path(), &["--teacher", model]).refused(2).to_owned();
    assert!(refused("local:").contains("--teacher: the base has no name"));
    assert!(refused("local:gone.gguf").contains("--teacher: there is no model at gone.gguf"));
    assert!(refused("local:some/model").contains("--teacher: there is no directory some/model; to use the Hub's"));
    fs::write(dir.path().join("broken.gguf"), "GGUF").unwrap();
    assert!(
        tunesmith(dir.path(), &["data", "make", "spec.toml", "--out", "o", "--teacher", "local:broken.gguf"])
            .refused(2)
            .contains("broken.gguf")
    );
    assert!(!dir.path().join("o").exists());
}

#[test]
fn a_dry_run_shows_the_first_question_and_what_all_can_take_at_most() {
    let dir = place(SPEC);
    let said = make(dir.path(), &["--dry-run", "--price", "1/2"]).ok();
    for part in
        ["6 rows to make\n  lost: 3\n  fees: 3\n", "if every answer is good: 4 questions, at most ", "Batch 1.\n"]
    {
        assert!(said.out.contains(part), "{part}: {said:?}");
    }
    let preview = make(dir.path(), &["--dry-run", "--json"]).ok().json();
    assert_eq!((&preview["questions"], &preview["most"]["usd"]), (&json!(4), &Value::Null));
    fs::write(dir.path().join("spec.toml"), TEMPLATES).unwrap();
    let said = make(dir.path(), &["--dry-run", "--rows", "3"]).ok();
    assert!(said.out.starts_with("3 rows to make\nfor example:\n{\"question\":\""), "{said:?}");
    assert!(!dir.path().join("out").exists());
}

/// What the server did: how often it was asked each batch, and the tokens it took.
#[derive(Default)]
struct Served {
    batches: BTreeMap<usize, usize>,
    tokens: u64,
}

/// A server whose answers depend on the question alone: good, broken, repeated.
fn teacher(runtime: &Runtime) -> (Server, Arc<Mutex<Served>>) {
    let served = Arc::new(Mutex::new(Served::default()));
    let log = served.clone();
    let server = runtime.block_on(Server::answering(move |body| {
        let messages = body["messages"].as_array().unwrap();
        let words = messages[messages.len() - 1]["content"].as_str().unwrap();
        let n: usize = words.rsplit_once("Batch ").unwrap().1.split('.').next().unwrap().parse().unwrap();
        let text = |m: usize| {
            let mut rng = Rng::new(n as u64, &format!("row {m}"));
            (0..12).map(|_| format!("{:x}", rng.next_u64() % 0xffff)).collect::<Vec<_>>().join(" ")
        };
        let answer = match n % 7 {
            3 => "I would rather not.".to_owned(),
            5 => answer(&["the same as ever and ever", "once more the very same words"]),
            _ => answer(&[&text(1), &text(2)]),
        };
        let usage = 400 + n as u64;
        let mut served = log.lock().unwrap();
        *served.batches.entry(n).or_default() += 1;
        served.tokens += usage;
        Answer::stream(&[
            delta(json!({"content": answer})),
            finish("stop"),
            json!({"choices": [], "usage": {"prompt_tokens": 400, "completion_tokens": n}}),
        ])
    }));
    (server, served)
}

#[test]
fn four_kills_of_a_taught_data_set_ask_nothing_twice_and_change_no_byte() {
    survive_taught(4, 1);
}

#[test]
#[ignore = "many data sets: twenty kills"]
fn soak_twenty_kills_of_a_taught_data_set_ask_nothing_twice_and_change_no_byte() {
    survive_taught(20, 2);
}

fn survive_taught(kills: usize, seed: u64) {
    const AT_ONCE: usize = 3;
    let spec = SPEC.replace("rows = 6", "rows = 150").replace("side_by_side = 2", "side_by_side = 3");
    let spec = spec.replace("[[verify]]\nby = \"program\"\ncommand = [\"sh\", \"check.sh\"]\n", "");
    let dir = place(&spec);
    let runtime = Runtime::new().unwrap();
    let (server, served) = teacher(&runtime);
    let model = format!("url:{}#m", server.base);
    let more = ["--teacher", &model, "--max-tokens", "600000"];
    let kept = |out: &str| {
        let text = fs::read_to_string(dir.path().join(out).join("journal.jsonl")).unwrap_or_default();
        text.lines().filter(|line| line.starts_with("{\"replied\"")).count()
    };
    let met = survive(
        dir.path(),
        kills,
        seed,
        &more,
        |out, killed| {
            let Served { batches, tokens } = std::mem::take(&mut *served.lock().unwrap());
            let asked: usize = batches.values().sum();
            // Every reply is kept once, and what was asked again was under way when a process died.
            assert_eq!(kept(out), batches.len(), "{out}");
            assert!(asked - batches.len() <= killed * AT_ONCE, "{asked} questions for {} batches", batches.len());
            assert!(tokens <= 600_000, "{tokens} tokens");
        },
        kept,
    );
    println!("{met} of {kills} kills met a data set in the middle");
    assert!(met * 4 >= kills, "only {met} of {kills} kills met a data set in the middle");
}

#[test]
fn kills_within_a_tight_limit_of_tokens_never_break_it() {
    let spec = SPEC
        .replace("rows = 6", "rows = 200")
        .replace("[[verify]]\nby = \"program\"\ncommand = [\"sh\", \"check.sh\"]\n", "");
    let dir = place(&spec);
    let runtime = Runtime::new().unwrap();
    let (server, served) = teacher(&runtime);
    let model = format!("url:{}#m", server.base);
    let (mut rng, most) = (Rng::new(3, "tight"), 40_000);
    let mut out = 0;
    let code = loop {
        let mut child = start(dir.path(), "out", &["--teacher", &model, "--max-tokens", &most.to_string()]);
        let killed =
            kill_after(&mut child, dir.path(), Duration::from_micros(rng.below(400_000) as u64 + 100_000 * out));
        out += 1;
        if let Some(code) = killed {
            break code;
        }
    };
    assert_eq!(code, Some(4));
    let tokens = served.lock().unwrap().tokens;
    assert!(tokens > 2_000 && tokens <= most, "{tokens} tokens of {most}");
}

#[test]
fn four_kills_of_a_data_set_of_templates_change_no_byte() {
    survive_templates(4, 1);
}

#[test]
#[ignore = "many data sets: twenty kills"]
fn soak_twenty_kills_of_a_data_set_of_templates_change_no_byte() {
    survive_templates(20, 2);
}

fn survive_templates(kills: usize, seed: u64) {
    // So many that the program is mostly making rows when it is killed, not starting.
    let many = TEMPLATES.replace("rows = 15000", "rows = 75000");
    assert!(many != TEMPLATES, "there are no rows to multiply");
    let dir = place(&many);
    let begun = |out: &str| usize::from(dir.path().join(out).join("journal.jsonl").exists());
    let met = survive(dir.path(), kills, seed, &[], |_, _| {}, begun);
    println!("{met} of {kills} kills met a data set that was begun");
    assert!(met * 4 >= kills, "only {met} of {kills}");
}

/// Kills makings at random moments until there were so many, and holds each against one that was not. `ended` looks at each
/// that came to its end. Gives how many kills met one in the middle, by what `kept` says there is of it.
fn survive(
    dir: &Path,
    kills: usize,
    seed: u64,
    more: &[&str],
    ended: impl Fn(&str, usize),
    kept: impl Fn(&str) -> usize,
) -> usize {
    let began = Instant::now();
    assert!(start(dir, "unbroken", more).wait().unwrap().success());
    let took = began.elapsed();
    ended("unbroken", 0);
    let (mut rng, mut done, mut met, mut round) = (Rng::new(seed, "kills of makings"), 0, 0, 0);
    while done < kills {
        let (out, mut killed) = (format!("round-{round}"), 0);
        let code = loop {
            let mut child = start(dir, &out, more);
            let pause = match done < kills {
                // Most of the first part is the start of the program.
                true => took / 5 + Duration::from_micros(rng.below(took.as_micros() as usize) as u64) * 4 / 5,
                false => Duration::MAX,
            };
            if let Some(code) = kill_after(&mut child, dir, pause) {
                break code;
            }
            (done, killed) = (done + 1, killed + 1);
            let whole = dir.join(&out).join("manifest.json").exists();
            met += usize::from(kept(&out) > 0 && !whole);
        };
        assert_eq!(code, Some(0), "{out}");
        for file in FILES {
            let read = |out: &str| fs::read(dir.join(out).join(file)).unwrap();
            assert!(read(&out) == read("unbroken"), "{file} of {out} differs");
        }
        let names = fs::read_dir(dir.join(&out)).unwrap().count();
        assert_eq!(names, FILES.len() + 1, "something else is left in {out}");
        ended(&out, killed);
        round += 1;
    }
    met
}

/// Kills a process after a while, with all that it started; its exit code, where it ended before.
fn kill_after(child: &mut Child, dir: &Path, pause: Duration) -> Option<Option<i32>> {
    let began = Instant::now();
    while began.elapsed() < pause {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code());
        }
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    while !kin(dir).is_empty() {
        std::thread::yield_now();
    }
    None
}

fn start(dir: &Path, out: &str, more: &[&str]) -> Child {
    let args = [&["data", "make", "spec.toml", "--resume", "--out", out], more].concat();
    command(dir, &args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}
