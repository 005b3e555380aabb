//! What keeps to a form: everything that is written fits its schema, everything that fits can be written.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tunesmith_lm::{
    constrain::{CallForm, Grammar, Guide, State, Vocabulary},
    error::Error,
    generate::{Kept, Sampling, Session},
    model::Model,
    rng::Rng,
    tokens::Tokenizer,
};

use crate::golden;

/// The token that ends a text.
const STOP: u32 = 900;

/// How byte-level vocabularies write text.
fn printed(text: &[u8]) -> String {
    let plain = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let rank = |byte: u8| (0..byte).filter(|byte| !plain(byte)).count() as u32;
    text.iter()
        .map(|byte| char::from_u32(if plain(byte) { (*byte).into() } else { 256 + rank(*byte) }).unwrap())
        .collect()
}

/// Every byte, and tokens over the ends of values, of names and of characters.
fn tokenizer() -> Tokenizer {
    let mut words: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    let texts = [
        "{\"",
        "\":",
        "\": ",
        "\", \"",
        "\",\"",
        "\"}",
        "\"]",
        "}}",
        "},{",
        "], [",
        "[[",
        "true",
        "false,",
        "null",
        "null}",
        "12",
        "123",
        "0.5",
        "-1",
        "e-",
        "ab",
        "abc",
        "a\", \"b",
        "\": \"",
        "\": {\"",
        "\\u00",
        "\\n",
        "\\\"",
        "hello",
        "00",
        "99]",
        ", ",
        "<tool",
        "_call>",
        "<tool_call>\n{\"name",
        "\u{e9}",
        "\u{1f600}",
        "}\n</tool_call>",
        "        ",
    ];
    words.extend(texts.iter().map(|text| text.as_bytes().to_vec()));
    // Halves of characters.
    words.extend([&b"a\xc3"[..], b"\xa9\"", b"\xf0\x9f", b"\x98\x80\"}"].map(<[u8]>::to_vec));
    let vocab: Map<String, Value> = words.iter().enumerate().map(|(id, word)| (printed(word), id.into())).collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let added = json!({"id": STOP, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true});
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [added], "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    Tokenizer::from_json(&json.to_string()).unwrap()
}

fn vocabulary() -> Arc<Vocabulary> {
    Arc::new(Vocabulary::new(&tokenizer(), &[]).unwrap())
}

fn guide(schema: &Value, vocabulary: &Arc<Vocabulary>) -> Guide {
    let grammar = Grammar::of_schema(schema).unwrap_or_else(|error| panic!("{error}: {schema}"));
    Guide::new(vocabulary.clone(), Arc::new(grammar), &[STOP])
}

/// Writes with draws that know nothing, in at most `most` tokens; `short` prefers what ends soon.
fn written(guide: &mut Guide, rng: &mut Rng, most: usize) -> String {
    let (mut state, mut ids) = (guide.start(), Vec::new());
    while !guide.is_over(state) && ids.len() < most {
        let more = most - ids.len() - 1;
        let any: Vec<u32> = guide.mask(state).ids().collect();
        let token = any[rng.below(any.len())];
        let fits = |guide: &mut Guide, token| {
            token == STOP || guide.next(state, token).is_some_and(|next| guide.left(next) <= more)
        };
        let token = if fits(guide, token) {
            token
        } else {
            let closing: Vec<u32> = guide.closing(state, more).ids().collect();
            assert!(!closing.is_empty(), "a dead end");
            closing[rng.below(closing.len())]
        };
        if token == STOP {
            break;
        }
        ids.push(token);
        state = guide.next(state, token).unwrap();
    }
    assert!(guide.is_whole(state));
    String::from_utf8(guide.text(&ids)).unwrap()
}

/// Where a text leads, if it can be written.
fn accepts(guide: &mut Guide, text: &str) -> bool {
    let start = guide.start();
    guide.read(start, text.as_bytes()).is_some_and(|state| guide.is_whole(state))
}

/// A schema of the part that is supported.
fn schema(rng: &mut Rng, depth: usize) -> Value {
    let name = |rng: &mut Rng| ["a", "ab", "abc", "b", "\u{e9}\"", "x y", ""][rng.below(7)].to_owned();
    let count = |rng: &mut Rng| rng.below(4);
    match rng.below(if depth == 0 { 8 } else { 14 }) {
        0 => json!({"type": "boolean"}),
        1 => json!({"type": ["null", "string"]}),
        2 => {
            let least = count(rng);
            json!({"type": "string", "minLength": least, "maxLength": least + count(rng)})
        }
        3 => {
            let low = rng.below(2_000) as i64 - 1_000;
            json!({"type": "integer", "minimum": low, "maximum": low + rng.below(300) as i64, "format": "int32"})
        }
        4 => {
            let low = (rng.below(2_000) as f64 - 1_000.0) / [1.0, 10.0, 1_000.0, 1e7][rng.below(4)];
            let high = low + [0.001, 1.0, 250.0][rng.below(3)];
            let (low_word, high_word) =
                [("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum")][rng.below(2)];
            json!({"type": "number", low_word: low, high_word: high})
        }
        5 => json!({"enum": [name(rng), name(rng), 1, 2.5, null, true]}),
        6 => json!({"type": if rng.below(2) == 0 { "number" } else { "integer" }}),
        7 => json!({"const": name(rng)}),
        8 | 9 => {
            let mut names: Vec<String> = (0..count(rng) + 1).map(|_| name(rng)).collect();
            names.sort();
            names.dedup();
            let required: Vec<&String> = names.iter().filter(|_| rng.below(2) == 0).collect();
            let required = json!(required);
            let properties: Map<String, Value> =
                names.iter().map(|name| (name.clone(), schema(rng, depth - 1))).collect();
            json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
        }
        10 => {
            let least = count(rng);
            json!({"type": "array", "items": schema(rng, depth - 1), "minItems": least, "maxItems": least + count(rng)})
        }
        11 => json!({"type": "object", "additionalProperties": schema(rng, depth - 1), "maxProperties": count(rng)}),
        12 => json!({"anyOf": [schema(rng, depth - 1), schema(rng, depth - 1)]}),
        _ => json!({"oneOf": [{"type": "array", "items": schema(rng, depth - 1)}, {"type": "null"}]}),
    }
}

/// A value that fits a schema of [`schema`], if one is found.
fn value(schema: &Value, rng: &mut Rng) -> Value {
    let most = |word: &str| schema[word].as_u64().unwrap_or(3) as usize;
    let between = |rng: &mut Rng, least: &str, most_word: &str| {
        let least = schema[least].as_u64().unwrap_or(0) as usize;
        least + rng.below(most(most_word) - least + 1)
    };
    if let Some(choices) = schema.get("anyOf").or(schema.get("oneOf")).or(schema.get("enum")).and_then(Value::as_array)
    {
        let choice = &choices[rng.below(choices.len())];
        return if schema.get("enum").is_some() { choice.clone() } else { value(choice, rng) };
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    let bounds = || {
        let bound = |one: &str, other: &str| schema[one].as_f64().or(schema[other].as_f64());
        bound("minimum", "exclusiveMinimum").zip(bound("maximum", "exclusiveMaximum"))
    };
    match schema["type"].as_str() {
        Some("boolean") => json!(rng.below(2) == 0),
        Some("integer") => match bounds() {
            Some((low, high)) => json!(low as i64 + rng.below((high - low) as usize + 1) as i64),
            None => json!(rng.next_u64() as i64 / 100),
        },
        Some("number") => match bounds() {
            // With fewer digits than may be written.
            Some((low, high)) => json!(((low + (high - low) * f64::from(rng.uniform())) * 1e9).round() / 1e9),
            None => json!((f64::from(rng.normal()) * 1e6).round() / 1e3),
        },
        Some("array") => (0..between(rng, "minItems", "maxItems")).map(|_| value(&schema["items"], rng)).collect(),
        Some("object") => match schema["properties"].as_object() {
            Some(properties) => {
                let required = schema["required"].as_array().unwrap();
                let some =
                    properties.iter().filter(|(name, _)| required.iter().any(|r| r == *name) || rng.below(2) == 0);
                some.map(|(name, schema)| (name.clone(), schema))
                    .collect::<Vec<_>>()
                    .into_iter()
                    .map(|(name, schema)| (name, value(schema, rng)))
                    .collect()
            }
            None => (0..rng.below(most("maxProperties") + 1))
                .map(|i| (format!("k{i}\n"), value(&schema["additionalProperties"], rng)))
                .collect(),
        },
        _ => {
            let letters = ['a', '"', '\\', '\n', '\u{1}', '\u{e9}', '\u{1f600}', ' ', '}', '\u{fffd}'];
            (0..between(rng, "minLength", "maxLength"))
                .map(|_| letters[rng.below(letters.len())])
                .collect::<String>()
                .into()
        }
    }
}

/// JSON as Python writes it.
fn spaced(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let fields = map.iter().map(|(name, value)| format!("{}: {}", Value::from(name.as_str()), spaced(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Random schemas: what is written fits, in few tokens as in many, and what fits can be written.
fn fuzz(seeds: std::ops::Range<u64>) -> (usize, usize) {
    let vocabulary = vocabulary();
    let (mut outputs, mut values) = (0, 0);
    for seed in seeds {
        let mut rng = Rng::new(seed, "schemas");
        let schema = schema(&mut rng, 3);
        let validator = jsonschema::validator_for(&schema).unwrap();
        let mut guide = guide(&schema, &vocabulary);
        let least = guide.left(guide.start());
        for most in [least, least + 3, least + 40, 400 + least] {
            let text = written(&mut guide, &mut rng, most);
            let value: Value =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?} of {schema}"));
            assert!(validator.is_valid(&value), "{text} of {schema}");
            outputs += 1;
        }
        for _ in 0..4 {
            let value = value(&schema, &mut rng);
            if validator.is_valid(&value) && !value.to_string().contains("e-") {
                for text in [value.to_string(), spaced(&value)] {
                    assert!(accepts(&mut guide, &text), "{text} of {schema}");
                    values += 1;
                }
            }
        }
        masks_are_exact(&mut guide, &mut rng, &vocabulary);
    }
    (outputs, values)
}

/// On a random way, the set of tokens is that of those that can be read.
fn masks_are_exact(guide: &mut Guide, rng: &mut Rng, vocabulary: &Vocabulary) {
    let mut state = guide.start();
    for _ in 0..12 {
        let mask = guide.mask(state);
        let read: Vec<u32> =
            (0..STOP).filter(|id| vocabulary.bytes(*id).is_some() && guide.next(state, *id).is_some()).collect();
        assert_eq!(mask.ids().filter(|id| *id != STOP).collect::<Vec<_>>(), read);
        assert_eq!(mask.has(STOP), guide.is_whole(state));
        assert!(mask.ids().next().is_some() || guide.is_over(state), "a dead end");
        if read.is_empty() {
            return;
        }
        state = guide.next(state, read[rng.below(read.len())]).unwrap();
    }
}

#[test]
fn what_is_written_fits_its_schema_and_what_fits_can_be_written() {
    let (outputs, values) = fuzz(0..150);
    assert!(outputs == 600 && values > 300, "{outputs} outputs, {values} values");
}

#[test]
#[ignore = "minutes"]
fn soak_random_schemas_of_every_kind() {
    let (outputs, values) = fuzz(1_000..21_000);
    println!("20,000 schemas: {outputs} outputs fit, {values} values could be written");
}

#[test]
fn any_value_and_schemas_that_name_themselves_come_to_an_end() {
    let vocabulary = vocabulary();
    let tree = json!({"$defs": {"tree": {"type": "object", "required": ["kids"], "properties": {
        "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
        "up": {"anyOf": [{"$ref": "#/$defs/tree"}, {"$ref": "#/$defs/up"}]}}},
        "up": {"anyOf": [{"$ref": "#/$defs/up"}, {"type": "null"}]}}, "$ref": "#/$defs/tree"});
    let mut rng = Rng::new(1, "any");
    for schema in [json!({}), json!(true), json!({"type": "object"}), tree] {
        let validator = jsonschema::validator_for(&schema).unwrap();
        let mut guide = guide(&schema, &vocabulary);
        for most in [20, 200, 2_000] {
            let text = written(&mut guide, &mut rng, most);
            assert!(validator.is_valid(&serde_json::from_str(&text).unwrap()), "{text} of {schema}");
        }
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        if schema == json!({}) {
            assert!(accepts(&mut guide, &deep(64)) && !accepts(&mut guide, &deep(65)));
        }
    }
}

#[test]
fn a_place_far_from_a_limit_has_the_tokens_of_one_without() {
    let vocabulary = vocabulary();
    let mut free = guide(&json!({"type": "string"}), &vocabulary);
    let mut bounded = guide(&json!({"type": "string", "minLength": 2, "maxLength": 60}), &vocabulary);
    let (near, far) = (format!("\"{}", "a".repeat(58)), "\"aaaa");
    let at = |guide: &mut Guide, text: &str| -> State { guide.read(guide.start(), text.as_bytes()).unwrap() };
    let (one, other) = (at(&mut free, far), at(&mut bounded, far));
    assert_eq!(free.mask(one), bounded.mask(other));
    let other = at(&mut bounded, &near);
    assert!(!bounded.mask(other).has(tokenizer().encode("hello").unwrap()[0]) || bounded.mask(other) != free.mask(one));
}

#[test]
fn what_cannot_be_told_byte_by_byte_is_refused_by_name() {
    let cases = [
        (json!({"type": "string", "pattern": "a+"}), "#: pattern is not supported"),
        (
            json!({"properties": {"a/b": {"type": "string", "format": "date"}}}),
            "#/properties/a~1b: format is not supported",
        ),
        (json!({"type": "integer", "multipleOf": 3}), "#: multipleOf is not supported"),
        (json!({"type": "array", "uniqueItems": true}), "#: uniqueItems is not supported"),
        (json!({"type": "array", "prefixItems": []}), "#: prefixItems is not supported"),
        (json!({"items": {"not": {}}}), "#/items: not is not supported"),
        (json!({"$ref": "http://x/y"}), "#: a $ref that leads out of the schema is not supported"),
        (json!({"$ref": "#/$defs/a"}), "#: $ref leads to #/$defs/a, which is not there"),
        (json!({"anyOf": [{}], "type": "object"}), "#: type beside anyOf is not supported"),
        (json!({"allOf": [{}, {}]}), "#: allOf of more than one schema is not supported"),
        (
            json!({"oneOf": [{"type": "number"}, {"type": "integer"}]}),
            "#: oneOf whose choices may overlap is not supported; use anyOf",
        ),
        (json!({"enum": [[1]]}), "#: a list or an object among constants is not supported"),
        (json!({"minItems": 2, "maxItems": 1}), "#: minItems is above maxItems"),
        (
            json!({"type": "integer", "minimum": 2, "maximum": 1}),
            "#: no number lies between its bounds, or none that can be written",
        ),
        (
            json!({"type": "integer", "minimum": 9_007_199_254_740_993u64}),
            "#: no number lies between its bounds, or none that can be written",
        ),
        (json!({"type": "text"}), "#: type \"text\" is none"),
        (
            json!({"required": ["a"], "additionalProperties": false}),
            "nothing that ends fits it: something that is required needs itself, or is too long or too deep",
        ),
        (
            json!({"$defs": {"a": {"required": ["b"], "properties": {"b": {"$ref": "#/$defs/a"}}}}, "$ref": "#/$defs/a"}),
            "nothing that ends fits it: something that is required needs itself, or is too long or too deep",
        ),
        (json!(7), "#: a schema is an object, true or false"),
    ];
    for (schema, why) in cases {
        match Grammar::of_schema(&schema) {
            Err(Error::Schema(said)) => assert_eq!(said, why, "{schema}"),
            other => panic!("{schema}: {:?}", other.err()),
        }
    }
}

#[test]
fn a_chain_of_references_is_followed_only_so_far() {
    let chain = |length: usize| {
        let link = |at: usize| {
            let next =
                if at + 1 < length { json!({"$ref": format!("#/$defs/{}", at + 1)}) } else { json!({"type": "null"}) };
            (at.to_string(), next)
        };
        json!({"$defs": (0..length).map(link).collect::<serde_json::Map<_, _>>(), "$ref": "#/$defs/0"})
    };
    assert!(accepts(&mut guide(&chain(100), &vocabulary()), "null"));
    let said = Grammar::of_schema(&chain(9_000)).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(
        said.contains("#/$defs/127: schemas that lead to one another more than 128 deep are not supported"),
        "{said}"
    );
}

#[test]
fn a_name_that_is_required_twice_comes_once() {
    let schema = json!({"type": "object", "required": ["a", "a"], "additionalProperties": {"type": "null"}});
    let mut guide = guide(&schema, &vocabulary());
    assert!(accepts(&mut guide, "{\"a\":null}") && !accepts(&mut guide, "{\"a\":null,\"a\":null}"));
}

#[test]
fn choices_that_a_constant_tells_apart_may_be_a_one_of() {
    let schema = json!({"oneOf": [
        {"type": "object", "required": ["kind"], "properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}},
        {"type": "object", "required": ["kind"], "properties": {"kind": {"enum": ["b", "c"]}}}, {"type": ["string", "null"]}]});
    let mut guide = guide(&schema, &vocabulary());
    for (text, fits) in
        [("{\"kind\":\"a\",\"x\":1}", true), ("{\"kind\": \"c\"}", true), ("null", true), ("{\"kind\":\"d\"}", false)]
    {
        assert_eq!(accepts(&mut guide, text), fits, "{text}");
    }
}

#[test]
fn text_goes_on_freely_until_a_call_begins_and_a_call_fits_its_tool() {
    let (eval, evaluate) = (
        json!({"type": "object", "properties": {}, "additionalProperties": false}),
        json!({
        "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"], "additionalProperties": false}),
    );
    let tools = [("eval", &eval), ("evaluate", &evaluate)];
    let form = CallForm::default();
    let vocabulary = vocabulary();
    let of = |most| {
        let grammar = Grammar::of_calls(&form, &tools, most).unwrap();
        Guide::new(vocabulary.clone(), Arc::new(grammar), &[STOP])
    };
    let call = "<tool_call>\n{\"name\": \"evaluate\", \"arguments\": {\"path\": \"a\"}}\n</tool_call>";
    let mut guide = of(40);
    for (text, fits) in [
        ("", true),
        ("<tool <tool_<tool_call", true),
        ("\u{e9}t\u{e9}", true),
        (call, true),
        (&format!("First \u{1f600}. {call}"), true),
        (&format!("<tool_{call}"), true),
        ("<tool_call>\n{\"name\": \"train\", \"arguments\": {}}\n</tool_call>", false),
        ("<tool_call>", false),
        (&format!("{call}x"), false),
        (&"a".repeat(39), true),
        (&"a".repeat(40), false),
        (&format!("{}{call}", "a".repeat(40)), true),
        (&"a".repeat(41), false),
    ] {
        assert_eq!(accepts(&mut guide, text), fits, "{text}");
    }
    assert!(!accepts(&mut of(0), "") && accepts(&mut of(0), call) && !accepts(&mut of(0), "a"));
    let parsed = form
        .parse(&format!("so {call}"), &["eval", "evaluate"])
        .map(|(text, name, args)| (text.to_owned(), name, args));
    assert_eq!(parsed, Some(("so ".to_owned(), "evaluate".to_owned(), json!({"path": "a"}))));
    let mut rng = Rng::new(3, "calls");
    for most in [0, 1, 3, 30] {
        let mut guide = of(most);
        for _ in 0..20 {
            let text = written(&mut guide, &mut rng, 200);
            let called = form.parse(&text, &["eval", "evaluate"]);
            assert!(called.is_some() || text.chars().count() < most as usize, "{most}: {text:?}");
            masks_are_exact(&mut guide, &mut rng, &vocabulary);
        }
    }
}

#[test]
fn a_model_that_knows_nothing_writes_what_fits_in_the_tokens_that_it_has() {
    let schema = json!({"type": "object", "required": ["name", "ages"], "properties": {
        "name": {"type": "string", "maxLength": 12}, "ages": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 120}}}});
    let validator = jsonschema::validator_for(&schema).unwrap();
    let model = Model::open(&golden("families/llama3")).unwrap();
    let vocabulary = Arc::new(Vocabulary::new(&model.tokenizer, &[]).unwrap());
    let session = Session::new(&model, None).unwrap();
    let grammar = Arc::new(Grammar::of_schema(&schema).unwrap());
    for (temperature, most) in [(0.0, 24), (1.0, 24), (1.0, 40), (5.0, 50)] {
        let sampling = Sampling { temperature, seed: 5, ..Sampling::greedy(most, model.tokenizer.stops.clone()) };
        let write = || {
            let mut guide = Guide::new(vocabulary.clone(), grammar.clone(), &model.tokenizer.stops);
            session.generate_guided(&[vec![5, 9, 100], vec![7]], &sampling, &mut guide, &mut |_, _| {}).unwrap()
        };
        let done = write();
        assert_eq!(done, write());
        for done in done {
            assert!(done.stopped && done.ids.len() <= most, "{done:?}");
            assert!(validator.is_valid(&serde_json::from_str(&done.text).unwrap()), "{}", done.text);
        }
    }
    let mut guide = Guide::new(vocabulary, grammar, &[]);
    let few = Sampling::greedy(10, Vec::new());
    let error = session.generate_guided(&[vec![5]], &few, &mut guide, &mut |_, _| {}).unwrap_err().to_string();
    assert_eq!(
        error,
        "generation: the form that is asked for takes up to 21 tokens, and 10 may be written; allow more"
    );
}

#[test]
fn an_answer_has_the_same_bits_whatever_was_read_before() {
    let dir = tempfile::tempdir().unwrap();
    crate::copy(&golden("families/qwen3"), dir.path());
    let config = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["max_position_embeddings"] = 2_048.into();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let session = Session::new(&Model::open(dir.path()).unwrap(), None).unwrap();
    let longest = session.max_length();
    let mut rng = Rng::new(1, "prompts");
    let mut prompt: Vec<u32> = (0..longest / 2).map(|_| rng.below(250) as u32).collect();
    let sampling = Sampling { temperature: 1.0, seed: 2, ..Sampling::greedy(8, Vec::new()) };
    let fresh = |prompt: &[u32]| session.reply(&mut Kept::default(), prompt, &sampling, None, &mut |_| {}).unwrap();
    let mut kept = Kept::default();
    for turn in 0..4 {
        let mut told = Vec::new();
        let done = session.reply(&mut kept, &prompt, &sampling, None, &mut |token| told.push(token)).unwrap();
        assert_eq!((&done, &told), (&fresh(&prompt), &done.ids), "turn {turn}");
        prompt.extend(done.ids);
        if turn == 2 {
            prompt.truncate(longest / 3);
        }
    }
}
