#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use crate::{Error, Options, Template, Today};

fn chat(source: &str, context: Value) -> Result<String, Error> {
    Template::new(source, &Options::chat())?.render(context)
}

#[test]
fn blocks_are_trimmed_as_transformers_trims_them() {
    let source = "{% for m in messages %}\n    {% if true %}\n  {{ m }}\n    {% endif %}\n{% endfor %}\nend\n";
    assert_eq!(chat(source, json!({"messages": ["a", "b"]})).unwrap(), "  a\n  b\nend");
}

#[test]
fn tojson_writes_what_python_writes() {
    let value = json!({"b": [1, 2.0, 1e16, 1e-5, null, true], "a": "<é\u{1f600}\"\n\u{1}>", "e": [], "f": {}});
    let render = |filter: &str| chat(&format!("{{{{ v | {filter} }}}}"), json!({"v": value})).unwrap();
    assert_eq!(
        render("tojson"),
        r#"{"b": [1, 2.0, 1e+16, 1e-05, null, true], "a": "<é😀\"\n\u0001>", "e": [], "f": {}}"#
    );
    assert_eq!(
        render("tojson(ensure_ascii=true, sort_keys=true, separators=(',', ':'))"),
        r#"{"a":"<\u00e9\ud83d\ude00\"\n\u0001>","b":[1,2.0,1e+16,1e-05,null,true],"e":[],"f":{}}"#
    );
    assert_eq!(
        chat("{{ {'a': [1, {'b': 2}], 'c': {}} | tojson(indent=2) }}", json!({})).unwrap(),
        "{\n  \"a\": [\n    1,\n    {\n      \"b\": 2\n    }\n  ],\n  \"c\": {}\n}"
    );
}

#[test]
fn a_refusal_is_told_from_a_broken_template() {
    let refuse = "{{ raise_exception('roles must\nalternate') }}";
    assert_eq!(chat(refuse, json!({})), Err(Error::Raised("roles must alternate".into())));
    let in_a_macro = "{% macro m() %}{{ raise_exception('no') }}{% endmacro %}{{ m() }}";
    assert_eq!(chat(in_a_macro, json!({})), Err(Error::Raised("no".into())));
    assert!(matches!(chat("{% if %}", json!({})), Err(Error::Syntax(line)) if line.contains("line 1")));
    assert!(matches!(chat("{{ a.b.c }}", json!({})), Err(Error::Render(_))));
}

#[test]
fn an_endless_template_ends_with_an_error() {
    let source = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}";
    let error = chat(source, json!({})).unwrap_err();
    assert_eq!(error.to_string().lines().count(), 1);
    assert!(error.to_string().contains("fuel"), "{error}");
    let recursive = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
    assert!(matches!(chat(recursive, json!({})), Err(Error::Render(_))));
    let long = "{% for a in range(9999) %}{{ s }}{% endfor %}";
    let error = chat(long, json!({"s": "x".repeat(100_000)})).unwrap_err();
    assert!(matches!(error, Error::Render(_)), "{error}");
}

#[test]
fn generation_tags_leave_only_their_content() {
    let source = "a\n  {%- generation -%}\n  b {% set x = 1 %}\n{% endgeneration %}\nc{{ x }}{%generation%}d{%+ endgeneration +%}\ne";
    assert_eq!(chat(source, json!({})).unwrap(), "ab \ncd\ne".replace("b \nc", "b c"));
    assert_eq!(chat("{{ add_generation_prompt }} {% if generation %}{% endif %}", json!({})).unwrap(), " ");
}

#[test]
fn python_methods_do_what_python_does() {
    let cases = [
        ("'a-b-c'.rsplit('-', 1)", r#"["a-b", "c"]"#),
        ("' a  b '.rsplit()", r#"["a", "b"]"#),
        ("' a b  c '.rsplit(none, 1)", r#"["a b", "c"]"#),
        ("'a-b'.split('-')[-1]", r#""b""#),
        ("'prefix'.removeprefix('pre')", r#""fix""#),
        ("'suffix'.removesuffix('fix')", r#""suf""#),
        ("'a=b=c'.partition('=')", r#"["a", "=", "b=c"]"#),
        ("'abc'.partition('=')", r#"["abc", "", ""]"#),
        ("'a=b=c'.rpartition('=')", r#"["a=b", "=", "c"]"#),
        ("'7'.zfill(3) ~ '-7'.zfill(4)", r#""007-007""#),
        ("'a'.ljust(3) ~ 'b'.rjust(3, '.') ~ 'ab'.center(5, '*')", r#""a  ..b**ab*""#),
        ("['x', 'y'].index('y')", "1"),
        ("[1, 2, 3][::-1]", "[3, 2, 1]"),
        ("range(3, -1, -1) | list", "[3, 2, 1, 0]"),
        ("[1, 2, 3, 4, 5][3:0:-2]", "[4, 2]"),
        ("'abc'[::-1] ~ 'abcdef'[-3:-1]", r#""cbade""#),
        ("'a\n\nb\n' | indent(2, first=true)", r#""  a\n\n  b\n""#),
        ("'a\n\nb' | indent(width='> ', blank=true)", r#""a\n> \n> b""#),
        ("nothing | length ~ (none is iterable)", r#""0False""#),
        ("{'a': [1, 'x', none, true, 1.0]} ~ ''", r#""{'a': [1, 'x', None, True, 1.0]}""#),
        ("dict([('a', 1)], b=2)", r#"{"a": 1, "b": 2}"#),
    ];
    for (expression, expected) in cases {
        assert_eq!(chat(&format!("{{{{ ({expression}) | tojson }}}}"), json!({})).unwrap(), expected, "{expression}");
    }
}

#[test]
fn the_date_is_only_the_one_handed_in() {
    let source =
        "{% if strftime_now is defined %}{{ strftime_now('%A %d %B %Y, %-d %b %y') }}{% else %}none{% endif %}";
    assert_eq!(chat(source, json!({})).unwrap(), "none");
    let options = Options { today: Some(Today { year: 2024, month: 7, day: 6 }), ..Options::chat() };
    let text = Template::new(source, &options).unwrap().render(json!({})).unwrap();
    assert_eq!(text, "Saturday 06 July 2024, 6 Jul 24");
}

#[test]
fn evaluation_prompts_keep_their_white_space_and_name_unknown_variables() {
    let options = Options::eval();
    let render = |source: &str| Template::new(source, &options).and_then(|t| t.render(json!({"q": "why"})));
    assert_eq!(render("{% if true %}\n{{ q }}{% endif %}\n").unwrap(), "\nwhy\n");
    assert!(render("{{ a }}").is_err());
}

#[test]
fn spans_are_what_stood_in_generation_tags() {
    let spans = |source: &str, context: Value| {
        let template = Template::new(source, &Options::chat()).unwrap();
        let (text, spans) = template.render_with_spans(&context).unwrap();
        assert_eq!(template.render(&context).unwrap(), text);
        spans.into_iter().map(|span| text[span].to_string()).collect::<Vec<_>>()
    };
    let source = "{% set ns = namespace(n=0) %}{% for m in messages %}{% if m.role == 'a' %}A:\n  {%- generation -%}\n {{ m.text }}{{ loop.index }}\
        {% set ns.n = ns.n + 1 %}{% set x = 1 %}!{% endgeneration %}{{ x }}\n{% else %}{{ m.text }}{% endif %}{% endfor %}{{ ns.n }}";
    let messages = json!({"messages": [
        {"role": "u", "text": "é😀"}, {"role": "a", "text": "ö"}, {"role": "a", "text": ""}, {"role": "a", "text": "ö2!"},
    ]});
    assert_eq!(spans(source, messages), ["ö2!", "3!", "ö2!4!"]);
    assert_eq!(spans("a{% generation %}{% endgeneration %}b", json!({})), [""]);
    assert_eq!(spans("no tag", json!({})), [""; 0]);
    let writes = "{% set ns = namespace() %}{% generation %}{% set ns.x = 'b' %}{% endgeneration %}a{{ ns.x }}";
    assert_eq!(spans(writes, json!({})), [""]);
    let mine = "{% generation %}{{ generation_tracker__ }}{% endgeneration %}";
    assert!(Template::new(mine, &Options::chat()).unwrap().has_generation_tags());
    assert!(
        !Template::new("{{ 'generation' }}{% if generation %}{% endif %}", &Options::chat())
            .unwrap()
            .has_generation_tags()
    );
}

#[test]
fn spans_whose_place_is_not_known_are_an_error() {
    for source in [
        "{% macro m() %}b{% generation %}c{% endgeneration %}{% endmacro %}a{{ m() }}",
        "a{% set x %}b{% generation %}c{% endgeneration %}{% endset %}{{ x }}",
        "{% generation %}a{% generation %}b{% endgeneration %}{% endgeneration %}",
    ] {
        let template = Template::new(source, &Options::chat()).unwrap();
        assert!(template.render(json!({})).is_ok());
        let error = template.render_with_spans(json!({})).unwrap_err();
        assert!(error.to_string().contains("generation tag stands in"), "{error}");
    }
}

fn eval(source: &str, context: Value) -> Result<String, Error> {
    Template::new(source, &Options::eval())?.render(context)
}

#[test]
fn eval_templates_show_values_as_python_does() {
    let row = json!({"x": [1.0, 1e-7, 2e16, null, true, "it's", "\u{a0}\u{200b}é", {"a": [0.1]}], "f": 1e22, "s": "a"});
    assert_eq!(
        eval("{{ x }} {{ f }}\n", row.clone()).unwrap(),
        "[1.0, 1e-07, 2e+16, None, True, \"it's\", '\\xa0\\u200bé', {'a': [0.1]}] 1e+22\n"
    );
    assert_eq!(eval("{{ x[:3] | join('; ') }}|{{ f | string }}", row.clone()).unwrap(), "1.0; 1e-07; 2e+16|1e+22");
    assert_eq!(eval("{{ ('a', 1.5) }}{{ (s,) }}{{ {'k': none} }}", row).unwrap(), "('a', 1.5)('a',){'k': None}");
}

#[test]
fn eval_templates_have_lm_evals_filter_and_pythons_methods() {
    let render = |source: &str| eval(source, json!({"s": " \u{1c}The end, _the_ END\u{3000}\n", "l": ["A", "B"]}));
    assert_eq!(
        render(r"{{ s | regex_replace('(?i)(the) (\w+)', '\\2 \\1', 1) | trim }}").unwrap(),
        "end The, _the_ END"
    );
    assert_eq!(
        render("{{ s.strip() }}|{{ s.split()|length }}|{{ s.strip().split(' ', 1) }}").unwrap(),
        "The end, _the_ END|4|['The', 'end, _the_ END']"
    );
    assert_eq!(
        render("{{ l.index('B') }}{{ 'abc'.index('c') }}{{ l | join }}{{ '²'.isdigit() }}").unwrap(),
        "12ABTrue"
    );
    assert_eq!(render("{{ \"they're o'neil\".title() }} {{ 'ÀB cD'.capitalize() }}").unwrap(), "They'Re O'Neil Àb cd");
    assert!(
        matches!(render("{{ s | regex_replace('(', '') }}"), Err(Error::Render(line)) if line.contains("not closed"))
    );
    assert!(matches!(render("{{ nothing }}"), Err(Error::Render(line)) if line.contains("undefined")));
    assert_eq!(
        render("{{ l|int }} {{ '7 '|int }} {{ none|int(3) }} {{ l|map(attribute='x')|list }}").unwrap(),
        "0 7 3 [Undefined, Undefined]"
    );
    assert_eq!(render("{{ 'y' if nothing is defined else 'n' }}{{ 1 if l is not none }}").unwrap(), "n1");
}

#[test]
fn a_value_that_is_endless_on_paper_ends_with_an_error() {
    let doubled = "{% set ns = namespace(a=['x']) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}";
    for shown in ["{{ ns.a }}", "{{ ns.a | tojson }}"] {
        let error = eval(&format!("{doubled}{shown}"), json!({})).unwrap_err().to_string();
        assert!(error.contains("the text is too long"), "{shown}: {error}");
    }
    for wide in [
        "{{ '%1000000000d' | format(1) }}",
        "{{ '{:>1000000000}'.format('a') }}",
        "{{ [1, 2] | slice(1000000000) | list }}",
        "{{ [1, 2] | batch(1000000000, 'x') | list }}",
        "{{ 'a'.center(1000000000) }}",
    ] {
        let error = eval(wide, json!({})).unwrap_err().to_string();
        assert!(error.contains("the width is too large"), "{wide}: {error}");
    }
    assert_eq!(eval("{{ '%05d' | format(7) }}{{ '{0}-{1:>3}'.format('a', 'b') }}", json!({})).unwrap(), "00007a-  b");
    let wide = "{{ 'a'.ljust(100000, 'b' * 1000000) }}";
    assert!(eval(wide, json!({})).unwrap_err().to_string().contains("exactly one character"));
}
