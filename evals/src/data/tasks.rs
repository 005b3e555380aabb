//! The rows of the eval tasks in `evals/tasks`: written once, so that their numbers can be compared.

use super::generator;

/// The makers behind the tasks, and the name that each data set has in `evals/tasks`.
pub const SETS: [&str; 3] = ["museum", "sums", "tales"];

/// Rows of each split; no row is in both.
const SPLITS: [(&str, usize); 2] = [("test", 100), ("train", 40)];

const SEED: u64 = 20_262;

/// Each file of a data set with its whole text. Tales are scored as a whole, so they need no examples.
pub fn files(set: &str) -> Vec<(String, String)> {
    let mut rows = generator(set).map(|g| g.rows(SEED, 140)).unwrap_or_default().into_iter();
    let splits = if set == "tales" { &SPLITS[..1] } else { &SPLITS[..] };
    let mut file = |&(split, count): &(&str, usize)| {
        let lines = rows.by_ref().take(count).map(|row| format!("{}\n", serde_json::Value::Object(row)));
        (format!("{set}-{split}.jsonl"), lines.collect())
    };
    splits.iter().map(&mut file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_in_the_repository_are_what_the_maker_writes() {
        for (name, text) in SETS.into_iter().flat_map(files) {
            let path = format!("{}/tasks/{name}", env!("CARGO_MANIFEST_DIR"));
            let file = std::fs::read_to_string(path).unwrap();
            assert!(file == text, "write {name} again: cargo run -p tunesmith-evals --example tasks");
            assert!(text.lines().count() >= 40, "{name}");
        }
    }
}
