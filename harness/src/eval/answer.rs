//! Asking a model: in which order and batches, and keeping every batch before the next is asked.

use std::collections::HashSet;

use super::{
    journal::{Journal, JournalError, key},
    request::{Generation, Instance, Request, Response},
};
use crate::model::{LanguageModel, Loglikelihood, ModelError, OnProgress};

/// Characters of a batch, contexts that stand beside each other counted once: at most so much is lost when the process is
/// killed.
const BATCH_CHARS: usize = 32_768;

/// Requests of a batch.
const BATCH_REQUESTS: usize = 512;

/// What an answer of one new token is taken to cost, in characters read.
const CHARS_PER_TOKEN: usize = 4;

/// New tokens that a request asks for where it does not say.
const DEFAULT_TOKENS: usize = 256;

/// One request that a model is to answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Its name in the journal.
    pub key: String,
    /// What is asked.
    pub request: Request,
    /// Which repetition of it.
    pub repeat: usize,
}

/// Why a model was not asked to the end.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The model failed or refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The answers cannot be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The questions of `instances` in batches. Equal requests are asked once.
///
/// Batches depend on the instances alone, never on what is answered already, so an evaluation that goes on after a kill
/// asks the same batches and gets the same bytes. The longest come first, as in lm-eval: what does not fit into memory
/// fails at once, and the rest goes faster than foretold.
pub fn batches<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> Vec<Vec<Question>> {
    let mut seen = HashSet::new();
    let mut questions: Vec<Question> = Vec::new();
    for instance in instances {
        for repeat in 0..instance.repeats.max(1) {
            let key = key(&instance.request, repeat);
            if seen.insert(key.clone()) {
                questions.push(Question { key, request: instance.request.clone(), repeat });
            }
        }
    }
    // Stable: what is equally long, and so also the choices of one context, stays together in the order of the task.
    questions.sort_by(|a, b| {
        let rank = |q: &Question| (kind(&q.request), std::cmp::Reverse(context(&q.request).len()));
        rank(a).cmp(&rank(b)).then_with(|| context(&a.request).cmp(context(&b.request)))
    });
    let mut batches: Vec<Vec<Question>> = Vec::new();
    let mut chars = 0;
    for question in questions {
        let last = batches.last().and_then(|batch| batch.last());
        let cost = cost(&question.request, last.map(|last| &last.request));
        let fits = last.is_some_and(|last| kind(&last.request) == kind(&question.request))
            && chars + cost <= BATCH_CHARS
            && batches.last().is_some_and(|batch| batch.len() < BATCH_REQUESTS);
        match batches.last_mut().filter(|_| fits) {
            Some(batch) => {
                chars += cost;
                batch.push(question);
            }
            None => {
                chars = cost;
                batches.push(vec![question]);
            }
        }
    }
    batches
}

fn kind(request: &Request) -> u8 {
    match request {
        Request::Loglikelihood { .. } => 0,
        Request::LoglikelihoodRolling { .. } => 1,
        Request::GenerateUntil { .. } => 2,
    }
}

fn context(request: &Request) -> &str {
    match request {
        Request::Loglikelihood { context, .. } | Request::GenerateUntil { context, .. } => context,
        Request::LoglikelihoodRolling { text } => text,
    }
}

fn cost(request: &Request, before: Option<&Request>) -> usize {
    let shared = before.is_some_and(|before| context(before) == context(request));
    let read = if shared { 0 } else { context(request).len() };
    read + match request {
        Request::Loglikelihood { continuation, .. } => continuation.len(),
        Request::LoglikelihoodRolling { .. } => 0,
        Request::GenerateUntil { settings, .. } => {
            settings.max_gen_toks.unwrap_or(DEFAULT_TOKENS).saturating_mul(CHARS_PER_TOKEN)
        }
    }
}

/// Asks `model` what the journal does not know yet, batch by batch; `cache` is looked into first, and gets what is new.
///
/// `on` is told how many questions are answered.
pub fn answer(
    batches: &[Vec<Question>],
    model: &mut dyn LanguageModel,
    journal: &mut Journal,
    mut cache: Option<&mut Journal>,
    on: OnProgress<'_>,
) -> Result<(), AnswerError> {
    let total: usize = batches.iter().map(Vec::len).sum();
    let mut done = 0;
    for batch in batches {
        let open = batch.iter().filter(|question| journal.get(&question.key).is_none());
        let (known, unknown): (Vec<&Question>, Vec<&Question>) =
            open.partition(|question| cache.as_ref().is_some_and(|cache| cache.get(&question.key).is_some()));
        let known = known.into_iter().filter_map(|q| Some((q.key.clone(), cache.as_ref()?.get(&q.key)?.clone())));
        journal.append(known.collect())?;
        let before = batch.len() - unknown.len();
        on(done + before, total);
        if !unknown.is_empty() {
            let answers = ask(model, &unknown, &mut |answered, _| on(done + before + answered, total))?;
            let answers: Vec<(String, Response)> = unknown.iter().map(|q| q.key.clone()).zip(answers).collect();
            journal.append(answers.clone())?;
            if let Some(cache) = &mut cache {
                cache.append(answers)?;
            }
        }
        done += batch.len();
        on(done, total);
    }
    Ok(())
}

/// The answers to questions of one kind, in their order.
fn ask(
    model: &mut dyn LanguageModel,
    questions: &[&Question],
    on: OnProgress<'_>,
) -> Result<Vec<Response>, ModelError> {
    let (mut pairs, mut texts, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
    for question in questions {
        match &question.request {
            Request::Loglikelihood { context, continuation } => pairs.push((context.clone(), continuation.clone())),
            Request::LoglikelihoodRolling { text } => texts.push(text.clone()),
            Request::GenerateUntil { context, settings } => {
                prompts.push((context.clone(), Generation { repeat: question.repeat, ..settings.clone() }));
            }
        }
    }
    let scored = |l: Loglikelihood| Response::Loglikelihood { sum: l.sum, greedy: l.greedy };
    let mut answers: Vec<Response> = Vec::new();
    if !pairs.is_empty() {
        answers.extend(model.loglikelihood(&pairs, on)?.into_iter().map(scored));
    }
    if !texts.is_empty() {
        answers.extend(model.loglikelihood_rolling(&texts, on)?.into_iter().map(Response::Rolling));
    }
    if !prompts.is_empty() {
        answers.extend(model.generate_until(&prompts, on)?.into_iter().map(Response::Text));
    }
    match answers.len() == questions.len() {
        true => Ok(answers),
        false => Err(ModelError(format!("the model answered {} of {} requests", answers.len(), questions.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Message;

    /// Answers from the request alone and counts what it was asked; it fails at one request.
    #[derive(Default)]
    struct Counting {
        asked: usize,
        fails_at: Option<usize>,
    }

    impl LanguageModel for Counting {
        fn loglikelihood(
            &mut self,
            requests: &[(String, String)],
            on: OnProgress<'_>,
        ) -> Result<Vec<Loglikelihood>, ModelError> {
            on(requests.len(), requests.len());
            self.asked += requests.len();
            match self.fails_at {
                Some(at) if self.asked > at => Err(ModelError("it fell over".into())),
                _ => Ok(requests
                    .iter()
                    .map(|(a, b)| Loglikelihood { sum: -((a.len() + b.len()) as f64), tokens: 1, greedy: true })
                    .collect()),
            }
        }

        fn loglikelihood_rolling(&mut self, texts: &[String], _: OnProgress<'_>) -> Result<Vec<f64>, ModelError> {
            Ok(texts.iter().map(|text| text.len() as f64).collect())
        }

        fn generate_until(
            &mut self,
            requests: &[(String, Generation)],
            _: OnProgress<'_>,
        ) -> Result<Vec<String>, ModelError> {
            Ok(requests.iter().skip(1).map(|(context, _)| context.clone()).collect())
        }

        fn chat_prompt(&self, _: &[Message]) -> Result<String, ModelError> {
            Err(ModelError("it has no template".into()))
        }

        fn max_length(&self) -> usize {
            8
        }

        fn fingerprint(&self) -> String {
            "m".into()
        }
    }

    fn pair(doc_id: usize, idx: usize, context: String) -> Instance {
        let request = Request::Loglikelihood { context, continuation: format!(" {idx}") };
        Instance { doc_id, idx, repeats: 1, request }
    }

    fn instances(docs: usize) -> Vec<Instance> {
        (0..docs).flat_map(|doc| (0..4).map(move |idx| pair(doc, idx, format!("{doc} ").repeat(doc % 700)))).collect()
    }

    #[test]
    fn the_longest_come_first_and_the_choices_of_a_context_stay_together() {
        let instances = instances(800);
        let batches = batches(&instances);
        let all: Vec<&Question> = batches.iter().flatten().collect();
        // Contexts of no words are equal, so their choices are asked once.
        assert_eq!(all.len(), 4 * 799);
        assert!(all.windows(2).all(|pair| context(&pair[0].request).len() >= context(&pair[1].request).len()));
        assert!(all.chunks(4).all(|four| four.iter().all(|q| context(&q.request) == context(&four[0].request))));
        assert!(batches.len() > 10 && batches.iter().all(|batch| batch.len() <= BATCH_REQUESTS));
    }

    #[test]
    fn a_batch_holds_one_kind_and_one_long_request_is_a_batch() {
        let long = Instance {
            doc_id: 0,
            idx: 0,
            repeats: 2,
            request: Request::LoglikelihoodRolling { text: "x".repeat(2 * BATCH_CHARS) },
        };
        let mixed = [pair(0, 0, "a".into()), long, pair(1, 0, "b".into())];
        let sizes: Vec<usize> = batches(&mixed).iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1]);
    }

    #[test]
    fn what_is_answered_is_never_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| Journal::open(&dir.path().join(name), "m").unwrap();
        let instances = instances(300);
        let batches = batches(&instances);
        let total: usize = batches.iter().map(Vec::len).sum();
        let silent = &mut |_, _| {};

        let mut failing = Counting { fails_at: Some(total / 2), ..Counting::default() };
        let (mut journal, mut cache) = (open("journal"), open("cache"));
        let failed = answer(&batches, &mut failing, &mut journal, Some(&mut cache), silent);
        assert_eq!(failed.unwrap_err().to_string(), "it fell over");
        drop(journal);

        // Only the batch in which it fell over is asked again.
        let (mut model, mut journal) = (Counting::default(), open("journal"));
        let kept = journal.answers().len();
        let mut last = (0, 0);
        answer(&batches, &mut model, &mut journal, Some(&mut cache), &mut |done, of| last = (done, of)).unwrap();
        assert_eq!((model.asked, last), (total - kept, (total, total)));
        assert!(kept + BATCH_REQUESTS > total / 2, "{kept}");

        let mut other = open("other");
        answer(&batches, &mut model, &mut other, Some(&mut cache), silent).unwrap();
        assert_eq!(model.asked, total - kept);
        assert_eq!(other.answers(), journal.answers());
    }

    #[test]
    fn a_model_that_answers_too_little_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(&dir.path().join("a"), "m").unwrap();
        let settings = Generation {
            until: vec![],
            max_gen_toks: None,
            do_sample: false,
            temperature: 0.0,
            top_p: 1.0,
            top_k: None,
            repeat: 0,
        };
        let request = Request::GenerateUntil { context: "a".into(), settings };
        let batches = batches(&[Instance { doc_id: 0, idx: 0, repeats: 1, request }]);
        let failed = answer(&batches, &mut Counting::default(), &mut journal, None, &mut |_, _| {});
        assert_eq!(failed.unwrap_err().to_string(), "the model answered 0 of 1 requests");
        assert_eq!(journal.answers().len(), 0);
    }
}
