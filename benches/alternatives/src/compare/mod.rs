//! `alternatives compare`: one table and one self-contained page of what all experiments have found.

mod comparison;
mod html;
mod markdown;
#[cfg(test)]
mod tests;
mod write;

pub use write::run;
