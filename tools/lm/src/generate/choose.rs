//! Which token comes next.

use super::Sampling;
use crate::{
    constrain::{Guide, Mask, State},
    error::{Error, Result},
    rng::Rng,
};

/// The next token of a row of logits: the most likely one (the first of equals), or a draw. With a mask only its tokens count;
/// `None` where it holds none.
pub(super) fn choose(logits: &[f32], sampling: &Sampling, rng: &mut Rng, mask: Option<&Mask>) -> Option<u32> {
    let all = mask.is_none().then_some(0..logits.len() as u32).into_iter().flatten();
    let some = mask.into_iter().flat_map(Mask::ids).filter(|id| (*id as usize) < logits.len());
    let ids = all.chain(some);
    let likely = |best: Option<(u32, f32)>, id: u32| {
        // The first counts also where none is above it, as where none is a number.
        let (_, most) = best.unwrap_or((id, f32::NEG_INFINITY));
        if logits[id as usize] > most { Some((id, logits[id as usize])) } else { best.or(Some((id, most))) }
    };
    if sampling.temperature <= 0.0 {
        return ids.fold(None, likely).map(|best| best.0);
    }
    let ids: Vec<u32> = ids.collect();
    let best = ids.iter().copied().fold(None, likely)?;
    let weight = |id: u32| (id, ((logits[id as usize] - best.1) / sampling.temperature).exp());
    let mut ranked: Vec<(u32, f32)> = ids.into_iter().map(weight).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked.truncate(sampling.top_k.unwrap_or(usize::MAX));
    let total: f32 = ranked.iter().map(|r| r.1).sum();
    let mut kept = 0.0;
    let cut = ranked.iter().position(|r| {
        kept += r.1;
        kept >= total * sampling.top_p
    });
    ranked.truncate(cut.map_or(ranked.len(), |cut| cut + 1));
    let mut draw = rng.uniform() * ranked.iter().map(|r| r.1).sum::<f32>();
    for (token, weight) in &ranked {
        draw -= weight;
        if draw < 0.0 {
            return Some(*token);
        }
    }
    Some(ranked.last().map_or(best.0, |r| r.0))
}

/// The next token that a grammar allows, and where it leads. Only `room` tokens may be written, this one included: where what is
/// drawn could not be ended in time, it is drawn again among what can.
pub(super) fn choose_guided(
    logits: &[f32],
    sampling: &Sampling,
    rng: &mut Rng,
    (guide, state, room): (&mut Guide, State, usize),
) -> Result<(u32, State)> {
    let missing = || Error::Generate("the model has no token for what must come next".into());
    let more = room.saturating_sub(1);
    let mask = guide.mask(state);
    let token = choose(logits, sampling, rng, Some(&mask)).ok_or_else(missing)?;
    if sampling.stop_ids.contains(&token) {
        return Ok((token, state));
    }
    if let Some(next) = guide.next(state, token).filter(|next| guide.left(*next) <= more) {
        return Ok((token, next));
    }
    let mask = guide.closing(state, more);
    let token = choose(logits, sampling, rng, Some(&mask)).ok_or_else(missing)?;
    match sampling.stop_ids.contains(&token) {
        true => Ok((token, state)),
        false => guide.next(state, token).map(|next| (token, next)).ok_or_else(missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f32, top_p: f32) -> Sampling {
        Sampling { temperature, top_p, ..Sampling::greedy(1, vec![]) }
    }

    #[test]
    fn greedy_takes_the_first_of_equals() {
        assert_eq!(choose(&[0.0, 2.0, 2.0], &sampling(0.0, 1.0), &mut Rng(1), None), Some(1));
        assert_eq!(choose(&[f32::NAN, 1.0, f32::NAN], &sampling(0.0, 1.0), &mut Rng(1), None), Some(1));
        assert_eq!(choose(&[f32::NAN, f32::NAN], &sampling(0.0, 1.0), &mut Rng(1), None), Some(0));
    }

    #[test]
    fn draws_follow_the_probabilities_and_top_p_cuts_the_tail() {
        let logits = [0.0f32, 1.0f32.exp().ln() + 1.0, 0.0];
        let mut rng = Rng::new(3, "draws");
        let mut draw = |top_p| choose(&logits, &sampling(1.0, top_p), &mut rng, None).unwrap();
        let mut counts = [0; 3];
        (0..10_000).for_each(|_| counts[draw(1.0) as usize] += 1);
        // e² / (e² + 2) is 0.787
        assert!((counts[1] as f64 / 10_000.0 - 0.787).abs() < 0.02 && counts[0] > 800 && counts[2] > 800, "{counts:?}");
        (0..1_000).for_each(|_| assert_eq!(draw(0.5), 1));
    }
}
