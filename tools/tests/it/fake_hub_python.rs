//! The fake Hub against the Hub's own client for Python: what that client can do there is what the fake gets right.
//!
//! `TUNESMITH_PEER_HUB` names an interpreter with `huggingface_hub`.

use serde_json::json;

use crate::fake_hub::{
    FakeHub, GUEST, TOKEN,
    python::python,
    store::{Kind, Repo},
};

fn filled() -> FakeHub {
    let hub = FakeHub::start();
    let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}"#;
    let card = "---\nlicense: mit\ntags:\n- tiny\n---\n# A model\n";
    for (name, downloads) in [("a", 3), ("b", 9), ("c", 5)] {
        let repo = Repo::model(&format!("org/tiny-{name}")).popular(downloads, 1, 1);
        hub.add(repo.file("config.json", config).file("README.md", card).file("sub/weights.bin", vec![7; 5000]));
    }
    hub.add(Repo::dataset("org/rows").file("train.jsonl", "{\"text\": \"hello\"}\n").file("README.md", card));
    hub.add(Repo::model("closed/one").gated("manual").file("config.json", config));
    hub
}

#[test]
fn the_hubs_own_client_reads_and_writes_the_fake_hub() {
    let hub = filled();
    hub.page(2);
    let script = r#"
import json, os
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
api = HfApi()
out = {"who": api.whoami()["name"]}
out["models"] = [m.id for m in api.list_models(search="TINY", filter="license:mit", sort="downloads")]
out["datasets"] = [d.id for d in api.list_datasets(author="org")]
info = api.model_info("org/tiny-b", files_metadata=True)
out["info"] = [info.sha, info.pipeline_tag, info.card_data.license, sorted(s.rfilename for s in info.siblings)]
out["small"] = open(hf_hub_download("org/tiny-b", "README.md")).read()[:3]
out["large"] = os.path.getsize(hf_hub_download("org/tiny-b", "sub/weights.bin"))
folder = snapshot_download("org/rows", repo_type="dataset")
out["snapshot"] = sorted(os.listdir(folder))
os.makedirs("up/deep")
open("up/README.md", "w").write("---\nlicense: apache-2.0\n---\n")
open("up/deep/model.safetensors", "wb").write(os.urandom(300000))
url = api.create_repo("org/new", private=True)
again = api.create_repo("org/new", private=True, exist_ok=True)
commit = api.upload_folder(repo_id="org/new", folder_path="up", commit_message="First")
out["commit"] = commit.oid
back = snapshot_download("org/new")
out["same"] = open(back + "/deep/model.safetensors", "rb").read() == open("up/deep/model.safetensors", "rb").read()
out["private"] = api.model_info("org/new").private
print(json.dumps(out))
"#;
    let Some(said) = python(&hub, TOKEN, script) else { return };
    let (model, new) = (hub.repo(Kind::Model, "org/tiny-b").unwrap(), hub.repo(Kind::Model, "org/new").unwrap());
    assert_eq!(
        said,
        json!({
            "who": "tester",
            "models": ["org/tiny-b", "org/tiny-c", "org/tiny-a"],
            "datasets": ["org/rows"],
            "info": [model.head().sha, "text-generation", "mit", ["README.md", "config.json", "sub/weights.bin"]],
            "small": "---",
            "large": 5000,
            "snapshot": ["README.md", "train.jsonl"],
            "commit": new.head().sha,
            "same": true,
            "private": true,
        })
    );
    // It came by Xet, and both ends of it know it as that.
    assert!(new.head().files["deep/model.safetensors"].xet.is_some());
    assert!(hub.fetched().iter().all(|request| request.token().is_none()));
}

#[test]
fn the_hubs_own_client_knows_the_refusals_of_the_fake_hub() {
    let hub = filled();
    hub.rename(Kind::Model, "org/tiny-a", "org/renamed");
    let script = r#"
import json
from huggingface_hub import HfApi, hf_hub_download
api = HfApi()
def error(call):
    try:
        return call() and "none"
    except Exception as e:
        return type(e).__name__
print(json.dumps([
    error(lambda: api.model_info("org/missing")),
    error(lambda: api.model_info("org/tiny-b", revision="other")),
    error(lambda: hf_hub_download("org/tiny-b", "missing.json")),
    error(lambda: hf_hub_download("closed/one", "config.json")),
    error(lambda: api.create_repo("org/of-others")),
    api.model_info("org/tiny-a").id,
]))
"#;
    let Some(said) = python(&hub, GUEST, script) else { return };
    let want = json!([
        "RepositoryNotFoundError",
        "RevisionNotFoundError",
        "RemoteEntryNotFoundError",
        "GatedRepoError",
        "HfHubHTTPError",
        "org/renamed"
    ]);
    assert_eq!(said, want);
}
