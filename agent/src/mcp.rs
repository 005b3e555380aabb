//! The Model Context Protocol, in both directions.
//!
//! | module | answers |
//! |---|---|
//! | [`serve`] | how do other agents call our tools |
//! | [`http`] | how do they reach us over a network |
//! | [`client`], `piped` | how do planners call the tools of other servers, also of those that are programs |

pub mod client;
pub mod http;
mod piped;
pub mod serve;
