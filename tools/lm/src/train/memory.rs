//! What training takes of memory, said before it starts, and how a step is made to fit into what there is.
//!
//! Nothing here reads the machine: how much there is, the caller says.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{
    Objective, Spec,
    batches::{groups_of, order_of_epoch},
};
use crate::{
    config::Config,
    cost::Rows,
    engine::{
        batch::{SHARDS, Sequence, runs, shards},
        params::{Method, Slots},
    },
    error::{Error, Result},
    weights::{LayerWeights, Numbers, Weights},
};

mod sizes;

use sizes::{Part, Sizes};

/// What the process may take, and what it has taken. Affects how a step is cut, and so results only by rounding.
#[derive(Clone, Copy, Default)]
pub struct Memory<'a> {
    /// Most bytes that the process may hold; `None`: nothing is refused, and steps are cut as asked.
    pub limit: Option<u64>,
    /// Bytes of its own that the process holds before training: weights in memory, tokenizer, rows. 0 where unknown.
    pub held: u64,
    /// Most bytes that it has held so far. 0 where unknown.
    pub peak: u64,
    /// Asked before each step: whether memory has become short.
    pub pressure: Option<&'a dyn Fn() -> bool>,
}

/// How steps are cut into parts. Effective batch, lengths and method are the same with every plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Tokens worked on at a time.
    pub micro_tokens: usize,
    /// Whether layers are computed twice in place of keeping what the backward pass needs.
    pub recompute: bool,
}

impl Plan {
    /// The smaller in each respect of this plan and that of an interrupted run, which goes on as it was where it can.
    pub(super) fn with(self, before: Option<Plan>) -> Self {
        before.map_or(self, |before| Plan {
            micro_tokens: self.micro_tokens.min(before.micro_tokens),
            recompute: self.recompute || before.recompute,
        })
    }
}

/// Bytes that training takes, by what takes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// The base's tensors.
    pub weights: u64,
    /// The trained numbers: as they are, as variables, their moments, gradients and best state.
    pub trained: u64,
    /// What layers keep for the backward pass, and what that takes.
    pub activations: u64,
    /// Logits and what else the loss takes.
    pub head: u64,
    /// The rest of the process.
    pub other: u64,
    /// The peak; less than the sum, because not everything is held at once.
    pub total: u64,
}

/// Everything about a run that its memory depends on.
pub struct Demand<'a> {
    config: &'a Config,
    weights: &'a Weights,
    method: &'a Method,
    spec: &'a Spec,
    lengths: Vec<usize>,
    targets: Vec<usize>,
    groups: Vec<Vec<usize>>,
    evaluates: bool,
    threads: usize,
}

/// What a run works through, in all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amount {
    /// Optimizer steps.
    pub steps: usize,
    /// Evaluations.
    pub evaluations: usize,
    /// Tokens of these steps.
    pub tokens: usize,
    /// What these rows look like.
    pub rows: Rows,
}

/// Bytes of the program's own code and tables that are paged in.
const PROGRAM: u64 = 16 << 20;
/// Bytes of the process where the caller does not know: threads, tokenizer, rows.
const UNKNOWN: u64 = 32 << 20;
/// Bytes in which a thread lays out columns of its matrix products.
const PANEL: u64 = 1 << 20;
/// Where a step has several parts, one of so many bytes of activations lies between buffers of the part before, where nothing fits.
const UNUSED: u64 = 5;
const F32: u64 = 4;

impl<'a> Demand<'a> {
    /// Of a run on `threads` threads.
    pub fn new(
        (config, weights): (&'a Config, &'a Weights),
        (method, spec): (&'a Method, &'a Spec),
        (train, valid): (&[Sequence], &[Sequence]),
        threads: usize,
    ) -> Self {
        let (lengths, targets) = (train.iter().map(|row| row.tokens.len()), train.iter().map(Sequence::targets));
        let (lengths, targets): (Vec<usize>, Vec<usize>) = (lengths.collect(), targets.collect());
        let groups = groups_of(spec, &lengths);
        Demand { config, weights, method, spec, lengths, targets, groups, evaluates: !valid.is_empty(), threads }
    }

    /// What the run works through when nothing stops it early.
    pub fn amount(&self) -> Amount {
        let per_epoch = self.groups.len().div_ceil(self.spec.batch_size).max(1);
        let all = per_epoch * self.spec.epochs;
        let steps = self.spec.max_steps.map_or(all, |most| most.min(all));
        let every = self.spec.eval_steps.unwrap_or(per_epoch);
        let evaluations = if self.evaluates { steps / every + usize::from(!steps.is_multiple_of(every)) } else { 0 };
        let (mut tokens, mut squares, mut targets) = (0, 0.0, 0);
        self.each_step(steps, |groups| {
            for row in groups.iter().flat_map(|group| &self.groups[*group]) {
                tokens += self.lengths[*row];
                squares += (self.lengths[*row] as f64).powi(2);
                targets += self.targets[*row];
            }
        });
        let all = tokens.max(1) as f64;
        Amount { steps, evaluations, tokens, rows: Rows { length: squares / all, trained: targets as f64 / all } }
    }

    /// Calls `f` with the groups of each of the first `steps` steps, in the order of training.
    fn each_step(&self, steps: usize, mut f: impl FnMut(&[usize])) {
        let mut left = steps;
        for epoch in 0..self.spec.epochs {
            if left == 0 {
                return;
            }
            let order = order_of_epoch(self.spec, self.groups.len(), epoch);
            let taken: Vec<&[usize]> = order.chunks(self.spec.batch_size).take(left).collect();
            taken.iter().for_each(|groups| f(groups));
            left -= taken.len();
        }
    }

    /// The most tokens of a group, which is never cut.
    pub fn longest(&self) -> usize {
        self.groups.iter().map(|group| self.tokens(group)).max().unwrap_or(0)
    }

    fn tokens(&self, group: &[usize]) -> usize {
        group.iter().map(|row| self.lengths[*row]).sum()
    }

    /// The plan that the spec asks for.
    pub fn asked(&self) -> Plan {
        Plan { micro_tokens: self.spec.micro_tokens, recompute: false }
    }

    /// The next plan that takes less; `None` where there is none.
    pub fn less(&self, plan: Plan) -> Option<Plan> {
        let largest = self.largest_step();
        let longest = self.longest();
        let micro_tokens = plan.micro_tokens.min(largest);
        match () {
            () if micro_tokens > longest => Some(Plan { micro_tokens: (micro_tokens / 2).max(longest), ..plan }),
            () if !plan.recompute => Some(Plan { recompute: true, ..plan }),
            () => None,
        }
    }

    /// At least as many tokens as any step has.
    fn largest_step(&self) -> usize {
        let mut tokens: Vec<usize> = self.groups.iter().map(|group| self.tokens(group)).collect();
        tokens.sort_unstable_by(|a, b| b.cmp(a));
        tokens.iter().take(self.spec.batch_size).sum()
    }

    /// Every plan in the order in which they are tried: as asked, smaller parts, layers computed twice, both.
    fn plans(&self) -> Vec<Plan> {
        let mut smaller = vec![self.asked()];
        while let Some(plan) = smaller.last().and_then(|plan| self.less(*plan)).filter(|plan| !plan.recompute) {
            smaller.push(plan);
        }
        let twice: Vec<Plan> = smaller.iter().map(|plan| Plan { recompute: true, ..*plan }).collect();
        smaller.into_iter().chain(twice).collect()
    }

    /// The first plan that fits into `memory`, with what it takes; an error names settings that would.
    pub fn plan(&self, memory: &Memory<'_>) -> Result<(Plan, Estimate)> {
        match self.fitting(memory)? {
            Ok(found) => Ok(found),
            Err(least) => Err(self.refused(least, memory)),
        }
    }

    /// The same; where nothing fits, what the smallest plan takes.
    fn fitting(&self, memory: &Memory<'_>) -> Result<Result<(Plan, Estimate), Estimate>> {
        let mut least: Option<Estimate> = None;
        for plan in self.plans() {
            let estimate = self.estimate(plan, memory)?;
            if memory.limit.is_none_or(|limit| estimate.total <= limit) {
                return Ok(Ok((plan, estimate)));
            }
            least = least.filter(|least| least.total <= estimate.total).or(Some(estimate));
        }
        Ok(Err(least.unwrap_or_default()))
    }

    fn refused(&self, least: Estimate, memory: &Memory<'_>) -> Error {
        let mut would: Vec<String> = Vec::new();
        would.extend(self.shorter(memory));
        would.extend(self.other_method(memory));
        if would.len() < 2 {
            would.push("a smaller base".to_owned());
        }
        Error::Memory(format!(
            "training needs {} and {} are there: use {}",
            amount(least.total),
            amount(memory.limit.unwrap_or(u64::MAX)),
            would.join(", or ")
        ))
    }

    fn fits(&self, memory: &Memory<'_>) -> bool {
        matches!(self.fitting(memory), Ok(Ok(_)))
    }

    /// The largest half, quarter and so on of the longest row with which the run would fit.
    fn shorter(&self, memory: &Memory<'_>) -> Option<String> {
        let longest = self.lengths.iter().copied().max().unwrap_or(0);
        let halves = std::iter::successors(Some(longest / 2), |most| Some(most / 2)).take_while(|most| *most >= 32);
        let mut halves = halves.map(|most| (most, self.with(self.method, |length| length.min(most))));
        halves.find_map(|(most, demand)| demand.fits(memory).then(|| format!("max_length {most}")))
    }

    /// Fewer trained numbers with which the run would fit.
    fn other_method(&self, memory: &Memory<'_>) -> Option<String> {
        let fits = |method: &Method| self.with(method, |length| length).fits(memory);
        match self.method {
            Method::Full => {
                let lora = Method::Lora(Default::default());
                fits(&lora).then(|| "method lora".to_owned())
            }
            Method::Lora(lora) => {
                let ranks = std::iter::successors(Some(lora.r / 2), |r| Some(r / 2)).take_while(|r| *r >= 1);
                let mut ranks = ranks.map(|r| (r, Method::Lora(crate::lora::LoraConfig { r, ..lora.clone() })));
                ranks.find_map(|(r, method)| fits(&method).then(|| format!("r {r}")))
            }
        }
    }

    fn with<'b>(&'b self, method: &'b Method, length: impl Fn(usize) -> usize) -> Demand<'b> {
        let lengths: Vec<usize> = self.lengths.iter().map(|n| length(*n)).collect();
        let targets = self.targets.iter().zip(&lengths).map(|(targets, length)| *targets.min(length)).collect();
        let groups = self.groups.clone();
        Demand { method, lengths, targets, groups, ..*self }
    }

    /// What training takes with `plan`.
    pub fn estimate(&self, plan: Plan, memory: &Memory<'_>) -> Result<Estimate> {
        let slots = Slots::new(self.config, self.method)?;
        let sizes = Sizes::new(self.config, &slots);
        let amount = self.amount();
        let threads = self.threads.min(SHARDS) as u64;
        let (mut activations, mut head, mut worst, mut rooms, mut several) = (0, 0, 0, 0, false);
        self.each_step(amount.steps, |groups| {
            let parts = runs(groups, |group| self.tokens(&self.groups[*group]), plan.micro_tokens);
            several |= parts.len() > 1;
            for part in parts {
                let part = self.part(part);
                let kept = sizes.kept(part.tokens, plan.recompute);
                let transient = sizes.transient(&part, threads, plan.recompute);
                let loss = sizes.loss(&part, threads);
                (activations, head) = (activations.max(kept + transient), head.max(loss));
                worst = worst.max(kept + transient + loss);
                rooms = rooms.max(sizes.rooms(&part, threads));
            }
        });
        let n = sizes.numbers * F32;
        // Numbers, variables and moments, and the best state where one is found before the last step.
        let best = if amount.evaluations > 1 { n } else { 0 };
        let standing = 4 * n + best;
        let summed = if several { n } else { 0 };
        // While the backward pass frees what layers kept, gradients take its place; at its end they are all there twice.
        let worst = if several { worst + activations / UNUSED } else { worst };
        let peak = (summed + worst + sizes.gradients()).max(2 * n + sizes.gradients());
        let weights = self.weights.bytes(self.config) as u64;
        let owned = owned(self.weights, self.config);
        let held = memory.held.checked_sub(owned).filter(|_| memory.held > 0).unwrap_or(UNKNOWN);
        let whole = slots.layers.iter().flat_map(|layer| &layer.linears).any(|slot| slot.weight.is_some());
        let plain = self.weights.layers.iter().flat_map(LayerWeights::linears).any(|weight| weight.plain().is_some());
        let panels = if plain || whole || !plan.recompute { sizes.panels } else { 0 };
        let other = held + PROGRAM + sizes.tables + panels + rooms + PANEL * self.threads as u64;
        // An adapter is tried out at the end: merged into copies of the layers that it changes.
        let merged = 3 * n + sizes.merged;
        let total = (weights + other + (standing + peak).max(merged)).max(memory.peak);
        let trained = standing + summed + n;
        Ok(Estimate { weights, trained, activations, head, other, total })
    }

    fn part(&self, groups: &[usize]) -> Part {
        let rows: Vec<usize> = groups.iter().flat_map(|group| self.groups[*group].iter().copied()).collect();
        let tokens = |rows: &[usize]| self.tokens(rows);
        let cut: Vec<Range<usize>> = match self.spec.objective {
            Objective::Sft => shards(&rows.iter().map(|row| self.lengths[*row]).collect::<Vec<_>>()),
            Objective::Dpo { .. } => {
                let pairs = shards(&rows.chunks(2).map(tokens).collect::<Vec<_>>());
                pairs.into_iter().map(|pairs| 2 * pairs.start..(2 * pairs.end).min(rows.len())).collect()
            }
        };
        let shard = |range: &Range<usize>| tokens(&rows[range.clone()]);
        let targets = |range: &Range<usize>| rows[range.clone()].iter().map(|row| self.targets[*row]).sum::<usize>();
        Part {
            tokens: tokens(&rows) as u64,
            shards: cut.len() as u64,
            shard: cut.iter().map(shard).max().unwrap_or(0) as u64,
            targets: cut.iter().map(targets).max().unwrap_or(0) as u64,
            longest: rows.iter().map(|row| self.lengths[*row]).max().unwrap_or(0) as u64,
        }
    }
}

/// Bytes of the weights that are not in a mapped file.
fn owned(weights: &Weights, config: &Config) -> u64 {
    let bytes = |numbers: Numbers<'_>| match numbers {
        Numbers::Vector(values) => values.len() as u64 * F32,
        Numbers::Matrix(matrix) if matrix.in_memory() => matrix.bytes() as u64,
        Numbers::Matrix(_) => 0,
    };
    weights.named(config).into_iter().map(|(.., numbers)| bytes(numbers)).sum()
}

/// Bytes as people read them.
fn amount(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
