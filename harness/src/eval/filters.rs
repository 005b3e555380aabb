//! Filters turn what a model wrote into what is scored: lm-eval's `filter_list`.
//!
//! A pipeline runs over the answers to all requests of a task at once. As in Python, a filter that walks over the
//! answers of a request after `take_first` has left a text walks over its characters.

mod choices;
mod extract;
mod spans;

use serde_json::{Map, Value};

use super::{
    python::strings::strip,
    refusal::Refusal,
    request::{Doc, Response},
    settings::{self, Settings},
};
use choices::ChoiceRegex;
use extract::Extract;

/// What filters leave where they find nothing, unless they are told otherwise.
const NOTHING_FOUND: &str = "[invalid]";

/// One answer on its way through filters.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// How likely a continuation is, and whether greedy decoding gives it.
    Loglikelihood {
        /// Sum of the natural-log probabilities.
        sum: f64,
        /// Whether greedy decoding gives it.
        greedy: bool,
    },
    /// How likely a whole text is.
    Rolling(f64),
    /// What was written.
    Text(String),
    /// What a filter put in its place: a number, a truth value or nothing.
    Value(Value),
    /// Several answers.
    List(Vec<Answer>),
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        match response {
            Response::Loglikelihood { sum, greedy } => Self::Loglikelihood { sum, greedy },
            Response::Rolling(sum) => Self::Rolling(sum),
            Response::Text(text) => Self::Text(text),
        }
    }
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            other => Self::Value(other),
        }
    }
}

/// A named row of filters: one entry of `filter_list`.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The name that stands behind the metric's: `exact_match,strict-match`.
    pub name: String,
    /// Run one after the other.
    pub filters: Vec<Filter>,
}

impl Pipeline {
    /// The pipelines of a task; without a `filter_list` there is one, `none`, that takes the first answer.
    pub fn read(filter_list: Option<&[Value]>) -> Result<Vec<Self>, Refusal> {
        let Some(entries) = filter_list else {
            return Ok(vec![Self { name: "none".into(), filters: vec![Filter::TakeFirst] }]);
        };
        let pipeline = |entry: &Value| {
            let mut settings = Settings::new("filter_list", entry)?;
            let name = settings.text("name")?.ok_or_else(|| settings.wrong("name", "a text"))?;
            let Some(Value::Array(filters)) = settings.take("filter") else {
                return Err(settings.wrong("filter", "a list"));
            };
            Ok(Self { name, filters: filters.iter().map(Filter::read).collect::<Result<_, _>>()? })
        };
        entries.iter().map(pipeline).collect()
    }

    /// What is left of an answer in which the last filter that looks for something finds nothing.
    ///
    /// `None` where none looks, where it leaves what could be an answer, and where a later filter makes something else of it.
    pub fn nothing_found(&self) -> Option<Answer> {
        let looks = |filter: &Filter| match filter {
            Filter::Regex(extract) => Some(extract.fallback.clone()),
            Filter::ChoiceRegex(choices) => Some(choices.fallback().clone()),
            _ => None,
        };
        let (at, mark) = self.filters.iter().enumerate().rev().find_map(|(at, filter)| Some((at, looks(filter)?)))?;
        let marks = matches!(&mark, Answer::Text(text) if text == NOTHING_FOUND);
        let (mut taken, mut kept) = (0, true);
        for filter in &self.filters[at + 1..] {
            match filter {
                Filter::TakeFirst => taken += 1,
                Filter::Strip | Filter::Lowercase | Filter::MajorityVote => {}
                _ => kept = false,
            }
        }
        (marks && kept && taken == 1).then_some(mark)
    }

    /// Filters the answers to all requests: `answers[i]` holds those to request `i`, which `docs[i]` asked for.
    pub fn apply(&self, answers: Vec<Vec<Answer>>, docs: &[&Doc]) -> Result<Vec<Answer>, Refusal> {
        if answers.len() != docs.len() {
            return Err(Refusal::values(format!("{} rows for {} answers", docs.len(), answers.len())));
        }
        let mut answers: Vec<Answer> = answers.into_iter().map(Answer::List).collect();
        for filter in &self.filters {
            if let (Filter::TakeFirstK(k), Some(first)) = (filter, answers.first()) {
                filter.enough(*k, first)?;
            }
            let filtered = answers.into_iter().zip(docs).map(|(answer, doc)| filter.apply(answer, doc));
            answers = filtered.collect::<Result<_, _>>()?;
        }
        Ok(answers)
    }
}

/// One filter: lm-eval's class of the same name.
#[derive(Clone, Debug)]
pub enum Filter {
    /// `regex`: what a pattern finds.
    Regex(Extract),
    /// `regex_pos`: the tags of `('word', 'TAG')` pairs.
    TaggedWords {
        /// The answer where there is none.
        fallback: Answer,
    },
    /// `format_span`: named entities on one line.
    Spans,
    /// `multi_choice_regex`: a letter, or the text of a choice.
    ChoiceRegex(ChoiceRegex),
    /// `remove_whitespace`: without white space at both ends.
    Strip,
    /// `lowercase`.
    Lowercase,
    /// `uppercase`.
    Uppercase,
    /// `map`: another value for each answer.
    Map {
        /// The values by answer.
        values: Map<String, Value>,
        /// The value of all other answers.
        default: Value,
    },
    /// `take_first`: the first answer to each request.
    TakeFirst,
    /// `take_first_k`: the first few.
    TakeFirstK(usize),
    /// `majority_vote`: the most frequent answer, of several the earliest.
    MajorityVote,
}

impl Filter {
    fn read(entry: &Value) -> Result<Self, Refusal> {
        let mut settings = Settings::new("filter", entry)?;
        let name = settings::name("filter", settings.take("function"))?;
        let mut settings = settings.called(format!("filter `{name}`"));
        let filter = match name.as_str() {
            "regex" => Self::Regex(Extract::read(&mut settings)?),
            "regex_pos" => {
                // The pattern and the group of this filter are read by lm-eval and never used.
                settings.text("regex_pattern")?;
                settings.whole("group_select")?;
                let fallback = settings.take("fallback").filter(|value| !value.is_null());
                let fallback = fallback.unwrap_or_else(|| Value::Array(vec!["invalid".into()]));
                Self::TaggedWords { fallback: fallback.into() }
            }
            "format_span" => Self::Spans,
            "multi_choice_regex" => Self::ChoiceRegex(ChoiceRegex::read(&mut settings)?),
            // The constructor of this class takes and forgets any setting.
            "remove_whitespace" => return Ok(Self::Strip),
            "lowercase" => Self::Lowercase,
            "uppercase" => Self::Uppercase,
            "map" => Self::Map {
                values: match settings.take("mapping_dict") {
                    None | Some(Value::Null) => Map::new(),
                    Some(Value::Object(values)) => values,
                    Some(_) => return Err(settings.wrong("mapping_dict", "a map")),
                },
                default: settings.take("default_value").unwrap_or_default(),
            },
            "take_first" => Self::TakeFirst,
            "take_first_k" => {
                let k = settings.whole("k")?.and_then(|k| usize::try_from(k).ok());
                return k.map(Self::TakeFirstK).ok_or_else(|| settings.wrong("k", "a whole number"));
            }
            "majority_vote" => Self::MajorityVote,
            "custom" => return Err(custom(&mut settings)),
            _ => return Err(Refusal::Unknown { what: "filter", name }),
        };
        settings.end()?;
        Ok(filter)
    }

    /// What becomes of the answers to one request.
    fn apply(&self, answers: Answer, doc: &Doc) -> Result<Answer, Refusal> {
        match self {
            Self::Regex(extract) => each(answers, |answer| extract.extract(&answer)),
            Self::TaggedWords { fallback } => each(answers, |answer| extract::tags(answer, fallback)),
            Self::Spans => each_text("format_span", answers, |text| spans::format(&text)),
            Self::ChoiceRegex(filter) => {
                let choices = choices::Choices::of(filter, doc)?;
                each(answers, |answer| filter.extract(&answer, &choices))
            }
            Self::Strip => each_text("remove_whitespace", answers, |text| Ok(strip(&text).to_owned())),
            Self::Lowercase => each_text("lowercase", answers, |text| Ok(text.to_lowercase())),
            Self::Uppercase => each_text("uppercase", answers, |text| Ok(text.to_uppercase())),
            Self::Map { values, default } => each(answers, |answer| map(answer, values, default)),
            Self::TakeFirst => {
                let first = items(answers)?.into_iter().next();
                first.ok_or_else(|| Refusal::values("filter `take_first`: there is no answer to take"))
            }
            Self::TakeFirstK(k) => match answers {
                Answer::Text(text) => Ok(Answer::Text(text.chars().take(*k).collect())),
                answers => Ok(Answer::List(items(answers)?.into_iter().take(*k).collect())),
            },
            Self::MajorityVote => Ok(Answer::List(vec![majority(items(answers)?)?])),
        }
    }

    /// Only the first request is looked at, as in lm-eval.
    fn enough(&self, k: usize, first: &Answer) -> Result<(), Refusal> {
        let n = match first {
            Answer::Text(text) => text.chars().count(),
            Answer::List(answers) => answers.len(),
            _ => 0,
        };
        let problem = || format!("{k} answers are needed, {n} are there: set `repeats` to at least {k}");
        if n < k { Err(Refusal::setting("filter `take_first_k`", problem())) } else { Ok(()) }
    }
}

fn custom(settings: &mut Settings) -> Refusal {
    match settings::name("filter", settings.take("filter_fn")) {
        Err(refusal) => refusal,
        Ok(name) => Refusal::Function { what: "filter", name },
    }
}

/// What Python iterates over: the items of a list, the characters of a text.
fn items(answers: Answer) -> Result<Vec<Answer>, Refusal> {
    match answers {
        Answer::List(answers) => Ok(answers),
        Answer::Text(text) => Ok(text.chars().map(|c| Answer::Text(c.into())).collect()),
        _ => Err(Refusal::values("a filter behind `take_first` needs a text")),
    }
}

fn each(answers: Answer, change: impl Fn(Answer) -> Result<Answer, Refusal>) -> Result<Answer, Refusal> {
    Ok(Answer::List(items(answers)?.into_iter().map(change).collect::<Result<_, _>>()?))
}

fn each_text(
    filter: &str,
    answers: Answer,
    change: impl Fn(String) -> Result<String, Refusal>,
) -> Result<Answer, Refusal> {
    each(answers, |answer| match answer {
        Answer::Text(text) => change(text).map(Answer::Text),
        _ => Err(Refusal::values(format!("filter `{filter}` takes only texts"))),
    })
}

fn map(answer: Answer, values: &Map<String, Value>, default: &Value) -> Result<Answer, Refusal> {
    let value = match &answer {
        Answer::List(_) => return Err(Refusal::values("filter `map` cannot look up a list")),
        Answer::Text(text) => values.get(text),
        _ => None,
    };
    Ok(value.unwrap_or(default).clone().into())
}

/// Python's `Counter(answers).most_common(1)`.
fn majority(answers: Vec<Answer>) -> Result<Answer, Refusal> {
    let mut counts: Vec<(Answer, usize)> = Vec::new();
    for answer in answers {
        match counts.iter_mut().find(|(seen, _)| *seen == answer) {
            Some((_, count)) => *count += 1,
            None => counts.push((answer, 1)),
        }
    }
    let first_of_most = counts.into_iter().reduce(|best, other| if other.1 > best.1 { other } else { best });
    let vote = first_of_most.ok_or_else(|| Refusal::values("filter `majority_vote`: there is no answer to count"))?;
    Ok(vote.0)
}
