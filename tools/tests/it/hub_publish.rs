//! What is published, and what is not, against a Hub on loopback.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tunesmith_harness::{hash::sha256, report::Report, run::Run};
use tunesmith_tools::hub::{
    Hub, HubConfig, HubError,
    licence::Terms,
    publish::{Gathered, Parcel, Wish},
};

use crate::fake_hub::{
    Failing, FakeHub, GUEST, TOKEN,
    http::Answer,
    python::python,
    store::{Kind, Repo},
};

fn wish(dir: &Path) -> Wish {
    Wish {
        dir: dir.to_owned(),
        to: "org/made".parse().unwrap(),
        public: false,
        licence: None,
        base: (Some("a/base".into()), Some(Terms::of(Some("apache-2.0")))),
        data: (Some("rows.csv".into()), None),
        run: None,
        results: Vec::new(),
    }
}

/// What would be sent, or why nothing is; rows are looked at in this process.
fn gather(wish: &Wish) -> Result<Parcel, String> {
    let gathered = Gathered::of(wish).map_err(|refusal| refusal.to_string())?;
    let looked = gathered.rows().map(|job| job.run()).transpose().map_err(|error| error.to_string())?;
    gathered.parcel(wish, looked).map_err(|refusal| refusal.to_string())
}

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
        fs::write(dir.join(path), text).unwrap();
    }
}

/// A tensor file of one tensor.
fn tensors(metadata: &str) -> Vec<u8> {
    let head = json!({"__metadata__": {"of": metadata}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})
        .to_string();
    [&(head.len() as u64).to_le_bytes(), head.as_bytes(), &[0; 8]].concat()
}

fn adapter(dir: &Path) {
    write(
        dir,
        &[
            ("adapter_config.json", r#"{"peft_type": "LORA", "r": 2, "base_model_name_or_path": "base"}"#),
            ("training.json", r#"{"base_sha256": "b1", "data_sha256": "d1", "spec": {"learning_rate": 0.003}}"#),
            ("prepared/train.jsonl", "{\"prompt\": \"private row\"}\n"),
            ("log.jsonl", "{}\n"),
            ("README.md", "the old card"),
        ],
    );
    fs::write(dir.join("adapter_model.safetensors"), tensors("a test")).unwrap();
}

fn client(hub: &FakeHub, token: Option<&str>) -> Hub {
    Hub::new(&HubConfig {
        endpoint: hub.endpoint.clone(),
        token: token.map(String::from),
        cache_dir: std::env::temp_dir().join("nowhere"),
        viewer: None,
        offline: false,
    })
    .unwrap()
}

#[tokio::test]
async fn an_adapter_is_published_private_with_its_card_and_read_by_the_hubs_own_client() {
    let (hub, dir) = (FakeHub::start(), tempfile::tempdir().unwrap());
    adapter(dir.path());
    let parcel = gather(&wish(dir.path())).unwrap();
    let sent: Vec<&str> = parcel.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(sent, ["README.md", "adapter_config.json", "adapter_model.safetensors", "training.json"]);
    let kept: Vec<String> = parcel.kept_back.iter().map(|(path, why)| format!("{path}: {why}")).collect();
    let want = [
        "README.md: the card is written anew",
        "log.jsonl: a log of training",
        "prepared/train.jsonl: rows it was trained on",
    ];
    assert_eq!(kept, want);
    assert_eq!(hub.seen(), [""; 0]);

    let done = client(&hub, Some(TOKEN)).publish(&parcel, Box::new(|_| ())).await.unwrap();
    let there = hub.repo(Kind::Model, "org/made").unwrap();
    assert!(there.private && there.head().sha == done.commit && done.url == format!("{}/org/made", hub.endpoint));
    assert_eq!(there.head().files.keys().collect::<Vec<_>>(), sent);
    assert_eq!(there.head().files["adapter_model.safetensors"].bytes, tensors("a test"));
    let card = String::from_utf8(there.head().files["README.md"].bytes.clone()).unwrap();
    for part in [
        "base_model: \"a/base\"",
        "| data | rows.csv (sha256 `d1`) |",
        "\"learning_rate\": 0.003",
        "license: \"other\"",
    ] {
        assert!(card.contains(part), "{part} in {card}");
    }
    let script = r#"
import json, os
from huggingface_hub import ModelCard, snapshot_download
folder = snapshot_download("org/made")
card = ModelCard.load(folder + "/README.md")
print(json.dumps([sorted(os.listdir(folder)), card.data.license, card.data.base_model, card.data.tags]))
"#;
    let Some(read) = python(&hub, TOKEN, script) else { return };
    assert_eq!(read, json!([sent, "other", "a/base", ["tunesmith", "lora"]]));
}

#[tokio::test]
async fn results_with_intervals_stand_in_the_cards_head_as_the_hub_reads_them() {
    let (hub, dir, results) = (FakeHub::start(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    adapter(dir.path());
    let figure = json!({"task": "arith: \"easy\"", "depth": 0, "filter": "none", "metric": "acc", "n_shot": 0, "value": 0.75,
        "interval": [0.6, 0.85], "method": "wilson", "stderr": 0.05, "n": 40, "higher_is_better": true, "chance": 0.25,
        "format_failures": null});
    let all = json!({"results": {}, "group_subtasks": {}, "configs": {}, "versions": {}, "n-shot": {}, "higher_is_better": {},
        "n-samples": {}, "config": {}, "task_hashes": {},
        "tunesmith": {"version": "1", "fingerprint": "f", "figures": [figure], "notes": []}});
    fs::write(results.path().join("results.json"), all.to_string()).unwrap();
    let parcel = gather(&Wish { results: vec![results.path().to_owned()], ..wish(dir.path()) }).unwrap();
    client(&hub, Some(TOKEN)).publish(&parcel, Box::new(|_| ())).await.unwrap();
    let card =
        String::from_utf8(hub.repo(Kind::Model, "org/made").unwrap().head().files["README.md"].bytes.clone()).unwrap();
    let row = "| arith: \"easy\" | acc | 0.7500 | 0.6000 to 0.8500 | 40 | unknown | 0.2500 |";
    assert!(card.contains(row), "{card}");
    let script = r#"
import json
from huggingface_hub import ModelCard, hf_hub_download
results = ModelCard.load(hf_hub_download("org/made", "README.md")).data.eval_results
print(json.dumps([[r.task_name, r.metric_type, r.metric_value, r.metric_name, r.metric_args] for r in results]))
"#;
    let Some(read) = python(&hub, TOKEN, script) else { return };
    let args = json!({"n": 40, "confidence_interval": [0.6, 0.85], "confidence_level": 0.95});
    assert_eq!(read, json!([["arith: \"easy\"", "acc", 0.75, "acc (95 % interval 0.6000 to 0.8500)", args]]));
}

#[tokio::test]
async fn a_run_vouches_for_what_it_graded_and_for_nothing_else() {
    let temp = tempfile::tempdir().unwrap();
    let run = Run::create(temp.path(), "x", "2026-01-01T00:00:00Z".parse().unwrap()).unwrap();
    fs::write(run.log(), "").unwrap();
    fs::write(run.dir().join("run.json"), "{}").unwrap();
    let out = run.work().join("train-1");
    adapter(&out);
    let hub = FakeHub::start();
    let card = async |sha256: String| {
        let measured =
            json!({"value": 0.9, "interval": [0.8, 0.95], "n": 100, "exact_match": 0.9, "format_failures": 0.0});
        let mut report = json!(Report::fold(&[]));
        report["metric"] = json!("accuracy");
        report["tuned"] = measured;
        report["artifacts"] = json!([{"path": "work/train-1", "kind": "adapter", "sha256": sha256, "bytes": 1,
            "measured": null, "failed": null}]);
        fs::write(run.report("json"), report.to_string()).unwrap();
        client(&hub, Some(TOKEN)).publish(&gather(&wish(&out)).unwrap(), Box::new(|_| ())).await.unwrap();
        let there = hub.repo(Kind::Model, "org/made").unwrap();
        String::from_utf8(there.head().files["README.md"].bytes.clone()).unwrap()
    };
    let graded = card(sha256(&tensors("a test"))).await;
    assert!(
        graded.contains("| sealed rows of the run | accuracy | 0.9000 | 0.8000 to 0.9500 | 100 | unknown | unknown |"),
        "{graded}"
    );
    let other = card(sha256(b"another adapter")).await;
    assert!(
        other.contains("Nothing was measured: what it reaches is unknown.") && !other.contains("0.9000"),
        "{other}"
    );
}

#[test]
fn what_must_not_leave_is_refused_with_its_place() {
    let refused = |files: &[(&str, &str)], want: &str| {
        let dir = tempfile::tempdir().unwrap();
        adapter(dir.path());
        write(dir.path(), files);
        let said = gather(&wish(dir.path())).unwrap_err().to_string();
        assert!(said.ends_with(want), "{want} in {said}");
    };
    let token = "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";
    let secret = "holds what looks like a secret, such as a token or a key; take it out";
    refused(&[("recipe.json", &format!("{{\n\"key\": \"{token}\"}}\n"))], &format!("recipe.json: line 2 {secret}"));
    let kind = "is of a kind that is not published; take it away, or turn rows into .jsonl, .csv or .parquet";
    for path in [".env", "train.py", "optimizer.pt", "deep/rows.jsonl"] {
        refused(&[(path, "x")], &format!("{path}: {kind}"));
    }
    refused(&[("model.safetensors", "not tensors at all")], "model.safetensors: is no safetensors file");
    refused(
        &[("run.json", "{}")],
        "is the directory of a run, with its sealed rows; name one of the results in its work/",
    );

    let dir = tempfile::tempdir().unwrap();
    adapter(dir.path());
    fs::write(dir.path().join("adapter_model.safetensors"), tensors(token)).unwrap();
    let said = gather(&wish(dir.path())).unwrap_err().to_string();
    assert!(said.ends_with(&format!("adapter_model.safetensors: {secret}")), "{said}");
    adapter(dir.path());
    for (name, target) in [("link.json", "adapter_config.json"), ("way", "/etc")] {
        std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap();
        let said = gather(&wish(dir.path())).unwrap_err().to_string();
        assert!(said.ends_with(&format!("{name}: is a link; put the file itself there")), "{said}");
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    fs::hard_link(dir.path().join("training.json"), dir.path().join("second.json")).unwrap();
    let said = gather(&wish(dir.path())).unwrap_err().to_string();
    assert!(said.contains("has a second name (a hard link); ship a copy"), "{said}");
    let said = gather(&wish(Path::new("/nonexistent"))).unwrap_err().to_string();
    assert!(said.starts_with("/nonexistent: No such file"), "{said}");
}

#[test]
fn sealed_rows_are_never_published() {
    let temp = tempfile::tempdir().unwrap();
    let run = Run::create(temp.path(), "x", "2026-01-01T00:00:00Z".parse().unwrap()).unwrap();
    fs::write(run.log(), "").unwrap();
    fs::write(run.dir().join("run.json"), "{}").unwrap();
    let row = |n: usize| {
        let words = ["where is my parcel", "the invoice is wrong", "please close my account", "how do I reset it"];
        format!(
            "{}\n",
            json!({"text": format!("{} and this is message number {n} of the customer", words[n % 4]), "label": "a"})
        )
    };
    let rows = |range: std::ops::Range<usize>| range.map(row).collect::<String>();
    write(run.dir(), &[("work/data/train.jsonl", &rows(0..8)), ("sealed/rows.jsonl", &rows(8..12))]);
    write(run.dir(), &[("work/out/train.jsonl", &rows(0..8))]);
    let out = run.work().join("out");
    assert_eq!(gather(&wish(&out)).unwrap().sealed_checked, Some(4));
    write(&out, &[("valid.jsonl", &rows(10..11))]);
    let said = gather(&wish(&out)).unwrap_err().to_string();
    assert!(
        said.ends_with("1 of the 4 sealed rows of the run are in it, which are never published; take them out"),
        "{said}"
    );
    let said = gather(&wish(&run.sealed())).unwrap_err().to_string();
    assert!(said.ends_with("holds a run's sealed rows, which are never published"), "{said}");
    // A copy elsewhere, of a run that is named.
    let copy = temp.path().join("copy");
    write(
        &copy,
        &[("rows.csv", "text,label\n\"please close my account and this is message number 10 of the customer\",a\n")],
    );
    let named = Wish { run: Some(run.dir().to_owned()), ..wish(&copy) };
    assert!(gather(&named).unwrap_err().to_string().contains("1 of the 4 sealed rows of the run are in it"));
    assert_eq!(gather(&wish(&copy)).unwrap().sealed_checked, None);
}

#[tokio::test]
async fn a_data_set_is_published_as_one_and_its_licence_cannot_hide_another() {
    let (hub, dir) = (FakeHub::start(), tempfile::tempdir().unwrap());
    write(dir.path(), &[("train.jsonl", "{\"text\": \"hello\"}\n{\"text\": \"world\"}\n")]);
    let closed = Wish { data: (Some("o/set".into()), Some(Terms::of(Some("cc-by-nc-4.0")))), ..wish(dir.path()) };
    let free = Wish { licence: Some("mit".into()), ..closed.clone() };
    let said = gather(&free).unwrap_err().to_string();
    assert!(said.starts_with("mit would hide that the data o/set is under cc-by-nc-4.0"), "{said}");
    let parcel = gather(&closed).unwrap();
    client(&hub, Some(TOKEN)).publish(&parcel, Box::new(|_| ())).await.unwrap();
    let card = String::from_utf8(hub.repo(Kind::Dataset, "org/made").unwrap().head().files["README.md"].bytes.clone())
        .unwrap();
    assert!(card.contains("license: \"cc-by-nc-4.0\"") && card.contains("| train.jsonl | 2 rows |"), "{card}");
    assert!(card.contains("no commercial use"), "{card}");
}

#[tokio::test]
async fn nothing_is_sent_where_it_should_not_go() {
    let (hub, dir) = (FakeHub::start(), tempfile::tempdir().unwrap());
    adapter(dir.path());
    let parcel = gather(&wish(dir.path())).unwrap();
    let say = async |token: Option<&str>| {
        let error = client(&hub, token).publish(&parcel, Box::new(|_| ())).await.unwrap_err();
        error.to_string().replace(&hub.endpoint, "HUB")
    };
    let none = "publishing needs a token with the right to write: set HF_TOKEN, see HUB/settings/tokens";
    assert_eq!(say(None).await, none);
    assert_eq!(hub.seen(), [""; 0]);
    let right = "the Hub at HUB refuses this to your token: use a token with the right to it, see HUB/settings/tokens";
    assert_eq!(say(Some(GUEST)).await, right);
    // Where large files would go is the Hub's word.
    for place in ["file:///etc", "memory://x", "nonsense", "ftp://elsewhere"] {
        let answer = Answer::json(&json!({"accessToken": "t", "exp": 1, "casUrl": place}));
        hub.fail("xet-write-token", 1, Failing::Answer(answer));
        assert_eq!(
            say(Some(TOKEN)).await,
            "the Hub at HUB wants large files at a place that is not safe: nothing was sent"
        );
    }
    hub.fail("xet-write-token", 1, Failing::Answer(Answer::refused(404, "", "no")));
    assert_eq!(say(Some(TOKEN)).await, "the Hub at HUB stores no large files by Xet: nothing was sent");
    let limited = Answer::refused(429, "", "slow down").with("retry-after", "5");
    hub.fail("/commit/", 5, Failing::Answer(limited));
    assert!(say(Some(TOKEN)).await.contains("wait 5 seconds"));
    // What was private would be seen by all.
    let (hub, open) = (FakeHub::start(), Repo::model("org/made"));
    hub.add(open);
    let error = client(&hub, Some(TOKEN)).publish(&parcel, Box::new(|_| ())).await.unwrap_err();
    assert!(matches!(error, HubError::Public { .. }), "{error}");
    assert!(!hub.seen().iter().any(|asked| asked.contains("/commit/")));
}

#[tokio::test]
async fn what_arrived_is_held_against_what_was_shown() {
    let (hub, dir) = (FakeHub::start(), tempfile::tempdir().unwrap());
    adapter(dir.path());
    let parcel = gather(&wish(dir.path())).unwrap();
    let tree: Vec<Value> = parcel
        .files
        .iter()
        .map(|file| json!({"type": "file", "path": file.path, "size": file.size, "oid": "0".repeat(40)}))
        .collect();
    hub.fail("/tree/", 1, Failing::Answer(Answer::json(&json!(tree))));
    let error = client(&hub, Some(TOKEN)).publish(&parcel, Box::new(|_| ())).await.unwrap_err();
    assert!(matches!(&error, HubError::Changed { path, .. } if path == "README.md"), "{error}");
}
