//! Messages to a local radio station, for five desks.

use super::{Draw, Messages};

pub(super) fn draw() -> Draw {
    let messages = Messages::parse(include_str!("radio.txt"));
    Box::new(move |rng| messages.draw(rng, 15))
}
