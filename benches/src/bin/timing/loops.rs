//! The loops that touch what is secret: scaling, masking, opening, both checks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use twinmask_benches::dudect::{Places, Times, interleaved, timed};
use twinmask_codec::{Counter, GroupId, LayerId};
use twinmask_device::engine::DeviceDir;
use twinmask_kernels::{Scratch, default_kernel, elementwise};
use twinmask_layer::Order;
use twinmask_masking::integrity::Checker;
use twinmask_masking::mask::PIECE;
use twinmask_masking::{Answer, DeviceKeys, InferenceMasks, Integrity, Masker, Opening, Pending, SessionSeed};
use twinmask_model::bundle::DeviceBundle;
use twinmask_model::plan::Plan;
use twinmask_ring::keys::MaskKey;
use twinmask_ring::prf::{Algorithm, Key};
use twinmask_testkit::InMemory;

use crate::row::Row;

/// Of the activations.
pub(crate) const CLASSES: [&str; 3] = ["zeros", "random", "saturated"];

/// Masked tensors of each class, and how often they are made anew, so that where one happens to lie in memory does not
/// matter.
const INSTANCES: usize = 8;
const BATCHES: usize = 6;

/// One layer whose input is measured.
struct Subject {
    dir: PathBuf,
    plan: Plan,
    g: GroupId,
    l: LayerId,
    k: u32,
    /// By class: activations, their integers, and `W·x`, these in the order in which they travel.
    floats: Vec<Vec<f32>>,
    x: Vec<Vec<i32>>,
    y: Vec<Vec<i32>>,
}

fn bundle(dir: &Path) -> Result<DeviceBundle> {
    Ok(DeviceDir::open(dir)?.load(None)?)
}

impl Subject {
    /// The largest input behind the first round.
    fn new(deployment: &InMemory) -> Result<Subject> {
        let dir = deployment.device_dir();
        let bundle = bundle(&dir)?;
        let plan = bundle.model.plan.clone();
        let (g, group) =
            plan.numbered_groups().skip(1).max_by_key(|(_, group)| group.in_len()).context("a network of one layer")?;
        let (l, n, k) = (group.layers()[0], group.in_len(), group.k());
        let words = Key::derive("bench", &[b"activations"]).elements(0, 24, n);
        let random = words.iter().map(|&w| w as f32 / (1 << 24) as f32).collect();
        let floats: Vec<Vec<f32>> = vec![vec![0.0; n], random, vec![1.0; n]];
        let x: Vec<Vec<i32>> = floats
            .iter()
            .map(|floats| {
                let mut x = vec![0; n];
                let scale = elementwise::scale_of(floats, group.x_bits(), group.signed())?;
                elementwise::quantize(floats, scale, &mut x);
                Ok(x)
            })
            .collect::<Result<_>>()?;
        let geometry = plan.layer(l).geometry();
        let layer = default_kernel().prepare(geometry, &bundle.rows[l.index()].weights, k);
        let y = x.iter().map(|x| {
            let (x, mut y): (Vec<u32>, _) = (x.iter().map(|&x| x as u32).collect(), vec![0; geometry.out_len()]);
            layer.apply(&x, &mut y, &mut Scratch::default());
            y.into_iter().map(|y| twinmask_ring::centre(y, k)).collect()
        });
        let y = y.map(|y: Vec<i32>| travelling(plan.output_order(l), &y)).collect();
        let x = x.iter().map(|x| travelling(plan.input_order(g), x)).collect();
        Ok(Subject { dir, g, l, k, floats, x, y, plan })
    }
}

/// A tensor as it travels.
fn travelling(order: &Order, tensor: &[i32]) -> Vec<i32> {
    (0..order.count()).flat_map(|j| order.gather(j, tensor)).flatten().copied().collect()
}

/// A tensor that has been masked, and an honest answer to it: two shares, or their sum alone.
struct Masked {
    masks: InferenceMasks,
    pending: Pending,
    z: Vec<u32>,
}

/// Masks, opens and checks with one setting of the checks.
struct Bench<'a> {
    of: &'a Subject,
    checker: Checker,
    masker: Masker,
    counter: u64,
}

impl Bench<'_> {
    fn new<'a>(of: &'a Subject, integrity: &str) -> Result<Bench<'a>> {
        let mut bundle = bundle(&of.dir)?;
        let keys = Arc::new(DeviceKeys::expand(&bundle)?);
        let checker = Checker::new(integrity.parse::<Integrity>()?, &mut bundle)?;
        let masker = Masker::new(
            keys,
            Algorithm::available()[0],
            SessionSeed::generate().keys(&MaskKey::new([1; 32]), &[2; 32]),
        );
        Ok(Bench { of, checker, masker, counter: 0 })
    }

    /// The masks of the next inference, expanded as a device does while it waits.
    fn masks(&mut self) -> Result<InferenceMasks> {
        self.counter += 1;
        let mut masks = self.masker.begin(Counter::new(self.counter))?;
        masks.expand_ahead(&[self.of.g]);
        Ok(masks)
    }

    /// Masks `x` as a device does.
    fn mask(&self, masks: &mut InferenceMasks, x: &[i32], out: &mut Vec<u8>) -> Result<Pending> {
        out.clear();
        let mut masking = masks.mask(self.of.g, &self.checker)?;
        let order = self.of.plan.input_order(self.of.g);
        for piece in (0..order.count()).flat_map(|j| x[order.stripe(j)].chunks(PIECE)) {
            masking.push(piece, out)?;
        }
        Ok(masking.finish()?)
    }

    fn masking(&mut self, n: usize) -> Result<Row> {
        let (mut out, mut x, mut places) = (Vec::new(), self.of.x[0].clone(), Places::new(self.of.x.clone()));
        let times = interleaved(CLASSES.len(), n, |class| {
            places.copy(class, &mut x);
            let mut masks = self.masks()?;
            Ok(timed(|| self.mask(&mut masks, &x, &mut out)))
        })?;
        Ok(Row::of("mask, pack, one side of Freivalds", &times))
    }

    /// Openings of `masked`, for as many times.
    fn begin(&self, masked: &mut Masked, times: usize) -> Vec<Opening<'_>> {
        (0..times).map(|_| masked.masks.open(self.of.l, &self.checker, false)).collect()
    }

    /// Opens the answer as a device does, in pieces: all of it is `W·x`, or a check fails.
    fn open(
        &self,
        mut opening: Opening<'_>,
        masked: &mut Masked,
        z: &[u32],
        z_a: Option<&[u32]>,
        y: &mut [i32],
    ) -> Result<()> {
        for (i, z) in z.chunks(PIECE).enumerate() {
            let y = &mut y[i * PIECE..][..z.len()];
            match z_a {
                Some(z_a) => opening.push(Answer::Pair { z_a: &z_a[i * PIECE..][..z.len()], z_b: z }, y),
                None => opening.push(Answer::Sum(z), y),
            }
        }
        Ok(opening.finish(&mut masked.masks, &masked.pending)?)
    }

    /// A tensor of `class` with its answer.
    fn masked(&mut self, class: usize, z_a: Option<&[u32]>, unchecked: &Bench<'_>) -> Result<Masked> {
        let (len, keep) = (self.of.y[class].len(), twinmask_ring::mask(self.of.k));
        let mut masks = self.masks()?;
        let pending = self.mask(&mut masks, &self.of.x[class], &mut Vec::new())?;
        let mut masked = Masked { masks, pending, z: Vec::new() };
        // The answer 0 opens as what is taken off every answer: an honest one is that much above W·x.
        let mut off = vec![0; len];
        let mut open = |bench: &Bench<'_>, z: &[u32], y: &mut [i32]| {
            let openings = bench.begin(&mut masked, 1);
            openings.into_iter().try_for_each(|opening| bench.open(opening, &mut masked, z, z_a, y))
        };
        open(unchecked, &vec![0; len], &mut off)?;
        let z: Vec<u32> = self.of.y[class].iter().zip(off).map(|(y, off)| y.wrapping_sub(off) as u32 & keep).collect();
        open(self, &z, &mut vec![0; len]).context("the honest answer")?;
        masked.z = z;
        Ok(masked)
    }

    fn opening(&mut self, what: &str, split: bool, n: usize) -> Result<Row> {
        let len = self.of.y[0].len();
        let z_a = split.then(|| Key::derive("bench", &[b"z_A"]).elements(0, self.of.k, len));
        let unchecked = Bench::new(self.of, "none")?;
        let (mut z, mut y) = (vec![0; len], vec![0; len]);
        let mut samples: Times = vec![Vec::new(); CLASSES.len()];
        for batch in 0..BATCHES {
            // In the next batch another class lies where this one does.
            let class_of = |i: usize| (i + batch) % CLASSES.len();
            let mut instances = Vec::new();
            for i in 0..INSTANCES * CLASSES.len() {
                instances.push(self.masked(class_of(i), z_a.as_deref(), &unchecked)?);
            }
            let (mut turn, first) = (0, (0..CLASSES.len()).map(|class| (0..).position(|i| class_of(i) == class)));
            let first: Vec<usize> = first.flatten().collect();
            let of_batch = interleaved(CLASSES.len(), n / BATCHES, |class| {
                turn += 1;
                let masked = &mut instances[turn % INSTANCES * CLASSES.len() + first[class]];
                z.copy_from_slice(&masked.z);
                let openings = self.begin(masked, times(len) as usize);
                let count = openings.len() as u32;
                let mut open = |opening| self.open(opening, masked, &z, z_a.as_deref(), &mut y);
                let work = || openings.into_iter().for_each(|opening| drop(std::hint::black_box(open(opening))));
                Ok(timed(work) / count)
            })?;
            samples.iter_mut().zip(of_batch).for_each(|(all, more)| all.extend(more));
        }
        Ok(Row::of(what, &samples))
    }
}

/// How often work on `len` elements is repeated: often enough that the clock's step does not show.
fn times(len: usize) -> u32 {
    (20_000 / len).clamp(1, 16) as u32
}

/// Of work on `len` elements that is the same again.
fn repeated<T>(len: usize, mut work: impl FnMut() -> T) -> Duration {
    let times = times(len);
    timed(|| (0..times).for_each(|_| drop(std::hint::black_box(work())))) / times
}

/// A control that leaks, and the loops, each with `n` samples of a class.
pub(crate) fn measure(deployment: &InMemory, n: usize) -> Result<(Row, Vec<Row>)> {
    let subject = Subject::new(deployment)?;
    let group = subject.plan.group(subject.g);
    let (bits, signed) = (group.x_bits(), group.signed());
    let (mut floats, mut places) = (subject.floats[0].clone(), Places::new(subject.floats.clone()));
    let scale = interleaved(CLASSES.len(), n, |class| {
        places.copy(class, &mut floats);
        Ok(repeated(floats.len(), || elementwise::scale_of(&floats, bits, signed).is_ok()))
    })?;
    let mut x = subject.x[0].clone();
    let quantize = interleaved(CLASSES.len(), n, |class| {
        places.copy(class, &mut floats);
        let scale = elementwise::scale_of(&floats, bits, signed)?;
        Ok(repeated(floats.len(), || elementwise::quantize(&floats, scale, &mut x)))
    })?;
    let (mut y, mut out, mut places) =
        (subject.y[0].clone(), vec![0.0; subject.y[0].len()], Places::new(subject.y.clone()));
    let rescale = interleaved(CLASSES.len(), n, |class| {
        places.copy(class, &mut y);
        Ok(repeated(y.len(), || elementwise::rescale(&y, 1e-4, -0.1, 0.0, &mut out)))
    })?;
    let mut places = Places::new(subject.x.clone());
    let control = interleaved(CLASSES.len(), n, |class| {
        places.copy(class, &mut x);
        Ok(timed(|| x.iter().position(|&x| x != 0)))
    })?;
    let rows = vec![
        Row::of("largest magnitude", &scale),
        Row::of("quantize", &quantize),
        Bench::new(&subject, "sample:16+freivalds")?.masking(n)?,
        Bench::new(&subject, "none")?.opening("unmask (relay)", false, n)?,
        Bench::new(&subject, "none")?.opening("unmask (split)", true, n)?,
        Bench::new(&subject, "freivalds")?.opening("unmask (relay), Freivalds", false, n)?,
        Bench::new(&subject, "sample:16")?.opening("unmask (relay), sample:16", false, n)?,
        Row::of("rescale, bias, ReLU", &rescale),
    ];
    Ok((Row::of("first element that is not zero", &control), rows))
}
