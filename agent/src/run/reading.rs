//! The user's files as one data set: the rows of all of them in order, and what gave none.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use tunesmith_harness::{
    figures::counted,
    hash,
    recipe::Row,
    rows::{Bad, Batch, Format, MAX_BYTES, Problem, Reading, RowsError, Source},
    run::Input,
};

use super::{Failure, answers, chats, passages, shown};

/// Lines that gave no row, of which a file's record keeps the first.
const FIRST: usize = 5;
/// Files that are named as not read.
const SKIPPED: usize = 5;

/// Rows of the user's files.
pub(super) struct Read {
    /// Every column, in the order of first sight.
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
    /// What is not read of what was named, in words.
    pub skipped: Vec<String>,
    files: Vec<File>,
}

/// What was found in one file.
struct File {
    input: Input,
    /// Its columns in the order of first sight, each with the number of rows that name it.
    columns: Vec<(String, usize)>,
    places: BTreeMap<String, usize>,
}

/// Reads files, folders and patterns. A line that gives no row is set apart and counted.
pub(super) fn read(paths: &[PathBuf]) -> Result<Read, Failure> {
    if paths.is_empty() {
        let why = "there is no data to learn from: give a CSV, JSON or JSON-lines file with --file";
        return Err(Failure::new(5, why));
    }
    let source = Source::find(paths, &Reading { bad: Bad::Quarantine, ..Reading::default() }).map_err(wrong)?;
    let too_large = |bytes| {
        let path = source.inputs.first().map(|input| input.path.clone()).unwrap_or_default();
        wrong(RowsError { path, problem: Problem::TooLarge(bytes) })
    };
    let stored = source.inputs.iter().map(|input| input.bytes).sum();
    if stored > MAX_BYTES {
        return Err(too_large(stored));
    }
    let mut files: Vec<File> = source.inputs.iter().map(File::new).collect::<Result<_, Failure>>()?;
    let texts = source.inputs.iter().all(|input| matches!(input.format, Format::Text | Format::Markdown));
    let (mut batches, mut held) = (Vec::new(), 0);
    for batch in source.batches() {
        let batch = batch.map_err(wrong)?;
        // A compressed file stands for any number of bytes.
        held += batch.bytes;
        if held > MAX_BYTES {
            return Err(too_large(held));
        }
        batches.push(batch);
    }
    if texts {
        passages::cut(&mut batches);
    }
    let mut rows = Vec::new();
    for batch in batches {
        files[batch.file].take(&batch);
        rows.extend(batch.rows);
    }
    files.iter().try_for_each(File::check)?;
    if rows.is_empty() {
        return Err(wrong(RowsError { path: paths[0].clone(), problem: Problem::NoRows("") }));
    }
    alike(&files)?;
    let unfolded = chats::unfold(&mut rows);
    if unfolded {
        files.iter_mut().for_each(File::unfolded);
    }
    let skipped = source.skipped.iter().map(|skipped| format!("{} is not read: {}", shown(&skipped.path), skipped.why));
    let mut skipped = some(skipped.collect());
    if unfolded {
        skipped.push("chats are read as prompt and completion; what all of them begin with is left out".to_owned());
    }
    if texts {
        skipped.push(format!("texts are read in passages, {} in all", rows.len()));
    }
    Ok(Read { columns: columns(&files), rows, skipped, files })
}

impl Read {
    /// Reads the answers that stand in several columns as one object.
    pub fn join(&mut self, columns: &[String]) {
        let Some(name) = answers::name(&self.columns).filter(|_| !columns.is_empty()) else { return };
        answers::join(&mut self.rows, columns, name);
        self.columns.retain(|column| !columns.contains(column));
        self.columns.push(name.to_owned());
        self.skipped.push(format!("the answers in {} are read as one JSON object", columns.join(", ")));
    }

    /// What is on record of each file.
    pub fn inputs(&self) -> impl Iterator<Item = &Input> {
        self.files.iter().map(|file| &file.input)
    }

    /// The first column that all rows of these files have and none of `other`'s.
    pub fn missing_in(&self, other: &Read) -> Option<&str> {
        let lacks = |name: &&str| !other.columns.iter().any(|column| column == name);
        self.files.iter().find_map(|file| file.always().find(lacks))
    }
}

impl File {
    fn new(input: &tunesmith_harness::rows::Input) -> Result<File, Failure> {
        let path = input.path.clone();
        if path.to_str().is_none() {
            return Err(Failure::new(2, format!("{}: its name is not UTF-8; rename it", shown(&path))));
        }
        let sha256 = hash::sha256_file(&path).map_err(|e| Failure::new(2, format!("{}: {e}", shown(&path))))?;
        let (bytes, note) = (input.bytes, input.note());
        let input = Input { path, sha256, bytes, rows: 0, note, bad_rows: 0, bad: Vec::new() };
        Ok(File { input, columns: Vec::new(), places: BTreeMap::new() })
    }

    fn take(&mut self, batch: &Batch) {
        self.input.rows += batch.rows.len();
        self.input.bad_rows += batch.bad.len();
        let room = FIRST - self.input.bad.len().min(FIRST);
        self.input.bad.extend(batch.bad.iter().take(room).map(|bad| bad.why.clone()));
        for name in batch.rows.iter().flat_map(Row::keys) {
            let place = self.places.get(name).copied().unwrap_or_else(|| {
                self.places.insert(name.clone(), self.columns.len());
                self.columns.push((name.clone(), 0));
                self.columns.len() - 1
            });
            self.columns[place].1 += 1;
        }
    }

    /// Refuses a file of which most gives no row: it is not read as it is meant.
    fn check(&self) -> Result<(), Failure> {
        let Input { path, rows, bad_rows, bad, .. } = &self.input;
        if bad_rows <= rows {
            return Ok(());
        }
        let (all, first) = (counted(rows + bad_rows, "line"), bad.first().map_or("", String::as_str));
        let why = format!("{}: {bad_rows} of {all} give no row, the first: {first}", shown(path));
        Err(Failure::new(2, why))
    }

    /// Its columns once its chats are a prompt and a completion.
    fn unfolded(&mut self) {
        let others = self.columns.drain(..).filter(|(name, _)| !chats::CHATS.contains(&name.as_str()));
        let others: Vec<(String, usize)> =
            others.filter(|(name, _)| !chats::COLUMNS.contains(&name.as_str())).collect();
        self.columns =
            chats::COLUMNS.map(|name| (name.to_owned(), self.input.rows)).into_iter().chain(others).collect();
    }

    /// The columns that all its rows have.
    fn always(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|(_, rows)| *rows == self.input.rows).map(|(name, _)| name.as_str())
    }
}

/// Refuses files that are no one data set: a column that all rows of one have must be in every other.
fn alike(files: &[File]) -> Result<(), Failure> {
    let filled: Vec<&File> = files.iter().filter(|file| file.input.rows > 0).collect();
    let Some((first, others)) = filled.split_first() else { return Ok(()) };
    for other in others {
        for (one, two) in [(first, other), (other, first)] {
            if let Some(name) = one.always().find(|name| !two.places.contains_key(*name)) {
                let (has, lacks) = (shown(&one.input.path), shown(&two.input.path));
                let why =
                    format!("{lacks} has no column {name:?}, which all rows of {has} have; give files of one kind");
                return Err(Failure::new(2, why));
            }
        }
    }
    Ok(())
}

fn columns(files: &[File]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let all = files.iter().flat_map(|file| &file.columns).map(|(name, _)| name);
    all.filter(|name| seen.insert(*name)).cloned().collect()
}

/// The first lines, and how many more there are.
fn some(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(SKIPPED);
    lines.truncate(SKIPPED);
    lines.extend((more > 0).then(|| format!("{} not read", counted(more, "more file"))));
    lines
}

/// What should be known of how a file was read.
pub(super) fn notes(input: &Input) -> Vec<String> {
    let path = shown(&input.path);
    let mut notes: Vec<String> = input.note.iter().map(|note| format!("{path}: {note}")).collect();
    if let Some(first) = input.bad.first() {
        let lines = counted(input.bad_rows, "line");
        notes.push(format!("{path}: left out: {lines} without a row, the first: {first}"));
    }
    notes.extend((input.rows == 0).then(|| format!("{path} has no rows")));
    notes
}

/// Whether a file is not there or not usable, it is the command line that has to change.
fn wrong(error: RowsError) -> Failure {
    Failure::new(2, error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn how_finely_texts_are_cut_is_judged_over_all_files() {
        let dir = tempfile::tempdir().unwrap();
        let longest = |files: usize| {
            let folder = dir.path().join(files.to_string());
            std::fs::create_dir(&folder).unwrap();
            for at in 0..files {
                let letter = "The bees came early that year. ".repeat(100);
                std::fs::write(folder.join(format!("{at}.txt")), letter).unwrap();
            }
            let read = read(&[folder]).map_err(|failure| failure.message).unwrap();
            let lengths = read.rows.iter().map(|row| row["text"].as_str().unwrap().len());
            (read.inputs().map(|input| input.rows).sum::<usize>() == read.rows.len(), lengths.max().unwrap())
        };
        assert_eq!((longest(1), longest(4), longest(100)), ((true, 123), (true, 278), (true, 588)));
    }
}
