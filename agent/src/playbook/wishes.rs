//! What a request wishes for, held against the command line and the base before any row is read.

use std::path::Path;

use tunesmith_harness::{figures::bytes, task::Task, text::visible};
use tunesmith_lm::{config::Config, gguf::Quant};
use tunesmith_tools::{
    bases::{Base, NANO},
    hub::{
        download::Source,
        licence::{Class, Terms},
    },
    nano,
};

use super::request::Wanted;

/// The ways to store numbers, from the largest to the smallest. Formats that are not GGUF take as many bytes.
const QUANTS: [Quant; 4] = [Quant::F32, Quant::F16, Quant::Q8_0, Quant::Q4KM];
/// How far a base's size may be from the one that is wished for, as a factor.
const ABOUT: f64 = 2.0;
/// Most bytes of a model card that are read.
const CARD: usize = 1 << 16;

/// Fills in what the command line leaves open. The error says what the user has to say first, unless somebody can be `asked`
/// when it comes to that.
pub fn fill(wanted: &Wanted, task: &mut Task, (allow, asked): (&[String], bool)) -> Result<(), String> {
    if !wanted.beyond.is_empty() {
        return Err(format!(
            "the playbook cannot do {}; leave it out of the request (it trains LoRA adapters and writes GGUF in F32, F16, \
             Q8_0 or Q4_K_M), or let a language model plan with --planner",
            wanted.beyond.join(", ")
        ));
    }
    if !wanted.questions.is_empty() {
        return Err(format!("the request leaves open {}; say it in the request", wanted.questions.join("; and ")));
    }
    if let Some(publish) = &wanted.publish {
        let needed = format!("publish:{}", publish.to);
        if !asked && !allow.contains(&needed) {
            return Err(format!("publishing needs your consent: say --allow {needed}, or leave it out of the request"));
        }
    }
    if task.goals.is_empty() {
        task.goals = wanted.goals.clone();
    }
    if task.artifacts.is_empty() {
        for export in &wanted.exports {
            if !task.artifacts.iter().any(|format| format == export.format) {
                task.artifacts.push(export.format.to_owned());
            }
        }
    }
    task.max_bytes = task.max_bytes.or(wanted.max_bytes);
    task.minutes = task.minutes.or(wanted.minutes);
    Ok(())
}

/// Refuses a base that is not the one wished for, or from which nothing small enough can be made.
pub fn check(wanted: &Wanted, name: &str, base: &Base) -> Result<(), String> {
    let (config, terms) = (config(base), terms(base));
    let parameters = config.as_ref().and_then(|config| u64::try_from(config.parameters()).ok());
    let place = match base {
        Base::Nano => NANO.to_owned(),
        Base::Path(path) => format!("{name} {}", path.display()),
    };
    if let Some(wished) =
        wanted.base.name.as_ref().filter(|wished| !place.to_lowercase().contains(&wished.to_lowercase()))
    {
        return Err(format!(
            "the request names the base {}, and the base is {}; give the one that is meant with --base (a directory, a .gguf \
             file, or OWNER/NAME with --allow network:huggingface.co)",
            visible(wished),
            visible(name)
        ));
    }
    if let (Some(wished), found) = (wanted.base.parameters, parameters) {
        let ratio = found.map(|found| found as f64 / wished as f64);
        let range = if wanted.base.at_most { 0.0..=1.0 } else { 1.0 / ABOUT..=ABOUT };
        if ratio.is_none_or(|ratio| !range.contains(&ratio)) {
            let found = found.map_or("an unknown number".into(), millions);
            return Err(format!(
                "the request asks for a base of about {} parameters, and {} has {found}; give another with --base",
                millions(wished),
                visible(name)
            ));
        }
    }
    if let Some(licence) = &wanted.licence {
        let good = |terms: &Terms| match licence.as_str() {
            "permissive" => terms.class == Class::Permissive,
            tag => terms.licence.as_deref() == Some(tag),
        };
        if !terms.as_ref().is_some_and(good) {
            let stated = terms.and_then(|terms| terms.licence).unwrap_or_else(|| "not known".into());
            return Err(format!(
                "the request asks for a base whose licence is {licence}, and that of {} is {}; give another with --base",
                visible(name),
                visible(&stated)
            ));
        }
    }
    size(wanted, name, config.as_ref())
}

/// Refuses exports that cannot be as small as they shall be.
fn size(wanted: &Wanted, name: &str, config: Option<&Config>) -> Result<(), String> {
    let (Some(most), Some(config)) = (wanted.max_bytes, config) else { return Ok(()) };
    let takes = |quant: &str| QUANTS.iter().find(|known| known.name() == quant).map(|known| known.bytes(config) as u64);
    let over = wanted.exports.iter().find(|export| takes(export.quant).is_some_and(|size| size > most));
    let Some(over) = over else { return Ok(()) };
    let size = takes(over.quant).map_or_else(String::new, bytes);
    let fits = |quant: &&Quant| quant.name() != over.quant && quant.bytes(config) as u64 <= most;
    let advice = match QUANTS.iter().find(fits) {
        Some(quant) => format!("ask for {}, or give a smaller base with --base", quant.name()),
        None => "give a smaller base with --base".to_owned(),
    };
    Err(format!(
        "{} in {} takes at least {size}, more than the {} that it may take; {advice}",
        visible(name),
        over.quant,
        bytes(most)
    ))
}

/// Numbers of a base; `None` for what is no directory in Hugging Face's format.
pub fn parameters(base: &Base) -> Option<u64> {
    u64::try_from(config(base)?.parameters()).ok()
}

fn config(base: &Base) -> Option<Config> {
    let config = match base {
        Base::Nano => nano::FILES.iter().find(|(name, _)| *name == "config.json")?.1.to_vec(),
        Base::Path(path) => std::fs::read(path.join("config.json")).ok()?,
    };
    Config::from_json(std::str::from_utf8(&config).ok()?).ok()
}

/// What may be done with a base: as its download says, else as its card does.
pub fn terms(base: &Base) -> Option<Terms> {
    match base {
        // It is a part of this program and has the program's licence.
        Base::Nano => Some(Terms::of(Some("apache-2.0"))),
        Base::Path(path) => Source::of(path).map(|source| source.licence).or_else(|| card(path)),
    }
}

/// The licence that a model card states at its top.
fn card(path: &Path) -> Option<Terms> {
    let text = std::fs::read(path.join("README.md")).ok()?;
    let text = String::from_utf8_lossy(&text[..text.len().min(CARD)]).into_owned();
    let mut lines = text.lines();
    lines.next().filter(|line| line.trim_end() == "---")?;
    let stated = lines.take_while(|line| line.trim_end() != "---").find_map(|line| line.strip_prefix("license:"))?;
    Some(Terms::of(Some(stated.trim().trim_matches(['"', '\'']))))
}

fn millions(parameters: u64) -> String {
    match parameters {
        0..1_000_000_000 => format!("{:.1} million", parameters as f64 / 1e6),
        _ => format!("{:.1} billion", parameters as f64 / 1e9),
    }
}
