//! Lists the task files and the oracles under `suites/`, so that a new task is its files and no line of code.

use std::{env, fmt::Write, fs, io, path::Path};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=suites");
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("suites");
    let mut list = String::new();
    for (name, folder, ending) in [("TASKS", "", "toml"), ("ORACLES", "oracle", "jsonl")] {
        let _ = writeln!(list, "const {name}: &[(&str, &str, &str)] = &[");
        for suite in names(&root)? {
            for file in names(&root.join(&suite).join(folder))? {
                if let Some(stem) = file.strip_suffix(&format!(".{ending}")) {
                    let path = root.join(&suite).join(folder).join(&file);
                    let _ = writeln!(list, "    ({suite:?}, {stem:?}, include_str!({path:?})),");
                }
            }
        }
        list.push_str("];\n");
    }
    fs::write(Path::new(&env::var("OUT_DIR").map_err(io::Error::other)?).join("suites.rs"), list)
}

/// What a directory holds, sorted, so that the order of tasks is the same everywhere; nothing where there is none.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut names: Vec<String> =
        fs::read_dir(dir)?.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}
