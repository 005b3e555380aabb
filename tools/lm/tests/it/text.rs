//! Token ids and rendered chats against transformers.

use serde_json::Value;
use tunesmith_lm::{
    chat::{ChatTemplate, Message},
    error::Error,
    tokens::Tokenizer,
};

use crate::golden;

fn expected() -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden("text.json")).unwrap()).unwrap()
}

#[test]
fn token_ids_equal_those_of_transformers() {
    let file = expected();
    let tied = Tokenizer::from_dir(&golden("llama/tied")).unwrap();
    let split = Tokenizer::from_json(&std::fs::read_to_string(golden("split_tokenizer.json")).unwrap()).unwrap();
    let mut checked = 0;
    for case in file["tokens"].as_array().unwrap() {
        let tokenizer = if case["tokenizer"] == "split" { &split } else { &tied };
        let text = case["text"].as_str().unwrap();
        let ids = |field: &str| -> Vec<u32> {
            case[field].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
        };
        assert_eq!(tokenizer.encode(text).unwrap(), ids("ids"), "{text:?}");
        assert_eq!(tokenizer.encode_plain(text).unwrap(), ids("plain"), "{text:?}");
        assert_eq!(tokenizer.decode(&ids("ids")).unwrap(), case["decoded"].as_str().unwrap());
        assert_eq!(tokenizer.decode_skip(&ids("ids")).unwrap(), case["skipped"].as_str().unwrap());
        checked += 1;
    }
    assert!(checked >= 80, "only {checked} texts");
}

#[test]
fn decoding_token_by_token_gives_the_whole_text() {
    let tokenizer = Tokenizer::from_dir(&golden("llama/tied")).unwrap();
    for text in ["plain words", "Où est 🙂🙃 la gare ?", "こんにちは\n\tx", "👩‍👩‍👧‍👦"] {
        let ids = tokenizer.encode_plain(text).unwrap();
        let mut stream = tokenizer.stream();
        let mut pieces: Vec<String> = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
        assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')), "{text:?}: {pieces:?}");
        pieces.push(stream.finish().unwrap());
        assert_eq!(pieces.concat(), text);
        // A text that is cut inside a character ends with the replacement character, as decoding it at once gives.
        let cut = &ids[..ids.len() - 1];
        let mut stream = tokenizer.stream();
        let mut whole: String = cut.iter().map(|id| stream.push(*id).unwrap()).collect();
        whole.push_str(&stream.finish().unwrap());
        assert_eq!(whole, tokenizer.decode_skip(cut).unwrap(), "{text:?} cut");
    }
}

#[test]
fn the_tokenizer_knows_what_starts_and_ends_a_text() {
    let tokenizer = Tokenizer::from_dir(&golden("llama/tied")).unwrap();
    assert_eq!((tokenizer.bos, tokenizer.eos, tokenizer.pad), (Some(0), Some(4), Some(0)));
    assert_eq!(tokenizer.stops, [4]);
    assert_eq!(tokenizer.token_id("<|assistant|>"), Some(2));
    assert_eq!(tokenizer.special_in("say <|user|> twice").as_deref(), Some("<|user|>"));
    assert_eq!(tokenizer.special_in("say <|nobody|>"), None);
}

#[test]
fn rendered_chats_equal_those_of_transformers() {
    let file = expected();
    let (mut texts, mut refusals) = (0, 0);
    for case in file["chats"].as_array().unwrap() {
        let source = file["templates"][case["name"].as_str().unwrap()].as_str().unwrap();
        let template = ChatTemplate::new(source, "<|endoftext|>", "<|end|>").unwrap();
        let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
        let rendered = template.render(&messages, case["prompt"].as_bool().unwrap());
        match case.get("text") {
            Some(text) => {
                assert_eq!(rendered.unwrap(), text.as_str().unwrap(), "{}", case["name"]);
                texts += 1;
            }
            None => {
                let message = case["error"].as_str().unwrap();
                assert!(matches!(&rendered, Err(Error::Template(line)) if line.contains(message)), "{rendered:?}");
                refusals += 1;
            }
        }
    }
    assert_eq!((texts, refusals), (34, 6));
}

#[test]
fn a_template_is_found_wherever_models_keep_it() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let source = || ChatTemplate::from_dir(dir.path()).map(|t| t.map(|t| t.source().to_string()));
    assert_eq!(source().unwrap(), None);
    write(
        "tokenizer_config.json",
        r#"{"chat_template": [{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]}"#,
    );
    assert_eq!(source().unwrap().as_deref(), Some("d"));
    write("tokenizer_config.json", r#"{"chat_template": "c", "bos_token": {"content": "<s>"}}"#);
    assert_eq!(source().unwrap().as_deref(), Some("c"));
    write("chat_template.jinja", "{{ bos_token }}{{ messages[0].content }}");
    let template = ChatTemplate::from_dir(dir.path()).unwrap().unwrap();
    assert_eq!(template.render(&[Message::new("user", "hi")], true).unwrap(), "<s>hi");
    write("tokenizer_config.json", r#"{"chat_template": 3}"#);
    std::fs::remove_file(dir.path().join("chat_template.jinja")).unwrap();
    assert!(matches!(source(), Err(Error::Template(_))));
}
