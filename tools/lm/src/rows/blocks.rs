//! Raw text for continued pretraining: documents laid end to end and cut into blocks.

use super::{Encoder, Tally, at_row};
use crate::{
    engine::batch::Sequence,
    error::{Error, Result},
};

impl Encoder<'_> {
    /// Blocks of `max_length` tokens, as TRL's strategy `wrapped` cuts them: each document ends with the token that ends
    /// texts, and the next begins in the same block. All tokens are trained; a last block of one token is left out.
    pub fn blocks<T: AsRef<str>>(&self, documents: impl IntoIterator<Item = T>) -> Result<(Vec<Sequence>, Tally)> {
        self.check()?;
        let Some(length) = self.max_length else {
            return Err(Error::Data("blocks of text need max_length".into()));
        };
        let (mut blocks, mut tally, mut open) = (Vec::new(), Tally::default(), Vec::new());
        for (number, document) in documents.into_iter().enumerate() {
            let mut add = || -> Result<()> {
                let tokens = self.tokenizer.encode_document(&self.ended(document.as_ref())?)?;
                self.check_start(&tokens, number, &mut tally)?;
                open.extend_from_slice(&tokens);
                Ok(())
            };
            add().map_err(|e| at_row(number, e))?;
            tally.rows += 1;
            let full = open.len() / length * length;
            let rest = open.split_off(full);
            blocks.extend(open.chunks(length).map(|block| Sequence::from(block.to_vec(), 1)));
            open = rest;
        }
        match open.len() {
            0 => {}
            1 => tally.cut_tokens += 1,
            _ => blocks.push(Sequence::from(open, 1)),
        }
        tally.sequences = blocks.len();
        tally.tokens = blocks.iter().map(|block| block.tokens.len()).sum();
        tally.trained = blocks.iter().map(Sequence::targets).sum();
        tally.check()?;
        Ok((blocks, tally))
    }
}
