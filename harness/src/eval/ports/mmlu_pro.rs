//! MMLU-Pro: ten options, and an answer that is thought through step by step.

use serde_json::Value;

use super::{column, text};
use crate::eval::{
    functions::{Native, Port},
    python::strings,
    request::Doc,
};

const PARTIAL: (&str, &str) = ("partial", "dca960cc9911cb7205dd669b483e9f66b36721f6df4b2ff3303eb4ea84ee168a");
const EXAMPLE: (&str, &str) =
    ("format_cot_example", "5e26bab4ab5479a95dceffe626991900ee387e27100c32ab3f4ac893e3a890a3");
const TARGET: (&str, &str) = ("format_cot_target", "88714a1278be23a343d6e49b0435424db22c93faece6f01175c842df29c19e66");
const LETTERS: (&str, &str) = ("choices", "92e1a3fb0477d65cc48fcc1e988b325eeaae432e1d0ac8397fde6964327bd2cc");
const FILTER: (&str, &str) = ("process_docs", "2003c1213295387a208d989d2410d1ca3531877f943e69bc32a0611bd99cd016");

/// The function that keeps the rows of one subject.
macro_rules! subject {
    ($name:literal, $category:literal, $sha256:literal) => {
        Native {
            name: $name,
            sha256: $sha256,
            helpers: &[FILTER, PARTIAL],
            port: Port::Docs(|docs| of(docs, $category)),
        }
    };
}

pub(super) const PORTS: &[Native] = &[
    Native {
        name: "doc_to_text",
        sha256: "40e65486a1298a70b479bab0774237b2955cdbb9ec64ca6193c4569aabb1f877",
        helpers: &[EXAMPLE, LETTERS, PARTIAL],
        port: Port::Doc(question),
    },
    Native {
        name: "fewshot_to_text",
        sha256: "f360e07842344e14b38a1cd3246d56b3eec017a381af09e3567b41bca67bd6d3",
        helpers: &[EXAMPLE, LETTERS, PARTIAL],
        port: Port::Doc(question),
    },
    Native {
        name: "fewshot_to_target",
        sha256: "1ba68d751ccec5e1585b040221ec01aa3719bea4fb7f24a452cabbc63da57ee8",
        helpers: &[TARGET, PARTIAL],
        port: Port::Doc(thoughts),
    },
    subject!("process_biology", "biology", "302be0256f36c77a64f218341061da9fbe6c3523ba815febe598c8fedee9d0d7"),
    subject!("process_business", "business", "66a8ab5829b5bec8a4ffbc324cfb60f704581c275a15f25e6c22f6a53eda2951"),
    subject!("process_chemistry", "chemistry", "59f7091c5529ef587579b339bc975e5bce182237c3d675a661f2b4959c5c1726"),
    subject!(
        "process_computer_science",
        "computer science",
        "f7531ad2b65354915ccca245f1bc0a85ca9ab0baeb7e039dc2f3a21e72cb867a"
    ),
    subject!("process_economics", "economics", "83c42f4d5e6d64489d5b58ef508cedf072f5af0d610512a6347ceb6d8957685b"),
    subject!("process_engineering", "engineering", "882b631846449a242c22c77ad0ba8a4ea9f176c1e08458489585358f78b1f910"),
    subject!("process_health", "health", "4f7067d995f81530b8a1f6f005f972d07808ecb0c10c4ad5b55601ab11f2b1f9"),
    subject!("process_history", "history", "25ab7eb0d10d0fd3a6ec94f5b17a58e634cd2c3ec390bac1ded1ab400f5f9fac"),
    subject!("process_law", "law", "e84e2c4dabd56149457a9871ac72b7819dd30b15c1cb160dd421c4cf733f3e59"),
    subject!("process_math", "math", "708452081514960c3293d2ad206db94be8b623bc931bbae5dcb5f5580742e9bb"),
    subject!("process_other", "other", "756838bae786dc41d9e432e596f103dc16a49b6619c220f12b96bf66e52d8228"),
    subject!("process_philosophy", "philosophy", "886a01aded8c6423364297173589af4b163f4eee04ca6fe2676bf4f13cb049df"),
    subject!("process_physics", "physics", "da3d217002a3dca15929252bce1c970b6d9a657b38dbb3f7d7a118ad99266957"),
    subject!("process_psychology", "psychology", "c2027a4dc595e382a99376b3d1307032a462c324af830d16ee0a2f50883a5ad3"),
];

/// The rows of one subject.
fn of(docs: Vec<Doc>, subject: &str) -> Result<Vec<Doc>, String> {
    if let Some(at) = docs.iter().position(|doc| !doc.contains_key("category")) {
        return Err(format!("row {}: there is no column `category`", at + 1));
    }
    Ok(docs.into_iter().filter(|doc| doc["category"] == subject).collect())
}

fn question(doc: &Doc) -> Result<Value, String> {
    let mut prompt = format!("Question:\n{}\nOptions:\n", text(doc, "question")?);
    let options = column(doc, "options")?.as_array().ok_or("`options` must be a list of texts")?;
    for (letter, option) in ('A'..='J').zip(options) {
        let option = option.as_str().ok_or("`options` must be a list of texts")?;
        prompt += &format!("{letter}. {}\n", strings::strip(option));
    }
    Ok((prompt + "Answer: Let's think step by step.").into())
}

/// The worked answer of an example, without the words that the prompt ends with.
fn thoughts(doc: &Doc) -> Result<Value, String> {
    Ok(text(doc, "cot_content")?.replace("A: Let's think step by step. ", "").into())
}
