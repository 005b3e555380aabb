use proptest::prelude::*;

use super::*;

mod assigned;
mod code;
mod time;

/// Letters and digits without a meaning, always the same. No real token stands in this file.
fn made(prefix: &str, length: usize) -> String {
    let symbols = b"aB3dE6gHi9kLm2oPq5sTu8wXyZ01cDfG4jNrV7";
    let symbol = |at: usize| char::from(symbols[(at * 7 + at / 5) % symbols.len()]);
    format!("{prefix}{}", (0..length).map(symbol).collect::<String>())
}

/// The same in hexadecimal digits.
fn hex(length: usize) -> String {
    "3f9a07c5e18b42d6".chars().cycle().take(length).collect()
}

fn key_block(kind: &str, end: bool) -> String {
    let lines = [made("", 64), made("MII", 61), made("", 30)].join("\n");
    let last = if end { format!("\n-----END {kind}PRIVATE KEY-----") } else { String::new() };
    format!("-----BEGIN {kind}PRIVATE KEY-----\n{lines}{last}")
}

/// A secret, and what is said in its place.
fn secrets() -> Vec<(String, &'static str)> {
    let upper = |prefix: &str| format!("{prefix}{}", made("", 16).to_uppercase());
    vec![
        (made("hf_", 34), "hf token"),
        (made("hf_", 37), "hf token"),
        (made("api_org_", 34), "hf token"),
        (made("sk-", 48), "api key"),
        (made("sk-", 32), "api key"),
        (format!("sk-{}", "0123456789abcdef".repeat(2)), "api key"),
        (made("sk-proj-", 48), "api key"),
        (made("sk-proj-", 120), "api key"),
        (made("sk-svcacct-", 60), "api key"),
        (made("sk-admin-", 60), "api key"),
        (made("sk-ant-api03-", 93), "api key"),
        (format!("sk-ant-api03-{}-{}_{}", made("", 20), made("", 18), made("", 22)), "api key"),
        (format!("sk-or-v1-{}", "0123456789abcdef".repeat(4)), "api key"),
        (made("sk_live_", 24), "api key"),
        (made("sk_test_", 24), "api key"),
        (made("rk_live_", 24), "api key"),
        (made("ghp_", 36), "github token"),
        (made("gho_", 36), "github token"),
        (made("ghu_", 36), "github token"),
        (made("ghs_", 36), "github token"),
        (made("ghr_", 76), "github token"),
        (format!("github_pat_{}_{}", made("", 22), made("", 59)), "github token"),
        (made("glpat-", 20), "gitlab token"),
        (upper("AKIA"), "aws key"),
        (upper("ASIA"), "aws key"),
        (format!("xoxb-123456789012-1234567890123-{}", made("", 24)), "slack token"),
        (format!("xoxp-123456789012-{}", made("", 32)), "slack token"),
        (format!("xoxe-1-{}", made("", 40)), "slack token"),
        (made("AIza", 35), "google key"),
        (made("ya29.a0", 60), "google key"),
        (made("GOCSPX-", 28), "google key"),
        (made("gsk_", 52), "api key"),
        (made("xai-", 80), "api key"),
        (made("pplx-", 48), "api key"),
        (made("r8_", 37), "api key"),
        (made("nvapi-", 64), "api key"),
        (made("tgp_v1_", 43), "api key"),
        (made("rpa_", 44).to_uppercase().replacen("RPA", "rpa", 1), "api key"),
        (format!("lsv2_pt_{}_{}", hex(32), hex(10)), "api key"),
        (made("whsec_", 32), "api key"),
        (format!("SG.{}.{}", made("", 22), made("", 43)), "api key"),
        (made("wandb_v1_", 60), "wandb key"),
        (made("npm_", 36), "registry token"),
        (made("pypi-AgEIcHlwaS5vcmc", 120), "registry token"),
        (made("dckr_pat_", 27), "registry token"),
        (made("hvs.CAESI", 90), "token"),
        (format!("dop_v1_{}", hex(64)), "token"),
        (format!("sbp_{}", hex(40)), "token"),
        (format!("shpat_{}", hex(32)), "token"),
        (format!("glsa_{}_{}", made("", 32), hex(8)), "token"),
        (made("ATATT3xFfGF0", 180), "token"),
        (format!("eyJ{}.eyJ{}.{}", made("", 33), made("", 70), made("", 43)), "token"),
        (format!("xapp-1-{}-1234567890123-{}", made("A0", 9).to_uppercase(), hex(64)), "slack token"),
        (key_block("", true), "private key"),
        (key_block("RSA ", true), "private key"),
        (key_block("OPENSSH ", true), "private key"),
        (key_block("ENCRYPTED ", false), "private key"),
    ]
}

/// A secret in what makes it one: text before, secret, text after, and what is said.
fn in_place() -> Vec<(&'static str, String, &'static str, &'static str)> {
    let token = || made("", 24);
    vec![
        ("Authorization: Bearer ", token(), "\nAccept: */*", "authorization"),
        ("authorization: bearer ", made("eyJ0.", 40), "", "authorization"),
        ("{\"Authorization\": \"Bearer ", token(), "\"}", "authorization"),
        ("\"{\\\"Authorization\\\": \\\"Bearer ", token(), "\\\"}\"", "authorization"),
        ("headers = {'Authorization': 'token ", token(), "'}", "authorization"),
        ("Authorization: Basic ", "dXNlcjpwYXNzd29yZDE=".into(), "\n", "authorization"),
        ("curl -H 'x-api-key: ", token(), "' https://host", "authorization"),
        ("X-Goog-Api-Key: ", token(), "", "authorization"),
        ("https://user:", "hunter2".into(), "@host.org/path", "password"),
        ("git clone https://oauth2:", token(), "@git.host/a/b.git", "password"),
        ("postgres://app:", "p!w%20d".into(), "@db:5432/data", "password"),
        ("redis://:", "s3cr3t".into(), "@cache:6379/0", "password"),
        ("https://api.telegram.org/bot", format!("123456789:AA{}", made("", 33)), "/sendMessage", "bot token"),
        ("TELEGRAM=", format!("1234567890:AA{}", made("", 33)), "\n", "bot token"),
        ("https://hooks.slack.com/services/", format!("T0{}/B0{}/{}", hex(8), hex(8), made("", 24)), "\"", "webhook"),
        ("https://discord.com/api/webhooks/", format!("123456789012345678/{}", made("", 68)), "", "webhook"),
        ("https://a.blob.core.windows.net/c?sv=2024&sig=", made("", 44), "&se=1", "signature"),
    ]
}

const ORDINARY: [&str; 90] = [
    "pad_token = eos_token",
    "tokenizer.pad_token_id",
    "tokenizer.pad_token = tokenizer.eos_token",
    "{\"pad_token\": \"<|endoftext|>\", \"eos_token\": \"</s>\"}",
    "max_new_tokens=512, skip_special_tokens=True",
    "from sklearn import svm  # sk-learn, not scikit",
    "pip install sk-learn-contrib-extras-for-everyone",
    "sk-circle-fade-dot sk-folding-cube-container",
    "sk-ant-colony-optimization-of-long-names",
    "sk-proj-ection-of-the-map-with-3-dims",
    "risk-assessment-of-the-year-2024-report-final",
    "task-0123456789abcdef0123456789abcdef01234567",
    "desk-3f2504e0-4f89-11d3-9a0c-0305e82c3301",
    "sk-3f2504e0-4f89-11d3-9a0c-0305e82c3301",
    "hf_hub_download(repo_id, filename)",
    "hf_transfer, hf_xet and HF_HUB_ENABLE_HF_TRANSFER=1",
    "hf_model_config_for_causal_lm_with_adapters",
    "export HF_TOKEN=",
    "HF_TOKEN=hf_...",
    "HF_TOKEN=hf_xxxxxxxxxxxx",
    "os.environ[\"HF_TOKEN\"]",
    "huggingface-cli login --token TOKEN",
    "tunesmith run --token $HF_TOKEN",
    "OPENAI_API_KEY=sk-...",
    "openai.api_key = os.getenv('OPENAI_API_KEY')",
    "api_key=\"YOUR_API_KEY\"",
    "Authorization: Bearer $OPENAI_API_KEY",
    "Authorization: Bearer ${TOKEN_2}",
    "Authorization: Bearer TOKEN",
    "Authorization: Bearer YOUR_API_KEY",
    "Authorization: Bearer <token>",
    "f\"Authorization: Bearer {token}\"",
    "the bearer 12345678 of this letter",
    "authorization = is_allowed(user, 12345678)",
    "Authorization: Basic realm",
    "x-api-key: header-name",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "commit da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "d41d8cd98f00b204e9800998ecf8427e  empty.txt",
    "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
    "550e8400-e29b-41d4-a716-446655440000",
    "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "SGVsbG8sIHRoaXMgaXMgYmFzZTY0IG9mIG9yZGluYXJ5IHRleHQgYW5kIG5vdGhpbmcgZWxzZS4=",
    "abcAIzaSyD0123456789abcdefghijklmnopqrstu",
    "x+AIzaSyD0123456789abcdefghijklmnopqrstuvw==",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUF\n-----END CERTIFICATE-----",
    "if text.startswith(\"-----BEGIN PRIVATE KEY-----\"): refuse()",
    "lines between -----BEGIN RSA PRIVATE KEY----- and the end",
    "https://huggingface.co/org/model/resolve/main/tokenizer.json",
    "http://localhost:8080/v1/chat/completions",
    "https://host:443/@scope/package",
    "https://host/path?time=10:30&to=me@host.org",
    "mailto:someone@example.org",
    "git@github.com:owner/name.git",
    "ssh://git@github.com:22/owner/name.git",
    "f\"https://{user}:{password}@{host}\"",
    "https://$USER:$PASS@host/",
    "https://<user>:<password>@host/",
    "ratio 3:4@5 and 10:30@home",
    "ghp_ is how such a token begins",
    "ghp_short1234",
    "github_pat_ and its 82 characters",
    "xoxb- or xoxp- begin Slack's tokens",
    "xoxo-hugs-and-kisses-to-all-of-you",
    "AKIA is the beginning of a key's name",
    "AKIAAAAA",
    "AKIABCDEFGHIJKLMNOPQRSTUVWXYZ is too long for a key",
    "xAKIAIOSFODNN7EXAMPLE",
    "glpat-template-for-all-of-the-tokens",
    "password = getpass()",
    "password: str | None = None",
    "secret_key_base: <%= ENV['X'] %>",
    "the token limit is 4096 tokens",
    "target_modules=[\"q_proj\", \"k_proj\", \"v_proj\", \"o_proj\"]",
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
    "learning_rate=3e-3 lora_alpha=16 r=8",
    "def tokenize(text: str) -> list[int]: ...",
    "label,text\ncard_arrival,\"Where is my card? It's 12:30@noon\"",
    "/proc/12345/environ: Permission denied (os error 13)",
    "2026-01-02T03:04:05.678901234Z",
    "192.168.0.1:8080 -> [::1]:443",
    "1234567890123456789012345678901234567890",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "snake_case_names_that_are_very_long_and_hold_no_secret_at_all_1234567890",
    "CamelCaseNamesThatAreVeryLongAndHoldNoSecretAtAll1234567890",
    "größe, 大きい, نمی\u{200c}خواهم, 👩\u{200d}🚀",
    "",
];

#[test]
fn ordinary_text_is_left_as_it_is() {
    for text in ORDINARY {
        assert!(
            matches!(Redactor::new().text(text), Cow::Borrowed(same) if same == text),
            "{}",
            Redactor::new().text(text)
        );
    }
}

#[test]
fn tokens_of_well_known_forms_are_replaced() {
    assert!(secrets().len() >= 57);
    for (secret, kind) in secrets() {
        for (before, after) in
            [("", ""), ("key=", "\n"), ("\"", "\","), ("https://h/?k=%20", "&a=1"), ("{\"a\":\"b\\n", "\"}")]
        {
            let shown = Redactor::new().text(&format!("{before}{secret}{after}")).into_owned();
            assert_eq!(shown, format!("{before}[redacted {kind}]{after}"));
        }
    }
    for (before, secret, after, kind) in in_place() {
        let shown = Redactor::new().text(&format!("{before}{secret}{after}")).into_owned();
        assert_eq!(shown, format!("{before}[redacted {kind}]{after}"));
    }
    // A key in JSON, with its line breaks written out.
    let block = serde_json::to_string(&key_block("RSA ", true)).unwrap();
    assert_eq!(Redactor::new().text(&block), "\"[redacted private key]\"");
}

#[test]
fn a_stream_holds_back_the_words_before_a_secret_until_it_is_whole() {
    let token = made("", 24);
    let shown = |pieces: &[&str]| {
        let mut stream = Stream::default();
        pieces.iter().for_each(|piece| stream.push(piece));
        stream.shown().to_owned()
    };
    for before in ["Authorization:\n  Bearer ", "x-api-key: ", "authorization = 'token "] {
        assert_eq!(shown(&["say ", before, "\n"]), "say ");
        assert_eq!(
            shown(&["say ", before, "\n", &token, "' or not"]),
            format!("say {before}\n[redacted authorization]' or ")
        );
    }
    let block = key_block("RSA ", true).replacen("KEY-----\na", "KEY-----\nProc-Type: 4,ENCRYPTED\n\na", 1);
    let begun = block.rfind('\n').unwrap();
    assert_eq!(shown(&["say ", &block[..begun], "\n"]), "say ");
    assert_eq!(shown(&["say ", &block[..begun], &block[begun..], "\nor not"]), "say [redacted private key]\nor ");
}

#[test]
fn a_short_value_may_be_any_word_and_stays() {
    let mut redactor = Redactor::new();
    redactor.add("seven77");
    redactor.add("");
    assert_eq!(redactor.text("seven77 is a word"), "seven77 is a word");
    redactor.add(" eight888\n");
    assert_eq!(redactor.text("eight888 is a secret"), "[redacted] is a secret");
}

#[test]
fn overlapping_secrets_are_replaced_as_one() {
    let mut redactor = Redactor::new();
    ["abcdefgh", "efghijkl", "abcdefgh1234"].iter().for_each(|secret| redactor.add(secret));
    assert_eq!(redactor.text("x abcdefghijkl y"), "x [redacted] y");
    assert_eq!(redactor.text("abcdefgh1234 abcdefgh"), "[redacted] [redacted]");
}

#[test]
fn documents_and_records_lose_their_secrets_and_keep_their_form() {
    let secret = made("hf_", 34);
    let document = serde_json::json!({"a": [1, true, null, format!("to {secret}")], secret.clone(): {"b": 0.5}});
    let want = serde_json::json!({"a": [1, true, null, "to [redacted hf token]"], "[redacted hf token]": {"b": 0.5}});
    assert_eq!(value(document), want);
    assert_eq!(record(vec![secret, "same".into()]), Ok(vec!["[redacted hf token]".to_owned(), "same".into()]));
}

#[test]
fn fields_whose_names_become_the_same_are_numbered() {
    let names: Vec<String> = ["a", "b", "c"].map(|end| made("hf_", 34) + end).into();
    let document =
        serde_json::json!({&names[0]: 1, &names[1]: 2, "[redacted hf token] 2": 3, &names[2]: {&names[0]: 4}});
    let clean = value(document);
    let name = "[redacted hf token]";
    let want = format!(r#"{{"{name}":1,"{name} 2":2,"{name} 2 2":3,"{name} 3":{{"{name}":4}}}}"#);
    assert_eq!(clean.to_string(), want);
    assert_eq!(value(clean.clone()), clean);
}

#[test]
fn a_value_of_words_is_held_back_in_a_url_as_well() {
    let mut redactor = Redactor::new();
    redactor.add("correct horse battery");
    assert_eq!(redactor.settled("say %63orrect ho%72se b"), "say ".len());
    assert_eq!(redactor.settled("say 100%25 sure, wr"), "say 100%25 sure, ".len());
}

#[test]
fn a_value_of_several_lines_or_words_is_found_by_its_parts_and_held_back_whole() {
    let lines = format!("{}\n{}", made("first-", 30), made("second-", 30));
    let mut redactor = Redactor::new();
    redactor.add(&lines);
    redactor.add("correct horse battery");
    assert_eq!(redactor.text(&format!("<{}>", made("second-", 30))), "<[redacted]>");
    assert_eq!(redactor.settled("say correct horse b"), "say ".len());
    assert_eq!(redactor.settled("say incorrect horses, wr"), "say incorrect horses, ".len());
}

/// Values that a key may have, and some that only a person would choose.
fn value_of_secret() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z0-9_-]{12,60}",
        "[!-~]{12,60}"
            .prop_filter("more than one sign", |value| value.chars().any(|c| c != value.chars().next().unwrap())),
        "[a-z0-9äöü€]{12,30}",
    ]
    .prop_filter("no part of the note", |value| !"[redacted]".contains(value.as_str()))
}

proptest! {
    #[test]
    fn text_without_a_secret_is_unchanged(text in "\\PC{0,300}", at in 0..ORDINARY.len(), known in "[A-Z]{3}[a-z0-9]{30}") {
        let mut redactor = Redactor::new();
        redactor.add(&known);
        let text = format!("{text} {}", ORDINARY[at]);
        prop_assert_eq!(redactor.text(&text), text.as_str());
    }

    #[test]
    fn a_known_secret_survives_in_no_place_and_no_spelling(
        secret in value_of_secret(), before in "\\PC{0,40}", after in "\\PC{0,40}", bytes in proptest::collection::vec(any::<u8>(), 0..7), escaped in proptest::collection::vec(0..3, 1..9),
    ) {
        let mut redactor = Redactor::new();
        redactor.add(&secret);
        let text = format!("{before}{secret}{after}");
        let shown = redactor.text(&text).into_owned();
        prop_assert!(!shown.contains(&secret), "{}", shown);
        prop_assert!(shown.contains("[redacted"));
        prop_assert_eq!(redactor.text(&shown), shown.as_str());
        // With any of its bytes percent-encoded, and with all of those outside of ASCII.
        let encoded: Vec<String> = secret
            .bytes()
            .zip(escaped.iter().cycle())
            .map(|(byte, how)| match how {
                0 if byte.is_ascii() => char::from(byte).to_string(),
                1 => format!("%{byte:02x}"),
                _ => format!("%{byte:02X}"),
            })
            .collect();
        // A `%41` of the text itself would be read as a letter.
        let shown = redactor.text(&format!("https://h/?k={}&a=1", encoded.concat())).into_owned();
        prop_assert!(secret.contains('%') || shown == "https://h/?k=[redacted]&a=1", "{}", shown);
        // In JSON, in JSON in JSON, and in base64 of something longer.
        let json = serde_json::to_string(&text).unwrap();
        for written in [&json, &serde_json::to_string(&json).unwrap()] {
            let shown = redactor.text(written).into_owned();
            let read: Result<String, _> = serde_json::from_str(&shown);
            prop_assert!(!shown.contains(&secret) && read.is_ok_and(|read| !read.contains(&secret)), "{}", shown);
        }
        let mut whole = bytes.clone();
        whole.extend(secret.as_bytes());
        whole.extend(&bytes);
        let encoded = base64(&whole);
        let shown = redactor.text(&encoded).into_owned();
        let (from, to) = ((bytes.len() * 8).div_ceil(6), (bytes.len() + secret.len()) * 8 / 6);
        prop_assert!(shown.contains("[redacted]") && !shown.contains(&encoded[from..to]), "{}", shown);
    }

    #[test]
    fn a_stream_shows_no_part_of_a_secret_however_it_is_cut(
        which in 0..57_usize, before in "[a-z .,\n]{0,40}", after in "[a-z .,\n]{0,40}", cuts in proptest::collection::vec(0..400_usize, 0..12),
    ) {
        let (secret, _) = secrets().swap_remove(which);
        let text = format!("{before} {secret} {after}");
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let mut stream = Stream::default();
        let mut shown = Vec::new();
        for cut in cuts.windows(2) {
            stream.push(&text[cut[0]..cut[1]]);
            shown.push(stream.shown().to_owned());
        }
        shown.push(stream.finish());
        // Twelve characters of the middle are more than the beginning that every token of its kind has.
        let middle: String = secret.chars().filter(|c| !c.is_whitespace()).skip(secret.len() / 2).take(12).collect();
        for shown in shown {
            prop_assert!(!shown.replace('\n', "").contains(&middle), "{}", shown);
        }
    }
}

#[test]
fn a_value_of_this_process_is_hidden_in_a_stream_as_well() {
    let secret = made("own value ", 20);
    hide(&secret);
    for cut in 0..secret.len() {
        let mut stream = Stream::default();
        stream.push(&format!("it is {}", &secret[..cut]));
        assert!(!stream.shown().contains("own"), "{}", stream.shown());
        stream.push(&format!("{}, and that is all", &secret[cut..]));
        assert_eq!(stream.shown(), "it is [redacted], and that is ");
        assert_eq!(stream.finish(), "it is [redacted], and that is all");
    }
    assert_eq!(redacted(&format!("<{secret}>")), "<[redacted]>");
}

/// As any encoder does it, with padding.
fn base64(bytes: &[u8]) -> String {
    let symbols = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| -> Vec<char> {
        let number = chunk.iter().chain(&[0; 3]).take(3).fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        let symbol = |i| if i > chunk.len() { '=' } else { char::from(symbols[number >> (18 - 6 * i) & 63]) };
        (0..4).map(symbol).collect()
    };
    bytes.chunks(3).flat_map(group).collect()
}
