//! Tables, pictures and rows of experiment 4.

use anyhow::Result;

use super::inversion::Inverted;
use super::rounds::{DELTA, NOISE};
use super::task::{PEOPLE, images};
use super::{Base, Day, Initial, Model, NAME, OPTIMIZERS, Way, epochs, model::flat};
use crate::data::Part;
use crate::report::{Series, by_epoch, curves, grid, rounded, table};
use crate::results::{Cell, Column, Experiment, Row, Value};
use crate::train::{Run, column, last};

const PAPER: &str = "Bu, after Shokri and Shmatikov 2015";

pub(super) fn report(run: &Run, found: &mut Experiment) -> Result<()> {
    initial(run, found)?;
    let inverted: Vec<Inverted> = run.result(NAME, "inversion")?;
    inversion(run, &inverted, found)?;
    for base in Base::ALL {
        let days: Vec<Day> = run.result(NAME, &format!("rounds-{}", base.name()))?;
        rounds(run, base, &days, found)?;
        let ways = days.iter().filter(|d| matches!(d.way, Way::Fraction(f) if f < 0.15) || d.way == Way::Noisy);
        found.rows.extend(ways.map(|d| row(base, d, &days, &inverted)));
    }
    found.differences.extend([
        format!(
            "Four classes of CIFAR-10 with {} training and {} validation images; the initial model has a quarter of \
             them, {PEOPLE} participants share the rest.",
            images(run, Part::Train)?.len(),
            images(run, Part::Test)?.len()
        ),
        format!(
            "SqueezeNet 1.1 at {}x{0} instead of VGG16, whose weights are not at hand; the network from scratch has \
             tanh and no biases, so that its gradients can be differentiated once more.",
            run.pick(48, 96, 224)
        ),
        "The attack inverts the gradient of one image by the initial network; a participant's upload of a whole \
         epoch leaks less, one of a single image as much."
            .into(),
    ]);
    Ok(())
}

fn initial(run: &Run, found: &mut Experiment) -> Result<()> {
    let (mut rows, mut series) = (Vec::new(), Vec::new());
    for base in Base::ALL {
        for optimizer in OPTIMIZERS {
            let Initial { curve } = run.result(NAME, &format!("initial-{}-{optimizer}", base.name()))?;
            let cells = ["training", "validation"].map(|name| rounded(last(&curve, name), 1));
            rows.push([vec![base.name().into(), optimizer.into()], cells.to_vec()].concat());
            series.push(by_epoch(format!("{} {optimizer}", base.name()), 0, &column(&curve, "validation")));
        }
    }
    let note = format!("After {} epochs. Theirs: 72-84 % validation.", epochs(run));
    let columns = ["initial model", "optimizer", "training, %", "validation, %"];
    found.tables.insert("1: initial model".into(), table(&columns, rows, &note));
    let file = format!("{NAME}-initial.svg");
    curves(&run.out.join(&file), "Initial model", ("epoch", "validation accuracy, %"), &series)?;
    found.pictures.insert("Initial model: validation accuracy by epoch".into(), file);
    Ok(())
}

fn rounds(run: &Run, base: Base, days: &[Day], found: &mut Experiment) -> Result<()> {
    let line = |d: &Day| -> Vec<Value> {
        let epsilon = d.epsilon.map_or("-".into(), |e| rounded(e, 2));
        vec![d.way.words().into(), rounded(end(d), 1), (d.upload_bytes as f64).into(), epsilon]
    };
    let columns = ["way", "validation, %", "bytes a participant uploads a day", "epsilon"];
    let note = format!(
        "Mean of the last three days; each image's gradient clipped to length 1, noise of deviation {NOISE} to a \
         participant's sum, delta {DELTA}; centralised: the images themselves, once."
    );
    let count = if base == Base::Cnn { "all layers" } else { "last layer only" };
    let title = format!("2: daily rounds, {} ({count})", base.name());
    found.tables.insert(title.clone(), table(&columns, days.iter().map(line).collect(), &note));
    let file = format!("{NAME}-rounds-{}.svg", base.name());
    let point = |(i, &v): (usize, &f64)| (i as f64, v);
    let series: Vec<_> = days
        .iter()
        .map(|d| Series { name: d.way.words(), points: d.curve.iter().enumerate().map(point).collect() })
        .collect();
    curves(&run.out.join(&file), &title, ("day", "validation accuracy, %"), &series)?;
    found.pictures.insert(title, file);
    Ok(())
}

/// Mean of the last three days.
fn end(day: &Day) -> f64 {
    let last = &day.curve[day.curve.len().saturating_sub(3)..];
    last.iter().sum::<f64>() / last.len() as f64
}

fn inversion(run: &Run, inverted: &[Inverted], found: &mut Experiment) -> Result<()> {
    let line = |i: &Inverted| vec![i.upload.words().into(), rounded(i.quality.psnr_db, 1), rounded(i.quality.ssim, 2)];
    let note = "Of a single image's gradient, all layers of the network from scratch; the label is known.";
    let rows = inverted.iter().map(line).collect();
    found.tables.insert("3: gradient inversion".into(), table(&["upload", "PSNR, dB", "SSIM"], rows, note));
    let size = 3 * 32 * 32;
    let count = inverted.first().map_or(0, |i| i.pixels.len() / size);
    let victims = images(run, Part::Test)?.first(count);
    let rows = [vec![&victims.pixels[..]], inverted.iter().map(|i| &i.pixels[..]).collect()].concat();
    grid(&run.out.join(FILE), victims.shape, &rows)?;
    let names: Vec<_> = inverted.iter().map(|i| i.upload.words()).collect();
    found.pictures.insert(format!("Gradient inversion: original, then from {}", names.join(", ")), FILE.into());
    Ok(())
}

const FILE: &str = "gradients-inversion.png";
const LOCAL: &str = "inference runs on the device";
/// Why no picture was rebuilt of uploads of the last layer.
const LAST_LAYER: &str = "not attacked here: a last layer's gradient tells features of an image, not its pixels";

fn row(base: Base, day: &Day, days: &[Day], inverted: &[Inverted]) -> Row {
    let central = days.iter().find(|d| d.way == Way::Central).map_or(f64::NAN, end);
    let parameters = flat(&Model::new(base, &burn::prelude::Device::flex())).len();
    let row = Row::new(format!("selective gradients ({}, {})", base.name(), day.way.words()))
        .with(
            Column::WhoSees,
            Cell::cited("the server sees gradients; images stay with participants, who run the model", PAPER),
        )
        .with(Column::Trust, Cell::cited("that gradients do not tell images", PAPER))
        .with(Column::AccuracyPlain, Cell::measured(central).unit("%").from("centralised training"))
        .with(Column::Accuracy, Cell::measured(end(day)).unit("%"))
        .with(
            Column::DeviceStorageBytes,
            Cell::measured(4.0 * parameters as f64).from("trained parameters, float32; the base not counted"),
        )
        .with(Column::BytesPerInference, Cell::cited(0.0, LOCAL).unit("B"))
        .with(Column::LatencyMs, Cell::cited("-", LOCAL))
        .with(Column::DeviceFlops, Cell::cited("the whole network's", LOCAL))
        .with(Column::Pretrained, Cell::measured(if base == Base::Cnn { "no" } else { "as a frozen base" }))
        .with(Column::SurvivesUpdate, Cell::cited("the update is the method", PAPER))
        .with(Column::Integrity, Cell::cited("none: a participant may upload anything", PAPER));
    let same = |i: &&Inverted| i.upload.words() == day.way.words();
    let (Base::Cnn, Some(attack)) = (base, inverted.iter().find(same)) else {
        let unattacked = [Column::AttackPicture, Column::AttackPsnrDb, Column::AttackSsim, Column::AttackHow];
        return unattacked.into_iter().fold(row, |row, column| row.with(column, Cell::cited("-", LAST_LAYER)));
    };
    row.with(Column::AttackPicture, Cell::measured(attack.upload.words()).picture(FILE))
        .with(Column::AttackPsnrDb, Cell::measured(attack.quality.psnr_db).unit("dB"))
        .with(Column::AttackSsim, Cell::measured(attack.quality.ssim))
        .with(Column::AttackHow, Cell::measured("gradient inversion of one image's upload, label known"))
}
