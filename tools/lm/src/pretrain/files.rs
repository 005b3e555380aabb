//! The files of a pretrained base: tokenizer, configuration and an honest model card.

use std::{fs, path::Path};

use serde_json::json;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    TokenizerImpl,
    models::bpe::{BPE, BpeTrainer},
    pre_tokenizers::byte_level::ByteLevel,
};

use super::{ModelShape, PretrainSpec, Pretrained, SPECIALS, TEMPLATE, text::Text};
use crate::{
    config::Config,
    corpus::{Doc, Generator},
    error::{Error, Result},
};

/// Characters of generated text that the tokenizer is trained on.
const GENERATED_SAMPLE: usize = 6_000_000;

/// Trains a byte-level BPE with GPT-2's pre-tokenisation on the files and a sample of the generated text.
pub fn train_tokenizer(spec: &PretrainSpec, texts: &[Text]) -> Result<String> {
    let failed = |e: tokenizers::Error| Error::Tokenizer(format!("cannot be trained: {e}"));
    let mut docs: Vec<String> = Vec::new();
    for doc in texts.iter().flat_map(|t| t.documents(false)) {
        docs.extend(parts(doc));
    }
    let mut generator = Generator::new(spec.seed ^ 1);
    let mut sampled = 0;
    while sampled < GENERATED_SAMPLE.min(spec.generated_tokens * 4) {
        for part in generator.next().into_iter().flat_map(parts) {
            sampled += part.len();
            docs.push(part);
        }
    }
    let mut trainer = BpeTrainer::builder()
        .vocab_size(spec.shape.vocab)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(SPECIALS.iter().map(|s| AddedToken::from(*s, true)).collect())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let byte_level = ByteLevel::new(false, true, true);
    let mut tokenizer: TokenizerImpl<BPE, NormalizerWrapper, ByteLevel, PostProcessorWrapper, ByteLevel> =
        TokenizerImpl::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(byte_level)).with_decoder(Some(byte_level));
    tokenizer.train(&mut trainer, docs.into_iter()).map_err(failed)?;
    let size = tokenizer.get_vocab_size(true);
    if size > spec.shape.vocab {
        return Err(Error::Tokenizer(format!(
            "the vocabulary needs at least {size} entries, not {}: one for each byte and special token",
            spec.shape.vocab
        )));
    }
    if size != spec.shape.vocab {
        return Err(Error::Tokenizer(format!(
            "the text gives only {size} of {} entries: give more text or a smaller vocabulary",
            spec.shape.vocab
        )));
    }
    let mut whole: TokenizerImpl<
        ModelWrapper,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    > = TokenizerImpl::new(ModelWrapper::BPE(tokenizer.get_model().clone()));
    whole.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(byte_level)));
    whole.with_decoder(Some(DecoderWrapper::ByteLevel(byte_level)));
    let specials: Vec<AddedToken> = SPECIALS.iter().map(|s| AddedToken::from(*s, true)).collect();
    let _ = whole.add_special_tokens(specials);
    serde_json::to_string_pretty(&whole).map_err(|e| Error::Tokenizer(e.to_string()))
}

fn parts(doc: Doc) -> Vec<String> {
    match doc {
        Doc::Plain(text) => vec![text],
        Doc::Chat(turns) => turns.into_iter().map(|(_, text)| text).collect(),
    }
}

/// Writes everything but the weights.
pub fn write(out: &Path, spec: &PretrainSpec, config: &Config, tokenizer: &str, done: &Pretrained) -> Result<()> {
    let tokenizer_config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.max_position_embeddings,
        "bos_token": SPECIALS[0],
        "eos_token": SPECIALS[4],
        "pad_token": SPECIALS[0],
        "add_bos_token": false,
        "clean_up_tokenization_spaces": false,
        "chat_template": TEMPLATE,
    });
    // Both end a text, as llama.cpp has it too by their names.
    let generation = json!({ "bos_token_id": 0, "eos_token_id": [4, 0], "pad_token_id": 0 });
    let pretty =
        |value: &serde_json::Value| serde_json::to_string_pretty(value).map_err(|e| Error::Data(e.to_string()));
    let report = serde_json::to_value(done).map_err(|e| Error::Data(e.to_string()))?;
    for (name, text) in [
        ("config.json", config.to_json()),
        ("tokenizer.json", tokenizer.to_owned()),
        ("tokenizer_config.json", pretty(&tokenizer_config)?),
        ("generation_config.json", pretty(&generation)?),
        ("pretraining.json", pretty(&json!({ "spec": without_places(spec), "result": report }))?),
        ("README.md", card(spec, config, done)),
    ] {
        let path = out.join(name);
        fs::write(&path, text + "\n").map_err(|e| Error::io("cannot write", &path, e))?;
    }
    Ok(())
}

/// The spec with the names of its files: where they lay is nobody's business.
fn without_places(spec: &PretrainSpec) -> PretrainSpec {
    let mut spec = spec.clone();
    for source in &mut spec.texts {
        source.path = source.path.file_name().map_or_else(|| source.path.clone(), Into::into);
    }
    spec
}

fn card(spec: &PretrainSpec, config: &Config, done: &Pretrained) -> String {
    let shape = &spec.shape;
    let mut sources = String::new();
    for (source, (name, bytes, sha256)) in spec.texts.iter().zip(&done.sources) {
        let licence = source.licence.as_deref().unwrap_or("unknown");
        sources += &format!("| `{name}` | {licence} | {bytes} | {} | `{sha256}` |\n", source.passes);
    }
    let texts: String = spec.texts.iter().zip(&done.sources).map(|(s, (name, ..))| text_flag(name, s)).collect();
    let shape_flags = shape_flags(shape);
    let max_steps = spec.max_steps.map_or(String::new(), |n| format!(" --max-steps {n}"));
    format!(
        "# A small pretrained base\n\n\
        A Llama of {} parameters ({} layers, hidden {}, inner {}, {} query and {} key-value heads of {}, vocabulary {}, tied \
        head, context {}), stored as bf16. It was made from scratch by the command below; no other model's weights or outputs \
        went into it. It knows little: it is a starting point for LoRA on short texts and for tests.\n\n\
        | text | licence | bytes | passes | SHA-256 |\n|---|---|---|---|---|\n{sources}\
        | generated by `tunesmith_lm::corpus`, seed {} | made by this project | | 1 | |\n\n\
        Tokens: {} from the files over all passes and {} generated; {:.0} % of the documents are chats in the template below, \
        each ending with `<|end|>`. Optimizer steps: {} of {} sequences of at most {} tokens; AdamW, peak learning rate {}, \
        weight decay {}, cosine after 2 % warm-up, gradient norm clipped at 1. Loss on held-out sequences of the same mixture: \
        {:.4} nats per token.\n\n\
        ```\ntunesmith pretrain{texts} --generated-tokens {} --batch-size {} --sequence {} --learning-rate {} --weight-decay {} \
        --seed {}{max_steps}{shape_flags} --out nano\n```\n\n\
        Chat template:\n\n```\n{TEMPLATE}\n```\n",
        done.parameters,
        shape.layers,
        shape.hidden,
        shape.inner,
        shape.heads,
        shape.kv_heads,
        config.head_dim,
        shape.vocab,
        shape.context,
        spec.seed,
        done.tokens.0,
        done.tokens.1,
        done.chat_share * 100.0,
        done.report.steps.0,
        spec.batch_size,
        spec.sequence,
        spec.learning_rate,
        spec.weight_decay,
        done.valid_loss,
        spec.generated_tokens,
        spec.batch_size,
        spec.sequence,
        spec.learning_rate,
        spec.weight_decay,
        spec.seed,
    )
}

/// What the command needs to make another shape than the default one.
fn shape_flags(shape: &ModelShape) -> String {
    let default = ModelShape::default();
    let flags = [
        ("vocab", shape.vocab, default.vocab),
        ("hidden", shape.hidden, default.hidden),
        ("inner", shape.inner, default.inner),
        ("layers", shape.layers, default.layers),
        ("heads", shape.heads, default.heads),
        ("kv-heads", shape.kv_heads, default.kv_heads),
        ("context", shape.context, default.context),
    ];
    let changed = flags.into_iter().filter(|(_, value, default)| value != default);
    changed.map(|(name, value, _)| format!(" --{name} {value}")).collect()
}

fn text_flag(name: &str, source: &super::Source) -> String {
    let licence = source.licence.as_ref().map_or(String::new(), |l| format!("={l}"));
    format!(" --text '{name}:{}{licence}'", source.passes)
}
