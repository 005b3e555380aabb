use serde_json::json;

use super::*;

fn seen<'a>(tool: &'a str, args: &'a Value, result: Result<&'a Value, &'a str>) -> Seen<'a> {
    Seen { tool, args, malformed: false, result }
}

/// The strikes of calls that each succeed with their name as the result.
fn strikes(names: &[&str]) -> Vec<Option<(&'static str, u32)>> {
    let mut guards = Guards::default();
    let call = |name: &&str| {
        let args = json!({ "name": name });
        let result = json!(name);
        guards.turn();
        guards.called(seen("look", &args, Ok(&result))).map(|strike| (strike.guard, strike.count))
    };
    names.iter().map(call).collect()
}

#[test]
fn circles_of_one_to_five_calls_are_told_once_a_round_and_end_the_run_in_the_fifth() {
    for length in 1..=5 {
        let names: Vec<String> = (0..length * 5).map(|n| (n % length).to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let fired: Vec<(usize, u32)> = strikes(&names)
            .into_iter()
            .enumerate()
            .filter_map(|(at, strike)| strike.map(|(guard, count)| ((guard, at), count)))
            .map(|((guard, at), count)| {
                assert_eq!(guard, "repetition");
                (at + 1, count)
            })
            .collect();
        assert_eq!(fired, [(3 * length, 1), (4 * length, 2), (5 * length, 3)], "{length}");
    }
}

#[test]
fn a_streak_that_is_over_is_not_told_again() {
    // Three equal calls, and then twenty that all differ.
    let names: Vec<String> = (0..23).map(|n| if n < 3 { "same".into() } else { n.to_string() }).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let fired: Vec<usize> = (0..23).filter(|at| strikes(&names)[*at].is_some()).collect();
    assert_eq!(fired, [2]);
}

#[test]
fn a_tool_whose_result_follows_from_its_arguments_repeats_itself_whatever_it_took() {
    let mut guards = Guards::default();
    let args = json!({"epochs": 2});
    let fired: Vec<bool> = (0..4)
        .map(|n| {
            let output = json!({"adapter": format!("train-{n}"), "seconds": n});
            guards.turn();
            guards.called(seen("train", &args, Ok(&output))).is_some()
        })
        .collect();
    assert_eq!(fired, [false, false, true, true]);
}

#[test]
fn a_tool_that_fails_in_the_same_way_is_told_whatever_it_is_given() {
    let mut guards = Guards::default();
    let mut fail = |n: u32, why: String| {
        guards.turn();
        guards.called(seen("convert", &json!({ "n": n }), Err(&why)))
    };
    let strikes: Vec<Option<(&str, u32)>> = (0..5)
        .map(|n| fail(n, format!("file {n} cannot be read: \"{n}.bin\"")).map(|strike| (strike.guard, strike.count)))
        .collect();
    assert_eq!(strikes, [None, None, Some(("failing", 1)), Some(("failing", 2)), Some(("failing", 3))]);
    // Another error is another streak, and a success ends it.
    assert_eq!(fail(9, "no space".into()), None);
    let mut guards = Guards::default();
    for n in 0..9 {
        let result = if n % 3 == 2 { Ok(&Value::Null) } else { Err("no") };
        guards.turn();
        assert_eq!(guards.called(seen("shell", &json!({ "n": n }), result)), None, "{n}");
    }
}

#[test]
fn measurements_none_of_which_is_better_are_no_progress() {
    let mut guards = Guards::default();
    let mut measure = |n: u32, rows: u32, value: f64| {
        let (args, output) = (json!({"adapter": format!("train-{n}")}), json!({"value": value, "n": rows}));
        guards.turn();
        guards.called(seen("evaluate", &args, Ok(&output))).map(|strike| (strike.guard, strike.count))
    };
    for n in 0..4 {
        assert_eq!(measure(n, 90, f64::from(n)), None);
    }
    let strikes: Vec<_> = (4..12).map(|n| measure(n, 90, 1.0)).collect();
    let told = |count| Some(("no_progress", count));
    assert_eq!(strikes, [None, None, None, None, None, told(1), told(2), told(3)]);
    assert_eq!(measure(12, 90, 9.0), None);
    // Luck on a few rows is nothing that all of them could beat.
    assert_eq!(measure(13, 5, 99.0), None);
    assert!((14..20).all(|n| measure(n, 90, 1.0 + f64::from(n)).is_none()));
}

#[test]
fn fewer_bits_for_a_byte_are_progress() {
    let mut guards = Guards::default();
    for n in 0..20 {
        let args = json!({"adapter": format!("train-{n}")});
        let output = json!({"metric": "bits_per_byte", "value": 3.0 - 0.1 * f64::from(n), "n": 90});
        guards.turn();
        assert_eq!(guards.called(seen("evaluate", &args, Ok(&output))), None);
    }
}

#[test]
fn a_guard_fires_once_in_a_reply_because_only_then_it_is_heard() {
    let mut guards = Guards::default();
    let (args, output) = (json!({}), json!("same"));
    let mut reply = |calls: u32| -> Vec<Option<u32>> {
        guards.turn();
        let call = |_| guards.called(seen("look", &args, Ok(&output))).map(|strike| strike.count);
        (0..calls).map(call).collect()
    };
    assert_eq!(reply(8), [None, None, Some(1), None, None, None, None, None]);
    assert_eq!(reply(1), [Some(2)]);
    assert_eq!(reply(2), [Some(3), None]);
}
