//! How rows become examples, from options and from the look of the file.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use tunesmith_tools::{
    data_inspect,
    data_prepare::{self, Preparation},
    inputs::Named,
    plan,
};

use super::super::inspect::inspect;
use crate::{
    commands::{usage, work::Bench},
    run::Failure,
};

/// How rows become examples; what is left out is taken from what the file looks like.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Mapping {
    /// What each row asks for [default: by the look of the file]
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Column of the input [default: by the look of the file]
    #[arg(long, value_name = "COLUMN")]
    input: Option<String>,
    /// Column of the answer [default: by the look of the file]
    #[arg(long, value_name = "COLUMN")]
    target: Option<String>,
    /// Text on its own line after the input [default: 'Label:' or 'JSON:' or none, by kind]
    #[arg(long, value_name = "TEXT")]
    cue: Option<String>,
    /// Share of rows for validation [default: 0.1]
    #[arg(long, value_name = "F", value_parser = valid_share)]
    valid_share: Option<f64>,
    /// Longest example in tokens [default: what the base takes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(8..=131_072))]
    max_length: Option<u32>,
    /// Only what follows the last such marker is compared, for example '####'
    #[arg(long, value_name = "MARKER")]
    answer_after: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// One label of a closed set
    Classification,
    /// A JSON object
    Extraction,
    /// Free text
    Generation,
}

impl Mapping {
    /// The options that were given.
    pub fn given(&self) -> Vec<&'static str> {
        let Mapping { kind, input, target, cue, valid_share, max_length, answer_after } = self;
        let all = [
            ("--kind", kind.is_some()),
            ("--input", input.is_some()),
            ("--target", target.is_some()),
            ("--cue", cue.is_some()),
            ("--valid-share", valid_share.is_some()),
            ("--max-length", max_length.is_some()),
            ("--answer-after", answer_after.is_some()),
        ];
        all.into_iter().filter(|(_, given)| *given).map(|(option, _)| option).collect()
    }

    /// Says how rows become examples: by options, else by the recipe, else by the look of the files.
    pub async fn fill(
        &self,
        recipe: &mut Preparation,
        bench: &Bench<'_>,
        (files, reads): (&[Named], &[PathBuf]),
    ) -> Result<(), Failure> {
        let said = recipe.examples.take();
        let said = said.as_ref();
        let mut kind = self.kind.map(plan_kind).or(said.map(|said| said.kind));
        let mut input = self.input.clone().or(said.map(|said| said.input.clone()));
        let mut target = self.target.clone().or(said.map(|said| said.target.clone()));
        let mut answer_after = self.answer_after.clone().or(said.and_then(|said| said.answer_after.clone()));
        if kind.is_none() || input.is_none() || target.is_none() {
            let paths = files.iter().map(|file| file.path.clone()).collect();
            let job = data_inspect::Job { paths, ..data_inspect::Job::of(Path::new("")) };
            let found = inspect(bench, job, reads.to_vec()).await?;
            let note = found.note.unwrap_or_else(|| "no use of these rows is known".into());
            let Some(proposal) = found.proposal else {
                return Err(usage(format!("{note}; or name --kind, --input and --target")));
            };
            answer_after = answer_after.or(proposal.answer_after);
            kind = kind.or(Some(proposal.kind.into()));
            (input, target) = (input.or(Some(proposal.input)), target.or(Some(proposal.target)));
        }
        let (Some(kind), (Some(input), Some(target))) = (kind, (input, target)) else {
            return Err(usage("name --kind, --input and --target"));
        };
        let cue = self.cue.clone().or(said.and_then(|said| said.cue.clone()));
        let max_length = self.max_length.map(|length| length as usize).or(said.and_then(|said| said.max_length));
        recipe.examples = Some(data_prepare::Mapping { kind, input, target, cue, max_length, answer_after });
        recipe.valid_share = self.valid_share.unwrap_or(recipe.valid_share);
        if recipe.valid_share < 0.01 {
            return Err(usage("examples need a share of at least 0.01 to validate on; with --rows there may be none"));
        }
        Ok(())
    }

    /// For rows that stay rows, which nothing maps.
    pub fn plain(&self, recipe: &mut Preparation) -> Result<(), Failure> {
        recipe.valid_share = self.valid_share.unwrap_or(recipe.valid_share);
        let given: Vec<&str> = self.given().into_iter().filter(|option| *option != "--valid-share").collect();
        match given.as_slice() {
            [] => Ok(()),
            given => Err(usage(format!("{} maps columns for examples; with --rows, leave it out", given.join(" ")))),
        }
    }
}

fn plan_kind(kind: Kind) -> plan::Kind {
    match kind {
        Kind::Classification => plan::Kind::Classification,
        Kind::Extraction => plan::Kind::Extraction,
        Kind::Generation => plan::Kind::Generation,
    }
}

fn valid_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value == 0.0 || (0.01..=0.5).contains(&value) => Ok(value),
        _ => Err("must be a number from 0.01 to 0.5, or 0 with --rows".into()),
    }
}
