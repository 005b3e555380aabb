//! A run of three hundred steps with a window of 8k: through all compactions it keeps scope, budget and what it has reached.

use std::sync::Mutex;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tunesmith::{
    approvals::Flag,
    context::count,
    ledger::Ledger,
    model::{Call, ChatModel, Delta, ErrorKind, Finish, Message, ModelError, Reply, Request, Usage},
    planner_loop::{End, Planning, drive, specs},
    prompt,
    read_output::ReadOutput,
    show::Share,
};
use tunesmith_harness::{
    budget::{Budget, Caps},
    event::Kind,
};
use tunesmith_tools::{
    registry,
    tool::{AnyTool, ToolError},
};

use crate::fakes::{Fake, Kept, World, passed, scope, scope_of};

const WINDOW: u64 = 8_192;
const STEPS: u32 = 300;

/// A model with a window: what does not fit is refused. It trains and measures, and now and then reads something long.
struct Small {
    asked: Mutex<u32>,
    /// The last request, and what stood at the end of each.
    last: Mutex<Vec<Message>>,
    states: Mutex<Vec<String>>,
}

fn tokens(request: &Request<'_>) -> u64 {
    let text = |message: &Message| match message {
        Message::System(text) | Message::User(text) | Message::Note(text) => text.clone(),
        Message::Tool { id, content } => format!("{id}{content}"),
        Message::Assistant { text, calls, .. } => format!("{text}{calls:?}"),
    };
    let tools = request.tools.iter().map(|tool| format!("{}{}{}", tool.name, tool.description, tool.schema));
    tools.chain(request.messages.iter().map(text)).map(|text| count(&text)).sum()
}

impl ChatModel for Small {
    fn chat<'a>(
        &'a self,
        request: Request<'a>,
        _: &'a mut (dyn FnMut(Delta<'_>) + Send),
    ) -> BoxFuture<'a, Result<Reply, ModelError>> {
        let prompt = tokens(&request);
        if prompt > WINDOW {
            let error = ModelError { window: Some(WINDOW), ..ModelError::new(ErrorKind::ContextTooLong, "too long") };
            return Box::pin(async { Err(error) });
        }
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        let step = *asked;
        *self.last.lock().unwrap() = request.messages.to_vec();
        let end = match request.messages.last().unwrap() {
            Message::Tool { content, .. } => content.clone(),
            Message::User(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        self.states.lock().unwrap().push(end.split_once("State of the run").unwrap().1.to_owned());
        let (name, arguments) = match step {
            1 => ("plan", json!({"max_length": 60, "steps": ["train", "measure", "hand in"]})),
            STEPS => ("finish", json!({"summary": "done"})),
            _ if step.is_multiple_of(10) => ("look", json!({ "n": step })),
            _ if step.is_multiple_of(2) => ("train", json!({"learning_rate": f64::from(step) * 1e-5, "epochs": 3})),
            _ => ("evaluate", json!({"adapter": format!("train-{}", step - 1)})),
        };
        let call = Call { id: format!("c{step}"), name: name.into(), arguments: arguments.to_string(), extra: None };
        let reply = Reply {
            text: "I go on as planned.".into(),
            calls: vec![call],
            finish: Finish::Calls,
            usage: Some(Usage { prompt, completion: 30 }),
            usd: Some(0.001),
            opaque: None,
        };
        Box::pin(async { Ok(reply) })
    }
}

#[tokio::test]
async fn three_hundred_steps_fit_a_window_of_8k_through_at_least_twenty_compactions() {
    let look = Fake::new("look", |args| Ok(json!({"n": args["n"], "text": "a long output of words ".repeat(400)})));
    let train = Fake::new("train", |args| {
        let rate = (args["learning_rate"].as_f64().unwrap() * 1e5).round();
        Ok(json!({"adapter": format!("train-{rate}"), "valid_loss": 0.5, "curve": vec![[1.0, 2.0]; 60]}))
    })
    .scored(passed("train.loss", 0.5));
    let evaluate = Fake::new("evaluate", |args| {
        let n: f64 = args["adapter"].as_str().unwrap().trim_start_matches("train-").parse().unwrap();
        Ok(json!({"adapter": args["adapter"], "metric": "accuracy", "value": n / 1e3, "n": 100}))
    });
    let plan = Fake::new("plan", |_| Ok(json!({"scope": scope(60)})));
    let finish = Fake::new("finish", |args| match args["summary"].as_str() {
        Some(_) => Ok(json!({"summary": args["summary"]})),
        None => Err(ToolError::Failed("no summary".into())),
    });
    // As much as the real tools take.
    let registry = registry::all();
    let ours = ["train", "evaluate", "plan", "finish"];
    let real: Vec<&dyn AnyTool> = registry.iter().filter(|tool| !ours.contains(&tool.name())).collect();
    let world = World::new();
    let read = registry::typed(ReadOutput { dir: world.outputs().to_owned(), part: 4_000 });
    let mut tools: Vec<&dyn AnyTool> = vec![&look, &train, &evaluate, &plan, &finish, &*read];
    tools.extend(real);
    let model = Small { asked: Mutex::new(0), last: Mutex::default(), states: Mutex::default() };
    let budget = Budget::new(Caps { steps: Some(400), ..Caps::default() }, std::time::Instant::now());
    let mut kept = Kept::default();
    let planning = Planning {
        model: &model,
        window: Some(WINDOW),
        longest: None,
        price: None,
        tools: &tools,
        cx: &world.cx(),
        budget: &budget,
        system: prompt::system().unwrap(),
        request: "Route these messages to the right team.".into(),
        instruction: None,
        share: Share::Samples,
        outputs: world.outputs(),
        scope_of: &scope_of,
        may_amend: false,
        decide: &Flag(false),
    };
    let began = std::time::Instant::now();
    let end = drive(planning, &mut kept, &mut |_| {}).await.unwrap();
    let each = began.elapsed().as_secs_f64() * 1e3 / f64::from(STEPS);
    assert_eq!((end.end, end.why.as_str()), (End::Finished(json!({"summary": "done"})), "the planner finished"));
    // Nothing is lost of what was spent.
    let spent = budget.spent();
    assert_eq!((spent.steps, spent.usd.map(|usd| (usd * 1e3).round())), (STEPS, Some(f64::from(STEPS))));
    let compactions: Vec<(u64, u64)> = kept
        .events
        .iter()
        .filter_map(|event| match event {
            Kind::Compacted { tokens, .. } => Some(*tokens),
            _ => None,
        })
        .collect();
    assert!(compactions.len() >= 20, "{} compactions", compactions.len());
    assert!(compactions.iter().all(|(before, after)| after < before && *before <= WINDOW + WINDOW / 4));
    // Every request but those before the plan says what the scope is, what was reached, and what is left.
    let states = model.states.lock().unwrap();
    assert_eq!(states.len(), STEPS as usize);
    for (n, state) in states.iter().enumerate().skip(1) {
        assert!(state.contains("\nscope (frozen): classification from \"text\" to \"intent\""), "{n}: {state}");
        assert!(state.contains("\nplan: train; measure; hand in\n"), "{n}: {state}");
        assert!(state.ends_with(&format!("{n} steps taken; left: {} steps", 400 - n)), "{n}: {state}");
    }
    assert!(states[299].contains("\nbest so far: train-298 with 0.298 (step 299)\n"), "{}", states[299]);
    let ledger = Ledger::of(&kept.events, Share::Samples);
    assert_eq!((ledger.scope, ledger.taken, ledger.best.unwrap().0), (Some(scope(60)), STEPS, 299));
    // One message of the user is all there is; each call that is left has its result behind it.
    let last = model.last.lock().unwrap();
    let users = last.iter().filter(|message| matches!(message, Message::User(_) | Message::Note(_))).count();
    assert_eq!(users, 1);
    for pair in last[2..].chunks(2) {
        let [Message::Assistant { calls, .. }, Message::Tool { id, .. }] = pair else { panic!("{pair:?}") };
        assert_eq!(&calls[0].id, id);
    }
    let carried: usize = specs(&tools).iter().map(|spec| spec.schema.to_string().len()).sum();
    assert!(carried > 3_000, "the tools of this test are as large as real ones: {carried} bytes");
    println!("{} compactions, {each:.2} ms a step without the model", compactions.len());
}

#[tokio::test]
async fn what_is_too_long_to_be_shown_can_be_read_in_parts() {
    let text: String = (0..3_000).map(|n| format!("{n} ")).collect();
    let whole = json!({ "text": text });
    let output = whole.clone();
    let look = Fake::new("look", move |_| Ok(output.clone()));
    let finish = crate::fakes::finish();
    let world = World::new();
    let read = registry::typed(ReadOutput { dir: world.outputs().to_owned(), part: 4_000 });
    let tools: [&dyn AnyTool; 3] = [&look, &*read, &finish];
    let call = |name: &str, args: Value| {
        let call = Call { name: name.into(), arguments: args.to_string(), ..Call::default() };
        Ok(Reply { calls: vec![call], finish: Finish::Calls, usd: Some(0.0), ..Reply::default() })
    };
    let part = |offset: usize| call("read_output", json!({"step": 1, "offset": offset}));
    let replies = vec![
        call("look", json!({})),
        part(0),
        part(4_000),
        part(8_000),
        part(12_000),
        call("read_output", json!({"step": 2})),
        call("finish", json!({})),
    ];
    let model = crate::fakes::Talker::new(replies);
    let mut kept = Kept::default();
    let planning = Planning {
        model: &model,
        window: None,
        longest: None,
        price: None,
        tools: &tools,
        cx: &world.cx(),
        budget: &Budget::new(Caps::default(), std::time::Instant::now()),
        system: "s".into(),
        request: "r".into(),
        // Of what may not be shared, neither the cut nor the parts show anything.
        instruction: None,
        share: Share::Samples,
        outputs: world.outputs(),
        scope_of: &scope_of,
        may_amend: false,
        decide: &Flag(false),
    };
    drive(planning, &mut kept, &mut |_| {}).await.unwrap();
    let outputs: Vec<&Value> = kept
        .events
        .iter()
        .filter_map(|event| match event {
            Kind::Returned { tool, output, .. } if tool == "read_output" => Some(output),
            _ => None,
        })
        .collect();
    let joined: String = outputs[..4].iter().map(|output| output["text"].as_str().unwrap()).collect();
    assert_eq!(joined, whole.to_string());
    assert_eq!((&outputs[2]["next_offset"], &outputs[3]["next_offset"]), (&json!(12_000), &Value::Null));
    assert_eq!(outputs[4], &json!("the output of step 2 was shown whole"));
}
