//! Which tokens may come next.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use super::{
    grammar::Grammar,
    machine::{Machine, State},
    vocabulary::Vocabulary,
};

/// Sets of tokens that are remembered at a time.
const REMEMBERED: usize = 512;

/// A set of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask(Vec<u64>);

impl Mask {
    fn empty(size: usize) -> Self {
        Mask(vec![0; size.div_ceil(64)])
    }

    fn add(&mut self, id: u32) {
        if let Some(word) = self.0.get_mut(id as usize / 64) {
            *word |= 1 << (id % 64);
        }
    }

    /// Whether a token is in the set.
    pub fn has(&self, id: u32) -> bool {
        self.0.get(id as usize / 64).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    /// Its tokens, the smallest first.
    pub fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            std::iter::successors((*word > 0).then_some(*word), |word| Some(word & (word - 1)).filter(|word| *word > 0))
                .map(move |word| at as u32 * 64 + word.trailing_zeros())
        })
    }
}

/// Keeps what a model writes to a [`Grammar`], whatever it would rather write. Sets of tokens are found when first needed,
/// and remembered.
pub struct Guide {
    vocabulary: Arc<Vocabulary>,
    machine: Machine,
    start: State,
    stops: Vec<u32>,
    masks: HashMap<State, Rc<Mask>>,
}

impl Guide {
    /// A guide for tokens of `vocabulary`; `stops` end a text.
    pub fn new(vocabulary: Arc<Vocabulary>, grammar: Arc<Grammar>, stops: &[u32]) -> Self {
        let (machine, start) = Machine::new(grammar);
        Guide { vocabulary, machine, start, stops: stops.to_vec(), masks: HashMap::new() }
    }

    /// Before the first token.
    pub fn start(&self) -> State {
        self.start
    }

    /// The tokens that may come next; those that end the text are among them where it is whole.
    pub fn mask(&mut self, state: State) -> Rc<Mask> {
        // No token looks further than the longest.
        let state = self.machine.within(state, self.vocabulary.longest());
        if let Some(mask) = self.masks.get(&state) {
            return mask.clone();
        }
        let mask = Rc::new(self.reading(state, |_, _| true));
        if self.masks.len() >= REMEMBERED {
            self.masks.clear();
        }
        self.masks.insert(state, mask.clone());
        mask
    }

    /// The tokens after which what is missing fits into so many more.
    pub fn closing(&mut self, state: State, more: usize) -> Mask {
        self.reading(state, |machine, state| machine.left(state) as usize <= more)
    }

    fn reading(&mut self, state: State, keep: impl Fn(&Machine, State) -> bool) -> Mask {
        let last = self.stops.iter().map(|id| *id as usize + 1).max().unwrap_or(0);
        let mut mask = Mask::empty(self.vocabulary.size().max(last));
        let Guide { vocabulary, machine, .. } = self;
        // A walk leads on and tells in turns, so that both look at the machine.
        let machine = std::cell::RefCell::new(machine);
        let step = |state, byte| Some(machine.borrow_mut().step(state, byte)).filter(|next| *next != State::DEAD);
        vocabulary.walk(state, step, |ids, state| {
            if keep(&machine.borrow(), state) {
                ids.iter().for_each(|id| mask.add(*id));
            }
        });
        if self.machine.accepts(state) {
            self.stops.iter().for_each(|id| mask.add(*id));
        }
        mask
    }

    /// Where a token leads; `None` where it may not come.
    pub fn next(&mut self, state: State, token: u32) -> Option<State> {
        let bytes = self.vocabulary.bytes(token)?;
        Some(self.machine.read(state, bytes)).filter(|next| *next != State::DEAD)
    }

    /// Where bytes lead; `None` where they may not come.
    pub fn read(&mut self, state: State, bytes: &[u8]) -> Option<State> {
        Some(self.machine.read(state, bytes)).filter(|next| *next != State::DEAD)
    }

    /// Whether what has been written is whole.
    pub fn is_whole(&self, state: State) -> bool {
        self.machine.accepts(state)
    }

    /// Whether it is whole and nothing can follow.
    pub fn is_over(&self, state: State) -> bool {
        self.machine.is_over(state)
    }

    /// Tokens that are enough to end it: there is one for each byte.
    pub fn left(&self, state: State) -> usize {
        self.machine.left(state) as usize
    }

    /// In free text, how many bytes of what begins a call have just been written; `None` behind that.
    pub fn spoken(&self, state: State) -> Option<usize> {
        self.machine.spoken(state)
    }

    /// The text of tokens.
    pub fn text(&self, ids: &[u32]) -> Vec<u8> {
        ids.iter().filter_map(|id| self.vocabulary.bytes(*id)).flatten().copied().collect()
    }
}
