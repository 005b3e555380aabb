//! `--require`: layers of the sandbox without which nothing is started.

use tunesmith_sandbox::{Layer, Local, Status};

use super::run::Sandboxes;
use crate::{config::Config, run::Failure};

/// `--require`, for every command that starts jobs.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Require {
    /// Start nothing unless these layers of the sandbox are enforced, see `tunesmith doctor`
    #[arg(long = "require", value_name = "LAYER,...", value_delimiter = ',')]
    required: Vec<Layer>,
}

impl Require {
    /// What starts jobs. A layer that is required here or in the settings, and is not enforced, is an error.
    pub fn jobs(&self, sandbox: Sandboxes) -> Result<Local, Failure> {
        let jobs = self.demand(sandbox.jobs())?;
        met(&jobs)?;
        Ok(jobs)
    }

    /// The same starter with all that is required, whether or not it can be had.
    pub fn demand(&self, jobs: Local) -> Result<Local, Failure> {
        Ok(jobs.requiring(self.layers()?))
    }

    /// What is required here and in the settings.
    pub fn layers(&self) -> Result<Vec<Layer>, Failure> {
        let config = Config::here()?;
        Ok(self.required.iter().copied().chain(config.values.sandbox.require).collect())
    }
}

/// Whether every layer that these jobs require is enforced.
pub fn met(jobs: &Local) -> Result<(), Failure> {
    enforced(jobs.lacking())
}

/// Whether all of these required layers are enforced; if not, the first that is not is named.
pub fn enforced(required: impl IntoIterator<Item = (Layer, Status)>) -> Result<(), Failure> {
    let Some((layer, status)) = required.into_iter().find(|(_, status)| *status != Status::Enforced) else {
        return Ok(());
    };
    let why = format!(
        "the sandbox does not enforce what is required: {layer} ({status}); see `tunesmith doctor`, or leave it out of \
         --require and of sandbox.require in config.toml"
    );
    Err(Failure::new(5, why))
}
