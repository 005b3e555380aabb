#![allow(clippy::unwrap_used)]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tunesmith_sandbox::{Cancel, Local};

use super::*;

/// Reads
/// nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// Second letter
    /// first.
    zebra: usize,
    #[serde(default)]
    apple: Option<String>,
    kind: Choice,
    #[serde(default)]
    inner: Vec<Inner>,
}

/// Which one.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Choice {
    /// is small.
    #[default]
    Small,
    /// is big.
    Big,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Inner {
    #[schemars(range(min = 1))]
    count: usize,
}

struct Probe;

impl Tool for Probe {
    const NAME: &'static str = "probe";
    type Args = Args;
    type Output = String;

    async fn call(&self, _: &Cx<'_>, args: Args) -> Result<String, ToolError> {
        let inner: usize = args.inner.iter().map(|inner| inner.count).sum();
        Ok(format!("{} {:?} {:?} {inner}", args.zebra, args.apple, args.kind))
    }
}

fn call(tool: &dyn AnyTool, args: Value) -> Result<Value, ToolError> {
    let root = tempfile::tempdir().unwrap();
    let dir = Workdir::open(root.path()).unwrap();
    let cx = Cx {
        dir: &dir,
        jobs: &Local::new(),
        base: root.path(),
        seed: 0,
        deadline: None,
        cancel: Cancel::default(),
        ask: None,
        hub: None,
        hosts: &[],
        on: &|_| {},
    };
    futures_util::future::FutureExt::now_or_never(tool.call(&cx, args)).unwrap()
}

#[test]
fn the_schema_is_flat_ordered_and_short() {
    let tool = typed(Probe);
    assert_eq!(tool.description(), "Reads nothing.");
    assert_eq!(
        tool.schema(),
        &json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "zebra": {"type": "integer", "description": "Second letter first."},
                "apple": {"type": "string"},
                "kind": {"description": "Which one. small: is small; big: is big.", "type": "string", "enum": ["small", "big"]},
                "inner": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"count": {"type": "integer"}},
                        "additionalProperties": false,
                        "required": ["count"],
                    },
                },
            },
            "required": ["zebra", "kind"],
        })
    );
    let order: Vec<&String> = tool.schema()["properties"].as_object().unwrap().keys().collect();
    assert_eq!(order, ["zebra", "apple", "kind", "inner"]);
}

#[test]
fn every_error_is_listed_by_its_pointer() {
    let args = json!({"zebra": "x", "kind": "medium", "inner": [{"count": 1}, {"count": 0, "cou/nt": 2}], "more": 1, "apple": null});
    let Err(ToolError::Invalid(mut errors)) = call(&*typed(Probe), args) else { panic!("accepted") };
    errors.sort_by(|a, b| a.pointer.cmp(&b.pointer));
    let error = |pointer: &str, message: &str| FieldError { pointer: pointer.into(), message: message.into() };
    assert_eq!(
        errors,
        [
            error("/inner/1/count", "0 is less than the minimum of 1"),
            error("/inner/1/cou~1nt", "there is no such argument; leave it out"),
            error("/kind", "must be one of small, big"),
            error("/more", "there is no such argument; leave it out"),
            error("/zebra", "\"x\" is not of type \"integer\""),
        ]
    );
    let Err(error) = call(&*typed(Probe), Value::Null) else { panic!("accepted") };
    assert_eq!(error.to_string(), "invalid arguments: /zebra: is required; /kind: is required");
}

#[test]
fn whole_numbers_may_be_written_as_floats() {
    let args = json!({"zebra": 3.0, "kind": "big", "inner": [{"count": 2.0}]});
    assert_eq!(call(&*typed(Probe), args).unwrap(), "3 None Big 2");
    assert!(matches!(call(&*typed(Probe), json!({"zebra": 3.5, "kind": "big"})), Err(ToolError::Invalid(_))));
}

#[test]
fn every_tool_has_a_name_of_its_own_and_a_schema_of_bounded_size() {
    let registry = all();
    let names: Vec<&str> = registry.iter().map(|tool| tool.name()).collect();
    assert_eq!(
        names,
        [
            "data_inspect",
            "plan",
            "data_make",
            "data_prepare",
            "train",
            "evaluate",
            "generate",
            "convert",
            "read_file",
            "shell",
            "hub_search",
            "finish"
        ]
    );
    let listing = registry.listing().to_string();
    assert!(!listing.contains("$ref") && !listing.contains("oneOf"), "{listing}");
    // Whole, as other programs read it; what a planner is sent is leaner and has its own limit.
    assert!(listing.len() < 13_500, "{} bytes", listing.len());
    for tool in registry.iter() {
        assert!(tool.description().len() > 20, "{} is not described", tool.name());
        assert_eq!(tool.schema()["additionalProperties"], false, "{}", tool.name());
        assert!(registry.get(tool.name()).is_some());
    }
}
