//! Exact match of texts after what does not count is taken away: `exact_match_hf_evaluate`.

use crate::eval::{python::regex::Regex, refusal::Refusal, settings::Settings};

/// What `exact_match` overlooks.
#[derive(Clone, Debug, Default)]
pub struct ExactMatch {
    regexes_to_ignore: Vec<Regex>,
    ignore_case: bool,
    ignore_punctuation: bool,
    ignore_numbers: bool,
}

impl ExactMatch {
    pub(super) fn read(mut settings: Settings) -> Result<Self, Refusal> {
        let sources = settings.texts("regexes_to_ignore")?.unwrap_or_default();
        let exact = Self {
            regexes_to_ignore: sources.iter().map(|source| Regex::new(source)).collect::<Result<_, _>>()?,
            ignore_case: settings.flag("ignore_case", false)?,
            ignore_punctuation: settings.flag("ignore_punctuation", false)?,
            ignore_numbers: settings.flag("ignore_numbers", false)?,
        };
        settings.end()?;
        Ok(exact)
    }

    /// Whether patterns are taken away, which lm-eval does one text at a time.
    pub(crate) fn has_patterns(&self) -> bool {
        !self.regexes_to_ignore.is_empty()
    }

    /// Whether letters or digits are changed, for which lm-eval needs an array of texts.
    pub(crate) fn changes_characters(&self) -> bool {
        self.ignore_case || self.ignore_punctuation || self.ignore_numbers
    }

    /// Share of predictions that equal their reference; a single one on either side stands for all.
    pub fn share(&self, predictions: &[&str], references: &[&str]) -> Result<f64, Refusal> {
        let n = predictions.len().max(references.len());
        let predictions = self.cleaned(predictions)?;
        let references = self.cleaned(references)?;
        let equal = predictions.iter().cycle().zip(references.iter().cycle()).take(n).filter(|(a, b)| a == b).count();
        Ok(equal as f64 / n as f64)
    }

    /// The texts as lm-eval's arrays of NumPy hold them, which know no NUL characters at the end.
    fn cleaned(&self, texts: &[&str]) -> Result<Vec<String>, Refusal> {
        let mut texts: Vec<String> = texts.iter().map(|text| text.trim_end_matches('\0').to_owned()).collect();
        for pattern in &self.regexes_to_ignore {
            for text in &mut texts {
                let left = pattern.sub("", text, 0)?;
                *text = left.trim_end_matches('\0').into();
            }
        }
        // The lower-case form goes into an array that is as wide as the longest text was.
        let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
        for text in &mut texts {
            if self.ignore_case {
                *text = text.to_lowercase().chars().take(width).collect();
            }
            if self.ignore_punctuation {
                text.retain(|c| !c.is_ascii_punctuation());
            }
            if self.ignore_numbers {
                text.retain(|c| !c.is_ascii_digit());
            }
            text.truncate(text.trim_end_matches('\0').len());
        }
        Ok(texts)
    }
}
