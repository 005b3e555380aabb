//! What a making would ask and take, without asking.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunesmith_harness::ask::Price;

use super::{plan, purse::Cost, spec::Spec, templates::Templates, wanted};

/// Rows of templates that are shown.
const SAMPLES: usize = 3;

/// What would be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// Rows to make, copies aside.
    pub rows: usize,
    /// Rows of each label, where the spec counts them.
    pub labels: Vec<(String, usize)>,
    /// Questions, if every answer is good.
    pub questions: usize,
    /// What these questions can take at most.
    pub most: Cost,
    /// The first question for rows, as it is asked.
    pub question: Option<String>,
    /// Rows of templates.
    pub samples: Vec<Value>,
}

/// What would be made, where a model costs `price`.
pub fn preview(spec: &Spec, price: Option<Price>) -> Result<Preview, String> {
    let rows = wanted(spec);
    let needs = plan::needs(spec, rows);
    let mut preview = Preview {
        rows,
        labels: needs.iter().filter_map(|(label, rows)| Some((label.clone()?, *rows))).collect(),
        questions: 0,
        most: Cost::NONE,
        question: None,
        samples: Vec::new(),
    };
    if let Some(teacher) = &spec.teacher {
        let topics =
            if teacher.ask_topics > 0 { vec!["(to be asked for)".to_owned()] } else { plan::leaves(&teacher.topics) };
        let first = plan::round(spec, teacher, &topics, &needs, 0).into_iter().next();
        let first = first.ok_or("there is nothing to ask")?;
        let per_label = |(_, rows): &(Option<String>, usize)| rows.div_ceil(teacher.rows_per_question);
        let questions = needs.iter().map(per_label).sum::<usize>();
        let topics = usize::from(teacher.ask_topics > 0);
        let each = Cost::most(&first.question, price);
        preview.count(each, questions + topics);
        preview.question = first.question.messages.last().map(|message| message.content.clone());
    }
    let templates = Templates::new(spec)?;
    let sample = (!spec.templates.is_empty()).then(|| (0..SAMPLES).filter_map(|draw| templates.draw(draw).1.ok()));
    preview.samples = sample.into_iter().flatten().map(Value::Object).collect();
    let example = preview.samples.first().and_then(Value::as_object).or(spec.seed_rows().first()).cloned();
    for verify in spec.verify.iter().filter(|verify| verify.asks()) {
        let questions = verify.questions(spec, &example.clone().unwrap_or_default(), "");
        let each = questions.first().map_or(Cost::NONE, |question| Cost::most(question, price));
        preview.count(each, rows * questions.len());
    }
    Ok(preview)
}

impl Preview {
    fn count(&mut self, each: Cost, questions: usize) {
        let times = questions as u64;
        let all = Cost {
            questions: times,
            tokens: each.tokens.saturating_mul(times),
            usd: each.usd.map(|usd| usd * questions as f64),
            exact: each.exact,
        };
        self.questions += questions;
        self.most = self.most.plus(all);
    }
}
