//! What a server's refusal means, whatever its shape: the kind, the message, how long to wait, and the window.

use std::time::Duration;

use serde_json::Value;

use super::{ErrorKind, ModelError};

/// Words of a conversation that does not fit, as OpenAI, llama.cpp, vLLM, Ollama, Anthropic, Gemini, Mistral, TGI and LM
/// Studio say it.
const TOO_LONG: [&str; 13] = [
    "context_length",
    "context length",
    "context window",
    "context size",
    "context_size",
    "context limit",
    "maximum context",
    "maximum model length",
    "maximum number of tokens allowed",
    "prompt is too long",
    "input is too long",
    "request too large",
    "`max_new_tokens` must be",
];

/// Words of an account that cannot pay.
const BROKE: [&str; 4] =
    ["insufficient_quota", "insufficient credit", "insufficient balance", "credit balance is too low"];

/// Words that Gemini says of every limit, also of those that a wait of seconds is enough for.
const PERHAPS_BROKE: [&str; 2] = ["billing", "exceeded your current quota"];

/// Where the number of tokens that fit stands: after which words.
const BEFORE_WINDOW: [&str; 9] = [
    "context length is ",
    "context length of ",
    "context length of only ",
    "context size (",
    "context window of ",
    "maximum number of tokens allowed (",
    "maximum model length of ",
    "must be <= ",
    " > ",
];

/// What a status and its body mean. `status` is that of the answer, or the one that an error inside a stream names.
pub fn typed(status: Option<u16>, body: &str, retry_after: Option<Duration>) -> ModelError {
    let lower = body.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let retry_after = retry_after.or_else(|| retry_delay(&lower));
    let kind = match status {
        Some(429) if says(&BROKE) || (retry_after.is_none() && says(&PERHAPS_BROKE)) => ErrorKind::Billing,
        Some(400 | 413 | 422 | 429) if says(&TOO_LONG) => ErrorKind::ContextTooLong,
        Some(413) => ErrorKind::ContextTooLong,
        Some(400 | 403) if says(&BROKE) => ErrorKind::Billing,
        Some(500) if says(&TOO_LONG) && says(&["exceed", "maximum"]) => ErrorKind::ContextTooLong,
        Some(401 | 403) => ErrorKind::Auth,
        Some(402) => ErrorKind::Billing,
        Some(429) => ErrorKind::Rate,
        Some(408 | 425) => ErrorKind::Server,
        Some(400..=499) => ErrorKind::Refused,
        Some(500..=599) => ErrorKind::Server,
        Some(_) => ErrorKind::Protocol,
        None if says(&TOO_LONG) => ErrorKind::ContextTooLong,
        None if says(&["rate_limit", "rate limit", "too many requests"]) => ErrorKind::Rate,
        None if says(&BROKE) => ErrorKind::Billing,
        None if says(&["invalid_api_key", "authentication_error", "permission_error"]) => ErrorKind::Auth,
        None => ErrorKind::Server,
    };
    let window = (kind == ErrorKind::ContextTooLong).then(|| window(body, &lower)).flatten();
    ModelError { retry_after, status, window, ..ModelError::new(kind, words(body)) }
}

/// An error that a server sends after a 200.
pub fn in_stream(error: &Value) -> ModelError {
    let status = ["status", "code", "http_code"].iter().find_map(|field| {
        let code = error.get(field)?;
        code.as_u64().or_else(|| code.as_str()?.parse().ok()).and_then(|code| u16::try_from(code).ok())
    });
    let body = serde_json::json!({ "error": error }).to_string();
    typed(status.filter(|status| (400..600).contains(status)), &body, None)
}

/// The tokens that fit, where a refusal says so.
fn window(body: &str, lower: &str) -> Option<u64> {
    let json: Option<Value> = serde_json::from_str(body).ok();
    let named = json.as_ref().and_then(|body| body.pointer("/error/n_ctx")?.as_u64());
    let after = || BEFORE_WINDOW.iter().find_map(|words| number(&lower[lower.find(words)? + words.len()..]));
    // Mistral: "too large for model with 32768 maximum context length".
    let before = || lower.split_once(" maximum context length")?.0.rsplit(' ').next().and_then(number);
    // A number this small is a miscount: some versions of vLLM subtract what was asked for.
    named.or_else(after).or_else(before).filter(|tokens| *tokens >= 128)
}

/// The whole number at the beginning of a text.
fn number(text: &str) -> Option<u64> {
    let digits: String = text.chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(|c| *c != ',').collect();
    digits.parse().ok()
}

/// Gemini's `"retryDelay": "34s"`.
fn retry_delay(lower: &str) -> Option<Duration> {
    let (_, rest) = lower.split_once("\"retrydelay\"")?;
    let text = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let seconds: f64 = text.split_once("s\"")?.0.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The message inside an error body, whatever its shape, in one short line.
pub fn words(body: &str) -> String {
    let value: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let value = if let Value::Array(list) = &value { list.first().unwrap_or(&Value::Null) } else { &value };
    let paths = ["/error/message", "/message", "/detail", "/detail/0/msg", "/error", "/errors/0"];
    let found = paths.iter().find_map(|path| value.pointer(path)?.as_str());
    let text = found.unwrap_or(body).split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().filter(|c| !c.is_control()).take(400).collect();
    if text.is_empty() { "no message".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_that_is_too_long_is_known_by_each_servers_words_and_its_window_is_read() {
        let cases = [
            // OpenAI
            (
                400,
                r#"{"error":{"message":"This model's maximum context length is 128,000 tokens. However, your messages resulted in 130000 tokens.","code":"context_length_exceeded"}}"#,
                Some(128_000),
            ),
            (
                400,
                r#"{"error":{"message":"Your input exceeds the context window of this model.","code":"context_length_exceeded"}}"#,
                None,
            ),
            // llama.cpp, new and old
            (
                400,
                r#"{"error":{"code":400,"message":"request (2117 tokens) exceeds the available context size (1024 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":2117,"n_ctx":1024}}"#,
                Some(1024),
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
                None,
            ),
            (500, r#"{"error":{"message":"Requested tokens (1127) exceed context window of 1024"}}"#, Some(1024)),
            // vLLM, with a wrong number, too
            (
                400,
                r#"{"object":"error","message":"This model's maximum context length is 16384 tokens. However, you requested 122946 tokens","code":400}"#,
                Some(16384),
            ),
            (
                400,
                r#"{"object":"error","message":"This model's maximum context length is 3 tokens.","code":400}"#,
                None,
            ),
            (
                400,
                r#"{"error":{"message":"The decoder prompt (length 5000) is longer than the maximum model length of 4096."}}"#,
                Some(4096),
            ),
            // Anthropic
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 208310 tokens > 200000 maximum"}}"#,
                Some(200_000),
            ),
            (
                400,
                r#"{"error":{"message":"input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"}}"#,
                Some(200_000),
            ),
            // Gemini
            (
                400,
                r#"[{"error":{"code":400,"message":"The input token count (3475108) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]"#,
                Some(1_048_576),
            ),
            // Ollama, LM Studio, TGI, Mistral, Groq
            (400, r#"{"error":"the input length exceeds the context length"}"#, None),
            (400, r#"{"error":"the model is loaded with context length of only 4096 tokens"}"#, Some(4096)),
            (
                422,
                r#"{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000","error_type":"validation"}"#,
                Some(8193),
            ),
            (
                400,
                r#"{"message":"Prompt contains 40000 tokens, too large for model with 32768 maximum context length"}"#,
                Some(32768),
            ),
            (
                413,
                r#"{"error":{"message":"Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 12000","code":"rate_limit_exceeded"}}"#,
                None,
            ),
            (
                429,
                r#"{"error":{"message":"Request too large for gpt-x on tokens per min (TPM): Limit 30000, Requested 40000."}}"#,
                None,
            ),
            (413, "<html>Payload Too Large</html>", None),
        ];
        for (status, body, window) in cases {
            let error = typed(Some(status), body, None);
            assert_eq!((error.kind, error.window), (ErrorKind::ContextTooLong, window), "{body}");
        }
    }

    #[test]
    fn who_cannot_pay_is_told_from_who_asks_too_often() {
        let gemini = |delay: &str| {
            format!(
                r#"[{{"error":{{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","details":[{delay}]}}}}]"#
            )
        };
        let cases = [
            (Some(402), "{}".to_owned(), ErrorKind::Billing, None),
            (
                Some(429),
                r#"{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}"#.into(),
                ErrorKind::Billing,
                None,
            ),
            (
                Some(400),
                r#"{"error":{"message":"Your credit balance is too low to access the API."}}"#.into(),
                ErrorKind::Billing,
                None,
            ),
            (Some(429), gemini(""), ErrorKind::Billing, None),
            (Some(429), gemini(r#"{"@type":"RetryInfo","retryDelay": "34.5s"}"#), ErrorKind::Rate, Some(34_500)),
            (Some(429), "slow down".into(), ErrorKind::Rate, None),
            (Some(500), "the context length of our patience".into(), ErrorKind::Server, None),
            (Some(529), r#"{"error":{"type":"overloaded_error"}}"#.into(), ErrorKind::Server, None),
            (None, r#"{"error":{"type":"overloaded_error"}}"#.into(), ErrorKind::Server, None),
            (None, r#"{"error":{"code":"rate_limit_exceeded"}}"#.into(), ErrorKind::Rate, None),
            (None, r#"{"error":{"code":"insufficient_quota"}}"#.into(), ErrorKind::Billing, None),
            (None, r#"{"error":{"code":"invalid_api_key"}}"#.into(), ErrorKind::Auth, None),
            (None, r#"{"error":{"code":"context_length_exceeded"}}"#.into(), ErrorKind::ContextTooLong, None),
        ];
        for (status, body, kind, milliseconds) in cases {
            let error = typed(status, &body, None);
            let wait = error.retry_after.map(|wait| wait.as_millis());
            assert_eq!((error.kind, wait), (kind, milliseconds), "{status:?} {body}");
        }
    }

    #[test]
    fn the_message_is_found_in_any_shape() {
        let cases = [
            (r#"{"error":{"message":"a\n b"}}"#, "a b"),
            (r#"{"message":"a"}"#, "a"),
            (r#"{"detail":"a"}"#, "a"),
            (r#"{"detail":[{"loc":["body"],"msg":"a"}]}"#, "a"),
            (r#"{"error":"a"}"#, "a"),
            (r#"{"errors":["a"]}"#, "a"),
            (r#"[{"error":{"message":"a"}}]"#, "a"),
            ("<b>\u{1b}[31mno</b>", "<b>[31mno</b>"),
            ("", "no message"),
        ];
        for (body, expected) in cases {
            assert_eq!(words(body), expected, "{body}");
        }
        assert_eq!(words(&"é".repeat(1000)).chars().count(), 400);
    }
}
