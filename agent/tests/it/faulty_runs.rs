//! Whole planned runs against servers and tools that fail: each ends in the right outcome with the right exit code, and its
//! log can be gone through again to the same end.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tunesmith::{
    model::{
        ErrorKind, ModelError,
        openai::{OpenAi, Pace},
    },
    planner_loop::{End, LoopEnd, Planning, drive},
    show::Share,
};
use tunesmith_harness::{
    budget::{Budget, Caps},
    event::Kind,
};
use tunesmith_tools::tool::{AnyTool, ToolError};

use crate::{
    dialogue::endpoint,
    fakes::{Endless, Fake, Kept, Talker, World, finish, nobody, plan, scope_of},
    server::{Answer, Server, delta, finish as reason},
};

/// What went wrong on the way, and what the run comes to.
struct Faulty {
    name: &'static str,
    answers: Vec<Answer>,
    caps: Caps,
    window: Option<u64>,
    /// Whether `train` never ends by itself.
    hung: bool,
    /// Seconds until the deadline.
    seconds: Option<f64>,
    /// The exit code, where the grader would say 0.
    exit: u8,
    /// A part of the reason.
    why: &'static str,
}

const FINISHED: &str = "the planner finished";

fn calls(name: &str, arguments: &str) -> Answer {
    Answer::calls("", &[("c", name, arguments)])
}

/// A plan, a training and a finish, with `between` before the training.
fn around(between: Vec<Answer>) -> Vec<Answer> {
    let mut answers = vec![calls("plan", r#"{"max_length": 60}"#)];
    answers.extend(between);
    answers.extend([calls("train", r#"{"rate": 1}"#), calls("finish", r#"{"summary": "s"}"#)]);
    answers
}

fn run(name: &'static str, answers: Vec<Answer>, exit: u8, why: &'static str) -> Faulty {
    let (caps, window, hung, seconds) = (Caps::default(), None, false, None);
    Faulty { name, answers, caps, window, hung, seconds, exit, why }
}

/// A run that succeeds whatever happens between its plan and its training.
fn survived(name: &'static str, between: Vec<Answer>) -> Faulty {
    run(name, around(between), 0, FINISHED)
}

fn text(words: &str) -> Answer {
    Answer::stream(&[delta(json!({"content": words})), reason("stop")])
}

/// What the transport mends, or the planner does when it is told.
fn survived_faults() -> Vec<Faulty> {
    let look = || calls("look", r#"{"n": 12345, "who": "Grüße"}"#);
    let cut = |within: &str, bytes| look().cut_in(within, bytes, false);
    let busy = || Answer::status(429, r#"{"object":"error","message":"slow","code":429}"#).header("retry-after", "0");
    let too_long = r#"{"error":{"code":400,"message":"too long","type":"exceed_context_size_error","n_ctx":1024}}"#;
    let in_stream = json!({"error": {"code": 400, "message": "m", "type": "exceed_context_size_error", "n_ctx": 1024}});
    let mut lost = look();
    lost.pieces.remove(lost.pieces.len() - 2);
    let opaque = Answer::stream(&[
        delta(json!({"reasoning_content": "I think.", "content": ""})),
        delta(
            json!({"tool_calls": [{"index": 0, "id": "r", "function": {"name": "look", "arguments": "{\"n\": 3}"}}]}),
        ),
        reason("tool_calls"),
    ]);
    let unknown = Answer::stream(&[
        delta(
            json!({"tool_calls": [{"index": 0, "id": "u", "function": {"name": "look", "arguments": "{\"n\": 4}"}}]}),
        ),
        reason("tired"),
    ]);
    vec![
        survived("nothing wrong", vec![look()]),
        survived("cut within a character", vec![cut("ü", 1)]),
        survived("cut within the name of a field", vec![cut("\"choices", 5)]),
        survived("cut within a number", vec![cut("12345", 3)]),
        survived("cut between events", vec![cut("\n\ndata", 2)]),
        survived("cut before the first byte", vec![Answer::raw(b"")]),
        survived("a storm of 429", vec![busy(), busy(), busy(), busy()]),
        survived("a proxy that is down", vec![Answer::status(502, "<html>bad gateway")]),
        survived("an integer code within the stream", vec![Answer::stream(&[json!({"error": {"code": 503}})])]),
        survived("an unknown reason to stop", vec![unknown]),
        survived("no usage", vec![lost]),
        survived("fields that only the provider knows", vec![opaque]),
        survived(
            "two calls in one reply",
            vec![Answer::calls("", &[("a", "look", "{}"), ("b", "look", "{\"n\": 2}")])],
        ),
        survived("two calls of one id", vec![Answer::calls("", &[("a", "look", "{}"), ("a", "look", "{\"n\": 2}")])]),
        survived("calls without an id", vec![Answer::calls("", &[("", "look", "{}"), ("", "look", "{\"n\": 2}")])]),
        survived("a call as text", vec![text("<tool_call>{\"name\": \"look\", \"arguments\": {}}</tool_call>")]),
        survived("a fenced call", vec![text("```json\n{\"name\": \"look\", \"arguments\": {}}\n```")]),
        survived("a trailing comma", vec![calls("look", r#"{"n": 1,}"#)]),
        survived("single quotes", vec![calls("look", "{'n': 1}")]),
        survived("an unclosed brace", vec![calls("look", r#"{"n": {"a": 1}"#)]),
        survived("arguments beyond repair", vec![calls("look", r#"{"n": sixty"#)]),
        survived("arguments that do not fit", vec![calls("plan", "{}")]),
        survived("a tool that is not there", vec![calls("fly", "{}")]),
        survived("a tool that fails", vec![calls("convert", "{}")]),
        survived("a reply without a call", vec![text("I would train now."), text("")]),
        survived("a conversation that is too long", vec![look(), look(), Answer::status(400, too_long)]),
        survived(
            "too long, said inside the stream, which may have cost something",
            vec![look(), look(), Answer::stream(&[delta(json!({"content": "x"})), in_stream])],
        ),
        survived("a changed scope", vec![calls("plan", r#"{"max_length": 20}"#)]),
    ]
}

/// What ends a run.
fn fatal_faults() -> Vec<Faulty> {
    let of = |answer: Answer| vec![answer; 9];
    let says = |status, message: &str| Answer::status(status, &json!({"error": {"message": message}}).to_string());
    let pair = |n: usize| calls("look", if n.is_multiple_of(2) { r#"{"n": 0}"# } else { r#"{"n": 1}"# });
    let distinct = |tool: &str| (0..9).map(|n| calls(tool, &format!("{{\"n\": {n}}}"))).collect();
    let measured = (0..9).map(|n| calls("evaluate", &format!("{{\"adapter\": \"a{n}\"}}"))).collect();
    let mut unknown_cost = run("a cost that nobody knows", around(vec![]), 5, "cost is unknown");
    unknown_cost.caps.usd = Some(1.0);
    let mut steps = run("no steps left", distinct("look"), 4, "all 3 steps are used");
    steps.caps.steps = Some(3);
    let mut tokens = run("no tokens left", distinct("look"), 4, "of 300 tokens are used");
    tokens.caps.tokens = Some(300);
    let mut hung = run("a tool that hangs", around(vec![]), 4, "the run's time is up");
    (hung.hung, hung.seconds) = (true, Some(0.3));
    let mut late = run("no time at all", around(vec![]), 4, "the run's time is up");
    late.seconds = Some(0.0);
    let mut small =
        run("a window that nothing fits", of(says(400, "maximum context length is 16 tokens")), 6, "too long");
    small.window = Some(16);
    vec![
        run("a wrong key", vec![says(401, "no")], 5, "rejects the key"),
        run("a key for something else", vec![says(403, "no")], 5, "rejects the key"),
        run("a bill", vec![says(402, "pay")], 5, "wants payment"),
        run("no quota", vec![says(429, "insufficient_quota")], 5, "wants payment"),
        run("429 without end", of(Answer::status(429, "no").header("retry-after", "0")), 6, "limits the rate"),
        run("429 for an hour", vec![Answer::status(429, "no").header("retry-after", "3600")], 6, "limits the rate"),
        run("a server that is down", of(Answer::status(503, "down")), 6, "the provider failed"),
        run("streams that always break", of(calls("look", "{}").cut_after(2)), 6, "cannot be reached"),
        run("a filter", vec![Answer::stream(&[reason("content_filter")])], 6, "declined"),
        run("a model that is not there", vec![says(404, "no model m")], 6, "declined"),
        run("words and no calls", of(text("I would.")), 6, "3 turns in a row without a call"),
        run("nothing at all", of(text("")), 6, "3 turns in a row without a call"),
        run("the same call", of(calls("look", "{}")), 6, "look called 5 times in a row"),
        run("two calls in turn", (0..12).map(pair).collect(), 6, "look, look called in this order 5 times"),
        run("arguments that never fit", distinct("plan"), 6, "arguments that do not fit"),
        run("a tool that fails the same way", distinct("convert"), 6, "convert failed 5 times in the same way"),
        run("measurements without progress", measured, 6, "no better than the best"),
        run("a plan that is not allowed", vec![calls("plan", r#"{"max_length": 1}"#)], 5, "too short"),
        unknown_cost,
        steps,
        tokens,
        hung,
        late,
        small,
    ]
}

impl Faulty {
    /// Runs it, or goes through what a log of it holds; the end, and the log.
    async fn play(&self, history: &[Kind], model: &dyn tunesmith::model::ChatModel) -> (LoopEnd, Vec<Kind>) {
        let look = Fake::new("look", |args| Ok(json!({"seen": args, "text": "word ".repeat(300)})));
        let convert = Fake::new("convert", |_| Err(ToolError::Failed("no adapter".into())));
        let evaluate = Fake::new("evaluate", |args| Ok(json!({"value": 0.5, "n": args["n"]})));
        let (usual, finish) = (plan(), finish());
        let plan = Fake::new("plan", move |args| match args["max_length"].as_u64() {
            Some(1) => Err(ToolError::Denied("examples of one token are too short".into())),
            _ => usual.answer(args),
        });
        let train = Fake::new("train", |args| Ok(json!({"adapter": "a", "rate": args["rate"]})));
        let train: &dyn AnyTool = if self.hung { &Endless } else { &train };
        let measured = Fake::new("evaluate", |args| Ok(json!({"value": 0.5, "adapter": args["adapter"]})));
        let evaluate: &dyn AnyTool = if self.name.starts_with("measurements") { &measured } else { &evaluate };
        let tools: [&dyn AnyTool; 6] = [&look, &convert, evaluate, &plan, &finish, train];
        let mut world = World::new();
        // A log that is gone through again is one whose time is up.
        let left = |seconds: f64| Duration::from_secs_f64(if history.is_empty() { seconds } else { 0.0 });
        world.deadline = self.seconds.map(|seconds| Instant::now() + left(seconds));
        let planning = Planning {
            model,
            window: self.window,
            longest: None,
            price: None,
            tools: &tools,
            cx: &world.cx(),
            budget: &Budget::new(self.caps, Instant::now()),
            system: "be good".into(),
            request: "tune it".into(),
            share: Share::Samples,
            outputs: world.outputs(),
            scope_of: &scope_of,
            may_amend: false,
            decide: &nobody,
        };
        let mut kept = Kept::after(history);
        let end = drive(planning, &mut kept, &mut |_| {}).await.unwrap();
        (end, kept.events)
    }
}

/// The exit code of a run that ends so; a grader that finds the goal met would say 0.
fn exit(end: &LoopEnd) -> u8 {
    end.outcome().map_or(0, tunesmith_harness::task::Outcome::exit_code)
}

#[tokio::test]
async fn whatever_fails_a_run_ends_as_it_should_and_its_log_leads_to_the_same_end() {
    let faults: Vec<Faulty> = survived_faults().into_iter().chain(fatal_faults()).collect();
    assert!(faults.len() >= 50, "{}", faults.len());
    for fault in &faults {
        let server = Server::start(fault.answers.clone()).await;
        let pace = Pace { backoff: Duration::ZERO, ..Pace::default() };
        let model = OpenAi::with_pace(endpoint(&server), 1, pace).unwrap();
        let (end, events) = fault.play(&[], &model).await;
        assert_eq!(exit(&end), fault.exit, "{}: {end:?}", fault.name);
        assert!(end.why.contains(fault.why), "{}: {}", fault.name, end.why);
        // A call was answered once, whatever happened to the streams that asked for it.
        let count = |kind: &str| events.iter().filter(|event| event.name() == kind).count();
        assert_eq!(count("called"), count("returned"), "{}", fault.name);
        if fault.exit == 0 {
            let trained = |event: &&Kind| matches!(event, Kind::Called { tool, .. } if tool == "train");
            assert_eq!(events.iter().filter(trained).count(), 1, "{}", fault.name);
        }
        // Gone through again, with a model that only knows the last error, the log leads to the same end.
        let kind = if let End::Model(kind) = end.end { kind } else { ErrorKind::Protocol };
        let last = Talker::new((0..20).map(|_| Err(ModelError::new(kind, "as before"))).collect());
        let (again, all) = fault.play(&events, &last).await;
        assert_eq!((&again.end, &all), (&end.end, &events), "{}", fault.name);
        if !matches!(end.end, End::Model(_)) {
            assert_eq!(again.why, end.why, "{}", fault.name);
        }
    }
    println!("{} faults, each to its end", faults.len());
}

#[test]
fn an_argument_is_what_it_is() {
    // The answers of this file hold what they say: a broken one must not be mended by the test's own making.
    let answer = calls("look", "{'n': 1}");
    let whole = String::from_utf8(answer.pieces.concat()).unwrap();
    let parts: Vec<Value> = whole
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .filter_map(|event| Some(event.pointer("/choices/0/delta/tool_calls/0/function/arguments")?.clone()))
        .collect();
    let joined: String = parts.iter().map(|part| part.as_str().unwrap()).collect();
    assert_eq!(joined, "{'n': 1}");
}
