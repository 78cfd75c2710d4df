//! Tables, pictures and rows of experiment 3.

use anyhow::Result;

use super::work::form_in_words;
use super::{Attacked, Learned, NAME, Task, Variant};
use crate::obfuscator::shown;
use crate::report::{by_epoch, curves, grid, rounded, table};
use crate::results::{Cell, Column, Experiment, Row, Value};
use crate::train::{Run, column};

const PAPER: &str = "Sun, Wu, Hwang 2019";

struct Found {
    variant: Variant,
    learned: Learned,
    attacked: Option<Attacked>,
}

pub(super) fn report(run: &Run, found: &mut Experiment) -> Result<()> {
    let read = |variant: Variant| -> Result<Found> {
        let attacked = variant.signal.map(|_| run.result(NAME, &format!("{}-attack", variant.name()))).transpose()?;
        Ok(Found { variant, learned: run.result(NAME, &variant.name())?, attacked })
    };
    let all = Variant::all(run).into_iter().map(read).collect::<Result<Vec<_>>>()?;
    for task in Task::ALL {
        let of_task: Vec<_> = all.iter().filter(|f| f.variant.task == task).collect();
        let title = format!("{}: training, accuracy, attacks", task.name());
        found.tables.insert(title, table(&COLUMNS, of_task.iter().map(|f| line(f)).collect(), ""));
        let file = format!("{NAME}-{}.svg", task.name());
        let series: Vec<_> =
            of_task.iter().map(|f| by_epoch(f.variant.name(), 0, &column(&f.learned.curve, "accuracy"))).collect();
        curves(&run.out.join(&file), &format!("{}: convergence", task.name()), ("epoch", "test accuracy, %"), &series)?;
        found.pictures.insert(format!("{}: accuracy by epoch", task.name()), file);
        pictures(run, task, &of_task, found)?;
    }
    found.rows.extend(all.iter().filter_map(|f| row(f, &all)));
    published(found);
    differences(run, found);
    Ok(())
}

const COLUMNS: [&str; 9] = [
    "preserved layers N",
    "signal",
    "accuracy, %",
    "deviation of draws of 100",
    "training, s",
    "owner's parameters",
    "rebuilt by a decoder",
    "blind (mean image)",
    "signal guessed, % (chance)",
];

fn line(f: &Found) -> Vec<Value> {
    let (kept, form) = match f.variant.signal {
        Some((kept, form)) => (rounded(kept as f64, 0), form_in_words(form)),
        None => ("plain network".into(), "-"),
    };
    let attacked = |cell: &dyn Fn(&Attacked) -> String| f.attacked.as_ref().map_or("-".into(), |a| cell(a).into());
    vec![
        kept,
        form.into(),
        rounded(f.learned.accuracy[0], 1),
        rounded(f.learned.accuracy[1], 1),
        rounded(f.learned.seconds, 0),
        if f.attacked.is_some() { rounded(f.learned.owner_cost[1] as f64, 0) } else { "-".into() },
        attacked(&|a| shown(&a.rebuilt.quality)),
        attacked(&|a| shown(&a.rebuilt.blind)),
        attacked(&|a| format!("{:.1} ({:.0})", a.guessed, a.chance)),
    ]
}

fn pictures(run: &Run, task: Task, all: &[&Found], found: &mut Experiment) -> Result<()> {
    let attacks: Vec<_> = all.iter().filter_map(|f| f.attacked.as_ref()).collect();
    if attacks.is_empty() {
        return Ok(());
    }
    let unseen = task.images(run)?.1.first(10);
    let rows = [vec![&unseen.pixels[..]], attacks.iter().map(|a| &a.rebuilt.first[..]).collect()].concat();
    grid(&run.out.join(file(task)), unseen.shape, &rows)?;
    let prefix = format!("{}-", task.name());
    let name = |f: &Found| f.variant.name().replacen(&prefix, "", 1);
    let names: Vec<_> = all.iter().filter(|f| f.attacked.is_some()).map(|f| name(f)).collect();
    found.pictures.insert(format!("{}: original, then rebuilt from {}", task.name(), names.join(", ")), file(task));
    Ok(())
}

fn file(task: Task) -> String {
    format!("{NAME}-{}.png", task.name())
}

/// The deepest partition of each task stands in the comparison.
fn row(f: &Found, all: &[Found]) -> Option<Row> {
    let attacked = f.attacked.as_ref()?;
    let same = || all.iter().filter(|o| o.variant.task == f.variant.task);
    let deepest = same().filter_map(|o| o.variant.signal).map(|s| s.0).max()?;
    let (kept, form) = f.variant.signal?;
    if kept != deepest || same().find(|o| o.variant.signal.is_some_and(|s| s.0 == deepest))?.variant != f.variant {
        return None;
    }
    let plain = same().find(|o| o.variant.signal.is_none())?;
    let [flops, parameters, values] = f.learned.owner_cost;
    let bytes = 4 * (values + f.variant.task.classes() as u64);
    let name = format!("complement and partition ({}, N = {kept}, {})", f.variant.task.name(), form_in_words(form));
    let guess = format!(
        "decoder trained on the owner's part; a classifier guesses the signal right in {:.1} % (chance {:.0} %)",
        attacked.guessed, attacked.chance
    );
    let row = Row::new(name)
        .with(
            Column::WhoSees,
            Cell::cited("the provider sees the output of a layer and an answer flipped by the signal", PAPER),
        )
        .with(
            Column::Trust,
            Cell::cited("that layer outputs cannot be inverted (counting of equations and unknowns)", PAPER),
        )
        .with(Column::AccuracyPlain, Cell::measured(plain.learned.accuracy[0]).unit("%"))
        .with(Column::Accuracy, Cell::measured(f.learned.accuracy[0]).unit("%"))
        .with(Column::AttackPicture, Cell::measured("rows below the first").picture(file(f.variant.task)))
        .with(Column::AttackPsnrDb, Cell::measured(attacked.rebuilt.quality.psnr_db).unit("dB"))
        .with(Column::AttackSsim, Cell::measured(attacked.rebuilt.quality.ssim))
        .with(Column::AttackHow, Cell::measured(guess))
        .with(Column::DeviceFlops, Cell::measured(flops as f64))
        .with(Column::DeviceStorageBytes, Cell::measured(4.0 * parameters as f64).from("float32 parameters, counted"))
        .with(Column::BytesPerInference, Cell::measured(bytes as f64).from("float32 features up, logits down, counted"))
        .with(Column::Pretrained, Cell::measured("no: all layers from the signal on are trained anew"))
        .with(Column::SurvivesUpdate, Cell::cited("no: the owner's layers are part of the network", PAPER))
        .with(Column::Integrity, Cell::cited("none", PAPER));
    Some(row)
}

fn published(found: &mut Experiment) {
    let rows: [(Value, f64, Value); 6] = [
        ("plain".into(), 0.982, 6280.0.into()),
        (0.0.into(), 0.903, "-".into()),
        (1.0.into(), 0.933, "-".into()),
        (2.0.into(), 0.945, "-".into()),
        (3.0.into(), 0.958, "-".into()),
        (4.0.into(), 0.974, 4970.0.into()),
    ];
    let rows = rows.into_iter().map(|(n, accuracy, s)| vec![n, accuracy.into(), s]).collect();
    let note = "AlexNet_v2, 200,000 steps.";
    found.tables.insert("published".into(), table(&["preserved layers N", "accuracy", "training, s"], rows, note));
}

fn differences(run: &Run, found: &mut Experiment) {
    let epochs = Task::ALL.map(|t| format!("{} {}", t.name(), t.epochs(run))).join(", ");
    found.differences.extend([
        format!("Epochs ({epochs}) on small images and a small network with BatchNorm, instead of 200,000 steps of \
         AlexNet_v2."),
        "The signal enters the convolution after the N preserved ones, and that one runs on the owner's side, too: \
         else the provider would be sent the signal itself."
            .into(),
        "The attacker has the owner's layers (the provider trained them) and images of the same kind; the paper counts \
         equations and hopes for 50 % at guessing the signal."
            .into(),
    ]);
}
