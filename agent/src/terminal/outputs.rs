//! What a tool's output says in one line.

use serde_json::Value;
use tunesmith_harness::{
    figures::{bytes, percent},
    grade::{shown, shown_interval},
    text::visible,
};

use crate::commands::table::short;

/// Longest line about a step, in characters.
const LINE: usize = 300;

/// The important figures of an output, or the error.
pub(super) fn line(tool: &str, ok: bool, output: &Value) -> String {
    let text = match (ok, tool) {
        (false, _) => output.as_str().map(str::to_owned),
        (true, "plan") => plan(output),
        (true, "data_inspect") => inspect(output),
        (true, "data_make") => make(output),
        (true, "data_prepare") => prepare(output),
        (true, "train") => train(output),
        (true, "evaluate") => evaluate(output),
        (true, "generate") => generate(output),
        (true, "convert") => convert(output),
        (true, "read_file") => number(output, "bytes").map(|n| format!("{n:.0} bytes")),
        (true, "shell") => text(output, "stdout").map(|out| out.lines().next_back().unwrap_or_default().to_owned()),
        (true, "hub_search") => {
            output.get("hits").and_then(Value::as_array).map(|hits| format!("{} found", hits.len()))
        }
        (true, "finish") => text(output, "summary"),
        (true, _) => None,
    }
    .unwrap_or_else(|| scalars(output));
    short(&text, LINE)
}

fn at<'a>(output: &'a Value, field: &str) -> Option<&'a Value> {
    // A path of fields with slashes is a JSON pointer.
    output.pointer(&format!("/{field}")).filter(|value| !value.is_null())
}

fn number(output: &Value, field: &str) -> Option<f64> {
    at(output, field)?.as_f64()
}

fn text(output: &Value, field: &str) -> Option<String> {
    at(output, field)?.as_str().map(str::to_owned)
}

fn plan(output: &Value) -> Option<String> {
    let (kind, input, target) = (text(output, "kind")?, text(output, "input")?, text(output, "target")?);
    Some(format!("{kind}: {input} -> {target}. {}", text(output, "why").unwrap_or_default()))
}

fn make(output: &Value) -> Option<String> {
    let (rows, wanted) = (number(output, "rows")?, number(output, "wanted")?);
    let why = text(output, "why").map(|why| format!(": {why}")).unwrap_or_default();
    Some(format!("{rows:.0} rows, {wanted:.0} wanted, {}{why}", text(output, "ended")?))
}

fn inspect(output: &Value) -> Option<String> {
    let columns = at(output, "columns")?.as_array()?.iter().filter_map(|column| text(column, "name"));
    let columns = columns.collect::<Vec<_>>().join(", ");
    let looks = text(output, "proposal/why").or_else(|| text(output, "note")).unwrap_or_default();
    Some(format!("{:.0} rows, columns {columns}; {looks}", number(output, "rows")?))
}

fn prepare(output: &Value) -> Option<String> {
    let labels = at(output, "labels").and_then(Value::as_array).map_or(0, Vec::len);
    let labels = if labels > 0 { format!(", {labels} labels") } else { String::new() };
    let (train, valid) = (number(output, "train")?, number(output, "valid")?);
    Some(format!("{train:.0} examples to train on, {valid:.0} to validate on{labels}"))
}

fn train(output: &Value) -> Option<String> {
    let mut parts = vec![text(output, "adapter")?];
    parts.push(format!("{:.0} of {:.0} steps", number(output, "steps/0")?, number(output, "steps/1")?));
    let curve = at(output, "curve").and_then(Value::as_array);
    let ends = curve.and_then(|curve| Some((curve.first()?.get(1)?.as_f64()?, curve.last()?.get(1)?.as_f64()?)));
    parts.extend(ends.map(|(first, last)| format!("loss {first:.3} to {last:.3}")));
    parts.extend(number(output, "valid_loss").map(|loss| format!("validation {loss:.3}")));
    parts.extend(number(output, "valid_exact").map(|exact| format!("{} exact", percent(exact))));
    parts.extend(number(output, "tokens_per_second").map(|rate| format!("{rate:.0} tokens/s")));
    Some(parts.join(", "))
}

fn evaluate(output: &Value) -> Option<String> {
    let who = text(output, "adapter").unwrap_or_else(|| "base".to_owned());
    let metric = text(output, "metric")?;
    let interval = (number(output, "interval/0")?, number(output, "interval/1")?);
    let (value, n) = (number(output, "value")?, number(output, "n")?);
    let (value, interval) = (shown(&metric, value), shown_interval(&metric, interval));
    let mut line = format!("{who}: {} {value} ({interval}) of {n:.0} validation examples", metric.replace('_', " "));
    if let Some(share) = number(output, "exact_match").filter(|_| metric != "exact_match") {
        line += &format!(", exact match {}", percent(share));
    }
    Some(line)
}

fn generate(output: &Value) -> Option<String> {
    let answers = at(output, "answers")?.as_array()?;
    let first = answers.first().and_then(|answer| text(answer, "text")).unwrap_or_default();
    Some(format!("{} answers, the first: {first}", answers.len()))
}

fn convert(output: &Value) -> Option<String> {
    let size = at(output, "bytes")?.as_u64()?;
    let compared = number(output, "agreement").map_or_else(
        || "answers not compared".to_owned(),
        |agreement| format!("{} of answers as before", percent(agreement)),
    );
    Some(format!("{}, {}, {compared}", text(output, "path")?, bytes(size)))
}

/// Of a tool that this program does not know: its plain fields.
fn scalars(output: &Value) -> String {
    let Value::Object(map) = output else { return visible(&output.to_string()).into_owned() };
    let plain = map.iter().filter(|(_, value)| !value.is_object() && !value.is_array() && !value.is_null());
    let shown = plain.map(|(name, value)| match value {
        Value::String(text) => format!("{name} {text}"),
        other => format!("{name} {other}"),
    });
    shown.take(6).collect::<Vec<_>>().join(", ")
}
