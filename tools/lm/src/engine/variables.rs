//! The trained numbers as candle's variables.

use candle_core::{Device, Tensor, Var};

use super::trained::Params;
use crate::{config::Config, error::Result};

/// One variable for each vector of [`Params::vectors`] that is not empty, in f32.
pub struct Variables {
    all: Vec<Option<Var>>,
    layers: usize,
    device: Device,
}

impl Variables {
    /// Variables on `device` with the numbers of `params`.
    pub fn new(config: &Config, params: &Params, device: &Device) -> Result<Self> {
        let var = |tensor: Option<Tensor>| tensor.map(|tensor| Var::from_tensor(&tensor)).transpose();
        let all = tensors(config, params, device)?.into_iter().map(var).collect::<Result<_, _>>()?;
        Ok(Variables { all, layers: params.layers.len(), device: device.clone() })
    }

    /// The variables with their places in [`Params::vectors`].
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Var)> {
        self.all.iter().enumerate().filter_map(|(i, var)| Some((i, var.as_ref()?)))
    }

    /// All places in order, with nothing where nothing is trained.
    pub fn tensors(&self) -> Vec<Option<Tensor>> {
        self.all.iter().map(|var| Some(var.as_ref()?.as_tensor().clone())).collect()
    }

    /// The variable of decoder layer `index`.
    pub fn layer(&self, index: usize) -> Option<&Var> {
        self.all[index].as_ref()
    }

    /// The variable of the last norm (0), the embedding (1) or the output layer (2).
    pub fn outer(&self, i: usize) -> Option<&Var> {
        self.all[self.layers + i].as_ref()
    }

    /// What a variable is called in messages.
    pub fn name(&self, index: usize) -> String {
        match index.checked_sub(self.layers) {
            None => format!("layers.{index}"),
            Some(i) => ["norm.weight", "embed_tokens.weight", "lm_head.weight"][i.min(2)].to_owned(),
        }
    }

    /// Puts the trained numbers into the variables.
    pub fn set(&self, params: &Params) -> Result<()> {
        for (values, var) in params.vectors().zip(&self.all) {
            if let Some(var) = var {
                var.set(&Tensor::from_slice(values, var.shape(), &self.device)?)?;
            }
        }
        Ok(())
    }
}

/// The trained numbers as tensors on `device`, in the order of [`Params::vectors`]; `None` where nothing is trained.
pub fn tensors(config: &Config, params: &Params, device: &Device) -> Result<Vec<Option<Tensor>>> {
    let hidden = config.hidden_size;
    let matrix = |len: usize| vec![len / hidden, hidden];
    let shapes = params.layers.iter().map(|theta| vec![theta.len()]).chain([
        vec![params.norm.len()],
        matrix(params.embed.len()),
        matrix(params.head.len()),
    ]);
    let tensors = params.vectors().zip(shapes).map(|(values, shape)| match values.is_empty() {
        true => Ok(None),
        false => Ok(Some(Tensor::from_slice(values, shape, device)?)),
    });
    tensors.collect()
}
