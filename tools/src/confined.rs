//! Whether a job ran under all that the run declares.

use tunesmith_harness::score::{Score, Verdict};
use tunesmith_sandbox::{Ended, Finished, Layer, Local, Status};

use crate::{files::score, tool::Progress};

/// How a job was confined less than its run declares; nothing where it was not, or where no job ran.
pub fn less(jobs: &Local, finished: &Finished) -> Option<String> {
    if matches!(finished.ended, Ended::Failed(_)) {
        return None;
    }
    weaker(&jobs.layers(), &finished.layers)
}

/// What a caller hears of it.
pub fn tell(jobs: &Local, finished: &Finished, what: &str, on: &(dyn Fn(Progress) + Send + Sync)) {
    if let Some(why) = less(jobs, finished) {
        on(Progress { what: what.to_owned(), degraded: Some(why), ..Progress::default() });
    }
}

/// What the log says of it.
pub fn warning(why: String) -> Score {
    score("sandbox", None, Verdict::Warn, why)
}

fn weaker(declared: &[(Layer, Status)], found: &[(Layer, Status)]) -> Option<String> {
    let rank = |status: &Status| match status {
        Status::Enforced => 2,
        Status::Partial(_) => 1,
        Status::Unavailable(_) => 0,
    };
    let gap = |(layer, status): &(Layer, Status)| match found.iter().find(|(known, _)| known == layer) {
        Some((_, found)) if rank(found) < rank(status) => Some(format!("{layer} ({found})")),
        None if rank(status) > 0 => Some(format!("{layer} (not reported)")),
        _ => None,
    };
    let gaps: Vec<String> = declared.iter().filter_map(gap).collect();
    (!gaps.is_empty()).then(|| format!("a job ran under less than this run declares: {}", gaps.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_is_weaker_than_declared_is_named_and_a_stronger_one_is_not() {
        use Layer::{Files, Memory, Tree};
        let partial = |why: &str| Status::Partial(why.into());
        let declared = [(Files, Status::Enforced), (Tree, Status::Enforced), (Memory, partial("polled"))];
        assert_eq!(weaker(&declared, &declared), None);
        let stronger = [(Files, Status::Enforced), (Tree, Status::Enforced), (Memory, Status::Enforced)];
        assert_eq!(weaker(&declared, &stronger), None);
        let found = [(Tree, partial("2 processes did not die")), (Memory, Status::Unavailable("no /proc".into()))];
        assert_eq!(
            weaker(&declared, &found).unwrap(),
            "a job ran under less than this run declares: files (not reported), tree (partial: 2 processes did not die), \
             memory (unavailable: no /proc)"
        );
    }
}
