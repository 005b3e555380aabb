//! Pairs of a better and a worse answer to one prompt, for DPO.

use rayon::prelude::*;
use serde_json::Value;

use super::{
    Encoded, Encoder, Notes, Tally, at_row,
    read::{Preference, Sides},
    spans, tokens_of,
};
use crate::{
    engine::batch::Sequence,
    error::{Error, Result},
};

/// Two answers to one prompt; the answers are trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The better one.
    pub chosen: Sequence,
    /// The worse one.
    pub rejected: Sequence,
}

/// A pair as tokens, before truncation.
struct Sided {
    chosen: Encoded,
    rejected: Encoded,
}

impl Encoder<'_> {
    /// The pairs of rows in TRL's preference formats. `train` is not read: the completions are trained.
    pub fn pairs(&self, rows: &[Value]) -> Result<(Vec<Pair>, Tally)> {
        self.check()?;
        let encoded: Vec<Result<Sided>> = rows.par_iter().map(|row| self.sides(&Preference::from_json(row)?)).collect();
        let (mut pairs, mut tally) = (Vec::new(), Tally::default());
        for (number, row) in encoded.into_iter().enumerate() {
            let row = row.and_then(|row| self.pair(&row, number, &mut tally)).map_err(|e| at_row(number, e))?;
            pairs.extend(row);
        }
        tally.check()?;
        Ok((pairs, tally))
    }

    fn pair(&self, row: &Sided, number: usize, tally: &mut Tally) -> Result<Option<Pair>> {
        tally.rows += 1;
        tally.prompt_differs.add(row.chosen.notes.prompt_differs || row.rejected.notes.prompt_differs, number);
        let mut both = *tally;
        let sides = (self.cut(&row.chosen, number, &mut both)?, self.cut(&row.rejected, number, &mut both)?);
        let (Some(chosen), Some(rejected)) = sides else {
            tally.dropped.add(true, number);
            return Ok(None);
        };
        // A row counts once, whichever of its sides it was.
        for (count, was) in [
            (&mut both.truncated, tally.truncated),
            (&mut both.without_stop, tally.without_stop),
            (&mut both.without_bos, tally.without_bos),
        ] {
            count.rows = count.rows.min(was.rows + 1);
        }
        both.whole = both.whole.min(tally.whole + 1);
        *tally = both;
        tally.sequences += 1;
        Ok(Some(Pair { chosen, rejected }))
    }

    fn sides(&self, row: &Preference) -> Result<Sided> {
        let (texts, starts, prompt_differs) = match (&row.prompt, &row.chosen, &row.rejected) {
            (Sides::Text(prompt), Sides::Text(chosen), Sides::Text(rejected)) => {
                let whole = |side: &str| Ok::<_, Error>(format!("{prompt}{}", self.ended(side)?));
                ([whole(chosen)?, whole(rejected)?], [prompt.len(); 2], false)
            }
            (Sides::Chat(prompt), Sides::Chat(chosen), Sides::Chat(rejected)) => {
                let template = self.template()?;
                let (mut texts, mut starts, mut differs) = (<[String; 2]>::default(), [0; 2], false);
                for (at, side) in [chosen, rejected].into_iter().enumerate() {
                    let mut chat = prompt.clone();
                    chat.messages.extend(side.messages.iter().cloned());
                    texts[at] = template.text(&chat, false)?;
                    let (start, other) = spans::after_prompt(template, prompt, &texts[at])?;
                    starts[at] = start;
                    differs |= other;
                }
                (texts, starts, differs)
            }
            _ => return Err(Error::Data("prompt and completions must be of one kind".into())),
        };
        let plain = matches!(row.prompt, Sides::Text(_));
        let encode = |text: &str, start: usize| {
            let (tokens, offsets) = self.tokenizer.encode_with_offsets(text, plain)?;
            let start = tokens_of(&offsets, &(start..text.len())).start;
            Ok::<_, Error>((tokens, start))
        };
        let (chosen, rejected) = (encode(&texts[0], starts[0])?, encode(&texts[1], starts[1])?);
        // Both are trained from the same token on.
        let start = chosen.1.min(rejected.1);
        let notes = Notes { prompt_differs, ..Notes::default() };
        let side = |tokens: Vec<u32>| {
            let trained = std::iter::once(start..tokens.len()).collect();
            Encoded { tokens, trained, notes }
        };
        Ok(Sided { chosen: side(chosen.0), rejected: side(rejected.0) })
    }
}
