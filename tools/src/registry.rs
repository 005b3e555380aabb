//! The list of tools, and how a [`Tool`] with types becomes an [`AnyTool`] without.

use futures_util::future::BoxFuture;
use jsonschema::{Validator, error::ValidationErrorKind};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use tunesmith_harness::score::Score;
use tunesmith_sandbox::Workdir;

use crate::tool::{AnyTool, Cx, FieldError, Tool, ToolError};

/// The tools of a run, in the order in which a planner reads them.
pub struct Registry {
    /// The tools.
    pub tools: Vec<Box<dyn AnyTool>>,
}

/// Every tool there is. Adding a tool means adding its file and a line here.
pub fn all() -> Registry {
    Registry {
        tools: vec![
            typed(crate::data_inspect::DataInspect),
            typed(crate::plan::Plan),
            typed(crate::data_make::DataMake),
            typed(crate::data_prepare::DataPrepare),
            typed(crate::train::Train),
            typed(crate::evaluate::Evaluate),
            typed(crate::generate::Generate),
            typed(crate::convert::Convert),
            typed(crate::read_file::ReadFile),
            typed(crate::shell::Shell),
            typed(crate::hub_search::HubSearch),
            typed(crate::finish::Finish),
        ],
    }
}

impl Registry {
    /// The tool that a planner calls by this name.
    pub fn get(&self, name: &str) -> Option<&dyn AnyTool> {
        self.iter().find(|tool| tool.name() == name)
    }

    /// The tools, in order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn AnyTool> {
        self.tools.iter().map(|tool| &**tool)
    }

    /// What `tunesmith tools --schema` prints: name, description and parameters of each tool.
    pub fn listing(&self) -> Value {
        self.iter()
            .map(|tool| json!({"name": tool.name(), "description": tool.description(), "parameters": tool.schema()}))
            .collect()
    }
}

/// A tool with its types erased: arguments are validated, then read, and the output is written as JSON.
pub fn typed<T: Tool>(tool: T) -> Box<dyn AnyTool> {
    let (description, mut schema) = schema_of::<T>();
    let validator = jsonschema::validator_for(&schema).map_err(|error| error.to_string());
    let mut strict = schema.clone();
    repeating(&mut strict);
    shorten(&mut schema);
    Box::new(Typed { tool, description, schema, strict, validator })
}

struct Typed<T> {
    tool: T,
    description: String,
    schema: Value,
    strict: Value,
    validator: Result<Validator, String>,
}

impl<T: Tool> Typed<T> {
    /// Every error of the arguments, or the arguments as the tool's type.
    fn read(&self, args: Value) -> Result<T::Args, ToolError> {
        // A call without arguments arrives as null from some models.
        let mut args = if args.is_null() { Value::Object(Map::new()) } else { args };
        // Some models write null for what they leave out; no argument has a meaning of its own for null.
        if let Some(map) = args.as_object_mut() {
            map.retain(|_, value| !value.is_null());
        }
        let validator =
            self.validator.as_ref().map_err(|why| ToolError::Failed(format!("schema of the tool: {why}")))?;
        validate(validator, &args)?;
        whole_numbers(&mut args);
        serde_json::from_value(args).map_err(|error| {
            ToolError::Invalid(vec![FieldError { pointer: String::new(), message: error.to_string() }])
        })
    }
}

impl<T: Tool> AnyTool for Typed<T> {
    fn name(&self) -> &str {
        T::NAME
    }

    fn description(&self) -> &str {
        &self.description
    }

    fn schema(&self) -> &Value {
        &self.schema
    }

    fn strict(&self) -> &Value {
        &self.strict
    }

    fn call<'a>(&'a self, cx: &'a Cx<'a>, args: Value) -> BoxFuture<'a, Result<Value, ToolError>> {
        Box::pin(async move { written::<T>(self.tool.call(cx, self.read(args)?).await?) })
    }

    fn call_again<'a>(&'a self, cx: &'a Cx<'a>, args: Value) -> BoxFuture<'a, Result<Value, ToolError>> {
        Box::pin(async move { written::<T>(self.tool.call_again(cx, self.read(args)?).await?) })
    }

    fn scores(&self, output: &Value, dir: &Workdir) -> Vec<Score> {
        match serde_json::from_value(output.clone()) {
            Ok(output) => self.tool.scores(&output, dir),
            Err(_) => Vec::new(),
        }
    }
}

fn written<T: Tool>(output: T::Output) -> Result<Value, ToolError> {
    serde_json::to_value(output).map_err(|error| ToolError::Failed(format!("output of {}: {error}", T::NAME)))
}

/// The description (the doc comment of the arguments) and the schema that arguments are validated against: without
/// references, and with choices of constants as `enum`.
fn schema_of<T: Tool>() -> (String, Value) {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut schema = settings.into_generator().into_root_schema_for::<T::Args>().to_value();
    tidy(&mut schema);
    let description = match schema.as_object_mut().and_then(|map| map.remove("description")) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    if let Some(map) = schema.as_object_mut() {
        map.entry("properties").or_insert_with(|| json!({}));
    }
    (description, schema)
}

fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            collapse(map);
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Says of a value that it need not be shown.
type Useless = fn(&Value) -> bool;

/// What a planner's window can do without, by key and value. Bounds are few, and the error that names one costs less than
/// all of them in every request.
const USELESS: [(&str, Useless); 9] = [
    ("title", Value::is_string),
    ("format", Value::is_string),
    ("default", |value| value.is_null() || value.is_array() || value.is_object()),
    ("minimum", Value::is_number),
    ("maximum", Value::is_number),
    ("minLength", Value::is_number),
    ("maxLength", Value::is_number),
    ("minItems", Value::is_number),
    ("maxItems", Value::is_number),
];

/// The schema as a planner reads it.
fn shorten(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            // A property may itself have one of these names; then its value is a schema.
            for (key, useless) in USELESS {
                if map.get(key).is_some_and(useless) {
                    map.shift_remove(key);
                }
            }
            without_null(map);
            map.values_mut().for_each(shorten);
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        _ => {}
    }
}

/// The schema without what no model can be kept to: that nothing in a list comes twice is found when the call comes.
fn repeating(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("uniqueItems").is_some_and(Value::is_boolean) {
                map.shift_remove("uniqueItems");
            }
            map.values_mut().for_each(repeating);
        }
        Value::Array(items) => items.iter_mut().for_each(repeating),
        _ => {}
    }
}

/// What may be left out is seen from `required`; that it may also be null is only noise.
fn without_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get("type")
        && let [one, Value::String(null)] = types.as_slice()
        && null == "null"
    {
        let one = one.clone();
        map.insert("type".into(), one);
    }
    if let Some(Value::Array(choices)) = map.get("anyOf")
        && let [Value::Object(one), null] = choices.as_slice()
        && null["type"] == "null"
    {
        let one = one.clone();
        map.shift_remove("anyOf");
        for (key, value) in one {
            map.entry(key).or_insert(value);
        }
    }
}

/// `oneOf` of constants, which schemars writes for enums whose values are documented, becomes one `enum`: small models
/// and JSON grammars know it, and an error in it is one line instead of one per choice. What the doc comments say goes
/// into the description.
fn collapse(map: &mut Map<String, Value>) {
    let mut values = Vec::new();
    let mut notes = Vec::new();
    for choice in map.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        match (choice.get("const"), choice.get("enum").and_then(Value::as_array)) {
            (Some(value), _) => {
                let note = choice.get("description").and_then(Value::as_str);
                notes.extend(note.map(|note| format!("{}: {}", plain(value), note.trim_end_matches('.'))));
                values.push(value.clone());
            }
            (None, Some(more)) => values.extend(more.iter().cloned()),
            (None, None) => return,
        }
    }
    if values.is_empty() {
        return;
    }
    map.shift_remove("oneOf");
    if values.iter().all(Value::is_string) {
        map.insert("type".into(), "string".into());
    }
    map.insert("enum".into(), Value::Array(values));
    if !notes.is_empty() {
        let mut parts: Vec<String> =
            map.get("description").and_then(Value::as_str).map(String::from).into_iter().collect();
        parts.push(format!("{}.", notes.join("; ")));
        map.insert("description".into(), parts.join(" ").into());
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// Every field that does not fit.
pub(crate) fn validate(validator: &Validator, args: &Value) -> Result<(), ToolError> {
    let errors: Vec<FieldError> = validator.iter_errors(args).flat_map(|error| field_errors(&error)).collect();
    if errors.is_empty() { Ok(()) } else { Err(ToolError::Invalid(errors)) }
}

/// One error per field: unknown and missing fields are reported at the field, not at the object around it.
fn field_errors(error: &jsonschema::ValidationError<'_>) -> Vec<FieldError> {
    let at = error.instance_path().to_string();
    let field = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|name| FieldError { pointer: field(name), message: "there is no such argument; leave it out".into() })
            .collect(),
        ValidationErrorKind::Required { property } => {
            vec![FieldError { pointer: field(&plain(property)), message: "is required".into() }]
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<String> = options.as_array().into_iter().flatten().map(plain).collect();
            vec![FieldError { pointer: at, message: format!("must be one of {}", options.join(", ")) }]
        }
        _ => {
            let message = error.to_string();
            let message = match message.char_indices().nth(300) {
                Some((cut, _)) => format!("{}…", &message[..cut]),
                None => message,
            };
            vec![FieldError { pointer: at, message }]
        }
    }
}

/// JSON has one kind of number and some models write `3.0` for 3; types that want whole numbers do not take that.
fn whole_numbers(value: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(x) = number.as_f64().filter(|x| x.fract() == 0.0 && x.abs() <= EXACT) {
                *value = Value::from(x as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
