//! What a run may use: time, steps, disk, and the planner's tokens and money.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{figures::bytes, run::Run, task::Task};

/// Share of the wall-clock time that is kept for the final grading.
pub const GRADING_SHARE: f64 = 0.15;
/// Least time kept for the final grading, as far as half of all allows.
const GRADING_LEAST: Duration = Duration::from_secs(10);

/// Upper limits; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Caps {
    /// Wall-clock time of the whole run, the final grading included.
    pub wall: Option<Duration>,
    /// Steps (tool calls).
    pub steps: Option<u32>,
    /// Tokens that language models read and write: the planner, and those that tools ask.
    pub tokens: Option<u64>,
    /// The planner's cost in US dollars.
    pub usd: Option<f64>,
    /// Bytes in the run's directory.
    pub disk: Option<u64>,
}

impl Caps {
    /// The limits that a task states.
    pub fn of(task: &Task) -> Caps {
        // What is no duration (negative, not a number) was refused where the task was read; no time is the safe reading.
        let wall = task.minutes.map(|minutes| Duration::try_from_secs_f64(minutes * 60.0).unwrap_or(Duration::ZERO));
        Caps { wall, steps: task.steps, tokens: task.tokens, usd: task.usd, disk: task.disk }
    }
}

/// What something costs. `None` is unknown, which is never zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spend {
    /// Steps.
    pub steps: u32,
    /// Tokens.
    pub tokens: Option<u64>,
    /// US dollars.
    pub usd: Option<f64>,
}

impl Spend {
    /// Nothing at all.
    pub const NOTHING: Spend = Spend { steps: 0, tokens: Some(0), usd: Some(0.0) };
    /// One tool call, which asks no language model.
    pub const STEP: Spend = Spend { steps: 1, tokens: Some(0), usd: Some(0.0) };

    /// Both; unknown where one is.
    pub fn plus(self, other: Spend) -> Spend {
        Spend {
            steps: self.steps.saturating_add(other.steps),
            tokens: self.tokens.zip(other.tokens).map(|(a, b)| a.saturating_add(b)),
            usd: self.usd.zip(other.usd).map(|(a, b)| a + b),
        }
    }
}

/// The budget of one run. Shared by everything that spends; time is handed in, never read.
#[derive(Debug)]
pub struct Budget {
    caps: Caps,
    started: Instant,
    /// Whose directory is measured.
    run: Option<Run>,
    account: Mutex<Account>,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    spent: Spend,
    /// Reserved and not yet reconciled. Here an unknown amount counts as nothing: it will be known, or not, at the end.
    reserved: Spend,
    /// Most bytes that were seen in the run's directory; of space nothing adds up, what is removed is free again.
    disk: u64,
}

/// Something set aside in the budget, to be handed back to [`Budget::reconcile`] with what it really cost.
#[derive(Debug)]
#[must_use = "what is reserved stays reserved until it is reconciled"]
pub struct Reservation(Spend);

impl Budget {
    /// A budget that begins to run at `started`.
    pub fn new(caps: Caps, started: Instant) -> Budget {
        let none = Spend { steps: 0, tokens: Some(0), usd: Some(0.0) };
        Budget { caps, started, run: None, account: Mutex::new(Account { spent: none, reserved: none, disk: 0 }) }
    }

    /// The same budget, with its limit of disk space on the directory of `run`.
    pub fn kept_in(self, run: Run) -> Budget {
        Budget { run: Some(run), ..self }
    }

    /// The limits.
    pub fn caps(&self) -> Caps {
        self.caps
    }

    /// What was spent so far; a part is `None` once something of unknown cost was spent.
    pub fn spent(&self) -> Spend {
        self.account().spent
    }

    /// When the whole run must be over.
    pub fn deadline(&self) -> Option<Instant> {
        self.caps.wall.and_then(|wall| self.started.checked_add(wall))
    }

    /// When steps must be over, so that the final grading has its time.
    pub fn deadline_for_steps(&self) -> Option<Instant> {
        let wall = self.caps.wall?;
        self.started.checked_add(wall - kept_for_grading(wall))
    }

    /// Time left for steps; `None` is no limit.
    pub fn left_for_steps(&self, now: Instant) -> Option<Duration> {
        self.deadline_for_steps().map(|deadline| deadline.saturating_duration_since(now))
    }

    /// Which limit is reached, in one line; `None` while there is something left of everything.
    pub fn exceeded(&self, now: Instant) -> Option<String> {
        if self.left_for_steps(now) == Some(Duration::ZERO) {
            let wall = self.caps.wall.unwrap_or_default();
            let (kept, wall) = (minutes(kept_for_grading(wall)), minutes(wall));
            return Some(format!(
                "the time for steps is over: {kept} of {wall} minutes are kept for the final grading"
            ));
        }
        let account = self.account();
        if self.caps.steps.is_some_and(|cap| account.spent.steps.saturating_add(account.reserved.steps) >= cap) {
            return Some(format!("all {} steps are used", self.caps.steps.unwrap_or(0)));
        }
        self.overdrawn(&account, true).or_else(|| self.full(&account))
    }

    /// What the workdir may be filled to: all that the run may hold, without what lies beside the workdir. `None` is no
    /// limit.
    ///
    /// Each job is given this as its limit when it starts, and each is measured by the same directory, so that jobs at the
    /// same time cannot hold more together than one alone.
    pub fn room(&self) -> Option<u64> {
        let (cap, run) = self.caps.disk.zip(self.run.as_ref())?;
        let (all, work) = (run.bytes(), run.work_bytes());
        Some(cap.saturating_sub(all.saturating_sub(work)))
    }

    /// Books what the run's directory holds now, and `more` that a job was seen to pass its [`Budget::room`] by.
    pub fn fill(&self, more: u64) {
        let Some(run) = self.run.as_ref().filter(|_| self.caps.disk.is_some()) else { return };
        let held = run.bytes().max(if more > 0 { self.caps.disk.unwrap_or(0).saturating_add(more) } else { 0 });
        let mut account = self.account();
        account.disk = account.disk.max(held);
    }

    fn full(&self, account: &Account) -> Option<String> {
        let cap = self.caps.disk.filter(|cap| account.disk > *cap)?;
        let (held, cap) = (bytes(account.disk), bytes(cap));
        Some(format!("the run's directory came to {held} of the {cap} that it may hold; give it more with --disk"))
    }

    /// Sets `want` aside, or says which limit it would break. An unknown part of `want` reserves nothing.
    pub fn reserve(&self, want: Spend, now: Instant) -> Result<Reservation, String> {
        if self.left_for_steps(now) == Some(Duration::ZERO)
            && let Some(why) = self.exceeded(now)
        {
            return Err(why);
        }
        let mut account = self.account();
        let want = Spend { tokens: Some(want.tokens.unwrap_or(0)), usd: Some(want.usd.unwrap_or(0.0)), ..want };
        let reserved = account.reserved.plus(want);
        if let Some(cap) = self.caps.steps.filter(|cap| account.spent.steps.saturating_add(reserved.steps) > *cap) {
            return Err(format!("all {cap} steps are used"));
        }
        let after = Account { reserved, ..*account };
        if let Some(why) = self.overdrawn(&after, false).or_else(|| self.full(&after)) {
            return Err(why);
        }
        account.reserved = reserved;
        Ok(Reservation(want))
    }

    /// Books what was spent without being reserved here: by the same run in another process.
    pub fn book(&self, spent: Spend) {
        let mut account = self.account();
        account.spent = account.spent.plus(spent);
    }

    /// Books what something really cost in place of what was reserved for it.
    pub fn reconcile(&self, reservation: Reservation, actual: Spend) {
        let mut account = self.account();
        let held = account.reserved;
        account.reserved = Spend {
            steps: held.steps.saturating_sub(reservation.0.steps),
            tokens: held.tokens.zip(reservation.0.tokens).map(|(a, b)| a.saturating_sub(b)),
            usd: held.usd.zip(reservation.0.usd).map(|(a, b)| (a - b).max(0.0)),
        };
        account.spent = account.spent.plus(actual);
    }

    /// A limit on tokens or money that is passed, or with `reached` just met, or that cannot be kept any more because a
    /// cost is unknown.
    fn overdrawn(&self, account: &Account, reached: bool) -> Option<String> {
        let total = account.spent.plus(account.reserved);
        if let Some(cap) = self.caps.tokens {
            match total.tokens {
                None => return Some(format!("the planner's tokens are unknown, so the limit of {cap} cannot be kept")),
                Some(n) if n > cap || reached && n == cap => return Some(format!("{n} of {cap} tokens are used")),
                Some(_) => {}
            }
        }
        if let Some(cap) = self.caps.usd {
            match total.usd {
                None => {
                    let why = "the planner's cost is unknown, so the limit of";
                    return Some(format!("{why} ${cap:.2} cannot be kept; limit --steps instead of --usd"));
                }
                // A limit of nothing is kept by a planner that costs nothing.
                Some(usd) if usd > cap || reached && usd == cap && cap > 0.0 => {
                    return Some(format!("${usd:.2} of ${cap:.2} are used"));
                }
                Some(_) => {}
            }
        }
        None
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        // The numbers are whole after every statement, so that a panic elsewhere cannot have left half of a booking.
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kept_for_grading(wall: Duration) -> Duration {
    wall.mul_f64(GRADING_SHARE).max(GRADING_LEAST.min(wall / 2))
}

fn minutes(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() / 60.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ASK: Spend = Spend { steps: 0, tokens: Some(100), usd: Some(0.25) };
    const UNKNOWN: Spend = Spend { steps: 0, tokens: None, usd: None };

    fn budget(caps: Caps) -> (Budget, Instant) {
        let now = Instant::now();
        (Budget::new(caps, now), now)
    }

    #[test]
    fn disk_is_what_the_whole_directory_holds_and_jobs_share_what_is_left_of_it() {
        let place = tempfile::tempdir().unwrap();
        let run = Run::create(place.path(), "disk", jiff::Timestamp::UNIX_EPOCH).unwrap();
        let now = Instant::now();
        let caps = Caps { disk: Some(1 << 20), ..Caps::default() };
        let budget = Budget::new(caps, now).kept_in(run.clone());
        let empty = budget.room().unwrap();
        // What lies beside the workdir leaves less for it; what lies in it is measured by each job itself.
        std::fs::write(run.base().join("model"), vec![1; 300_000]).unwrap();
        std::fs::write(run.work().join("first"), vec![1; 400_000]).unwrap();
        let room = budget.room().unwrap();
        assert!((300_000..=310_000).contains(&(empty - room)), "{empty} {room}");
        budget.fill(0);
        assert_eq!(budget.exceeded(now), None);
        // Two jobs at the same time have one room: together they passed it by as much as the last of them saw.
        budget.fill(5_000);
        let why = "the run's directory came to 1.1 MB of the 1.0 MB that it may hold; give it more with --disk";
        assert_eq!(budget.exceeded(now).unwrap(), why);
        std::fs::remove_file(run.work().join("first")).unwrap();
        assert_eq!(budget.exceeded(now).unwrap(), why, "a limit that was passed stays passed");
        assert_eq!(budget.reserve(Spend::STEP, now).unwrap_err(), why);
        // Without a limit nothing is measured.
        let free = Budget::new(Caps::default(), now).kept_in(run);
        free.fill(5_000);
        assert_eq!((free.room(), free.exceeded(now)), (None, None));
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn time_for_steps_leaves_a_share_for_the_grading() {
        for (wall, steps) in [(600, 510), (60, 50), (20, 10), (4, 2)] {
            let (budget, start) = budget(Caps { wall: Some(seconds(wall)), ..Caps::default() });
            assert_eq!(budget.deadline(), Some(start + seconds(wall)));
            assert_eq!(budget.deadline_for_steps(), Some(start + seconds(steps)));
            assert_eq!(budget.exceeded(start + seconds(steps - 1)), None);
            assert!(budget.exceeded(start + seconds(steps)).unwrap().starts_with("the time for steps is over"));
            assert!(budget.reserve(Spend::STEP, start + seconds(steps)).is_err());
        }
        let (endless, start) = budget(Caps::default());
        assert_eq!((endless.deadline(), endless.exceeded(start + seconds(1 << 30))), (None, None));
        let (too_long, start) = budget(Caps { wall: Some(Duration::MAX), ..Caps::default() });
        assert_eq!((too_long.deadline(), too_long.exceeded(start)), (None, None));
    }

    #[test]
    fn steps_end_at_their_limit_also_when_only_reserved() {
        let (budget, now) = budget(Caps { steps: Some(2), ..Caps::default() });
        let first = budget.reserve(Spend::STEP, now).unwrap();
        let second = budget.reserve(Spend::STEP, now).unwrap();
        assert_eq!(budget.reserve(Spend::STEP, now).unwrap_err(), "all 2 steps are used");
        budget.reconcile(first, Spend::STEP);
        assert_eq!(budget.exceeded(now).unwrap(), "all 2 steps are used");
        // A step that did not come to be gives its place back.
        budget.reconcile(second, Spend { steps: 0, ..Spend::STEP });
        assert_eq!((budget.exceeded(now), budget.spent()), (None, Spend::STEP));
    }

    #[test]
    fn money_and_tokens_are_reserved_before_and_booked_after() {
        let (budget, now) = budget(Caps { usd: Some(0.5), tokens: Some(250), ..Caps::default() });
        let ask = budget.reserve(ASK, now).unwrap();
        let other = budget.reserve(ASK, now).unwrap();
        assert_eq!(budget.reserve(ASK, now).unwrap_err(), "300 of 250 tokens are used");
        budget.reconcile(ask, Spend { tokens: Some(10), usd: Some(0.0625), ..ASK });
        assert_eq!(budget.exceeded(now), None);
        budget.reconcile(other, Spend { tokens: Some(20), usd: Some(0.4375), ..ASK });
        assert_eq!(budget.spent(), Spend { steps: 0, tokens: Some(30), usd: Some(0.5) });
        assert_eq!(budget.exceeded(now).unwrap(), "$0.50 of $0.50 are used");
    }

    #[test]
    fn an_unknown_cost_stays_unknown_and_stops_a_run_that_limits_it() {
        let (free, now) = budget(Caps { steps: Some(9), ..Caps::default() });
        let ask = free.reserve(UNKNOWN, now).unwrap();
        free.reconcile(ask, UNKNOWN);
        let ask = free.reserve(ASK, now).unwrap();
        free.reconcile(ask, ASK);
        assert_eq!((free.spent(), free.exceeded(now)), (UNKNOWN, None));

        let (limited, now) = budget(Caps { usd: Some(2.0), ..Caps::default() });
        let ask = limited.reserve(UNKNOWN, now).unwrap();
        assert_eq!(limited.exceeded(now), None);
        limited.reconcile(ask, UNKNOWN);
        assert!(limited.exceeded(now).unwrap().contains("unknown, so the limit of $2.00 cannot be kept"));
        assert!(limited.reserve(Spend::STEP, now).is_err());
    }

    #[test]
    fn a_planner_without_cost_keeps_a_limit_of_nothing() {
        let (budget, now) = budget(Caps { usd: Some(0.0), wall: Some(seconds(600)), ..Caps::default() });
        let step = budget.reserve(Spend::STEP, now).unwrap();
        budget.reconcile(step, Spend::STEP);
        assert_eq!(budget.exceeded(now), None);
        assert!(budget.reserve(ASK, now).is_err());
    }
}
