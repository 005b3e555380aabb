//! Paths that a model names stay inside the workdir.
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;
use tunesmith_sandbox::{PathError, Workdir};

/// A workdir with links that lead out, in, around and nowhere.
fn trap() -> (TempDir, Workdir) {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir_all(base.path().join("outside/deep")).unwrap();
    fs::write(base.path().join("outside/secret"), "secret").unwrap();
    let root = base.path().join("work");
    fs::create_dir_all(root.join("dir/sub")).unwrap();
    fs::write(root.join("file"), "file").unwrap();
    symlink(base.path().join("outside"), root.join("out")).unwrap();
    symlink("../../outside/secret", root.join("dir/up")).unwrap();
    symlink(base.path().join("outside/new"), root.join("dangling")).unwrap();
    symlink("dir/sub", root.join("in")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("/", root.join("dir/root")).unwrap();
    // A sibling whose name starts with the workdir's name is outside too.
    fs::create_dir(base.path().join("work-2")).unwrap();
    symlink(base.path().join("work-2"), root.join("sibling")).unwrap();
    let dir = Workdir::open(&root).unwrap();
    (base, dir)
}

fn refusal(dir: &Workdir, path: &str) -> &'static str {
    match dir.join(path) {
        Ok(_) => "none",
        Err(PathError::Empty) => "empty",
        Err(PathError::Nul) => "nul",
        Err(PathError::Absolute(_)) => "absolute",
        Err(PathError::Parent(_)) => "parent",
        Err(PathError::Outside(_)) => "outside",
        Err(PathError::Io { .. }) => "io",
    }
}

#[test]
fn attacks_are_refused_by_name() {
    let (_base, dir) = trap();
    let long = "a".repeat(300);
    let cases = [
        ("", "empty"),
        ("a\0b", "nul"),
        ("/etc/passwd", "absolute"),
        ("//etc", "absolute"),
        ("..", "parent"),
        ("dir/../../outside", "parent"),
        ("new/../..", "parent"),
        ("./..", "parent"),
        ("out", "outside"),
        ("out/secret", "outside"),
        ("out/new", "outside"),
        ("dir/up", "outside"),
        ("dir/root/etc/passwd", "outside"),
        ("dangling", "outside"),
        ("loop", "outside"),
        ("sibling/x", "outside"),
        ("file/x", "io"),
        (long.as_str(), "io"),
    ];
    for (path, expected) in cases {
        assert_eq!(refusal(&dir, path), expected, "{path:?}");
    }
}

#[test]
fn honest_paths_are_allowed() {
    let (_base, dir) = trap();
    let root = dir.path();
    let cases = [
        ("file", "file"),
        ("./dir//sub/", "dir/sub"),
        ("new/deep/file.json", "new/deep/file.json"),
        ("in/x", "dir/sub/x"),
        ("...", "..."),
        ("~/x", "~/x"),
        (r"a\..\b", r"a\..\b"),
    ];
    for (path, expected) in cases {
        assert_eq!(dir.join(path).unwrap(), root.join(expected), "{path:?}");
    }
}

#[test]
fn the_root_of_the_file_system_is_no_workdir() {
    assert!(Workdir::open(Path::new("/")).is_err());
    assert!(Workdir::create(Path::new("/usr/..")).is_err());
    let base = tempfile::tempdir().unwrap();
    symlink("/", base.path().join("link")).unwrap();
    assert!(Workdir::open(&base.path().join("link")).is_err());
}

#[test]
fn a_file_and_a_missing_directory_are_no_workdirs() {
    let (base, dir) = trap();
    assert!(Workdir::open(&dir.path().join("file")).is_err());
    assert!(Workdir::open(&base.path().join("missing")).is_err());
    let made = Workdir::create(&base.path().join("missing/deep")).unwrap();
    assert_eq!(made.path(), base.path().canonicalize().unwrap().join("missing/deep"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_allowed_resolves_inside(parts in prop::collection::vec(part(), 1..6), glue in "/|//|/\\./") {
        let (_base, dir) = trap();
        if let Ok(path) = dir.join(&parts.join(&glue)) {
            prop_assert!(path.starts_with(dir.path()));
            prop_assert!(path.components().all(|part| part != Component::ParentDir));
            prop_assert!(deepest(&path).canonicalize().unwrap().starts_with(dir.path()));
        }
    }
}

fn part() -> impl Strategy<Value = String> {
    const NAMES: &[&str] =
        &["..", ".", "", "dir", "sub", "file", "out", "up", "in", "root", "dangling", "loop", "sibling", "/", "etc"];
    prop_oneof![3 => prop::sample::select(NAMES).prop_map(String::from), 1 => "[a.\\\\/\0 ~]{0,4}"]
}

/// The last part of a path that exists, links included.
fn deepest(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap().to_path_buf()
}
