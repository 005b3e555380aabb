//! What may be written, as nodes that name each other, and how much of each is needed to end it.

use super::{
    numbers::{Real, Whole},
    strings::Utf8,
};

/// The place of a node.
pub(super) type Id = u32;

/// No bound.
pub(super) const ENDLESS: u32 = u32::MAX;

/// Lists and objects inside each other, at most: readers of JSON refuse twice as many.
pub(super) const DEEPEST: u16 = 64;

/// Something that may be written.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// These bytes.
    Literal(Box<[u8]>),
    /// A string of so many characters.
    Text { least: u32, most: u32 },
    /// A whole number.
    Whole(Whole),
    /// Any other number.
    Real(Real),
    /// An object of these properties, in their order.
    Object(Box<[Property]>),
    /// An object of any names.
    Map { value: Id, most: u32 },
    /// A list.
    Array { item: Id, least: u32, most: u32 },
    /// One of these.
    Union(Box<[Id]>),
    /// These after each other, with nothing between them.
    Sequence(Box<[Id]>),
    /// Free text, in which `mark` begins `then`, after at most so many characters.
    Speech { mark: Box<[u8]>, then: Id, most: u32 },
}

/// A property of an object.
#[derive(Clone, Debug)]
pub(super) struct Property {
    /// The literal of its name with quotes and colon.
    pub(super) key: Id,
    pub(super) value: Id,
    pub(super) required: bool,
}

/// The least of a node: how deep, and with how many bytes at that depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) depth: u16,
    pub(super) bytes: u32,
}

/// What may be written: JSON that fits a schema, or text with calls of tools.
#[derive(Clone, Debug)]
pub struct Grammar {
    nodes: Vec<Node>,
    sizes: Vec<Size>,
    pub(super) root: Id,
}

/// The literal between a name and its value.
pub(super) const COLON: Id = 0;

const NO_SIZE: Size = Size { depth: u16::MAX, bytes: ENDLESS };

impl Grammar {
    /// Measures the nodes; `None` where nothing finite can be written.
    pub(super) fn new(nodes: Vec<Node>, root: Id) -> Option<Self> {
        let mut grammar = Grammar { sizes: vec![NO_SIZE; nodes.len()], nodes, root };
        grammar.measure(|grammar, node, size| Size { depth: grammar.depth(node), ..size });
        grammar.measure(|grammar, node, size| Size { bytes: grammar.bytes(node, size.depth), ..size });
        (grammar.size(root).depth <= DEEPEST && grammar.size(root).bytes < ENDLESS / 2).then_some(grammar)
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    pub(super) fn size(&self, id: Id) -> Size {
        self.sizes[id as usize]
    }

    /// The bytes of a literal.
    pub(super) fn literal(&self, id: Id) -> &[u8] {
        match self.node(id) {
            Node::Literal(bytes) => bytes,
            _ => &[],
        }
    }

    /// Whether the value of a property fits into an object at this depth.
    pub(super) fn fits(&self, value: Id, depth: u16) -> bool {
        depth.saturating_add(self.size(value).depth) <= DEEPEST
    }

    /// Measures until nothing changes: nodes name each other in circles.
    fn measure(&mut self, of: impl Fn(&Self, &Node, Size) -> Size) {
        loop {
            let sizes: Vec<Size> =
                self.nodes.iter().zip(&self.sizes).map(|(node, size)| of(self, node, *size)).collect();
            if sizes == self.sizes {
                return;
            }
            self.sizes = sizes;
        }
    }

    fn depth(&self, node: &Node) -> u16 {
        let of = |id: &Id| self.size(*id).depth;
        match node {
            Node::Literal(_) | Node::Text { .. } | Node::Whole(_) | Node::Real(_) => 0,
            Node::Object(properties) => {
                let required = properties.iter().filter(|property| property.required);
                required.map(|property| of(&property.value)).max().unwrap_or(0).saturating_add(1)
            }
            Node::Map { .. } | Node::Array { least: 0, .. } => 1,
            Node::Array { item, .. } => of(item).saturating_add(1),
            Node::Union(choices) => choices.iter().map(of).min().unwrap_or(u16::MAX),
            Node::Sequence(parts) => parts.iter().map(of).max().unwrap_or(0),
            Node::Speech { then, most, .. } => {
                if *most == 0 {
                    of(then)
                } else {
                    0
                }
            }
        }
    }

    fn bytes(&self, node: &Node, depth: u16) -> u32 {
        let of = |id: Id| self.size(id).bytes;
        match node {
            Node::Literal(bytes) => bytes.len() as u32,
            Node::Text { least, .. } => least.saturating_add(2),
            Node::Whole(whole) => whole.size(),
            Node::Real(real) => real.size(),
            Node::Object(properties) => self.rest(properties, 0).saturating_sub(1).saturating_add(2),
            Node::Map { .. } => 2,
            Node::Array { item, least, .. } => {
                least.saturating_mul(of(*item).saturating_add(1)).max(1).saturating_add(1)
            }
            Node::Union(choices) => {
                let shallow = choices.iter().filter(|id| self.size(**id).depth == depth);
                shallow.map(|id| of(*id)).min().unwrap_or(ENDLESS)
            }
            Node::Sequence(parts) => parts.iter().fold(0, |sum, part| sum.saturating_add(of(*part))),
            Node::Speech { mark, then, most } => match most {
                0 => of(*then).saturating_add(mark.len() as u32),
                _ => 0,
            },
        }
    }

    /// Bytes of the required properties from one on, each with a comma.
    pub(super) fn rest(&self, properties: &[Property], from: usize) -> u32 {
        let required = properties[from..].iter().filter(|property| property.required);
        required.fold(0, |sum, property| sum.saturating_add(1).saturating_add(self.of_property(property)))
    }

    /// Bytes of a name with its value.
    pub(super) fn of_property(&self, property: &Property) -> u32 {
        self.size(property.value).bytes.saturating_add(self.literal(property.key).len() as u32)
    }
}

/// A place in free text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Spoken {
    /// Bytes of the mark that have just been read.
    pub(super) matched: u32,
    /// Characters that may still come before the mark.
    pub(super) left: u32,
    pub(super) utf8: Utf8,
}

impl Spoken {
    /// After one more byte; `None` where it cannot stand there.
    pub(super) fn read(self, mark: &[u8], byte: u8) -> Option<Spoken> {
        let utf8 = self.utf8.read(byte)?;
        if self.left == 0 && mark.get(self.matched as usize) != Some(&byte) {
            return None;
        }
        let left = if self.left == ENDLESS || utf8.left() > 0 { self.left } else { self.left.saturating_sub(1) };
        Some(Spoken { matched: follow(mark, self.matched as usize, byte) as u32, left, utf8 })
    }

    /// Whether the text may end here.
    pub(super) fn may_end(self) -> bool {
        self.left > 0 && self.utf8.left() == 0
    }

    /// Bytes that must follow, where what the mark begins takes so many.
    pub(super) fn needs(self, mark: &[u8], then: u32) -> u32 {
        let call = then.saturating_add(mark.len() as u32);
        match (self.left, self.utf8.left()) {
            (0, _) => call - self.matched,
            (1, begun) if begun > 0 => call.saturating_add(begun),
            (_, begun) => begun,
        }
    }
}

/// How much of the mark the text ends with after one more byte.
fn follow(mark: &[u8], matched: usize, byte: u8) -> usize {
    let ends = |length: &usize| {
        let read: Vec<u8> = mark[..matched].iter().copied().chain([byte]).collect();
        read.ends_with(&mark[..*length])
    };
    (0..=(matched + 1).min(mark.len())).rev().find(ends).unwrap_or(0)
}
