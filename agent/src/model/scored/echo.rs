//! Log-likelihoods out of an answer that repeats its prompt (`echo` and `logprobs` of `/completions`).
//!
//! Servers write tokens and offsets in their own ways, so what an answer says is checked against the prompt wherever
//! that is possible, and an answer that leaves a doubt is refused.

use serde_json::Value;
use tunesmith_harness::model::Loglikelihood;

/// The log-likelihood of `continuation` after `context` in the answer to both as one prompt.
///
/// The error says what the endpoint does, to follow the word "it".
pub fn loglikelihood(answer: &Value, context: &str, continuation: &str) -> Result<Loglikelihood, String> {
    let choice = answer.pointer("/choices/0").ok_or("gives no answer")?;
    let text = choice["text"].as_str().ok_or("gives no text")?;
    if !text.strip_prefix(context).is_some_and(|rest| rest.starts_with(continuation)) {
        return Err("does not repeat the prompt".into());
    }
    let tokens = Tokens::read(&choice["logprobs"])?;
    let (border, end) = (chars(context), chars(context) + chars(continuation));
    let start = tokens.start(context, continuation);
    let first = tokens.first(&start, border).filter(|at| tokens.parts(&start, *at, context, continuation));
    let inside = || format!("begins no token where the context ends and {:?} begins", shortened(continuation));
    let first = first.ok_or_else(inside)?;
    let last = tokens.last(&start, first, end).ok_or("gives offsets that do not fit the text")?;
    // Some servers set every log-probability beside the token before its own, and so have none left for the last one.
    if last == tokens.texts.len() && chars(text) > end {
        return Err("generates a token that is not among its log-probabilities, which may all be one off".into());
    }
    let (mut sum, mut greedy) = (0.0, true);
    for at in first..last {
        let none = || "gives no log-probability for the first token; its task has an empty context".to_owned();
        let logprob = tokens.logprobs[at].as_f64();
        let logprob = logprob.ok_or_else(|| if at == 0 { none() } else { MISSING.to_owned() })?;
        let top = tokens.top.get(at).and_then(Value::as_object).ok_or(NO_TOP)?;
        let best = top.values().filter_map(Value::as_f64).reduce(f64::max).ok_or(NO_TOP)?;
        sum += logprob;
        greedy &= logprob >= best;
    }
    Ok(Loglikelihood { sum, tokens: last - first, greedy })
}

const MISSING: &str = "gives no log-probabilities of the prompt";
const NO_TOP: &str = "does not say which tokens were the likeliest (top_logprobs)";

/// The tokens of an answer. An offset counts characters, as in OpenAI's own API.
struct Tokens<'a> {
    texts: Vec<&'a str>,
    offsets: Vec<usize>,
    logprobs: &'a [Value],
    top: &'a [Value],
}

/// Where the prompt begins in the answer.
struct Start {
    /// Its first token.
    token: usize,
    /// That token's offset.
    offset: usize,
}

impl<'a> Tokens<'a> {
    fn read(logprobs: &'a Value) -> Result<Self, String> {
        let list = |name: &str| logprobs[name].as_array().map(Vec::as_slice).filter(|list| !list.is_empty());
        let values = list("token_logprobs").ok_or(MISSING)?;
        let top = list("top_logprobs").ok_or(NO_TOP)?;
        let texts = list("tokens").and_then(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        let number = |value: &Value| value.as_u64().and_then(|offset| usize::try_from(offset).ok());
        let offsets = list("text_offset").and_then(|list| list.iter().map(number).collect::<Option<Vec<_>>>());
        let (Some(texts), Some(offsets)) = (texts, offsets) else {
            return Err("does not say where tokens begin (tokens and text_offset)".into());
        };
        if texts.len() != values.len() || offsets.len() != values.len() || top.len() != values.len() {
            return Err("gives lists of tokens, offsets and log-probabilities that differ in length".into());
        }
        Ok(Tokens { texts, offsets, logprobs: values, top })
    }

    /// Some servers count a token that they put before the prompt, and others name it without a text.
    fn start(&self, context: &str, continuation: &str) -> Start {
        let (first, second) = (self.texts[0], self.offsets.get(1).copied());
        let in_prompt = if context.is_empty() { continuation } else { context };
        let added = self.logprobs[0].is_null()
            && second.is_some_and(|second| second == self.offsets[0] + chars(first))
            && (first.is_empty() || !in_prompt.starts_with(first) && !first.starts_with(in_prompt));
        match second.filter(|_| added) {
            Some(offset) => Start { token: 1, offset },
            None => Start { token: 0, offset: self.offsets[0] },
        }
    }

    /// The token that begins at the border.
    fn first(&self, start: &Start, border: usize) -> Option<usize> {
        (start.token..self.texts.len()).find(|at| self.offsets[*at].checked_sub(start.offset) == Some(border))
    }

    /// Whether the tokens beside the border are those of its two sides: a token may hold a part of a character, which no
    /// offset shows.
    fn parts(&self, start: &Start, at: usize, context: &str, continuation: &str) -> bool {
        let before = at == start.token || context.chars().last().is_some_and(|c| self.texts[at - 1].ends_with(c));
        before && continuation.chars().next().is_some_and(|c| self.texts[at].starts_with(c))
    }

    /// The token after those of the continuation. What follows it was generated.
    fn last(&self, start: &Start, first: usize, end: usize) -> Option<usize> {
        let place = |at: usize| self.offsets[at].checked_sub(start.offset);
        match (first + 1..self.texts.len()).find(|at| place(*at).is_none_or(|place| place >= end)) {
            Some(at) => (place(at) == Some(end)).then_some(at),
            None => {
                let last = self.texts.len() - 1;
                (place(last)? + chars(self.texts[last]) == end).then_some(last + 1)
            }
        }
    }
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Text, offset, log-probability, and that of another token.
    type Token = (&'static str, usize, Option<f64>, f64);

    /// An answer of these tokens.
    fn answer(text: &str, tokens: &[Token]) -> Value {
        let list = |of: &dyn Fn(&Token) -> Value| tokens.iter().map(of).collect::<Vec<_>>();
        json!({"choices": [{"text": text, "logprobs": {
            "tokens": list(&|t| json!(t.0)),
            "text_offset": list(&|t| json!(t.1)),
            "token_logprobs": list(&|t| json!(t.2)),
            "top_logprobs": list(&|t| t.2.map_or(Value::Null, |own| json!({"other": t.3, t.0: own}))),
        }}]})
    }

    fn scored(text: &str, tokens: &[Token], pair: (&str, &str)) -> Result<(f64, usize, bool), String> {
        loglikelihood(&answer(text, tokens), pair.0, pair.1).map(|l| (l.sum, l.tokens, l.greedy))
    }

    #[test]
    fn the_tokens_of_the_continuation_are_summed_and_no_others() {
        let tokens = [
            ("Q", 0, None, 0.0),
            (":", 1, Some(-9.0), -1.0),
            (" a", 2, Some(-0.5), -2.0),
            ("b", 4, Some(-0.25), -2.0),
            ("!", 5, Some(-7.0), -1.0),
        ];
        assert_eq!(scored("Q: ab!", &tokens, ("Q:", " ab")), Ok((-0.75, 2, true)));
        let mut other = tokens;
        other[3].3 = -0.125;
        assert_eq!(scored("Q: ab!", &other, ("Q:", " ab")), Ok((-0.75, 2, false)));
        // Nothing was generated.
        assert_eq!(scored("Q: ab", &tokens[..4], ("Q:", " ab")), Ok((-0.75, 2, true)));
    }

    #[test]
    fn a_token_before_the_prompt_is_known_by_what_the_server_makes_of_it() {
        let named =
            [("<s>", 0, None, 0.0), ("ä", 3, Some(-1.0), -2.0), ("b", 4, Some(-2.0), -3.0), ("c", 5, Some(-3.0), -4.0)];
        assert_eq!(scored("äbc", &named, ("ä", "b")), Ok((-2.0, 1, true)));
        assert_eq!(scored("äbc", &named, ("", "äb")), Ok((-3.0, 2, true)));
        let silent = [("", 0, None, 0.0), ("ä", 0, Some(-1.0), -2.0), ("b", 1, Some(-2.0), -3.0)];
        assert_eq!(scored("äb", &silent, ("", "äb")), Ok((-3.0, 2, true)));
        // Without one, nothing says how likely the first token is.
        let none = [("ä", 0, None, 0.0), ("b", 1, Some(-2.0), -3.0)];
        let why = "gives no log-probability for the first token; its task has an empty context";
        assert_eq!(scored("äb", &none, ("", "äb")), Err(why.into()));
    }

    #[test]
    fn a_border_inside_a_token_or_a_character_is_refused() {
        let joined = [("Q", 0, None, 0.0), (": a", 1, Some(-1.0), -2.0), ("b", 4, Some(-2.0), -3.0)];
        let why = "begins no token where the context ends and \" ab\" begins";
        assert_eq!(scored("Q: ab", &joined, ("Q:", " ab")), Err(why.into()));
        // The second token holds a blank and the first byte of the next character; offsets do not show it.
        let bytes =
            [("Q", 0, None, 0.0), (" ", 1, Some(-1.0), -2.0), ("", 2, Some(-2.0), -3.0), ("!", 3, Some(-2.0), -3.0)];
        let why = "begins no token where the context ends and \"世!\" begins";
        assert_eq!(scored("Q 世!", &bytes, ("Q ", "世!")), Err(why.into()));
    }

    #[test]
    fn answers_that_leave_a_doubt_are_refused() {
        let good = [("Q", 0, None, 0.0), ("a", 1, Some(-1.0), -2.0), ("b", 2, Some(-1.0), -2.0)];
        let cases = [
            (json!({}), "gives no answer"),
            (json!({"choices": [{"text": "b"}]}), "does not repeat the prompt"),
            (json!({"choices": [{"text": "Qab"}]}), MISSING),
            (json!({"choices": [{"text": "Qab", "logprobs": {"content": []}}]}), MISSING),
        ];
        for (answer, why) in cases {
            assert_eq!(loglikelihood(&answer, "Q", "a").unwrap_err(), why);
        }
        let without = |field: &str| {
            let mut answer = answer("Qab", &good);
            answer["choices"][0]["logprobs"][field] = json!([0]);
            loglikelihood(&answer, "Q", "a").unwrap_err()
        };
        let begin = "does not say where tokens begin (tokens and text_offset)";
        let lengths = "gives lists of tokens, offsets and log-probabilities that differ in length";
        assert_eq!([without("tokens"), without("text_offset"), without("top_logprobs")], [begin, lengths, lengths]);
        let none = [good[0], ("a", 1, None, 0.0), good[2]];
        assert_eq!(scored("Qab", &none, ("Q", "a")), Err(MISSING.into()));
        // A log-probability is missing at the end, so each may be beside the wrong token.
        let why = "generates a token that is not among its log-probabilities, which may all be one off";
        assert_eq!(scored("Qab", &good[..2], ("Q", "a")), Err(why.into()));
        let far = [good[0], good[1], ("b", 9, Some(-1.0), -2.0)];
        assert_eq!(scored("Qab", &far, ("Q", "a")), Err("gives offsets that do not fit the text".into()));
    }
}
