//! Simulations: do intervals cover as often as they say, and do tests call noise a difference no oftener than they may?
//!
//! Seeds are fixed. `cargo test` makes few draws and allows for their scatter; `soak_*` makes 20,000 and holds the results
//! to 93.5 to 96.5 % of coverage, and 5.5 % of false alarms (5 % for exact tests, plus three times the scatter of the draws).
//! For single shares the exact coverage can be computed and is held to the same bounds; at n = 100 it comes so close to the
//! lower one (93.6 %) that 20,000 draws of it get their scatter too.

use tunesmith_harness::stats::{
    Estimate, Sums, Tries, benjamini_hochberg, bootstrap, clopper_pearson, clustered_share, detectable_paired, fisher,
    hierarchical, mcnemar, noise_floor, paired_permutation, paired_share, percentile_interval, share, unpaired_share,
    wilson_at,
};

const ALPHA: f64 = 0.05;

/// How many draws, and how far a share of them may be from what is promised by chance alone.
#[derive(Clone, Copy)]
struct Count {
    draws: usize,
    slack: f64,
}

/// 1,000 draws of 5 % scatter by 0.7 points; four times that is allowed.
const FEW: Count = Count { draws: 1_000, slack: 0.028 };
const MANY: Count = Count { draws: 20_000, slack: 0.0 };

impl Count {
    fn covers(self, what: &str, covered: usize) {
        let share = covered as f64 / self.draws as f64;
        assert!((0.935 - self.slack..=0.965 + self.slack).contains(&share), "{what}: covers {share}");
    }

    fn false_alarms(self, what: &str, alarms: usize, most: f64) {
        let share = alarms as f64 / self.draws as f64;
        assert!(share <= most + self.slack, "{what}: {share} false alarms");
    }

    /// A test that is exact has at most 5 %; what is drawn scatters around that.
    fn exact(self, what: &str, alarms: usize) {
        let scatter = 3.0 * (0.05 * 0.95 / self.draws as f64).sqrt();
        self.false_alarms(what, alarms, 0.05 + scatter - self.slack);
    }
}

/// PCG, M. E. O'Neill (2014): another generator than the one under test.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u32 {
        let old = self.0;
        self.0 = old.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((((old >> 18) ^ old) >> 27) as u32).rotate_right((old >> 59) as u32)
    }

    fn unit(&mut self) -> f64 {
        (f64::from(self.next()) + 0.5) / 4_294_967_296.0
    }

    fn is(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    fn right(&mut self, n: usize, p: f64) -> usize {
        (0..n).filter(|_| self.is(p)).count()
    }

    /// Right-or-wrong items of which any two of a cluster correlate by `icc`, and their clusters.
    fn clusters(&mut self, clusters: usize, size: usize, p: f64, icc: f64) -> Vec<bool> {
        let mut items = Vec::with_capacity(clusters * size);
        for _ in 0..clusters {
            let common = self.is(p);
            for _ in 0..size {
                items.push(if self.is(icc.sqrt()) { common } else { self.is(p) });
            }
        }
        items
    }
}

fn within((low, high): (f64, f64), value: f64) -> bool {
    low - 1e-12 <= value && value <= high + 1e-12
}

fn names(clusters: usize, size: usize) -> Vec<usize> {
    (0..clusters * size).map(|item| item / size).collect()
}

fn number(right: bool) -> f64 {
    f64::from(u8::from(right))
}

fn shares_cover(mut count: Count) {
    let mut draws = Draws(101);
    count.slack = count.slack.max(3.0 * (0.05 * 0.95 / count.draws as f64).sqrt());
    for n in [100, 200, 500, 1000] {
        for tenth in 1..10 {
            let p = f64::from(tenth) / 10.0;
            // Symmetric, and below one half no probability is too small to be a number.
            let exact = exact_coverage(n, p.min(1.0 - p), |right| share(right, n, ALPHA).unwrap());
            assert!((0.935..=0.965).contains(&exact), "n {n}, p {p}: covers {exact}");
            let covered = (0..count.draws).filter(|_| within(share(draws.right(n, p), n, ALPHA).unwrap(), p)).count();
            count.covers(&format!("share, n {n}, p {p}"), covered);
        }
    }
}

fn clustered_shares_cover(count: Count) {
    let mut draws = Draws(102);
    for (clusters, size) in [(50, 4), (100, 5)] {
        let names = names(clusters, size);
        for icc in [0.1, 0.4, 0.7] {
            for p in [0.1, 0.3, 0.5, 0.9] {
                let covered = (0..count.draws)
                    .filter(|_| {
                        let items = draws.clusters(clusters, size, p, icc);
                        within(clustered_share(&items, &names, ALPHA).unwrap(), p)
                    })
                    .count();
                count.covers(&format!("{clusters} clusters of {size}, correlation {icc}, p {p}"), covered);
            }
        }
    }
}

fn means_cover(count: Count) {
    let mut draws = Draws(103);
    let names = names(60, 5);
    for n in [100, 300] {
        let mut skewed = 0;
        let mut even = 0;
        for _ in 0..count.draws {
            let values: Vec<f64> = (0..n).map(|_| -draws.unit().ln()).collect();
            skewed += usize::from(within(Estimate::of(&values, None).unwrap().interval(ALPHA).unwrap(), 1.0));
            let values: Vec<f64> = (0..n).map(|_| draws.normal()).collect();
            even += usize::from(within(Estimate::of(&values, None).unwrap().interval(ALPHA).unwrap(), 0.0));
        }
        count.covers(&format!("exponential mean, n {n}"), skewed);
        count.covers(&format!("normal mean, n {n}"), even);
    }
    let clustered = (0..count.draws)
        .filter(|_| {
            let values: Vec<f64> = (0..60)
                .flat_map(|_| {
                    let common = draws.normal();
                    [0; 5].map(|_| common + draws.normal())
                })
                .collect();
            within(Estimate::of(&values, Some(&names)).unwrap().interval(ALPHA).unwrap(), 0.0)
        })
        .count();
    count.covers("mean of 60 clusters of 5", clustered);
}

fn differences_cover(count: Count) {
    let mut draws = Draws(104);
    for n in [100, 400] {
        for (a, b, both) in [(0.5, 0.5, 0.0), (0.1, 0.3, 0.0), (0.9, 0.9, 0.0), (0.7, 0.8, 0.5), (0.2, 0.6, 0.5)] {
            // With a chance of `both` the two models meet the same luck, so that they are right together.
            let covered = (0..count.draws)
                .filter(|_| {
                    let (mut only_a, mut only_b) = (0, 0);
                    for _ in 0..n {
                        let luck = draws.unit();
                        let other = if draws.is(both) { luck } else { draws.unit() };
                        only_a += usize::from(luck < a && other >= b);
                        only_b += usize::from(luck >= a && other < b);
                    }
                    within(paired_share(only_a, only_b, n, ALPHA).unwrap(), b - a)
                })
                .count();
            count.covers(&format!("paired difference, n {n}, {a} and {b}, together {both}"), covered);
        }
    }
    let names = names(60, 5);
    for (p, icc) in [(0.2, 0.3), (0.5, 0.7)] {
        let covered = (0..count.draws)
            .filter(|_| {
                let (a, b) = (draws.clusters(60, 5, p, icc), draws.clusters(60, 5, p + 0.1, icc));
                let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| number(*b) - number(*a)).collect();
                within(Estimate::of(&differences, Some(&names)).unwrap().interval(ALPHA).unwrap(), 0.1)
            })
            .count();
        count.covers(&format!("paired difference in clusters, p {p}, correlation {icc}"), covered);
    }
}

fn bootstraps_cover(count: Count) {
    let mut draws = Draws(105);
    let covered = (0..count.draws)
        .filter(|round| {
            let values: Vec<f64> = (0..100).map(|_| draws.normal()).collect();
            let means = bootstrap(100, 500, *round as u64, |picked| {
                Some(picked.iter().map(|item| values[*item]).sum::<f64>() / 100.0)
            });
            within(percentile_interval(means.unwrap(), ALPHA).unwrap(), 0.0)
        })
        .count();
    count.covers("bootstrap of a mean", covered);
    let covered = (0..count.draws)
        .filter(|round| {
            let tasks: Vec<Vec<f64>> = (0..100)
                .map(|_| {
                    let task = 2.0 * draws.normal();
                    (0..4).map(|_| task + draws.normal()).collect()
                })
                .collect();
            within(hierarchical(&tasks, ALPHA, 300, *round as u64).unwrap(), 0.0)
        })
        .count();
    count.covers("bootstrap over tasks and runs", covered);
}

fn tries_cover(count: Count) {
    let mut draws = Draws(106);
    // A task's chance is 0.2, 0.5 or 0.8, so pass@2 is 1 - (0.64 + 0.25 + 0.04) / 3 and pass^2 is as much less than 1.
    let covered = (0..count.draws)
        .filter(|_| {
            let tasks: Vec<(usize, usize)> = (0..150)
                .map(|_| {
                    let p = [0.2, 0.5, 0.8][(draws.next() % 3) as usize];
                    (5, draws.right(5, p))
                })
                .collect();
            let any = Tries::Any(2).over(&tasks, ALPHA).unwrap().1.unwrap();
            let all = Tries::All(2).over(&tasks, ALPHA).unwrap().1.unwrap();
            assert!(any.0 > all.0);
            within(any, 1.0 - 0.93 / 3.0)
        })
        .count();
    count.covers("pass@2 over tasks", covered);
}

fn mean(sums: &Sums<4>) -> Option<f64> {
    Some(sums[0] / sums[1])
}

fn summed(items: &[bool], size: usize) -> Vec<Sums<4>> {
    items.chunks(size).map(|c| [c.iter().filter(|right| **right).count() as f64, c.len() as f64, 0.0, 0.0]).collect()
}

fn tests_keep_their_level(count: Count) {
    let mut draws = Draws(107);
    for n in [100, 500] {
        for p in [0.1, 0.5, 0.9] {
            let alarms = (0..count.draws)
                .filter(|_| {
                    let (mut only_a, mut only_b) = (0, 0);
                    for _ in 0..n {
                        let (a, b) = (draws.is(p), draws.is(p));
                        only_a += usize::from(a && !b);
                        only_b += usize::from(b && !a);
                    }
                    mcnemar(only_a, only_b) < ALPHA
                })
                .count();
            count.exact(&format!("McNemar, n {n}, p {p}"), alarms);
        }
    }
    for (clusters, size, icc, p) in [(25, 4, 0.7, 0.5), (50, 4, 0.7, 0.2), (50, 4, 0.3, 0.8), (100, 3, 0.7, 0.1)] {
        let (mut permuted, mut student, mut naive) = (0, 0, 0);
        let names = names(clusters, size);
        for round in 0..count.draws {
            let (a, b) = (draws.clusters(clusters, size, p, icc), draws.clusters(clusters, size, p, icc));
            let p = paired_permutation(&summed(&a, size), &summed(&b, size), mean, 499, round as u64).unwrap();
            permuted += usize::from(p < ALPHA);
            let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| number(*b) - number(*a)).collect();
            let interval = Estimate::of(&differences, Some(&names)).unwrap().interval(ALPHA);
            student += usize::from(interval.is_some_and(|interval| !within(interval, 0.0)));
            let only = |x: &[bool], y: &[bool]| x.iter().zip(y).filter(|(x, y)| **x && !**y).count();
            naive += usize::from(mcnemar(only(&a, &b), only(&b, &a)) < ALPHA);
        }
        let what = format!("{clusters} clusters of {size}, correlation {icc}, p {p}");
        count.exact(&format!("permutation, {what}"), permuted);
        if clusters >= 50 {
            count.false_alarms(&format!("cluster-robust interval, {what}"), student, 0.055);
        }
        // What would happen without clusters: the simulation can tell a bad test from a good one.
        assert!(
            icc < 0.5 || naive as f64 > 0.11 * count.draws as f64,
            "{what}: only {naive} false alarms without clusters"
        );
    }
}

fn many_tests_find_few_false_differences(count: Count) {
    let mut draws = Draws(108);
    let mut false_share = 0.0;
    for _ in 0..count.draws {
        let truths: Vec<bool> = (0..20).map(|task| task < 5).collect();
        let p: Vec<Option<f64>> = truths
            .iter()
            .map(|real| {
                let only_b = draws.right(60, if *real { 0.75 } else { 0.5 });
                Some(mcnemar(60 - only_b, only_b))
            })
            .collect();
        let called: Vec<bool> = benjamini_hochberg(&p).iter().map(|p| p.unwrap() < ALPHA).collect();
        let wrong = called.iter().zip(&truths).filter(|(called, real)| **called && !**real).count();
        false_share += wrong as f64 / called.iter().filter(|called| **called).count().max(1) as f64;
    }
    count.false_alarms("share of false differences", false_share as usize, ALPHA);
    assert!(false_share > 0.0);
}

fn noise_stays_below_its_floor(count: Count) {
    let mut draws = Draws(109);
    for runs in [2, 3, 5] {
        let above = (0..count.draws)
            .filter(|_| {
                let repeated: Vec<f64> = (0..runs).map(|_| draws.normal()).collect();
                (draws.normal() - draws.normal()).abs() > noise_floor(&repeated, ALPHA).unwrap()
            })
            .count();
        count.false_alarms(&format!("noise of {runs} runs"), above, 0.055);
        assert!(above as f64 > 0.02 * count.draws as f64, "a floor of {runs} runs is too high");
    }
}

fn the_detectable_difference_is_found(count: Count) {
    let mut draws = Draws(110);
    // Of 1,000 items 200 differ; the difference that these show, put in, is found about four times in five.
    let effect = detectable_paired(100, 100, 1000, ALPHA).unwrap();
    let (down, up) = (0.1 - effect / 2.0, 0.1 + effect / 2.0);
    let found = (0..count.draws)
        .filter(|_| {
            let (mut only_a, mut only_b) = (0, 0);
            for _ in 0..1000 {
                let luck = draws.unit();
                only_a += usize::from(luck < down);
                only_b += usize::from(luck > 1.0 - up);
            }
            mcnemar(only_a, only_b) < ALPHA
        })
        .count() as f64
        / count.draws as f64;
    assert!((0.77 - count.slack..=0.83 + count.slack).contains(&found), "found {found}");
}

/// Each share's exact chance of being covered, without a draw.
fn exact_coverage(n: usize, p: f64, interval: impl Fn(usize) -> (f64, f64)) -> f64 {
    let chances = chances(n, p).into_iter().enumerate();
    chances.filter(|(right, _)| within(interval(*right), p)).map(|(_, chance)| chance).sum()
}

#[test]
fn clopper_pearson_never_covers_less_than_it_says() {
    for n in [5, 12, 29, 100] {
        let intervals: Vec<(f64, f64)> = (0..=n).map(|right| clopper_pearson(right, n, ALPHA).unwrap()).collect();
        for step in 1..200 {
            let p = f64::from(step) / 200.0;
            let covered = exact_coverage(n, p, |right| intervals[right]);
            assert!(covered >= 0.95 - 1e-9, "n {n}, p {p}: {covered}");
        }
    }
}

/// Coverage of a count's interval jumps with p; between the tenths that are drawn, the worst at n = 100 is 93.3 %.
#[test]
fn wilson_covers_about_what_it_says_everywhere() {
    let mut outside = 0;
    for n in [100, 137, 200, 400] {
        let intervals: Vec<(f64, f64)> = (0..=n).map(|right| wilson_at(right, n, ALPHA).unwrap()).collect();
        // The other half is its mirror image.
        for step in 50..=250 {
            let p = f64::from(step) / 500.0;
            let covered = exact_coverage(n, p, |right| intervals[right]);
            assert!((0.933..=0.9655).contains(&covered), "n {n}, p {p}: {covered}");
            outside += usize::from(!(0.935..=0.965).contains(&covered));
        }
    }
    assert!(outside <= 2, "{outside} of 804 are outside of 93.5 to 96.5 %");
}

/// The chance of each number of right answers among `n`.
fn chances(n: usize, p: f64) -> Vec<f64> {
    let mut mass = (1.0 - p).powi(n as i32);
    let next = |right: usize| {
        let now = mass;
        mass *= (n - right) as f64 / (right + 1) as f64 * p / (1.0 - p);
        now
    };
    (0..=n).map(next).collect()
}

#[test]
fn unpaired_shares_cover_their_difference_and_keep_their_level() {
    let (n_a, n_b) = (100, 120);
    for (p_a, p_b) in [(0.1, 0.1), (0.5, 0.5), (0.9, 0.9), (0.1, 0.3), (0.5, 0.7), (0.9, 0.6)] {
        let (mut covered, mut alarms) = (0.0, 0.0);
        for (a, chance_a) in chances(n_a, p_a).into_iter().enumerate() {
            for (b, chance_b) in chances(n_b, p_b).into_iter().enumerate() {
                let chance = chance_a * chance_b;
                if within(unpaired_share((a, n_a), (b, n_b), ALPHA).unwrap(), p_b - p_a) {
                    covered += chance;
                }
                if fisher((a, n_a), (b, n_b)).unwrap() < ALPHA {
                    alarms += chance;
                }
            }
        }
        assert!((0.935..=0.965).contains(&covered), "{p_a} {p_b}: covers {covered}");
        assert!(p_a != p_b || alarms <= ALPHA, "{p_a}: {alarms} false alarms");
    }
}

macro_rules! simulations {
    ($($name:ident $soak:ident)*) => {$(
        mod $name {
            #[test]
            fn with_few_draws() {
                super::$name(super::FEW);
            }

            #[test]
            #[ignore = "20,000 draws"]
            fn $soak() {
                super::$name(super::MANY);
            }
        }
    )*};
}

simulations! {
    shares_cover soak_shares_cover
    clustered_shares_cover soak_clustered_shares_cover
    means_cover soak_means_cover
    differences_cover soak_differences_cover
    bootstraps_cover soak_bootstraps_cover
    tries_cover soak_tries_cover
    tests_keep_their_level soak_tests_keep_their_level
    many_tests_find_few_false_differences soak_many_tests_find_few_false_differences
    noise_stays_below_its_floor soak_noise_stays_below_its_floor
    the_detectable_difference_is_found soak_the_detectable_difference_is_found
}
