//! One conversation after another: what the next one begins with alike is not read again.

use std::mem::take;

use super::{Asked, Completion, Sampling, Session, check, stream_of};
use crate::{constrain::Guide, engine::infer::Cache, error::Result};

/// Tokens that are read at a time. Only whole pieces are kept, so that an answer has the same bits whatever was kept before it.
const PIECE: usize = 256;

/// What has been read of the last conversation.
#[derive(Debug, Default)]
pub struct Kept {
    ids: Vec<u32>,
    cache: Cache,
}

impl Kept {
    /// Tokens that are kept.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

impl Session {
    /// A text that goes on from `prompt`. It depends on the prompt, the sampling and the guide, and on nothing that was asked
    /// before; `each` is told every token as it is chosen.
    pub fn reply(
        &self,
        kept: &mut Kept,
        prompt: &[u32],
        sampling: &Sampling,
        mut guide: Option<&mut Guide>,
        each: &mut dyn FnMut(u32),
    ) -> Result<Completion> {
        let asked = Asked { prompt, sampling, rng: stream_of(sampling, 0) };
        check(&asked)?;
        // What fails on the way is not kept.
        let Kept { mut ids, mut cache } = take(kept);
        let same = ids.iter().zip(prompt).take_while(|(one, other)| one == other).count();
        let same = same.min(prompt.len() - 1) / PIECE * PIECE;
        ids.truncate(same);
        cache.truncate(same);
        for piece in prompt[same..prompt.len() - 1].chunks_exact(PIECE) {
            self.decoder.forward(&mut [(piece, &mut cache)])?;
            ids.extend_from_slice(piece);
        }
        let mut active = self.begin(0, &asked, cache, guide.as_deref())?;
        let done = loop {
            self.step(std::slice::from_mut(&mut active), guide.as_deref_mut())?;
            active.pending.first().into_iter().for_each(|token| each(*token));
            if let Some(done) = self.ended(&active, guide.as_deref())? {
                break done;
            }
        };
        active.cache.truncate(ids.len());
        *kept = Kept { ids, cache: active.cache };
        Ok(done)
    }
}
