//! Mode `relay` (PROTOCOL.md, "One inference, mode `relay`"): the link between the edges, what edge A sends over it and
//! edge B holds, and the answers.

pub(crate) mod answers;
pub(crate) mod inbox;
pub(crate) mod line;
pub(crate) mod link;
pub(crate) mod outbox;

#[cfg(test)]
pub(crate) mod relay_tests;
