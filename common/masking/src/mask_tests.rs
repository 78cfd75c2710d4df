use super::*;
use crate::freivalds::Secrets;
use crate::integrity::{Integrity, Liar};
use crate::{DeviceKeys, MaskError, Masker};
use std::collections::BTreeMap;
use std::sync::Arc;
use twinmask_codec::{Counter, GroupId, LayerId, RoundId};
use twinmask_kernels::naive;
use twinmask_layer::{Conv, Fc, Geometry, Order};
use twinmask_model::bundle::{DeviceBundle, DeviceModel, Rows};
use twinmask_model::graph::Graph;
use twinmask_model::plan::{GroupParts, LayerParts, Plan, PlanParts};
use twinmask_model::preprocess::Preprocess;
use twinmask_model::ring_plan::Profile;
use twinmask_ring::keys::{MaskKey, SessionKeys};
use twinmask_ring::prf::Algorithm;
use twinmask_ring::{mask as low_bits, pack};
use twinmask_testkit as testkit;
use zeroize::Zeroizing;

#[path = "secrecy_tests.rs"]
mod secrecy;

struct World {
    plan: Plan,
    weights: Vec<Vec<i16>>,
    bundle: DeviceBundle,
}

/// Two sibling convolutions and a fully connected layer, with the keys that an owner would make.
fn world() -> World {
    world_of(9, 8)
}

/// The same with convolutions of an image so large that it travels in stripes.
fn striped() -> World {
    let w = world_of(150, 99);
    assert!(w.plan.stripes(RoundId::new(0)) > 2);
    w
}

fn world_of(h: u32, width: u32) -> World {
    let conv = |c_out, kernel, pad| Geometry::Conv(Conv { w: width, ..Conv::square([3, c_out], h, kernel, 1, pad) });
    let geometries = [conv(4, 3, 1), conv(5, 1, 0), Geometry::Fc(Fc { rows: 1, inputs: 40, outputs: 6 })];
    let weights: Vec<Vec<i16>> =
        geometries.iter().enumerate().map(|(i, g)| testkit::weights(&format!("w{i}"), g.weight_len())).collect();
    let layer = |i: usize, group| {
        let bound = 127 * geometries[i].fan_in() as u64 * 127;
        LayerParts { name: format!("layer{i}"), geometry: geometries[i], group: GroupId::new(group), w_bits: 8, bound }
    };
    let group = |len, k, layers| GroupParts { len, k, x_bits: 7, signed: true, layers };
    let plan = Plan::new(PlanParts {
        layers: vec![layer(0, 0), layer(1, 0), layer(2, 1)],
        groups: vec![
            group(3 * h * width, 24, vec![LayerId::new(0), LayerId::new(1)]),
            group(40, 32, vec![LayerId::new(2)]),
        ],
        rounds: vec![vec![GroupId::new(0)], vec![GroupId::new(1)]],
    })
    .expect("valid plan");
    let (key, digest) = ([3u8; 32], [4u8; 32]);
    let s_out = plan
        .layer_ids()
        .map(|l| {
            let g = plan.layer(l).group();
            let k = plan.k_of(l);
            let s = crate::keys::s_in(&key, &digest, g, k, plan.group(g).in_len());
            let z = naive::apply(&geometries[l.index()], &weights[l.index()], &s);
            let mut packed = Vec::new();
            pack::pack(&z, k, &mut packed);
            Zeroizing::new(packed)
        })
        .collect();
    let rows = weights
        .iter()
        .zip(&geometries)
        .map(|(w, g)| Rows { channels: (0..g.out_channels() as u32).collect(), weights: w.clone() })
        .collect();
    let model = DeviceModel {
        model: "test".into(),
        version: 1,
        digest,
        profile: Profile::Balanced,
        plan: plan.clone(),
        graph: Graph { constants: BTreeMap::new(), ..Graph::default() },
        layers: vec![],
        preprocess: Preprocess::preset("unit").expect("a preset"),
        labels: vec![],
        threshold: None,
    };
    let projections = (0..3)
        .map(|l| {
            Secrets::expand(&key, &digest, LayerId::new(l), &geometries[l as usize])
                .project(&geometries[l as usize], &weights[l as usize])
        })
        .collect();
    World {
        plan,
        weights,
        bundle: DeviceBundle { model, issued: 0, key: Zeroizing::new(key), s_out, rows, projections },
    }
}

fn inputs(plan: &Plan, g: usize) -> Vec<i32> {
    testkit::uniform(&format!("x{g}"), plan.group(GroupId::at(g)).in_len(), 32)
        .iter()
        .map(|w| (w % 255) as i32 - 127)
        .collect()
}

/// What an honest edge answers.
fn edge(w: &World, l: usize, share: &[u32]) -> Vec<u32> {
    let z = naive::apply(w.plan.layer(LayerId::at(l)).geometry(), &w.weights[l], share);
    z.iter().map(|v| v & low_bits(w.plan.k_of(LayerId::at(l)))).collect()
}

fn checker(samples: u32, freivalds: bool) -> Checker {
    checker_of(&mut world(), samples, freivalds)
}

fn checker_of(w: &mut World, samples: u32, freivalds: bool) -> Checker {
    Checker::new(Integrity { samples, freivalds }, &mut w.bundle).expect("rows are there")
}

fn masker(w: &World) -> Masker {
    let keys = Arc::new(DeviceKeys::expand(&w.bundle).expect("own keys"));
    Masker::new(keys, Algorithm::ChaCha20, SessionKeys::new(&MaskKey::new([1; 32]), &[9; 32], &[2; 32]))
}

/// A masked tensor and what each edge has of it.
struct Masked {
    masks: InferenceMasks,
    pending: Pending,
    share_a: Vec<u32>,
    share_b: Vec<u32>,
}

/// `tensor` as it travels, and back.
fn travelling<T: Copy>(order: &Order, tensor: &[T]) -> Vec<T> {
    (0..order.count()).flat_map(|j| order.gather(j, tensor)).flatten().copied().collect()
}

fn arrived<T: Copy + Default>(order: &Order, travelled: &[T]) -> Vec<T> {
    let mut tensor = vec![T::default(); travelled.len()];
    order.runs(0..travelled.len()).flatten().zip(travelled).for_each(|(i, &v)| tensor[i] = v);
    tensor
}

/// Masks `x` in pieces of many lengths; edge B's share beside what is pending.
fn mask(
    masks: &mut InferenceMasks,
    w: &World,
    check: &Checker,
    g: usize,
    x: &[i32],
) -> Result<(Pending, Vec<u32>), MaskError> {
    let (k, order) = (w.plan.group(GroupId::at(g)).k(), w.plan.input_order(GroupId::at(g)));
    let mut masking = masks.mask(GroupId::at(g), check)?;
    // A tensor of another length has no order.
    let fits = x.len() == w.plan.group(GroupId::at(g)).in_len();
    let (x, count) = if fits { (travelling(order, x), order.count()) } else { (x.to_vec(), 1) };
    let mut share_b = Vec::new();
    for j in 0..count {
        let stripe = if fits { order.stripe(j) } else { 0..x.len() };
        let (mut rest, mut out, mut share) = (&x[stripe.clone()], Vec::new(), vec![0; stripe.len()]);
        for n in [8, 24, 1000, 1600, usize::MAX] {
            let (piece, behind) = rest.split_at(rest.len().min(n));
            masking.push(piece, &mut out)?;
            rest = behind;
        }
        pack::unpack(&out, k, &mut share).expect("packed");
        share_b.extend(share);
    }
    let pending = masking.finish()?;
    Ok((pending, arrived(order, &share_b)))
}

/// Group `g`'s tensor under the masks of inference `counter`.
fn masked(masker: &mut Masker, w: &World, check: &Checker, counter: u64, g: usize) -> Masked {
    let mut masks = masker.begin(Counter::new(counter)).expect("fresh counter");
    if counter.is_multiple_of(3) {
        masks.expand_ahead(&[GroupId::at(g)]);
    }
    let x = inputs(&w.plan, g);
    let (pending, share_b) = mask(&mut masks, w, check, g, &x).expect("fits");
    Masked { share_a: masks.share_a(&pending, x.len()).to_vec(), masks, pending, share_b }
}

/// Opens the answers to each layer of a group, in pieces.
fn open(
    m: &mut Masked,
    w: &World,
    check: &Checker,
    answers: &[Answer<'_>],
    dropped: bool,
) -> Result<Vec<Vec<i32>>, IntegrityError> {
    let open = |(i, answer): (usize, &Answer<'_>)| {
        let l = w.plan.group(m.pending.group()).layers()[i];
        let (order, mut opening) = (w.plan.output_order(l), m.masks.open(l, check, dropped));
        let [a, b] = match answer {
            Answer::Pair { z_a, z_b } => [travelling(order, z_a), travelling(order, z_b)],
            Answer::Sum(z) => [travelling(order, z), Vec::new()],
        };
        let n = a.len();
        let mut y = vec![0; n];
        for (from, to) in [(0, n / 3), (n / 3, n)] {
            let piece = match *answer {
                Answer::Pair { .. } => Answer::Pair { z_a: &a[from..to], z_b: &b[from..to] },
                Answer::Sum(_) => Answer::Sum(&a[from..to]),
            };
            opening.push(piece, &mut y[from..to]);
        }
        opening.finish(&mut m.masks, &m.pending).map(|()| arrived(order, &y))
    };
    answers.iter().enumerate().map(open).collect()
}

/// `W·x` from the definition.
fn plain(w: &World, l: usize) -> Vec<i32> {
    let x: Vec<u32> = inputs(&w.plan, w.plan.layer(LayerId::at(l)).group().index()).iter().map(|&v| v as u32).collect();
    let y = naive::apply(w.plan.layer(LayerId::at(l)).geometry(), &w.weights[l], &x);
    y.into_iter().map(|v| v as i32).collect()
}

/// What edge A answers: `W·R + T`.
fn edge_a(w: &World, m: &Masked, l: usize) -> Vec<u32> {
    let k = w.plan.k_of(LayerId::at(l));
    let mut t = vec![0; w.plan.layer(LayerId::at(l)).geometry().out_len()];
    m.masks.t.fill(l as u64, k, &mut t);
    edge(w, l, &m.share_a).into_iter().zip(t).map(|(z, t)| z.wrapping_add(t) & low_bits(k)).collect()
}

/// What edge B answers in mode `relay`, edge A's answer being its correction.
fn relayed(w: &World, m: &Masked, l: usize) -> Vec<u32> {
    let (z, correction) = (edge(w, l, &m.share_b), edge_a(w, m, l));
    z.iter().zip(correction).map(|(z, c)| z.wrapping_add(c) & low_bits(w.plan.k_of(LayerId::at(l)))).collect()
}

/// What the owner computes with the kernel is what the definition gives.
#[test]
fn the_owners_s_out_is_that_of_the_oracle() {
    let w = world();
    assert_eq!(crate::keys::s_out(&w.bundle.key, &w.bundle.model.digest, &w.plan, &w.weights), w.bundle.s_out);
}

#[test]
fn unmasked_answers_are_the_plain_integers() {
    [(world(), 6), (striped(), 3)].into_iter().for_each(|(w, counters)| unmasked_answers(w, counters));
}

fn unmasked_answers(mut w: World, counters: u64) {
    let check = checker_of(&mut w, 16, true);
    let mut masker = masker(&w);
    for counter in 0..counters {
        for (g, group) in w.plan.groups().iter().enumerate() {
            let mut m = masked(&mut masker, &w, &check, 2 * counter + g as u64, g);
            let layers = || group.layers().iter().map(|l| l.index());
            let pairs: Vec<_> = layers().map(|l| (edge_a(&w, &m, l), edge(&w, l, &m.share_b))).collect();
            let sums: Vec<_> = layers().map(|l| relayed(&w, &m, l)).collect();
            let answers: Vec<Answer<'_>> = if counter % 2 == 0 {
                pairs.iter().map(|(z_a, z_b)| Answer::Pair { z_a, z_b }).collect()
            } else {
                sums.iter().map(|z| Answer::Sum(z)).collect()
            };
            let opened = open(&mut m, &w, &check, &answers, false).expect("honest");
            assert!(layers().zip(opened).all(|(l, y)| y == plain(&w, l)), "group {g}, counter {counter}");
        }
    }
}

#[test]
fn dropped_bits_cost_no_more_than_their_bound() {
    let w = world();
    let mut masker = masker(&w);
    let check = checker(16, false);
    let f = w.plan.drop_bits(LayerId::new(2));
    assert!(f > 0, "the fixture's bound leaves bits to drop");
    let mut worst = [0i64; 2];
    for counter in 0..40 {
        let mut m = masked(&mut masker, &w, &check, counter, 1);
        let cut = |z: Vec<u32>| z.into_iter().map(|z| z >> f).collect::<Vec<_>>();
        let (z_a, z_b) = (cut(edge_a(&w, &m, 2)), cut(edge(&w, 2, &m.share_b)));
        let sum = cut(relayed(&w, &m, 2));
        let relay = counter % 2 == 1;
        let answer = if relay { Answer::Sum(&sum) } else { Answer::Pair { z_a: &z_a, z_b: &z_b } };
        let y = open(&mut m, &w, &check, &[answer], true).expect("honest");
        let errors = y[0].iter().zip(plain(&w, 2)).map(|(&y, p)| (i64::from(y) - i64::from(p)).abs());
        let bound = if relay { 1 << (f - 1) } else { (1 << f) - 1 };
        for error in errors {
            assert!(error <= bound, "counter {counter}: off by {error}, bound {bound}");
            worst[usize::from(relay)] = worst[usize::from(relay)].max(error);
        }
    }
    assert!(worst.iter().all(|&e| e > 1 << (f - 2)), "bits were really dropped: {worst:?}");
}

/// One step of what is left of an output, at one position, in either mode: the smallest lie there is with dropped bits.
#[test]
fn a_lie_is_found_with_dropped_bits_too() {
    let (w, check) = (world(), checker(200, false));
    let mut masker = masker(&w);
    let (k, f) = (w.plan.k_of(LayerId::new(2)), w.plan.drop_bits(LayerId::new(2)));
    for counter in 0..40 {
        let mut m = masked(&mut masker, &w, &check, counter, 1);
        let cut = |z: Vec<u32>| z.into_iter().map(|z| z >> f).collect::<Vec<_>>();
        let lied = |z: &[u32], by: u32| {
            let mut z = z.to_vec();
            z[counter as usize % 6] = z[counter as usize % 6].wrapping_add(by) & low_bits(k - f);
            z
        };
        let (z_a, z_b) = (cut(edge_a(&w, &m, 2)), cut(edge(&w, 2, &m.share_b)));
        let sum = cut(relayed(&w, &m, 2));
        for by in [1, u32::MAX] {
            let (bad_a, bad_b, bad_sum) = (lied(&z_a, by), lied(&z_b, by), lied(&sum, by));
            let cases = [
                (Answer::Pair { z_a: &bad_a, z_b: &z_b }, Liar::A),
                (Answer::Pair { z_a: &z_a, z_b: &bad_b }, Liar::B),
                (Answer::Sum(&bad_sum), Liar::Unknown),
            ];
            for (answer, liar) in cases {
                let error = open(&mut m, &w, &check, &[answer], true).expect_err("caught");
                assert_eq!(error, IntegrityError::Sample { layer: "layer2".into(), liar, positions: 200 });
            }
        }
    }
}

#[test]
fn a_mask_is_used_once() {
    let (w, check) = (world(), checker(0, false));
    let mut masker = masker(&w);
    let mut masks = masker.begin(Counter::new(5)).expect("fresh counter");
    let x = inputs(&w.plan, 0);
    mask(&mut masks, &w, &check, 0, &x).expect("first");
    assert_eq!(mask(&mut masks, &w, &check, 0, &x).expect_err("second"), MaskError::GroupUsed(GroupId::new(0)));
    let five = Counter::new(5);
    assert_eq!(masker.begin(five).expect_err("again"), MaskError::CounterUsed { counter: five, last: five });
    assert!(masker.begin(Counter::new(4)).is_err());
    masker.begin(Counter::new(6)).expect("ascending");
}

#[test]
fn inputs_out_of_range_are_refused() {
    let (w, check) = (world(), checker(0, false));
    let mut masker = masker(&w);
    let mut counter = 0;
    let mut refused = |x: &[i32]| {
        counter += 1;
        let mut masks = masker.begin(Counter::new(counter)).expect("fresh counter");
        matches!(mask(&mut masks, &w, &check, 0, x), Err(MaskError::Input { .. }))
    };
    let mut x = inputs(&w.plan, 0);
    assert!(!refused(&x));
    assert!(refused(&x[1..]) && refused(&[x.as_slice(), &[0]].concat()));
    for bad in [128, -128, i32::MIN] {
        x[7] = bad;
        assert!(refused(&x), "{bad}");
    }
    x[7] = -127;
    assert!(!refused(&x));
}

#[test]
fn the_liar_is_named() {
    let (w, check) = (world(), checker(1, false));
    let mut masker = masker(&w);
    // Every output wrong by one: a single sampled position suffices.
    let lied = |z: Vec<u32>, lie: u32| z.into_iter().map(|z| z.wrapping_add(lie)).collect::<Vec<_>>();
    for (counter, (lie_a, lie_b, liar)) in
        [(1, 0, Liar::A), (0, 1, Liar::B), (1, 1, Liar::Both)].into_iter().enumerate()
    {
        let mut m = masked(&mut masker, &w, &check, counter as u64, 1);
        let z_a = lied(edge_a(&w, &m, 2), lie_a);
        let z_b = lied(edge(&w, 2, &m.share_b), lie_b);
        let answers = [Answer::Pair { z_a: &z_a, z_b: &z_b }];
        let error = open(&mut m, &w, &check, &answers, false).expect_err("caught");
        assert_eq!(error, IntegrityError::Sample { layer: "layer2".into(), liar, positions: 1 });
    }
    let mut m = masked(&mut masker, &w, &check, 9, 1);
    let z = lied(relayed(&w, &m, 2), 1);
    let sum = [Answer::Sum(&z)];
    let error = open(&mut m, &w, &check, &sum, false).expect_err("caught");
    assert_eq!(error, IntegrityError::Sample { layer: "layer2".into(), liar: Liar::Unknown, positions: 1 });
}

#[test]
fn one_wrong_output_in_n_is_missed_as_often_as_the_protocol_says() {
    let w = world();
    let mut masker = masker(&w);
    let check = checker(4, false);
    let (trials, mut missed) = (2000u32, 0u32);
    for counter in 0..trials {
        let mut m = masked(&mut masker, &w, &check, counter.into(), 1);
        let (z_a, mut z_b) = (edge_a(&w, &m, 2), edge(&w, 2, &m.share_b));
        z_b[3] ^= 1;
        let answers = [Answer::Pair { z_a: &z_a, z_b: &z_b }];
        missed += u32::from(open(&mut m, &w, &check, &answers, false).is_ok());
    }
    // (1 - 1/6)^4 = 0.482; the bounds are six standard deviations away.
    let rate = f64::from(missed) / f64::from(trials);
    assert!((0.41..0.55).contains(&rate), "{rate}");
}

/// What an edge learns from silence: it falsifies one channel after the other, and where nobody complains the device
/// has no row of it. Under Freivalds every lie is answered alike.
#[test]
fn silence_tells_an_edge_which_rows_a_device_has_unless_freivalds_runs() {
    let w = world();
    let held = [1, 4];
    let complaints = |freivalds| {
        let mut bundle = world().bundle;
        let fan_in = w.plan.layer(LayerId::new(2)).geometry().fan_in();
        let weights = held.iter().flat_map(|&c| w.weights[2][c as usize * fan_in..][..fan_in].to_vec()).collect();
        bundle.rows[2] = Rows { channels: held.to_vec(), weights };
        let check = Checker::new(Integrity { samples: 100, freivalds }, &mut bundle).expect("rows are there");
        let mut masker = masker(&w);
        let caught = |&channel: &u32| {
            let mut m = masked(&mut masker, &w, &check, channel.into(), 1);
            let (z_a, mut z_b) = (edge_a(&w, &m, 2), edge(&w, 2, &m.share_b));
            z_b[channel as usize] ^= 1;
            open(&mut m, &w, &check, &[Answer::Pair { z_a: &z_a, z_b: &z_b }], false).is_err()
        };
        (0..6).filter(caught).collect::<Vec<u32>>()
    };
    assert_eq!(complaints(false), held);
    assert_eq!(complaints(true), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn sampling_needs_rows() {
    let bare = || {
        let mut bundle = world().bundle;
        bundle.rows[1] = Rows { channels: vec![], weights: vec![] };
        bundle
    };
    let sampled = Checker::new(Integrity { samples: 1, freivalds: false }, &mut bare());
    assert!(matches!(sampled, Err(IntegrityError::NoRows { layer }) if layer == "layer1"));
    assert!(Checker::new(Integrity { samples: 0, freivalds: true }, &mut bare()).is_ok());
}

#[test]
fn freivalds_finds_what_sampling_misses() {
    [(world(), 50), (striped(), 4)].into_iter().for_each(|(w, counters)| freivalds_finds(w, counters));
}

fn freivalds_finds(mut w: World, counters: u64) {
    let check = checker_of(&mut w, 0, true);
    let mut masker = masker(&w);
    for counter in 0..counters {
        let mut m = masked(&mut masker, &w, &check, counter, 0);
        let layer = (counter % 2) as usize;
        let spoilt = |mut z: Vec<u32>, l: usize| {
            let at = counter as usize * 4567 % z.len();
            z[at] ^= u32::from(l == layer);
            z
        };
        let z_a = [0, 1].map(|l| edge_a(&w, &m, l));
        let z_b = [0, 1].map(|l| spoilt(edge(&w, l, &m.share_b), l));
        let sums = [0, 1].map(|l| spoilt(relayed(&w, &m, l), l));
        let pairs = [0, 1].map(|l| Answer::Pair { z_a: &z_a[l], z_b: &z_b[l] });
        let sums = [0, 1].map(|l| Answer::Sum(&sums[l]));
        let answers = if counter % 4 < 2 { &pairs } else { &sums };
        let error = open(&mut m, &w, &check, answers, false).expect_err("found");
        assert_eq!(error, IntegrityError::Freivalds { layer: format!("layer{layer}") });
    }
}

/// Each share alone is uniform whatever the data: a chi-square test on the top byte of both shares of a constant
/// tensor.
#[test]
fn each_share_alone_looks_uniform() {
    let (w, check) = (world(), checker(0, false));
    let mut masker = masker(&w);
    let (mut a, mut b) = ([0u32; 256], [0u32; 256]);
    let rounds = 500;
    for counter in 0..rounds {
        let mut masks = masker.begin(Counter::new(counter)).expect("fresh counter");
        let (pending, share_b) = mask(&mut masks, &w, &check, 0, &[5; 216]).expect("fits");
        masks.share_a(&pending, 216).iter().for_each(|v| a[(v >> 16) as usize] += 1);
        share_b.iter().for_each(|v| b[(v >> 16) as usize] += 1);
    }
    let expected = f64::from(rounds as u32 * 216) / 256.0;
    for counts in [a, b] {
        let chi: f64 = counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        assert!((120.0..420.0).contains(&chi), "chi-square {chi} at 255 degrees of freedom");
    }
}

#[test]
fn secrets_are_not_printed() {
    let (w, check) = (world(), checker(0, false));
    let mut masker = masker(&w);
    let text = format!("{masker:?}");
    assert_eq!(text, "Masker { keys: DeviceKeys(..), algorithm: ChaCha20, session: SessionKeys(..), last: None }");
    let m = masked(&mut masker, &w, &check, 0, 0);
    assert_eq!(format!("{:?}", m.pending), "Pending(group 0, ..)");
    assert!(format!("{:?}", m.masks).contains("r: Key(..), t: Key(..)"), "{:?}", m.masks);
}
