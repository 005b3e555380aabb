//! Jinja templates with Python's semantics, for chat templates and evaluation prompts.
//!
//! Templates come from models and task files that nobody has checked. They can read nothing but the context that is
//! handed in, a fuel limit ends endless ones, and the output is bounded. Same template, context and options: same text.
//!
//! What a template joins with `~` or `+` in its own variables is bounded by the fuel alone, which a text that doubles itself
//! does not feel: templates of strangers belong into a process with a memory limit.

mod functions;
mod generation;
mod json;
mod limits;
mod methods;
pub mod python;

use std::{io, ops::Range, sync::Arc};

use minijinja::{
    AutoEscape, Environment, UndefinedBehavior, Value,
    syntax::SyntaxConfig,
    value::{Serde, merge_maps},
};
use serde::Serialize;

pub use functions::Today;
use generation::Tracker;

/// The name under which the one template of an environment is known.
const NAME: &str = "template";

/// No rendered text may be longer.
const LONGEST_OUTPUT: usize = 64 << 20;

/// What a template may do and how white space around its tags is treated.
#[derive(Clone, Debug)]
pub struct Options {
    /// Drops the line break after a tag and the blanks before one.
    pub trim: bool,
    /// Keeps one line break at the very end of the template.
    pub keep_trailing_newline: bool,
    /// Makes an unknown variable an error instead of an empty text.
    pub strict: bool,
    /// The date that `strftime_now` tells; without one the function is not defined.
    pub today: Option<Today>,
    /// Number of instructions after which rendering ends with an error.
    pub fuel: u64,
}

impl Options {
    /// As chat templates are rendered by transformers.
    pub fn chat() -> Self {
        Self { trim: true, keep_trailing_newline: false, strict: false, today: None, fuel: 5_000_000 }
    }

    /// As evaluation prompts are rendered by lm-eval, with one known difference: `~` shows floats below 1e-4 and from 1e16
    /// on without an exponent.
    pub fn eval() -> Self {
        Self { trim: false, keep_trailing_newline: true, strict: true, today: None, fuel: 5_000_000 }
    }
}

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    tagged: bool,
}

impl Template {
    /// Parses `source`.
    pub fn new(source: &str, options: &Options) -> Result<Self, Error> {
        limits::check(source).map_err(Error::Syntax)?;
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(options.fuel));
        environment.set_undefined_behavior(if options.strict {
            UndefinedBehavior::Strict
        } else {
            UndefinedBehavior::Lenient
        });
        let syntax = SyntaxConfig::builder()
            .trim_blocks(options.trim)
            .lstrip_blocks(options.trim)
            .keep_trailing_newline(options.keep_trailing_newline)
            .build()
            .map_err(|e| Error::Syntax(one_line(&e)))?;
        environment.set_syntax(syntax);
        environment.set_formatter(functions::emit);
        environment.set_unknown_method_callback(methods::call);
        environment.add_filter(generation::FILTER, generation::filter);
        environment.add_global(generation::TRACKER, ());
        functions::register(&mut environment, options.today);
        let text = generation::rewrite(source);
        // On a stack of its own: how deep the parser goes is up to the template.
        let parse = || environment.add_template_owned(NAME, text).map_err(|e| Error::Syntax(one_line(&e)));
        let failed = || Error::Syntax("it cannot be parsed".into());
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(limits::STACK).spawn_scoped(scope, parse);
            thread.map_err(|_| failed())?.join().map_err(|_| failed())?
        })?;
        Ok(Self { environment, tagged: generation::tagged(source) })
    }

    /// Fills the template in; the fields of `context` are its variables.
    pub fn render(&self, context: impl Serialize) -> Result<String, Error> {
        let mut output = Bounded(Vec::new());
        self.write(Value::from(Serde(context)), &mut output)?;
        String::from_utf8(output.0).map_err(|_| Error::Render("the output is not UTF-8".into()))
    }

    /// As [`render`](Self::render), and which bytes of the text stood in `{% generation %}` tags, in order.
    pub fn render_with_spans(&self, context: impl Serialize) -> Result<(String, Vec<Range<usize>>), Error> {
        let tracker = Arc::new(Tracker::default());
        let support = Value::from_pairs([(generation::TRACKER, Value::from_dyn_object(tracker.clone()))]);
        let context = merge_maps([support, Value::from(Serde(context))]);
        self.write(context, generation::Writer(&tracker, LONGEST_OUTPUT))?;
        tracker.finish().map_err(|e| Error::Render(one_line(&e)))
    }

    /// Whether the template has `{% generation %}` tags.
    pub fn has_generation_tags(&self) -> bool {
        self.tagged
    }

    fn write(&self, context: Value, output: impl io::Write) -> Result<(), Error> {
        let template = self.environment.get_template(NAME).map_err(|e| Error::Syntax(one_line(&e)))?;
        template.render_captured_to(context, output).map(drop).map_err(|e| {
            let raised = std::iter::successors(Some(&e as &dyn std::error::Error), |e| e.source())
                .find_map(|e| e.downcast_ref::<functions::Raised>());
            match raised {
                Some(raised) => Error::Raised(clean(&raised.0)),
                None => Error::Render(one_line(&e)),
            }
        })
    }
}

/// Why a template gave no text. Each message is one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The template itself is wrong.
    #[error("the template does not parse: {0}")]
    Syntax(String),
    /// The template called `raise_exception`: it refuses what it was given.
    #[error("the template refused its input: {0}")]
    Raised(String),
    /// The template does not fit its input, or did not end.
    #[error("the template failed: {0}")]
    Render(String),
}

/// Collects output up to the limit.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST_OUTPUT {
            return Err(io::Error::other("the output is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn one_line(error: &minijinja::Error) -> String {
    let mut text = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    if let Some(line) = error.line() {
        text.push_str(&format!(" (line {line})"));
    }
    clean(&text)
}

/// Template authors write messages as they like; ours are one line without control characters, cut to a sane length.
fn clean(text: &str) -> String {
    let line: String = text.chars().take(400).map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
