//! Decoder models: LoRA training, generation and formats. Pure and synchronous; no network, no clock.
//!
//! | module | answers |
//! |---|---|
//! | [`model`] | what is in this directory or file |
//! | [`config`], [`weights`], [`tokens`], [`chat`] | its shape, tensors, tokenizer and chat template |
//! | [`matrix`] | how is one weight stored |
//! | [`rows`] | what do rows of data train |
//! | [`lora`] | what did training change |
//! | [`kernels`] | products and loops for the processor at hand |
//! | [`engine`] | the arithmetic of the decoder, forward and backward |
//! | [`train`] | the loop, its checkpoints and what it tells |
//! | [`cost`], [`events`] | what a step costs, TensorBoard's files |
//! | [`constrain`] | which tokens keep to a schema |
//! | [`generate`], [`score`] | what does a model write, and how likely is a text |
//! | [`rng`] | where does randomness come from |
//! | [`gguf`] | how does it reach llama.cpp |
//! | [`error`] | what can go wrong |

pub mod chat;
pub mod config;
pub mod constrain;
pub mod corpus;
pub mod cost;
pub mod engine;
pub mod error;
pub mod events;
pub mod generate;
pub mod gguf;
pub mod kernels;
pub mod lora;
pub mod matrix;
pub mod model;
pub mod optim;
mod peft;
pub mod pretrain;
pub mod rng;
pub mod rows;
pub mod score;
mod storage;
pub mod tokens;
pub mod train;
pub mod weights;
