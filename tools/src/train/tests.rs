#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn a_thinned_curve_keeps_its_ends() {
    let curve: Vec<(usize, f64)> = (1..=1000).map(|step| (step, step as f64)).collect();
    let thin = job::thinned(&curve);
    assert_eq!((thin.len(), thin[0], thin[199]), (200, curve[0], curve[999]));
    assert_eq!(job::thinned(&curve[..150]), curve[..150]);
}

#[test]
fn adapters_are_never_written_over() {
    let root = tempfile::tempdir().unwrap();
    let dir = Workdir::open(root.path()).unwrap();
    std::fs::create_dir(root.path().join("train-1")).unwrap();
    assert_eq!(directory(&dir, None).unwrap(), dir.path().join("train-2"));
    for name in ["train-1", "../x", "a/b", "/etc"] {
        assert!(matches!(directory(&dir, Some(name)), Err(ToolError::Invalid(_))), "{name}");
    }
}

#[test]
fn the_defaults_are_all_seven_layers() {
    assert_eq!(Settings::from(Args::default()), Settings::default());
}
