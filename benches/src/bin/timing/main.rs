//! What times tell of the data: the loops that touch it, the operators that a device computes itself, and the time that
//! edge B sees between two rounds. `make bench-timing`.

mod loops;
mod operators;
mod rounds;
mod row;

use anyhow::{Result, bail};
use clap::Parser;
use twinmask_benches::dudect::LEAKS;
use twinmask_benches::machine;
use twinmask_benches::report::Report;
use twinmask_testkit::InMemory;

use crate::row::Row;

#[derive(Parser)]
struct Cli {
    /// Network of the zoo.
    #[arg(long, default_value = "alexnet227")]
    network: String,
    /// Samples of each loop and operator, by class.
    #[arg(long, default_value_t = 10_000)]
    samples: usize,
    /// Inferences, by class.
    #[arg(long, default_value_t = 150)]
    inferences: usize,
}

fn table(report: &mut Report, heading: &str, what: &str, classes: &[&str], rows: &[Row]) {
    let columns = [&[what], classes, &["largest |t|"]].concat();
    report.table(heading, &columns, &rows.iter().map(Row::cells).collect::<Vec<_>>());
    report.data(heading, &rows);
}

fn main() -> Result<()> {
    machine::clean_environment()?;
    let cli = Cli::parse();
    let mut report = Report::new("timing", "What times tell of the data");
    let deployment = InMemory::zoo(cli.network.parse()?);
    report.text(format!(
        "Microseconds (medians) by class of data, in a random order, on {}; the largest |t| of Welch's test between two classes, \
         over all samples and the fastest 99, 95, 90, 75, 50 and 25 %. Above {LEAKS} the time depends on the data (dudect's bound).",
        cli.network
    ));
    let (control, loops) = loops::measure(&deployment, cli.samples)?;
    table(&mut report, "Loops over the data", "loop", &loops::CLASSES, &loops);
    table(&mut report, "A loop that leaks, as a control", "loop", &loops::CLASSES, std::slice::from_ref(&control));
    let leaking: Vec<&str> = loops.iter().filter(|r| r.largest_t > LEAKS).map(|r| r.what.as_str()).collect();
    report.text(match leaking.as_slice() {
        [] => format!("No loop is above {LEAKS}."),
        some => format!("Above {LEAKS}: {}.", some.join(", ")),
    });
    report.text(
        "Operators that a device computes itself are not claimed to take constant time. Subnormal: at most 1e-38 in magnitude; \
         it shows whether flushing such numbers to zero would hide anything.",
    );
    table(&mut report, "Local operators", "operator", &operators::CLASSES, &operators::measure(cli.samples / 5)?);
    report.text(
        "What edge B sees in mode `relay`, in memory: from the end of its answer to round r to the end of the upload of the next. \
         In it the device opens and checks the answer, computes what is local, scales, quantizes and masks.",
    );
    let rounds = rounds::measure(&deployment, cli.inferences)?;
    table(&mut report, "Between rounds", "from round", &rounds::CLASSES, &rounds);
    report.write()?;
    if control.largest_t <= LEAKS {
        bail!("the control does not leak: nothing above was measured");
    }
    Ok(())
}
