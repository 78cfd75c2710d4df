//! `alternatives leakage`: the rule on the command line.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use super::rule::{Layer, check};
use crate::text;

/// Arguments of `alternatives leakage`.
#[derive(Debug, Args)]
pub struct Leakage {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Judge a partition by the convolutions that stay with the client, in order; refused ones end with an error
    Check {
        /// SIDExCHANNELSxKERNELS/STRIDE each, such as 11x3x64/4
        #[arg(required = true)]
        layers: Vec<Layer>,
    },
    /// The tables of the paper's AlexNet_v2, recomputed
    Alexnet,
}

/// Runs it: prints what it finds.
///
/// # Errors
/// When the partition is refused.
pub fn run(leakage: &Leakage) -> Result<()> {
    match &leakage.what {
        What::Alexnet => {
            for (title, table) in super::alexnet::tables() {
                println!("## {title}\n\n{}", text::markdown(&table));
            }
            Ok(())
        }
        What::Check { layers } => {
            for layer in layers {
                println!("{}", line(layer));
            }
            match check(layers) {
                Ok(()) => println!("safe by the rule; counting is no proof: `alternatives run partition` attacks"),
                Err(refused) => bail!("{refused}"),
            }
            Ok(())
        }
    }
}

fn line(layer: &Layer) -> String {
    format!(
        "{layer}: c = {}, {} equations, {} unknowns: {}; safe up to {} kernels",
        layer.windows(),
        layer.equations(),
        layer.unknowns(),
        if layer.is_safe() { "safe" } else { "can be solved" },
        layer.largest_safe(),
    )
}
