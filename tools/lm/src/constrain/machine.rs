//! Reads what is written byte by byte against a grammar.
//!
//! A place is a stack of what is open, outermost first. Stacks share what is below, so that equal ones are one number. Where
//! several ways are still possible a state holds several stacks; it is told by a number too, and where each byte leads from it
//! is looked up after the first time.

use std::{collections::HashMap, sync::Arc};

use super::{
    grammar::{COLON, ENDLESS, Grammar, Id, Node, Property, Spoken},
    numbers::{RealAt, WholeAt},
    strings::Text,
};

/// A number of states: where reading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State(u32);

impl State {
    /// Nothing leads on from here.
    pub(super) const DEAD: State = State(0);
    const UNKNOWN: State = State(u32::MAX);
}

/// The number of a stack.
type Stack = u32;

/// Nothing is open.
const EMPTY: Stack = 0;

/// What is open, and how far it has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Frame {
    Nothing,
    Literal {
        node: Id,
        at: u32,
    },
    /// A value is to begin, perhaps after a blank.
    Value {
        node: Id,
        blank: bool,
    },
    Text(Text),
    Whole {
        node: Id,
        at: WholeAt,
    },
    Real {
        node: Id,
        at: RealAt,
    },
    Object {
        node: Id,
        next: u32,
        at: At,
    },
    Map {
        node: Id,
        room: u32,
        at: At,
    },
    Array {
        node: Id,
        need: u32,
        room: u32,
        at: At,
    },
    Sequence {
        node: Id,
        at: u32,
    },
    Speech {
        node: Id,
        at: Spoken,
    },
}

/// Where in an object or a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// Behind the bracket that opens it.
    First,
    /// Behind a value.
    After,
    /// Behind a comma, perhaps before a blank.
    Comma { blank: bool },
}

/// A frame on what is below it.
struct Cell {
    frame: Frame,
    below: Stack,
    /// Bytes that must follow.
    left: u32,
    /// Objects and lists that are open.
    depth: u16,
    /// The largest count of anything that is open.
    counted: u32,
}

/// The states of one grammar, as far as they have been met.
pub(super) struct Machine {
    grammar: Arc<Grammar>,
    cells: Vec<Cell>,
    stacks: HashMap<(Frame, Stack), Stack>,
    states: Vec<Box<[Stack]>>,
    numbers: HashMap<Box<[Stack]>, State>,
    /// Where each byte leads from a state.
    rows: Vec<Option<Box<[State; 256]>>>,
}

impl Machine {
    /// A machine, and where reading begins.
    pub(super) fn new(grammar: Arc<Grammar>) -> (Self, State) {
        let nothing = Cell { frame: Frame::Nothing, below: EMPTY, left: 0, depth: 0, counted: 0 };
        let mut machine = Machine {
            cells: vec![nothing],
            stacks: HashMap::new(),
            states: Vec::new(),
            numbers: HashMap::new(),
            rows: Vec::new(),
            grammar,
        };
        machine.state(Vec::new());
        let root = machine.grammar.root;
        let start = match *machine.grammar.node(root) {
            Node::Speech { most, .. } => {
                let at = Spoken { matched: 0, left: most, utf8: Default::default() };
                machine.over(Frame::Speech { node: root, at }, EMPTY)
            }
            _ => machine.over(Frame::Value { node: root, blank: false }, EMPTY),
        };
        let start = machine.state(vec![start]);
        (machine, start)
    }

    /// Where a byte leads.
    pub(super) fn step(&mut self, from: State, byte: u8) -> State {
        let row = self.rows[from.0 as usize].get_or_insert_with(|| Box::new([State::UNKNOWN; 256]));
        let known = row[usize::from(byte)];
        if known != State::UNKNOWN {
            return known;
        }
        let to = self.read_all(from, byte);
        if let Some(row) = &mut self.rows[from.0 as usize] {
            row[usize::from(byte)] = to;
        }
        to
    }

    /// Where bytes lead.
    pub(super) fn read(&mut self, from: State, bytes: &[u8]) -> State {
        bytes.iter().fold(from, |state, byte| self.step(state, *byte))
    }

    /// Whether what has been read may end here.
    pub(super) fn accepts(&self, state: State) -> bool {
        self.states[state.0 as usize].iter().any(|stack| self.may_end(*stack))
    }

    /// Bytes that must follow, at least.
    pub(super) fn left(&self, state: State) -> u32 {
        let stacks = self.states[state.0 as usize].iter();
        stacks.map(|stack| self.cells[*stack as usize].left).min().unwrap_or(ENDLESS)
    }

    /// Whether nothing can follow.
    pub(super) fn is_over(&self, state: State) -> bool {
        self.states[state.0 as usize].iter().all(|stack| *stack == EMPTY)
    }

    /// In free text, how many bytes of the mark have just been read.
    pub(super) fn spoken(&self, state: State) -> Option<usize> {
        let frames = self.states[state.0 as usize].iter().map(|stack| self.cells[*stack as usize].frame);
        frames.into_iter().find_map(|frame| match frame {
            Frame::Speech { at, .. } => Some(at.matched as usize),
            _ => None,
        })
    }

    /// A state from which the same texts of at most `length` bytes can be read: counts that these cannot use up are forgotten.
    pub(super) fn within(&mut self, state: State, length: u32) -> State {
        let stacks = self.states[state.0 as usize].to_vec();
        if stacks.iter().all(|stack| self.cells[*stack as usize].counted <= length) {
            return state;
        }
        let stacks = stacks.into_iter().map(|stack| self.forget(stack, length)).collect();
        self.state(stacks)
    }

    fn forget(&mut self, stack: Stack, length: u32) -> Stack {
        let Cell { frame, below, counted, .. } = self.cells[stack as usize];
        if counted <= length {
            return stack;
        }
        let most = |room: u32| if room > length { ENDLESS } else { room };
        let least = |need: u32| need.min(length + 1);
        let frame = match frame {
            Frame::Text(text) => Frame::Text(Text { least: least(text.least), most: most(text.most), ..text }),
            Frame::Map { node, room, at } => Frame::Map { node, room: most(room), at },
            Frame::Array { node, need, room, at } => Frame::Array { node, need: least(need), room: most(room), at },
            Frame::Speech { node, at } => Frame::Speech { node, at: Spoken { left: most(at.left), ..at } },
            other => other,
        };
        let below = self.forget(below, length);
        self.over(frame, below)
    }

    fn state(&mut self, mut stacks: Vec<Stack>) -> State {
        stacks.sort_unstable();
        stacks.dedup();
        let stacks = stacks.into_boxed_slice();
        if let Some(state) = self.numbers.get(&stacks) {
            return *state;
        }
        let state = State(self.states.len() as u32);
        self.states.push(stacks.clone());
        self.rows.push(None);
        self.numbers.insert(stacks, state);
        state
    }

    /// A frame on a stack.
    fn over(&mut self, frame: Frame, below: Stack) -> Stack {
        if let Frame::Sequence { node, at } = frame
            && matches!(self.grammar.node(node), Node::Sequence(parts) if parts.len() == at as usize)
        {
            return below;
        }
        if let Some(stack) = self.stacks.get(&(frame, below)) {
            return *stack;
        }
        let Cell { left, depth, counted, .. } = self.cells[below as usize];
        let opens = matches!(frame, Frame::Object { .. } | Frame::Map { .. } | Frame::Array { .. });
        let cell = Cell {
            frame,
            below,
            left: left.saturating_add(self.needs(frame, depth + u16::from(opens))),
            depth: depth + u16::from(opens),
            counted: counted.max(counts(frame)),
        };
        let stack = self.cells.len() as Stack;
        self.cells.push(cell);
        self.stacks.insert((frame, below), stack);
        stack
    }

    /// Bytes that end a frame at this depth.
    fn needs(&self, frame: Frame, depth: u16) -> u32 {
        let grammar = &*self.grammar;
        let bytes = |id: Id| grammar.size(id).bytes;
        match frame {
            Frame::Nothing => 0,
            Frame::Literal { node, at } => grammar.literal(node).len() as u32 - at,
            Frame::Value { node, .. } => bytes(node),
            Frame::Text(text) => text.left(),
            Frame::Whole { node, at } => match grammar.node(node) {
                Node::Whole(whole) => whole.left(at).unwrap_or(ENDLESS),
                _ => 0,
            },
            Frame::Real { node, at } => match grammar.node(node) {
                Node::Real(real) => real.left(at).unwrap_or(ENDLESS),
                _ => 0,
            },
            Frame::Object { node, next, at } => {
                let Node::Object(properties) = grammar.node(node) else { return 0 };
                let rest = grammar.rest(properties, next as usize);
                let comma = match (at, rest) {
                    (At::After, _) | (At::First, 0) => 0,
                    (At::First | At::Comma { .. }, 1..) => return rest,
                    (At::Comma { .. }, 0) => {
                        let more =
                            properties[next as usize..].iter().filter(|property| grammar.fits(property.value, depth));
                        more.map(|property| grammar.of_property(property)).min().unwrap_or(ENDLESS)
                    }
                };
                rest.saturating_add(comma).saturating_add(1)
            }
            Frame::Map { node, at, .. } => match (at, grammar.node(node)) {
                (At::Comma { .. }, Node::Map { value, .. }) => bytes(*value).saturating_add(4),
                _ => 1,
            },
            Frame::Array { node, need, at, .. } => match grammar.node(node) {
                Node::Array { item, .. } => {
                    let first = u32::from(at == At::First && need > 0);
                    need.saturating_mul(bytes(*item).saturating_add(1)).saturating_add(1) - first
                }
                _ => 0,
            },
            Frame::Sequence { node, at } => match grammar.node(node) {
                Node::Sequence(parts) => {
                    parts[at as usize..].iter().fold(0, |sum, part| sum.saturating_add(bytes(*part)))
                }
                _ => 0,
            },
            Frame::Speech { node, at } => match grammar.node(node) {
                Node::Speech { mark, then, .. } => at.needs(mark, bytes(*then)),
                _ => 0,
            },
        }
    }

    fn may_end(&self, stack: Stack) -> bool {
        let Cell { frame, below, .. } = self.cells[stack as usize];
        match (frame, self.node_of(frame)) {
            (Frame::Nothing, _) => true,
            (Frame::Whole { at, .. }, Some(Node::Whole(whole))) => whole.accepts(at) && self.may_end(below),
            (Frame::Real { at, .. }, Some(Node::Real(real))) => real.accepts(at) && self.may_end(below),
            (Frame::Speech { at, .. }, _) => at.may_end(),
            _ => false,
        }
    }

    fn node_of(&self, frame: Frame) -> Option<&Node> {
        match frame {
            Frame::Whole { node, .. } | Frame::Real { node, .. } => Some(self.grammar.node(node)),
            _ => None,
        }
    }

    fn read_all(&mut self, from: State, byte: u8) -> State {
        let mut found = Vec::new();
        let stacks = self.states[from.0 as usize].clone();
        for stack in stacks.iter() {
            self.read_on(*stack, byte, &mut found);
        }
        self.state(found)
    }

    /// Adds where a byte leads from a stack.
    fn read_on(&mut self, stack: Stack, byte: u8, found: &mut Vec<Stack>) {
        let grammar = self.grammar.clone();
        let Cell { frame, below, .. } = self.cells[stack as usize];
        match frame {
            Frame::Nothing => {}
            Frame::Literal { node, at } => {
                let bytes = grammar.literal(node);
                if bytes.get(at as usize) == Some(&byte) {
                    found.push(match at as usize + 1 == bytes.len() {
                        true => below,
                        false => self.over(Frame::Literal { node, at: at + 1 }, below),
                    });
                }
            }
            Frame::Value { node, blank } => {
                if blank && byte == b' ' {
                    found.push(self.over(Frame::Value { node, blank: false }, below));
                }
                self.enter(node, byte, below, found);
            }
            Frame::Text(text) => match text.read(byte) {
                Some(Some(text)) => found.push(self.over(Frame::Text(text), below)),
                Some(None) => found.push(below),
                None => {}
            },
            Frame::Whole { node, at } => {
                let Node::Whole(whole) = grammar.node(node) else { return };
                match whole.read(at, byte) {
                    Some(at) => found.push(self.over(Frame::Whole { node, at }, below)),
                    None if whole.accepts(at) => self.read_on(below, byte, found),
                    None => {}
                }
            }
            Frame::Real { node, at } => {
                let Node::Real(real) = grammar.node(node) else { return };
                match real.read(at, byte) {
                    Some(at) => found.push(self.over(Frame::Real { node, at }, below)),
                    None if real.accepts(at) => self.read_on(below, byte, found),
                    None => {}
                }
            }
            Frame::Object { .. } => self.in_object(stack, byte, found),
            Frame::Map { .. } => self.in_map(stack, byte, found),
            Frame::Array { .. } => self.in_array(stack, byte, found),
            Frame::Sequence { node, at } => {
                if let Node::Sequence(parts) = grammar.node(node) {
                    let below = self.over(Frame::Sequence { node, at: at + 1 }, below);
                    self.enter(parts[at as usize], byte, below, found);
                }
            }
            Frame::Speech { node, at } => {
                let Node::Speech { mark, then, .. } = grammar.node(node) else { return };
                let Some(at) = at.read(mark, byte) else { return };
                let frame = match at.matched as usize == mark.len() {
                    true => Frame::Value { node: *then, blank: false },
                    false => Frame::Speech { node, at },
                };
                found.push(self.over(frame, below));
            }
        }
    }

    /// Adds where the first byte of a node leads.
    fn enter(&mut self, node: Id, byte: u8, below: Stack, found: &mut Vec<Stack>) {
        let grammar = self.grammar.clone();
        if !grammar.fits(node, self.cells[below as usize].depth) {
            return;
        }
        let frame = match grammar.node(node) {
            Node::Literal(_) => {
                let literal = self.over(Frame::Literal { node, at: 0 }, below);
                return self.read_on(literal, byte, found);
            }
            Node::Union(choices) => return choices.iter().for_each(|choice| self.enter(*choice, byte, below, found)),
            Node::Sequence(_) => {
                let begun = self.over(Frame::Sequence { node, at: 0 }, below);
                return self.read_on(begun, byte, found);
            }
            Node::Speech { .. } => return,
            Node::Text { least, most } => (byte == b'"').then(|| Frame::Text(Text::new(*least, *most))),
            Node::Whole(whole) => whole.read(WholeAt::default(), byte).map(|at| Frame::Whole { node, at }),
            Node::Real(real) => real.read(RealAt::start(), byte).map(|at| Frame::Real { node, at }),
            Node::Object(_) => (byte == b'{').then_some(Frame::Object { node, next: 0, at: At::First }),
            Node::Map { most, .. } => (byte == b'{').then_some(Frame::Map { node, room: *most, at: At::First }),
            Node::Array { least, most, .. } => {
                (byte == b'[').then_some(Frame::Array { node, need: *least, room: *most, at: At::First })
            }
        };
        found.extend(frame.map(|frame| self.over(frame, below)));
    }

    fn in_object(&mut self, stack: Stack, byte: u8, found: &mut Vec<Stack>) {
        let grammar = self.grammar.clone();
        let Cell { frame: Frame::Object { node, next, at }, below, depth, .. } = self.cells[stack as usize] else {
            return;
        };
        let Node::Object(properties) = grammar.node(node) else { return };
        let rest = &properties[next as usize..];
        let may_come = |property: &&Property| grammar.fits(property.value, depth);
        match (at, byte) {
            (At::First | At::After, b'}') if !rest.iter().any(|property| property.required) => found.push(below),
            (At::After, b',') if rest.iter().any(|property| may_come(&property)) => {
                found.push(self.over(Frame::Object { node, next, at: At::Comma { blank: true } }, below));
            }
            (At::Comma { blank: true }, b' ') => {
                found.push(self.over(Frame::Object { node, next, at: At::Comma { blank: false } }, below));
            }
            (At::First | At::Comma { .. }, b'"') => {
                let until = rest.iter().position(|property| property.required).map_or(rest.len(), |at| at + 1);
                for (index, property) in rest[..until].iter().enumerate().filter(|(_, property)| may_come(property)) {
                    let after = self.over(Frame::Object { node, next: next + index as u32 + 1, at: At::After }, below);
                    let value = self.over(Frame::Value { node: property.value, blank: true }, after);
                    found.push(self.over(Frame::Literal { node: property.key, at: 1 }, value));
                }
            }
            _ => {}
        }
    }

    fn in_map(&mut self, stack: Stack, byte: u8, found: &mut Vec<Stack>) {
        let grammar = self.grammar.clone();
        let Cell { frame: Frame::Map { node, room, at }, below, depth, .. } = self.cells[stack as usize] else {
            return;
        };
        let Node::Map { value, .. } = grammar.node(node) else { return };
        let may_come = room > 0 && grammar.fits(*value, depth);
        match (at, byte) {
            (At::First | At::After, b'}') => found.push(below),
            (At::After, b',') if may_come => {
                found.push(self.over(Frame::Map { node, room, at: At::Comma { blank: true } }, below));
            }
            (At::Comma { blank: true }, b' ') => {
                found.push(self.over(Frame::Map { node, room, at: At::Comma { blank: false } }, below));
            }
            (At::First | At::Comma { .. }, b'"') if may_come => {
                let after = self.over(Frame::Map { node, room: less(room), at: At::After }, below);
                let value = self.over(Frame::Value { node: *value, blank: true }, after);
                let colon = self.over(Frame::Literal { node: COLON, at: 0 }, value);
                found.push(self.over(Frame::Text(Text::new(0, ENDLESS)), colon));
            }
            _ => {}
        }
    }

    fn in_array(&mut self, stack: Stack, byte: u8, found: &mut Vec<Stack>) {
        let grammar = self.grammar.clone();
        let Cell { frame: Frame::Array { node, need, room, at }, below, depth, .. } = self.cells[stack as usize] else {
            return;
        };
        let Node::Array { item, .. } = grammar.node(node) else { return };
        let may_come = room > 0 && grammar.fits(*item, depth);
        let after = |machine: &mut Self| {
            machine.over(Frame::Array { node, need: need.saturating_sub(1), room: less(room), at: At::After }, below)
        };
        match (at, byte) {
            (At::First | At::After, b']') if need == 0 => found.push(below),
            (At::After, b',') if may_come => {
                let after = after(self);
                found.push(self.over(Frame::Value { node: *item, blank: true }, after));
            }
            (At::First, _) if may_come => {
                let after = after(self);
                self.enter(*item, byte, after, found);
            }
            _ => {}
        }
    }
}

/// One less of what may have no bound.
fn less(room: u32) -> u32 {
    if room == ENDLESS { ENDLESS } else { room.saturating_sub(1) }
}

/// The largest count of a frame.
fn counts(frame: Frame) -> u32 {
    let bounded = |room: u32| if room == ENDLESS { 0 } else { room };
    match frame {
        Frame::Text(text) => text.least.max(bounded(text.most)),
        Frame::Map { room, .. } => bounded(room),
        Frame::Array { need, room, .. } => need.max(bounded(room)),
        Frame::Speech { at, .. } => bounded(at.left),
        _ => 0,
    }
}
