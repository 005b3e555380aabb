//! What metrics say about one row: lm-eval's `process_results` for tasks without a function of their own.

use serde_json::Value;

use super::{
    config::OutputType,
    filters::Answer,
    metrics::{
        Item, Metric,
        classify::{argmax, softmax},
    },
    python::{repr::str_of, strings},
    refusal::Refusal,
};

/// What is known about a row beside the model's answers.
#[derive(Clone, Copy, Debug)]
pub struct Truth<'a> {
    /// What the row asked the model for.
    pub output_type: OutputType,
    /// `doc_to_target` of the row; for multiple inputs (a prompt per choice) its `doc_to_text`.
    pub gold: &'a Value,
    /// `doc_to_choice`, where the task has it.
    pub choices: Option<&'a [String]>,
    /// Whether the target of the task's first row is a list, which decides for all rows.
    pub multiple_target: bool,
}

/// The value of each metric that says something about a row, from its filtered answers in the order of its requests.
pub fn process_results(truth: &Truth, metrics: &[Metric], answers: &[Answer]) -> Result<Vec<(String, Item)>, Refusal> {
    let wanted = |name: &str| metrics.iter().any(|metric| metric.name == name);
    let items = match truth.output_type {
        OutputType::Loglikelihood => {
            let [Answer::Loglikelihood { sum, greedy }, ..] = answers else {
                return Err(other_answers("one log-likelihood"));
            };
            vec![("perplexity", Item::Number(*sum)), ("acc", number(*greedy))]
        }
        OutputType::LoglikelihoodRolling => {
            let ([Answer::Rolling(sum)], Value::String(target)) = (answers, truth.gold) else {
                return Err(other_answers("one log-likelihood of a text"));
            };
            let bytes = Item::Weighted(*sum, target.len() as u64);
            let words = Item::Weighted(*sum, parts(target) as u64);
            vec![("word_perplexity", words), ("byte_perplexity", bytes.clone()), ("bits_per_byte", bytes)]
        }
        OutputType::MultipleChoice => multiple_choice(truth, wanted("acc_mutual_info"), answers)?,
        OutputType::GenerateUntil => return generated(truth, metrics, answers),
    };
    let items = items.into_iter().filter(|(name, _)| wanted(name));
    let items: Vec<_> = items.map(|(name, item)| (name.to_owned(), item)).collect();
    // Several right labels have no item; lm-eval's functions fail on them when they are put together.
    match items.iter().find(|(_, item)| *item == Item::Nothing) {
        Some((name, _)) => Err(Refusal::values(format!("metric `{name}` takes one right choice, not a list"))),
        None => Ok(items),
    }
}

/// Number of parts of Python's `re.split(r"\s+", text)`, empty ones at the ends included.
pub(super) fn parts(text: &str) -> usize {
    let spaces = text.chars().map(strings::is_space);
    let before = std::iter::once(false).chain(spaces.clone());
    1 + spaces.zip(before).filter(|(space, before)| *space && !before).count()
}

fn number(right: bool) -> Item {
    Item::Number(f64::from(u8::from(right)))
}

fn other_answers(expected: &str) -> Refusal {
    Refusal::values(format!("the filtered answers of a row must be {expected}; change the filters"))
}

/// Which choices are right: positions, -100 for none; Python counts negative ones from the end.
enum Gold {
    One(i64),
    Several(Vec<i64>),
}

impl Gold {
    fn of(truth: &Truth, choices: &[String]) -> Result<Self, Refusal> {
        let problem = |what: &str| Err(Refusal::values(format!("the right choice of a row is {what}")));
        match (truth.gold, truth.multiple_target) {
            (Value::Array(golds), true) => {
                let golds = golds.iter().map(|gold| position(gold, choices.len())).collect::<Option<_>>();
                golds.map_or_else(|| problem("a list of other things than positions"), |golds| Ok(Self::Several(golds)))
            }
            (_, true) => problem("no list, but that of the first row is one"),
            (Value::String(gold), false) => {
                let place = choices.iter().position(|choice| choice == gold);
                Ok(Self::One(place.map_or(-100, |place| place as i64)))
            }
            (gold, false) => match position(gold, choices.len()) {
                Some(gold) => Ok(Self::One(gold)),
                None => problem(&format!("neither a position nor a choice, but `{gold}`")),
            },
        }
    }

    fn is(&self, place: usize) -> bool {
        match self {
            Self::One(gold) => *gold == place as i64,
            Self::Several(golds) => golds.contains(&(place as i64)),
        }
    }

    fn is_greedy(&self, greedy: &[bool]) -> Result<bool, Refusal> {
        let at = |gold: i64| -> Result<bool, Refusal> {
            let place = if gold < 0 { gold + greedy.len() as i64 } else { gold };
            let found = usize::try_from(place).ok().and_then(|place| greedy.get(place));
            match gold {
                -100 => Ok(false),
                _ => found.copied().ok_or_else(|| Refusal::values(format!("there is no choice {gold} in a row"))),
            }
        };
        match self {
            Self::One(gold) => at(*gold),
            Self::Several(golds) => {
                for gold in golds {
                    if at(*gold)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}

/// A position in a list of `n`, -100 where it is beyond; Python's truth values are numbers.
fn position(gold: &Value, n: usize) -> Option<i64> {
    let gold = gold.as_i64().or_else(|| gold.as_bool().map(i64::from))?;
    Some(if gold < n as i64 { gold } else { -100 })
}

fn multiple_choice(truth: &Truth, mutual_info: bool, answers: &[Answer]) -> Result<Vec<(&'static str, Item)>, Refusal> {
    let choices = truth.choices.unwrap_or_default();
    let mut sums = Vec::with_capacity(answers.len());
    let mut greedy = Vec::with_capacity(answers.len());
    for answer in answers {
        let Answer::Loglikelihood { sum, greedy: is } = answer else {
            return Err(other_answers("log-likelihoods"));
        };
        sums.push(*sum);
        greedy.push(*is);
    }
    let expected = choices.len() * (1 + usize::from(mutual_info));
    if sums.len() != expected {
        return Err(Refusal::values(format!("{} answers for {} choices, not {expected}", sums.len(), choices.len())));
    }
    let (sums, alone) = sums.split_at(choices.len());
    let per = |length: fn(&str) -> usize| -> Vec<f64> {
        sums.iter().zip(choices).map(|(sum, choice)| sum / length(choice) as f64).collect()
    };
    let best = |values: &[f64]| argmax(values).ok_or_else(|| Refusal::values("a row has no choices"));
    let pred = best(sums)?;
    let gold = Gold::of(truth, choices)?;
    let one = |item: fn(i64, usize, &[f64]) -> Item| match gold {
        Gold::One(gold) => item(gold, pred, sums),
        Gold::Several(_) => Item::Nothing,
    };
    let label: fn(i64, usize, &[f64]) -> Item = |gold, pred, _| Item::Labels(gold, pred as i64);
    let mut items = vec![
        ("acc", number(gold.is(pred))),
        ("f1", one(label)),
        ("mcc", one(label)),
        ("acc_norm", number(gold.is(best(&per(|choice| choice.chars().count()))?))),
        ("acc_bytes", number(gold.is(best(&per(str::len))?))),
        ("exact_match", number(gold.is_greedy(&greedy)?)),
        ("brier_score", one(|gold, _, sums| Item::Probabilities(gold, softmax(sums)))),
        ("likelihood", one(|gold, _, sums| Item::Probabilities(gold, sums.to_vec()))),
    ];
    if mutual_info {
        let gained: Vec<f64> = sums.iter().zip(alone).map(|(sum, alone)| sum - alone).collect();
        let pred = best(&gained)?;
        items.push((
            "acc_mutual_info",
            match &gold {
                Gold::Several(golds) if golds.len() != 1 => Item::Nothing,
                gold => number(gold.is(pred)),
            },
        ));
    }
    Ok(items)
}

fn generated(truth: &Truth, metrics: &[Metric], answers: &[Answer]) -> Result<Vec<(String, Item)>, Refusal> {
    let answer = answers.first().ok_or_else(|| other_answers("a text"))?;
    let bypass = metrics.iter().any(|metric| metric.name == "bypass");
    let gold = written_gold(truth, answer, bypass)?;
    let item = |metric: &Metric| match (metric.name.as_str(), &gold) {
        ("bypass", _) => Ok(if truth.multiple_target { Item::Number(0.0) } else { Item::Nothing }),
        ("exact_match", Answer::List(golds)) if truth.multiple_target => any_match(metric, golds, answer),
        (_, Answer::List(_)) if truth.multiple_target => {
            Err(Refusal::values(format!("metric `{}` takes one right answer, not a list", metric.name)))
        }
        ("exact_match", gold) => one_match(metric, gold, answer),
        (_, Answer::Text(gold)) => match answer {
            Answer::Text(text) => Ok(Item::Texts(gold.clone(), text.clone())),
            _ => Err(other_answers("a text")),
        },
        _ => Err(other_answers("a text")),
    };
    metrics.iter().map(|metric| Ok((metric.name.clone(), item(metric)?))).collect()
}

/// The right answer, in the type of the one given.
fn written_gold(truth: &Truth, answer: &Answer, bypass: bool) -> Result<Answer, Refusal> {
    let problem = || Refusal::values(format!("the right answer of a row is `{}`, of another type", truth.gold));
    if let Some(choices) = truth.choices {
        let gold = truth.gold.as_i64().or_else(|| truth.gold.as_bool().map(i64::from)).ok_or_else(problem)?;
        let place = if gold < 0 { gold + choices.len() as i64 } else { gold };
        let choice = usize::try_from(place).ok().and_then(|place| choices.get(place));
        return choice.map(|choice| Answer::Text(choice.clone())).ok_or_else(problem);
    }
    if truth.multiple_target {
        return match truth.gold {
            Value::Array(_) => Ok(truth.gold.clone().into()),
            // Python's list of a text.
            Value::String(gold) => Ok(Answer::List(gold.chars().map(|c| Answer::Text(c.into())).collect())),
            _ => Err(problem()),
        };
    }
    match (truth.gold, answer) {
        (gold, Answer::List(_)) => Ok(gold.clone().into()),
        (gold, _) if bypass => Ok(gold.clone().into()),
        (gold, Answer::Text(_)) => Ok(Answer::Text(str_of(gold))),
        (Value::String(gold), Answer::Value(Value::Number(number))) => {
            let gold = strings::strip(gold);
            let gold = if number.is_f64() {
                gold.parse::<f64>().map(Value::from).ok()
            } else {
                gold.parse::<i64>().map(Value::from).ok()
            };
            gold.map(Answer::Value).ok_or_else(problem)
        }
        (gold @ (Value::Number(_) | Value::Bool(_)), Answer::Value(Value::Number(_) | Value::Bool(_))) => {
            Ok(Answer::Value(gold.clone()))
        }
        _ => Err(problem()),
    }
}

fn one_match(metric: &Metric, gold: &Answer, answer: &Answer) -> Result<Item, Refusal> {
    let share = match (gold, answer) {
        (Answer::Text(gold), Answer::Text(text)) => metric.exact_match.share(&[text], &[gold])?,
        (Answer::Text(gold), Answer::List(answers)) if !(answers.is_empty() || metric.exact_match.has_patterns()) => {
            metric.exact_match.share(&texts(answers)?, &[gold])?
        }
        (Answer::Value(gold), Answer::Value(value))
            if !(metric.exact_match.has_patterns() || metric.exact_match.changes_characters()) =>
        {
            let as_number = |value: &Value| value.as_f64().or_else(|| value.as_bool().map(|b| f64::from(u8::from(b))));
            f64::from(u8::from(as_number(gold) == as_number(value)))
        }
        _ => return Err(other_answers("a text")),
    };
    Ok(Item::Number(share))
}

fn any_match(metric: &Metric, golds: &[Answer], answer: &Answer) -> Result<Item, Refusal> {
    let Answer::Text(text) = answer else {
        return Err(other_answers("a text"));
    };
    if golds.is_empty() && !metric.exact_match.changes_characters() {
        return Ok(number(false));
    }
    if golds.is_empty() {
        return Err(Refusal::values("metric `exact_match`: a row has no right answer"));
    }
    let predictions = vec![text.as_str(); golds.len()];
    Ok(number(metric.exact_match.share(&predictions, &texts(golds)?)? > 0.0))
}

fn texts(answers: &[Answer]) -> Result<Vec<&str>, Refusal> {
    let texts = answers.iter().map(|answer| if let Answer::Text(text) = answer { Some(text.as_str()) } else { None });
    texts.collect::<Option<_>>().ok_or_else(|| Refusal::values("a list of answers holds more than texts"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    /// Ports of lm-eval have divided by tokens, or by the continuation with its delimiter.
    #[test]
    fn classic_bug_acc_norm_divides_by_the_characters_of_the_choice_alone() {
        let choices = ["ab".to_owned(), "größer".to_owned()];
        let answer = |sum: f64| Answer::Loglikelihood { sum, greedy: false };
        let metric = |entry: &str| Metric::of(OutputType::MultipleChoice, Some(&[json!({"metric": entry})]), false);
        let metrics: Vec<Metric> =
            ["acc", "acc_norm", "acc_bytes"].into_iter().flat_map(|m| metric(m).unwrap()).collect();
        let right = |gold: i64, sums: [f64; 2]| {
            let gold = json!(gold);
            let truth = Truth {
                output_type: OutputType::MultipleChoice,
                gold: &gold,
                choices: Some(&choices),
                multiple_target: false,
            };
            process_results(&truth, &metrics, &sums.map(answer)).unwrap()
        };
        let items = |values: [f64; 3]| {
            ["acc", "acc_norm", "acc_bytes"]
                .into_iter()
                .zip(values)
                .map(|(m, v)| (m.to_owned(), Item::Number(v)))
                .collect()
        };
        // Per character -1.5 and -1.6, per byte -1.5 and -1.2.
        let want: Vec<(String, Item)> = items([1.0, 1.0, 0.0]);
        assert_eq!(right(0, [-3.0, -9.6]), want);
        // Per character -1.5 and -1.33; with the blank before each choice it would be -1.0 and -1.14.
        let want: Vec<(String, Item)> = items([0.0, 1.0, 1.0]);
        assert_eq!(right(1, [-3.0, -8.0]), want);
    }
}
