//! Generation and scoring: greedy or sampled text, and log-likelihoods of given continuations.

mod choose;
mod kept;

use choose::{choose, choose_guided};
pub use kept::Kept;

use crate::{
    constrain::{Guide, State},
    engine::{
        batch::runs,
        infer::{Cache, Decoder},
        math::log_sum_exp,
    },
    error::{Error, Result},
    lora::Adapter,
    model::Model,
    rng::Rng,
    tokens::Tokenizer,
};

/// Sequences that are decoded side by side.
const BATCH: usize = 32;

/// Tokens of continuations that are fed at a time: a thousand labels for each of [`BATCH`] contexts would not fit.
const FED_TOKENS: usize = 16_384;

/// Called with (done, total).
pub type OnProgress<'a> = &'a mut dyn FnMut(usize, usize);

/// A model opened for generation, with its adapter.
pub struct Session {
    decoder: Decoder,
    tokenizer: Tokenizer,
}

/// How the next token is chosen and when to stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Most new tokens.
    pub max_new_tokens: usize,
    /// 0 is greedy.
    pub temperature: f32,
    /// Only the most likely tokens that together have this probability are drawn from; 1 is all.
    pub top_p: f32,
    /// Only so many of the most likely tokens are drawn from; `None` is all.
    pub top_k: Option<usize>,
    /// Tokens that end the text.
    pub stop_ids: Vec<u32>,
    /// Strings that end the text, also where they are special tokens; they are cut off. An empty one ends it after one
    /// token.
    pub stop: Vec<String>,
    /// Seed of the draws; each prompt has its own stream.
    pub seed: u64,
}

impl Sampling {
    /// Greedy decoding.
    pub fn greedy(max_new_tokens: usize, stop_ids: Vec<u32>) -> Self {
        Sampling { max_new_tokens, temperature: 0.0, top_p: 1.0, top_k: None, stop_ids, stop: Vec::new(), seed: 0 }
    }
}

/// One generated text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The new tokens, without the one that ended the text.
    pub ids: Vec<u32>,
    /// Their text, special tokens left out, cut before a stop string.
    pub text: String,
    /// Whether a stop token or string ended it, rather than the length.
    pub stopped: bool,
}

/// Log-likelihood of one continuation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scored {
    /// Sum of the natural-log probabilities of its tokens.
    pub sum: f64,
    /// Number of its tokens.
    pub tokens: usize,
    /// Whether each token was the most likely one.
    pub greedy: bool,
}

impl Session {
    /// Opens `model`. `adapter` is merged into its weights, or computed beside them where they stay as they are stored:
    /// merged, they would take several times the memory.
    pub fn new(model: &Model, adapter: Option<&Adapter>) -> Result<Self> {
        let Model { config, weights, tokenizer, .. } = model;
        let stored = weights.layers.iter().any(|layer| layer.linears().iter().any(|matrix| matrix.dtype().is_some()));
        let decoder = match adapter {
            None => Decoder::new(config, weights),
            Some(adapter) if stored => Decoder::with_adapter(config, weights, adapter)?,
            Some(adapter) => {
                let (config, weights) = adapter.merge(weights, config)?;
                Decoder::new(&config, &weights)
            }
        };
        Ok(Session { decoder, tokenizer: tokenizer.clone() })
    }

    /// Longest sequence in tokens.
    pub fn max_length(&self) -> usize {
        self.decoder.config().max_position_embeddings
    }

    /// Tokens of the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.decoder.config().vocab_size
    }

    pub(crate) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Logits after each token of `tokens`: `[tokens, vocab]`.
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let hidden = self.decoder.forward(&mut [(tokens, &mut Cache::default())])?;
        let mut logits = Vec::new();
        hidden.iter().for_each(|rows| self.decoder.head().logits(rows, &mut logits));
        Ok(logits)
    }

    /// For each context, the log-likelihood of each continuation. The context is computed once.
    pub fn loglikelihood(
        &self,
        requests: &[(Vec<u32>, Vec<Vec<u32>>)],
        on: OnProgress<'_>,
    ) -> Result<Vec<Vec<Scored>>> {
        if requests.iter().any(|(context, rest)| context.is_empty() || rest.iter().any(Vec::is_empty)) {
            return Err(Error::Generate("a context and each continuation need at least one token".into()));
        }
        let order = by_length(requests.iter().map(|r| r.0.len()));
        let mut scores = vec![Vec::new(); requests.len()];
        for (done, group) in order.chunks(BATCH).enumerate() {
            let contexts: Vec<&(Vec<u32>, Vec<Vec<u32>>)> = group.iter().map(|&i| &requests[i]).collect();
            for (&i, scored) in group.iter().zip(self.score_group(&contexts)?) {
                scores[i] = scored;
            }
            on((done * BATCH + group.len()).min(requests.len()), requests.len());
        }
        Ok(scores)
    }

    fn score_group(&self, group: &[&(Vec<u32>, Vec<Vec<u32>>)]) -> Result<Vec<Vec<Scored>>> {
        let mut caches = vec![Cache::default(); group.len()];
        let mut contexts: Vec<(&[u32], &mut Cache)> = group.iter().map(|r| r.0.as_slice()).zip(&mut caches).collect();
        let hidden = self.decoder.forward(&mut contexts)?;
        let width = self.decoder.config().hidden_size;
        let mut scores: Vec<Vec<Scored>> = Vec::new();
        let mut logits = Vec::new();
        for (rows, (_, continuations)) in hidden.iter().zip(group.iter().copied()) {
            self.decoder.head().next(&rows[rows.len() - width..], &mut logits);
            let (lse, best) = log_sum_exp(&mut logits, None);
            let first = |c: &Vec<u32>| Scored {
                sum: f64::from(logits[c[0] as usize] - lse),
                tokens: c.len(),
                greedy: c[0] as usize == best,
            };
            scores.push(continuations.iter().map(first).collect());
        }
        // What follows the first token of each continuation, fed after its context's cache, which all of them share.
        let longer: Vec<(usize, usize, &[u32])> = group
            .iter()
            .enumerate()
            .flat_map(|(i, (_, continuations))| {
                continuations.iter().enumerate().map(move |(j, c)| (i, j, c.as_slice()))
            })
            .filter(|(.., c)| c.len() > 1)
            .collect();
        for part in runs(&longer, |(.., c)| c.len(), FED_TOKENS) {
            let fed: Vec<(&[u32], &Cache)> = part.iter().map(|(i, _, c)| (&c[..c.len() - 1], &caches[*i])).collect();
            for (rows, &(i, j, tokens)) in self.decoder.forward_last(&fed)?.iter().zip(part) {
                let targets: Vec<(usize, u32, f32)> =
                    tokens[1..].iter().enumerate().map(|(row, &t)| (row, t, 1.0)).collect();
                let loss = self.decoder.head().cross_entropy(rows, &targets, None);
                let score = &mut scores[i][j];
                score.sum += loss.log_p.iter().map(|p| f64::from(*p)).sum::<f64>();
                score.greedy &= loss.greedy.iter().all(|g| *g);
            }
        }
        Ok(scores)
    }

    /// A text for each prompt, in order. Sequences are decoded side by side; a finished one makes room for the next.
    pub fn generate(&self, prompts: &[Vec<u32>], sampling: &Sampling, on: OnProgress<'_>) -> Result<Vec<Completion>> {
        self.generate_streaming(prompts, sampling, on, &mut |_, _| {})
    }

    /// The same; `each(prompt, token)` is told every token as it is chosen.
    pub fn generate_streaming<'s>(
        &self,
        prompts: &'s [Vec<u32>],
        sampling: &'s Sampling,
        on: OnProgress<'_>,
        each: &mut dyn FnMut(usize, u32),
    ) -> Result<Vec<Completion>> {
        let each_prompt = |(i, prompt): (usize, &'s Vec<u32>)| Asked { prompt, sampling, rng: stream_of(sampling, i) };
        self.decode(prompts.iter().enumerate().map(each_prompt).collect(), (BATCH, None), on, each)
    }

    /// A text for each prompt that keeps to the guide's grammar, and is whole within the tokens that may be written; stop strings
    /// are not looked for.
    pub fn generate_guided(
        &self,
        prompts: &[Vec<u32>],
        sampling: &Sampling,
        guide: &mut Guide,
        on: OnProgress<'_>,
    ) -> Result<Vec<Completion>> {
        let asked =
            prompts.iter().enumerate().map(|(i, prompt)| Asked { prompt, sampling, rng: stream_of(sampling, i) });
        self.decode(asked.collect(), (BATCH, Some(guide)), on, &mut |_, _| {})
    }

    /// A text for each prompt with its own settings, in order. What is drawn depends on the prompt's seed alone. `batch`
    /// sequences are decoded side by side.
    pub fn generate_each(
        &self,
        prompts: &[(Vec<u32>, Sampling)],
        batch: usize,
        on: OnProgress<'_>,
    ) -> Result<Vec<Completion>> {
        let asked = prompts.iter().map(|(prompt, sampling)| Asked { prompt, sampling, rng: stream_of(sampling, 0) });
        self.decode(asked.collect(), (batch.max(1), None), on, &mut |_, _| {})
    }

    fn decode(
        &self,
        asked: Vec<Asked<'_>>,
        (batch, mut guide): (usize, Option<&mut Guide>),
        on: OnProgress<'_>,
        each: &mut dyn FnMut(usize, u32),
    ) -> Result<Vec<Completion>> {
        asked.iter().try_for_each(check)?;
        let mut waiting = by_length(asked.iter().map(|asked| asked.prompt.len())).into_iter();
        let mut done: Vec<Option<Completion>> = vec![None; asked.len()];
        let mut active: Vec<Active> = Vec::new();
        loop {
            for i in waiting.by_ref().take(batch - active.len()) {
                active.push(self.begin(i, &asked[i], Cache::default(), guide.as_deref())?);
            }
            if active.is_empty() {
                break;
            }
            self.step(&mut active, guide.as_deref_mut())?;
            let mut still = Vec::new();
            for sequence in active {
                if let Some(token) = sequence.pending.first() {
                    each(sequence.index, *token);
                }
                match self.ended(&sequence, guide.as_deref())? {
                    Some(completion) => done[sequence.index] = Some(completion),
                    None => still.push(sequence),
                }
            }
            active = still;
            on(done.iter().flatten().count(), done.len());
        }
        Ok(done.into_iter().flatten().collect())
    }

    /// A sequence before its first token; the beginning of its prompt that `cache` holds is not read again.
    fn begin<'a>(&self, index: usize, asked: &Asked<'a>, cache: Cache, guide: Option<&Guide>) -> Result<Active<'a>> {
        let &Asked { prompt, sampling, rng } = asked;
        let pending = prompt[cache.len()..].to_vec();
        let state = guide.map(Guide::start);
        if let Some(guide) = guide {
            let (least, most) = (guide.left(guide.start()), self.room(sampling, 0, prompt.len()));
            if least > most {
                return Err(Error::Generate(format!(
                    "the form that is asked for takes up to {least} tokens, and {most} may be written; allow more"
                )));
            }
        }
        Ok(Active { index, sampling, cache, pending, ids: Vec::new(), stopped: false, rng, state })
    }

    /// Tokens that may still be written after `written` ones, where so many have been read.
    fn room(&self, sampling: &Sampling, written: usize, read: usize) -> usize {
        let window = (self.max_length() + 1).saturating_sub(read);
        sampling.max_new_tokens.saturating_sub(written).min(window)
    }

    /// Feeds each sequence what is pending and chooses its next token, which is pending then.
    fn step(&self, active: &mut [Active<'_>], mut guide: Option<&mut Guide>) -> Result<()> {
        let mut fed: Vec<(&[u32], &mut Cache)> =
            active.iter_mut().map(|a| (a.pending.as_slice(), &mut a.cache)).collect();
        let hidden = self.decoder.forward(&mut fed)?;
        let width = self.decoder.config().hidden_size;
        let last: Vec<f32> = hidden.iter().flat_map(|rows| &rows[rows.len() - width..]).copied().collect();
        let mut logits = Vec::new();
        self.decoder.head().next(&last, &mut logits);
        for (sequence, row) in active.iter_mut().zip(logits.chunks_exact(self.decoder.config().vocab_size)) {
            let token = match (guide.as_deref_mut(), sequence.state) {
                (Some(guide), Some(state)) => {
                    let room = self.room(sequence.sampling, sequence.ids.len(), sequence.cache.len());
                    let (token, next) = choose_guided(row, sequence.sampling, &mut sequence.rng, (guide, state, room))?;
                    sequence.state = Some(next);
                    token
                }
                _ => choose(row, sequence.sampling, &mut sequence.rng, None).unwrap_or(0),
            };
            sequence.pending.clear();
            match sequence.sampling.stop_ids.contains(&token) {
                true => sequence.stopped = true,
                false => {
                    sequence.ids.push(token);
                    sequence.pending.push(token);
                }
            }
        }
        Ok(())
    }

    /// The finished text, if the sequence is finished.
    fn ended(&self, sequence: &Active<'_>, guide: Option<&Guide>) -> Result<Option<Completion>> {
        let Active { ids, sampling, .. } = sequence;
        let full = ids.len() >= sampling.max_new_tokens || sequence.cache.len() >= self.max_length();
        if let (Some(guide), Some(state)) = (guide, sequence.state) {
            // Free text that comes to its limit has not ended by itself, whole as it is.
            let whole = full && guide.is_whole(state) && guide.spoken(state).is_none();
            let stopped = sequence.stopped || guide.is_over(state) || whole;
            let text = || String::from_utf8_lossy(&guide.text(ids)).into_owned();
            return Ok((stopped || full).then(|| Completion { ids: ids.clone(), text: text(), stopped }));
        }
        let stopped = sequence.stopped || self.has_stop(sequence)?;
        if !stopped && !full {
            return Ok(None);
        }
        let mut text = self.tokenizer.decode_skip(ids)?;
        for stop in sampling.stop.iter().filter(|stop| !stop.is_empty()) {
            let cut = text.find(stop.as_str()).unwrap_or(text.len());
            text.truncate(cut);
        }
        Ok(Some(Completion { ids: ids.clone(), text, stopped }))
    }

    /// Whether a stop string has been written.
    fn has_stop(&self, Active { ids, sampling, .. }: &Active<'_>) -> Result<bool> {
        if sampling.stop.is_empty() {
            return Ok(false);
        }
        let written = [self.tokenizer.decode_skip(ids)?, self.tokenizer.decode(ids)?];
        Ok(sampling.stop.iter().any(|stop| written.iter().any(|text| text.contains(stop.as_str()))))
    }
}

/// A prompt with its settings and its stream of draws.
struct Asked<'a> {
    prompt: &'a [u32],
    sampling: &'a Sampling,
    rng: Rng,
}

fn stream_of(sampling: &Sampling, prompt: usize) -> Rng {
    Rng::new(sampling.seed, &format!("prompt {prompt}"))
}

/// One sequence being decoded.
struct Active<'a> {
    index: usize,
    sampling: &'a Sampling,
    cache: Cache,
    /// Tokens not yet fed: the prompt at first, then the last chosen token.
    pending: Vec<u32>,
    ids: Vec<u32>,
    stopped: bool,
    rng: Rng,
    /// Where in the guide's grammar it is.
    state: Option<State>,
}

/// Indices sorted by length, so that sequences decoded together are about equally long.
fn by_length(lengths: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut order: Vec<(usize, usize)> = lengths.enumerate().map(|(i, n)| (n, i)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, i)| i).collect()
}

fn check(Asked { prompt, sampling, .. }: &Asked<'_>) -> Result<()> {
    if prompt.is_empty() {
        return Err(Error::Generate("a prompt is empty".into()));
    }
    if sampling.max_new_tokens == 0 || sampling.top_k == Some(0) {
        return Err(Error::Generate("at least one new token, and top_k of at least 1, must be allowed".into()));
    }
    let in_range = sampling.temperature >= 0.0
        && sampling.temperature.is_finite()
        && sampling.top_p > 0.0
        && sampling.top_p <= 1.0;
    if !in_range {
        return Err(Error::Generate("temperature must be 0 or more, and top_p above 0 and at most 1".into()));
    }
    Ok(())
}
