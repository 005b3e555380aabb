//! RACE: an article with several questions, of which the last is asked and the others are examples.

use serde_json::Value;

use super::text;
use crate::eval::{
    functions::{Native, Port},
    python::literal::literal_eval,
    request::Doc,
};

const LITERAL: (&str, &str) = ("process_ast", "025217959b17f701482082c191f389c43a9de9e2da271afc697cece03e09d044");
const LAST: (&str, &str) = ("last_problem", "89d3eebd7f146b6ebb707ad28f3b04bbd0714c7fad87e4b54b5bce2b3b9a1c4c");
const ANSWER: (&str, &str) = ("get_answer_option", "da17a5e2e90f828a5b23f5c12ab61ca6b80f3ce1d2536eefe8e4df68eee254b8");

pub(super) const PORTS: &[Native] = &[
    Native {
        name: "doc_to_text",
        sha256: "3afba9f16d60b5b76708f8a07eeadb85ee332f10aacf659ac753b8669822550a",
        helpers: &[LITERAL, LAST, ANSWER],
        port: Port::Doc(doc_to_text),
    },
    Native {
        name: "doc_to_target",
        sha256: "462b9ea8047e50611cbf385aa633c280cfb2dbf67a43938f0ad948f39eafabc4",
        helpers: &[LITERAL, LAST],
        port: Port::Doc(doc_to_target),
    },
    Native {
        name: "doc_to_choice",
        sha256: "769f84024acd4e3c4c0edc398f300f2919382d661c0f760452af46b2ebf279d3",
        helpers: &[LITERAL, LAST],
        port: Port::Doc(doc_to_choice),
    },
];

/// The end of a question that is a sentence with a gap.
const GAP: &str = "  _  .";

fn doc_to_text(doc: &Doc) -> Result<Value, String> {
    let (last, examples) = problems(doc)?;
    let mut prompt = format!("Article: {}\n\n", text(doc, "article")?);
    for problem in examples {
        let question = text(&problem, "question")?;
        let options = options(&problem)?;
        let answer = options.get(answer(&problem)?).and_then(Value::as_str).ok_or("the right option is no text")?;
        match question.strip_suffix(GAP) {
            // One of the blanks stays.
            Some(sentence) => prompt += &format!("{sentence} {answer}\n"),
            None => prompt += &format!("Question: {question}\nAnswer: {answer}\n"),
        }
    }
    Ok((prompt + text(&last, "question")?).into())
}

fn doc_to_target(doc: &Doc) -> Result<Value, String> {
    Ok(answer(&problems(doc)?.0)?.into())
}

fn doc_to_choice(doc: &Doc) -> Result<Value, String> {
    let (last, _) = problems(doc)?;
    let four = options(&last)?.get(..4).ok_or("a problem must have four options")?;
    Ok(four.to_vec().into())
}

/// The last problem, and those before it.
fn problems(doc: &Doc) -> Result<(Doc, Vec<Doc>), String> {
    let literal = literal_eval(text(doc, "problems")?).map_err(|e| format!("`problems` is {e}"))?;
    let Some(Value::Array(problems)) = literal.into_json() else {
        return Err("`problems` must be a list of maps".into());
    };
    let problem = |problem| match problem {
        Value::Object(problem) => Ok(problem),
        _ => Err("`problems` must be a list of maps".to_owned()),
    };
    let mut problems = problems.into_iter().map(problem).collect::<Result<Vec<Doc>, _>>()?;
    let last = problems.pop().ok_or("`problems` is empty")?;
    Ok((last, problems))
}

fn options(problem: &Doc) -> Result<&[Value], String> {
    super::column(problem, "options")?.as_array().map(Vec::as_slice).ok_or_else(|| "`options` must be a list".into())
}

/// The position of the right option.
fn answer(problem: &Doc) -> Result<usize, String> {
    let letter = text(problem, "answer")?;
    let letters = ["A", "B", "C", "D"];
    letters.iter().position(|known| *known == letter).ok_or_else(|| format!("`answer` must be A to D, not `{letter}`"))
}
