//! IFEval: whether an answer follows instructions that a program can check.
//!
//! A row is refused before anything is asked where one of its instructions needs what is not ported: detecting languages, or
//! NLTK's tokenizers with their data.

mod json;
mod rules;

use serde_json::{Map, Value};

use super::{column, texts};
use crate::eval::{
    filters::Answer,
    functions::{Items, Native, Port},
    metrics::{Aggregation, Item},
    python::strings::strip,
    request::Doc,
};
use rules::{Rule, rule};

pub(super) const PORTS: &[Native] = &[
    Native {
        name: "process_results",
        sha256: "4fb39b672c2a303566d648c8684421c01ebaa75900ad52254a7ca99b6e003fac",
        helpers: &[
            ("test_instruction_following_strict", "411c637286d9f2d9049742a3006731bb8d0daf1ec47923720976329d5665a4cb"),
            ("test_instruction_following_loose", "0f8e6bc10070b2399f423c0bec96a702421eb79485a9f0520413f774eda4e8ed"),
            ("instructions_registry", "7d19d8429d75682fa186629f5158df9ddba2e1437faad9853bc9c48bbb15a416"),
            // The rules themselves are in these.
            ("instructions.py", "511cc41a53787d818c292d8335c8e98aa833296a0789ac470db56bcd6496345e"),
            ("instructions_registry.py", "9db1c062cdb70a91420d3789a588235a1064c2b9a1a66e09e5fb9df9e7584a6c"),
            ("instructions_util.py", "e8c4d9187bac1482d93941fb46469609c3ae78d896195bfcb300a0707d492567"),
        ],
        port: Port::CheckedResults(process_results, |doc| rules(doc).map(|_| ())),
    },
    Native {
        name: "agg_inst_level_acc",
        sha256: "edae46e1483207719a20d05d19b1db155fbe3aab54ad8f28888ffe5fffdc3648",
        helpers: &[],
        port: Port::Aggregation(Aggregation::Truths),
    },
];

fn process_results(doc: &Doc, answers: &[Answer]) -> Result<Items, String> {
    let rules = rules(doc)?;
    let Some(Answer::Text(answer)) = answers.first() else {
        return Err("its filtered answer must be a text".into());
    };
    let strict = followed(&rules, std::slice::from_ref(answer))?;
    let loose = followed(&rules, &variants(answer))?;
    let all = |followed: &[bool]| Item::Number(f64::from(u8::from(followed.iter().all(|truth| *truth))));
    Ok(vec![
        ("prompt_level_strict_acc".into(), all(&strict)),
        ("inst_level_strict_acc".into(), Item::Truths(strict)),
        ("prompt_level_loose_acc".into(), all(&loose)),
        ("inst_level_loose_acc".into(), Item::Truths(loose)),
    ])
}

/// The instructions of a row, by name.
fn rules(doc: &Doc) -> Result<Vec<(&str, Rule)>, String> {
    column(doc, "key")?;
    column(doc, "prompt")?;
    let settings = column(doc, "kwargs")?.as_array().ok_or("`kwargs` must be a list of maps")?;
    let ids = texts(doc, "instruction_id_list")?;
    let rules = ids.into_iter().enumerate().map(|(at, id)| {
        let settings = settings.get(at).and_then(Value::as_object);
        let settings: &Map<_, _> = settings.ok_or_else(|| format!("`kwargs` has no map for the instruction `{id}`"))?;
        Ok((id, rule(id, settings).map_err(|why| named(id, &why))?))
    });
    rules.collect()
}

fn named(id: &str, why: &str) -> String {
    format!("the instruction `{id}` {why}")
}

/// Which of the instructions one of the texts follows; an empty one follows none.
fn followed(rules: &[(&str, Rule)], texts: &[String]) -> Result<Vec<bool>, String> {
    let texts: Vec<&String> = texts.iter().filter(|text| !strip(text).is_empty()).collect();
    let any = |(id, rule): &(&str, Rule)| {
        for text in &texts {
            if rule(text).map_err(|why| named(id, &why))? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    rules.iter().map(any).collect()
}

/// The answer, and without its first line, its last, and both; each also without asterisks.
fn variants(answer: &str) -> Vec<String> {
    let rest = |text: &str| text.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_owned());
    let before = |text: &str| text.rsplit_once('\n').map_or(String::new(), |(before, _)| before.to_owned());
    let shorter = [rest(answer), before(answer), before(&rest(answer))].map(|text| strip(&text).to_owned());
    let all: Vec<String> = std::iter::once(answer.to_owned()).chain(shorter).collect();
    let plain: Vec<String> = all.iter().map(|text| text.replace('*', "")).collect();
    [all, plain].concat()
}
