//! Tables, pictures and rows of experiment 1.

use anyhow::Result;
use burn::prelude::*;

use super::{Matrix, NAME, Plain, Set, Target, Trained, shown};
use crate::attack::Rebuilt;
use crate::export::Graph;
use crate::nets::Obfuscator;
use crate::report::{by_epoch, curves, grid, rounded, stretched, table};
use crate::results::{Cell, Column, Experiment, Row, Value};
use crate::train::{Run, column};

const PAPER: &str = "Leroux et al. 2018";

/// Everything about one obfuscator.
struct Found {
    target: Target,
    plain: Plain,
    trained: Trained,
    attack: Rebuilt,
}

pub(super) fn report(run: &Run, found: &mut Experiment) -> Result<()> {
    for set in Set::ALL {
        let all = set.targets(run).into_iter().map(|t| read(run, set, t)).collect::<Result<Vec<_>>>()?;
        accuracies(set, &all, found);
        transfer(run, set, &all, found)?;
        pictures(run, set, &all, found)?;
        if let Some(first) = all.first() {
            found.rows.push(row(set, first));
        }
        found.differences.push(format!(
            "{}: {} training and {} test images, {} epochs ({} of them as an auto-encoder before the adversary \
             counts; theirs: 100, none so), classifiers of this size and budget instead of theirs.",
            set.name(),
            set.images(run)?.0.len(),
            set.images(run)?.1.len(),
            set.obfuscator_epochs(run),
            set.warm_epochs(run),
        ));
    }
    published(found);
    found.differences.push(
        "Trainings of fewer than 30 epochs have one step of the learning rate, for their last fifth, not one each 30 %. \
         Weight 0.5 of the reconstruction error (the paper names none). The attack here is a decoder trained after \
         the fact against the finished obfuscator; the paper measures the deobfuscator that was beaten in training."
            .into(),
    );
    Ok(())
}

fn read(run: &Run, set: Set, target: Target) -> Result<Found> {
    let job = |kind: &str| format!("{}-{kind}-{}", set.name(), target.name());
    Ok(Found {
        target,
        plain: run.result(NAME, &job("classifier"))?,
        trained: run.result(NAME, &job("obfuscator"))?,
        attack: run.result(NAME, &job("attack"))?,
    })
}

/// Operations and parameters of the obfuscator: as the paper arranges it and as it is run here.
fn cost(set: Set) -> (u64, u64, u64) {
    let net = Obfuscator::new(set.channels(), &Device::flex());
    let count = |as_published| {
        let (mut g, x) = Graph::new(set.shape());
        g.as_published = as_published;
        net.describe(&mut g, &x);
        (g.flops(), g.parameters)
    };
    (count(true).0, count(false).0, count(true).1)
}

fn accuracies(set: Set, all: &[Found], found: &mut Experiment) {
    let (published, run, parameters) = cost(set);
    let line = |f: &Found| -> Vec<Value> {
        vec![
            f.target.name().into(),
            rounded(f.plain.accuracy, 1),
            rounded(f.trained.accuracy, 1),
            rounded(100.0 * run as f64 / f.plain.flops as f64, 1),
            rounded(100.0 * parameters as f64 / f.plain.parameters as f64, 1),
            shown(&f.trained.along).into(),
            shown(&f.attack.quality).into(),
            shown(&f.attack.blind).into(),
        ]
    };
    let columns = [
        "classifier",
        "plain, %",
        "obfuscated, %",
        "FLOPs added, %",
        "parameters added, %",
        "deobfuscator trained along",
        "fresh attacker",
        "blind attacker (mean image)",
    ];
    let note = format!(
        "Obfuscator: {parameters} parameters, {run} FLOPs (two per multiply-accumulate) as run, {published} as the \
         paper arranges it; theirs at 3x32x32: 324,518 parameters and 2.6e7, which counts multiply-accumulates."
    );
    found
        .tables
        .insert(format!("{}: accuracy and cost", set.name()), table(&columns, all.iter().map(line).collect(), &note));
}

fn transfer(run: &Run, set: Set, all: &[Found], found: &mut Experiment) -> Result<()> {
    let matrix: Matrix = run.result(NAME, &format!("{}-transfer-all", set.name()))?;
    let names: Vec<_> = all.iter().map(|f| f.target.name()).collect();
    let columns = [vec!["obfuscator for"], names.clone()].concat();
    let rows = names.iter().zip(&matrix);
    let rows = rows.map(|(&name, row)| [vec![name.into()], row.iter().map(|&a| rounded(a, 1)).collect()].concat());
    let note = "Accuracy in percent of the classifier in the column behind the obfuscator trained for that in the \
     row. Theirs on CIFAR-10: 54-74 % between twins (one architecture, two seeds), 13-48 % to others.";
    found.tables.insert(format!("{}: transfer", set.name()), table(&columns, rows.collect(), note));
    Ok(())
}

fn pictures(run: &Run, set: Set, all: &[Found], found: &mut Experiment) -> Result<()> {
    let unseen = set.images(run)?.1.first(10);
    for f in all {
        let file = file(set, f.target);
        let hidden = stretched(&f.trained.hidden, unseen.size());
        let rows = [&unseen.pixels[..], &hidden, &f.trained.rebuilt, &f.attack.first];
        grid(&run.out.join(&file), unseen.shape, &rows)?;
        let title = format!(
            "{} {}: original, obfuscated, rebuilt by the deobfuscator trained along, by a fresh attacker",
            set.name(),
            f.target.name()
        );
        found.pictures.insert(title, file);
    }
    let file = format!("{NAME}-{}.svg", set.name());
    let series: Vec<_> =
        all.iter().map(|f| by_epoch(f.target.name(), 0, &column(&f.trained.curve, "accuracy"))).collect();
    curves(&run.out.join(&file), &format!("{}: obfuscated accuracy", set.name()), ("epoch", "%"), &series)?;
    found.pictures.insert(format!("{}: obfuscated accuracy by epoch", set.name()), file);
    Ok(())
}

fn file(set: Set, target: Target) -> String {
    format!("{NAME}-{}-{}.png", set.name(), target.name())
}

fn row(set: Set, f: &Found) -> Row {
    let quality = if f.attack.quality.psnr_db > f.trained.along.psnr_db { &f.attack.quality } else { &f.trained.along };
    standing(set, Row::new(format!("obfuscator network ({}, {})", set.name(), f.target.name())))
        .with(Column::AccuracyPlain, Cell::measured(f.plain.accuracy).unit("%"))
        .with(Column::Accuracy, Cell::measured(f.trained.accuracy).unit("%"))
        .with(Column::AttackPicture, Cell::measured("last row").picture(file(set, f.target)))
        .with(Column::AttackPsnrDb, Cell::measured(quality.psnr_db).unit("dB"))
        .with(Column::AttackSsim, Cell::measured(quality.ssim))
        .with(
            Column::AttackHow,
            Cell::measured("the better of a decoder trained after the fact and the deobfuscator trained along"),
        )
        .with(Column::SurvivesUpdate, Cell::cited("no: see the experiment drift", "Hoefer, Salinas Monroy"))
}

/// `row` with what holds of every obfuscator for images of `set`.
pub fn standing(set: Set, row: Row) -> Row {
    let (_, flops, parameters) = cost(set);
    let bytes = 4 * set.shape().iter().product::<usize>();
    row.with(Column::WhoSees, Cell::cited("the server sees the obfuscated image and the answer", PAPER))
        .with(Column::Trust, Cell::cited("that no attacker learns to undo the obfuscation", PAPER))
        .with(Column::DeviceFlops, Cell::measured(flops as f64))
        .with(Column::DeviceStorageBytes, Cell::measured(4.0 * parameters as f64).from("float32 parameters, counted"))
        .with(
            Column::BytesPerInference,
            Cell::measured((bytes + 40) as f64).from("float32 image up, ten logits down, counted"),
        )
        .with(Column::Pretrained, Cell::measured("yes, but an obfuscator has to be trained for it"))
        .with(Column::Integrity, Cell::cited("none", PAPER))
}

fn published(found: &mut Experiment) {
    let rows = [("VGG19", 93.4, 89.3), ("ResNet18", 94.8, 89.8), ("ResNet50", 95.1, 90.2), ("GoogLeNet", 95.2, 90.5)];
    let rows = rows.map(|(name, plain, hidden)| vec![name.into(), plain.into(), hidden.into()]).to_vec();
    let note = "50,000 training images, 100 epochs; 6.7 % more FLOPs for VGG19.";
    found.tables.insert("published, CIFAR-10".into(), table(&["classifier", "plain, %", "obfuscated, %"], rows, note));
}
