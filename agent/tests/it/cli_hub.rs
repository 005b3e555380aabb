//! `tunesmith hub` against a Hub on loopback, from a search to a model that others download.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{
    cli::{Said, base, command, tickets},
    fake_hub::{
        Failing, FakeHub, TOKEN,
        http::Answer,
        python::python,
        store::{Kind, Repo},
    },
};

fn filled() -> FakeHub {
    let hub = FakeHub::start();
    let model = Repo::model("a/tiny").popular(7, 3, 1).folder(base());
    hub.add(model.file("README.md", "---\nlicense: apache-2.0\n---\n# Tiny\n").file("pytorch_model.bin", vec![1; 100]));
    let rows = Repo::dataset("o/tickets").file("train.csv", tickets(30));
    hub.add(rows.file("README.md", "---\nlicense: cc-by-nc-4.0\n---\n# Tickets\n"));
    hub
}

/// The command, with a Hub and a token; what it says never holds the token.
fn on(hub: &FakeHub, dir: &Path, args: &[&str]) -> Said {
    offline(hub, dir, args, "0")
}

fn offline(hub: &FakeHub, dir: &Path, args: &[&str], offline: &str) -> Said {
    let mut command = command(dir, args);
    command.env("HF_ENDPOINT", &hub.endpoint).env("HF_TOKEN", TOKEN).env("HF_HOME", dir.join("hf"));
    command.env("HF_HUB_OFFLINE", offline).env("HF_XET_TELEMETRY_ENABLED", "0");
    let said: Said = command.output().unwrap().into();
    assert!(!format!("{}{}", said.out, said.err).contains(TOKEN), "{said:?}");
    said
}

#[test]
fn a_model_is_found_trained_published_and_read_again() {
    let (hub, place) = (filled(), tempfile::tempdir().unwrap());
    let dir = place.path();
    let found =
        on(&hub, dir, &["hub", "search", "models", "tiny", "--max-parameters", "1000000", "--json"]).ok().json();
    assert_eq!((&found["results"][0]["id"], &found["results"][0]["trainable"]), (&json!("a/tiny"), &json!(true)));

    let made = on(&hub, dir, &["hub", "download", "a/tiny", "--out", "base", "--json"]).ok().json();
    assert_eq!(made["left_out"][0]["path"], "pytorch_model.bin");
    on(&hub, dir, &["hub", "download", "o/tickets", "--dataset", "--out", "rows"]).ok();
    assert_eq!(fs::read_to_string(dir.join("rows/train.csv")).unwrap(), tickets(30));

    let train = "train --base base --data rows/train.csv --out adapter --max-steps 6 --json";
    on(&hub, dir, &train.split(' ').collect::<Vec<_>>()).ok();

    let publish = "hub publish adapter --to org/made --base base --data rows --json";
    let mut publish: Vec<&str> = publish.split(' ').collect();
    let said = on(&hub, dir, &publish);
    assert!(said.refused(5).contains("then say --allow publish:org/made"), "{said:?}");
    assert!(hub.repo(Kind::Model, "org/made").is_none());
    publish.extend(["--allow", "publish:org/made"]);
    let sent = on(&hub, dir, &publish).ok().json();
    assert_eq!(
        (&sent["published"]["private"], &sent["parcel"]["licence"]["class"]),
        (&json!(true), &json!("non_commercial"))
    );
    assert_eq!(sent["parcel"]["parts"][0]["name"], "a/tiny");

    on(&hub, dir, &["hub", "download", "org/made", "--out", "again"]).ok();
    for file in ["adapter_model.safetensors", "adapter_config.json", "training.json"] {
        assert_eq!(fs::read(dir.join("again").join(file)).unwrap(), fs::read(dir.join("adapter").join(file)).unwrap());
    }
    // Both by their names: the base from the Hub, into the cache, and then from there alone.
    let ask =
        ["generate", "--model", "a/tiny", "--adapter", "again", "--prompt", "my card", "--max-tokens", "4", "--json"];
    let said = on(&hub, dir, &ask).ok();
    let commit = hub.repo(Kind::Model, "a/tiny").unwrap().head().sha.clone();
    assert!(said.err.contains(&format!("base: a/tiny at commit {commit}, licence apache-2.0")), "{said:?}");
    let (asked, cached) = (hub.seen().len(), offline(&hub, dir, &ask, "1").ok());
    assert_eq!((cached.json(), hub.seen().len()), (said.json(), asked));
    assert!(cached.err.contains(&format!("base: a/tiny at commit {commit}, from the cache")), "{cached:?}");

    let script = r#"
import json, os
from huggingface_hub import ModelCard, snapshot_download
folder = snapshot_download("org/made")
card = ModelCard.load(folder + "/README.md").data
print(json.dumps([card.base_model, card.datasets, card.license_name, os.path.getsize(folder + "/adapter_model.safetensors")]))
"#;
    let Some(read) = python(&hub, TOKEN, script) else { return };
    let size = fs::metadata(dir.join("adapter/adapter_model.safetensors")).unwrap().len();
    assert_eq!(read, json!(["a/tiny", ["o/tickets"], "non-commercial", size]));
}

#[test]
fn what_is_known_is_said_in_plain_lines() {
    let (hub, place) = (filled(), tempfile::tempdir().unwrap());
    let (dir, commit) = (place.path(), hub.repo(Kind::Model, "a/tiny").unwrap().head().sha.clone());
    let lines = |said: &Said, from: usize, n: usize| -> Vec<String> {
        said.out.lines().skip(from).take(n).map(|line| line.replace(&commit, "COMMIT")).collect()
    };
    let said = on(&hub, dir, &["hub", "search", "datasets", "tick"]).ok();
    let want = [
        "id         parameters  licence       downloads  likes  access",
        "o/tickets           –  cc-by-nc-4.0          0      0  open",
    ];
    assert_eq!(lines(&said, 0, 5), want);
    let said = on(&hub, dir, &["hub", "search", "models", "--max-parameters", "5"]).ok();
    assert_eq!(
        lines(&said, 0, 5),
        ["nothing found for ", "of 1 that the Hub named, those of at most 5 parameters are shown"]
    );
    let said = on(&hub, dir, &["hub", "info", "a/tiny"]).ok();
    let want = [
        "model        a/tiny",
        "revision     main (commit COMMIT)",
        "licence      apache-2.0 (permissive)",
        "access       open",
    ];
    assert_eq!(lines(&said, 0, 4), want);
    assert_eq!(
        lines(&said, 5, 3),
        ["architecture LlamaForCausalLM", "trainable    yes", "popularity   7 downloads, 3 likes"]
    );
    let said = on(&hub, dir, &["hub", "preview", "o/tickets", "--rows", "1"]).ok();
    let want = [
        "columns      text (string), intent (string)",
        "shown        the first 1 row of default/train",
        "row 0",
        "  text: Anna asks number 0: my card is the problem, can you arrive it",
        "  intent: card_arrival",
    ];
    assert_eq!(lines(&said, 2, 9), want);
    let said = on(&hub, dir, &["hub", "download", "a/tiny", "--out", "x", "--dry-run"]).ok();
    assert!(said.out.contains("left out     1 file, 100 bytes\n  pytorch_model.bin"), "{said:?}");
    assert!(!dir.join("x").exists() && !dir.join("x.partial").exists());
}

#[test]
fn what_fails_says_why_and_what_to_do() {
    let (hub, place) = (filled(), tempfile::tempdir().unwrap());
    let dir = place.path();
    let check = |args: &[&str], code: i32, want: &str| {
        let said = on(&hub, dir, args);
        let text = said.refused(code).replace(&hub.endpoint, "HUB");
        assert!(text.contains(want), "{want} in {text}");
    };
    check(&["hub", "info", "no-owner"], 2, "write OWNER/NAME or OWNER/NAME@REVISION");
    check(&["hub", "info", "a/missing"], 5, "the Hub at HUB has no model a/missing, or it is private");
    check(&["hub", "download", "a/tiny@v2"], 2, "a/tiny has no revision v2");
    check(&["hub", "download", "a/tiny", "--file", "x.gguf"], 2, "a/tiny has no file x.gguf");
    check(&["generate", "--model", "a/missing", "--prompt", "x"], 5, "has no model a/missing, or it is private");
    let limited = Answer::refused(429, "", "slow down").with("retry-after", "90");
    hub.fail("/api/models", 1, Failing::Answer(limited));
    check(&["hub", "search", "models", "x"], 5, "wait 90 seconds");
    let said = offline(&hub, dir, &["hub", "search", "models", "x"], "1");
    assert!(said.refused(5).contains("HF_HUB_OFFLINE forbids to ask the Hub"), "{said:?}");
    fs::create_dir(dir.join("rows")).unwrap();
    fs::write(dir.join("rows/a.jsonl"), format!("{{\"text\": \"{TOKEN}\"}}\n")).unwrap();
    check(
        &["hub", "publish", "rows", "--to", "org/rows", "--dry-run"],
        5,
        "a.jsonl: line 1 holds what looks like a secret",
    );
    let dry: Value = {
        fs::write(dir.join("rows/a.jsonl"), "{\"text\": \"hello\"}\n").unwrap();
        on(&hub, dir, &["hub", "publish", "rows", "--to", "org/rows", "--dry-run", "--json"]).ok().json()
    };
    assert_eq!((&dry["parcel"]["private"], &dry["published"]), (&json!(true), &Value::Null));
    assert!(!hub.seen().iter().any(|asked| asked.starts_with("POST")));
}
