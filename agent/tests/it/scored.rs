//! A model behind an endpoint as eval tasks ask it: exact sums, order, waits, and what is kept after a failure.

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tunesmith::model::{
    openai::OpenAi,
    scored::{Api, Scored},
};
use tunesmith_harness::{
    eval::request::{self, Generation},
    model::{LanguageModel, Loglikelihood, Message},
};
use tunesmith_sandbox::Cancel;

use crate::{
    cli::{Said, command},
    dialogue::{endpoint, quick},
    server::{Answer, Server},
};

async fn model(answers: Vec<Answer>, api: Api, at_once: usize) -> (Scored, Server) {
    let server = Server::start(answers).await;
    let model = OpenAi::with_pace(endpoint(&server), 1, quick()).unwrap();
    (Scored { model, api, at_once, runtime: Handle::current(), cancel: Cancel::default() }, server)
}

fn json_answer(value: &Value) -> Answer {
    Answer::status(200, &value.to_string())
}

/// The answer of a server that takes every character for a token, of log-probability minus its code.
fn echoed(prompt: &str) -> Answer {
    let text = format!("{prompt}~");
    let chars: Vec<String> = text.chars().map(String::from).collect();
    let own = |c: &String| -f64::from(u32::from(c.chars().next().unwrap()));
    let values: Vec<Value> =
        chars.iter().enumerate().map(|(i, c)| if i == 0 { Value::Null } else { json!(own(c)) }).collect();
    let top: Vec<Value> = chars.iter().map(|c| json!({"b": own(c).max(-98.0)})).collect();
    let offsets: Vec<usize> = (0..chars.len()).collect();
    let logprobs = json!({"tokens": chars, "text_offset": offsets, "token_logprobs": values, "top_logprobs": top});
    json_answer(&json!({"choices": [{"text": text, "logprobs": logprobs}]}))
}

fn settings(until: &[&str], max: Option<usize>) -> Generation {
    let until = until.iter().map(|stop| (*stop).to_owned()).collect();
    Generation { until, max_gen_toks: max, do_sample: false, temperature: 0.7, top_p: 0.5, top_k: Some(3), repeat: 0 }
}

fn pair(context: &str, continuation: &str) -> (String, String) {
    (context.into(), continuation.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn log_likelihoods_are_sums_over_the_continuation_in_the_order_of_the_requests() {
    let pairs = [pair("Q", "ab"), pair("Q ", "bb"), pair("äQ", "c")];
    let prompts = ["Qab", "Q bb", "äQc"];
    let (mut model, server) = model(prompts.iter().map(|p| echoed(p)).collect(), Api::Completions, 1).await;
    let mut heard = Vec::new();
    let sums = tokio::task::block_in_place(|| model.loglikelihood(&pairs, &mut |done, of| heard.push((done, of))));
    let expected = [
        Loglikelihood { sum: -97.0 - 98.0, tokens: 2, greedy: true },
        // The blank at the context's end belongs to the continuation.
        Loglikelihood { sum: -32.0 - 98.0 - 98.0, tokens: 3, greedy: true },
        Loglikelihood { sum: -99.0, tokens: 1, greedy: false },
    ];
    assert_eq!(sums.unwrap(), expected);
    assert_eq!(heard, [(1, 3), (2, 3), (3, 3)]);
    let asked = server.asked();
    assert_eq!(asked[1].line, "POST /v1/completions HTTP/1.1");
    assert_eq!(asked[1].headers["authorization"], "Bearer sk-secret");
    let body = json!({"model": "m", "prompt": "Q bb", "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": true,
        "seed": 1234});
    assert_eq!(asked[1].body, body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_text_is_scored_only_where_its_first_token_is() {
    let (mut model, _) = model(vec![echoed("ab")], Api::Completions, 1).await;
    let texts = [String::new(), "ab".to_owned()];
    let failed = tokio::task::block_in_place(|| model.loglikelihood_rolling(&texts, &mut |_, _| {})).unwrap_err();
    let why = "it gives no log-probability for the first token";
    assert!(failed.to_string().contains(why) && failed.to_string().contains("or tasks that generate"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_the_rate_is_waited_for_and_a_refusal_is_not_asked_again() {
    let busy = Answer::status(429, "slow down").header("retry-after", "0");
    let (mut model, server) = self::model(vec![busy, echoed("Qa")], Api::Completions, 1).await;
    let sums = tokio::task::block_in_place(|| model.loglikelihood(&[pair("Q", "a")], &mut |_, _| {})).unwrap();
    assert_eq!((sums[0].sum, server.asked().len()), (-97.0, 2));

    let (mut model, server) = self::model(vec![Answer::status(404, "no sk-secret")], Api::Completions, 1).await;
    let failed = tokio::task::block_in_place(|| model.loglikelihood(&[pair("Q", "a")], &mut |_, _| {})).unwrap_err();
    let said = format!(
        "{}/completions: the provider declined the request (http 404): no [key]; does the address end in /v1, and does \
         the server have /completions? --chat-template asks /chat/completions",
        server.base
    );
    assert_eq!((failed.to_string(), server.asked().len()), (said, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn results_keep_their_order_when_requests_run_side_by_side() {
    // Each answer depends on its prompt alone, so any order of arrival must give the same results.
    let server = Server::answering(|body| {
        let prompt = body["prompt"].as_str().unwrap_or_default().to_owned();
        json_answer(&json!({"choices": [{"text": format!("{prompt}!\nmore")}]}))
    })
    .await;
    let model = OpenAi::with_pace(endpoint(&server), 1, quick()).unwrap();
    let runtime = Handle::current();
    let mut model = Scored { model, api: Api::Completions, at_once: 7, runtime, cancel: Cancel::default() };
    let requests: Vec<_> = (0..40).map(|n| (n.to_string(), settings(&["\n"], None))).collect();
    let texts = tokio::task::block_in_place(|| model.generate_until(&requests, &mut |_, _| {})).unwrap();
    assert_eq!(texts, (0..40).map(|n| format!("{n}!")).collect::<Vec<_>>());
    assert_eq!(server.asked().len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_sent_as_messages_and_stops_are_sent_and_cut() {
    let reply = |content: Value| {
        json_answer(
            &json!({"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]}),
        )
    };
    let (mut model, server) = model(vec![reply(json!("one five two")), reply(Value::Null)], Api::Chat, 1).await;
    let messages = [Message { role: "system".into(), content: "Be brief.".into() }, Message::user("Hi \"you\"")];
    let prompt = model.chat_prompt(&messages).unwrap();
    assert_eq!(request::messages(&prompt).unwrap(), messages);
    let drawn = Generation { do_sample: true, repeat: 2, ..settings(&[], Some(9)) };
    let stops = ["1", "2", "", "3", "4", "five"];
    let requests = [(prompt.clone(), settings(&stops, Some(5))), (prompt, drawn)];
    let texts = tokio::task::block_in_place(|| model.generate_until(&requests, &mut |_, _| {})).unwrap();
    assert_eq!(texts, ["one ", ""]);
    let (asked, messages) = (server.asked(), json!(messages));
    assert_eq!(asked[0].line, "POST /v1/chat/completions HTTP/1.1");
    let greedy = json!({"model": "m", "messages": messages, "max_tokens": 5, "temperature": 0.0, "seed": 1234,
        "stop": ["1", "2", "3", "4"]});
    let drawn = json!({"model": "m", "messages": messages, "max_tokens": 9, "temperature": 0.7, "seed": 1236,
        "top_p": 0.5, "top_k": 3});
    assert_eq!([&asked[0].body, &asked[1].body], [&greedy, &drawn]);
    let failed = tokio::task::block_in_place(|| model.loglikelihood(&[pair("Q", "a")], &mut |_, _| {})).unwrap_err();
    assert!(failed.to_string().contains("leave out --chat-template"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_evaluation_waits_for_no_answer() {
    // The server accepts and never answers.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let silent = tunesmith::model::openai::Endpoint {
        base,
        model: "m".into(),
        key: None,
        facts: tunesmith::model::catalogue::Facts::FREE,
    };
    let cancel = Cancel::default();
    let model = OpenAi::with_pace(silent, 1, quick()).unwrap();
    let mut model =
        Scored { model, api: Api::Completions, at_once: 2, runtime: Handle::current(), cancel: cancel.clone() };
    let accepted = tokio::spawn(async move {
        let socket = listener.accept().await;
        cancel.cancel();
        socket
    });
    let failed = tokio::task::block_in_place(|| model.loglikelihood(&[pair("Q", "a")], &mut |_, _| {})).unwrap_err();
    assert_eq!(failed.to_string(), "stopped while the endpoint answered");
    accepted.await.unwrap().unwrap();
}

const TASK: &str = "
task: said
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: '{{q}}'
doc_to_choice: c
doc_to_target: a
metric_list: [{metric: acc}]
";

const CHAT: &str = "
task: said
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: '{{q}}'
doc_to_target: '{{c[a]}}'
generation_kwargs: {until: ['.'], max_gen_toks: 4}
metric_list: [{metric: exact_match}]
";

/// A directory with the task and `rows` rows.
fn task(rows: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let row = |n: usize| json!({"q": format!("Q{n:03}:"), "c": ["a", "b"], "a": n % 2}).to_string();
    std::fs::write(dir.path().join("rows.jsonl"), (0..rows).map(row).collect::<Vec<_>>().join("\n")).unwrap();
    std::fs::write(dir.path().join("said.yaml"), TASK).unwrap();
    dir
}

/// Evaluates on the task while the runtime serves.
async fn eval(dir: &tempfile::TempDir, model: &str, more: &[&str]) -> Said {
    let args = [["eval", "--model", model, "--tasks", "said.yaml"].as_slice(), more].concat();
    let mut command = command(dir.path(), &args);
    tokio::task::spawn_blocking(move || Said::from(command.output().unwrap())).await.unwrap()
}

/// The server's prompts, which tell what was asked.
fn prompts(server: &Server) -> Vec<String> {
    server.asked().iter().filter_map(|asked| asked.body["prompt"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evaluation_that_failed_goes_on_with_what_is_missing() {
    let (dir, options) = (task(100), ["--out", "out", "--batch-size", "4", "--json"]);
    let mut asked = 0;
    let server = Server::answering(move |body| {
        asked += 1;
        if asked == 90 { Answer::status(400, "out of order") } else { echoed(body["prompt"].as_str().unwrap()) }
    })
    .await;
    let model = format!("url:{}#m", server.base);
    let said = eval(&dir, &model, &options).await;
    assert!(said.refused(5).contains("the provider declined the request (http 400): out of order"), "{said:?}");
    assert!(eval(&dir, &model, &options).await.refused(2).contains("go on with --resume"));
    let before = prompts(&server).len();
    // What runs beside the one that fails may go on to the end of its piece of 16 requests, and no further.
    assert!((90..=96).contains(&before), "{before}");

    let results = eval(&dir, &model, &[options.as_slice(), &["--resume"]].concat()).await.ok().json();
    // `a` is the likelier answer to each, and right for every other row.
    assert_eq!(results["results"]["said"]["acc,none"], json!(0.5));
    let note = results["tunesmith"]["notes"][0].as_str().unwrap();
    assert!(note.starts_with("m answered at http://127.0.0.1:") && note.contains("/v1/completions"), "{note}");
    // At most the answers of one piece of 16 requests are asked for again.
    let after = prompts(&server).len() - before;
    assert!((200 - 89..=200 - 89 + 15).contains(&after), "{after}");
    let all: std::collections::BTreeSet<String> = prompts(&server).into_iter().collect();
    assert_eq!(all.len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_an_endpoint_in_the_cache_are_not_asked_for_again() {
    let server = Server::answering(|body| echoed(body["prompt"].as_str().unwrap())).await;
    let (dir, model) = (task(10), format!("url:{}#m", server.base));
    let first = eval(&dir, &model, &["--cache", "cache", "--limit", "6", "--json"]).await.ok().json();
    assert_eq!((&first["results"]["said"]["sample_len"], prompts(&server).len()), (&json!(6), 12));
    let all = eval(&dir, &model, &["--cache", "cache", "--json"]).await.ok().json();
    assert_eq!((&all["results"]["said"]["sample_len"], prompts(&server).len()), (&json!(10), 20));
    // What another name answers is another model's.
    eval(&dir, &format!("url:{}#n", server.base), &["--cache", "cache"]).await.ok();
    assert_eq!(prompts(&server).len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_leave_this_machine_only_with_a_word_of_where_to() {
    let server = Server::answering(|body| echoed(body["prompt"].as_str().unwrap())).await;
    let dir = task(2);
    let local = eval(&dir, &format!("url:{}#m", server.base), &[]).await.ok();
    assert!(!local.err.contains("prompts are sent"), "{local:?}");
    // To all appearances another machine, and yet this one.
    let base = server.base.replace("127.0.0.1", "0.0.0.0");
    let remote = eval(&dir, &format!("url:{base}#m"), &[]).await.ok();
    assert!(remote.err.lines().any(|line| line == format!("prompts are sent to {base} (m)")), "{remote:?}");
    assert_eq!(server.asked().len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_cannot_be_asked_is_refused_before_anything_is_sent() {
    let dir = task(1);
    let cases = [
        ("openai:m", &[][..], 5, "no key for https://api.openai.com/v1; set OPENAI_API_KEY\n"),
        ("openai:", &[], 2, "write openai:MODEL"),
        ("url:http://u:p@localhost/v1#m", &[], 2, "must not hold a user or password"),
        ("url:http://localhost/v1?key=x#m", &[], 2, "an address must not hold a query"),
        ("ollama:m", &["--adapter", "a"], 2, "--adapter needs a model that is here"),
    ];
    for (model, more, code, why) in cases {
        let said = eval(&dir, model, more).await;
        assert!(said.refused(code).contains(why), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_evaluated_and_scored_again_without_asking() {
    let server = Server::answering(|_| {
        json_answer(&json!({"choices": [{"message": {"content": "a. And so on"}, "finish_reason": "stop"}]}))
    })
    .await;
    let dir = task(4);
    std::fs::write(dir.path().join("said.yaml"), CHAT).unwrap();
    let options = ["--chat-template", "--system", "Be brief.", "--out", "out", "--json"];
    let results = eval(&dir, &format!("url:{}#m", server.base), &options).await.ok().json();
    assert_eq!(results["results"]["said"]["exact_match,none"], json!(0.5));
    let asked = server.asked();
    let first = asked.iter().find(|asked| asked.body.to_string().contains("Q000")).unwrap();
    let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q000:"}]);
    assert_eq!((&first.line[..25], &first.body["messages"]), ("POST /v1/chat/completions", &messages));

    std::fs::write(dir.path().join("said.yaml"), CHAT.replace("exact_match", "bleu")).unwrap();
    let mut again = command(dir.path(), &["score", "out", "--json"]);
    let again = tokio::task::spawn_blocking(move || Said::from(again.output().unwrap())).await.unwrap().ok().json();
    assert!(again["results"]["said"]["bleu,none"].is_number(), "{again}");
    assert_eq!(server.asked().len(), asked.len());
}
