#![allow(clippy::unwrap_used)]
//! A small model, an edge's folder and a hand-driven client for tests.
