//! `--planner SPEC`.

use std::path::PathBuf;

use secrecy::ExposeSecret;
use tunesmith::model::{
    ErrorKind,
    spec::{Hosted, Planner, parse},
};
use tunesmith_sandbox::Local;

fn hosted(spec: &str) -> Hosted {
    match parse(spec).unwrap() {
        Planner::Hosted(hosted) => hosted,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_form_has_its_address_and_its_own_key() {
    let cases = [
        ("openai:gpt-x", "https://api.openai.com/v1", "gpt-x", Some("OPENAI_API_KEY")),
        ("anthropic:c", "https://api.anthropic.com/v1", "c", Some("ANTHROPIC_API_KEY")),
        ("gemini:g", "https://generativelanguage.googleapis.com/v1beta/openai", "g", Some("GEMINI_API_KEY")),
        ("hf:org/m:cheapest", "https://router.huggingface.co/v1", "org/m:cheapest", Some("HF_TOKEN")),
        ("together:org/m", "https://api.together.xyz/v1", "org/m", Some("TOGETHER_API_KEY")),
        ("ollama:qwen3:4b", "http://localhost:11434/v1", "qwen3:4b", None),
        ("vllm:m", "http://localhost:8000/v1", "m", Some("VLLM_API_KEY")),
        ("url:http://10.0.0.2:9/v1/#org/m", "http://10.0.0.2:9/v1", "org/m", Some("TUNESMITH_API_KEY")),
    ];
    for (spec, base, model, key) in cases {
        let hosted = hosted(spec);
        assert_eq!((hosted.base.as_str(), hosted.model.as_str(), hosted.key), (base, model, key), "{spec}");
    }
    assert_eq!(parse("playbook"), Ok(Planner::Playbook));
    assert_eq!(parse("local: models/m.gguf"), Ok(Planner::Local("models/m.gguf".into())));
    assert_eq!(parse("replay:runs/a"), Ok(Planner::Replay(PathBuf::from("runs/a"))));
    assert_eq!(parse("scripted:a/b.jsonl"), Ok(Planner::Scripted(PathBuf::from("a/b.jsonl"))));
}

#[test]
fn a_wrong_form_says_what_to_write() {
    let forms = "playbook, openai:MODEL, anthropic:MODEL, gemini:MODEL, hf:MODEL, together:MODEL, ollama:MODEL, \
                 vllm:MODEL, url:BASE#MODEL, local:MODEL, scripted:FILE, replay:RUN";
    let cases = [
        ("gpt", format!("unknown planner \"gpt\"; use one of: {forms}")),
        ("", format!("unknown planner \"\"; use one of: {forms}")),
        ("azure:x", format!("unknown planner \"azure:x\"; use one of: {forms}")),
        ("openai", "planner \"openai\" is incomplete; write openai:MODEL".into()),
        ("ollama: ", "planner \"ollama:\" is incomplete; write ollama:MODEL".into()),
        ("scripted:", "planner \"scripted:\" is incomplete; write scripted:FILE".into()),
        ("url:http://h/v1", "planner \"url:http://h/v1\" is incomplete; write url:BASE#MODEL".into()),
        ("url:ftp://h#m", "\"ftp://h\" is not an http or https address; write url:https://HOST/v1#MODEL".into()),
        ("replay:", "planner \"replay:\" is incomplete; write replay:RUN".into()),
        ("local:", "planner \"local:\" is incomplete; write local:MODEL".into()),
        ("local", "planner \"local\" is incomplete; write local:MODEL".into()),
    ];
    for (spec, message) in cases {
        assert_eq!(parse(spec).map_err(|error| error.to_string()), Err(message), "{spec}");
    }
}

#[test]
fn a_password_in_an_address_is_refused_and_not_repeated() {
    let why = "an address must not hold a user or password; write url:https://HOST/v1#MODEL and put the key in \
               TUNESMITH_API_KEY";
    for spec in [
        "url:https://user:secret@host/v1#m",
        "url:https://secret@host#m",
        "url:http:/user:secret@host#m",
        "url:http:\\\\user:secret@host#m",
        "url:https://user:secret@host/v1",
        "url:user:secret@host#m",
        "url:ftp://user:secret@host#m",
    ] {
        assert_eq!(parse(spec).map_err(|error| error.to_string()), Err(why.to_owned()), "{spec}");
    }
    assert_eq!(hosted("url:https://host/@v1#org/m@2").base, "https://host/@v1");
}

#[test]
fn an_address_that_the_user_typed_never_gets_the_key_of_a_provider() {
    let env = |name: &str| Some(format!("value of {name}"));
    let endpoint = hosted("url:http://evil.test/v1#m").endpoint(&env).unwrap();
    assert_eq!(endpoint.key.unwrap().expose_secret(), "value of TUNESMITH_API_KEY");
    let only_openai = |name: &str| (name == "OPENAI_API_KEY").then(|| "sk".to_owned());
    assert!(hosted("url:http://evil.test/v1#m").endpoint(&only_openai).unwrap().key.is_none());
    assert!(hosted("ollama:m").endpoint(&env).unwrap().key.is_none());
}

#[test]
fn a_missing_key_names_its_variable() {
    for empty in [None, Some(" ".to_owned())] {
        let error = hosted("openai:m").endpoint(&move |_| empty.clone()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Auth);
        assert_eq!(error.message, "no key for https://api.openai.com/v1; set OPENAI_API_KEY");
    }
}

#[test]
fn opening_gives_a_model_or_says_why_not() {
    let (none, jobs) = (|_: &str| None, Local::new());
    assert!(parse("playbook").unwrap().open(&none, &jobs, 0).unwrap().is_none());
    assert!(parse("ollama:m").unwrap().open(&none, &jobs, 0).unwrap().is_some());
    let script = tempfile::NamedTempFile::new().unwrap();
    let spec = format!("scripted:{}", script.path().display());
    assert!(parse(&spec).unwrap().open(&none, &jobs, 0).unwrap().is_some());
    let error = parse("scripted:/no/such.jsonl").unwrap().open(&none, &jobs, 0).err().unwrap();
    assert!(error.message.starts_with("cannot read script /no/such.jsonl: "), "{error}");
}
