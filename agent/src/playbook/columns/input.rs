//! Which column is read, or which are, where the answer is known.

use super::{
    Seen,
    names::is_input,
    said::{Said, Sure},
};

impl Seen<'_> {
    /// The columns that are read, of which there may be several.
    pub(super) fn input(&self, target: usize, usable: &[usize], said: &[Said]) -> Result<Vec<usize>, String> {
        let others: Vec<usize> = usable.iter().copied().filter(|at| *at != target).collect();
        // Where there are texts, one of them is read, unless another column is said to be.
        // Short texts repeat too: "from the subject together with the body".
        let beside = |at: &usize| said[*at].aside && said[*at].joined && said[*at].named >= Sure::Named;
        let text = |at: &usize| self.is_text(*at) || said[*at].read == Sure::Explicit || beside(at);
        let candidates: Vec<usize> = others.iter().copied().filter(text).collect();
        let candidates = if candidates.is_empty() { others.clone() } else { candidates };
        let best = candidates.iter().map(|at| said[*at].read).max().unwrap_or_default();
        let read: Vec<usize> = candidates
            .iter()
            .copied()
            .filter(|at| best >= Sure::Named && (said[*at].read == best || beside(at)))
            .collect();
        match read[..] {
            [at] => return Ok(vec![at]),
            [] => {}
            _ if read.iter().all(|at| self.is_text(*at) || beside(at)) => return Ok(read),
            _ => return Err(self.ask(&read, "is read")),
        }
        if let [at] = others[..] {
            return Ok(vec![at]);
        }
        let texts: Vec<usize> = others.iter().copied().filter(|at| self.is_text(*at)).collect();
        let length = |at: &usize| self.columns[*at].lengths[1];
        let alike: Vec<usize> =
            texts.iter().copied().filter(|at| said[*at].read.max(said[*at].named) > Sure::Not).collect();
        let telling = texts.iter().copied().filter(|at| is_input(self.name(*at)));
        let telling: Vec<usize> = telling.collect();
        let longest = texts.iter().copied().max_by_key(length);
        let clear = |long: &usize| texts.iter().all(|at| at == long || length(long) >= 3 * length(at).max(1));
        match (&texts[..], &alike[..], &telling[..]) {
            ([], ..) => Err(format!(
                "{} columns of short values beside {:?}, and the playbook learns from one column of text; write each row as a \
                 text in one column",
                others.len(),
                self.name(target)
            )),
            ([at], ..) | (_, [at], _) => Ok(vec![*at]),
            _ if longest.as_ref().is_some_and(clear) => Ok(vec![longest.unwrap_or(texts[0])]),
            (_, _, [at]) => Ok(vec![*at]),
            _ => Err(self.ask(&texts, "is read")),
        }
    }
}
