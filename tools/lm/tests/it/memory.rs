//! Training says what it will hold, refuses what cannot fit, and takes less when memory becomes short.

use std::{cell::Cell, process::Command};

use tunesmith_lm::{
    config::Config,
    engine::{
        batch::Sequence,
        keep_freed_memory,
        params::{Method, random_weights},
    },
    lora::LoraConfig,
    pretrain::ModelShape,
    rng::Rng,
    train::{
        Control, Progress, Spec, Trained, forecast,
        memory::{Demand, Memory, Plan},
        train,
    },
    weights::Weights,
};

use crate::train::{lora, rows, small, spec};

fn long_rows(n: usize, len: usize, vocab: usize) -> Vec<Sequence> {
    let mut rng = Rng::new(1, "rows");
    (0..n).map(|_| Sequence::from((0..len).map(|_| rng.below(vocab) as u32).collect(), 1)).collect()
}

/// Calls `f` with what a run of many long rows on a middling model needs.
fn demand<R>(method: &Method, spec: &Spec, f: impl FnOnce(&Demand<'_>) -> R) -> R {
    let shape = ModelShape { vocab: 512, hidden: 64, inner: 128, layers: 6, heads: 4, kv_heads: 2, context: 512 };
    let config = shape.config().unwrap();
    let weights = random_weights(&config, 1);
    f(&Demand::new((&config, &weights), (method, spec), (&long_rows(32, 256, 512), &[]), 2))
}

fn total(demand: &Demand<'_>, plan: Plan) -> u64 {
    demand.estimate(plan, &Memory::default()).unwrap().total
}

fn limited(limit: u64) -> Memory<'static> {
    Memory { limit: Some(limit), ..Memory::default() }
}

#[test]
fn a_plan_is_what_was_asked_then_smaller_parts_then_layers_computed_twice_then_both() {
    demand(&lora(), &Spec::default(), |demand| {
        let plan = |micro_tokens, recompute| Plan { micro_tokens, recompute };
        let chosen = |limit| demand.plan(&limited(limit)).unwrap().0;
        assert_eq!(demand.plan(&Memory::default()).unwrap().0, plan(4096, false));
        let smaller = [4096, 2048, 1024, 512, 256];
        for micro_tokens in smaller {
            let plan = plan(micro_tokens, false);
            assert_eq!(chosen(total(demand, plan)), plan);
        }
        // Layers that are computed twice in large parts take more than small parts, so both come last.
        let both = total(demand, plan(256, true));
        assert_eq!(chosen(both), plan(256, true));
        assert!(both < total(demand, plan(256, false)));
        let refused = demand.plan(&limited(both - 1)).unwrap_err().to_string();
        assert!(refused.starts_with("memory: training needs "), "{refused}");
        assert!(refused.contains(": use max_length 128, or r 2"), "{refused}");
    });
}

#[test]
fn full_training_that_cannot_fit_names_lora_and_nothing_that_would_not_fit_either() {
    demand(&Method::Full, &spec(), |demand| {
        let least = total(demand, Plan { micro_tokens: 256, recompute: true });
        let refused = demand.plan(&limited(least - 1)).unwrap_err().to_string();
        assert!(refused.ends_with(": use max_length 128, or method lora"), "{refused}");
        let refused = demand.plan(&limited(1 << 20)).unwrap_err().to_string();
        assert!(refused.ends_with(" and 1 MB are there: use a smaller base"), "{refused}");
    });
}

/// Trains while memory is short before these steps.
fn pressed(method: &Method, short: &[usize], told: &mut Vec<Plan>) -> Trained {
    let (config, weights) = small();
    let (rows, valid) = (rows(40, 1), rows(10, 2));
    let asked = Cell::new(0);
    let pressure = || {
        asked.set(asked.get() + 1);
        short.contains(&asked.get())
    };
    let mut on = |progress: Progress| {
        told.push(progress.plan);
        Ok(())
    };
    let memory = Memory { pressure: Some(&pressure), ..Memory::default() };
    let mut control = Control { deadline: None, on: &mut on, checkpoint: None, memory };
    train((&config, &weights), (method, &spec()), (&rows, &valid), &mut control).unwrap()
}

#[test]
fn pressure_lowers_the_parts_and_then_computes_twice_with_the_same_losses() {
    for method in [lora(), Method::Full] {
        let calm = pressed(&method, &[], &mut Vec::new());
        assert_eq!(calm.report.plans, [(0, Plan { micro_tokens: 4096, recompute: false })]);
        let mut told = Vec::new();
        let pressed = pressed(&method, &[2, 3, 4, 6, 7, 8, 9, 10], &mut told);
        let plans = &pressed.report.plans;
        // Down to the longest row, which is never cut.
        let longest = rows(40, 1).iter().map(|row| row.tokens.len()).max().unwrap();
        let micro: Vec<usize> = plans.iter().map(|(_, plan)| plan.micro_tokens).collect();
        assert!(micro.is_sorted_by(|a, b| a >= b), "{plans:?}");
        assert_eq!(plans.last().unwrap().1, Plan { micro_tokens: longest, recompute: true }, "{plans:?}");
        assert_eq!(plans.iter().filter(|(_, plan)| plan.recompute).count(), 1, "{plans:?}");
        assert_eq!((plans[1].0, told[0], told[1]), (1, plans[0].1, plans[1].1));
        assert_eq!(told.last(), plans.last().map(|(_, plan)| plan));
        let losses = |trained: &Trained| trained.report.curve.clone();
        for ((step, calm), (_, pressed)) in losses(&calm).into_iter().zip(losses(&pressed)) {
            assert!((calm - pressed).abs() < 1e-5, "step {step}: {calm} and {pressed}");
        }
        assert_eq!(calm.report.trained_tokens, pressed.report.trained_tokens);
    }
}

#[test]
fn a_limit_cuts_the_steps_and_training_stays_what_it_was() {
    let (config, weights) = small();
    let (rows, method, spec) = (rows(40, 1), lora(), spec());
    let asked = Demand::new((&config, &weights), (&method, &spec), (&rows, &[]), 2);
    let tight = limited(total(&asked, asked.asked()) - 1);
    let run = |memory: Memory<'_>| {
        let mut control = Control { deadline: None, on: &mut |_| Ok(()), checkpoint: None, memory };
        train((&config, &weights), (&method, &spec), (&rows, &[]), &mut control)
    };
    let (free, tight_run) = (run(Memory::default()).unwrap(), run(tight).unwrap());
    let (_, plan) = tight_run.report.plans[0];
    assert!(plan.micro_tokens < asked.longest() * 8 && tight_run.report.plans.len() == 1, "{plan:?}");
    for ((_, free), (_, tight)) in free.report.curve.iter().zip(&tight_run.report.curve) {
        assert!((free - tight).abs() < 1e-5, "{free} and {tight}");
    }
    let refused = run(limited(1 << 20)).unwrap_err().to_string();
    assert!(refused.starts_with("memory: training needs "), "{refused}");
    let forecast = forecast((&config, &weights), (&method, &spec), (&rows, &[]), &Memory::default()).unwrap();
    assert_eq!((forecast.steps, forecast.tokens), (15, free.report.tokens));
    assert!(forecast.seconds > 0.0 && forecast.seconds.is_finite());
}

/// Shape, whether everything is trained, whether layers are computed twice, tokens of a part and of a row. Layers are
/// computed twice only where parts cannot be smaller.
const CASES: [(&str, bool, bool, usize, usize); 12] = [
    ("wide", false, false, 4096, 256),
    ("wide", false, false, 1024, 256),
    ("wide", false, false, 256, 256),
    ("wide", false, true, 1024, 1024),
    ("wide", true, false, 1024, 256),
    ("wide", true, true, 256, 256),
    ("vocab", false, false, 2048, 128),
    ("vocab", false, true, 512, 512),
    ("vocab", true, false, 512, 128),
    ("deep", false, false, 2048, 512),
    ("deep", false, true, 2048, 2048),
    ("deep", true, true, 1024, 1024),
];

fn shape(name: &str) -> ModelShape {
    match name {
        "wide" => {
            ModelShape { vocab: 8192, hidden: 768, inner: 2048, layers: 8, heads: 12, kv_heads: 4, context: 1024 }
        }
        "vocab" => {
            ModelShape { vocab: 65_536, hidden: 512, inner: 1024, layers: 4, heads: 8, kv_heads: 8, context: 512 }
        }
        _ => ModelShape { vocab: 16_384, hidden: 384, inner: 1024, layers: 24, heads: 6, kv_heads: 2, context: 2048 },
    }
}

/// Set in the processes that the measurement starts: the index of a case.
const CASE: &str = "TUNESMITH_MEMORY_CASE";

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn measure(case: usize) {
    keep_freed_memory();
    let (name, full, recompute, micro_tokens, length) = CASES[case];
    let config: Config = shape(name).config().unwrap();
    let weights: Weights = random_weights(&config, 1);
    let method = if full { Method::Full } else { Method::Lora(LoraConfig::default()) };
    let spec = Spec { epochs: 1, batch_size: 8192 / length / 2, micro_tokens, learning_rate: 1e-4, ..Spec::default() };
    let rows = long_rows(2 * spec.batch_size, length, config.vocab_size);
    let threads = rayon::current_num_threads();
    let demand = Demand::new((&config, &weights), (&method, &spec), (&rows, &[]), threads);
    let plan = Plan { micro_tokens, recompute };
    let memory = Memory { held: status("RssAnon:"), peak: status("VmHWM:"), ..Memory::default() };
    let estimate = demand.estimate(plan, &memory).unwrap();
    let once = Cell::new(recompute);
    let pressure = || once.replace(false);
    let memory = Memory { pressure: Some(&pressure), ..memory };
    let mut control = Control { deadline: None, on: &mut |_| Ok(()), checkpoint: None, memory };
    let trained = train((&config, &weights), (&method, &spec), (&rows, &[]), &mut control).unwrap();
    if let Method::Lora(lora) = &method {
        trained.params.adapter(lora, &trained.slots).merge(&weights, &config).unwrap();
    }
    println!("\nmeasured {} {}", serde_json::to_string(&estimate).unwrap(), status("VmHWM:"));
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "measures whole processes for minutes"]
fn soak_estimates_are_within_a_fifth() {
    if let Some(case) = std::env::var(CASE).ok().and_then(|case| case.parse().ok()) {
        return measure(case);
    }
    let mut wrong = Vec::new();
    for (i, case) in CASES.iter().enumerate() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["memory::soak_estimates_are_within_a_fifth", "--exact", "--ignored", "--nocapture"]);
        let output = child.env(CASE, i.to_string()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("measured ")).unwrap_or_else(|| panic!("{text}"));
        let (estimate, peak) = line.rsplit_once(' ').unwrap();
        let peak: f64 = peak.parse().unwrap();
        let all: serde_json::Value = serde_json::from_str(estimate).unwrap();
        let ratio = all["total"].as_f64().unwrap() / peak;
        println!("{ratio:.3} {case:?}: {estimate}, measured {peak}");
        if !(0.8..=1.2).contains(&ratio) {
            wrong.push((case, ratio));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
