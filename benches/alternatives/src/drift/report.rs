//! Curves, bars, pictures of experiment 2.

use anyhow::Result;

use super::{Classified, NAME, epochs, images};
use crate::attack::Rebuilt;
use crate::obfuscator::{Set, Trained, shown, standing};
use crate::report::{bars, by_epoch, curves, grid, rounded, stretched, table};
use crate::results::{Cell, Column, Experiment, Row, Value};
use crate::train::{Run, column};

pub(super) fn report(run: &Run, found: &mut Experiment) -> Result<()> {
    let [first, update]: [Classified; 2] = [run.result(NAME, "classifier")?, run.result(NAME, "update")?];
    let [old, renewed]: [Trained; 2] = [run.result(NAME, "obfuscator")?, run.result(NAME, "renewed")?];
    let attack: Rebuilt = run.result(NAME, "attack")?;
    let after = update.obfuscated.unwrap_or(f64::NAN);
    lines(run, &update, &old, &renewed, found)?;
    let values = [
        ("classifier, half of the data", first.plain),
        ("with its obfuscator", old.accuracy),
        ("classifier, updated", update.plain),
        ("with the old obfuscator", after),
        ("with the retrained obfuscator", renewed.accuracy),
    ];
    let file = format!("{NAME}-bars.svg");
    bars(&run.out.join(&file), "Accuracy before and after the update", "%", &values)?;
    found.pictures.insert("Accuracy before and after".into(), file);
    let published: [Value; 5] = [70.8.into(), 40.7.into(), 81.5.into(), 20.5.into(), "73 after 100 epochs".into()];
    let rows = values.iter().zip(published).map(|((name, v), p)| vec![(*name).into(), rounded(*v, 1), p]).collect();
    let passed = passed(&renewed, old.accuracy);
    let note = format!(
        "Accuracy before the update passed again after {passed} epochs (theirs: 5). Deobfuscator trained along, old: \
         {}; retrained: {}. \
         Fresh attacker on the old one: {}.",
        shown(&old.along),
        shown(&renewed.along),
        shown(&attack.quality)
    );
    found.tables.insert("accuracy".into(), table(&["", "measured, %", "published, %"], rows, &note));
    pictures(run, &old, &renewed, &attack, found)?;
    found.rows.push(row(&update, &old, &attack, after));
    differences(run, found);
    Ok(())
}

/// Epochs until the retrained obfuscator was better than the old one had been.
fn passed(renewed: &Trained, before: f64) -> String {
    let at = column(&renewed.curve, "accuracy").iter().position(|&a| a > before);
    at.map_or_else(|| format!("more than {}", renewed.curve.len()), |i| (i + 1).to_string())
}

fn lines(run: &Run, update: &Classified, old: &Trained, renewed: &Trained, found: &mut Experiment) -> Result<()> {
    let trained = by_epoch("obfuscated, obfuscator trained", 0, &column(&old.curve, "accuracy"));
    let start = old.curve.len();
    let plain = by_epoch("plain, classifier updated", start, &column(&update.curve, "plain"));
    let fixed = by_epoch("obfuscated, old obfuscator", start, &column(&update.curve, "obfuscated"));
    let after = start + update.curve.len();
    let again = by_epoch("obfuscated, obfuscator retrained", after, &column(&renewed.curve, "accuracy"));
    let file = format!("{NAME}-curves.svg");
    let series = [trained, plain, fixed, again];
    curves(&run.out.join(&file), "A classifier is updated", ("epoch", "test accuracy, %"), &series)?;
    found.pictures.insert("Accuracy by epoch".into(), file);
    Ok(())
}

fn pictures(run: &Run, old: &Trained, renewed: &Trained, attack: &Rebuilt, found: &mut Experiment) -> Result<()> {
    let unseen = images(run)?.1.first(10);
    let hidden = [old, renewed].map(|t| stretched(&t.hidden, unseen.size()));
    let rows = [&unseen.pixels[..], &hidden[0], &old.rebuilt, &attack.first, &hidden[1], &renewed.rebuilt];
    let file = format!("{NAME}.png");
    grid(&run.out.join(&file), unseen.shape, &rows)?;
    let title = "Original; obfuscated, rebuilt by the deobfuscator trained along, by a fresh attacker; \
                 obfuscated and rebuilt after retraining";
    found.pictures.insert(title.into(), file);
    Ok(())
}

fn row(update: &Classified, old: &Trained, attack: &Rebuilt, after: f64) -> Row {
    let along = old.along.psnr_db > attack.quality.psnr_db;
    let (best, file_row) = if along { (&old.along, "third row") } else { (&attack.quality, "fourth row") };
    let told = format!("no: {:.1} % before the update of the classifier, {after:.1} % after it", old.accuracy);
    standing(Set::Cifar, Row::new("obfuscator network after a model update (cifar)"))
        .with(Column::AccuracyPlain, Cell::measured(update.plain).unit("%"))
        .with(Column::Accuracy, Cell::measured(after).unit("%"))
        .with(Column::AttackPsnrDb, Cell::measured(best.psnr_db).unit("dB"))
        .with(Column::AttackSsim, Cell::measured(best.ssim))
        .with(
            Column::AttackHow,
            Cell::measured("the better of a decoder trained after the fact and the deobfuscator trained along"),
        )
        .with(Column::AttackPicture, Cell::measured(file_row).picture(format!("{NAME}.png")))
        .with(Column::SurvivesUpdate, Cell::measured(told))
}

fn differences(run: &Run, found: &mut Experiment) {
    let [before, after, first, warm, again] = epochs(run);
    found.differences.push(format!(
        "CIFAR-10 with {} images instead of 50,000; ResNet-8; epochs: classifier {before}, then {after} with all \
         data and flips; obfuscator {first} ({warm} of them as an auto-encoder), retrained {again} from the old one.",
        images(run).map_or(0, |i| i.0.len())
    ));
    found.differences.push("What the same update costs in twinmask stands in the experiment `twinmask`.".into());
}
