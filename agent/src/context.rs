//! The conversation with a planner's model: what it is sent, how much that is, and how it is shortened.
//!
//! Only whole rounds leave it (a reply with all that answered it), the oldest first. What counts of them is in the state of
//! the run ([`crate::ledger`]), which is made from the log for each request and stands at its end, so that everything before
//! it stays the same from one request to the next and providers can keep it.

use serde_json::json;
use tunesmith_harness::text::truncate_middle;

use crate::model::{Call, Message, ToolSpec};

/// A conversation that fits a window.
pub struct Context {
    messages: Vec<Message>,
    /// Tokens of the tools' names, descriptions and schemas.
    tools: u64,
    /// Tokens that the model reads and writes at most; `None` is unknown.
    window: Option<u64>,
    /// The provider's tokens for each one counted here.
    scale: f64,
    /// Of the last long request, what was counted here and what the provider read.
    last: Option<(u64, u64)>,
}

/// How a conversation is shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Messages that go, the oldest after the first two.
    pub dropped: usize,
    /// Characters that each result which stays may have; `None` leaves them as they are.
    pub result_chars: Option<usize>,
}

/// Messages that never go: the system prompt and the request.
const HEAD: usize = 2;
/// Tokens of a request from which on counts are compared; short ones differ by the words around messages.
const COUNTED: u64 = 1_000;
/// Results are not made shorter than this.
const LEAST_RESULT: usize = 300;

impl Context {
    /// A conversation that has not begun, with a model of this window.
    pub fn new(system: String, request: String, tools: &[ToolSpec], window: Option<u64>) -> Self {
        let tools = tools.iter().map(|tool| 8 + count(&tool.name) + count(&tool.description) + schema(tool)).sum();
        Context {
            messages: vec![Message::System(system), Message::User(request)],
            tools,
            window: window.map(|window| window.min(LARGEST)),
            scale: 1.0,
            last: None,
        }
    }

    /// Adds a message.
    pub fn push(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// The messages of the next request: all there are, and at the end the state of the run.
    pub fn request(&self, state: &str) -> Vec<Message> {
        let mut messages = self.messages.clone();
        match messages.last_mut() {
            Some(Message::User(text) | Message::Note(text) | Message::Tool { content: text, .. }) => {
                text.push_str("\n\n");
                text.push_str(state);
            }
            _ => messages.push(Message::Note(state.to_owned())),
        }
        messages
    }

    /// Tokens of the next request, as far as they can be counted here.
    pub fn tokens(&self, state: &str) -> u64 {
        self.scaled(self.counted() + count(state))
    }

    /// What is left of the window for a reply, at least.
    pub fn reserve(&self) -> u64 {
        self.window.map_or(0, |window| (window / 8).clamp(256, 4_096).min(window / 2))
    }

    /// The window, as far as it is known by now.
    pub fn window(&self) -> Option<u64> {
        self.window
    }

    /// Takes the window that the server has shown to another process of the same run.
    pub fn told(&mut self, window: Option<u64>) {
        self.window = window.map(|window| window.min(LARGEST)).or(self.window);
    }

    /// Characters that a result may have, so that some of them fit together.
    pub fn result_chars(&self) -> usize {
        result_chars(self.window)
    }

    /// Takes note of what the provider counted for a request of `tokens`. Where nothing is known of the window, a server that
    /// reads the same number of tokens of two requests, of which one is much longer, has one without saying so; it is the
    /// result.
    pub fn learn(&mut self, tokens: u64, read: u64) -> Option<u64> {
        let read = read.min(LARGEST);
        if tokens < COUNTED {
            return None;
        }
        let fixed = self.fixed("");
        let counted = (tokens as f64 / self.scale) as u64;
        let longer = |(sent, before): (u64, u64)| counted * 4 > sent * 5 && read.abs_diff(before) * 32 <= read;
        if self.window.is_none()
            && read >= COUNTED
            && read * 4 < tokens * 3
            && read > fixed
            && self.last.is_some_and(longer)
        {
            self.window = Some(read);
            return Some(read);
        }
        self.last = Some((counted, read));
        if read * 2 > tokens {
            self.scale *= (read as f64 / tokens as f64).min(2.0);
        }
        None
    }

    /// Takes note that a request was too long: for a window that the provider names, or one that is smaller than it.
    pub fn too_long(&mut self, tokens: u64, window: Option<u64>) {
        let (less, window) = (tokens - tokens / 8, window.map(|window| window.min(LARGEST)));
        // What fits a window that is known and was refused all the same was counted wrongly.
        if window.or(self.window).is_some_and(|window| tokens + self.reserve() <= window) {
            self.scale *= 1.25;
        }
        self.window = Some(window.or(self.window).unwrap_or(less));
    }

    /// How the conversation must be shortened for the next request; `None` where it fits.
    ///
    /// It is shortened to half of what there is for it, so that this is seldom needed. The last round stays, but its results
    /// may be cut.
    pub fn over(&self, state: &str) -> Option<Cut> {
        let room = self.window?.saturating_sub(self.reserve());
        if self.tokens(state) <= room {
            return None;
        }
        let rounds = self.rounds();
        let fixed = self.fixed(state);
        let most = fixed + room.saturating_sub(fixed) / 2;
        let left = |from: usize| fixed + self.scaled(self.messages.iter().skip(from).map(of).sum());
        let last = rounds.last().copied().unwrap_or(HEAD);
        let from = rounds.iter().copied().find(|from| left(*from) <= most).unwrap_or(last);
        let result_chars = (left(from) > most).then(|| {
            let results = self.messages[from..].iter().filter(|m| matches!(m, Message::Tool { .. })).count().max(1);
            let excess = usize::try_from(left(from) - most).unwrap_or(usize::MAX);
            let now: usize = self.messages[from..].iter().map(result_length).sum();
            // About three characters are a token; what is cut has words of its own.
            (now.saturating_sub(excess.saturating_mul(4)) / results).max(LEAST_RESULT / results.min(5))
        });
        Some(Cut { dropped: from - HEAD.min(from), result_chars })
    }

    /// Shortens the conversation; false where nothing of it could go.
    pub fn cut(&mut self, cut: Cut) -> bool {
        let before = self.counted();
        let end = (HEAD + cut.dropped).min(self.messages.len());
        self.messages.drain(HEAD.min(end)..end);
        for message in self.messages.iter_mut().skip(HEAD) {
            if let Some(most) = cut.result_chars {
                shorten(message, most);
            }
        }
        self.counted() < before
    }

    /// Where rounds begin: at each reply.
    fn rounds(&self) -> Vec<usize> {
        let reply = |at: &usize| matches!(self.messages[*at], Message::Assistant { .. });
        (HEAD..self.messages.len()).filter(reply).collect()
    }

    /// Tokens of what is in every request.
    fn fixed(&self, state: &str) -> u64 {
        self.scaled(self.tools + self.messages.iter().take(HEAD).map(of).sum::<u64>() + count(state))
    }

    fn counted(&self) -> u64 {
        self.tools + self.messages.iter().map(of).sum::<u64>()
    }

    fn scaled(&self, tokens: u64) -> u64 {
        (tokens as f64 * self.scale).ceil() as u64
    }
}

/// Cuts what is long in a message of the last round: a result, and what the model itself wrote at length.
fn shorten(message: &mut Message, most: usize) {
    let long = |text: &str, most: usize| text.chars().count() > most + 60;
    let shortened = |text: &str, most: usize| json!({ "shortened": truncate_middle(text, most) }).to_string();
    match message {
        Message::Tool { content, .. } if long(content, most) => *content = shortened(content, most),
        Message::Assistant { text, calls, .. } => {
            let most = most.max(LEAST_RESULT);
            if long(text, most) {
                *text = truncate_middle(text, most).into_owned();
            }
            for call in calls.iter_mut().filter(|call| long(&call.arguments, 2 * most)) {
                call.arguments = shortened(&call.arguments, 2 * most);
            }
        }
        _ => {}
    }
}

/// The largest window and the most tokens that are believed: what a server says may be any number.
const LARGEST: u64 = 1 << 40;

/// Characters that a result may have with a window of so many tokens.
pub fn result_chars(window: Option<u64>) -> usize {
    const MOST: usize = 6_000;
    window.map_or(MOST, |window| usize::try_from(window / 8 * 3).unwrap_or(MOST).clamp(1_000, MOST))
}

fn schema(tool: &ToolSpec) -> u64 {
    count(&tool.schema.to_string())
}

fn result_length(message: &Message) -> usize {
    match message {
        Message::Tool { content, .. } => content.chars().count(),
        _ => 0,
    }
}

/// Tokens of a message with what marks its role.
fn of(message: &Message) -> u64 {
    const ROLE: u64 = 4;
    let call = |call: &Call| ROLE + count(&call.name) + count(&call.arguments) + count(&call.id);
    ROLE + match message {
        Message::System(text) | Message::User(text) | Message::Note(text) => count(text),
        Message::Tool { id, content } => count(id) + count(content),
        Message::Assistant { text, calls, .. } => count(text) + calls.iter().map(call).sum::<u64>(),
    }
}

/// About as many tokens as byte-pair vocabularies of today make of a text: a word is one for each six letters (two, where they
/// are not Latin), a number one for each two digits, and signs one for each two that follow each other.
pub fn count(text: &str) -> u64 {
    let (mut tokens, mut run, mut length) = (0, Run::Space, 0_u64);
    for c in text.chars() {
        let now = Run::of(c);
        if now != run {
            tokens += run.tokens(length);
            (run, length) = (now, 0);
        }
        length += 1;
    }
    tokens + run.tokens(length)
}

/// Characters that vocabularies put together.
#[derive(Clone, Copy, PartialEq)]
enum Run {
    Letters,
    Foreign,
    Digits,
    Space,
    Signs,
}

impl Run {
    fn of(c: char) -> Self {
        match c {
            'a'..='z' | 'A'..='Z' => Run::Letters,
            '0'..='9' => Run::Digits,
            ' ' => Run::Space,
            _ if c.is_alphabetic() => Run::Foreign,
            _ => Run::Signs,
        }
    }

    fn tokens(self, length: u64) -> u64 {
        match self {
            Run::Letters => length.div_ceil(6),
            Run::Foreign | Run::Digits | Run::Signs => length.div_ceil(2),
            // One stands with the word behind it.
            Run::Space => u64::from(length > 1),
        }
    }
}

#[cfg(test)]
mod tests;
