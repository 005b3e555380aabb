//! `convert`: writes the tuned model as one file or directory, and checks what was written against its source.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tunesmith_harness::{
    model::Message,
    score::{Score, Verdict},
};
use tunesmith_lm::{
    chat,
    generate::{Sampling, Session},
    gguf,
    lora::Adapter,
    model::{Model, hash_file},
    train::faults::template,
    weights::Dtype,
};
use tunesmith_sandbox::Workdir;

use crate::{
    bases,
    claims::{gguf_file_type, judged, mark, same, tensors},
    data_prepare::PREPARED,
    encode::Encoder,
    files::{existing, inside, name, read_examples, relative, score, typed},
    model_files,
    tool::{Cx, FieldError, Tool, ToolError},
    train::{WEIGHTS, check_origin},
    worker::{Live, Work, run_work},
};

/// See [`Args`].
pub struct Convert;

/// Merges an adapter onto the base and writes one model to ship: a GGUF file for llama.cpp and Ollama, or a directory in
/// Hugging Face's format. The result is opened again and compared with its source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The adapter's directory; without one the base alone is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// The format.
    #[serde(default)]
    pub to: Format,
    /// How numbers are stored; safetensors takes f32 and f16.
    #[serde(default)]
    pub quant: Quant,
    /// Where to write; the default is model-<quant>.gguf or model-<quant>/.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub path: Option<String>,
}

/// A format of models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Format {
    #[default]
    Gguf,
    Safetensors,
}

/// How numbers are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Quant {
    F32,
    #[default]
    F16,
    #[serde(rename = "q8_0")]
    Q8,
    #[serde(rename = "q4_k_m")]
    Q4,
}

impl Quant {
    fn gguf(self) -> gguf::Quant {
        match self {
            Quant::F32 => gguf::Quant::F32,
            Quant::F16 => gguf::Quant::F16,
            Quant::Q8 => gguf::Quant::Q8_0,
            Quant::Q4 => gguf::Quant::Q4KM,
        }
    }

    /// Differences of logits that storage alone explains.
    fn tolerance(self) -> f64 {
        match self {
            Quant::F32 => 1e-3,
            Quant::F16 => 0.2,
            Quant::Q8 => 2.0,
            Quant::Q4 => 8.0,
        }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The file or directory, relative to the workdir.
    pub path: String,
    /// `gguf` or `safetensors`.
    pub kind: Format,
    /// How numbers are stored.
    pub quant: Quant,
    /// Size of all files.
    pub bytes: u64,
    /// SHA-256 of the model.
    pub sha256: String,
    /// Size of the model's file and a hash of parts of it, by which its step is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// SHA-256 of the adapter's weights that were merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_sha256: Option<String>,
    /// Share of prompts on which the written model says exactly what its source says; null where none was compared.
    pub agreement: Option<f64>,
    /// Prompts compared: those that fit the model.
    pub prompts: usize,
    /// Largest difference of a logit after these prompts; null where none was compared.
    pub max_logit_difference: Option<f64>,
    /// Matrices that take more bits than asked for, because their rows are no whole blocks.
    pub not_quantized: usize,
    /// Ollama's template of the model, where its own is of a form that can be written so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ollama_template: Option<String>,
    /// Texts that end an answer, for programs that take the template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
}

/// The worker's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The base model.
    pub base: PathBuf,
    /// The adapter's directory.
    pub adapter: Option<PathBuf>,
    /// The format.
    pub to: Format,
    /// How numbers are stored.
    pub quant: Quant,
    /// The file or directory to write.
    pub out: PathBuf,
    /// Examples whose prompts are compared, where there are some.
    pub examples: Option<PathBuf>,
}

impl Tool for Convert {
    const NAME: &'static str = "convert";
    type Args = Args;
    type Output = Output;

    async fn call(&self, cx: &Cx<'_>, args: Args) -> Result<Output, ToolError> {
        if args.to == Format::Safetensors && matches!(args.quant, Quant::Q8 | Quant::Q4) {
            let message = "safetensors takes f32 or f16".to_owned();
            return Err(ToolError::Invalid(vec![FieldError { pointer: "/quant".into(), message }]));
        }
        let adapter = args.adapter.as_deref().map(|path| existing(cx.dir, "/adapter", path)).transpose()?;
        let quant = args.quant.gguf().name();
        let default = match args.to {
            Format::Gguf => format!("model-{quant}.gguf"),
            Format::Safetensors => format!("model-{quant}"),
        };
        let out = inside(cx.dir, "/path", args.path.as_deref().unwrap_or(&default))?;
        if let Some(message) = taken(args.to, &out) {
            return Err(ToolError::Invalid(vec![FieldError { pointer: "/path".into(), message: message.to_owned() }]));
        }
        let examples = inside(cx.dir, "", &format!("{PREPARED}/valid.jsonl"))?;
        let examples = examples.exists().then_some(examples);
        let base = cx.base.to_path_buf();
        let work = Work::Convert(Job { base, adapter, to: args.to, quant: args.quant, out: out.clone(), examples });
        let result = run_work(cx.jobs, cx.dir, &work, bases::reads(cx.base), (cx.deadline, &cx.cancel), cx.on).await?;
        let output: Output = typed(result)?;
        Ok(Output { path: relative(cx.dir, &out), ..output })
    }

    fn scores(&self, output: &Output, dir: &Workdir) -> Vec<Score> {
        vec![judged("convert.files", claims(output, dir)), agreement(output)]
    }
}

/// Whether the written model answers as its source.
fn agreement(output: &Output) -> Score {
    const NAME: &str = "convert.agreement";
    let Some((share, difference)) = output.agreement.zip(output.max_logit_difference) else {
        return score(NAME, None, Verdict::Unknown, "no prompt fits the model, so nothing was compared".into());
    };
    let verdict = match share {
        _ if difference > output.quant.tolerance() && share < 1.0 => Verdict::Fail,
        share if share < 0.9 => Verdict::Warn,
        _ => Verdict::Pass,
    };
    let why = format!(
        "{:.0} % of {} greedy answers equal their source's, logits differ by at most {difference:.2e}",
        share * 100.0,
        output.prompts
    );
    score(NAME, Some(share), verdict, why)
}

/// The file that holds the numbers of a written model.
fn file(to: Format, path: &Path) -> PathBuf {
    match to {
        Format::Gguf => path.to_owned(),
        Format::Safetensors => path.join("model.safetensors"),
    }
}

/// The model is the one that was written, whole, and of the format that is named.
fn claims(output: &Output, dir: &Workdir) -> Result<String, String> {
    let path = file(output.kind, &dir.join(&output.path).map_err(|error| error.to_string())?);
    if let Some(claimed) = &output.mark {
        same(&path, claimed)?;
    }
    match output.kind {
        Format::Gguf => {
            let (found, claimed) = (gguf_file_type(&path)?, output.quant.gguf().file_type());
            if found != claimed {
                return Err(format!("{} says storage format {found}, not {claimed}", name(&path)));
            }
            Ok(format!("{} is a GGUF file of {}", output.path, output.quant.gguf().name()))
        }
        Format::Safetensors => Ok(format!("{} has {} tensors", output.path, tensors(&path)?.len())),
    }
}

/// Why nothing may be written here: only an earlier model is written over.
fn taken(to: Format, path: &Path) -> Option<&'static str> {
    match to {
        Format::Gguf if path.extension().is_none_or(|e| e != "gguf") => Some("must end in .gguf"),
        Format::Gguf if path.is_dir() => Some("is a directory; choose another name"),
        Format::Safetensors if path.exists() && !path.join("model.safetensors").is_file() => {
            Some("is there already and is no model; choose another name")
        }
        _ => None,
    }
}

/// Prompts compared, and tokens of each answer.
const COMPARED: (usize, usize) = (16, 32);

impl Job {
    /// Merges, writes, opens again and compares.
    pub fn run(&self, live: &mut Live<'_>) -> anyhow::Result<Output> {
        // What is only copied into a GGUF file is read once, and checked while it is.
        let copied = self.adapter.is_none() && self.to == Format::Gguf;
        let open = if copied { Model::open_once } else { Model::open };
        let mut model = open(&self.base).context("the base cannot be used")?;
        let mut adapter_sha256 = None;
        if let Some(dir) = &self.adapter {
            check_origin(dir, &model)?;
            adapter_sha256 = Some(hash_file(&dir.join(WEIGHTS))?);
            let adapter = Adapter::load(dir, &model.config)?;
            (model.config, model.weights) = adapter.merge(&model.weights, &model.config)?;
        }
        live.progress("write", 0, 1);
        if let Some(folder) = self.out.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", name(folder)))?;
        }
        let not_quantized = match self.to {
            Format::Gguf => gguf::write(&self.out, &model, self.quant.gguf())?.not_quantized.len(),
            Format::Safetensors => self.directory(&model).map(|()| 0)?,
        };
        live.progress("write", 1, 1);
        let written = Model::open(&self.out).context("what was written cannot be opened again")?;
        let compared = self.compare(&model, &written, live)?;
        let (ollama_template, stop) = ollama(&model)?.map_or((None, Vec::new()), |(t, stop)| (Some(t), vec![stop]));
        Ok(Output {
            path: name(&self.out),
            kind: self.to,
            quant: self.quant,
            bytes: size(&self.out)?,
            sha256: written.sha256,
            mark: Some(mark(&file(self.to, &self.out))?),
            adapter_sha256,
            agreement: compared.map(|compared| compared.agreement),
            prompts: compared.map_or(0, |compared| compared.prompts),
            max_logit_difference: compared.map(|compared| compared.difference),
            not_quantized,
            ollama_template,
            stop,
        })
    }

    /// A directory in Hugging Face's format. The files beside the weights are copied as they are.
    fn directory(&self, model: &Model) -> anyhow::Result<()> {
        let dtype = match self.quant {
            Quant::F32 => Dtype::F32,
            Quant::F16 => Dtype::F16,
            Quant::Q8 | Quant::Q4 => bail!("safetensors takes f32 or f16"),
        };
        model_files::write(&self.base, model, &self.out, dtype)
    }

    /// How the written model answers prompts beside its source; `None` where no prompt fits.
    fn compare(&self, source: &Model, written: &Model, live: &mut Live<'_>) -> anyhow::Result<Option<Compared>> {
        let encoder = Encoder::of(source)?;
        let prompts = self.prompts(&encoder)?;
        if source.chat.is_some() != written.chat.is_some() {
            bail!("the written model has lost the chat template of its source");
        }
        let chats = source.chat.as_ref().zip(written.chat.as_ref());
        if let Some(finding) = chats.and_then(|(a, b)| template((&source.tokenizer, a), (&written.tokenizer, b))) {
            bail!("the written model turns chats into other tokens than its source ({finding})");
        }
        if prompts.is_empty() {
            return Ok(None);
        }
        let (before, after) = (Session::new(source, None)?, Session::new(written, None)?);
        let sampling = Sampling::greedy(COMPARED.1, encoder.stops());
        let on = &mut |done, total| live.progress("compare", done, total);
        let (expected, got) = (before.generate(&prompts, &sampling, on)?, after.generate(&prompts, &sampling, on)?);
        let same = expected.iter().zip(&got).filter(|(a, b)| a.ids == b.ids && a.stopped == b.stopped).count();
        let mut difference = 0f64;
        for prompt in &prompts {
            let (a, b) = (before.logits(prompt)?, after.logits(prompt)?);
            difference = a.iter().zip(&b).map(|(a, b)| distance(*a, *b)).fold(difference, f64::max);
        }
        Ok(Some(Compared { agreement: same as f64 / prompts.len() as f64, prompts: prompts.len(), difference }))
    }

    /// Prompts of the run's own examples, or a few that any model can be asked.
    fn prompts(&self, encoder: &Encoder) -> anyhow::Result<Vec<Vec<u32>>> {
        let examples = self.examples.as_deref().map(read_examples).transpose()?.unwrap_or_default();
        let mut prompts: Vec<Vec<Message>> = examples.into_iter().take(COMPARED.0).map(|e| e.prompt).collect();
        if prompts.is_empty() {
            let any =
                ["Hello, who are you?", "Where is my order?", "What is 12 plus 30?", "Write one sentence about rain."];
            prompts = any.into_iter().map(|text| vec![Message::user(text)]).collect();
        }
        let ids = prompts.iter().map(|prompt| encoder.prompt(prompt)).collect::<Result<Vec<_>, _>>()?;
        Ok(ids.into_iter().filter(|ids| ids.len() < encoder.max_length()).collect())
    }
}

/// Ollama's template and the text that ends an answer, of a model that writes each turn as its role's token, the text and
/// the end token. That it does is tried out, because templates of one form are written in many ways.
fn ollama(model: &Model) -> anyhow::Result<Option<(String, String)>> {
    if model.chat.is_none() {
        return Ok(None);
    }
    let tokenizer = &model.tokenizer;
    let encoder = Encoder::of(model)?;
    let Some(end) = tokenizer.token(encoder.end()) else { return Ok(None) };
    let turns = [("system", "s1"), ("user", "u1"), ("assistant", "a1"), ("user", "u2")];
    let messages: Vec<chat::Message> = turns.iter().map(|(role, text)| chat::Message::new(*role, *text)).collect();
    // A template that refuses a system turn is of another form.
    let Ok(rendered) = encoder.render(&messages, true) else { return Ok(None) };
    let body: String = turns.iter().map(|(role, text)| format!("<|{role}|>{text}{end}")).collect();
    let Some(bos) = rendered.strip_suffix("<|assistant|>").and_then(|text| text.strip_suffix(&body)) else {
        return Ok(None);
    };
    let known = bos.is_empty() || tokenizer.bos.and_then(|id| tokenizer.token(id)).as_deref() == Some(bos);
    if !known || [bos, &end].iter().any(|text| text.contains("{{") || text.contains('"')) {
        return Ok(None);
    }
    let bos = if tokenizer.add_bos { "" } else { bos };
    let template =
        format!("{bos}{{{{- range .Messages }}}}<|{{{{ .Role }}}}|>{{{{ .Content }}}}{end}{{{{ end }}}}<|assistant|>");
    Ok(Some((template, end.to_owned())))
}

/// How far two logits are apart; one that is no number is as far from the other as can be.
fn distance(a: f32, b: f32) -> f64 {
    let apart = f64::from((a - b).abs());
    if apart.is_nan() { f64::MAX } else { apart }
}

#[derive(Clone, Copy)]
struct Compared {
    agreement: f64,
    prompts: usize,
    difference: f64,
}

fn size(path: &Path) -> anyhow::Result<u64> {
    if path.is_file() {
        return Ok(std::fs::metadata(path)?.len());
    }
    let mut bytes = 0;
    for entry in std::fs::read_dir(path)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The head of a GGUF file of f16 numbers, as it is written.
    fn head() -> Vec<u8> {
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let mut head = [&b"GGUF\x03\0\0\0"[..], &[0; 16]].concat();
        head.extend(text("general.file_type"));
        head.extend([4u32, 1].iter().flat_map(|n| n.to_le_bytes()));
        head
    }

    fn doubts(change: impl FnOnce(&mut Output, &Path)) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("model-f16.gguf");
        std::fs::write(&path, head()).unwrap();
        let mut output = Output {
            path: "model-f16.gguf".into(),
            kind: Format::Gguf,
            quant: Quant::F16,
            bytes: 45,
            adapter_sha256: None,
            sha256: "a".into(),
            mark: Some(mark(&path).unwrap()),
            agreement: Some(1.0),
            prompts: 16,
            max_logit_difference: Some(0.01),
            not_quantized: 0,
            ollama_template: None,
            stop: Vec::new(),
        };
        change(&mut output, &path);
        let scores = Convert.scores(&output, &Workdir::open(root.path()).unwrap());
        let told = |score: Score| format!("{} {}: {}", score.scorer, score.verdict.word(), score.why);
        scores.into_iter().filter(|score| score.verdict != Verdict::Pass).map(told).collect()
    }

    #[test]
    fn a_good_conversion_passes_and_each_way_to_fail_is_named() {
        assert_eq!(doubts(|_, _| ()), [""; 0]);
        let disagrees = doubts(|output, _| (output.agreement, output.max_logit_difference) = (Some(0.25), Some(3.0)));
        let untried =
            doubts(|output, _| (output.agreement, output.max_logit_difference, output.prompts) = (None, None, 0));
        assert_eq!(untried, ["convert.agreement unknown: no prompt fits the model, so nothing was compared"]);
        assert_eq!(
            disagrees,
            ["convert.agreement fail: 25 % of 16 greedy answers equal their source's, logits differ by at most 3.00e0"]
        );
        let changed = doubts(|_, path| std::fs::write(path, [head(), vec![0]].concat()).unwrap());
        assert_eq!(changed, ["convert.files fail: model-f16.gguf is not the file that was written"]);
        let gone = doubts(|_, path| std::fs::remove_file(path).unwrap());
        assert_eq!(gone, ["convert.files fail: model-f16.gguf is not there"]);
        let other = doubts(|output, _| output.quant = Quant::Q8);
        assert_eq!(other, ["convert.files fail: model-f16.gguf says storage format 1, not 7"]);
    }

    #[test]
    fn a_logit_that_is_no_number_agrees_with_nothing() {
        assert_eq!([distance(1.0, 1.5), distance(1.0, f32::NAN)], [0.5, f64::MAX]);
    }
}
