//! What is looked for before the first step: in the rows, the template, the batches and the base.

use std::collections::{HashMap, HashSet};

use super::{Fault, Finding, Stage::Before};
use crate::{
    chat::{ChatTemplate, Message},
    config::Config,
    engine::batch::{Batch, Sequence},
    error::Result,
    gguf,
    rows::{Encoder, Tally, Warning},
    tokens::Tokenizer,
};

/// Looks at rows that are whole answers: each must train a token, end with one that stops, and begin once.
pub fn rows(tokenizer: &Tokenizer, rows: &[Sequence]) -> Result<Vec<Finding>> {
    let encoder = Encoder { tokenizer, template: None, train: None, max_length: None };
    let (mut empty, mut endless, mut twice) = (Vec::new(), Vec::new(), Vec::new());
    for (number, row) in rows.iter().enumerate() {
        if row.targets() == 0 {
            empty.push(number);
        } else if !encoder.stops(row)? {
            endless.push(number);
        }
        if encoder.starts(&row.tokens) > 1 {
            twice.push(number);
        }
    }
    let mut findings = Vec::new();
    let told = |numbers: &[usize]| match numbers {
        [] => None,
        [first, ..] => Some(format!("{} of {} rows, first row {}", numbers.len(), rows.len(), first + 1)),
    };
    findings.extend(told(&empty).map(|count| {
        let what = format!("{count}: no token is trained");
        Finding::error(Fault::NothingTrained, Before, what, "train the completion or raise max_length")
    }));
    findings.extend(told(&endless).map(|count| {
        let what = format!("{count}: the last trained token does not end a text");
        let advice = "let each answer end with the token that ends a turn, and train that token";
        match endless.len() + empty.len() == rows.len() {
            true => Finding::error(Fault::NeverStops, Before, what, advice),
            false => Finding::warning(Fault::NeverStops, Before, what, advice),
        }
    }));
    findings.extend(told(&twice).map(|count| {
        let what = format!("{count}: the token that begins a text stands twice at the start");
        let advice = "tokenise rendered chats without adding special tokens again";
        Finding::error(Fault::DoubleBos, Before, what, advice)
    }));
    Ok(findings)
}

/// What the making of rows has counted, as findings.
pub fn tally(tally: &Tally) -> Vec<Finding> {
    let finding = |warning: Warning| {
        let (fault, advice) = match warning {
            // Cut ends are a choice of length; only where most rows lose everything is little left to learn.
            Warning::Truncated(_) => return None,
            Warning::Dropped(count) if count.rows * 2 <= tally.rows => return None,
            Warning::Dropped(_) => (Fault::NothingTrained, "raise max_length or train more of each row"),
            Warning::WithoutStop(_) => (Fault::NeverStops, "let each answer end with a token that ends a text"),
            Warning::PromptDiffers(_) => (Fault::TemplateDiffers, "use a template that only adds to its prompt"),
            Warning::HistoryChanges(_) => {
                (Fault::ThinkingChanged, "train single turns or use a template that keeps earlier turns")
            }
        };
        Some(Finding::warning(fault, Before, warning.to_string(), advice))
    };
    tally.warnings().into_iter().filter_map(finding).collect()
}

/// A chat in which templates differ: a system's turn, two turns of each side, and thoughts.
fn chats() -> Vec<Vec<Message>> {
    let turns = [
        ("system", "Be brief."),
        ("user", "Where is my order?"),
        ("assistant", "<think>\nlook it up\n</think>\n\nOn its way."),
        ("user", " And when? "),
        ("assistant", "Tomorrow."),
    ];
    let messages: Vec<Message> = turns.iter().map(|(role, text)| Message::new(*role, *text)).collect();
    // A template that refuses one of them may take the others.
    vec![messages[1..2].to_vec(), messages[1..3].to_vec(), messages[..2].to_vec(), messages]
}

/// Compares the tokens that two templates give: the one of training, and the one of use or export.
pub fn template(
    (tokenizer, trained): (&Tokenizer, &ChatTemplate),
    (other, used): (&Tokenizer, &ChatTemplate),
) -> Option<Finding> {
    for chat in chats() {
        for prompt in [false, true] {
            let ids = |tokenizer: &Tokenizer, template: &ChatTemplate| {
                template.render(&chat, prompt).and_then(|text| tokenizer.encode(&text)).ok()
            };
            let (ours, theirs) = (ids(tokenizer, trained), ids(other, used));
            if ours != theirs {
                let at = ours.iter().flatten().zip(theirs.iter().flatten()).take_while(|(a, b)| a == b).count();
                let what = format!("a chat of {} messages has other tokens from token {at} on", chat.len());
                let advice = "use the chat template and tokenizer of training";
                return Some(Finding::error(Fault::TemplateDiffers, Before, what, advice));
            }
        }
    }
    None
}

/// SHA-256 of a template's text, which is written down beside what was trained with it.
pub fn template_sha256(template: &ChatTemplate) -> String {
    crate::model::sha256(template.source().as_bytes())
}

/// Whether the base can become a GGUF file, which is better known before training.
pub fn export(config: &Config, tokenizer: &Tokenizer) -> Option<Finding> {
    let why = gguf::preflight(config, tokenizer).err()?;
    let what = format!("this base cannot be written as GGUF ({why})");
    Some(Finding::warning(Fault::NotExportable, Before, what, "export safetensors, or take another base"))
}

/// Share of rows that may be duplicates of earlier ones before it is told.
const DUPLICATES: f64 = 0.1;

/// Rows that are in training and validation both, and rows that come often; `together` rows count as one.
pub fn leakage(train: &[Sequence], valid: &[Sequence], together: usize) -> Vec<Finding> {
    let key = |rows: &[Sequence]| rows.iter().map(|row| row.tokens.clone()).collect::<Vec<_>>();
    let mut seen: HashMap<Vec<Vec<u32>>, usize> = HashMap::new();
    train.chunks(together.max(1)).for_each(|rows| *seen.entry(key(rows)).or_default() += 1);
    let distinct: HashSet<Vec<Vec<u32>>> = valid.chunks(together.max(1)).map(key).collect();
    let (leaked, all) = (distinct.iter().filter(|key| seen.contains_key(*key)).count(), distinct.len());
    let mut findings = Vec::new();
    if leaked > 0 {
        let what = format!("{leaked} of {all} validation rows are training rows as well");
        let advice = "the validation loss says too little; remove them from one side";
        findings.push(Finding::warning(Fault::Collapse, Before, what, advice));
    }
    let rows = train.len().div_ceil(together.max(1));
    let repeated = rows - seen.len();
    if repeated as f64 > DUPLICATES * rows as f64 {
        let what = format!("{repeated} of {rows} training rows are repetitions of others");
        findings.push(Finding::warning(Fault::Collapse, Before, what, "remove duplicates or train fewer epochs"));
    }
    findings
}

/// Changes the first of `documents`, laid end to end in `batch`, and compares what the model says in the others: their
/// log-likelihoods, given by `log_p`, must stay the same bit for bit.
pub fn packing(
    batch: &Batch,
    documents: &[&Sequence],
    vocab: usize,
    log_p: impl Fn(Batch) -> Result<Vec<f32>>,
) -> Result<Option<Finding>> {
    let Some(first) = documents.first().filter(|first| documents.len() > 1 && !first.tokens.is_empty()) else {
        return Ok(None);
    };
    // All in one shard: those of different ones never meet, so that they would show nothing.
    let shards = std::iter::once(0..batch.sequences.len()).collect();
    let plain = Batch { shards, preference: None, keys: Vec::new(), ..batch.clone() };
    let mut changed = plain.clone();
    changed.tokens[0] = (changed.tokens[0] + 1) % vocab.max(1) as u32;
    let after = plain.targets.partition_point(|target| target.0 < first.tokens.len());
    let bits = |values: Vec<f32>| values.into_iter().skip(after).map(f32::to_bits).collect::<Vec<_>>();
    let differing = bits(log_p(plain)?).into_iter().zip(bits(log_p(changed)?)).filter(|(a, b)| a != b).count();
    Ok((differing > 0).then(|| {
        let what = format!("a change in one document of a batch changes {differing} likelihoods in the others");
        Finding::error(Fault::PackingLeaks, Before, what, "train without packing and report this")
    }))
}

/// The parts of a step must weigh 1 together, whatever the split.
pub fn accumulation<'a>(parts: impl IntoIterator<Item = &'a Batch>) -> Option<Finding> {
    let weight = |batch: &Batch| match &batch.preference {
        Some(pairs) => f64::from(pairs.weight) * pairs.references.len() as f64,
        None => batch.targets.iter().map(|target| f64::from(target.2)).sum(),
    };
    let (count, sum) = parts.into_iter().fold((0, 0.0), |(n, sum), batch| (n + 1, sum + weight(batch)));
    let fits = (sum - 1.0f64).abs() <= 1e-6;
    (!fits).then(|| {
        let what = format!("the {count} parts of a step weigh {sum} together instead of 1");
        Finding::error(Fault::AccumulationDiffers, super::Stage::During, what, "weigh each part by the whole step")
    })
}
