//! Messages to a bike-sharing service, in eight categories: the data of the README's main job.

use super::{Draw, Messages, generator};

/// How many messages `evals/data/tickets.csv` holds.
const ROWS: usize = 1_200;

/// The seed that it is made from.
const SEED: u64 = 20_261;

/// The whole text of `evals/data/tickets.csv`.
pub fn csv() -> String {
    let mut out = String::from("text,category\n");
    for row in generator("tickets").map(|g| g.rows(SEED, ROWS)).unwrap_or_default() {
        let cells: Vec<String> = row.values().map(|v| quoted(v.as_str().unwrap_or_default())).collect();
        out.push_str(&cells.join(","));
        out.push('\n');
    }
    out
}

/// A cell, in quotes where it needs them.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

pub(super) fn draw() -> Draw {
    let messages = Messages::parse(include_str!("tickets.txt"));
    Box::new(move |rng| messages.draw(rng, 35))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tunesmith_harness::baselines::NaiveBayes;

    use super::*;

    #[test]
    fn the_file_in_the_repository_is_what_the_maker_writes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/tickets.csv");
        let file = std::fs::read_to_string(path).unwrap();
        assert!(
            file == csv(),
            "write it again: cargo run -p tunesmith-evals --example tickets > evals/data/tickets.csv"
        );
    }

    #[test]
    fn counting_words_goes_far_but_not_all_the_way() {
        let rows = generator("tickets").unwrap().rows(SEED, ROWS);
        let mut labels = BTreeMap::new();
        let texts: Vec<(&str, usize)> = rows
            .iter()
            .map(|row| {
                let next = labels.len();
                (row["text"].as_str().unwrap(), *labels.entry(row["category"].as_str().unwrap()).or_insert(next))
            })
            .collect();
        assert_eq!(labels.len(), 8);
        let (sealed, open) = texts.split_at(240);
        let bayes = NaiveBayes::fit(8, open);
        let right = sealed.iter().filter(|(text, label)| bayes.predict(text) == *label).count();
        let share = right as f64 / 240.0;
        assert!((0.92..0.975).contains(&share), "naive Bayes is right in {share:.3}");
    }
}
