//! Commands that use the result, put together from what the steps said.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Command, Report};

/// Answers are this long where the recipe does not say.
const MAX_NEW_TOKENS: u64 = 32;

/// Ends the Modelfile in its shell command.
const END: &str = "END_OF_MODELFILE";

/// What the steps told about using the result.
#[derive(Default)]
pub(super) struct Hints {
    /// The run's directory.
    pub run: Option<PathBuf>,
    cue: Option<String>,
    max_new_tokens: Option<u64>,
    ollama_template: Option<String>,
    stop: Option<String>,
    /// Texts in the outputs of `train` steps, among them the adapter's path.
    made: Vec<(u32, Vec<String>)>,
}

impl Hints {
    /// Looks at a call.
    pub fn called(&mut self, tool: &str, args: &Value) {
        if tool == "data_prepare" {
            self.recipe(args);
        }
    }

    /// Looks at the output of a call that succeeded.
    pub fn returned(&mut self, step: u32, tool: &str, output: &Value) {
        match tool {
            "data_prepare" => self.recipe(output.get("recipe").unwrap_or(output)),
            "train" => {
                let texts = output.as_object().into_iter().flat_map(|map| map.values());
                self.made.push((step, texts.filter_map(|v| v.as_str()).map(str::to_owned).collect()));
            }
            "convert" => {
                let text = |key: &str| output.get(key).and_then(Value::as_str).map(str::to_owned);
                self.ollama_template = text("ollama_template").or(self.ollama_template.take());
                let stop = output.get("stop").map(|stop| stop.get(0).unwrap_or(stop)).and_then(Value::as_str);
                self.stop = stop.map(str::to_owned).or(self.stop.take());
            }
            _ => {}
        }
    }

    fn recipe(&mut self, recipe: &Value) {
        if let Some(cue) = recipe.get("cue").and_then(Value::as_str) {
            self.cue = Some(cue.to_owned());
        }
        if let Some(tokens) = recipe.get("max_new_tokens").and_then(Value::as_u64) {
            self.max_new_tokens = Some(tokens);
        }
    }

    /// Whether the training step `step` made the adapter at `path`.
    pub fn made(&self, step: u32, path: &str) -> bool {
        let directory = adapter_directory(Path::new(path));
        let names = |text: &String| {
            let text = adapter_directory(Path::new(text));
            !text.as_os_str().is_empty() && (directory.ends_with(text) || text.ends_with(directory))
        };
        self.made.iter().any(|(s, texts)| *s == step && texts.iter().any(names))
    }

    /// The commands for what was shipped and passed its check.
    pub fn commands(&self, report: &Report) -> Vec<Command> {
        let shipped = |kind: &str| {
            let found = report.artifacts.iter().find(|a| a.kind == kind && a.failed.is_none())?;
            Some(self.run.as_deref().unwrap_or(Path::new("")).join(&found.path))
        };
        let mut commands = Vec::new();
        let prompt = match self.cue.as_deref() {
            Some(cue) if !cue.is_empty() => quoted(&format!("YOUR TEXT\n{cue}")),
            _ => quoted("YOUR TEXT"),
        };
        let tokens = self.max_new_tokens.unwrap_or(MAX_NEW_TOKENS);
        if let (Some(scope), Some(adapter)) = (&report.scope, shipped("adapter")) {
            let (base, adapter) = (quoted(&scope.base), quoted(&adapter_directory(&adapter).display().to_string()));
            let text = format!(
                "tunesmith generate --model {base} --adapter {adapter} --max-tokens {tokens} --prompt {prompt}"
            );
            commands.push(Command { title: "Tunesmith".into(), text });
        }
        if let Some(file) = shipped("gguf") {
            let path = file.display().to_string();
            let text = format!("llama-cli -m {} --jinja -st --temp 0 -n {tokens} -p {prompt}", quoted(&path));
            commands.push(Command { title: "llama.cpp".into(), text });
            commands.push(Command { title: "Ollama".into(), text: self.ollama(&file, tokens) });
        }
        commands
    }

    /// A shell command that writes a Modelfile beside the model and registers it.
    fn ollama(&self, file: &Path, tokens: u64) -> String {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut lines = vec![format!("FROM ./{}", one_line(&name))];
        let template = self.ollama_template.as_ref().filter(|t| !t.contains("\"\"\"") && !t.contains(END));
        lines.extend(template.map(|t| format!("TEMPLATE \"\"\"{t}\"\"\"")));
        lines.push("PARAMETER temperature 0".into());
        lines.push(format!("PARAMETER num_predict {tokens}"));
        lines.extend(self.stop.as_ref().map(|stop| format!("PARAMETER stop {}", Value::from(stop.as_str()))));
        let folder = file.parent().map(|p| p.display().to_string()).filter(|p| !p.is_empty()).unwrap_or(".".into());
        let modelfile = lines.join("\n");
        format!(
            "cd {}\ncat > Modelfile <<'{END}'\n{modelfile}\n{END}\nollama create my-model -f Modelfile",
            quoted(&folder)
        )
    }
}

/// The directory of an adapter named by its directory or by its weights.
fn adapter_directory(path: &Path) -> &Path {
    match path.extension().and_then(|e| e.to_str()) {
        Some("safetensors") => path.parent().unwrap_or(path),
        _ => path,
    }
}

/// `text` as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text.to_owned();
    }
    // A word that starts with a dash would be read as an option.
    let text = if text.starts_with('-') { format!("./{text}") } else { text.to_owned() };
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("runs/a-b/model.gguf"), "runs/a-b/model.gguf");
        assert_eq!(quoted("it's $(rm)"), r"'it'\''s $(rm)'");
        assert_eq!(quoted("-rf"), "'./-rf'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn an_adapter_is_known_by_its_directory_or_its_weights() {
        let mut hints = Hints::default();
        hints.returned(4, "train", &serde_json::json!({"adapter": "train-2", "steps": 9, "note": ""}));
        assert!(hints.made(4, "work/train-2") && hints.made(4, "work/train-2/adapter_model.safetensors"));
        assert!(!hints.made(4, "work/train-22") && !hints.made(5, "work/train-2"));
    }
}
