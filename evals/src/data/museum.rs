//! Messages to a museum, for four teams: easy to tell apart, short to train.

use super::{Draw, Messages};

pub(super) fn draw() -> Draw {
    let messages = Messages::parse(include_str!("museum.txt"));
    Box::new(move |rng| messages.draw(rng, 10))
}
