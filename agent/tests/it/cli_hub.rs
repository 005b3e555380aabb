//! `tunesmith hub` against a Hub on loopback, from a search to a model that others download.

use std::{fs, net::TcpListener, path::Path};

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
    let commit = hub.repo(Kind::Model, "a/tiny").unwrap().head().sha.clone();
    assert_eq!(sent["parcel"]["parts"][0]["name"], format!("a/tiny@{commit}"));

    on(&hub, dir, &["hub", "download", "org/made", "--out", "again"]).ok();
    for file in ["adapter_model.safetensors", "adapter_config.json", "training.json"] {
        assert_eq!(fs::read(dir.join("again").join(file)).unwrap(), fs::read(dir.join("adapter").join(file)).unwrap());
    }
    // Both by their names: the base from the Hub, into the cache, and then from there alone.
    let ask =
        ["generate", "--model", "a/tiny", "--adapter", "again", "--prompt", "my card", "--max-tokens", "4", "--json"];
    let said = on(&hub, dir, &ask).ok();
    assert!(said.err.contains(&format!("base: a/tiny at commit {commit}, licence apache-2.0")), "{said:?}");
    let (asked, cached) = (hub.seen().len(), offline(&hub, dir, &ask, "1").ok());
    assert_eq!((cached.json(), hub.seen().len()), (said.json(), asked));
    assert!(cached.err.contains(&format!("base: a/tiny at commit {commit}, from the cache")), "{cached:?}");

    let script = r#"
import json, os
from huggingface_hub import ModelCard, snapshot_download
folder = snapshot_download("org/made")
card = ModelCard.load(folder + "/README.md").data
# What was downloaded here is in the cache as that client would have put it there.
cached = snapshot_download("a/tiny", cache_dir="DIR/hf/hub", local_files_only=True)
print(json.dumps([os.path.basename(cached), card.base_model, card.datasets, card.license_name, os.path.getsize(folder + "/adapter_model.safetensors")]))
"#;
    let Some(read) = python(&hub, TOKEN, &script.replace("DIR", dir.to_str().unwrap())) else { return };
    let size = fs::metadata(dir.join("adapter/adapter_model.safetensors")).unwrap().len();
    assert_eq!(read, json!([commit, "a/tiny", ["o/tickets"], "non-commercial", size]));
}

#[test]
fn the_hubs_own_client_finds_downloads_publishes_and_downloads_again_what_is_trained_here() {
    let (hub, place) = (filled(), tempfile::tempdir().unwrap());
    let dir = place.path();
    let find = r#"
import json
from huggingface_hub import HfApi, snapshot_download
api = HfApi()
found = [m.id for m in api.list_models(search="tiny", pipeline_tag="text-generation")]
rows = [d.id for d in api.list_datasets(search="tickets")]
snapshot_download(found[0], local_dir="DIR/base", ignore_patterns=["*.bin"])
snapshot_download(rows[0], repo_type="dataset", local_dir="DIR/rows")
snapshot_download(found[0], cache_dir="DIR/theirs/hub")
print(json.dumps([found, rows]))
"#;
    let placed = |script: &str| script.replace("DIR", dir.to_str().unwrap());
    let Some(found) = python(&hub, TOKEN, &placed(find)) else { return };
    assert_eq!(found, json!([["a/tiny"], ["o/tickets"]]));
    assert_eq!(fs::read_to_string(dir.join("rows/train.csv")).unwrap(), tickets(30));

    let train = "train --base base --data rows/train.csv --out adapter --max-steps 6 --json";
    on(&hub, dir, &train.split(' ').collect::<Vec<_>>()).ok();

    let again = r#"
import json, os
from huggingface_hub import HfApi, snapshot_download
api = HfApi()
api.create_repo("org/made", private=True)
commit = api.upload_folder(repo_id="org/made", folder_path="DIR/adapter").oid
folder = snapshot_download("org/made", local_dir="DIR/again")
found = [m.id for m in api.list_models(search="made")]
print(json.dumps([commit, found, api.model_info("org/made").private]))
"#;
    let made = python(&hub, TOKEN, &placed(again)).unwrap();
    let commit = hub.repo(Kind::Model, "org/made").unwrap().head().sha.clone();
    assert_eq!(made, json!([commit, ["org/made"], true]));

    // What that client has cached serves offline.
    let ask = ["generate", "--model", "a/tiny", "--prompt", "my card", "--max-tokens", "2", "--json"];
    let mut cached = command(dir, &ask);
    cached.env("HF_ENDPOINT", &hub.endpoint).env("HF_HOME", dir.join("theirs")).env("HF_HUB_OFFLINE", "1");
    let cached: Said = cached.output().unwrap().into();
    assert!(cached.ok().err.contains("base: a/tiny at commit"));

    // Both clients read the same, and it is what was trained.
    let found = on(&hub, dir, &["hub", "search", "models", "made", "--task", "any", "--json"]).ok().json();
    assert_eq!(found["results"][0]["id"], "org/made");
    on(&hub, dir, &["hub", "download", "org/made", "--out", "ours"]).ok();
    for file in ["adapter_model.safetensors", "adapter_config.json", "training.json"] {
        let trained = fs::read(dir.join("adapter").join(file)).unwrap();
        assert_eq!(fs::read(dir.join("again").join(file)).unwrap(), trained, "{file}");
        assert_eq!(fs::read(dir.join("ours").join(file)).unwrap(), trained, "{file}");
    }
    on(&hub, dir, &["generate", "--model", "base", "--adapter", "ours", "--prompt", "my card", "--max-tokens", "2"])
        .ok();
}

#[test]
fn a_base_from_the_hub_is_named_with_its_commit_wherever_a_run_is_shown() {
    let (hub, place) = (filled(), tempfile::tempdir().unwrap());
    let dir = place.path();
    fs::write(dir.join("rows.csv"), tickets(60)).unwrap();
    let commit = hub.repo(Kind::Model, "a/tiny").unwrap().head().sha.clone();
    let (named, host) = (format!("a/tiny@{commit}"), hub.endpoint.trim_start_matches("http://"));
    let allow = format!("network:{host}");
    let task = "Fine-tune a small model to sort these messages by intent.";
    let run = ["run", task, "--file", "rows.csv", "--base", "a/tiny", "--approve", "auto", "--minutes", "2", "--json"];
    let said = on(&hub, dir, &run);
    assert!(
        said.refused(5).contains(&format!("the base a/tiny is on the Hub: allow it with --allow {allow}")),
        "{said:?}"
    );

    let said = on(&hub, dir, &[&run[..], &["--allow", &allow]].concat());
    assert!([0, 3].contains(&said.code), "{said:?}");
    let ended: Value = serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
    let run = dir.join(ended["run"].as_str().unwrap());
    let read = |file: &str| serde_json::from_str::<Value>(&fs::read_to_string(run.join(file)).unwrap()).unwrap();
    let (manifest, report) = (read("run.json"), read("report.json"));
    assert_eq!((&manifest["task"]["base"], &report["scope"]["base"]), (&json!(named), &json!(named)));
    let path = Path::new(manifest["base"].as_str().unwrap());
    assert!(path.ends_with(format!("models--a--tiny/snapshots/{commit}")), "{}", path.display());
    for page in ["report.md", "report.html"] {
        let page = fs::read_to_string(run.join(page)).unwrap();
        let page = page.replace("&#x2f;", "/");
        assert!(page.contains(&named) && !page.contains("snapshots"), "{page}");
    }
    let adapter = report["artifacts"].as_array().unwrap().iter().find(|made| made["kind"] == "adapter").unwrap();
    let adapter = run.join(adapter["path"].as_str().unwrap());
    let adapter = if adapter.is_dir() { adapter.as_path() } else { adapter.parent().unwrap() };
    let config: Value =
        serde_json::from_str(&fs::read_to_string(adapter.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!((&config["base_model_name_or_path"], &config["revision"]), (&json!("a/tiny"), &json!(commit)));

    let publish = ["hub", "publish", adapter.to_str().unwrap(), "--to", "org/made", "--dry-run", "--json"];
    let dry = on(&hub, dir, &publish).ok().json();
    let base = json!({"role": "base", "name": named, "terms": {"licence": "apache-2.0", "class": "permissive"}});
    assert_eq!(dry["parcel"]["parts"][0], base);
    let card = dry["parcel"]["card"].as_str().unwrap();
    let sha256 = report["hashes"]["base"].as_str().unwrap();
    assert!(card.contains(&format!("| base | {named} (sha256 `{sha256}`) |")), "{card}");
    assert!(card.contains("base_model: \"a/tiny\"\n") && card.contains("confidence_interval:"), "{card}");
}

#[test]
fn a_suite_takes_a_base_from_the_hub_where_its_host_is_allowed() {
    let (hub, place) = (filled(), tempfile::tempdir().unwrap());
    let dir = place.path();
    let bench = ["bench", "smoke", "--only", "routing", "--planner", "null", "--base", "a/tiny", "--json"];
    assert!(on(&hub, dir, &bench).refused(5).contains("the base a/tiny is on the Hub: allow it with --allow network:"));
    let wrong = on(&hub, dir, &[&bench[..], &["--allow", "publish:org/x"]].concat());
    assert!(wrong.refused(2).contains("use network:HOST"), "{wrong:?}");
    let said = on(&hub, dir, &[&bench[..], &["--allow", "network:127.0.0.1"]].concat());
    assert_eq!(said.json()["tasks"][0]["outcome"], "not_met", "{said:?}");
    let commit = hub.repo(Kind::Model, "a/tiny").unwrap().head().sha.clone();
    let runs = fs::read_dir(dir.join("runs")).unwrap().map(|entry| entry.unwrap().path().join("run.json"));
    let manifests: Vec<String> = runs.filter_map(|path| fs::read_to_string(path).ok()).collect();
    let bases = manifests.iter().map(|text| serde_json::from_str::<Value>(text).unwrap()["task"]["base"].clone());
    assert_eq!(bases.collect::<Vec<_>>(), [json!(format!("a/tiny@{commit}"))]);
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
        "statistics   of 90 rows",
        "  text: 59 to 63 characters, mean 61.0, median 61.0",
        "  intent: 3 values: card_arrival 30, lost_phone 30, top_up 30",
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

/// Rows, base and result of a run are on the Hub, as its request says.
#[test]
fn a_run_takes_rows_and_base_from_the_hub_and_publishes_once_whatever_interrupts_it() {
    let (hub, place) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let dir = place.path();
    let card = |licence: &str| format!("---\nlicense: {licence}\n---\n# One\n");
    hub.add(Repo::model("acme/tiny").folder(base()).file("README.md", card("apache-2.0")));
    hub.add(Repo::dataset("acme/tickets").file("train.csv", tickets(60)).file("README.md", card("cc0-1.0")));
    let task = "Take the data set acme/tickets from the Hugging Face Hub, start from the model acme/tiny, and teach it which \
                intent each message has. Publish it privately as org/router.";
    let run = |more: &[&str]| on(&hub, dir, &[&["run", task, "--approve", "auto"], more].concat());
    assert!(run(&[]).refused(5).contains("--allow network:127.0.0.1"));
    let network = ["--allow", "network:127.0.0.1"];
    let said = run(&network);
    assert!(said.code == 5 && said.err.contains("say --allow publish:org/router"), "{said:?}");
    assert!(!dir.join("runs").exists() || fs::read_dir(dir.join("runs")).unwrap().next().is_none());

    // The Hub refuses: the run is blocked after its goal is met, and says how to go on.
    let allowed = ["--allow", "network:127.0.0.1", "--allow", "publish:org/router"];
    hub.fail("/commit/", 9, Failing::Answer(Answer::refused(403, "Forbidden", "no")));
    let said = run(&allowed);
    assert!(said.code == 5 && said.out.contains("not published"), "{said:?}");
    let found = fs::read_dir(dir.join("runs")).unwrap().next().unwrap().unwrap().path();
    let commits = || hub.repo(Kind::Model, "org/router").map_or(0, |repo| repo.commits.len());
    let before = commits();
    hub.settle();

    // A Hub that says nothing is waited for as long as the run has time.
    let name = found.file_name().unwrap().to_str().unwrap();
    let report = || -> Value { serde_json::from_slice(&fs::read(found.join("report.json")).unwrap()).unwrap() };
    let seconds = report()["cost"]["seconds"].as_f64().unwrap() + 20.0;
    let minutes = (seconds / 60.0).to_string();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut silent = command(dir, &["resume", name, "--allow", "publish:org/router", "--minutes", &minutes]);
    silent.env("HF_ENDPOINT", format!("http://{}", listener.local_addr().unwrap())).env("HF_HOME", dir.join("hf"));
    let said: Said = silent.output().unwrap().into();
    assert!(said.code == 4 && said.out.contains("the run's time is up"), "{said:?}");
    let late = report()["cost"]["seconds"].as_f64().unwrap() - seconds;
    assert!(late < 2.0, "{late}");

    // It must be allowed anew, and then it is done, shown whole before.
    let said = on(&hub, dir, &["resume", name, "--minutes", "60"]);
    assert!(said.code == 5 && said.out.contains("--allow publish:org/router"), "{said:?}");
    let resume = ["resume", name, "--allow", "publish:org/router"];
    let said = on(&hub, dir, &resume).ok();
    let told = format!("{}{}", said.out, said.err);
    assert!(
        told.contains("adapter_model.safetensors") && told.contains("private") && told.contains("apache-2.0"),
        "{told}"
    );
    assert_eq!(commits(), before + 1);
    let repo = hub.repo(Kind::Model, "org/router").unwrap();
    assert!(repo.private && repo.head().files.contains_key("adapter_model.safetensors"));
    let log = fs::read_to_string(found.join("events.jsonl")).unwrap();
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| events.iter().filter(|event| event["kind"] == kind).collect::<Vec<_>>();
    let allowed: Vec<&Value> = of("approved").into_iter().filter(|event| event["capability"] == "publish").collect();
    assert_eq!(
        allowed.iter().map(|event| &event["granted"]).collect::<Vec<_>>(),
        [&json!(true), &json!(false), &json!(true)]
    );
    let sent: Vec<&Value> = of("returned").into_iter().filter(|event| event["tool"] == "hub_publish").collect();
    assert_eq!(sent.iter().map(|event| &event["ok"]).collect::<Vec<_>>(), [&json!(false), &json!(true)]);
    assert!(sent[1]["output"]["url"].as_str().unwrap().ends_with("/org/router"));
    let said = on(&hub, dir, &["resume", name]);
    assert!(said.code == 2 && said.err.contains("error: the run has ended"), "{said:?}");

    // A process that died after it had sent and before it wrote that down: nothing is sent again.
    let cut = log.lines().position(|line| {
        line.contains("\"kind\":\"returned\"") && line.contains("\"ok\":true") && line.contains("hub_publish")
    });
    let kept: String = log.lines().take(cut.unwrap()).map(|line| line.to_owned() + "\n").collect();
    fs::write(found.join("events.jsonl"), kept).unwrap();
    on(&hub, dir, &resume).ok();
    assert_eq!(commits(), before + 1);
    let report: Value = serde_json::from_str(&fs::read_to_string(found.join("report.json")).unwrap()).unwrap();
    let steps: Vec<&Value> =
        report["steps"].as_array().unwrap().iter().filter(|step| step["tool"] == "hub_publish").collect();
    assert_eq!(steps.len(), 2, "{steps:?}");
}
