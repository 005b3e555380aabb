//! How a training is judged: from the worker's figures and curves, and from the files that it wrote.

use tunesmith_harness::{
    score::{Score, Verdict},
    text::visible,
};
use tunesmith_lm::train::{
    Audit, Stopped,
    faults::{self, Fault, Finding, Severity, Signal},
};
use tunesmith_sandbox::Workdir;

use super::{Output, warning};
use crate::{
    claims::{json, judged, tensors},
    files::score,
};

pub(super) fn scores(output: &Output, dir: &Workdir) -> Vec<Score> {
    let mut scores = vec![judged("train.files", adapter(output, dir)), gradients(output), loss(output)];
    scores.extend(overfit(output));
    scores.extend(ends(output));
    scores.extend(found(output));
    if let Some(why) = warning(&output.storage_warnings) {
        scores.push(score("train.storage", None, Verdict::Warn, why));
    }
    if output.stopped == Stopped::Deadline {
        let why = format!(
            "time ran out after {} of {} steps; the {} was kept",
            output.steps.0,
            output.steps.1,
            if output.best_step.is_some() { "best checkpoint" } else { "last state, which was not evaluated," }
        );
        scores.push(score("train.time", None, Verdict::Warn, why));
    }
    scores
}

/// The adapter is whole: so many numbers as were trained, and each pair of the rank that its config says.
fn adapter(output: &Output, dir: &Workdir) -> Result<String, String> {
    let folder = dir.join(&output.adapter).map_err(|error| error.to_string())?;
    let rank = json(&folder.join("adapter_config.json"))?["r"].as_u64();
    let Some(rank) = rank else { return Err("adapter_config.json names no rank".into()) };
    let shapes = tensors(&folder.join("adapter_model.safetensors"))?;
    let fits = |(name, shape): &(&String, &Vec<usize>)| {
        let inner = if name.contains("lora_A") { shape.first() } else { shape.last() };
        inner.is_some_and(|inner| *inner as u64 == rank)
    };
    if let Some((name, _)) = shapes.iter().find(|tensor| !fits(tensor)) {
        return Err(format!("{} is not of rank {rank}", visible(name)));
    }
    // The header may say anything.
    let numbers = shapes.values().map(|shape| shape.iter().copied().fold(1, usize::saturating_mul));
    let numbers = numbers.fold(0, usize::saturating_add);
    match numbers == output.parameters {
        true => Ok(format!("{} tensors of rank {rank}, {numbers} numbers", shapes.len())),
        false => Err(format!("the adapter holds {numbers} numbers, {} were trained", output.parameters)),
    }
}

fn gradients(output: &Output) -> Score {
    let Audit { reached, tensors } = output.audit;
    let verdict = match () {
        () if tensors == 0 => Verdict::Unknown,
        () if reached == tensors => Verdict::Pass,
        // A tensor without a gradient ends training, so the others were not due yet.
        () => Verdict::Unknown,
    };
    let why = match verdict {
        Verdict::Unknown => {
            format!("gradients reached {reached} of {tensors} trained tensors; the others need more steps")
        }
        _ => format!("gradients reached all {tensors} trained tensors in the first steps"),
    };
    let share = (tensors > 0).then(|| reached as f64 / tensors as f64);
    score("train.gradients", share, verdict, why)
}

/// Compares the ends of the curve, each over a tenth of it.
fn loss(output: &Output) -> Score {
    let curve: Vec<f64> = output.curve.iter().map(|(_, loss)| *loss).collect();
    let part = (curve.len() / 10).max(1);
    if curve.len() < 2 {
        return score("train.loss", None, Verdict::Unknown, "one step says nothing about the loss".into());
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&curve[..part]), mean(&curve[curve.len() - part..]));
    let signals = faults::signals(&output.curve, &[]);
    let diverging = signals.iter().any(|signal| matches!(signal, Signal::Diverging { .. }));
    let (verdict, what) = match last / first.max(1e-9) {
        _ if diverging => (Verdict::Fail, "rose: it diverged, take a tenth of the learning rate"),
        ratio if ratio > 0.98 => (Verdict::Warn, "hardly fell: take more steps or a higher learning rate"),
        _ => (Verdict::Pass, "fell"),
    };
    score("train.loss", Some(last), verdict, format!("from {first:.3} to {last:.3}, {what}"))
}

fn overfit(output: &Output) -> Option<Score> {
    let least = output.valid_curve.iter().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
    let (step, last) = output.valid_curve.last().copied()?;
    let rose = faults::overfitting(&output.curve, &output.valid_curve).is_some();
    let (verdict, what) = match rose {
        true => (Verdict::Warn, "rose again; train for fewer epochs"),
        false => (Verdict::Pass, "did not rise again"),
    };
    let kept = output.best_step.map_or(String::new(), |best| format!("; the checkpoint of step {best} was kept"));
    let why = format!("validation loss {least:.3} at best and {last:.3} at step {step}: it {what}{kept}");
    Some(score("train.overfit", Some(last / least.max(1e-9)), verdict, why))
}

fn ends(output: &Output) -> Option<Score> {
    let (ended, tried) = output.ended;
    let share = (tried > 0).then(|| ended as f64 / tried as f64)?;
    let (verdict, note) = match share {
        share if share >= 0.9 => (Verdict::Pass, ""),
        share if share >= 0.5 => (Verdict::Warn, "; train longer"),
        _ => (Verdict::Fail, "; the model did not learn to stop, train longer or check the data"),
    };
    let why = format!("{ended} of {tried} generations on validation prompts ended by themselves{note}");
    Some(score("train.ends", Some(share), verdict, why))
}

/// Findings by the name of their fault, but for what a score of its own says already.
fn found(output: &Output) -> Vec<Score> {
    let said = |finding: &&Finding| {
        let ends = finding.fault == Fault::NeverStops && finding.stage == faults::Stage::After;
        ends || output.signals.iter().any(|signal| signal.to_string() == finding.what)
    };
    let findings: Vec<&Finding> = output.findings.iter().filter(|finding| !said(finding)).collect();
    let of = |fault: Fault| {
        let own: Vec<&&Finding> = findings.iter().filter(|finding| finding.fault == fault).collect();
        let verdict = match own.iter().map(|finding| finding.severity).max()? {
            Severity::Warning => Verdict::Warn,
            Severity::Error => Verdict::Fail,
        };
        let why: Vec<String> = own.iter().map(|finding| format!("{}; {}", finding.what, finding.advice)).collect();
        Some(score(&format!("train.{fault}"), None, verdict, why.join("; ")))
    };
    Fault::ALL.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests;
