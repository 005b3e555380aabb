//! Contamination: whether what a run trained on copies rows that were sealed.
//!
//! Texts are compared as streams of lower-case letters and digits, so that case, spacing and punctuation hide nothing. The
//! rows that the run was given are known to it by right: runs of characters that stand in them count for nothing, and so
//! do examples made of them. What is left is data that the run brought in. A sealed row is *copied* where such data holds
//! its whole input, and *shared* where it holds a good part of the runs of characters that only that row has.
//!
//! The bounds are measured on banking77, gsm8k and templated tickets, each cut into thirds (given, sealed, brought in by
//! an honest run): of the sealed rows 0 to 1.2 % are copied and 1 to 23 % shared; where the first or second half of every
//! sealed row is brought in, 48 to 100 % are shared.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use serde_json::Value;

use super::runs::{self, BASE, texts};
use crate::{
    figures::counted,
    recipe::{Recipe, Row},
};

/// Characters of a run. Longer ones miss copied halves of short rows, shorter ones are common speech.
const RUN: usize = 12;
/// Fewest runs of a text's own by which it can be told that it was shared.
const FEWEST: usize = 8;
/// A text is shared from this part of its own runs on: one in so many.
const SHARED: usize = 4;
/// Shortest answer, in characters, that is looked for as well as inputs: labels and numbers stand everywhere.
const ANSWER: usize = 40;
/// Of the sealed rows, one in so many may be copied before nothing is claimed.
const MOST_COPIED: usize = 50;
/// Of the sealed rows, one in so many may be shared before nothing is claimed.
const MOST_SHARED: usize = 3;

/// What of the sealed rows stands in the data that a run brought in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    /// Rows trained or validated on.
    pub rows: usize,
    /// Of these, rows that were not made of the rows that the run was given.
    pub brought: usize,
    /// Sealed rows whose whole input was brought in, by their place.
    pub copied: Vec<usize>,
    /// Sealed rows of which a good part was brought in, by their place; copied ones may be among them.
    pub shared: Vec<usize>,
}

impl Overlap {
    /// Why nothing may be claimed on so many sealed rows, if that is so.
    pub fn refusal(&self, sealed: usize) -> Option<String> {
        let (copied, shared) = (self.copied.len(), self.shared.len());
        let too_many = copied * MOST_COPIED > sealed || shared * MOST_SHARED > sealed;
        too_many.then(|| {
            let brought = counted(self.brought, "row");
            format!(
                "contamination: {brought} that the run brought in and trained on hold {copied} of {sealed} sealed rows \
                 whole and {shared} in part"
            )
        })
    }

    /// Sealed rows that can be scored no more, by their place.
    pub fn seen(&self) -> HashSet<usize> {
        self.copied.iter().chain(&self.shared).copied().collect()
    }
}

/// Looks for sealed rows in what was trained on, one row of it at a time.
pub struct Search {
    texts: Vec<Text>,
    /// Runs that one text of the sealed rows or several have and no given row has; whether they were found.
    runs: HashMap<u64, (bool, Vec<usize>)>,
    /// Where the first run of a text may be found, the whole may be.
    starts: HashMap<u64, Vec<usize>>,
    /// Whole examples of sealed rows, for those too short to have a run.
    whole: HashMap<Vec<char>, usize>,
    /// Whole examples of the rows that the run was given.
    given: HashSet<u64>,
    rows: usize,
    brought: usize,
    copied: HashSet<usize>,
}

/// One text of a sealed row.
struct Text {
    row: usize,
    stream: Vec<char>,
}

impl Search {
    /// A search for `sealed` in what was made of `given` rows by `recipe`, or came from elsewhere.
    pub fn new<'a>(recipe: &Recipe, sealed: &[Row], given: impl Iterator<Item = &'a Row>) -> Search {
        let mut search = Search {
            texts: Vec::new(),
            runs: HashMap::new(),
            starts: HashMap::new(),
            whole: HashMap::new(),
            given: HashSet::new(),
            rows: 0,
            brought: 0,
            copied: HashSet::new(),
        };
        for (place, row) in sealed.iter().enumerate() {
            for example in examples(recipe, row) {
                search.whole.insert(example, place);
            }
            let cell = |column| row.get(column).cloned().unwrap_or_default();
            // As it stands in the data, and as it is asked where that is something else.
            let asked = recipe.input(row).ok().filter(|_| !recipe.changes.is_empty()).map(Value::String);
            let inputs = [Some(cell(&recipe.input)), asked].into_iter().flatten().map(|input| (input, RUN));
            for (text, least) in inputs.chain([(cell(&recipe.target), ANSWER)]) {
                let stream = stream_of(&text, true);
                if stream.len() >= least {
                    search.look_for(place, stream);
                }
            }
        }
        for row in given {
            for example in examples(recipe, row) {
                hashes(&example).for_each(|run| drop(search.runs.remove(&run)));
                search.whole.remove(&example);
                search.given.insert(hash(&example));
            }
        }
        search
    }

    fn look_for(&mut self, row: usize, stream: Vec<char>) {
        let text = self.texts.len();
        let runs: HashSet<u64> = hashes(&stream).collect();
        for run in runs {
            self.runs.entry(run).or_default().1.push(text);
        }
        if let Some(start) = hashes(&stream).next() {
            self.starts.entry(start).or_default().push(text);
        }
        self.texts.push(Text { row, stream });
    }

    /// Looks at a row that was trained on, of whatever form: all its texts in their order count.
    pub fn see(&mut self, row: &Value) {
        let stream = stream_of(row, false);
        self.rows += 1;
        if stream.is_empty() || self.given.contains(&hash(&stream)) {
            return;
        }
        self.brought += 1;
        if let Some(place) = self.whole.get(&stream) {
            self.copied.insert(*place);
        }
        for (at, run) in hashes(&stream).enumerate() {
            if let Some((found, _)) = self.runs.get_mut(&run) {
                *found = true;
            }
            for &text in self.starts.get(&run).into_iter().flatten() {
                let Text { row, stream: wanted } = &self.texts[text];
                if stream[at..].starts_with(wanted) {
                    self.copied.insert(*row);
                }
            }
        }
    }

    /// Looks at each row of a file of JSON lines.
    pub fn see_file(&mut self, path: &Path) -> io::Result<()> {
        for line in BufReader::new(File::open(path)?).lines() {
            let line = line?;
            let line = line.trim_start_matches('\u{feff}');
            if !line.trim().is_empty() {
                self.see(&serde_json::from_str(line)?);
            }
        }
        Ok(())
    }

    /// What was found.
    pub fn found(self) -> Overlap {
        let mut counts = vec![(0, 0); self.texts.len()];
        for (found, texts) in self.runs.values() {
            for &text in texts {
                counts[text].0 += usize::from(*found);
                counts[text].1 += 1;
            }
        }
        let shared = |(found, all): (usize, usize)| all >= FEWEST && found * SHARED >= all;
        let shared = self.texts.iter().zip(counts).filter(|(_, counts)| shared(*counts)).map(|(text, _)| text.row);
        let sorted = |places: HashSet<usize>| {
            let mut places: Vec<usize> = places.into_iter().collect();
            places.sort_unstable();
            places
        };
        Overlap {
            rows: self.rows,
            brought: self.brought,
            shared: sorted(shared.collect()),
            copied: sorted(self.copied),
        }
    }
}

/// The streams of a row as it stands, and of the example that it gives.
fn examples(recipe: &Recipe, row: &Row) -> impl Iterator<Item = Vec<char>> {
    let example = recipe.example(row).ok().and_then(|example| serde_json::to_value(example).ok());
    let plain = Value::Object(row.clone());
    [Some(plain), example].into_iter().flatten().map(|value| stream_of(&value, false)).filter(|s| !s.is_empty())
}

/// Letters and digits of all texts in `value`, in lower case and in order.
fn stream_of(value: &Value, numbers: bool) -> Vec<char> {
    let mut out = Vec::new();
    let mut add = |text: &str| out.extend(text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase));
    texts(value, numbers, &mut add);
    out
}

/// A hash of each run of characters.
fn hashes(stream: &[char]) -> impl Iterator<Item = u64> {
    runs::hashes(stream, RUN, |c| u64::from(u32::from(*c)))
}

fn hash(stream: &[char]) -> u64 {
    stream.iter().fold(stream.len() as u64, |hash, c| hash.wrapping_mul(BASE).wrapping_add(u64::from(u32::from(*c))))
}

#[cfg(test)]
mod tests;
