//! Pretraining of a small base from text files and generated text: tokenizer, weights, config, template and card.

use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    config::{Activation, Biases, Config, LLAMA, RopeScaling},
    corpus::{Doc, Generator},
    engine::{
        batch::Sequence,
        params::{Method, random_weights},
    },
    error::{Error, Result},
    model::hash_file,
    optim::Schedule,
    rng::Rng,
    tokens::Tokenizer,
    train::{Control, Report, Spec, train},
    weights::Dtype,
};

mod files;
mod text;

/// Special tokens of the bundled base: `(token, id)` by position.
pub const SPECIALS: [&str; 5] = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"];

/// The chat template of the bundled base: every turn is its role's token, the text, and the end token.
pub const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ '<|' + message.role + '|>' + message.content + eos_token }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

/// Everything that decides a pretraining run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainSpec {
    /// Text files: paragraphs are separated by blank lines.
    pub texts: Vec<Source>,
    /// Tokens of generated text, each seen once.
    pub generated_tokens: usize,
    /// Shape of the model.
    pub shape: ModelShape,
    /// Longest sequence trained, in tokens.
    pub sequence: usize,
    /// Sequences per optimizer step.
    pub batch_size: usize,
    /// Peak learning rate of a cosine after 2 % warm-up.
    pub learning_rate: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Stops after so many optimizer steps, if that is sooner; the schedule is laid out for it.
    pub max_steps: Option<usize>,
    /// Seed of weights, generated text and order.
    pub seed: u64,
}

/// One text file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// How often it is seen.
    pub passes: usize,
    /// Its licence, for the model card.
    pub licence: Option<String>,
}

/// Shape of a model to pretrain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// Entries of the vocabulary.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward block.
    pub inner: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Longest context.
    pub context: usize,
}

impl Default for ModelShape {
    fn default() -> Self {
        ModelShape { vocab: 4096, hidden: 192, inner: 512, layers: 5, heads: 6, kv_heads: 2, context: 512 }
    }
}

impl ModelShape {
    /// The Llama configuration of this shape.
    pub fn config(&self) -> Result<Config> {
        if self.heads == 0 || !self.hidden.is_multiple_of(self.heads) {
            return Err(Error::Config("the hidden size must be a multiple of the number of heads".into()));
        }
        let config = Config {
            family: LLAMA,
            vocab_size: self.vocab,
            hidden_size: self.hidden,
            intermediate_size: self.inner,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.kv_heads,
            head_dim: self.hidden / self.heads,
            max_position_embeddings: self.context,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::None,
            biases: Biases::default(),
            qk_norm: false,
            post_norms: false,
            norm_offset: false,
            activation: Activation::Silu,
            scale_embedding: false,
            query_pre_attn_scalar: None,
            sliding: None,
            tie_word_embeddings: true,
            bos_token_id: Some(0),
            eos_token_ids: vec![4],
            pad_token_id: Some(0),
        };
        config.check()?;
        Ok(config)
    }
}

/// What a pretraining run did; also in the model card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pretrained {
    /// Size in bytes and SHA-256 of each text file.
    pub sources: Vec<(String, u64, String)>,
    /// Tokens of the text files over all passes, and of generated text.
    pub tokens: (usize, usize),
    /// Share of sequences that are chats.
    pub chat_share: f64,
    /// Loss on held-out sequences at the end, nats per token.
    pub valid_loss: f64,
    /// Numbers in the model.
    pub parameters: usize,
    /// The training report.
    pub report: Report,
}

/// Pretrains into directory `out`. Where `control` names a state that is there, it goes on from it: the
/// key of that state must tell the spec and the files' contents (see [`sources`]).
pub fn pretrain(spec: &PretrainSpec, out: &std::path::Path, control: &mut Control<'_>) -> Result<Pretrained> {
    let config = spec.shape.config()?;
    fs::create_dir_all(out).map_err(|e| Error::io("cannot create", out, e))?;
    let texts = spec.texts.iter().map(text::read).collect::<Result<Vec<_>>>()?;
    let json = files::train_tokenizer(spec, &texts)?;
    let tokenizer = Tokenizer::from_json(&json)?;
    let mut sequences = Sequences::default();
    sequences.add_texts(spec, &texts, &tokenizer)?;
    let from_files = sequences.tokens;
    sequences.add_generated(spec, &tokenizer)?;
    let generated = sequences.tokens - from_files;

    let mut rows = sequences.rows;
    Rng::new(spec.seed, "held out").shuffle(&mut rows);
    let valid = rows.split_off(rows.len() - (rows.len() / 50).clamp(1, 200));
    let training = training_spec(spec, rows.len());
    let weights = random_weights(&config, spec.seed);
    let trained = train((&config, &weights), (&Method::Full, &training), (&rows, &valid), control)?;

    let done = Pretrained {
        sources: texts.iter().map(|t| (t.name.clone(), t.bytes, t.sha256.clone())).collect(),
        tokens: (from_files, generated),
        chat_share: sequences.chats as f64 / (rows.len() + valid.len()).max(1) as f64,
        valid_loss: trained.report.valid_curve.last().map_or(f64::NAN, |v| v.1),
        parameters: config.parameters(),
        report: trained.report.clone(),
    };
    trained.params.weights(&trained.slots, &weights).save(out, &config, Dtype::BF16)?;
    files::write(out, spec, &config, &json, &done)?;
    Ok(done)
}

/// SHA-256 of each text file: what a saved state belongs to, beside the spec.
pub fn sources(spec: &PretrainSpec) -> Result<Vec<String>> {
    spec.texts.iter().map(|source| hash_file(&source.path)).collect()
}

fn training_spec(spec: &PretrainSpec, rows: usize) -> Spec {
    let steps = rows.div_ceil(spec.batch_size.max(1));
    Spec {
        learning_rate: spec.learning_rate,
        epochs: 1,
        max_steps: spec.max_steps,
        batch_size: spec.batch_size,
        micro_tokens: 8192,
        schedule: Schedule::Cosine,
        warmup: 0.02,
        weight_decay: spec.weight_decay,
        eval_steps: Some((spec.max_steps.map_or(steps, |m| m.min(steps)) / 20).max(1)),
        seed: spec.seed,
        ..Spec::default()
    }
}

/// Training sequences as they are collected.
#[derive(Default)]
struct Sequences {
    rows: Vec<Sequence>,
    tokens: usize,
    chats: usize,
}

impl Sequences {
    fn add(&mut self, doc: &Doc, tokenizer: &Tokenizer, longest: usize) -> Result<()> {
        let ids = tokenizer.encode(&render(doc))?;
        self.chats += usize::from(matches!(doc, Doc::Chat(_)));
        for window in ids.chunks(longest) {
            if window.len() > 1 {
                self.tokens += window.len();
                self.rows.push(Sequence::from(window.to_vec(), 1));
            }
        }
        Ok(())
    }

    /// Every pass over every file; dialogues alternate between plain text and chats from pass to pass.
    fn add_texts(&mut self, spec: &PretrainSpec, texts: &[text::Text], tokenizer: &Tokenizer) -> Result<()> {
        for (source, text) in spec.texts.iter().zip(texts) {
            for pass in 0..source.passes {
                for doc in text.documents(pass % 2 == 1) {
                    self.add(&doc, tokenizer, spec.sequence)?;
                }
            }
        }
        Ok(())
    }

    fn add_generated(&mut self, spec: &PretrainSpec, tokenizer: &Tokenizer) -> Result<()> {
        let until = self.tokens + spec.generated_tokens;
        let mut generator = Generator::new(spec.seed);
        while self.tokens < until {
            if let Some(doc) = generator.next() {
                self.add(&doc, tokenizer, spec.sequence)?;
            }
        }
        Ok(())
    }
}

/// The text of a document with its special tokens.
fn render(doc: &Doc) -> String {
    match doc {
        Doc::Plain(text) => format!("{}{text}{}", SPECIALS[0], SPECIALS[0]),
        Doc::Chat(turns) => turns.iter().fold(SPECIALS[0].to_owned(), |mut all, (role, text)| {
            all.push_str(&format!("<|{role}|>{text}{}", SPECIALS[4]));
            all
        }),
    }
}
