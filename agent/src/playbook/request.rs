//! What a request in plain words asks for, as far as the playbook can tell.

use serde::Serialize;
use tunesmith_harness::task::{Goal, JobKind};

use super::{phrases, targets, words::Words};

mod ids;
mod made;

pub use ids::paths;
pub use made::Made;

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
    /// Rows that are to be made up.
    pub made: Option<Made>,
    /// Where the result is to be sent.
    pub publish: Option<Publish>,
    /// The words may ask to go on reading raw text and ask nothing of it, which counts where the data has no answers.
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
    /// Of several the largest; else the smallest, which is trained and shipped soonest.
    pub largest: bool,
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
    let raw = phrases::RAW_WISHES.iter().any(|phrase| words.wants(phrase)) && !words.wants(phrases::ASKED);
    let learns = raw || phrases::LEARN.iter().any(|phrase| words.has(phrase));
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
    wanted.answers_right();
    wanted.raw = raw;
    wanted.exports = exports(&words);
    wanted.licence = licence(&words);
    wanted.base.name = family(&words);
    wanted.base.largest = words.wants(phrases::LARGEST);
    wanted.base.search = phrases::SEARCH.iter().any(|phrase| words.wants(phrase));
    wanted.making(&words, request);
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
    // Whoever knows that word means it.
    if clear.contains(&JobKind::Pretraining) {
        clear.retain(|kind| *kind == JobKind::Pretraining);
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
    // Nothing but a GGUF file has four bits a number.
    if formats.is_empty() && quants.contains(&"q4_k_m") {
        formats.push("gguf");
    }
    let mut exports = Vec::new();
    for format in formats {
        let fits = |quant: &&str| format == "gguf" || !["q8_0", "q4_k_m"].contains(quant);
        let fitting: Vec<&'static str> = quants.iter().copied().filter(fits).collect();
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

impl Wanted {
    /// What holds whoever plans: scores, files, size and time.
    pub fn figures_only(self) -> Wanted {
        let Wanted { goals, exports, max_bytes, minutes, .. } = self;
        Wanted { goals, exports, max_bytes, minutes, ..Wanted::default() }
    }

    /// Whole answers are right or wrong where there are no labels: what is said of being right is said of them.
    fn answers_right(&mut self) {
        let whole = |kind: &JobKind| matches!(kind, JobKind::Extraction | JobKind::Generation);
        if !self.kinds.is_empty() && self.kinds.iter().all(whole) {
            let accuracy = self.goals.iter_mut().filter(|goal| goal.metric == "accuracy");
            accuracy.for_each(|goal| goal.metric = "exact_match".to_owned());
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
        if words.wants(phrases::PART_OF_SIZE) {
            self.questions.push("which size is meant; write it in MB".into());
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
        if self.kinds == [JobKind::Pretraining] && self.goals.iter().any(|goal| goal.metric == "gain") {
            let question = "what the text shall take: it has no answers to gain points on; name a bound, as in bits per byte of \
                            at most 1.5 (or --goal 'bits_per_byte<=X')";
            self.questions.push(question.to_owned());
        }
        let twice = |goal: &&Goal| self.goals.iter().any(|other| other.metric == goal.metric && other != *goal);
        if let Some(goal) = self.goals.iter().find(twice) {
            let values: Vec<String> = self.goals.iter().map(|goal| goal.bound.value().to_string()).collect();
            let question =
                format!("which target for {} holds; the request names {}", goal.metric, values.join(" and "));
            self.questions.push(question);
        }
    }
}

#[cfg(test)]
mod tests;
