//! Names in a request: paths, and `owner/name` of the Hub.

use super::{Publish, Wanted};
use crate::playbook::words::Words;

/// What an id in the request is of.
enum Of {
    Publishing,
    Data,
    Base,
    Teacher,
}

impl Wanted {
    /// Ids of the Hub, `owner/name`, each by the words around it.
    pub(super) fn ids(&mut self, words: &Words, request: &str) {
        let hub = words.has("hub|huggingface|hugging");
        for (id, at) in ids(words, request) {
            let place = words.at(at);
            let near = |from: usize, to: usize| Words {
                text: String::new(),
                list: words.list[from.min(words.list.len())..to.min(words.list.len())].to_vec(),
            };
            let taken = words.list[place..].iter().take_while(|word| word.at.start < at + id.len()).count();
            let before = near(place.saturating_sub(8), place);
            let (last, next) = (near(place.saturating_sub(3), place), near(place + taken, place + taken + 2));
            let data = next.has("dataset|datasets") || next.has("data set") || last.has("dataset|set");
            let named = last.has("as|to|under|at|hub|huggingface|name|called|repo|repository");
            let of = match () {
                () if before.has("publish*|push*|upload*|share|post|release|put") && named => Of::Publishing,
                () if self.made.is_some() && next.has("as|act|acts|write|writes|be|teacher") => Of::Teacher,
                () if self.made.is_some() && before.has("teacher|written") => Of::Teacher,
                () if data || hub && (next.has("data|rows") || last.has("data|rows")) => Of::Data,
                () if last.has("base|model") => Of::Base,
                () if is_distinct(&id) && last.has("tun*|finetun*|train|use|using|from|start*|on|with|take|adapt") => {
                    Of::Base
                }
                () => continue,
            };
            match of {
                Of::Publishing => self.publish = Some(Publish { to: id, public: false }),
                Of::Data => self.dataset = Some(id),
                Of::Base => self.base.name = Some(id),
                Of::Teacher => self.made.iter_mut().for_each(|made| made.teacher = Some(id.clone())),
            }
        }
        let on_hub = words.wants("dataset|data|rows|set|sets .. on|from .. hub|huggingface|hugging");
        if on_hub && self.dataset.is_none() && self.publish.is_none() {
            self.questions.push("which data set of the Hub is meant; name it as owner/name".into());
        }
    }
}

/// Paths in the request, as they are written.
pub fn paths(request: &str) -> Vec<String> {
    let marks = ['"', '\'', '`', ',', ';', ':', '(', ')'];
    let words = request.split_whitespace().map(|word| word.trim_matches(marks).trim_end_matches('.'));
    let is_path = |word: &&str| ["/", "./", "../"].iter().any(|start| word.starts_with(start)) && word.len() > 2;
    words.filter(is_path).map(str::to_owned).collect()
}

/// What is written as `owner/name`, in the letters of the request, and where.
fn ids(words: &Words, request: &str) -> Vec<(String, usize)> {
    const SITES: [&str; 3] = ["huggingface.co/datasets/", "huggingface.co/", "hf.co/"];
    const FILES: [&str; 10] = ["csv", "tsv", "json", "jsonl", "parquet", "txt", "gz", "zst", "xlsx", "gguf"];
    let of_id = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let parts = |text: &str| text.split(|c: char| !of_id(c)).map(str::to_owned).collect::<Vec<String>>();
    let originals = parts(request);
    let letters =
        |part: &str| part.len() > 1 && part.contains(|c: char| c.is_ascii_alphabetic()) && !part.starts_with('.');
    let mut found: Vec<(String, usize)> = Vec::new();
    for part in parts(&words.text) {
        let Some(original) = originals.iter().find(|original| original.eq_ignore_ascii_case(&part)) else { continue };
        let id = original.trim_end_matches(['.', '/', '-']);
        let id = SITES.iter().find_map(|site| Some(&id[id.find(site)? + site.len()..])).unwrap_or(id);
        let file = FILES.iter().any(|ending| id.rsplit('.').next().is_some_and(|last| last == *ending));
        if !file && id.split('/').count() == 2 && id.split('/').all(letters) && !found.iter().any(|known| known.0 == id)
        {
            found.extend(words.text.find(&id.to_lowercase()).map(|at| (id.to_owned(), at)));
        }
    }
    found
}

/// Whether an id could be nothing else: words with a stroke between them ("positive/negative") look like one too.
fn is_distinct(id: &str) -> bool {
    id.contains(|c: char| c.is_ascii_digit() || c.is_ascii_uppercase() || "-_.".contains(c))
}
