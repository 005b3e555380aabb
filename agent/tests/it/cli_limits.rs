//! What a run may hold on disk, and what is said when it came to that.
#![cfg(target_os = "linux")]

use serde_json::{Value, json};
use tunesmith_harness::{event::Kind, task::Outcome};

use crate::{
    cli::tunesmith,
    scripts::{Scripts, plan},
};

/// Two processes of a command that write at the same time, each less than the run may hold.
fn hog() -> (&'static str, Value) {
    let part = |name: &str| format!("head -c 30000000 /dev/zero > {name} &");
    ("shell", json!({"command": format!("{} {} wait; exec sleep 60", part("a"), part("b")), "timeout": 60}))
}

#[test]
fn a_run_that_fills_its_disk_ends_with_what_it_held_and_what_to_do_and_goes_on_with_more() {
    let scripts = Scripts::new(&[
        ("plan", plan()),
        hog(),
        ("read_file", json!({"path": "."})),
        ("finish", json!({"summary": "nothing"})),
    ]);
    let said = scripts.run(&["--disk", "50M"]);
    assert_eq!(said.code, 4, "{said:?}");
    let (outcome, why) = scripts.end();
    assert_eq!(outcome, Outcome::Budget);
    let held = why.strip_prefix("the run's directory came to ").unwrap_or_else(|| panic!("{why}"));
    assert!(held.ends_with(" MB of the 52.4 MB that it may hold; give it more with --disk"), "{why}");
    let said = format!("{}{}", said.out, said.err);
    assert!(said.contains("with more --minutes, --steps, --usd, --tokens or --disk"), "{said}");
    // The limit is in the log and in the report, and so is what was seen.
    let report: Value = serde_json::from_slice(&std::fs::read(scripts.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(report["cost"]["disk_limit"], json!(50 << 20));
    assert!(report["cost"]["disk_bytes"].as_u64().unwrap() > 45_000_000, "{report}");
    let page = std::fs::read_to_string(scripts.path().join("report.md")).unwrap();
    assert!(page.contains("; the run may hold 52.4 MB |"), "{page}");
    // With as little as before there is nothing to go on with.
    let again = scripts.resume(&[]);
    assert_eq!((again.code, scripts.end().0), (4, Outcome::Budget), "{again:?}");
    let more = scripts.resume(&["--disk", "1G"]);
    assert_eq!((more.code, scripts.end().0), (3, Outcome::NotMet), "{more:?}");
    let steps = scripts.events().iter().filter(|event| matches!(event.kind, Kind::Called { .. })).count();
    assert_eq!(steps, 4, "no step is made twice");
}

#[test]
fn a_limit_of_disk_is_read_from_flags_and_settings_alike() {
    let dir = tempfile::tempdir().unwrap();
    for wrong in ["0", "1.5G", "much"] {
        let said = tunesmith(dir.path(), &["run", "x", "--disk", wrong]);
        assert!(said.refused(2).contains("K, M or G"), "{said:?}");
    }
    let settings = dir.path().join(".config/tunesmith");
    std::fs::create_dir_all(&settings).unwrap();
    std::fs::write(settings.join("config.toml"), "disk = \"2G\"\n").unwrap();
    let shown = tunesmith(dir.path(), &["config", "--json"]).ok().json();
    let disk = |shown: &Value| -> Value {
        let all = shown["settings"].as_array().or_else(|| shown.as_array()).unwrap();
        all.iter().find(|setting| setting["key"] == "disk").unwrap()["value"].clone()
    };
    assert_eq!(disk(&shown), "2G");
    // A project may take less, and not more.
    for (project, value) in [("1G", "1G"), ("3G", "2G")] {
        std::fs::write(dir.path().join("tunesmith.toml"), format!("disk = {project:?}\n")).unwrap();
        assert_eq!(disk(&tunesmith(dir.path(), &["config", "--json"]).ok().json()), value);
    }
}
