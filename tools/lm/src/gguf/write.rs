//! Writing: header first, then one tensor after the other, so that memory holds one converted tensor at a time.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use candle_core::{
    Device, Tensor,
    quantized::{GgmlDType, QTensor},
};
use half::f16;

use super::{
    LLAMA3_KEYS, ROPE_FREQS, Rows,
    bytes::{ALIGNMENT, MAGIC, kind},
    layer, offset, permute, vocab,
};
use crate::{
    config::{Config, RopeScaling},
    error::{Error, Result},
    model::Model,
    storage,
    tokens::Tokenizer,
    weights::{Dtype, Numbers},
};

/// How the matrices of a GGUF file are stored; norms are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quant {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// Blocks of 32 signed bytes with one f16 scale.
    Q8_0,
}

impl Quant {
    /// The name people use in commands and file names.
    pub fn name(self) -> &'static str {
        match self {
            Quant::F32 => "f32",
            Quant::F16 => "f16",
            Quant::Q8_0 => "q8_0",
        }
    }

    /// The number of this format in `general.file_type`.
    pub fn file_type(self) -> u32 {
        self.numbers().0
    }

    /// Number of the file type and of the tensor type: the same for these three but for Q8_0.
    fn numbers(self) -> (u32, u32) {
        match self {
            Quant::F32 => (0, 0),
            Quant::F16 => (1, 1),
            Quant::Q8_0 => (7, 8),
        }
    }

    fn bytes(self, numbers: usize) -> usize {
        match self {
            Quant::F32 => numbers * 4,
            Quant::F16 => numbers * 2,
            Quant::Q8_0 => numbers / 32 * 34,
        }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Size of the file.
    pub bytes: u64,
    /// Matrices that were stored as f16 because their rows are no multiple of a block.
    pub not_quantized: Vec<String>,
}

/// One tensor on its way into the file.
struct Part<'a> {
    name: String,
    shape: Vec<usize>,
    values: Source<'a>,
    quant: Quant,
    rows: Rows,
}

/// Where the numbers of a tensor come from; those of a file are decoded when they are written.
enum Source<'a> {
    Model(Numbers<'a>),
    Made(Vec<f32>),
}

impl Source<'_> {
    fn floats(&self) -> Cow<'_, [f32]> {
        match self {
            Source::Model(numbers) => numbers.floats(),
            Source::Made(values) => values.into(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Source::Model(numbers) => numbers.len(),
            Source::Made(values) => values.len(),
        }
    }
}

/// Writes `model`, its adapter already merged, to `path`: whole or not at all. Same model, same bytes.
pub fn write(path: &Path, model: &Model, quant: Quant) -> Result<Written> {
    model.weights.check(&model.config)?;
    check_expressible(&model.config)?;
    let parts = parts(model, quant);
    let header = header(model, quant, &parts)?;
    for part in parts.iter().filter(|part| part.quant != Quant::F32) {
        if part.values.floats().iter().any(|x| f16::from_f32(*x).is_infinite()) {
            return Err(Error::Gguf(format!("{} has numbers too large for {}; use f32", part.name, quant.name())));
        }
    }
    storage::atomic(path, |temporary| {
        let mut out = BufWriter::new(File::create(temporary)?);
        out.write_all(&header)?;
        for part in &parts {
            let bytes = encode(part, model.config.head_dim).map_err(io::Error::other)?;
            out.write_all(&bytes)?;
            out.write_all(&vec![0; bytes.len().next_multiple_of(ALIGNMENT) - bytes.len()])?;
        }
        out.flush()
    })?;
    let meta = std::fs::metadata(path).map_err(|e| Error::io("cannot read", path, e))?;
    let fell_back = |part: &&Part<'_>| part.quant == Quant::F16 && quant == Quant::Q8_0;
    Ok(Written {
        bytes: meta.len(),
        not_quantized: parts.iter().filter(fell_back).map(|part| part.name.clone()).collect(),
    })
}

fn parts(model: &Model, quant: Quant) -> Vec<Part<'_>> {
    let named = model.weights.named(&model.config);
    let (layers, tensors) = (model.weights.layers.len(), layer(&model.config));
    let factors = rope_factors(&model.config);
    let named = named.into_iter().enumerate().map(|(i, (_, shape, numbers))| {
        // The order of `named`: embedding, the tensors of each layer, last norm, output layer.
        let (name, rows) = match i.checked_sub(1) {
            None => ("token_embd.weight".to_string(), Rows::Plain),
            Some(i) if i < layers * tensors.len() => {
                let (part, rows) = &tensors[i % tensors.len()];
                (format!("blk.{}.{part}", i / tensors.len()), *rows)
            }
            Some(i) if i == layers * tensors.len() => ("output_norm.weight".to_string(), Rows::Plain),
            Some(_) => ("output.weight".to_string(), Rows::Plain),
        };
        let columns = shape.last().copied().unwrap_or(0);
        let quant = match quant {
            _ if shape.len() == 1 => Quant::F32,
            Quant::Q8_0 if !columns.is_multiple_of(32) => Quant::F16,
            other => other,
        };
        let values = match offset(&model.config, &name) {
            0.0 => Source::Model(numbers),
            offset => Source::Made(numbers.floats().iter().map(|x| x + offset).collect()),
        };
        Part { name, shape, values, quant, rows }
    });
    factors.into_iter().chain(named).collect()
}

/// The extra tensor of llama3's RoPE scaling.
fn rope_factors(config: &Config) -> Option<Part<'_>> {
    let RopeScaling::Llama3(scaling) = config.rope_scaling else { return None };
    let values = scaling.divisors(config.head_dim, config.rope_theta);
    let shape = vec![values.len()];
    Some(Part { name: ROPE_FREQS.into(), shape, values: Source::Made(values), quant: Quant::F32, rows: Rows::Plain })
}

/// Whether a model of this shape and with this tokenizer can be written, without its weights.
pub fn preflight(config: &Config, tokenizer: &Tokenizer) -> Result<()> {
    check_expressible(config)?;
    vocab::from_tokenizer(tokenizer, config.vocab_size).map_err(Error::Gguf)?;
    end(tokenizer).map(drop)
}

/// The token that ends a text.
fn end(tokenizer: &Tokenizer) -> Result<u32> {
    tokenizer.eos.or(tokenizer.stops.first().copied()).ok_or_else(|| {
        Error::Gguf("the tokenizer names no token that ends a text; set eos_token in tokenizer_config.json".into())
    })
}

/// What llama.cpp would compute otherwise is not written.
fn check_expressible(config: &Config) -> Result<()> {
    let name = config.family.gguf;
    let refuse =
        |what: String| Err(Error::Gguf(format!("llama.cpp's {name} does not know {what}; export safetensors")));
    match (&config.sliding, (config.family.gguf_lacks)(config)) {
        (_, Some(what)) => refuse(what.into()),
        _ if implied_window(config).is_some() => Ok(()),
        // A window as long as the context hides nothing.
        (Some(sliding), None) if sliding.window < config.max_position_embeddings => refuse(format!(
            "sliding windows, and this one of {} is shorter than the context of {}",
            sliding.window, config.max_position_embeddings
        )),
        _ => Ok(()),
    }
}

/// The window that llama.cpp takes from its key; `None` where it would hide other positions.
fn implied_window(config: &Config) -> Option<usize> {
    let window = config.sliding.as_ref()?.window;
    let mut implied = Config { sliding: None, ..config.clone() };
    (config.family.gguf_implies)(&mut implied, Some(window));
    (implied.sliding == config.sliding).then_some(window)
}

fn encode(part: &Part<'_>, head_dim: usize) -> candle_core::Result<Vec<u8>> {
    let columns = part.shape.get(1).copied().unwrap_or(1);
    let values = match part.rows {
        Rows::Plain => part.values.floats(),
        Rows::Rotated => permute(&part.values.floats(), head_dim, columns, false).into(),
    };
    let values = values.as_ref();
    Ok(match part.quant {
        Quant::F32 => storage::to_bytes(values, Dtype::F32),
        Quant::F16 => storage::to_bytes(values, Dtype::F16),
        Quant::Q8_0 => {
            let tensor = Tensor::from_slice(values, part.shape.as_slice(), &Device::Cpu)?;
            QTensor::quantize(&tensor, GgmlDType::Q8_0)?.data()?.into_owned()
        }
    })
}

fn header(model: &Model, quant: Quant, parts: &[Part<'_>]) -> Result<Vec<u8>> {
    let values = values(model, quant)?;
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&3u32.to_le_bytes());
    out.extend_from_slice(&(parts.len() as u64).to_le_bytes());
    out.extend_from_slice(&values.count.to_le_bytes());
    out.extend_from_slice(&values.bytes);
    let mut offset = 0u64;
    for part in parts {
        string(&mut out, &part.name);
        out.extend_from_slice(&(part.shape.len() as u32).to_le_bytes());
        for size in part.shape.iter().rev() {
            out.extend_from_slice(&(*size as u64).to_le_bytes());
        }
        out.extend_from_slice(&part.quant.numbers().1.to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
        offset += part.quant.bytes(part.values.len()).next_multiple_of(ALIGNMENT) as u64;
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    Ok(out)
}

fn values(model: &Model, quant: Quant) -> Result<Values> {
    let Config { vocab_size, head_dim, .. } = model.config;
    let vocab = vocab::from_tokenizer(&model.tokenizer, vocab_size).map_err(Error::Gguf)?;
    let eos = end(&model.tokenizer)?;
    let mut values = Values::default();
    let architecture = model.config.family.gguf;
    values.string("general.architecture", architecture);
    values.string("general.type", "model");
    values.u32("general.file_type", quant.numbers().0);
    values.u32("general.quantization_version", 2);
    let c = &model.config;
    for (key, size) in [
        ("vocab_size", vocab_size),
        ("context_length", c.max_position_embeddings),
        ("embedding_length", c.hidden_size),
        ("block_count", c.num_hidden_layers),
        ("feed_forward_length", c.intermediate_size),
        ("attention.head_count", c.num_attention_heads),
        ("attention.head_count_kv", c.num_key_value_heads),
        ("attention.key_length", head_dim),
        ("attention.value_length", head_dim),
        ("rope.dimension_count", head_dim),
    ] {
        values.u32(&format!("{architecture}.{key}"), size as u32);
    }
    values.f32(&format!("{architecture}.rope.freq_base"), c.rope_theta as f32);
    values.f32(&format!("{architecture}.attention.layer_norm_rms_epsilon"), c.rms_norm_eps as f32);
    if let Some(window) = implied_window(c) {
        values.u32(&format!("{architecture}.attention.sliding_window"), window as u32);
    }
    match c.rope_scaling {
        RopeScaling::None => {}
        RopeScaling::Linear(factor) => {
            values.string(&format!("{architecture}.rope.scaling.type"), "linear");
            values.f32(&format!("{architecture}.rope.scaling.factor"), factor as f32);
        }
        RopeScaling::Llama3(l) => {
            let [factor, low, high, original] = LLAMA3_KEYS;
            values.f32(factor, l.factor as f32);
            values.f32(low, l.low_freq_factor as f32);
            values.f32(high, l.high_freq_factor as f32);
            values.u32(original, l.original_max_position_embeddings as u32);
        }
    }
    values.string("tokenizer.ggml.model", "gpt2");
    values.string("tokenizer.ggml.pre", vocab.pre);
    values.strings("tokenizer.ggml.tokens", &vocab.tokens);
    values.i32s("tokenizer.ggml.token_type", &vocab.types);
    values.strings("tokenizer.ggml.merges", &vocab.merges);
    if let Some(bos) = model.tokenizer.bos {
        values.u32("tokenizer.ggml.bos_token_id", bos);
    }
    values.u32("tokenizer.ggml.eos_token_id", eos);
    if let Some(other) = model.tokenizer.stops.iter().find(|id| **id != eos) {
        values.u32("tokenizer.ggml.eot_token_id", *other);
    }
    if let Some(pad) = model.tokenizer.pad {
        values.u32("tokenizer.ggml.padding_token_id", pad);
    }
    values.bool("tokenizer.ggml.add_bos_token", model.tokenizer.add_bos && model.tokenizer.bos.is_some());
    if let Some(chat) = &model.chat {
        values.string("tokenizer.chat_template", chat.source());
    }
    Ok(values)
}

/// The keys and values of the header, as bytes.
#[derive(Default)]
struct Values {
    count: u64,
    bytes: Vec<u8>,
}

impl Values {
    fn key(&mut self, key: &str, kind: u32) {
        self.count += 1;
        string(&mut self.bytes, key);
        self.bytes.extend_from_slice(&kind.to_le_bytes());
    }

    fn u32(&mut self, key: &str, value: u32) {
        self.key(key, kind::U32);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn f32(&mut self, key: &str, value: f32) {
        self.key(key, kind::F32);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn bool(&mut self, key: &str, value: bool) {
        self.key(key, kind::BOOL);
        self.bytes.push(value.into());
    }

    fn string(&mut self, key: &str, value: &str) {
        self.key(key, kind::STRING);
        string(&mut self.bytes, value);
    }

    fn strings(&mut self, key: &str, items: &[String]) {
        self.array(key, kind::STRING, items.len());
        items.iter().for_each(|item| string(&mut self.bytes, item));
    }

    fn i32s(&mut self, key: &str, items: &[i32]) {
        self.array(key, kind::I32, items.len());
        items.iter().for_each(|item| self.bytes.extend_from_slice(&item.to_le_bytes()));
    }

    fn array(&mut self, key: &str, kind: u32, count: usize) {
        self.key(key, kind::ARRAY);
        self.bytes.extend_from_slice(&kind.to_le_bytes());
        self.bytes.extend_from_slice(&(count as u64).to_le_bytes());
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}
