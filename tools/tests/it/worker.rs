//! How a worker's end reaches the tool that asked for its work.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::Place;

/// What `data_inspect` says when its worker ends like this.
async fn broken(how: &str, place: &Place) -> String {
    place.write("break", how);
    place.write("data/train.jsonl", "{\"a\":1}\n");
    place.error("data_inspect", json!({})).await
}

#[tokio::test]
async fn a_crash_says_its_last_words() {
    let said = broken("abort", &Place::new()).await;
    assert_eq!(said, "the worker crashed (signal 6); its last words: about to fall");
}

#[tokio::test]
async fn half_a_line_is_no_result() {
    let said = broken("garbage", &Place::new()).await;
    assert_eq!(said, "the worker crashed (exit code 0); its last words: {\"done\":");
}

#[tokio::test]
async fn a_result_of_many_megabytes_arrives_whole() {
    let place = Place::new();
    place.write("break", "long");
    place.write("data/train.jsonl", "{\"a\":1}\n");
    let output = place.ok("data_inspect", json!({})).await;
    assert_eq!(output["note"].as_str().unwrap().len(), 3 << 20);
}

#[tokio::test]
async fn a_worker_that_hangs_is_ended_after_the_deadline() {
    let mut place = Place::new();
    place.deadline = Some(Instant::now() + Duration::from_millis(300));
    let said = broken("hang", &place).await;
    assert_eq!(said, "stopped by a limit: time ran out after 4 s; do less in this step");
    place.deadline = Some(Instant::now());
    assert_eq!(broken("hang", &place).await, "stopped by a limit: there is no time left for this step");
}

#[tokio::test]
async fn a_cancelled_worker_is_gone() {
    let place = Place::new();
    let cancel = place.cancel.clone();
    let (said, ()) = tokio::join!(broken("hang", &place), async { cancel.cancel() });
    assert_eq!(said, "cancelled");
}

#[tokio::test]
async fn running_out_of_memory_says_what_to_do() {
    let said = broken("memory", &Place::new()).await;
    assert!(said.starts_with("stopped by a limit: ran out of memory"), "{said}");
    assert!(said.ends_with("; use fewer or shorter rows, and look at the base's chat template"), "{said}");
}
