//! Values without a form, beside the names that give them away.

use super::*;

/// What services hand out that is nothing but letters and digits, and longer things of base64.
fn values() -> [String; 6] {
    [
        hex(40),
        hex(32),
        "3f2504e0-4f89-11d3-9a0c-0305e82c3301".into(),
        made("", 20),
        // An AWS secret of its documentation, in two parts so that no search for secrets stops here.
        ["wJalrXUtnFEMI/K7MDENG", "/bPxRfiCYEXAMPLEKEY"].concat(),
        format!("{}+{}/{}==", made("", 30), hex(20), made("", 32)),
    ]
}

/// Text before a value, and after it.
const BESIDE: [(&str, &str); 42] = [
    ("{\"api_key\": \"", "\"}"),
    ("{\"api_key\":\"", "\",\"model\":\"m\"}"),
    ("{\\\"api_key\\\": \\\"", "\\\"}"),
    ("HF_TOKEN=\"", "\""),
    ("export HF_TOKEN='", "'"),
    ("HF_TOKEN=", " python train.py"),
    ("WANDB_API_KEY=", "\n"),
    ("WANDB_API_KEY: ", "\n"),
    ("wandb login ", "\n"),
    ("wandb login --relogin ", ""),
    ("machine api.wandb.ai\n  login user password ", "\n"),
    ("os.environ[\"WANDB_API_KEY\"] = \"", "\""),
    ("os.environ['HF_TOKEN']='", "'"),
    ("os.environ.setdefault(\"HF_TOKEN\", \"", "\")"),
    ("wandb.login(key=api_key, token=\"", "\")"),
    ("login(token='", "', add_to_git_credential=True)"),
    ("api_key: str = \"", "\""),
    ("api_key: Optional[str] = '", "'"),
    ("const API_KEY: &str = \"", "\";"),
    ("let apiKey = \"", "\";"),
    ("const token: string = `", "`;"),
    ("client = Client(api_key=\"", "\", timeout=3)"),
    ("  api-key: ", "\n  region: us-east-1"),
    ("aws_secret_access_key = ", "\n"),
    ("AccountKey=", ";EndpointSuffix=core.windows.net"),
    ("client_secret=", "&grant_type=client_credentials"),
    ("https://host/v1?access_token=", "&q=1"),
    ("https://host/v1?api_key=", ""),
    ("curl -H 'X-Auth-Token: ", "' https://host"),
    ("curl -H 'X-Auth-Token: ", "' https://api.example.com/v1/models"),
    ("curl -H 'X-Auth-Token: ", "' host?setting=some-longer-value"),
    ("PRIVATE-TOKEN: ", "\r\n"),
    ("--api-key ", " --model m"),
    ("--token=", " upload"),
    ("--hf-token \"", "\" upload"),
    ("ENV OPENAI_API_KEY ", "\n"),
    ("setx OPENAI_API_KEY \"", "\""),
    ("<apiKey>", "</apiKey>"),
    ("//packages.test/:_authToken=", "\n"),
    ("'secret' => '", "',"),
    ("SECRET_KEY = b'", "'"),
    ("{\"username\":\"me\",\"key\":\"", "\"}"),
];

#[test]
fn a_random_value_beside_a_name_for_secrets_is_replaced_in_every_notation() {
    for value in values() {
        for (before, after) in BESIDE {
            let shown = Redactor::new().text(&format!("{before}{value}{after}")).into_owned();
            assert_eq!(shown, format!("{before}[redacted secret]{after}"));
            assert_eq!(Redactor::new().text(&shown), shown);
        }
    }
}

#[test]
fn a_password_in_quotes_is_replaced_unless_it_is_a_word_or_a_note() {
    for value in ["hunter2hunter", "p4ssw0rd!", "Tr0ub4dor&3", "correct-horse-8"] {
        for (before, after) in [
            ("password = \"", "\""),
            ("{\"password\": \"", "\"}"),
            ("{\\\"password\\\": \\\"", "\\\"}"),
            ("psycopg.connect(user='me', password='", "')"),
            ("PGPASSWORD=", " psql"),
            ("passphrase: str = '", "'"),
        ] {
            let shown = Redactor::new().text(&format!("{before}{value}{after}")).into_owned();
            assert_eq!(shown, format!("{before}[redacted password]{after}"));
        }
    }
}

#[test]
fn a_value_is_held_back_from_a_stream_until_it_is_whole() {
    for (before, after) in BESIDE.into_iter().filter(|(before, _)| !before.contains('\n')) {
        let text = format!("say {before}{}{after} and more", hex(40));
        for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            let mut stream = Stream::default();
            stream.push(&text[..cut]);
            let first = stream.shown().to_owned();
            stream.push(&text[cut..]);
            let whole = format!("say {before}[redacted secret]{after} and more");
            assert!(whole.starts_with(&first), "{first} is no part of {whole}");
            assert_eq!(stream.finish(), whole);
        }
    }
}

proptest! {
    #[test]
    fn what_was_redacted_once_stays_as_it_is(
        parts in proptest::collection::vec((0..BESIDE.len(), 0..6_usize, 0..57_usize, "\\PC{0,12}"), 0..5),
    ) {
        let text: String = parts
            .iter()
            .map(|(at, value, secret, more)| {
                let (before, after) = BESIDE[*at];
                format!("{more}{before}{}{after}{more}{}", values()[*value], secrets()[*secret].0)
            })
            .collect();
        let once = Redactor::new().text(&text).into_owned();
        prop_assert_eq!(Redactor::new().text(&once), once.as_str());
    }

    #[test]
    fn any_text_redacted_twice_is_as_redacted_once(text in "[a-zA-Z0-9_:=\"' .@/\\[\\]-]{0,80}", known in "[a-z0-9]{8,12}") {
        let mut redactor = Redactor::new();
        redactor.add(&known);
        let text = format!("password=\"{text}{known}\" {text} api_key={known}{text}");
        let once = redactor.text(&text).into_owned();
        prop_assert_eq!(redactor.text(&once), once.as_str());
    }
}
