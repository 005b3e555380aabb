//! What to do about the data, what would spoil a training first.

use tunesmith_harness::figures::{bytes, counted, percent};

use super::{
    draw::ROW_BYTES,
    output::{Finding, Fit, Output, Sample, Shape, Weight},
};

/// Shares of rows from which on something is worth more than a remark, and spoils.
const MUCH: f64 = 0.01;
const MOST: f64 = 0.1;
/// A label this many times as frequent as another one is out of balance.
const IMBALANCE: usize = 20;

/// Everything that was found, ordered by how much it spoils, then by how many rows it is about.
pub(super) fn all(output: &Output) -> Vec<Finding> {
    let mut list = List(Vec::new());
    list.rows(output);
    list.format(output);
    list.repeats(output);
    list.labels(output);
    list.texts(output);
    list.tokens(output);
    list.0.sort_by(|a, b| (a.weight, b.rows * a.of.max(1)).cmp(&(b.weight, a.rows * b.of.max(1))));
    list.0
}

struct List(Vec<Finding>);

impl List {
    fn add(&mut self, kind: &str, weight: Weight, (rows, of): (usize, usize), why: String) {
        self.0.push(Finding { kind: kind.to_owned(), weight, rows, of, why });
    }

    fn rows(&mut self, output: &Output) {
        let all = output.rows + output.bad_rows;
        if output.bad_rows > 0 {
            let weight = if share(output.bad_rows, all) > MUCH { Weight::Spoils } else { Weight::Harms };
            let why =
                format!("{} gave no row; correct them, or leave them out knowingly", counted(output.bad_rows, "line"));
            self.add("bad_rows", weight, (output.bad_rows, all), why);
        }
        for file in &output.files {
            if let Some(note) = &file.note {
                self.add("reading", Weight::Minor, (file.rows, output.rows), format!("{}: {note}", file.path));
            }
        }
        let large = output.sample.too_large;
        if large > 0 {
            let why = format!(
                "{} of more than {} were counted, but not looked at closely; cut documents into parts",
                counted(large, "row"),
                bytes(ROW_BYTES as u64)
            );
            self.add("large_rows", Weight::Minor, (large, output.rows), why);
        }
        for column in &output.columns {
            let name = &column.name;
            if column.missing == output.rows {
                let why = format!("column {name:?} is empty; leave it out");
                self.add("empty_column", Weight::Minor, (output.rows, output.rows), why);
                continue;
            }
            if column.placeholders > 0 && column.labels.is_empty() {
                let why = format!(
                    "column {name:?} holds words like N/A or null in {}; make them empty",
                    counted(column.placeholders, "row")
                );
                self.add("placeholders", Weight::Minor, (column.placeholders, output.rows), why);
            }
            if column.types.len() > 1 {
                let types: Vec<String> = column.types.iter().map(|(name, rows)| format!("{rows} {name}")).collect();
                let most = column.types.values().max().copied().unwrap_or(0);
                let others = column.types.values().sum::<usize>() - most;
                let why = format!("column {name:?} mixes types ({}); write all its cells alike", types.join(", "));
                self.add("mixed_types", Weight::Harms, (others, output.rows), why);
            }
        }
        if output.columns_left_out > 0 {
            let why =
                format!("{} more columns are not described; rows should share their columns", output.columns_left_out);
            self.add("too_many_columns", Weight::Harms, (output.rows, output.rows), why);
        }
    }

    fn format(&mut self, output: &Output) {
        let Some(fit) = output.formats.iter().find(|fit| Some(fit.kind) == output.format) else {
            let why = output.note.clone().unwrap_or_else(|| "the columns fit no format for training".into());
            return self.add("no_format", Weight::Spoils, (output.rows, output.rows), why);
        };
        let of = output.sample.rows.min(10_000);
        for problem in &fit.problems {
            let weight = match share(problem.rows, of) {
                share if share > MOST => Weight::Spoils,
                _ if spoils(fit, &problem.why) => Weight::Spoils,
                share if share > MUCH => Weight::Harms,
                _ => Weight::Minor,
            };
            let why = format!(
                "{}: {} (first {}:{}); correct or leave out these rows",
                problem.why,
                counted(problem.rows, "row"),
                problem.path,
                problem.line
            );
            self.add(&format!("{}_rows", named(fit.kind)), weight, (problem.rows, of), why);
        }
        if fit.arguments.is_empty() {
            self.add("mapping", Weight::Minor, (output.rows, output.rows), fit.why.clone());
        }
    }

    fn repeats(&mut self, output: &Output) {
        if output.duplicates > 0 {
            let share = share(output.duplicates, output.rows);
            let weight = if share > MUCH { Weight::Harms } else { Weight::Minor };
            let first = output.repeated.first().map_or_else(String::new, |p| format!(" (first {}:{})", p.path, p.line));
            let about = if output.duplicates_estimated { "about " } else { "" };
            let why = format!(
                "{about}{} ({}) repeat an earlier one in every column{first}; keep one of each",
                counted(output.duplicates, "row"),
                percent(share)
            );
            self.add("duplicates", weight, (output.duplicates, output.rows), why);
        }
        if let Some(near) = output.near.as_ref().filter(|near| near.rows > 0) {
            let share = share(near.rows, near.of);
            let sample = sampled(output.sample);
            let weight = if share > MUCH { Weight::Harms } else { Weight::Minor };
            let why = format!(
                "{} ({}) of {sample} nearly repeat another in {}, in {}, {} of them word for word; keep one of each, and never split them between training \
                 and validation",
                counted(near.rows, "row"),
                percent(share),
                near.columns.join(", "),
                counted(near.groups, "group"),
                near.same_words
            );
            self.add("near_duplicates", weight, (near.rows, near.of), why);
        }
    }

    fn labels(&mut self, output: &Output) {
        let (Some(labels), sample) = (&output.labels, sampled(output.sample)) else { return };
        let of = output.sample.rows;
        if labels.contradicting > 0 {
            let weight = if share(labels.contradicting, of) > MUCH { Weight::Spoils } else { Weight::Harms };
            let why = format!(
                "{} of {sample} have an input that also stands with another label; decide on one label for each input",
                counted(labels.contradicting, "row")
            );
            self.add("contradicting_labels", weight, (labels.contradicting, of), why);
        }
        if labels.near > 0 {
            let why = format!(
                "{} of {sample} nearly repeat one with another label; look at them, one of both may be wrong",
                counted(labels.near, "row")
            );
            self.add("near_duplicates_disagree", Weight::Harms, (labels.near, of), why);
        }
        let variants: usize = labels.variants.iter().flatten().map(|label| label.rows).sum();
        if variants > 0 {
            let why = format!(
                "{} of labels differ only by case, spaces or punctuation; write each label in one way",
                counted(labels.variants.len(), "group")
            );
            self.add("label_spelling", Weight::Spoils, (variants, output.rows), why);
        }
        if labels.suspicious > 0 {
            let why = format!(
                "naive Bayes, trained without them, denies the label of {} of {}; look at the first of them",
                counted(labels.suspicious, "row"),
                labels.suspicious_of
            );
            self.add("suspicious_labels", Weight::Minor, (labels.suspicious, labels.suspicious_of), why);
        }
        let [most, least] = labels.balance;
        if labels.rare > 0 {
            let why = format!(
                "{} fewer than ten rows; join them, or give more rows",
                if labels.rare == 1 { "1 label has".to_owned() } else { format!("{} labels have", labels.rare) }
            );
            self.add("rare_labels", Weight::Harms, (labels.rare, labels.count), why);
        }
        if most > least * IMBALANCE {
            let why = format!(
                "the most frequent label has {most} rows and the rarest {least}; judge by balanced accuracy, or balance the rows"
            );
            self.add("imbalance", Weight::Harms, (most, output.rows), why);
        }
    }

    fn texts(&mut self, output: &Output) {
        let (of, sample) = (output.sample.rows, sampled(output.sample));
        for lint in &output.damage {
            let weight = match lint.kind.as_str() {
                "html_entities" | "invisible_characters" => Weight::Minor,
                _ => Weight::Harms,
            };
            let advice = match lint.kind.as_str() {
                "mojibake" => "read the source again in its right encoding",
                "replacement_characters" => "letters were lost; read the source again in its right encoding",
                "html_entities" => "decode them, unless answers should hold them",
                _ => "take them out",
            };
            let what = lint.kind.replace('_', " ");
            let rows = counted(lint.rows, "row");
            let why = format!("{what} in column {:?} in {rows} of {sample}; {advice}", lint.name);
            self.add(&lint.kind, weight, (lint.rows, of), why);
        }
        for lint in &output.private {
            let key = !["email", "iban", "card", "ip_address", "phone"].contains(&lint.kind.as_str());
            let (weight, advice) = match key {
                true => (Weight::Spoils, "revoke them and take them out: a model repeats what it was trained on"),
                false => (Weight::Harms, "replace them, unless the model may repeat them"),
            };
            let what = lint.kind.replace('_', " ");
            let rows = counted(lint.rows, "row");
            let why = format!("what looks like {what} in column {:?} in {rows} of {sample}; {advice}", lint.name);
            self.add(&format!("private_{}", lint.kind), weight, (lint.rows, of), why);
        }
        for column in output.columns.iter().filter(|column| column.languages.len() > 1) {
            let known: Vec<_> = column.languages.iter().filter(|language| language.label != "unknown").collect();
            let told: usize = known.iter().map(|language| language.rows).sum();
            if let [first, others @ ..] = known.as_slice()
                && let Some(second) = others.first().filter(|second| share(second.rows, told) > MUCH)
            {
                let rest = told - first.rows;
                let why = format!(
                    "column {:?} is in more than one language ({} {}, {} {} of those told in {sample}); keep the one that is asked for",
                    column.name, first.rows, first.label, second.rows, second.label
                );
                self.add("languages", Weight::Minor, (rest, told), why);
            }
        }
    }

    fn tokens(&mut self, output: &Output) {
        let Some(tokens) = output.tokens.as_ref().filter(|tokens| tokens.longer > 0) else { return };
        let share = share(tokens.longer, tokens.of);
        let weight = if share > MUCH { Weight::Spoils } else { Weight::Harms };
        let why = format!(
            "{} ({}) of {} counted have more than {} tokens and would be cut; shorten them, or take a longer limit",
            counted(tokens.longer, "row"),
            percent(share),
            tokens.of,
            tokens.max_length
        );
        self.add("truncated", weight, (tokens.longer, tokens.of), why);
    }
}

/// Problems that teach something wrong however few rows have them.
fn spoils(fit: &Fit, why: &str) -> bool {
    fit.kind == Shape::Preference && why.contains("same")
}

fn named(kind: Shape) -> &'static str {
    match kind {
        Shape::Messages => "messages",
        Shape::Sharegpt => "sharegpt",
        Shape::Preference => "preference",
        Shape::Alpaca => "alpaca",
        Shape::Classification => "classification",
        Shape::PromptCompletion => "prompt_completion",
        Shape::Text => "text",
    }
}

/// The sample in words.
fn sampled(sample: Sample) -> String {
    match sample.is_whole() {
        true => format!("{} different rows", sample.rows),
        false => format!("a sample of {} rows", sample.rows),
    }
}

fn share(rows: usize, of: usize) -> f64 {
    rows as f64 / of.max(1) as f64
}
