//! Numbers, texts, values and patterns against those that CPython gives.

use proptest::prelude::*;
use serde_json::{Value, json};
use tunesmith_harness::eval::python::{
    literal::{Literal, literal_eval},
    random::Random,
    regex::{Found, Regex},
    repr,
    source::function_source,
    strings,
};

fn golden(part: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../golden/eval/python.json")).unwrap();
    all[part].clone()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// Python's `float.hex`, for numbers from 0 to 1.
fn from_hex(value: &Value) -> f64 {
    let text = value.as_str().unwrap().strip_prefix("0x1.").unwrap();
    let (digits, exponent) = text.split_once('p').unwrap();
    let mantissa = 1.0 + u64::from_str_radix(digits, 16).unwrap() as f64 / 2f64.powi(4 * digits.len() as i32);
    mantissa * 2f64.powi(exponent.parse().unwrap())
}

#[test]
fn random_numbers_are_cpythons() {
    for case in list(&golden("draws")) {
        let mut random = Random::new(case["seed"].as_u64().unwrap());
        for x in list(&case["random"]) {
            assert_eq!(random.random(), from_hex(x));
        }
        let bits: Vec<String> = [1, 8, 31, 32, 33, 53, 64].map(|k| random.bits(k).to_string()).into();
        assert_eq!(json!(bits), case["bits"]);
        let below: Vec<usize> = [1, 2, 3, 10, 1000, 1 << 31, 1 << 40].map(|n| random.below(n)).into();
        assert_eq!(json!(below), case["below"]);
        for sample in list(&case["samples"]) {
            let [n, k] = [0, 1].map(|i| sample[i].as_u64().unwrap() as usize);
            assert_eq!(json!(random.sample(n, k)), sample[2]);
        }
        let mut items: Vec<usize> = (0..20).collect();
        random.shuffle(&mut items);
        assert_eq!(json!(items), case["shuffled"]);
        assert_eq!(json!([0; 3].map(|_| *random.choice(&items).unwrap())), case["choice"]);
        assert_eq!(json!(random.choices(37, 5)), case["choices"]);
        for _ in 0..2000 {
            random.random();
        }
        assert_eq!(random.random(), from_hex(&case["late"]));
    }
    assert_eq!((Random::new(1).sample(3, 4), Random::new(1).choice::<u8>(&[])), (None, None));
}

fn shown(literal: &Literal) -> Value {
    let all = |kind: &str, items: &[Literal]| json!([kind, items.iter().map(shown).collect::<Vec<_>>()]);
    match literal {
        Literal::None => json!("None"),
        Literal::Bool(value) => json!(if *value { "True" } else { "False" }),
        Literal::Int(value) => json!(format!("int {value}")),
        Literal::Float(value) => json!(format!("float {}", repr::float(*value))),
        Literal::Str(text) => json!(["str", text]),
        Literal::List(items) => all("list", items),
        Literal::Tuple(items) => all("tuple", items),
        Literal::Set(items) => all("set", items),
        Literal::Dict(pairs) => {
            json!(["dict", pairs.iter().map(|(k, v)| json!([shown(k), shown(v)])).collect::<Vec<_>>()])
        }
    }
}

#[test]
fn literals_are_read_as_cpython_reads_them() {
    let wrong: Vec<String> = list(&golden("literals"))
        .iter()
        .filter_map(|case| {
            let ours = literal_eval(case[0].as_str().unwrap()).map_or(json!("error"), |value| shown(&value));
            (ours != case[1]).then(|| format!("{}: {ours} instead of {}", case[0], case[1]))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(literal_eval(&"[".repeat(100_000)).unwrap_err().to_string().contains("deep"));
}

#[test]
fn long_literals_are_read_in_a_time_that_grows_with_their_length() {
    // Each of these took minutes while the place of an error was sought before there was one, or a key among all others.
    let numbers = format!("[{}]", "1,".repeat(1_000_000));
    let escapes = format!("'{}'", r"\x41".repeat(1_000_000));
    let keys: String = (0..200_000).map(|i| format!("'{i}': 0,")).collect();
    for text in [numbers, escapes, format!("{{{keys}}}")] {
        assert!(literal_eval(&text).is_ok());
    }
}

#[test]
fn values_are_shown_as_cpython_shows_them() {
    for case in list(&golden("values")) {
        let ours = json!([repr::str_of(&case[0]), repr::repr_of(&case[0]), repr::dumps(&case[0], Some(2)).unwrap()]);
        assert_eq!(ours, json!([case[1], case[2], case[3]]), "{case}");
    }
}

#[test]
fn methods_of_texts_are_cpythons() {
    for case in list(&golden("texts")) {
        let text = case["text"].as_str().unwrap();
        let ours = json!({
            "text": text, "strip": strings::strip(text), "lstrip": strings::lstrip(text), "rstrip": strings::rstrip(text),
            "split": strings::words(text).collect::<Vec<_>>(), "split1": strings::split_words(text, Some(1)),
            "splitlines": strings::split_lines(text, false), "keepends": strings::split_lines(text, true),
            "capitalize": strings::capitalize(text), "title": strings::title(text), "isdigit": strings::is_digit(text),
        });
        assert_eq!(ours, *case);
    }
}

fn found(found: &Found) -> Value {
    match found {
        Found::Text(text) => json!(text),
        Found::Groups(groups) => json!(groups),
    }
}

#[test]
fn patterns_find_what_cpython_finds() {
    let golden = golden("regex");
    let mut wrong = Vec::new();
    for case in list(&golden["patterns"]) {
        let pattern = case["pattern"].as_str().unwrap();
        let regex = match Regex::new(pattern) {
            Ok(regex) => regex,
            Err(e) => {
                // Names of characters are refused.
                let refused = case["error"] == true || pattern.contains(r"\N");
                wrong.extend((!refused).then(|| format!("{pattern}: {e}")));
                continue;
            }
        };
        if case["error"] == true {
            // A look-behind of several lengths is more than CPython can do.
            wrong.extend((!pattern.contains("?<=")).then(|| format!("{pattern}: accepted as {regex:?}")));
            continue;
        }
        for (subject, theirs) in list(&golden["subjects"]).iter().zip(list(&case["found"])) {
            let text = subject.as_str().unwrap();
            let groups = regex.search(text).unwrap().map(|m| m.groups().to_vec());
            let ours = json!({
                "all": regex.find_all(text).unwrap().iter().map(found).collect::<Vec<_>>(),
                "search": groups, "match": regex.match_start(text).unwrap().map(|m| text[m.range].to_string()),
                "split": regex.split(text).unwrap(),
                "sub": regex.sub("<>", text, 0).unwrap(), "sub2": regex.sub("<>", text, 2).unwrap(),
            });
            if ours != *theirs {
                wrong.push(format!("{pattern} on {text:?}:\n  {ours}\n  {theirs}"));
            }
        }
        for (replacement, theirs) in list(&golden["replacements"]).iter().zip(list(&case["subs"])) {
            let ours = json!(regex.sub(replacement.as_str().unwrap(), "xaab ab", 0).ok());
            if ours != *theirs {
                wrong.push(format!("{pattern} replaced by {replacement}: {ours} instead of {theirs}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn hostile_patterns_end_with_an_error_of_one_line() {
    let endless = Regex::new(r"(?:a|a(?=a)|aa)*b(?!c)").unwrap();
    let error = endless.search(&"a".repeat(5000)).unwrap_err().to_string();
    assert!(error.contains("takes too long"), "{error}");
    for pattern in
        ["(".repeat(10_000), "(?:a{1000}){1000}{9}".into(), "((a{500}){500}){500}".into(), "a".repeat(1 << 17)]
    {
        let error = Regex::new(&pattern).unwrap_err().to_string();
        assert!(error.lines().count() == 1 && error.len() < 400, "{error}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e300..1e300).prop_map(Value::from),
        any::<String>().prop_filter("Python cannot read a zero byte", |t| !t.contains('\0')).prop_map(Value::from),
        "['\"\\\\\n a-c]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-z' ]{0,5}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn what_repr_writes_literal_eval_reads_back(value in any_value()) {
        prop_assert_eq!(literal_eval(&repr::repr_of(&value)).unwrap().into_json().unwrap(), value);
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in any::<String>(), code in "[\\[\\](){}'\"\\\\rbu0-9xe.,:#+\n -]{0,40}") {
        for text in [text, code] {
            let _ = literal_eval(&text);
            let _ = Regex::new(&text).map(|regex| regex.find_all("aab\n").is_ok());
            let _ = Regex::new("(a)").map(|regex| regex.sub(&text, "aab", 0).is_ok());
            let _ = function_source(&text, "f");
        }
    }
}

#[test]
fn the_source_of_a_function_is_what_inspect_cuts_out() {
    let file = "import re\n\ndef g(): return 1\n\n\n@a(\n  1)\n# note\n@b\ndef f(x,\n  y):\n    '''def f():\nend'''\n    s = \"\"\"\nX\n\"\"\"\n    # last\n\n    return {\n}\n  # shallow\n# outer\n\nX = 2\n\ntry:\n    import z\nexcept E:\n    async def h(a):\n        pass\n\n        # deep\nY = 3\n";
    assert_eq!(function_source(file, "g").unwrap(), "def g(): return 1\n");
    let f = "@a(\n  1)\n# note\n@b\ndef f(x,\n  y):\n    '''def f():\nend'''\n    s = \"\"\"\nX\n\"\"\"\n    # last\n\n    return {\n}\n";
    assert_eq!(function_source(file, "f").unwrap(), f);
    assert_eq!(function_source(file, "h").unwrap(), "    async def h(a):\n        pass\n\n        # deep\n");
    assert_eq!(function_source(file, "X"), None);
}
