#![allow(clippy::unwrap_used)]

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{
    event::{Approver, Capability, Cost, Fault, JobRecord, Rows},
    run::{Input, Terms},
    score::{Score, Verdict},
    task::{Goal, JobKind, Outcome, Scope, Task},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + second).unwrap()
}

fn said(text: &str) -> Kind {
    Kind::words(text, Some(7), None)
}

fn task() -> Task {
    Task {
        request: "route\u{1b}[2J these".into(),
        files: vec!["tickets.csv".into()],
        test: None,
        test_share: Some(0.1),
        base: None,
        goals: vec![Goal::at_least("accuracy", 0.9)],
        artifacts: Vec::new(),
        max_bytes: None,
        minutes: Some(10.0),
        steps: None,
        usd: None,
        tokens: None,
        disk: None,
        seed: u64::MAX,
    }
}

/// One event of every kind but `graded`, which the grader's own tests cover.
fn kinds() -> Vec<Kind> {
    let scope = Scope {
        base: "nano".into(),
        base_sha256: "aa".into(),
        data_sha256: "bb".into(),
        kind: JobKind::Classification,
        input: "text".into(),
        target: "intent".into(),
        answer_after: None,
        method: "lora".into(),
        max_length: 128,
        metric: "accuracy".into(),
    };
    let score = Score {
        scorer: "schema".into(),
        value: Some(0.5),
        interval: Some((0.25, 0.75)),
        verdict: Verdict::Warn,
        why: "so".into(),
    };
    vec![
        Kind::Started {
            task: task(),
            planner: "playbook".into(),
            version: "0.1.0".into(),
            rows: Rows { read: 10, open: 8, sealed: 2, dropped: 0, templated: 0, near_groups: 0 },
            layers: vec!["landlock".into()],
            before: None,
            inputs: vec![Input {
                path: "rows.csv".into(),
                sha256: "cc".into(),
                bytes: 9,
                rows: 10,
                note: None,
                bad_rows: 0,
                bad: Vec::new(),
            }],
        },
        Kind::Scoped { scope },
        said("let me see"),
        Kind::Called { step: 1, id: "c1".into(), tool: "data_inspect".into(), args: json!({"kind": "x", "seq": 3}) },
        Kind::Returned {
            step: 1,
            id: "c1".into(),
            tool: "data_inspect".into(),
            ok: true,
            output: json!({"rows": 8, "z": 1, "a": [1.5, null]}),
            seconds: 0.25,
            jobs: vec![JobRecord { seconds: 0.125, memory_bytes: Some(7), ..JobRecord::default() }],
            fault: Some(Fault::Limit),
            asked: Some(Cost { tokens: Some(9), usd: None }),
        },
        Kind::Scored { step: Some(1), score: score.clone() },
        Kind::Scored { step: None, score },
        Kind::Amended { field: "method".into(), from: json!("lora"), to: json!("full"), reason: "asked".into() },
        Kind::Approved {
            step: Some(1),
            what: "reach a.test".into(),
            capability: Capability::Network,
            by: Approver::Person,
            granted: true,
            reason: Some("once".into()),
            edited: Some(json!({"hosts": ["b.test"]})),
            for_run: true,
        },
        Kind::Briefed { system: "be good".into(), request: "tune".into() },
        Kind::Told { step: Some(1), content: "{}".into() },
        Kind::Observed { what: "time left".into(), value: json!({"run": null}) },
        Kind::Instructed { text: "less".into() },
        Kind::Undone { from: 1_000, steps: 2, cost: Cost { tokens: None, usd: Some(0.5) }, used: 60.5 },
        Kind::Resumed {
            version: "0.1.0".into(),
            used: 2.5,
            task: None,
            terms: Some(Terms {
                share: "none".into(),
                approve: "auto".into(),
                allow: vec!["scope".into()],
                sandbox: "on".into(),
            }),
            lost: Some(Cost { tokens: Some(9), usd: None }),
        },
        Kind::Guarded { guard: "repeat".into(), why: "the same call three times".into() },
        Kind::Compacted { dropped: 4, tokens: (900, 400), result_chars: None },
        Kind::Ended { outcome: Outcome::NotMet, why: "no gain".into(), run: "runs/x".into() },
    ]
}

/// A log of three lines in a directory that lives as long as the test.
fn three() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let mut log = Log::create(&path).unwrap();
    for (n, text) in ["one", "two", "three"].into_iter().enumerate() {
        log.append(said(text), at(n as i64)).unwrap();
    }
    (dir, path)
}

fn broken(path: &Path) -> Break {
    match read(path) {
        Err(LogError::Broken { at, .. }) => at,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_kind_of_event_reads_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let mut log = Log::create(&path).unwrap();
    let written: Vec<Event> =
        kinds().into_iter().enumerate().map(|(n, kind)| log.append(kind, at(n as i64)).unwrap()).collect();
    log.sync().unwrap();
    assert_eq!(read(&path).unwrap(), written);
    let last = fs::read_to_string(&path).unwrap().lines().last().unwrap().to_owned();
    assert_eq!(log.head(), sha256(last.as_bytes()));
    assert_eq!(written[0].prev, GENESIS);
}

#[test]
fn an_opened_log_continues_the_chain() {
    let (_dir, path) = three();
    let mut log = Log::open(&path).unwrap();
    assert_eq!(log.append(said("four"), at(9)).unwrap().seq, 3);
    assert_eq!(read(&path).unwrap().len(), 4);
}

#[test]
fn a_torn_last_line_is_left_out_by_readers_and_cut_off_by_the_writer() {
    let (_dir, path) = three();
    let whole = fs::read(&path).unwrap();
    let third = whole.iter().rposition(|&b| b == b'{').unwrap();
    for cut in third + 1..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let history = scan(&path).unwrap();
        assert_eq!((history.events.len(), history.torn, history.broken), (2, cut - third, None));
        let mut log = Log::open(&path).unwrap();
        log.append(said("three"), at(2)).unwrap();
        drop(log);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
}

#[test]
fn a_changed_line_breaks_the_chain_at_the_line_after_it_and_is_not_shown() {
    let (_dir, path) = three();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"one\"", "\"own\"")).unwrap();
    assert_eq!(broken(&path).line, 2);
    assert!(matches!(Log::open(&path), Err(LogError::Broken { .. })));
    let history = scan(&path).unwrap();
    assert_eq!((history.events.len(), history.head.as_str(), history.broken.unwrap().line), (0, GENESIS, 2));
}

#[test]
fn a_line_taken_out_swapped_or_garbled_is_named() {
    let (_dir, path) = three();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let put = |lines: &[&str]| fs::write(&path, lines.iter().map(|l| format!("{l}\n")).collect::<String>()).unwrap();
    put(&[lines[0], lines[2]]);
    assert_eq!(broken(&path).line, 2);
    put(&[lines[1], lines[0], lines[2]]);
    assert_eq!(broken(&path).line, 1);
    put(&[lines[0], "{\"seq\":1}", lines[2]]);
    assert_eq!(broken(&path).line, 2);
    put(&[lines[0], "", lines[2]]);
    assert_eq!(broken(&path).line, 2);
    fs::write(&path, [0xff, 0xfe, b'\n']).unwrap();
    assert_eq!(broken(&path).line, 1);
}

#[test]
fn a_log_that_is_missing_or_there_already_is_an_error_that_names_it() {
    let (dir, path) = three();
    assert!(matches!(Log::create(&path), Err(LogError::Io { .. })));
    let error = read(&dir.path().join("none.jsonl")).unwrap_err().to_string();
    assert!(error.contains("none.jsonl"), "{error}");
}

#[test]
fn only_one_process_writes_a_log() {
    let (_dir, path) = three();
    assert!(!in_use(&path));
    let log = Log::open(&path).unwrap();
    assert!(in_use(&path));
    assert!(matches!(Log::open(&path), Err(LogError::Busy(_))));
    assert_eq!(read(&path).unwrap().len(), 3);
    drop(log);
    assert!(!in_use(&path));
}

#[test]
fn an_event_that_would_not_read_back_is_refused_and_nothing_is_written() {
    let (_dir, path) = three();
    let before = fs::read(&path).unwrap();
    let mut log = Log::open(&path).unwrap();
    let kind = Kind::Returned {
        step: 1,
        id: String::new(),
        tool: "train".into(),
        ok: true,
        output: json!(null),
        seconds: f64::NAN,
        jobs: Vec::new(),
        fault: None,
        asked: None,
    };
    assert!(matches!(log.append(kind, at(4)), Err(LogError::Unwritable { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(log.append(said("four"), at(5)).unwrap().seq, 3);
}

/// A file on a disk with `room` bytes left: what does not fit is written in part, as real disks do.
struct SmallDisk {
    file: File,
    room: usize,
}

impl Store for SmallDisk {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fits = bytes.len().min(self.room);
        self.file.write_all(&bytes[..fits])?;
        self.room -= fits;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.room += (self.file.metadata()?.len() - len) as usize;
        self.file.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_leaves_whole_lines_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let mut log = Log::create(&path).unwrap();
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    log.store = Box::new(SmallDisk { file, room: 500 });
    let mut written = Vec::new();
    let error = loop {
        match log.append(said("a step"), at(0)) {
            Ok(event) => written.push(event),
            Err(error) => break error,
        }
    };
    assert!(!written.is_empty());
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert_eq!(read(&path).unwrap(), written);
    assert!(fs::read(&path).unwrap().ends_with(b"\n"));
    // Once there is room again the same log goes on.
    log.store = Box::new(OpenOptions::new().append(true).open(&path).unwrap());
    written.push(log.append(said("again"), at(1)).unwrap());
    assert_eq!(read(&path).unwrap(), written);
}

#[test]
fn what_was_taken_back_stays_in_the_file_and_out_of_what_is_read() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("events.jsonl");
    let undone = |from| Kind::Undone { from, steps: 1, cost: Cost { tokens: Some(7), usd: None }, used: 1.0 };
    let mut log = Log::create(&path).unwrap();
    let all = ["a", "b", "c"].map(said).into_iter().chain([undone(1), said("d"), undone(4), undone(0), said("e")]);
    all.enumerate().for_each(|(n, kind)| drop(log.append(kind, at(n as i64)).unwrap()));
    drop(log);
    let standing: Vec<u64> = read(&path).unwrap().iter().map(|event| event.seq).collect();
    // What a turn cost that was taken back is told also when more is taken back later.
    assert_eq!(standing, [3, 5, 6, 7]);
    assert_eq!(scan(&path).unwrap().written, 8);
    assert_eq!(Log::open(&path).unwrap().append(said("f"), at(9)).unwrap().seq, 8);
}
