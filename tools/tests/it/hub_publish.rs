//! What is published, and what is not, against a Hub on loopback.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tunesmith_harness::{hash::sha256, redact, report::Report, rows, run::Run};
use tunesmith_tools::{
    hub::{
        Hub, HubConfig, HubError,
        licence::Terms,
        publish::{Gathered, Parcel, Stated, Wish},
    },
    models,
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
        base: Stated {
            name: Some("a/base".into()),
            id: Some("a/base".parse().unwrap()),
            terms: Some(Terms::of(Some("apache-2.0"))),
        },
        data: Stated { name: Some("rows.csv".into()), ..Stated::default() },
        run: None,
        results: Vec::new(),
    }
}

/// What would be sent, or why nothing is; rows are looked at in this process.
fn gather(wish: &Wish) -> Result<Parcel, String> {
    let gathered = Gathered::of(wish).map_err(|refusal| refusal.to_string())?;
    let texts = tempfile::tempdir().unwrap();
    let found = match gathered.holds_rows() {
        false => None,
        true => Some(gathered.rows(texts.path()).run().map_err(|error| error.to_string())?),
    };
    let looked = found.as_ref().map(|found| (found, texts.path()));
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
    let (hub, dir) = (FakeHub::start(), tempfile::tempdir().unwrap());
    adapter(dir.path());
    let results = evaluation(&of_adapter(dir.path()));
    let parcel = gather(&Wish { results: vec![results.path().to_owned()], ..wish(dir.path()) }).unwrap();
    client(&hub, Some(TOKEN)).publish(&parcel, Box::new(|_| ())).await.unwrap();
    let card =
        String::from_utf8(hub.repo(Kind::Model, "org/made").unwrap().head().files["README.md"].bytes.clone()).unwrap();
    assert_eq!(card, parcel.card);
    let row = "| arith: \"easy\" | acc | 0.7500 | 0.6000 to 0.8500 | 40 | unknown | 0.2500 |";
    assert!(card.contains(row) && !card.contains("very files"), "{card}");
    let script = r#"
import json
from huggingface_hub import ModelCard, hf_hub_download
results = ModelCard.load(hf_hub_download("org/made", "README.md")).data.eval_results
print(json.dumps([[r.task_name, r.dataset_type, r.dataset_name, r.metric_type, r.metric_value, r.metric_name, r.metric_args] for r in results]))
"#;
    let Some(read) = python(&hub, TOKEN, script) else { return };
    let args = json!({"n": 40, "confidence_interval": [0.6, 0.85], "confidence_level": 0.95});
    let (task, name) = ("arith: \"easy\"", "acc (95 % interval 0.6000 to 0.8500)");
    assert_eq!(read, json!([[task, task, task, "acc", 0.75, name, args]]));
}

/// Results of an evaluation of the model with this fingerprint.
fn evaluation(fingerprint: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let figure = json!({"task": "arith: \"easy\"", "depth": 0, "filter": "none", "metric": "acc", "n_shot": 0, "value": 0.75,
        "interval": [0.6, 0.85], "method": "wilson", "stderr": 0.05, "n": 40, "higher_is_better": true, "chance": 0.25,
        "format_failures": null});
    let all = json!({"results": {}, "group_subtasks": {}, "configs": {}, "versions": {}, "n-shot": {}, "higher_is_better": {},
        "n-samples": {}, "config": {}, "task_hashes": {},
        "tunesmith": {"version": "1", "fingerprint": fingerprint, "figures": [figure], "notes": []}});
    fs::write(dir.path().join("results.json"), all.to_string()).unwrap();
    dir
}

/// The fingerprint of the adapter in a directory.
fn of_adapter(dir: &Path) -> String {
    let hash = |file: &str| sha256(&fs::read(dir.join(file)).unwrap());
    models::fingerprint("b1", &hash("adapter_config.json"), &hash("adapter_model.safetensors"))
}

#[test]
fn results_of_something_else_are_refused_and_those_without_a_hash_are_marked() {
    let dir = tempfile::tempdir().unwrap();
    adapter(dir.path());
    let record = json!({"base_sha256": sha256(b"base"), "data_sha256": "d1"}).to_string();
    write(dir.path(), &[("training.json", record.as_str())]);
    let with = |fingerprint: &str| {
        let results = evaluation(fingerprint);
        let said = gather(&Wish { results: vec![results.path().to_owned()], ..wish(dir.path()) });
        said.map_err(|error| error.replace(&results.path().display().to_string(), "RESULTS"))
    };
    let other = "are of another model or adapter, by its hash; evaluate the one that is published, or leave them out";
    assert_eq!(with(&of_adapter(dir.path())).unwrap_err(), format!("RESULTS: {other}"));
    let base = "are of the base by itself; evaluate with --adapter, or leave them out";
    assert_eq!(with(&sha256(b"base")).unwrap_err(), format!("RESULTS: {base}"));
    let unknown = "Whether acc of arith: \"easy\" was measured on these very files is unknown.";
    for none in ["", "an endpoint's"] {
        assert!(with(none).unwrap().card.contains(unknown));
    }
    // Of an adapter made elsewhere nobody knows the base.
    fs::remove_file(dir.path().join("training.json")).unwrap();
    assert!(with(&sha256(b"x")).unwrap().card.contains(unknown));

    let gguf = tempfile::tempdir().unwrap();
    fs::write(gguf.path().join("m.gguf"), "GGUF and more").unwrap();
    let with = |fingerprint: &str| {
        let results = evaluation(fingerprint);
        gather(&Wish { results: vec![results.path().to_owned()], ..wish(gguf.path()) })
    };
    assert!(!with(&sha256(b"GGUF and more")).unwrap().card.contains("is unknown."));
    assert!(with(&sha256(b"GGUF and less")).unwrap_err().ends_with(other));
}

#[test]
fn a_base_from_the_hub_is_named_with_its_commit_and_no_other_is_claimed() {
    let (dir, commit) = (tempfile::tempdir().unwrap(), "0123456789".repeat(4));
    adapter(dir.path());
    let config = json!({"peft_type": "LORA", "r": 2, "base_model_name_or_path": "a/base", "revision": commit});
    write(dir.path(), &[("adapter_config.json", config.to_string().as_str())]);
    let said = |base: Option<&str>| {
        let id = base.map(|base| base.parse().unwrap());
        let base = Stated { name: base.map(Into::into), id, terms: None };
        gather(&Wish { base, ..wish(dir.path()) }).map(|parcel| parcel.card)
    };
    for same in [None, Some("a/base".to_owned()), Some(format!("a/base@{commit}"))] {
        let card = said(same.as_deref()).unwrap();
        assert!(card.contains("base_model: \"a/base\"\n"), "{card}");
        assert!(card.contains(&format!("| base | a/base@{commit} (sha256 `b1`) |")), "{card}");
    }
    for other in ["b/other", "a/base@v2"] {
        let error = said(Some(other)).unwrap_err();
        let want = format!("was trained from a/base@{commit}, not from {other}; leave out --base");
        assert!(error.ends_with(&want), "{error}");
    }
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

    let escaped = token.replace('_', "\\u005f");
    refused(&[("recipe.json", &format!("{{\"key\": \"{escaped}\"}}"))], &format!("recipe.json: line 1 {secret}"));
    let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA1234567890abcdefghijklmnopqrstuvwxyz\n-----END RSA PRIVATE KEY-----";
    refused(&[("LICENSE", &format!("terms\n{key}\n"))], &format!("LICENSE: line 2 {secret}"));
    refused(&[("x.md", "a\0b")], "x.md: holds bytes that are no text; write it as UTF-8");
    refused(&[("m.gguf", &format!("GGUF\0\u{1}general.name\0{token}\0"))], &format!("m.gguf: {secret}"));
    let name = "has a name that is not sent (a secret, hidden characters or a part such as .git); give it another";
    for path in [format!("{token}.json"), format!("{token}/x.json"), ".git/config".into(), "a\u{202e}b.json".into()] {
        refused(&[(&path, "{}")], name);
    }

    let dir = tempfile::tempdir().unwrap();
    adapter(dir.path());
    for hidden in [tensors(token), [tensors("a test"), format!(" {token}").into_bytes()].concat()] {
        fs::write(dir.path().join("adapter_model.safetensors"), hidden).unwrap();
        let said = gather(&wish(dir.path())).unwrap_err().to_string();
        assert!(said.ends_with(&format!("adapter_model.safetensors: {secret}")), "{said}");
    }
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

/// Writes a row with this text into a file of the kind that its name says.
fn row(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    match rows::Layout::of(&path) {
        Some(layout) => {
            // Nothing of it stands as it is in what is compressed.
            let layout = match layout {
                rows::Layout::Parquet(_) => rows::Layout::Parquet(rows::Codec::Zstd),
                layout => layout,
            };
            let Value::Object(row) = json!({"text": text, "n": 1}) else { unreachable!() };
            let mut writer = rows::Writer::create(&path, layout).unwrap();
            writer.write([row]).unwrap();
            writer.finish().unwrap();
        }
        None if name.ends_with(".csv") => {
            let table = format!("\u{feff}text,n\n{text},1\n");
            fs::write(path, table.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()).unwrap();
        }
        None => fs::write(path, json!([{"text": text, "n": 1}]).to_string()).unwrap(),
    }
}

const KINDS: [&str; 6] = ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.csv", "a.parquet", "a.json"];

#[test]
fn rows_of_every_kind_are_looked_at_counted_and_sent() {
    // One of this process's own, which no form tells: only what knows it can find it.
    let own = "correct horse battery staple 77";
    redact::hide(own);
    for name in KINDS {
        let dir = tempfile::tempdir().unwrap();
        row(dir.path(), name, "plain words");
        let parcel = gather(&wish(dir.path())).unwrap();
        assert!(parcel.card.contains(&format!("| {name} | 1 rows |")), "{}", parcel.card);
        assert_eq!(parcel.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["README.md", name]);
        for secret in [own, "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"] {
            let words: String = (0..400).map(|n| format!("word{n} ")).collect();
            row(dir.path(), name, &format!("{words}{secret} after"));
            let said = gather(&wish(dir.path())).unwrap_err();
            let place = if ["a.jsonl", "a.json"].contains(&name) { "line 1" } else { "row 1" };
            assert!(said.contains(&format!("{name}: {place} holds what looks like a secret")), "{name}: {said}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[("manifest.json", "{\n\"rows\": 1}"), ("recipe.json", "{\"input\": \"text\"}")]);
    let said = gather(&wish(dir.path())).unwrap_err();
    assert!(said.contains("holds no adapter, no model and no rows"), "{said}");
    row(dir.path(), "a.jsonl", "plain words");
    assert!(!gather(&wish(dir.path())).unwrap().card.contains("recipe.json |"));
}

#[tokio::test]
async fn prepared_rows_say_what_they_were_made_of_and_leave_what_was_left_out() {
    let (hub, dir) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let rows = [("train.jsonl", "{\"text\": \"hello\"}\n"), ("valid.jsonl", "{\"text\": \"world\"}\n")];
    write(dir.path(), &rows);
    write(dir.path(), &[("left_out.jsonl", "{\"row\": {\"text\": \"gone\"}}\n"), ("README.md", "the old card")]);
    let output =
        |(file, text): (&str, &str)| json!({"file": file, "sha256": sha256(text.as_bytes()), "bytes": 1, "rows": 1});
    let input = json!({"file": "tickets.csv", "sha256": "ab", "bytes": 7});
    let manifest = json!({"tunesmith": "0", "recipe": {"seed": 7}, "inputs": [input], "bad_lines": 0, "stages": [],
        "outputs": rows.map(output)});
    write(dir.path(), &[("manifest.json", &manifest.to_string())]);
    let parcel = gather(&wish(dir.path())).unwrap();
    let sent: Vec<&str> = parcel.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(sent, ["README.md", "manifest.json", "train.jsonl", "valid.jsonl"]);
    for part in ["| input | tickets.csv (sha256 `ab`) |", "\"seed\": 7", "split: \"validation\""] {
        assert!(parcel.card.contains(part), "{part} in {}", parcel.card);
    }
    client(&hub, Some(TOKEN)).publish(&parcel, Box::new(|_| ())).await.unwrap();
    write(dir.path(), &[("train.jsonl", "{\"text\": \"other\"}\n")]);
    let said = gather(&wish(dir.path())).unwrap_err();
    assert!(
        said.ends_with(
            "manifest.json: is of another train.jsonl than stands there; prepare the rows again, or take it away"
        ),
        "{said}"
    );
    let script = r#"
import json
from huggingface_hub import DatasetCard
print(json.dumps(DatasetCard.load("org/made").data.to_dict()["configs"]))
"#;
    let Some(read) = python(&hub, TOKEN, script) else { return };
    let files = json!([{"split": "train", "path": "train.jsonl"}, {"split": "validation", "path": "valid.jsonl"}]);
    assert_eq!(read, json!([{"config_name": "default", "data_files": files}]));
}

#[tokio::test]
async fn what_broke_off_is_published_by_the_same_call_again_and_what_was_private_stays_so() {
    let (hub, dir) = (FakeHub::start(), tempfile::tempdir().unwrap());
    adapter(dir.path());
    let parcel = gather(&Wish { public: true, ..wish(dir.path()) }).unwrap();
    hub.add(Repo::model("org/made").private());
    for part in ["/xet-write-token/", "/preupload/", "/commit/"] {
        hub.fail(part, 9, Failing::Answer(Answer::refused(500, "", "no")));
        let error = client(&hub, Some(TOKEN)).publish(&parcel, Box::new(|_| ())).await.unwrap_err();
        assert!(matches!(error, HubError::Server { .. }), "{part}: {error}");
        hub.settle();
    }
    assert!(hub.repo(Kind::Model, "org/made").unwrap().head().files.is_empty());
    let done = client(&hub, Some(TOKEN)).publish(&parcel, Box::new(|_| ())).await.unwrap();
    assert!(done.private);
    let again = client(&hub, Some(TOKEN)).publish(&parcel, Box::new(|_| ())).await.unwrap();
    let there = hub.repo(Kind::Model, "org/made").unwrap();
    assert!(there.private && there.head().sha == again.commit && there.head().files.len() == parcel.files.len());
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
    // In every kind of file, and in JSON that is no list of rows.
    let text = "please close my account and this is message number 10 of the customer";
    for name in KINDS {
        let dir = temp.path().join(format!("in {name}"));
        fs::create_dir(&dir).unwrap();
        self::row(&dir, name, text);
        let named = Wish { run: Some(run.dir().to_owned()), ..wish(&dir) };
        assert!(gather(&named).unwrap_err().contains("1 of the 4 sealed rows of the run are in it"), "{name}");
    }
    write(
        &copy,
        &[("rows.csv", "text,label\nhello,a\n"), ("notes.json", &json!({"all": [[{"seen": text}]]}).to_string())],
    );
    assert!(gather(&named).unwrap_err().contains("1 of the 4 sealed rows of the run are in it"));
}

#[tokio::test]
async fn a_data_set_is_published_as_one_and_its_licence_cannot_hide_another() {
    let (hub, dir) = (FakeHub::start(), tempfile::tempdir().unwrap());
    write(dir.path(), &[("train.jsonl", "{\"text\": \"hello\"}\n{\"text\": \"world\"}\n")]);
    let terms = Some(Terms::of(Some("cc-by-nc-4.0")));
    let data = Stated { name: Some("o/set".into()), id: Some("o/set".parse().unwrap()), terms };
    let closed = Wish { data, ..wish(dir.path()) };
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
    // Nobody who is sent elsewhere takes the token or a file along.
    for part in ["/api/repos/create", "/xet-write-token/", "/preupload/", "/commit/"] {
        let elsewhere = Answer::new(307, vec![]).with("location", &format!("{}/x", hub.elsewhere()));
        hub.fail(part, 9, Failing::Answer(elsewhere));
        say(Some(TOKEN)).await;
        hub.settle();
        assert!(hub.fetched().is_empty(), "{part}");
    }
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
    // Before it is sent, and behind.
    hub.fail("/tree/", 2, Failing::Answer(Answer::json(&json!(tree))));
    let error = client(&hub, Some(TOKEN)).publish(&parcel, Box::new(|_| ())).await.unwrap_err();
    assert!(matches!(&error, HubError::Changed { path, .. } if path == "README.md"), "{error}");
}
