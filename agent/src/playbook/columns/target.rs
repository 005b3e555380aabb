//! Which column is the answer.

use tunesmith_harness::task::JobKind;
use tunesmith_tools::data_inspect::Cells;

use super::{
    Seen,
    names::{is_answer, is_input, is_label},
    said::{Said, Sure},
};

/// A column, and why it is the one.
type Found = (usize, String);

impl Seen<'_> {
    /// The column of the answer: by what the request says, else by what is left and by names.
    pub(super) fn target(&self, usable: &[usize], said: &[Said]) -> Result<Found, String> {
        let mut answerable = self.learnable(usable, said)?;
        // What is only read is not answered.
        answerable.retain(|at| said[*at].read < Sure::Named || said[*at].answered > said[*at].read);
        if let Some(found) = self.answered(&answerable, said)? {
            return Ok(found);
        }
        if let Some(found) = self.named(&answerable, said) {
            return Ok(found);
        }
        match self.left(&answerable, usable, said)? {
            Some(found) => Ok(found),
            None => self.of_two(&answerable, usable),
        }
    }

    /// Columns that hold answers of the kinds that are asked for. What is asked for and cannot be learned is not replaced
    /// by what can.
    fn learnable(&self, usable: &[usize], said: &[Said]) -> Result<Vec<usize>, String> {
        let mut fitting: Vec<usize> = usable.iter().copied().filter(|at| self.fits(*at, said[*at])).collect();
        // Several values are taken out of a text as a JSON object, where there are such.
        // One that the request speaks of goes before a text that could be the answer too: "what she says".
        let spoken = |at: &usize| self.is_json(*at) && said[*at].named.max(said[*at].answered) > Sure::Not;
        let surely = if usable.iter().filter(|at| spoken(at)).count() == 1 { Sure::Values } else { Sure::Named };
        let other = fitting.iter().any(|at| !self.is_json(*at) && said[*at].answered >= surely);
        if self.kinds.contains(&JobKind::Extraction) && fitting.iter().any(|at| self.is_json(*at)) && !other {
            fitting.retain(|at| self.is_json(*at));
        }
        let asked = |at: &usize| said[*at].answered >= Sure::Named && !self.is_text(*at) && !fitting.contains(at);
        let unfit = usable.iter().copied().find(asked);
        match unfit.filter(|_| !fitting.iter().any(|at| said[*at].answered >= Sure::Named)) {
            None => Ok(fitting),
            Some(at) => Err(format!(
                "the request names {:?} as the answer, and it holds no {} ({} different values in {} rows)",
                self.name(at),
                if self.kinds.contains(&JobKind::Classification) {
                    "labels that repeat often enough"
                } else {
                    "answers of that kind"
                },
                self.columns[at].distinct,
                self.rows
            )),
        }
    }

    /// The column that the request says is answered.
    fn answered(&self, answerable: &[usize], said: &[Said]) -> Result<Option<Found>, String> {
        let best = answerable.iter().map(|at| said[*at].answered).max().unwrap_or_default();
        let is_best = |at: &usize| best > Sure::Not && said[*at].answered == best;
        let top: Vec<usize> = answerable.iter().copied().filter(is_best).collect();
        match top[..] {
            [at] => Ok(Some((at, format!("the request names {:?} as the answer", self.name(at))))),
            [] => Ok(None),
            _ => Err(self.ask(&top, "is the answer; the request could mean several")),
        }
    }

    /// A column that is named without a side: it is the answer where it is no text that is read.
    fn named(&self, answerable: &[usize], said: &[Said]) -> Option<Found> {
        let named: Vec<usize> = answerable
            .iter()
            .copied()
            .filter(|at| said[*at].named > Sure::Not && said[*at].read == Sure::Not && !self.is_read(*at))
            // A text that is only named may be the one that is read.
            .filter(|at| self.columns[*at].holds_labels(self.rows) || self.is_json(*at) || is_answer(self.name(*at)))
            .collect();
        let middle: Vec<usize> = named.iter().copied().filter(|at| !said[*at].aside).collect();
        let named = if middle.len() == 1 { middle } else { named };
        let telling: Vec<usize> = named.iter().copied().filter(|at| is_answer(self.name(*at))).collect();
        match (&named[..], &telling[..]) {
            ([at], _) | (_, [at]) => Some((*at, format!("the request names {:?}", self.name(*at)))),
            _ => None,
        }
    }

    /// The column that is left where nothing is said of the answer.
    fn left(&self, answerable: &[usize], usable: &[usize], said: &[Said]) -> Result<Option<Found>, String> {
        let is_left = |at: &usize| said[*at].read == Sure::Not && !self.is_read(*at);
        let left: Vec<usize> = answerable.iter().copied().filter(is_left).collect();
        let clear = |at: usize| {
            usable.len() == 2
                || is_answer(self.name(at))
                || is_label(self.name(at))
                || self.holds_only_labels(at, usable)
                || said[at].named.max(said[at].answered) > Sure::Not
        };
        match left[..] {
            [] => return Ok(None),
            [at] if clear(at) => return Ok(Some((at, format!("only {:?} can be the answer", self.name(at))))),
            _ => {}
        }
        let json: Vec<usize> = left.iter().copied().filter(|at| self.is_json(*at)).collect();
        let telling: Vec<usize> = left.iter().copied().filter(|at| is_answer(self.name(*at))).collect();
        match (&json[..], &telling[..]) {
            ([at], _) => Ok(Some((*at, format!("{:?} holds what is taken out of a text", self.name(*at))))),
            (_, [at]) => Ok(Some((*at, format!("{:?} is named like an answer", self.name(*at))))),
            _ => Err(self.ask(&left, "is the answer")),
        }
    }

    /// Of two texts the one that is the answer to the other.
    fn of_two(&self, texts: &[usize], usable: &[usize]) -> Result<Found, String> {
        let telling: Vec<usize> = texts.iter().copied().filter(|at| is_answer(self.name(*at))).collect();
        match (&telling[..], texts) {
            ([at], _) => Ok((*at, format!("{:?} is named like an answer", self.name(*at)))),
            (_, [at]) if usable.len() == 2 => Ok((*at, format!("only {:?} can be the answer", self.name(*at)))),
            (_, [first, second])
                if usable.len() == 2 && is_input(self.name(*first)) && !is_input(self.name(*second)) =>
            {
                Ok((*second, format!("{:?} is named like what is read", self.name(*first))))
            }
            _ => Err(self.ask(usable, "is the answer")),
        }
    }

    /// Whether labels of texts are asked for, and a column holds the only ones.
    fn holds_only_labels(&self, at: usize, usable: &[usize]) -> bool {
        let labels = |at: &usize| self.columns[*at].holds_labels(self.rows);
        let texts = usable.iter().any(|at| self.is_text(*at) && self.columns[*at].lengths[1] >= 20);
        self.kinds == [JobKind::Classification]
            && texts
            && labels(&at)
            && usable.iter().filter(|at| labels(at)).count() == 1
    }

    fn is_json(&self, at: usize) -> bool {
        self.columns[at].cells == Cells::Json
    }
}
