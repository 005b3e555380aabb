//! The Hub's client against a Hub on loopback.

use std::{fs, net::TcpListener, path::Path, sync::Mutex};

use serde_json::json;
use tunesmith_tools::hub::{
    Filters, Hit, Hub, HubConfig, HubError, Kind, RepoId,
    download::{Choice, Source},
    licence::Terms,
};

use crate::{
    fake_hub::{
        Failing, FakeHub, GUEST, TOKEN,
        http::Answer,
        store::{self, Repo},
    },
    support::Place,
};

const LLAMA: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}"#;

pub fn config(hub: &FakeHub, token: Option<&str>) -> HubConfig {
    HubConfig {
        endpoint: hub.endpoint.clone(),
        token: token.map(String::from),
        cache_dir: "/nowhere".into(),
        viewer: None,
        offline: false,
    }
}

fn client(hub: &FakeHub, token: Option<&str>) -> Hub {
    Hub::new(&config(hub, token)).unwrap()
}

fn id(text: &str) -> RepoId {
    text.parse().unwrap()
}

/// Weights of so many numbers: a head and what it announces.
fn weights(numbers: usize) -> Vec<u8> {
    let head = json!({"w": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}).to_string();
    let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
    bytes.extend(head.into_bytes());
    bytes.extend((0..4 * numbers).map(|n| n as u8));
    bytes
}

fn card(licence: &str) -> String {
    format!("---\nlicense: {licence}\n---\n# Something\n")
}

fn filled() -> FakeHub {
    let hub = FakeHub::start();
    let small =
        Repo::model("a/small").popular(5, 0, 9).file("config.json", LLAMA).file("README.md", card("apache-2.0"));
    hub.add(small.file("model.safetensors", weights(135)));
    let big = Repo::model("a/big").popular(9, 2, 1).file("config.json", LLAMA).file("README.md", card("mit"));
    hub.add(big.gated("manual").file("model.safetensors", weights(7000)));
    hub.add(
        Repo::model("a/unknown")
            .file("config.json", r#"{"model_type": "other", "architectures": ["OtherForCausalLM"]}"#),
    );
    let rows: String = (0..150).map(|n| format!("{{\"text\": \"row {n}\", \"label\": {n}}}\n")).collect();
    hub.add(Repo::dataset("o/set").popular(3, 1, 1).file("train.jsonl", rows).file("README.md", card("cc-by-nc-4.0")));
    hub
}

#[tokio::test]
async fn models_are_listed_and_unknown_stays_unknown() {
    let hub = filled();
    let filters = Filters { task: Some("text-generation".into()), limit: 5, ..Filters::default() };
    let found = client(&hub, Some(TOKEN)).search_models("a/", &filters).await.unwrap();
    let of = |id: &str| Hit { id: id.into(), likes: Some(0), gated: Some(false), ..Hit::default() };
    let tags = ["transformers", "safetensors", "llama"].map(String::from).to_vec();
    let want = [
        Hit {
            downloads: Some(9),
            likes: Some(2),
            licence: Some("mit".into()),
            tags: tags.clone(),
            gated: Some(true),
            parameters: Some(7000),
            trainable: Some(true),
            ..of("a/big")
        },
        Hit {
            downloads: Some(5),
            licence: Some("apache-2.0".into()),
            tags,
            parameters: Some(135),
            trainable: Some(true),
            ..of("a/small")
        },
        Hit {
            downloads: Some(0),
            tags: vec!["transformers".into(), "other".into()],
            trainable: Some(false),
            ..of("a/unknown")
        },
    ];
    assert_eq!((found.hits.as_slice(), found.more, found.narrowed), (want.as_slice(), false, None));
    assert_eq!(hub.requests()[0].token(), Some(TOKEN));
}

#[tokio::test]
async fn filters_that_the_hub_lacks_are_applied_here_over_all_pages_and_that_is_said() {
    let hub = filled();
    hub.page(1);
    let search = async |filters: Filters| {
        let found = client(&hub, None).search_models("", &filters).await.unwrap();
        let ids: Vec<String> = found.hits.into_iter().map(|hit| hit.id).collect();
        (ids.join(" "), found.looked_at, found.narrowed, found.more)
    };
    let all = Filters { limit: 2, ..Filters::default() };
    let said = |text: &str| Some(text.to_owned());
    assert_eq!(search(all.clone()).await, ("a/big a/small".into(), 2, None, true));
    let most = Filters { max_parameters: Some(1000), ..all.clone() };
    assert_eq!(search(most).await, ("a/small".into(), 3, said("at most 1000 parameters"), false));
    let range = Filters { min_parameters: Some(136), max_parameters: Some(8000), ..all.clone() };
    assert_eq!(search(range).await, ("a/big".into(), 3, said("136 to 8000 parameters"), false));
    let trending = Filters { sort: Some("trendingScore".into()), licence: Some("apache-2.0".into()), ..all.clone() };
    assert_eq!(search(trending).await, ("a/small".into(), 1, None, false));
    let library = Filters { library: Some("peft".into()), author: Some("a".into()), ..all };
    assert_eq!(search(library).await, (String::new(), 0, None, false));
}

#[tokio::test]
async fn a_next_page_elsewhere_and_one_without_end_are_not_asked_for() {
    let hub = filled();
    let page = |items: serde_json::Value, next: &str| {
        Failing::Answer(Answer::json(&items).with("link", &format!("<{next}>; rel=\"next\"")))
    };
    let filters = Filters { limit: 9, ..Filters::default() };
    hub.fail("/api/models", 1, page(json!([{"id": "a/one"}]), &format!("{}/api/models", hub.elsewhere())));
    let found = client(&hub, Some(TOKEN)).search_models("", &filters).await.unwrap();
    assert_eq!((found.hits.len(), hub.fetched().len()), (1, 0));
    hub.fail("/api/models", 9, page(json!([]), &format!("{}/api/models", hub.endpoint)));
    let asked = hub.seen().len();
    let found = client(&hub, Some(TOKEN)).search_models("", &filters).await.unwrap();
    assert_eq!((found.hits.len(), hub.seen().len()), (0, asked + 1));
}

#[tokio::test]
async fn a_planner_searches_as_far_as_the_user_allows() {
    let hub = filled();
    let mut place = Place::new();
    let said = place.error("hub_search", json!({"query": "llama"})).await;
    assert_eq!(said, "not allowed: this run may not use the network; the user can allow it with --allow network:HOST");
    assert_eq!(hub.seen(), [""; 0]);
    place.hub = Some(client(&hub, None));
    let found = place.ok("hub_search", json!({"query": "small", "max_parameters": 1e9})).await;
    assert_eq!(found["hits"][0]["id"], "a/small");
    let found = place.ok("hub_search", json!({"query": "", "what": "datasets"})).await;
    assert_eq!((&found["hits"][0]["id"], &found["hits"][0]["licence"]), (&json!("o/set"), &json!("cc-by-nc-4.0")));
    assert!(hub.requests().iter().all(|request| !request.headers.contains_key("authorization")));
}

#[tokio::test]
async fn a_model_is_described_by_its_files_and_whether_it_can_be_trained() {
    let hub = filled();
    let tunesmith = client(&hub, None);
    let info = tunesmith.info(Kind::Model, &id("a/small")).await.unwrap();
    let files: Vec<&str> = info.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["README.md", "config.json", "model.safetensors"]);
    assert_eq!(info.commit, hub.repo(store::Kind::Model, "a/small").unwrap().head().sha);
    assert_eq!(info.licence, Terms::of(Some("apache-2.0")));
    assert_eq!((info.parameters, info.architecture.as_deref()), (Some(135), Some("LlamaForCausalLM")));
    // This config.json lacks every number.
    assert_eq!(info.trainable, Some(false));
    let other = tunesmith.info(Kind::Model, &id("a/unknown")).await.unwrap();
    assert!(other.why.is_some_and(|why| why.contains("unsupported architecture: OtherForCausalLM")));
    let gated = tunesmith.info(Kind::Model, &id("a/big")).await.unwrap();
    assert_eq!((gated.gated, gated.trainable), (Some(true), None));
    assert_eq!(gated.why.as_deref(), Some("its config.json cannot be read before access is granted"));
}

#[tokio::test]
async fn rows_are_previewed_without_downloading_them() {
    let hub = filled();
    let tunesmith = client(&hub, None);
    let preview = tunesmith.preview(&id("o/set"), None, None, 2).await.unwrap();
    let columns = [("text", "string"), ("label", "int64")].map(|(name, kind)| (name.to_owned(), kind.to_owned()));
    assert_eq!(
        (preview.config.as_str(), preview.split.as_str(), preview.columns),
        ("default", "train", columns.to_vec())
    );
    assert_eq!(json!(preview.rows), json!([{"text": "row 0", "label": 0}, {"text": "row 1", "label": 1}]));
    assert_eq!(preview.splits[0].rows, Some(150));
    let statistics = json!({"rows": 150, "partial": false, "columns": [
        {"name": "text", "kind": "string_text", "missing": 0, "min": 5, "max": 7, "mean": 6.26667, "median": 6.0,
            "unique": null, "frequencies": null},
        {"name": "label", "kind": "int", "missing": 0, "min": 0, "max": 149, "mean": 74.5, "median": 74.5,
            "unique": null, "frequencies": null},
    ]});
    assert_eq!(json!(preview.statistics), statistics);
    for none in [Answer::refused(500, "", "not yet"), Answer::json(&json!({"statistics": 1}))] {
        hub.fail("/statistics", 3, Failing::Answer(none));
        assert_eq!(tunesmith.preview(&id("o/set"), None, None, 2).await.unwrap().statistics, None);
        hub.settle();
    }
    let error = tunesmith.preview(&id("o/set"), None, Some("test"), 2).await.unwrap_err().to_string();
    assert_eq!(error, "there is no preview of o/set: there is no such split; there are default/train");
    hub.fail("/splits", 1, Failing::Answer(Answer::refused(401, "ExternalUnauthenticatedError", "no")));
    let error = tunesmith.preview(&id("o/set"), None, None, 2).await.unwrap_err().to_string();
    assert!(error.contains("download it and look with `tunesmith data inspect`"), "{error}");
}

#[tokio::test]
async fn every_refusal_says_what_to_do_and_nothing_is_taken_instead() {
    let hub = filled();
    hub.rename(store::Kind::Model, "a/unknown", "b/known");
    hub.add(Repo::model("p/secret").private());
    let answer = |status, code: &str| Failing::Answer(Answer::refused(status, code, "no"));
    let say = async |token: Option<&str>, name: &str| {
        let plan = client(&hub, token).plan(Kind::Model, &id(name), &Choice::default()).await;
        plan.unwrap_err().to_string().replace(&hub.endpoint, "HUB")
    };
    let hidden = "the Hub at HUB has no model p/secret, or it is private: check the name";
    assert_eq!(say(None, "p/secret").await, format!("{hidden}, or set HF_TOKEN if it is private"));
    assert_eq!(say(Some(GUEST), "p/secret").await, format!("{hidden} and whether your token may read it"));
    assert_eq!(
        say(None, "a/unknown").await,
        "a/unknown is called b/known now: ask for b/known if that is the one you mean"
    );
    let revision = "a/small has no revision v9: leave out @v9 for the newest, or name a branch, a tag or a commit";
    assert_eq!(say(None, "a/small@v9").await, revision);
    let token =
        "the Hub at HUB does not know this token: set HF_TOKEN to a valid one, or run without one for public things";
    assert_eq!(say(Some("hf_wrong"), "a/small").await, token);
    hub.fail("/api/models/a/small", 1, answer(403, ""));
    let right = "the Hub at HUB refuses this to your token: use a token with the right to it, see HUB/settings/tokens";
    assert_eq!(say(None, "a/small").await, right);
    let limited = Answer::refused(429, "", "slow down").with("retry-after", "37");
    hub.fail("/api/models/a/small", 1, Failing::Answer(limited));
    let wait = "the Hub at HUB limits requests for now: wait 37 seconds, or set HF_TOKEN for a higher limit";
    assert_eq!(say(None, "a/small").await, wait);
    for odd in ["Wed, 21 Oct 2026 07:28:00 GMT", "-5", "18446744073709551615"] {
        let limited = Answer::refused(429, "", "slow down").with("retry-after", odd);
        hub.fail("/api/models/a/small", 1, Failing::Answer(limited));
        assert!(say(None, "a/small").await.contains("limits requests for now: wait some minutes"), "{odd}");
    }
    let elsewhere = Answer::new(302, vec![]).with("location", "http://localhost:9/api/models/a/small");
    hub.fail("/api/models/a/small", 1, Failing::Answer(elsewhere));
    assert!(say(None, "a/small").await.contains("makes no sense (a redirect that leads nowhere)"));
    hub.fail("/api/models/a/small", 3, answer(503, ""));
    assert_eq!(say(None, "a/small").await, "the Hub at HUB has a fault of its own (status 503): try again later");
    hub.fail("/api/models/a/small", 1, Failing::Answer(Answer::new(200, b"<html>".to_vec())));
    assert!(
        say(None, "a/small").await.starts_with("the Hub at HUB gave an answer that makes no sense (expected value")
    );

    let gated = "a/big is gated: accept its terms at HUB/a/big, then ";
    let fetch = async |token: Option<&str>| {
        let (dir, tunesmith) = (tempfile::tempdir().unwrap(), client(&hub, token));
        let plan = tunesmith.plan(Kind::Model, &id("a/big"), &Choice::default()).await.unwrap();
        let error = tunesmith.download(&plan, &dir.path().join("m"), &|_, _| ()).await.unwrap_err();
        error.to_string().replace(&hub.endpoint, "HUB")
    };
    assert_eq!(fetch(None).await, format!("{gated}set HF_TOKEN to a token of that account"));
    assert_eq!(fetch(Some(GUEST)).await, format!("{gated}ask again with the token of that account"));
}

#[tokio::test]
async fn a_fault_that_passes_is_waited_for() {
    let hub = filled();
    hub.fail("/api/models/a/small", 2, Failing::Answer(Answer::refused(502, "", "no")));
    assert!(client(&hub, None).plan(Kind::Model, &id("a/small"), &Choice::default()).await.is_ok());
}

#[tokio::test]
async fn nobody_is_asked_where_nobody_is_or_may_be() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hub = filled();
    let gone = HubConfig { endpoint: format!("http://{closed}"), ..config(&hub, None) };
    let error = Hub::new(&gone).unwrap().search_models("x", &Filters::default()).await.unwrap_err();
    assert!(matches!(error, HubError::Unreachable(_)), "{error}");
    let offline = Hub::new(&HubConfig { offline: true, ..config(&hub, None) }).unwrap();
    let error = offline.info(Kind::Model, &id("a/small")).await.unwrap_err().to_string();
    assert_eq!(error, "HF_HUB_OFFLINE forbids to ask the Hub for a/small: unset it, or name a local file or directory");
    assert_eq!(hub.seen(), [""; 0]);
    let refused = |change: HubConfig| Hub::new(&change).err().map(|error| error.to_string());
    for wrong in ["nonsense", "ftp://hub", "", "file:///etc"] {
        let said = refused(HubConfig { endpoint: wrong.into(), ..config(&hub, None) }).unwrap();
        assert!(said.contains("is not the address of a Hub"), "{said}");
    }
    let said = refused(config(&hub, Some("hf_a\nb"))).unwrap();
    assert_eq!(said, "the token holds characters that no token has: set HF_TOKEN anew");
}

async fn fetched(hub: &FakeHub, to: &Path) -> Result<Source, HubError> {
    let tunesmith = client(hub, Some(TOKEN));
    let plan = tunesmith.plan(Kind::Model, &id("a/small"), &Choice::default()).await?;
    tunesmith.download(&plan, to, &|_, _| ()).await.map(|()| plan.source)
}

#[tokio::test]
async fn a_download_is_whole_pinned_and_told_apart_from_what_stands_there() {
    let hub = filled();
    let (dir, seen) = (tempfile::tempdir().unwrap(), Mutex::new(Vec::new()));
    let (out, tunesmith) = (dir.path().join("m"), client(&hub, Some(TOKEN)));
    let plan = tunesmith.plan(Kind::Model, &id("a/small"), &Choice::default()).await.unwrap();
    // Somebody pushes meanwhile.
    hub.add(hub.repo(store::Kind::Model, "a/small").unwrap().file("config.json", "{}"));
    tunesmith.download(&plan, &out, &|_, done| seen.lock().unwrap().push(done)).await.unwrap();
    assert_eq!(fs::read_to_string(out.join("config.json")).unwrap(), LLAMA);
    assert_eq!(fs::read(out.join("model.safetensors")).unwrap(), weights(135));
    assert_eq!(Source::of(&out), Some(plan.source.clone()));
    assert_eq!(seen.lock().unwrap().last(), Some(&plan.bytes));
    let error = tunesmith.download(&plan, &out, &|_, _| ()).await.unwrap_err();
    assert!(matches!(error, HubError::Occupied(_)), "{error}");
    // The large file came from elsewhere, without the token.
    assert!(!hub.fetched().is_empty() && hub.fetched().iter().all(|request| request.token().is_none()));
}

#[tokio::test]
async fn a_cut_transfer_is_gone_on_with_at_once_and_by_a_later_process() {
    let hub = filled();
    let dir = tempfile::tempdir().unwrap();
    hub.fail("/large/", 2, Failing::Cut(100));
    fetched(&hub, &dir.path().join("m")).await.unwrap();
    let ranges = |hub: &FakeHub| -> Vec<Option<String>> {
        hub.fetched().iter().map(|request| request.headers.get("range").cloned()).collect()
    };
    assert_eq!(ranges(&hub), [None, Some("bytes=100-".into()), Some("bytes=200-".into())]);

    let hub = filled();
    hub.fail("/large/", 1, Failing::Cut(300));
    hub.fail("/large/", 3, Failing::Cut(0));
    let size = weights(135).len();
    let error = fetched(&hub, &dir.path().join("n")).await.unwrap_err().to_string();
    let want = format!(
        "the transfer of model.safetensors broke off at 300 of {size} bytes: the same command goes on from there"
    );
    assert_eq!(error, want);
    fetched(&hub, &dir.path().join("n")).await.unwrap();
    assert_eq!(ranges(&hub).last(), Some(&Some("bytes=300-".into())));
    assert_eq!(fs::read(dir.path().join("n/model.safetensors")).unwrap(), weights(135));
}

#[tokio::test]
async fn other_bytes_than_the_hash_says_are_refused_and_removed() {
    for part in ["/large/", "/resolve/"] {
        let hub = filled();
        let dir = tempfile::tempdir().unwrap();
        hub.fail(part, 1, Failing::Wrong);
        let error = fetched(&hub, &dir.path().join("m")).await.unwrap_err();
        assert!(matches!(error, HubError::Damaged { .. }), "{error}");
        assert!(!dir.path().join("m").exists());
        // The same command again is right.
        fetched(&hub, &dir.path().join("m")).await.unwrap();
    }
}

#[tokio::test]
async fn the_cache_is_laid_out_as_the_hubs_own_tools_do_and_serves_offline() {
    let hub = filled();
    let dir = tempfile::tempdir().unwrap();
    let settings = HubConfig { cache_dir: dir.path().to_owned(), ..config(&hub, None) };
    let tunesmith = Hub::new(&settings).unwrap();
    let repo = id("a/small");
    assert_eq!(tunesmith.cached(&repo), None);
    let plan = tunesmith.plan(Kind::Model, &repo, &Choice::default()).await.unwrap();
    let path = tunesmith.download_cached(&plan, &|_, _| ()).await.unwrap();
    let commit = hub.repo(store::Kind::Model, "a/small").unwrap().head().sha.clone();
    let root = dir.path().join("models--a--small");
    assert_eq!(path, root.join("snapshots").join(&commit));
    assert_eq!(fs::read_to_string(root.join("refs/main")).unwrap(), commit);
    let weights_of = plan.source.files.iter().find_map(|file| file.sha256.clone()).unwrap();
    let link = fs::read_link(path.join("model.safetensors")).unwrap();
    assert_eq!(link, Path::new("../../blobs").join(weights_of));
    assert_eq!(fs::read(path.join("model.safetensors")).unwrap(), weights(135));
    // Once more brings nothing anew.
    let before = hub.fetched().len();
    tunesmith.download_cached(&plan, &|_, _| ()).await.unwrap();
    assert_eq!(hub.fetched().len(), before);
    let offline = Hub::new(&HubConfig { offline: true, ..settings }).unwrap();
    assert_eq!(offline.cached(&repo), Some((path, commit)));
}

#[tokio::test]
async fn names_and_sizes_of_a_hostile_hub_are_refused_before_anything_is_written() {
    let hub = filled();
    let dir = tempfile::tempdir().unwrap();
    let tree = |entry: serde_json::Value| Failing::Answer(Answer::json(&json!([entry])));
    let file = |path: &str| json!({"type": "file", "path": path, "size": 3, "oid": "0".repeat(40)});
    for path in ["../escape", "/etc/passwd", "a/../../b", "a\u{1b}[2J", "", ".git/hooks/x"] {
        hub.fail("/tree/", 1, tree(file(path)));
        let error = fetched(&hub, &dir.path().join("m")).await.unwrap_err();
        assert!(matches!(error, HubError::Path(_)), "{path:?}: {error}");
    }
    for (size, lfs) in [(json!(u64::MAX), json!(null)), (json!(1), json!({"oid": "../x", "size": 1}))] {
        hub.fail("/tree/", 1, tree(json!({"type": "file", "path": "config.json", "size": size, "lfs": lfs})));
        let error = fetched(&hub, &dir.path().join("m")).await.unwrap_err();
        assert!(matches!(error, HubError::Senseless { .. }), "{error}");
    }
    // More bytes than were announced.
    hub.fail("/tree/", 1, tree(file("config.json")));
    let error = fetched(&hub, &dir.path().join("m")).await.unwrap_err().to_string();
    assert!(error.contains("config.json is longer than the Hub says"), "{error}");
    hub.fail(
        "/tree/",
        1,
        tree(json!({"type": "file", "path": "config.json", "size": 1_u64 << 49, "oid": "0".repeat(40)})),
    );
    let error = fetched(&hub, &dir.path().join("n")).await.unwrap_err();
    assert!(matches!(error, HubError::NoSpace { .. }), "{error}");
    // What could not be told from another file.
    for lacking in [json!({"size": 3}), json!({"oid": "0".repeat(40)}), json!({"size": 3, "oid": "short"})] {
        let mut entry = json!({"type": "file", "path": "config.json"});
        entry.as_object_mut().unwrap().extend(lacking.as_object().unwrap().clone());
        hub.fail("/tree/", 1, tree(entry));
        let error = fetched(&hub, &dir.path().join("o")).await.unwrap_err().to_string();
        assert!(error.contains("a file without a size or a hash"), "{error}");
    }
}

#[tokio::test]
async fn where_a_download_came_from_is_said_by_this_program_alone() {
    let hub = filled();
    let claim = json!({"id": "other/one", "kind": "model", "revision": "main", "commit": "0".repeat(40),
        "licence": {"licence": "mit", "class": "permissive"}, "files": []});
    let claim = claim.to_string();
    hub.add(hub.repo(store::Kind::Model, "a/small").unwrap().file("tunesmith-hub.json", claim));
    let (dir, tunesmith) = (tempfile::tempdir().unwrap(), client(&hub, None));
    for all in [false, true] {
        let out = dir.path().join(all.to_string());
        let choice = Choice { all, ..Choice::default() };
        let plan = tunesmith.plan(Kind::Model, &id("a/small"), &choice).await.unwrap();
        tunesmith.download(&plan, &out, &|_, _| ()).await.unwrap();
        assert_eq!(Source::of(&out), Some(plan.source));
        let left: Vec<&str> = plan.left_out.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(left, ["tunesmith-hub.json"]);
    }
    let only = Choice { only: vec!["tunesmith-hub.json".into()], ..Choice::default() };
    let error = tunesmith.plan(Kind::Model, &id("a/small"), &only).await.unwrap_err();
    assert!(matches!(error, HubError::Nothing { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_never_comes_to_an_end_is_left() {
    let hub = filled();
    let dir = tempfile::tempdir().unwrap();
    let next = format!("<{}/api/models/a/small/tree/x>; rel=\"next\"", hub.endpoint);
    for folders in [1, 50_000] {
        let page: Vec<_> = (0..folders).map(|_| json!({"type": "directory", "path": "d"})).collect();
        hub.fail("/tree/", 9_999, Failing::Answer(Answer::json(&json!(page)).with("link", &next)));
        let error = fetched(&hub, &dir.path().join("m")).await.unwrap_err().to_string();
        assert!(error.contains("more files than a repository has"), "{error}");
        hub.settle();
    }

    let hub = filled();
    let values = json!({"id": "a/small", "cardData": vec![json!([]); 1 << 20]});
    hub.fail("/api/models/a/small", 1, Failing::Answer(Answer::json(&values)));
    let error = fetched(&hub, &dir.path().join("m")).await.unwrap_err().to_string();
    assert!(error.contains("more than 1048576 values"), "{error}");

    // Each transfer breaks off at the same place, and none may go on from there.
    for _ in 0..9 {
        hub.fail("/large/", 1, Failing::Cut(300));
        hub.fail("/large/", 1, Failing::Answer(Answer::new(416, Vec::new())));
    }
    let error = fetched(&hub, &dir.path().join("m")).await.unwrap_err();
    assert!(matches!(error, HubError::Cut { .. }), "{error}");
    assert_eq!(hub.fetched().len(), 4);
}

#[tokio::test]
async fn one_process_at_a_time_downloads_into_a_directory() {
    let hub = filled();
    let dir = tempfile::tempdir().unwrap();
    let (out, half) = (dir.path().join("m"), dir.path().join("m.partial"));
    fs::create_dir(&half).unwrap();
    // As a process leaves it that was killed while it wrote the first file.
    fs::write(half.join(".x.part"), "{").unwrap();
    let lock = fs::File::open(&half).unwrap();
    lock.lock().unwrap();
    let error = fetched(&hub, &out).await.unwrap_err();
    assert!(matches!(error, HubError::Busy(_)), "{error}");
    drop(lock);
    fetched(&hub, &out).await.unwrap();
    fs::create_dir(dir.path().join("n.partial")).unwrap();
    fs::write(dir.path().join("n.partial/mine.txt"), "x").unwrap();
    let error = fetched(&hub, &dir.path().join("n")).await.unwrap_err();
    assert!(matches!(error, HubError::Occupied(_)), "{error}");
}
