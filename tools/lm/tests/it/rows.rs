//! Rows to sequences and pairs, against TRL; checks, warnings, and rows that are wrong.

use serde_json::{Value, json};
use tunesmith_lm::{
    chat::ChatTemplate,
    engine::batch::Sequence,
    rows::{Count, Encoder, Tally, Train, Warning, pack},
    tokens::Tokenizer,
};

use crate::{chat, copy, golden};

fn expected() -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden("rows.json")).unwrap()).unwrap()
}

fn tied() -> Tokenizer {
    Tokenizer::from_dir(&golden("llama/tied")).unwrap()
}

/// The tokenizer of the golden files, which may be told to begin every text.
fn tokenizer(file: &Value, begins: bool) -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden("llama/tied"), dir.path());
    let path = dir.path().join("tokenizer.json");
    let mut settings: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    if begins {
        settings["post_processor"] = file["begins"][0].clone();
    }
    std::fs::write(&path, settings.to_string()).unwrap();
    Tokenizer::from_dir(dir.path()).unwrap()
}

fn named(template: &Value) -> Option<ChatTemplate> {
    let path = golden(&format!("chat/templates/{}.jinja", template.as_str()?));
    Some(chat::template(&std::fs::read_to_string(path).unwrap()).unwrap())
}

/// Tokens and indices of those that are trained; the first never is, whatever TRL's label for it says.
fn told(sequence: &Value) -> (Vec<u32>, Vec<usize>) {
    let ids = serde_json::from_value(sequence["ids"].clone()).unwrap();
    let trained: Vec<usize> = serde_json::from_value(sequence["trained"].clone()).unwrap();
    (ids, trained.into_iter().filter(|at| *at > 0).collect())
}

fn ours(sequence: &Sequence) -> (Vec<u32>, Vec<usize>) {
    (sequence.tokens.clone(), sequence.trained_tokens().collect())
}

#[test]
fn sequences_and_their_labels_equal_those_of_trl() {
    let file = expected();
    for case in file["sft"].as_array().unwrap() {
        let tokenizer = tokenizer(&file, case["begins"].as_bool().unwrap());
        let template = named(&case["template"]);
        let train = serde_json::from_value(case["train"].clone()).unwrap();
        let max_length = case["max_length"].as_u64().map(|n| n as usize);
        let encoder = Encoder { tokenizer: &tokenizer, template: template.as_ref(), train, max_length };
        let label = format!("{} {} {train:?} {max_length:?}", case["name"], case["template"]);
        let rows = case["rows"].as_array().unwrap();
        let (sequences, tally) = encoder.sequences(rows).unwrap_or_else(|e| panic!("{label}: {e}"));
        // A row of which only the first token has a label has nothing to predict, and is left out here.
        let theirs: Vec<_> =
            case["sequences"].as_array().unwrap().iter().map(told).filter(|s| !s.1.is_empty()).collect();
        assert_eq!(sequences.iter().map(ours).collect::<Vec<_>>(), theirs, "{label}");
        assert_eq!(tally.rows, rows.len());
        assert_eq!(tally.sequences + tally.dropped.rows, tally.rows, "{label}");
        assert_eq!(tally.trained, theirs.iter().map(|s| s.1.len()).sum::<usize>(), "{label}");
        assert_eq!(tally.tokens, theirs.iter().map(|s| s.0.len()).sum::<usize>(), "{label}");
    }
}

#[test]
fn pairs_equal_those_of_trl() {
    let file = expected();
    for case in file["dpo"].as_array().unwrap() {
        let tokenizer = tokenizer(&file, case["begins"].as_bool().unwrap());
        let template = named(&case["template"]);
        let max_length = case["max_length"].as_u64().map(|n| n as usize);
        let encoder = Encoder { tokenizer: &tokenizer, template: template.as_ref(), train: None, max_length };
        let label = format!("{} {} {max_length:?}", case["name"], case["template"]);
        let (pairs, tally) = encoder.pairs(case["rows"].as_array().unwrap()).unwrap_or_else(|e| panic!("{label}: {e}"));
        let theirs: Vec<_> = case["pairs"].as_array().unwrap().iter().map(|p| [told(&p[0]), told(&p[1])]).collect();
        assert_eq!(pairs.iter().map(|p| [ours(&p.chosen), ours(&p.rejected)]).collect::<Vec<_>>(), theirs, "{label}");
        assert_eq!((tally.sequences, tally.rows), (pairs.len(), case["rows"].as_array().unwrap().len()));
    }
}

#[test]
fn packing_and_blocks_equal_those_of_trl() {
    let file = expected();
    for case in file["packs"].as_array().unwrap() {
        let lengths: Vec<usize> = serde_json::from_value(case["lengths"].clone()).unwrap();
        let bins: Vec<Vec<usize>> = serde_json::from_value(case["bins"].clone()).unwrap();
        assert_eq!(pack(&lengths, case["max"].as_u64().unwrap() as usize), bins, "bins of {}", case["max"]);
    }
    let tokenizer = tied();
    for case in file["blocks"].as_array().unwrap() {
        let max_length = case["max"].as_u64().map(|n| n as usize);
        let encoder = Encoder { tokenizer: &tokenizer, template: None, train: None, max_length };
        let texts: Vec<String> = serde_json::from_value(case["texts"].clone()).unwrap();
        let (blocks, tally) = encoder.blocks(&texts).unwrap();
        let mut theirs: Vec<Vec<u32>> = serde_json::from_value(case["blocks"].clone()).unwrap();
        // Nothing is predicted in a block of one token.
        theirs.retain(|block| block.len() > 1);
        assert_eq!(blocks.iter().map(|b| b.tokens.clone()).collect::<Vec<_>>(), theirs);
        assert!(blocks.iter().all(|block| block.targets() + 1 == block.tokens.len()));
        assert_eq!((tally.rows, tally.sequences), (texts.len(), blocks.len()));
    }
}

/// A conversation in ShareGPT's format, if it can be written so.
fn shared(row: &Value) -> Option<Value> {
    let turn = |message: &Value| {
        let from = match message["role"].as_str()? {
            "user" => "human",
            "assistant" => "gpt",
            role => role,
        };
        let plain = message.as_object()?.len() == 2;
        plain.then(|| Some(json!({"from": from, "value": message["content"].as_str()?})))?
    };
    let turns: Option<Vec<Value>> = row["messages"].as_array()?.iter().map(turn).collect();
    let mut shared = row.clone();
    shared.as_object_mut()?.remove("messages");
    shared["conversations"] = turns?.into();
    Some(shared)
}

#[test]
fn chats_in_sharegpts_format_are_those_of_trl() {
    let file = expected();
    let (mut compared, mut systems) = (0, 0);
    for case in file["sft"].as_array().unwrap() {
        let (tokenizer, template) = (tokenizer(&file, case["begins"].as_bool().unwrap()), named(&case["template"]));
        let train = serde_json::from_value(case["train"].clone()).unwrap();
        let max_length = case["max_length"].as_u64().map(|n| n as usize);
        let encoder = Encoder { tokenizer: &tokenizer, template: template.as_ref(), train, max_length };
        for row in case["rows"].as_array().unwrap() {
            let Some(shared) = shared(row) else { continue };
            let told = encoder.sequences(std::slice::from_ref(row)).map_err(|e| e.to_string());
            assert_eq!(encoder.sequences(&[shared]).map_err(|e| e.to_string()), told);
            compared += 1;
            systems += usize::from(row["messages"][0]["role"] == "system");
        }
    }
    assert!(compared > 10 && systems > 0, "{compared} {systems}");
}

#[test]
fn instructions_in_alpacas_format_are_prompts_with_their_completions() {
    let message = |role: &str, content: &str| json!({"role": role, "content": content});
    let rows = [
        json!({"instruction": "Add.", "input": "1 and 2", "output": "3"}),
        json!({"instruction": "Say hello.", "input": "", "output": "Hello 🙂"}),
        json!({"instruction": "Say no.", "input": null, "output": "No.", "system": "Be short.", "id": 7}),
    ];
    let chats = [
        json!({"prompt": [message("user", "Add.\n1 and 2")], "completion": [message("assistant", "3")]}),
        json!({"prompt": [message("user", "Say hello.")], "completion": [message("assistant", "Hello 🙂")]}),
        json!({"prompt": [message("system", "Be short."), message("user", "Say no.")],
            "completion": [message("assistant", "No.")]}),
    ];
    let (tokenizer, template) = (tied(), chat::template(PLAIN).unwrap());
    for train in [None, Some(Train::Full), Some(Train::Assistant)] {
        let encoder = Encoder { tokenizer: &tokenizer, template: Some(&template), train, max_length: Some(64) };
        assert_eq!(encoder.sequences(&rows).unwrap(), encoder.sequences(&chats).unwrap(), "{train:?}");
    }
    let texts = [
        json!({"prompt": "Add.\n1 and 2\n", "completion": "3"}),
        json!({"prompt": "Say hello.\n", "completion": "Hello 🙂"}),
        json!({"prompt": "Be short.\nSay no.\n", "completion": "No."}),
    ];
    let encoder = Encoder { tokenizer: &tokenizer, template: None, train: None, max_length: Some(64) };
    assert_eq!(encoder.sequences(&rows).unwrap(), encoder.sequences(&texts).unwrap());
}

#[test]
fn rows_that_are_nearly_in_the_formats_of_sharegpt_and_alpaca_are_refused_with_their_place() {
    let turn = |from: &str| json!({"from": from, "value": "a"});
    let table = [
        (json!({"conversations": []}), "conversations must be a list of turns, each with from and value"),
        (json!({"conversations": "a"}), "conversations must be a list of turns, each with from and value"),
        (
            json!({"conversations": [turn("human"), {"from": "gpt"}]}),
            "turn 2 of conversations must have from and value, both texts",
        ),
        (
            json!({"conversations": [turn("human"), turn("wizard")]}),
            "turn 2 is from \"wizard\", which is no speaker of ShareGPT's format; write system, human, gpt or tool",
        ),
        (
            json!({"conversations": [turn("system"), turn("human"), turn("gpt")], "system": "b"}),
            "turn 1 is from the system, and so is the column system; leave one out",
        ),
        (json!({"conversations": [turn("human"), turn("gpt")], "system": 1}), "system must be a text"),
        (json!({"instruction": "a", "input": 1, "output": "b"}), "instruction, input and output must be texts"),
    ];
    for (row, why) in table {
        let good = json!({"conversations": [turn("human"), turn("gpt")]});
        assert_eq!(error(PLAIN, None, &[good, row]), format!("data: row 2: {why}"));
    }
}

const PLAIN: &str = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}\n\
    {% else %};{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
/// Ends a turn where the next begins, and the last with the chat.
const LATE: &str = "{% for m in messages %}{% if not loop.first %}{{ eos_token }}{% endif %}<|{{ m.role }}|>{{ m.content }}\
    {% endfor %}{% if add_generation_prompt %}{{ eos_token }}<|assistant|>{% endif %}";

/// What rows come to with a template, and the texts that are trained.
fn trained(
    template: &str,
    train: Option<Train>,
    max_length: Option<usize>,
    rows: &[Value],
) -> (Vec<Vec<String>>, Tally) {
    let (tokenizer, template) = (tied(), chat::template(template).unwrap());
    let encoder = Encoder { tokenizer: &tokenizer, template: Some(&template), train, max_length };
    let (sequences, tally) = encoder.sequences(rows).unwrap();
    let text = |s: &Sequence| s.trained.iter().map(|r| tokenizer.decode(&s.tokens[r.clone()]).unwrap()).collect();
    (sequences.iter().map(text).collect(), tally)
}

fn error(template: &str, train: Option<Train>, rows: &[Value]) -> String {
    let (tokenizer, template) = (tied(), chat::template(template).unwrap());
    let encoder = Encoder { tokenizer: &tokenizer, template: Some(&template), train, max_length: Some(64) };
    let error = encoder.sequences(rows).expect_err("an error").to_string();
    assert!(error.lines().count() == 1 && error.len() < 800, "{error}");
    error
}

fn turns(texts: &[&str]) -> Value {
    let role = |i: usize| if i.is_multiple_of(2) { "user" } else { "assistant" };
    json!({"messages": texts.iter().enumerate().map(|(i, t)| json!({"role": role(i), "content": t})).collect::<Vec<_>>()})
}

#[test]
fn turns_of_the_assistant_are_found_without_generation_tags() {
    let rows = [turns(&["a", "One. ", "b", "Zwölf 🙂"]), turns(&["c", ""])];
    let (texts, tally) = trained(PLAIN, Some(Train::Assistant), None, &rows);
    assert_eq!(texts, [vec!["One. <|end|>", "Zwölf 🙂<|end|>"], vec!["<|end|>"]]);
    assert_eq!((tally.whole, tally.without_stop.rows, tally.warnings()), (2, 0, vec![]));
    // The end of a turn that is written with the next turn belongs to the turn that it ends.
    let rows = [turns(&["a", "One", "b", "Two", "c"])];
    assert_eq!(trained(LATE, Some(Train::Assistant), None, &rows).0, [["One<|end|>", "Two<|end|>"]]);
}

#[test]
fn a_template_that_changes_earlier_turns_is_told() {
    let qwen3 = std::fs::read_to_string(golden("chat/templates/qwen3.jinja")).unwrap();
    let rows = [turns(&["a", "one"]), turns(&["a", "<think>\nx\n</think>\n\none", "b", "two"])];
    let (_, tally) = trained(&qwen3, None, None, &rows);
    assert_eq!(tally.warnings(), [Warning::HistoryChanges(Count { rows: 1, first: Some(1) })]);
    let error = error(&qwen3, Some(Train::Assistant), &rows);
    assert!(error.contains("row 2: it has no generation tags, and what message 2 says cannot be found"), "{error}");
    // With tags the spans are right whatever the template does.
    let tagged = std::fs::read_to_string(golden("chat/templates/qwen3_training.jinja")).unwrap();
    let (texts, tally) = trained(&tagged, Some(Train::Assistant), None, &rows[1..]);
    assert_eq!(texts, [["<think>\nx\n</think>\n\none<|end|>", "<think>\n\n</think>\n\ntwo<|end|>"]]);
    assert_eq!(tally.warnings(), []);
}

#[test]
fn rows_that_are_cut_or_left_out_are_counted() {
    let rows = [
        json!({"prompt": "x", "completion": "!"}),
        json!({"prompt": "x".repeat(40), "completion": "!"}),
        json!({"prompt": "x", "completion": "!".repeat(40)}),
    ];
    let (texts, tally) = trained(PLAIN, None, Some(8), &rows);
    assert_eq!(texts, [["!<|end|>".to_string()], ["!".repeat(7)]]);
    let truncated = Count { rows: 2, first: Some(1) };
    let dropped = Count { rows: 1, first: Some(1) };
    assert_eq!(tally.warnings(), [Warning::Dropped(dropped), Warning::Truncated(truncated)]);
    assert_eq!((tally.rows, tally.sequences, tally.whole, tally.tokens), (3, 2, 1, 11));
    let line = tally.warnings()[0].to_string();
    assert_eq!(line, "1 rows, first row 2: left out, no trained token fits into max_length");
}

#[test]
fn rows_that_teach_nothing_or_never_to_stop_are_an_error() {
    let begins_twice = "<|endoftext|><|endoftext|>{{ messages[0].content }}{{ eos_token }}";
    assert!(error(begins_twice, None, &[turns(&["a"])]).contains("row 1: the text begins with <|endoftext|> 2 times"));
    let endless = "{% for m in messages %}{{ m.content }};{% endfor %}";
    assert!(error(endless, None, &[turns(&["a", "b"])]).contains("would never stop"));
    let long = "x".repeat(300);
    let row = json!({"prompt": long, "completion": "y"});
    assert!(error(endless, None, &[row]).contains("no row keeps a trained token"));
    assert!(error(PLAIN, Some(Train::Assistant), &[turns(&["a"])]).contains("the assistant says nothing"));
    assert!(error(PLAIN, Some(Train::Assistant), &[json!({"text": "a"})]).contains("no messages; train full"));
    assert!(error(PLAIN, Some(Train::Completion), &[turns(&["a", "b"])]).contains("no completion"));
}

#[test]
fn rows_of_wrong_types_are_errors_that_name_the_row() {
    let good = json!({"text": "fine"});
    let message = json!({"role": "user", "content": "a"});
    for row in [
        json!(null),
        json!([]),
        json!("text"),
        json!({}),
        json!({"text": 3}),
        json!({"text": null}),
        json!({"prompt": "a"}),
        json!({"prompt": "a", "completion": [message]}),
        json!({"prompt": 1, "completion": 2}),
        json!({"messages": []}),
        json!({"messages": "hi"}),
        json!({"messages": [1]}),
        json!({"messages": [{"content": "a"}]}),
        json!({"messages": [{"role": 3}]}),
        json!({"messages": [message], "tools": 3}),
        json!({"messages": [message], "tools": "{"}),
        json!({"messages": [message], "chat_template_kwargs": []}),
        json!({"messages": [{"role": "user", "content": {"a": 1}}]}),
    ] {
        let strict = "{{ messages[0].content + eos_token }}";
        let error = error(strict, None, &[good.clone(), row.clone()]);
        assert!(error.contains("row 2: "), "{row}: {error}");
    }
    let (tokenizer, template) = (tied(), chat::template(PLAIN).unwrap());
    let encoder = Encoder { tokenizer: &tokenizer, template: Some(&template), train: None, max_length: None };
    for row in [
        json!({"chosen": "a"}),
        json!({"chosen": "a", "rejected": 1}),
        json!({"chosen": [message], "rejected": "a"}),
        json!({"chosen": [message], "rejected": []}),
        json!({"prompt": [message], "chosen": "a", "rejected": "b"}),
        json!({"chosen": [message], "rejected": [{"role": "user", "content": "b"}]}),
    ] {
        let error = encoder.pairs(std::slice::from_ref(&row)).expect_err("an error").to_string();
        assert!(error.starts_with("data: row 1: "), "{row}: {error}");
    }
    assert!(encoder.blocks(["a"]).is_err());
    assert!(Encoder { max_length: Some(1), ..encoder }.sequences(&[good]).is_err());
}

#[test]
fn hostile_templates_give_errors() {
    let nested = |open: &str, close: &str, n: usize| format!("{}x{}", open.repeat(n), close.repeat(n));
    for source in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}".to_string(),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_string(),
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}".to_string(),
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_string(),
        "{{ 'x' * 99999999999 }}".to_string(),
        "{% for a in range(99999) %}{{ 'x' * 1000000 }}{% endfor %}".to_string(),
        "{% set b %}{% for a in range(99999) %}{{ 'x' * 1000000 }}{% endfor %}{% endset %}".to_string(),
        "{% generation %}{% for a in range(99999) %}{{ 'x' * 1000000 }}{% endfor %}{% endgeneration %}".to_string(),
        "{% macro m() %}{% for a in range(99999) %}{{ 'x' * 1000000 }}{% endfor %}{% endmacro %}{% set b = m() %}"
            .to_string(),
        "{% include 'template' %}".to_string(),
        "{% extends 'template' %}".to_string(),
        format!("{{{{ {} }}}}", nested("(", ")", 5000)),
        format!("{{{{ {} }}}}", nested("[", "]", 5000)),
        format!("{{{{ {}1 }}}}", "-".repeat(50_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(50_000)),
        format!("{{{{ 1{} }}}}", " + 1".repeat(50_000)),
        format!("{{{{ {{'a': 1}}{} }}}}", "['a']".repeat(50_000)),
        format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(20_000)),
        nested("{% if true %}", "{% endif %}", 5000),
        nested("{% generation %}", "{% endgeneration %}", 5000),
        "x".repeat(5 << 20),
    ] {
        let label = source.chars().take(60).collect::<String>();
        let row = turns(&["a", "b"]);
        let error = ChatTemplate::new(&source, "", "").and_then(|template| {
            let tokenizer = tied();
            Encoder {
                tokenizer: &tokenizer,
                template: Some(&template),
                train: Some(Train::Assistant),
                max_length: None,
            }
            .sequences(&[row])
        });
        let error = error.map(drop).expect_err(&label).to_string();
        assert!(error.lines().count() == 1 && error.len() < 800, "{label}: {error}");
    }
    // Deep rows.
    let deep = (0..120).fold(json!("x"), |value, _| json!([value]));
    let row = json!({"messages": [{"role": "user", "content": deep}]});
    let tojson = "{{ messages | tojson }}";
    assert!(error(tojson, None, &[row]).contains("nested too deeply"));
}
