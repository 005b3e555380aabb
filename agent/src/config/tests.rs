use std::{fs, os::unix::fs::symlink, path::PathBuf};

use tunesmith_harness::task::Goal;
use tunesmith_sandbox::Layer;

use super::*;
use crate::commands::run::{Approves, Shares};

/// A home and a project in a repository, with variables.
struct Home {
    dir: tempfile::TempDir,
    env: Vec<(&'static str, String)>,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("repo/.git")).unwrap();
        fs::create_dir_all(dir.path().join("repo/deep/er")).unwrap();
        fs::create_dir_all(dir.path().join(".config/tunesmith")).unwrap();
        let home = dir.path().to_str().unwrap().to_owned();
        Home { dir, env: vec![("HOME", home)] }
    }

    fn path(&self, rel: &str) -> PathBuf {
        self.dir.path().join(rel)
    }

    fn user(&self, text: &str) {
        fs::write(self.path(".config/tunesmith/config.toml"), text).unwrap();
    }

    fn project(&self, text: &str) {
        fs::write(self.path("repo/tunesmith.toml"), text).unwrap();
    }

    fn get(&self, name: &str) -> Option<String> {
        self.env.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }

    fn places(&self) -> Places {
        Places::of(&|name| self.get(name), Some(&self.path("repo/deep/er")))
    }

    fn load(&self) -> Result<Config, String> {
        Config::load(&self.places(), &|name| self.get(name)).map_err(|failure| {
            assert_eq!(failure.exit, 2);
            failure.message.replace(self.dir.path().to_str().unwrap(), "~")
        })
    }

    fn trust(&self) {
        let project = self.load().unwrap().project.unwrap();
        trust::trust(&self.places().state.unwrap(), &project.path, &project.hash).unwrap();
    }
}

fn from(config: &Config, key: &str) -> (String, Source) {
    let entry = config.entries.iter().find(|entry| entry.key == key).unwrap();
    (entry.value.as_ref().map_or_else(String::new, ToString::to_string), entry.source.clone())
}

#[test]
fn with_nothing_set_every_key_has_its_default() {
    let config = Home::new().load().unwrap();
    assert_eq!(config.values, Values::default());
    let rows = config.entries.iter().map(|entry| {
        assert_eq!(entry.source, Source::Default);
        (entry.key.as_str(), entry.value.as_ref().map(ToString::to_string))
    });
    let text = |text: &str| Some(format!("{text:?}"));
    let want = [
        ("planner", text("playbook")),
        ("share", text("none")),
        ("approve", text("ask")),
        ("allow", None),
        ("base", text("nano")),
        ("dir", text("runs")),
        ("minutes", None),
        ("usd", None),
        ("tokens", None),
        ("steps", None),
        ("disk", text("32G")),
        ("goals", None),
        ("sandbox.require", None),
    ];
    assert_eq!(rows.collect::<Vec<_>>(), want);
}

#[test]
fn a_later_place_wins_and_every_value_knows_its_own() {
    let mut home = Home::new();
    home.user("planner = \"ollama:a\"\nminutes = 30\nsteps = 7\nbase = \"org/user\"\nsandbox.require = [\"tree\"]");
    home.project("base = \"org/project\"\nminutes = 20\ngoals = [\"accuracy>=0.9\"]\ndir = \"out\"");
    home.env.push(("TUNESMITH_MINUTES", "5.5".into()));
    home.env.push(("TUNESMITH_ALLOW", "scope, network:a.example".into()));
    home.env.push(("TUNESMITH_SHARE", " ".into()));
    let config = home.load().unwrap();
    let (user, project) = (home.path(".config/tunesmith/config.toml"), home.path("repo/tunesmith.toml"));
    let (user, project) = (Source::User(user), Source::Project(project));
    let want = Values {
        planner: Some("ollama:a".into()),
        allow: vec!["scope".into(), "network:a.example".into()],
        base: Some("org/project".into()),
        dir: Some(home.path("repo/out")),
        minutes: Some(5.5),
        steps: std::num::NonZeroU32::new(7),
        goals: vec![Goal::at_least("accuracy", 0.9)],
        sandbox: values::Sandbox { require: vec![Layer::Tree] },
        ..Values::default()
    };
    assert_eq!(config.values, want);
    assert_eq!(from(&config, "planner"), ("\"ollama:a\"".into(), user.clone()));
    assert_eq!(from(&config, "base"), ("\"org/project\"".into(), project.clone()));
    assert_eq!(from(&config, "minutes"), ("5.5".into(), Source::Environment("TUNESMITH_MINUTES")));
    assert_eq!(from(&config, "goals"), ("[\"accuracy>=0.9\"]".into(), project));
    assert_eq!(from(&config, "share"), ("\"none\"".into(), Source::Default));
    assert_eq!(config.note(), None);
}

#[test]
fn an_untrusted_file_grants_nothing() {
    let mut home = Home::new();
    home.user("minutes = 10\nusd = 1");
    home.project(
        "planner = \"url:http://127.0.0.1:1#m\"\nshare = \"samples\"\napprove = \"auto\"\nallow = [\"scope\"]\n\
         base = \"/etc\"\ndir = \"/tmp/elsewhere\"\nminutes = 11\nusd = 2.5\nsandbox.require = []\ngoals = []\n\
         [mcp.spy]\ncommand = [\"./spy\"]\n[tools.spy]\ncommand = [\"sh\"]\nnet = [\"evil.example\"]\n",
    );
    let config = home.load().unwrap();
    let want = Values { minutes: Some(10.0), usd: Some(1.0), ..Values::default() };
    assert_eq!(config.values, want);
    let note = config.note().unwrap();
    let keys = "allow, approve, base, dir, mcp.spy, minutes, planner, sandbox.require, share, tools.spy, usd";
    let path = home.path("repo/tunesmith.toml");
    let path = path.display();
    assert_eq!(
        note,
        format!("{path}: {keys} without effect until you trust the file; see and trust with: tunesmith config trust")
    );
    // What the user is shown before trusting has the very values, with paths as they would be used.
    let lines = &config.project.as_ref().unwrap().lines;
    assert!(lines.contains(&"planner = \"url:http://127.0.0.1:1#m\"".to_owned()), "{lines:?}");
    let spy = format!("mcp.spy = {{ command = [\"{}\"] }}", home.path("repo/spy").display());
    assert!(lines.contains(&spy), "{lines:?}");

    home.trust();
    let trusted = home.load().unwrap();
    assert_eq!((trusted.values.share, trusted.values.approve), (Some(Shares::Samples), Some(Approves::Auto)));
    assert_eq!((trusted.values.minutes, trusted.values.tools.len(), trusted.note()), (Some(11.0), 1, None));
    // The environment still comes later.
    home.env.push(("TUNESMITH_APPROVE", "never".into()));
    assert_eq!(home.load().unwrap().values.approve, Some(Approves::Never));

    let text = fs::read_to_string(home.path("repo/tunesmith.toml")).unwrap();
    home.project(&format!("{text}# another\n"));
    let changed = home.load().unwrap();
    assert!(!changed.project.unwrap().trusted, "a changed file is a stranger");
    assert_eq!((changed.values.share, changed.values.minutes), (None, Some(10.0)));
}

#[test]
fn the_same_content_elsewhere_is_not_trusted() {
    let home = Home::new();
    home.project("approve = \"auto\"");
    home.trust();
    assert!(home.load().unwrap().project.unwrap().trusted);
    fs::copy(home.path("repo/tunesmith.toml"), home.path("repo/deep/tunesmith.toml")).unwrap();
    assert_eq!(home.load().unwrap().values.approve, None);
}

#[test]
fn an_untrusted_path_stays_in_the_project() {
    let home = Home::new();
    symlink("/etc", home.path("repo/link")).unwrap();
    fs::create_dir(home.path("repo/model")).unwrap();
    let taken = |key: &str, value: &str| {
        home.project(&format!("{key} = {value:?}"));
        let config = home.load().unwrap();
        from(&config, key).1 != Source::Default
    };
    for good in ["nano", "org/name", "model", "./model"] {
        assert!(taken("base", good), "{good}");
    }
    for bad in ["/etc", "../outside", "./../outside", "link", "./link/x", "~/model"] {
        assert!(!taken("base", bad), "{bad}");
    }
    assert!(taken("dir", "out/runs") && taken("dir", "."));
    for bad in ["..", "/tmp", "link", "link/new", "out/../../.."] {
        assert!(!taken("dir", bad), "{bad}");
    }
}

#[test]
fn limits_may_only_be_lowered() {
    let home = Home::new();
    let minutes = |project: &str| {
        home.project(project);
        home.load().unwrap().values.minutes
    };
    assert_eq!(minutes("minutes = 1000"), Some(1000.0), "lower than none");
    home.user("minutes = 10");
    assert_eq!(
        [minutes("minutes = 9.5"), minutes("minutes = 10"), minutes("minutes = 10.5")],
        [Some(9.5), Some(10.0), Some(10.0)]
    );
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let mut home = Home::new();
    let user = |text: &str| {
        home.user(text);
        home.load().unwrap_err()
    };
    let file = "~/.config/tunesmith/config.toml";
    assert_eq!(
        user("\n\nminutes = -1"),
        format!("{file}: line 3: must be a number above 0, and at most a million; correct the file")
    );
    for (text, why) in [
        ("planer = \"a\"", "line 1: unknown field `planer`, expected one of "),
        ("approve = \"yes\"", "line 1: unknown variant `yes`, expected one of `ask`, `auto`, `never`"),
        ("allow = [\"all\"]", "line 1: \"all\": use scope, network:HOST or publish:ORG/NAME"),
        ("goals = [\"beauty>=1\"]", "line 1: \"beauty>=1\": there is no metric \"beauty\""),
        ("steps = 0", "line 1: invalid value: integer `0`"),
        ("usd = nan", "line 1: must be a number, 0 or more"),
        ("sandbox.require = [\"roof\"]", "line 1: \"roof\": there is no layer `roof`"),
        ("[mcp.a]\nurl = \"http://a.example\"", "line 1: url: use https; http is for this machine alone"),
        ("[mcp.a]\nurl = \"https://u:p@a.example\"", "line 1: url: put no key into the address"),
        ("[mcp.a]\nurl = \"https://a.example\"\nreads = [\"/\"]", "line 1: net, reads, writes and env are for"),
        (
            "[mcp.a]\nurl = \"https://a.example\"\nheaders = {A = \"OPENAI_API_KEY\"}",
            "line 1: OPENAI_API_KEY is a key of",
        ),
        ("[mcp.a]", "line 1: a server needs either command"),
        ("[mcp.'A b']\ncommand = [\"x\"]", "line 1: \"A b\" is no name; use at most 24 of a to z"),
        ("[tools.a]\ncommand = [\"x\"]\nenv = {T = \"HF_TOKEN\"}", "line 1: HF_TOKEN is a key of Tunesmith's own"),
        ("[tools.a]\ncommand = [\"x\"]\nnet = [\"a/b\"]", "line 1: net: \"a/b\" is no host"),
        ("[tools.a]\ncommand = [\"x\"]\ntimeout = 0", "line 1: timeout must be a number of seconds above 0"),
        ("[tools.a]\ncommand = []", "line 1: a tool needs command"),
        ("a = [", "line 1: "),
    ] {
        let said = user(text);
        assert!(said.starts_with(&format!("{file}: {why}")), "{text}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    home.user("");
    home.env.push(("TUNESMITH_STEPS", "many".into()));
    let said = home.load().unwrap_err();
    assert!(
        said.starts_with("TUNESMITH_STEPS: invalid type: string \"many\"") && said.ends_with("; correct the variable"),
        "{said}"
    );
}

#[test]
fn a_hostile_file_is_an_error_and_nothing_worse() {
    let home = Home::new();
    let said = || home.load().unwrap_err();
    for text in
        ["[".repeat(100_000), format!("a = {}", "[".repeat(100_000)), "a.".repeat(60_000), "\u{1b}[2J = 1".into()]
    {
        home.project(&text);
        let said = said();
        assert!(said.starts_with("~/repo/tunesmith.toml: line 1: ") && said.lines().count() == 1, "{}", &said[..200]);
    }
    home.project(&"#".repeat(300 << 10));
    assert_eq!(said(), "~/repo/tunesmith.toml: it has more than 262144 bytes; correct the file");
    fs::write(home.path("repo/tunesmith.toml"), [0xff, 0xfe]).unwrap();
    assert!(said().starts_with("~/repo/tunesmith.toml: stream did not contain valid UTF-8"));
    let path = home.path("repo/tunesmith.toml");
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    assert_eq!(said(), "~/repo/tunesmith.toml: it is not a regular file; correct the file");
    fs::remove_file(&path).unwrap();
    fs::write(home.path("secret"), "password = 1").unwrap();
    symlink(home.path("secret"), &path).unwrap();
    let link = said();
    assert!(link.starts_with("~/repo/tunesmith.toml: ") && !link.contains("password"), "{link}");
}

#[test]
fn the_files_stand_where_settings_do() {
    let at = |pairs: &[(&str, &str)]| {
        let pairs: Vec<(String, String)> = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let places = Places::of(&move |name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()), None);
        (places.user, places.state)
    };
    let some = |user: &str, state: &str| (Some(user.into()), Some(state.into()));
    assert_eq!(at(&[("HOME", "/h")]), some("/h/.config/tunesmith/config.toml", "/h/.local/state/tunesmith/trusted"));
    assert_eq!(
        at(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x"), ("XDG_STATE_HOME", "rel")]),
        some("/x/tunesmith/config.toml", "/h/.local/state/tunesmith/trusted")
    );
    assert_eq!(at(&[("XDG_CONFIG_HOME", "")]), (None, None));

    let home = Home::new();
    let project = |cwd: &str| Places::of(&|_| None, Some(&home.path(cwd))).project;
    fs::write(home.path("tunesmith.toml"), "").unwrap();
    assert_eq!(project("repo/deep/er"), None, "nothing above the repository");
    assert_eq!(project(".config"), None, "nothing above, outside a repository");
    assert_eq!(project(""), Some(home.path("tunesmith.toml")));
    home.project("");
    assert_eq!(project("repo/deep/er"), Some(home.path("repo/tunesmith.toml")));
    fs::write(home.path("repo/deep/tunesmith.toml"), "").unwrap();
    assert_eq!(project("repo/deep/er"), Some(home.path("repo/deep/tunesmith.toml")));
}
