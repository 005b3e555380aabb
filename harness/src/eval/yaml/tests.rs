#![allow(clippy::unwrap_used)]
use super::*;
#[test]
#[ignore = "probe"]
fn probe() {
    let root = std::env::var("TUNESMITH_LM_EVAL_TASKS").unwrap();
    let mut folders = vec![std::path::PathBuf::from(root)];
    let (mut n, mut bad) = (0, 0);
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let began = std::time::Instant::now();
    while let Some(f) = folders.pop() {
        for e in std::fs::read_dir(f).unwrap() {
            let p = e.unwrap().path();
            if p.is_dir() {
                folders.push(p);
                continue;
            }
            let name = p.file_name().unwrap().to_string_lossy().into_owned();
            if !name.ends_with("yaml") {
                continue;
            }
            n += 1;
            if let Err(e) = parse(&std::fs::read_to_string(&p).unwrap(), p.parent().unwrap()) {
                bad += 1;
                kinds.entry(e.what.clone()).or_default().push(format!("{}:{}", p.display(), e.line));
            }
        }
    }
    println!("{n} files, {bad} bad, {:?}", began.elapsed());
    for (k, v) in kinds {
        println!("{} × {k}: {:?}", v.len(), &v[..v.len().min(3)]);
    }
}
