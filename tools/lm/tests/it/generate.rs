//! Logits against transformers, and generation against plain forward passes.

use tunesmith_lm::{
    generate::{Sampling, Session},
    lora::Adapter,
    model::Model,
};

use crate::engine::{floats, furthest, golden, row};

fn open(name: &str) -> (Model, Session, Session) {
    let (dir, config, ..) = golden(name);
    let model = Model::open(&dir).unwrap();
    let adapter = Adapter::load(&dir.join("adapter"), &config).unwrap();
    let sessions = (Session::new(&model, None).unwrap(), Session::new(&model, Some(&adapter)).unwrap());
    (model, sessions.0, sessions.1)
}

fn quiet() -> impl FnMut(usize, usize) {
    |_, _| {}
}

#[test]
fn logits_equal_transformers_and_peft_within_1e_4() {
    for name in crate::MODELS {
        let (.., expected) = golden(name);
        let (_, base, tuned) = open(name);
        let mut worst = 0f32;
        for i in 0..2 {
            let tokens = row(&expected, i).tokens;
            for (session, key) in [(&base, "logits"), (&tuned, "lora_logits")] {
                let want = floats(&expected[&format!("{key}.{i}")]);
                let got = session.logits(&tokens).unwrap();
                let difference = furthest(&got, &want);
                assert!(difference < 1e-4, "{name} {key}.{i}: {difference}");
                worst = worst.max(difference);
            }
        }
        println!("{name}: logits differ by at most {worst:.1e}");
    }
}

#[test]
fn greedy_text_with_a_cache_equals_repeated_full_passes() {
    for name in crate::MODELS {
        let (model, session, _) = open(name);
        cached_equals_full(&session, if model.config.sliding.is_some() { 20 } else { 6 });
    }
}

fn cached_equals_full(session: &Session, steps: usize) {
    let prompts: Vec<Vec<u32>> = vec![vec![5, 9, 100], vec![7], vec![30, 31, 32, 33, 34, 35]];
    let got = session.generate(&prompts, &Sampling::greedy(steps, vec![]), &mut quiet()).unwrap();
    for (prompt, completion) in prompts.iter().zip(&got) {
        let mut all = prompt.clone();
        for _ in 0..steps {
            let logits = session.logits(&all).unwrap();
            let last = &logits[logits.len() / all.len() * (all.len() - 1)..];
            let best = (0..last.len()).rev().max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
            all.push(best as u32);
        }
        assert_eq!((&completion.ids[..], completion.stopped), (&all[prompt.len()..], false));
    }
}

#[test]
fn stop_tokens_and_strings_end_a_text() {
    let (_, session, _) = open("llama/tied");
    let prompt = vec![vec![5, 9, 100]];
    let free = &session.generate(&prompt, &Sampling::greedy(8, vec![]), &mut quiet()).unwrap()[0];
    let stop_id = free.ids[3];
    let first = free.ids.iter().position(|id| *id == stop_id).unwrap();
    let stopped = &session.generate(&prompt, &Sampling::greedy(8, vec![stop_id]), &mut quiet()).unwrap()[0];
    assert_eq!((&stopped.ids[..], stopped.stopped), (&free.ids[..first], true));
    let word: String = free.text.chars().skip(2).take(3).collect();
    let sampling = Sampling { stop: vec![word.clone()], ..Sampling::greedy(8, vec![]) };
    let cut = &session.generate(&prompt, &sampling, &mut quiet()).unwrap()[0];
    assert_eq!((cut.text.as_str(), cut.stopped), (free.text.split(&word).next().unwrap(), true));
}

#[test]
fn draws_repeat_with_the_seed_and_change_with_it() {
    let (_, session, _) = open("llama/tied");
    let draw = |seed| {
        let sampling = Sampling { temperature: 1.0, top_p: 0.9, seed, ..Sampling::greedy(20, vec![]) };
        session.generate(&[vec![5, 9], vec![5, 9]], &sampling, &mut quiet()).unwrap()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert_ne!(draw(1)[0], draw(1)[1]);
}

#[test]
fn loglikelihood_equals_the_sum_over_a_full_pass() {
    for name in crate::MODELS {
        let (_, session, _) = open(name);
        likelihood_equals_full(&session);
    }
}

fn likelihood_equals_full(session: &Session) {
    let long = (40..60).collect();
    let requests = vec![
        (long, vec![vec![3, 9, 27, 81, 243], vec![6, 1]]),
        (vec![4, 8, 15], vec![vec![16], vec![23, 42], vec![23, 42, 7]]),
        (vec![9], vec![vec![1, 2]]),
    ];
    let got = session.loglikelihood(&requests, &mut quiet()).unwrap();
    for ((context, continuations), scores) in requests.iter().zip(&got) {
        for (continuation, score) in continuations.iter().zip(scores) {
            let all = [context.clone(), continuation.clone()].concat();
            let logits = session.logits(&all).unwrap();
            let vocab = logits.len() / all.len();
            let (mut sum, mut greedy) = (0.0, true);
            for (i, &token) in continuation.iter().enumerate() {
                let row = &logits[(context.len() + i - 1) * vocab..][..vocab];
                let lse = row.iter().map(|v| f64::from(*v).exp()).sum::<f64>().ln();
                sum += f64::from(row[token as usize]) - lse;
                greedy &= row.iter().all(|v| *v <= row[token as usize]);
            }
            assert!((score.sum - sum).abs() < 1e-4 && score.greedy == greedy && score.tokens == continuation.len());
        }
    }
}

#[test]
fn the_number_of_labels_changes_no_score() {
    let (_, session, _) = open("llama/wide");
    let some: Vec<Vec<u32>> = vec![vec![16], vec![23, 42], vec![23, 42, 7]];
    // More tokens than are fed at a time.
    let many: Vec<Vec<u32>> = some.iter().cycle().take(9_000).cloned().collect();
    let score = |labels: Vec<Vec<u32>>| session.loglikelihood(&[(vec![4, 8, 15], labels)], &mut quiet()).unwrap();
    let (few, all) = (score(some), score(many));
    assert_eq!(all[0].len(), 9_000);
    for (i, scored) in all[0].iter().enumerate() {
        let alone = &few[0][i % 3];
        assert!((scored.sum - alone.sum).abs() < 1e-5 && scored.greedy == alone.greedy, "{i}: {scored:?} {alone:?}");
    }
}

#[test]
fn what_does_not_fit_the_context_is_an_error() {
    let (model, session, _) = open("llama/tied");
    let long = vec![1; model.config.max_position_embeddings + 1];
    assert!(session.logits(&long).unwrap_err().to_string().contains("context"));
    assert!(session.generate(&[vec![]], &Sampling::greedy(1, vec![]), &mut quiet()).is_err());
    let full = &session.generate(&[long[1..].to_vec()], &Sampling::greedy(5, vec![]), &mut quiet()).unwrap()[0];
    assert_eq!((full.ids.len(), full.stopped), (1, false));
}
