//! How long the binary takes to begin.

use std::time::{Duration, Instant};

use crate::cli::anywhere;

/// The bound, with a warm page cache.
const MOST: Duration = Duration::from_millis(30);

#[test]
fn help_is_there_within_30_milliseconds() {
    let median = || {
        let mut times: Vec<Duration> = (0..20)
            .map(|_| {
                let began = Instant::now();
                anywhere(&["--help"]).ok();
                began.elapsed()
            })
            .collect();
        times.sort();
        times[times.len() / 2]
    };
    // Something else may run at any moment, so it is tried again until it was left alone once.
    let best = (0..30).map(|_| median()).find(|median| *median <= MOST);
    assert!(best.is_some(), "it never was");
}
