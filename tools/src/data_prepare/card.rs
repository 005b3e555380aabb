//! The data-set card: what a preparation was made of, how, and what it does not promise.

use std::fmt::Write;

use super::{LEFT_OUT, Part, manifest::Manifest};
use crate::hub::card::cell;

/// The card's name.
pub(super) const CARD: &str = "README.md";

/// The card, with the head that the Hub reads.
pub(super) fn card(manifest: &Manifest, parts: &[(Part, String, u64)]) -> String {
    let mut text = head(parts);
    let rows: u64 = parts.iter().map(|(.., rows)| rows).sum();
    let _ = writeln!(text, "# A data set of {rows} rows\n\nPrepared by Tunesmith {}.\n", manifest.tunesmith);
    let _ = writeln!(text, "| part | file | rows |\n|---|---|---|");
    for (part, file, rows) in parts {
        let _ = writeln!(text, "| {} | {file} | {rows} |", part.name());
    }
    let _ = writeln!(text, "\n## Made of\n\n| file | bytes | SHA-256 |\n|---|---|---|");
    let against = manifest.against.iter().map(|file| (file, "held against "));
    for (file, role) in manifest.inputs.iter().map(|file| (file, "")).chain(against) {
        let _ = writeln!(text, "| {role}{} | {} | `{}` |", cell(&file.file), file.bytes, file.sha256);
    }
    let _ = writeln!(text, "\n## How\n\n| stage | rows before | rows after |\n|---|---|---|");
    for stage in &manifest.stages {
        let _ = writeln!(text, "| {} | {} | {} |", stage.name, stage.before, stage.after);
    }
    if let Ok(recipe) = serde_json::to_string_pretty(&manifest.recipe) {
        // A fence longer than any in the text cannot be closed by it.
        let _ = writeln!(text, "\n````json\n{}\n````", recipe.replace("````", "` ` ` `"));
    }
    limits(&mut text, manifest);
    text
}

/// Which file is which split, by the Hub's names.
fn head(parts: &[(Part, String, u64)]) -> String {
    let rows: u64 = parts.iter().map(|(.., rows)| rows).sum();
    // Classes of the Hub.
    let size = match rows {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        _ => "n>10M",
    };
    let mut head = format!("---\nlicense: unknown\ntags:\n- tunesmith\nsize_categories:\n- {size}\n");
    head.push_str("configs:\n- config_name: default\n  data_files:\n");
    for (part, file, _) in parts {
        let split = if *part == Part::Valid { "validation" } else { part.name() };
        let _ = write!(head, "  - split: {split}\n    path: {file}\n");
    }
    head + "---\n\n"
}

fn limits(text: &mut String, manifest: &Manifest) {
    let _ = writeln!(text, "\n## Limits\n");
    let _ = writeln!(text, "- The licence of the rows is unknown here; it is that of what they were made of.");
    if manifest.bad_lines > 0 {
        let _ = writeln!(text, "- {} lines of the input gave no row.", manifest.bad_lines);
    }
    if manifest.outputs.iter().any(|file| file.file == LEFT_OUT) {
        let _ = writeln!(text, "- What was left out is in {LEFT_OUT}, with the stage and the reason.");
    }
    let held =
        "- Rows that hold rows of the eval sets above were left out; rows that say the same in other words were not.";
    let _ = match manifest.against.is_empty() {
        true => writeln!(text, "- The rows were not held against any eval set."),
        false => writeln!(text, "{held}"),
    };
    for note in &manifest.notes {
        let _ = writeln!(text, "- {}", cell(note));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;
    use tunesmith_harness::eval::yaml;

    use super::*;

    #[test]
    fn a_card_names_parts_sources_stages_and_limits() {
        let file = |name: &str| json!({"file": name, "sha256": "ab", "bytes": 7});
        let manifest: Manifest = serde_json::from_value(json!({
            "tunesmith": "VERSION",
            "recipe": {"seed": 3, "steps": {"near": 0.8}},
            "inputs": [file("rows|\n<b>.csv")],
            "against": [file("test.jsonl")],
            "bad_lines": 2,
            "stages": [{"name": "duplicates", "before": 10, "after": 9}],
            "outputs": [file("train.parquet"), file(LEFT_OUT)],
        }))
        .unwrap();
        let parts = [(Part::Train, "train.parquet".to_owned(), 8), (Part::Valid, "valid.parquet".to_owned(), 1)];
        let text = card(&manifest, &parts);
        let head = text.split("---\n").nth(1).unwrap();
        let read = yaml::parse(head, std::path::Path::new("")).unwrap();
        assert_eq!(read["configs"][0]["data_files"][1], json!({"split": "validation", "path": "valid.parquet"}));
        insta::assert_snapshot!(text);
    }
}
