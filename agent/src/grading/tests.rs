#![allow(clippy::unwrap_used)]

use std::fs;

use jiff::Timestamp;
use serde_json::json;
use tunesmith_harness::task::JobKind;

use super::*;

const KEPT: &str = "prepared/recipe.json";

fn recipe_of(max_length: usize) -> Recipe {
    Recipe {
        kind: JobKind::Generation,
        input: "question".into(),
        target: "answer".into(),
        cue: String::new(),
        changes: Default::default(),
        labels: Vec::new(),
        answer_after: Some("####".into()),
        max_length,
        max_new_tokens: 8,
    }
}

fn frozen() -> Scope {
    Scope {
        base: "nano".into(),
        base_sha256: "b".into(),
        data_sha256: "d".into(),
        kind: JobKind::Generation,
        input: "question".into(),
        target: "answer".into(),
        answer_after: Some("####".into()),
        method: "lora".into(),
        max_length: 64,
        metric: "exact_match".into(),
    }
}

fn events(kinds: Vec<Kind>) -> Vec<Event> {
    let event = |(seq, kind)| Event { seq, at: Timestamp::UNIX_EPOCH, prev: String::new(), kind };
    (0..).zip(kinds).map(event).collect()
}

fn prepared(sha256: &str, ok: bool) -> Kind {
    let output = json!({ "recipe_sha256": sha256 });
    Kind::Returned {
        step: 2,
        id: "2".into(),
        tool: "data_prepare".into(),
        ok,
        output,
        seconds: 1.0,
        jobs: Vec::new(),
        fault: None,
        asked: None,
    }
}

/// A workdir with this recipe, and the hash of its file.
fn place(recipe: &Recipe) -> (tempfile::TempDir, Workdir, String) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("prepared")).unwrap();
    let bytes = serde_json::to_vec(recipe).unwrap();
    fs::write(dir.path().join(KEPT), &bytes).unwrap();
    let work = Workdir::open(dir.path()).unwrap();
    (dir, work, sha256(&bytes))
}

#[test]
fn the_recipe_is_the_one_that_the_last_good_preparation_wrote() {
    let (dir, work, hash) = place(&recipe_of(64));
    let read = |kinds| recipe(&events(kinds), &work, &frozen());
    assert_eq!(read(vec![prepared("other", true), prepared(&hash, true), prepared("x", false)]), Ok(recipe_of(64)));
    assert_eq!(read(vec![]), Err("no data was prepared, so there is nothing to grade".into()));
    let changed =
        "prepared/recipe.json is not what data_prepare wrote; prepare the data again and leave the file alone";
    assert_eq!(read(vec![prepared(&hash, true), prepared("later", true)]), Err(changed.into()));
    fs::write(dir.path().join(KEPT), vec![b' '; 2 << 20]).unwrap();
    let large = "prepared/recipe.json cannot be read: it has more than 1048576 bytes; prepare the data again";
    assert_eq!(read(vec![prepared(&hash, true)]), Err(large.into()));
}

#[test]
fn the_recipe_must_be_what_the_plan_says() {
    type Change = fn(&mut Scope);
    let changes: [(&str, Change); 5] = [
        ("kind", |scope| scope.kind = JobKind::Extraction),
        ("input", |scope| scope.input = "answer".into()),
        ("target", |scope| scope.target = "question".into()),
        ("answer_after", |scope| scope.answer_after = None),
        ("max_length", |scope| scope.max_length = 63),
    ];
    let (_dir, work, hash) = place(&recipe_of(64));
    for (field, change) in changes {
        let mut scope = frozen();
        change(&mut scope);
        let why = format!("the data was prepared with another {field} than the plan says");
        assert_eq!(recipe(&events(vec![prepared(&hash, true)]), &work, &scope), Err(why));
    }
    let longer = Scope { max_length: 512, ..frozen() };
    assert_eq!(recipe(&events(vec![prepared(&hash, true)]), &work, &longer), Ok(recipe_of(64)));
}

#[test]
fn the_scope_is_the_frozen_one_with_its_changes() {
    assert_eq!(scope(&events(vec![])), Err("no plan was made, so there is no scope to grade by".into()));
    let amended = Kind::Amended { field: "max_length".into(), from: 64.into(), to: 32.into(), reason: "memory".into() };
    let kinds = vec![Kind::Scoped { scope: frozen() }, amended];
    assert_eq!(scope(&events(kinds)), Ok(Scope { max_length: 32, ..frozen() }));
}

#[test]
fn a_pipe_in_place_of_a_file_does_not_block_the_grader() {
    let (dir, work, hash) = place(&recipe_of(64));
    let path = dir.path().join(KEPT);
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let (said, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || drop(said.send(recipe(&events(vec![prepared(&hash, true)]), &work, &frozen()))));
    let answer = heard.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
    let why = "prepared/recipe.json cannot be read: it is not a regular file; prepare the data again";
    assert_eq!((answer, hash_of(&path)), (Err(why.into()), Err("it is not a regular file".into())));
}

#[test]
fn what_was_trained_on_is_kept_by_its_hash_and_nothing_is_written_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(dir.path(), "x", Timestamp::UNIX_EPOCH).unwrap();
    fs::write(run.work().join("rows.jsonl"), "{}\n").unwrap();
    let hash = sha256(b"{}\n");
    let trained = |name: &str, hash: &str| {
        let data_sha256 = [(name.to_owned(), hash.to_owned())].into();
        let made = train::Provenance { data: "rows.jsonl".into(), data_sha256, ..train::Provenance::default() };
        keep(&run, &serde_json::to_value(train::Output { provenance: Some(made), ..Default::default() }).unwrap());
        let kept = fs::read_dir(run.dir().join("trained")).map_or(0, Iterator::count);
        (kept, fs::read_dir(dir.path()).unwrap().count())
    };
    assert_eq!(trained("rows.jsonl", "../../elsewhere"), (0, 1));
    assert_eq!(trained("../rows.jsonl", &hash), (0, 1));
    assert_eq!(trained("rows.jsonl", &hash), (1, 1));
    assert_eq!(fs::read(run.dir().join("trained").join(format!("{hash}.jsonl"))).unwrap(), b"{}\n");
}
