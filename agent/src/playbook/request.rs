//! What a request in plain words asks for, as far as the playbook can tell.

use serde::Serialize;
use tunesmith_harness::task::{Goal, JobKind};

use super::{phrases, targets, words::Words};

/// A request as the playbook understands it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Wanted {
    /// The kinds of jobs that the words allow; none: any.
    pub kinds: Vec<JobKind>,
    /// Whether the words only hint at these kinds, so that the data may say another one.
    pub hinted: bool,
    /// Models to ship beside the adapter.
    pub exports: Vec<Export>,
    /// Scores named in the request.
    pub goals: Vec<Goal>,
    /// Most bytes of what is shipped.
    pub max_bytes: Option<u64>,
    /// Minutes for all of it.
    pub minutes: Option<f64>,
    /// Tag of the licence that the base must have, or `permissive` for any free one.
    pub licence: Option<String>,
    /// What is said of the base.
    pub base: Base,
    /// Id of a data set on the Hub.
    pub dataset: Option<String>,
    /// Where the result is to be sent.
    pub publish: Option<Publish>,
    /// The words may ask to go on reading raw text, which counts where the data has no answers.
    pub raw: bool,
    /// What is asked for that the playbook does not do, in words for people.
    pub beyond: Vec<String>,
    /// What must be said more clearly first.
    pub questions: Vec<String>,
}

/// A model to ship.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Export {
    /// `gguf` or `safetensors`.
    pub format: &'static str,
    /// How numbers are stored.
    pub quant: &'static str,
}

/// What is said of the base.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Base {
    /// Its id, or the name of its family.
    pub name: Option<String>,
    /// About so many parameters.
    pub parameters: Option<u64>,
    /// Whether that is the most.
    pub at_most: bool,
    /// The Hub is to be searched for it.
    pub search: bool,
}

/// Where the result is to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Publish {
    /// `owner/name`.
    pub to: String,
    /// Whether everybody may see it.
    pub public: bool,
}

/// Reads a request; `None` when nothing in it asks for a model to be trained.
pub fn read(request: &str) -> Option<Wanted> {
    let words = Words::new(request);
    let (kinds, clear) = kinds(&words);
    let learns = phrases::LEARN.iter().any(|phrase| words.has(phrase));
    // "Translate this" asks for a translation and not for a model; "classify this" needs a model anyway.
    let other = |phrases: &[&str]| phrases.iter().any(|phrase| words.has(phrase));
    // Only what a sentence begins with is its question.
    let begins = |at: usize| at.checked_sub(1).is_none_or(|before| words.list[before].ends);
    let about = phrases::ABOUT.iter().any(|phrase| words.all(phrase).iter().any(|found| begins(found.start)));
    if !learns && (!clear || other(&phrases::NOW) || about) {
        return None;
    }
    let hinted = !clear && !kinds.is_empty();
    let mut wanted = Wanted { kinds, hinted, ..Wanted::default() };
    let (goals, unknown) = targets::goals(&words);
    wanted.goals = goals;
    wanted.beyond = beyond(&words, unknown);
    wanted.raw = !clear && phrases::RAW_WISHES.iter().any(|phrase| words.wants(phrase));
    wanted.exports = exports(&words);
    wanted.licence = licence(&words);
    wanted.base.name = family(&words);
    wanted.base.search = phrases::SEARCH.iter().any(|phrase| words.wants(phrase));
    wanted.ids(&words, request);
    wanted.base.search &= wanted.dataset.is_none();
    wanted.figures(&words);
    wanted.publishing(&words);
    // A limit of size is one for a file that can be used by itself.
    if wanted.max_bytes.is_some() && wanted.exports.is_empty() {
        wanted.exports.push(Export { format: "gguf", quant: "q8_0" });
    }
    wanted.contradictions();
    Some(wanted)
}

/// The kinds of jobs that the words name, and whether they name them clearly.
fn kinds(words: &Words) -> (Vec<JobKind>, bool) {
    let named = |list: &[(&str, JobKind)]| {
        let mut kinds: Vec<JobKind> = Vec::new();
        for (_, kind) in list.iter().filter(|(phrase, _)| words.wants(phrase)) {
            if !kinds.contains(kind) {
                kinds.push(*kind);
            }
        }
        kinds
    };
    let mut clear = named(&phrases::KINDS);
    if words.has(phrases::MADE_OF_ROWS) {
        clear.retain(|kind| *kind != JobKind::Generation);
    }
    if clear.is_empty() { (named(&phrases::HINTS), false) } else { (clear, true) }
}

/// What the request names that the playbook does not do, each once.
fn beyond(words: &Words, unknown: Vec<&'static str>) -> Vec<String> {
    let lists = phrases::BEYOND.iter().chain(&phrases::BEYOND_DATA);
    // A denial is what these phrases themselves are about.
    let asked = |phrase: &str| words.wants(phrase) || phrase.contains("not|") && words.has(phrase);
    let mut found: Vec<String> = Vec::new();
    let mut add = |what: &str| {
        if !found.iter().any(|known| known == what) {
            found.push(what.to_owned());
        }
    };
    lists.filter(|(phrase, _)| asked(phrase)).for_each(|(_, what)| add(what));
    unknown.into_iter().for_each(|what| add(&format!("a target for {what}")));
    found
}

/// The formats named, each with the ways to store numbers; Q8_0 loses almost nothing at half the size of F16.
fn exports(words: &Words) -> Vec<Export> {
    let mut quants: Vec<&'static str> = Vec::new();
    for (phrase, quant) in phrases::QUANTS {
        if words.wants(phrase) && !quants.contains(&quant) {
            quants.push(quant);
        }
    }
    let mut formats: Vec<&'static str> = Vec::new();
    for (phrase, format) in phrases::EXPORTS {
        if words.wants(phrase) && !formats.contains(&format) {
            formats.push(format);
        }
    }
    let mut exports = Vec::new();
    for format in formats {
        let fitting: Vec<&'static str> =
            quants.iter().copied().filter(|quant| format == "gguf" || *quant != "q8_0").collect();
        let default = if format == "gguf" { "q8_0" } else { "f16" };
        let chosen = if fitting.is_empty() { vec![default] } else { fitting };
        exports.extend(chosen.into_iter().map(|quant| Export { format, quant }));
    }
    exports
}

fn licence(words: &Words) -> Option<String> {
    let named = phrases::LICENCES.iter().find(|(phrase, _)| words.wants(phrase));
    named.map(|(_, licence)| (*licence).to_owned())
}

fn family(words: &Words) -> Option<String> {
    let named = |phrase: &str| {
        words.all(phrase).iter().any(|found| !words.is_denied(found.start) && words.word(found.end) != "cpp")
    };
    phrases::FAMILIES.iter().find(|(phrase, _)| named(phrase)).map(|(_, name)| (*name).to_owned())
}

/// Parameters of the largest base that is trained here.
const MOST_PARAMETERS: u64 = 8_500_000_000;

/// What an id in the request is of.
enum Of {
    Publishing,
    Data,
    Base,
}

impl Wanted {
    /// What holds whoever plans: scores, files, size and time.
    pub fn figures_only(self) -> Wanted {
        let Wanted { goals, exports, max_bytes, minutes, .. } = self;
        Wanted { goals, exports, max_bytes, minutes, ..Wanted::default() }
    }

    /// Ids of the Hub, `owner/name`, each by the words around it.
    fn ids(&mut self, words: &Words, request: &str) {
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
            }
        }
        let on_hub = words.wants("dataset|data|rows|set|sets .. on|from .. hub|huggingface|hugging");
        if on_hub && self.dataset.is_none() && self.publish.is_none() {
            self.questions.push("which data set of the Hub is meant; name it as owner/name".into());
        }
    }

    /// Size, time and parameters; each may be named once.
    fn figures(&mut self, words: &Words) {
        fn only<T: Copy>(found: &[T], what: &str, questions: &mut Vec<String>) -> Option<T> {
            if found.len() > 1 {
                questions.push(format!("which {what} holds; the request names {}", found.len()));
            }
            found.first().copied()
        }
        self.max_bytes = only(&targets::bytes(words), "size", &mut self.questions);
        self.minutes = only(&targets::minutes(words), "time", &mut self.questions);
        let parameters = only(&targets::parameters(words), "size of model", &mut self.questions);
        (self.base.parameters, self.base.at_most) = parameters.map_or((None, false), |(n, most)| (Some(n), most));
    }

    fn publishing(&mut self, words: &Words) {
        let asked = phrases::PUBLISH.iter().any(|phrase| words.wants(phrase));
        if !asked {
            self.publish = None;
            return;
        }
        let (public, private) = (words.wants(phrases::PUBLIC), phrases::PRIVATE.iter().any(|phrase| words.has(phrase)));
        match &mut self.publish {
            None => self.questions.push("under which name to publish; write it as owner/name".into()),
            Some(_) if public && private => self.questions.push("whether to publish privately or publicly".into()),
            Some(publish) => publish.public = public,
        }
    }

    /// What the named base alone rules out.
    fn of_name(&mut self) {
        let Some(parameters) = self.base.name.as_deref().and_then(targets::of_name) else { return };
        if parameters > MOST_PARAMETERS {
            self.beyond.push("training of bases above 8 billion parameters".into());
        }
        // A number takes about a byte in the smallest format.
        if let Some(most) = self.max_bytes.filter(|most| parameters > *most) {
            let least = tunesmith_harness::figures::bytes(parameters);
            let most = tunesmith_harness::figures::bytes(most);
            self.questions
                .push(format!("which gives way, the base or the size: it takes at least {least}, not {most}"));
        }
    }

    fn contradictions(&mut self) {
        self.of_name();
        let twice = |goal: &&Goal| self.goals.iter().any(|other| other.metric == goal.metric && other != *goal);
        if let Some(goal) = self.goals.iter().find(twice) {
            let values: Vec<String> = self.goals.iter().map(|goal| goal.at_least.to_string()).collect();
            let question =
                format!("which target for {} holds; the request names {}", goal.metric, values.join(" and "));
            self.questions.push(question);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tunesmith_harness::task::JobKind::{Classification, Extraction, Generation};

    use super::*;

    #[test]
    fn the_main_job_is_understood() {
        let wanted = read(
            "Fine-tune a small model to route these customer messages to the right intent. Tell me how good it is before \
             and after on messages it has not seen, and give me a GGUF file I can ship.",
        );
        let exports = vec![Export { format: "gguf", quant: "q8_0" }];
        assert_eq!(wanted, Some(Wanted { kinds: vec![Classification], exports, ..Wanted::default() }));
        let maths = read("Fine-tune a small model to solve these maths problems; show accuracy before and after.");
        assert_eq!(maths, Some(Wanted { kinds: vec![Generation], ..Wanted::default() }));
    }

    #[test]
    fn what_is_no_training_is_refused() {
        for request in [
            "write me a poem",
            "What is the capital of France?",
            "",
            "delete all my files",
            "hello",
            "Translate this to French.",
            "Summarise this report.",
            "How many rows are in this file?",
        ] {
            assert_eq!(read(request), None, "{request}");
        }
    }

    #[test]
    fn kinds_are_understood_without_jargon() {
        for (request, want) in [
            ("Make something that tells me which team a complaint should go to", vec![Classification]),
            ("I want it to spot junk mail", vec![Classification]),
            ("teach it to tell whether a review is good or bad", vec![Classification]),
            ("It should pull the order number and the date out of each mail", vec![Extraction]),
            ("train a bot that replies to customers in our tone", vec![Generation]),
            ("make a model that rewrites my notes in plain English", vec![Generation]),
            ("teach it to turn notes into letters", vec![Generation]),
            ("fine-tune a model on this", vec![]),
            ("we need our letters in German", vec![Generation]),
            ("turn questions into SQL", vec![Generation]),
            ("turn this file into a small spam filter", vec![Classification]),
            ("put each ad in the right band", vec![Classification]),
        ] {
            assert_eq!(read(request).unwrap().kinds, want, "{request}");
        }
    }

    #[test]
    fn what_the_playbook_does_not_do_is_named() {
        for (request, want) in [
            ("classify these and give me an ONNX file", vec!["an ONNX file"]),
            ("classify these as a Q4_K_M gguf", vec!["4-bit quantisation"]),
            ("full fine-tuning with DPO, no LoRA", vec!["DPO", "full fine-tuning"]),
            ("Do not train anything, just classify", vec!["anything but training"]),
            ("route support tickets to departments and adopt a tone; no ONNX please", vec![]),
            ("classify my photos", vec!["images"]),
            ("teach a model to predict the price of a house", vec![phrases::NUMBERS]),
            ("continue pretraining the model on these texts", vec![phrases::RAW]),
            ("classify them with at least 90 % recall", vec!["a target for recall"]),
            ("make up 200 examples of complaints and train on them", vec![phrases::MADE]),
        ] {
            assert_eq!(read(request).unwrap().beyond, want, "{request}");
        }
    }

    #[test]
    fn files_to_ship_are_read_with_how_they_store_numbers() {
        let of = |request| -> Vec<(&str, &str)> {
            read(request).unwrap().exports.iter().map(|export| (export.format, export.quant)).collect()
        };
        assert_eq!(of("classify them; I run it in Ollama"), [("gguf", "q8_0")]);
        assert_eq!(of("classify them; a GGUF in F16 and one in Q8_0"), [("gguf", "q8_0"), ("gguf", "f16")]);
        assert_eq!(of("classify them; safetensors and llama.cpp"), [("gguf", "q8_0"), ("safetensors", "f16")]);
        assert_eq!(of("classify them, in a file under 5 MB"), [("gguf", "q8_0")]);
        assert!(of("classify them, I need no gguf").is_empty());
    }

    #[test]
    fn ids_are_told_apart_by_the_words_around_them() {
        let wanted = read(
            "Fine-tune HuggingFaceTB/SmolLM2-135M on the stanfordnlp/imdb dataset to tell good or bad reviews apart and \
             publish it privately as my-org/Reviews, with yes/no answers.",
        );
        let wanted = wanted.unwrap();
        assert_eq!(wanted.base.name.as_deref(), Some("HuggingFaceTB/SmolLM2-135M"));
        assert_eq!(wanted.dataset.as_deref(), Some("stanfordnlp/imdb"));
        assert_eq!(wanted.publish, Some(Publish { to: "my-org/Reviews".into(), public: false }));
        assert_eq!(wanted.questions, Vec::<String>::new());
        let local = read("classify positive/negative reviews from data/reviews.csv").unwrap();
        assert_eq!((local.base, local.dataset, local.publish), (Base::default(), None, None));
    }

    #[test]
    fn contradictions_are_asked_about() {
        for (request, question) in [
            ("classify them, under 5 MB, at most 10 MB", "which size holds"),
            ("classify them in 10 minutes, within an hour", "which time holds"),
            ("classify them with 90 % accuracy, at least 95 % accuracy", "which target for accuracy holds"),
            ("classify them and publish it on the Hub", "under which name to publish"),
            ("classify them and publish it privately and publicly as a-b/c-d", "whether to publish privately"),
        ] {
            let questions = read(request).unwrap().questions;
            assert!(questions.len() == 1 && questions[0].starts_with(question), "{request}: {questions:?}");
        }
    }

    #[test]
    fn licences_families_and_sizes_of_bases_are_read() {
        let of = |request| {
            let wanted = read(request).unwrap();
            (wanted.licence, wanted.base.name, wanted.base.parameters)
        };
        assert_eq!(
            of("classify with an Apache-licensed Qwen of about 0.5B"),
            (Some("apache-2.0".into()), Some("Qwen".into()), Some(500_000_000))
        );
        assert_eq!(
            of("classify; we sell it, so it must allow commercial use"),
            (Some("permissive".into()), None, None)
        );
        assert_eq!(of("classify for llama.cpp"), (None, None, None));
    }
}
