//! How a preparation is judged: from the worker's figures, and from the files that it names.

use std::path::PathBuf;

use tunesmith_harness::{
    hash::sha256,
    recipe::{Recipe, changes::Changes},
    score::{Score, Verdict},
};
use tunesmith_sandbox::Workdir;

use super::{Dropped, MOST_RECIPE, Output, PREPARED, Quality};
use crate::{
    claims::lines,
    files::{cut, read_small, score},
};

pub(super) fn scores(output: &Output, dir: &Workdir) -> Vec<Score> {
    let mut scores = vec![files(output, dir), dropped(output), length(output)];
    let written = recipe(output, dir).ok().and_then(|text| serde_json::from_str::<Recipe>(&text).ok());
    scores.extend(written.and_then(|recipe| changes(&recipe.changes)));
    match &output.quality {
        Some(quality) => {
            scores.extend([duplicates(output, quality), leakage(output, quality), stop_token(output, quality)]);
            scores.extend(balance(output, quality));
        }
        None => scores.push(score("data.quality", None, Verdict::Unknown, "the examples were not measured".into())),
    }
    scores
}

fn files(output: &Output, dir: &Workdir) -> Score {
    let (verdict, why) = match checked(output, dir) {
        Ok(true) => (Verdict::Pass, format!("{} and {} rows are in the files", output.train, output.valid)),
        Ok(false) => (Verdict::Unknown, "the recipe is as written; the rows are too many to be counted here".into()),
        Err(why) => (Verdict::Fail, why),
    };
    score("data.files", None, verdict, why)
}

/// Whether the recipe is the one that was written, and both parts have the rows that they are said to have; `false` where
/// a part is too large to be counted.
fn checked(output: &Output, dir: &Workdir) -> Result<bool, String> {
    recipe(output, dir)?;
    let counted = [lines(&at(dir, "train.jsonl")?, output.train)?, lines(&at(dir, "valid.jsonl")?, output.valid)?];
    Ok(counted == [true; 2])
}

/// The recipe, if it is the one that was written.
fn recipe(output: &Output, dir: &Workdir) -> Result<String, String> {
    let text =
        read_small(&at(dir, "recipe.json")?, MOST_RECIPE).map_err(|_| "recipe.json cannot be read".to_owned())?;
    if sha256(text.as_bytes()) != output.recipe_sha256 {
        return Err("recipe.json is not the file that was written".into());
    }
    Ok(text)
}

fn at(dir: &Workdir, file: &str) -> Result<PathBuf, String> {
    dir.join(&format!("{PREPARED}/{file}")).map_err(|error| error.to_string())
}

/// What models are asked in place of the rows' own inputs, for a person to look at: a text that is put in may be a hint.
fn changes(changes: &Changes) -> Option<Score> {
    let set = changes.set.iter().map(|(column, text)| format!("{column} = {text:?}"));
    let replaced = changes.replace.iter().map(|replace| format!("{:?} to {:?}", replace.pattern, replace.with));
    let made: Vec<String> = set.chain(replaced).collect();
    let cleaned = serde_json::to_string(&changes.clean).ok().filter(|_| !changes.clean.is_empty());
    let all: Vec<String> = made.iter().cloned().chain(cleaned.map(|ways| format!("clean {ways}"))).collect();
    let verdict = if made.is_empty() { Verdict::Pass } else { Verdict::Warn };
    let why = format!("inputs are changed, sealed ones too: {}", cut(&all.join("; "), 600));
    (!all.is_empty()).then(|| score("data.changes", None, verdict, why))
}

fn dropped(output: &Output) -> Score {
    let (rows, dropped) = (output.rows.max(1) as f64, &output.dropped);
    let mut reasons = vec![
        (dropped.empty, "empty"),
        (dropped.duplicates, "repeated"),
        (dropped.conflicting, "contradictory"),
        (dropped.too_long, "too long"),
        (dropped.special_tokens, "with special tokens"),
        (dropped.no_marker, "without the marker"),
    ];
    let asked_for =
        [(dropped.near, "nearly repeated"), (dropped.balanced, "of frequent labels"), (output.by_steps(), "by steps")];
    reasons.extend(asked_for.into_iter().filter(|(count, _)| *count > 0));
    // What was asked for is no loss to warn of.
    let gone = output.left_out();
    let lost = gone - asked_for.iter().map(|(count, _)| count).sum::<usize>();
    let verdict = if lost as f64 > rows * 0.2 || output.bad_lines > 0 { Verdict::Warn } else { Verdict::Pass };
    let reasons: Vec<String> = reasons.iter().map(|(count, what)| format!("{count} {what}")).collect();
    let bad = match output.bad_lines {
        0 => String::new(),
        bad => format!("; {bad} lines gave no row"),
    };
    let why = format!("{gone} of {} rows left out: {}{bad}", output.rows, reasons.join(", "));
    score("data.dropped", Some(gone as f64 / rows), verdict, why)
}

/// Why rows were left out, and what helps against the most frequent reason.
pub(super) fn reasons(dropped: &Dropped, by_steps: usize) -> (String, &'static str) {
    let Dropped { empty, duplicates, conflicting, too_long, special_tokens, no_marker, near, balanced: _ } = *dropped;
    let all = [
        (empty, "empty", "fill in the input's and the answer's column, or name other columns"),
        (duplicates, "repeated", "give more different rows"),
        (near, "nearly repeated", "give more different rows, or raise near"),
        (conflicting, "contradictory", "give each input one answer"),
        (too_long, "too long", "shorten them, or allow more with max_length where the base takes it"),
        (special_tokens, "with special tokens", "take the base's special tokens out of the texts"),
        (no_marker, "without the marker", "write the marker before each result, or leave answer_after out"),
        (by_steps, "left out by steps", "ask less of rows"),
    ];
    let found: Vec<String> = all.iter().filter(|(n, ..)| *n > 0).map(|(n, what, _)| format!("{n} {what}")).collect();
    match all.iter().rev().max_by_key(|(n, ..)| *n) {
        Some((n, _, advice)) if *n > 0 => (found.join(", "), *advice),
        _ => ("there are no more".to_owned(), "give more rows"),
    }
}

/// Rows that the chosen length has cost. None is cut: those that do not fit are left out whole.
fn length(output: &Output) -> Score {
    let all = output.train + output.valid + output.dropped.too_long;
    let share = output.dropped.too_long as f64 / all.max(1) as f64;
    let (verdict, note) = match share {
        share if share > 0.5 => (Verdict::Fail, "; most is lost, raise max_length or take a base that takes more"),
        share if share > 0.01 => (Verdict::Warn, "; what is long will not be learned"),
        _ => (Verdict::Pass, ""),
    };
    let why = format!("{} of {all} rows do not fit into {} tokens{note}", output.dropped.too_long, output.max_length);
    score("data.length", Some(share), verdict, why)
}

fn duplicates(output: &Output, quality: &Quality) -> Score {
    let rows = output.train + output.valid;
    let share = quality.near_duplicates as f64 / rows.max(1) as f64;
    let (verdict, note) = match share {
        share if share > 0.5 => (Verdict::Warn, "; there is less to learn from than rows"),
        _ => (Verdict::Pass, ""),
    };
    let exact = output.dropped.duplicates;
    let why =
        format!("{exact} repeated rows left out; {} of {rows} nearly repeat another{note}", quality.near_duplicates);
    score("data.duplicates", Some(share), verdict, why)
}

fn leakage(output: &Output, quality: &Quality) -> Score {
    let Quality { leaked, nearly_leaked, .. } = *quality;
    let valid = output.valid;
    let (verdict, why) = match () {
        () if leaked > 0 => (Verdict::Fail, format!("{leaked} of {valid} validation inputs are also trained on")),
        () if nearly_leaked * 2 > valid => {
            let why = "nearly repeat one that is trained on, so validation measures memory as well";
            (Verdict::Warn, format!("{nearly_leaked} of {valid} validation inputs {why}"))
        }
        () => (Verdict::Pass, format!("no validation input is trained on, {nearly_leaked} of {valid} nearly are")),
    };
    score("data.leakage", Some(leaked.max(nearly_leaked) as f64 / valid.max(1) as f64), verdict, why)
}

fn stop_token(output: &Output, quality: &Quality) -> Score {
    let Quality { untrained, endless, .. } = *quality;
    let (verdict, why) = match output.template_ends_turns {
        _ if untrained > 0 => (Verdict::Fail, format!("{untrained} examples train no token of their answer")),
        _ if endless > 0 => {
            (Verdict::Fail, format!("{endless} examples do not end with a stop token, so stopping is not learned"))
        }
        true => (Verdict::Pass, "answers end with the template's own token".to_owned()),
        false => {
            let why = "the template does not end answers with a token; the tokenizer's end token is used";
            (Verdict::Warn, why.to_owned())
        }
    };
    score("data.stop_token", None, verdict, why)
}

fn balance(output: &Output, quality: &Quality) -> Option<Score> {
    let (largest, entropy) = (quality.largest_label?, quality.label_entropy?);
    let least = output.labels.iter().map(|label| label.train).min()?;
    let most = output.labels.iter().map(|label| label.train).max()?;
    let (verdict, note) = match () {
        () if largest >= 1.0 => (Verdict::Fail, "; there is one label only, so nothing can be learned"),
        () if least == 0 => (Verdict::Fail, "; a label without rows cannot be learned"),
        () if least < 5 => (Verdict::Warn, "; rare labels will be learned badly"),
        () if most > 20 * least => (Verdict::Warn, "; look at macro F1 as well"),
        () => (Verdict::Pass, ""),
    };
    let why = format!(
        "{} labels with {least} to {most} rows each, the largest {:.0} % of all{note}",
        output.labels.len(),
        largest * 100.0
    );
    Some(score("data.balance", Some(entropy), verdict, why))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::data_prepare::{Dropped, LabelRows};

    /// A preparation as it should be, with its files.
    fn good(dir: &Workdir) -> Output {
        let at = |file: &str| dir.path().join(PREPARED).join(file);
        std::fs::create_dir_all(dir.path().join(PREPARED)).unwrap();
        std::fs::write(at("recipe.json"), "{}").unwrap();
        std::fs::write(at("train.jsonl"), "{}\n".repeat(90)).unwrap();
        std::fs::write(at("valid.jsonl"), "{}\n".repeat(10)).unwrap();
        let label = |name: &str| LabelRows { label: name.into(), train: 45, valid: 5 };
        Output {
            path: PREPARED.into(),
            rows: 100,
            test: 0,
            bad_lines: 0,
            stages: Vec::new(),
            train: 90,
            valid: 10,
            dropped: Dropped::default(),
            labels: vec![label("a"), label("b")],
            tokens: (10, 20),
            longest_answer: 2,
            max_length: 32,
            max_new_tokens: 6,
            cue: "Label:".into(),
            template_ends_turns: true,
            recipe_sha256: sha256(b"{}"),
            quality: Some(Quality { largest_label: Some(0.5), label_entropy: Some(1.0), ..Quality::default() }),
            example: None,
        }
    }

    fn with(change: impl FnOnce(&mut Output, &Workdir)) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let dir = Workdir::open(root.path()).unwrap();
        let mut output = good(&dir);
        change(&mut output, &dir);
        let told = |score: Score| format!("{} {}: {}", score.scorer, score.verdict.word(), score.why);
        scores(&output, &dir).into_iter().filter(|score| score.verdict != Verdict::Pass).map(told).collect()
    }

    fn quality(output: &mut Output) -> &mut Quality {
        output.quality.as_mut().unwrap()
    }

    #[test]
    fn a_good_preparation_passes_every_check() {
        assert_eq!(with(|_, _| ()), [""; 0]);
    }

    #[test]
    fn each_way_to_fail_is_named() {
        type Case<'a> = (&'a dyn Fn(&mut Output), &'a str);
        let table: [Case<'_>; 10] = [
            (&|o| quality(o).leaked = 3, "data.leakage fail: 3 of 10 validation inputs are also trained on"),
            (
                &|o| quality(o).nearly_leaked = 6,
                "data.leakage warn: 6 of 10 validation inputs nearly repeat one that is trained on, so validation \
                 measures memory as well",
            ),
            (
                &|o| quality(o).near_duplicates = 60,
                "data.duplicates warn: 0 repeated rows left out; 60 of 100 nearly repeat another; there is less to learn \
                 from than rows",
            ),
            (
                &|o| o.dropped.too_long = 15,
                "data.length warn: 15 of 115 rows do not fit into 32 tokens; what is long will not be learned",
            ),
            (
                &|o| (o.rows, o.dropped.too_long) = (2000, 300),
                "data.length fail: 300 of 400 rows do not fit into 32 tokens; most is lost, raise max_length or take a \
                 base that takes more",
            ),
            (&|o| quality(o).untrained = 2, "data.stop_token fail: 2 examples train no token of their answer"),
            (
                &|o| quality(o).endless = 2,
                "data.stop_token fail: 2 examples do not end with a stop token, so stopping is not learned",
            ),
            (
                &|o| {
                    o.labels.truncate(1);
                    quality(o).largest_label = Some(1.0);
                },
                "data.balance fail: 1 labels with 45 to 45 rows each, the largest 100 % of all; there is one label only, \
                 so nothing can be learned",
            ),
            (
                &|o| o.labels[0].train = 0,
                "data.balance fail: 2 labels with 0 to 45 rows each, the largest 50 % of all; a label without rows cannot \
                 be learned",
            ),
            (&|o| o.quality = None, "data.quality unknown: the examples were not measured"),
        ];
        for (change, want) in table {
            assert_eq!(with(|output, _| change(output)), [want]);
        }
    }

    #[test]
    fn what_models_are_asked_instead_of_the_rows_is_said() {
        let changes = |value: serde_json::Value| changes(&serde_json::from_value(value).unwrap());
        let told = |score: Score| (score.verdict, score.why);
        let value =
            json!({"set": {"text": "{a} {b}"}, "replace": [{"pattern": "\\d", "with": "N"}], "clean": ["html"]});
        let why = "inputs are changed, sealed ones too: text = \"{a} {b}\"; \"\\\\d\" to \"N\"; clean [\"html\"]";
        assert_eq!(changes(value).map(told), Some((Verdict::Warn, why.to_owned())));
        let why = "inputs are changed, sealed ones too: clean [\"trim\"]";
        assert_eq!(changes(json!({"clean": ["trim"]})).map(told), Some((Verdict::Pass, why.to_owned())));
        assert_eq!(changes(json!({})), None);
    }

    #[test]
    fn files_that_are_not_as_claimed_are_named() {
        let write = |file: &'static str, text: &'static str| {
            move |_: &mut Output, dir: &Workdir| std::fs::write(dir.path().join(PREPARED).join(file), text).unwrap()
        };
        assert_eq!(
            with(write("recipe.json", "{ }")),
            ["data.files fail: recipe.json is not the file that was written"]
        );
        assert_eq!(with(write("train.jsonl", "{}\n")), ["data.files fail: train.jsonl has 1 rows, not 90"]);
        let gone = |_: &mut Output, dir: &Workdir| {
            std::fs::remove_file(dir.path().join(PREPARED).join("valid.jsonl")).unwrap();
        };
        assert_eq!(with(gone), ["data.files fail: valid.jsonl is not there"]);
        let large = |_: &mut Output, dir: &Workdir| {
            let file = std::fs::File::create(dir.path().join(PREPARED).join("train.jsonl")).unwrap();
            file.set_len(1 << 30).unwrap();
        };
        let why = "data.files unknown: the recipe is as written; the rows are too many to be counted here";
        assert_eq!(with(large), [why]);
    }
}
