//! What edge B sees (and whoever reads all links: the answers of edge A are masked as its corrections are) does not
//! tell inputs apart, by statistics with fixed seeds; broken masks do, to the same statistics.

use std::collections::BTreeSet;

use twinmask_testkit::secrecy::{Class, Seen, Statistic, examine, less_likely};

use super::*;

const SESSIONS: u64 = 20;
const INFERENCES: u64 = 10;
/// What ideal masks give less often than this convicts.
const UNLIKELY: f64 = 1e-6;

/// How masks may be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// Not at all.
    No,
    /// All sessions have one seed.
    ConstantSeed,
    /// Every second inference has the counter of the one before, as in a device that was resumed from a snapshot.
    ReusedCounter,
    /// Noise is added to the integers, four times as wide as they are, instead of a mask of the ring.
    FloatNoise,
    /// A word of the stream masks two elements.
    RepeatedWord,
    /// All groups have one stream.
    OneStream,
    /// What edge A computes leaves it as it is, without T.
    NoT,
}

/// All zeros, all of the largest integer, and a walk of small steps as in a picture.
const INPUTS: [&str; 3] = ["zeros", "largest", "picture"];

fn input(w: &World, name: &str, g: usize) -> Vec<i32> {
    let len = w.plan.group(GroupId::at(g)).in_len();
    match name {
        "zeros" => vec![0; len],
        "largest" => vec![127; len],
        _ => {
            let steps = testkit::uniform(&format!("walk {g}"), len, 4);
            let walk = steps.iter().scan(0i32, |at, &step| {
                *at = (*at + step as i32 - 8).clamp(-127, 127);
                Some(*at)
            });
            walk.collect()
        }
    }
}

/// A standard normal number, nearly: the sum of twelve uniform ones.
fn normal(label: &str, n: usize) -> Vec<f64> {
    let words = testkit::uniform(label, 12 * n, 32);
    words.chunks(12).map(|c| c.iter().map(|&w| f64::from(w) / 2f64.powi(32)).sum::<f64>() - 6.0).collect()
}

/// Inference `c` of a session on the input `name`.
fn view(w: &World, check: &Checker, masks: &mut InferenceMasks, name: &str, label: &str, broken: Broken) -> Vec<Seen> {
    let (mut shares, mut corrections, mut sums) = (Vec::new(), Vec::new(), Vec::new());
    for (g, group) in w.plan.groups().iter().enumerate() {
        let (x, k) = (input(w, name, g), group.k());
        let (pending, mut v) = mask(masks, w, check, g, &x).expect("fits");
        let mut r = masks.share_a(&pending, x.len()).to_vec();
        // As it would be with a mask of ours: x + S_in - r.
        let other = |v: &mut [u32], r: &[u32], mine: &[u32]| {
            v.iter_mut()
                .zip(r)
                .zip(mine)
                .for_each(|((v, r), m)| *v = v.wrapping_add(*r).wrapping_sub(*m) & low_bits(k));
        };
        match broken {
            Broken::FloatNoise => {
                let noise = normal(&format!("{label} {g}"), x.len());
                v = x.iter().zip(noise).map(|(x, n)| (x + (4.0 * 127.0 * n) as i32) as u32 & low_bits(k)).collect();
            }
            Broken::RepeatedWord => {
                let mine: Vec<u32> = (0..r.len()).map(|i| r[i / 2 * 2]).collect();
                other(&mut v, &r, &mine);
                r = mine;
            }
            Broken::OneStream => {
                let mine = masks.r.elements(0, k, r.len());
                other(&mut v, &r, &mine);
                r = mine;
            }
            _ => {}
        }
        for &l in group.layers() {
            let mut correction = edge(w, l.index(), &r);
            if broken != Broken::NoT {
                let t = masks.t.elements(l.into(), k, correction.len());
                correction.iter_mut().zip(t).for_each(|(z, t)| *z = z.wrapping_add(t) & low_bits(k));
            }
            let of_b = edge(w, l.index(), &v).into_iter();
            let sum = of_b.zip(&correction).map(|(z, c)| z.wrapping_add(*c) & low_bits(k)).collect();
            corrections.push(Seen::new(format!("z_A + T of layer {l}"), k, correction));
            sums.push(Seen::new(format!("W·v + z_A + T of layer {l}"), k, sum));
        }
        shares.push(Seen::new(format!("v of group {g}"), k, v));
    }
    [shares, corrections, sums].concat()
}

fn classes(algorithm: Algorithm, broken: Broken) -> Vec<Class> {
    let (w, check) = (world(), checker(0, false));
    let keys = Arc::new(DeviceKeys::expand(&w.bundle).expect("own keys"));
    let masker = |label: &str| {
        let words = testkit::uniform(label, 8, 32);
        let mut seed = [0; 32];
        seed.chunks_mut(4).zip(words).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_le_bytes()));
        Masker::new(Arc::clone(&keys), algorithm, SessionKeys::new(&MaskKey::new([1; 32]), &seed, &[2; 32]))
    };
    let class = |name| {
        let mut views = Vec::new();
        for session in 0..SESSIONS {
            let seed = if broken == Broken::ConstantSeed { "seed".into() } else { format!("{name} {session}") };
            let mut own = masker(&seed);
            for c in 0..INFERENCES {
                let mut resumed = masker(&seed);
                let mut masks = match broken {
                    Broken::ReusedCounter => resumed.begin(Counter::new(c / 2)),
                    _ => own.begin(Counter::new(c)),
                }
                .expect("fresh counter");
                views.push(view(&w, &check, &mut masks, name, &format!("{name} {session} {c}"), broken));
            }
        }
        Class { name, views }
    };
    INPUTS.into_iter().map(class).collect()
}

/// If this fails, masks are no good, or not used as they should be.
#[test]
fn no_statistic_tells_what_is_masked() {
    for algorithm in [Algorithm::ChaCha20, Algorithm::Aes128] {
        let found = examine(&classes(algorithm, Broken::No));
        let least = found.iter().map(|f| f.p).fold(1.0, f64::min);
        println!("{}: {} tests, least p {least:.1e}", algorithm.label(), found.len());
        let unlikely = less_likely(&found, UNLIKELY);
        assert!(unlikely.is_empty(), "{}: {unlikely:#?}", algorithm.label());
    }
}

/// If this fails, a test above cannot fail.
#[test]
fn the_same_statistics_convict_broken_masks() {
    use Statistic::{Alike, Bits, Inferences, Neighbours, Places, Regression, Uniform};
    let cases: [(Broken, &[Statistic]); 6] = [
        (Broken::ConstantSeed, &[Bits, Uniform, Inferences, Regression]),
        (Broken::ReusedCounter, &[Inferences]),
        (Broken::FloatNoise, &[Bits, Uniform, Alike]),
        (Broken::RepeatedWord, &[Neighbours]),
        (Broken::OneStream, &[Places]),
        (Broken::NoT, &[Bits, Uniform, Alike, Regression]),
    ];
    for (broken, by) in cases {
        let found = examine(&classes(Algorithm::ChaCha20, broken));
        let convicting: BTreeSet<Statistic> = less_likely(&found, UNLIKELY).iter().map(|f| f.statistic).collect();
        println!("{broken:?}: convicted by {convicting:?}");
        assert!(by.iter().all(|s| convicting.contains(s)), "{broken:?}: only {convicting:?}");
    }
    let convicting: BTreeSet<Statistic> = cases.iter().flat_map(|(_, by)| *by).copied().collect();
    assert_eq!(convicting, BTreeSet::from(Statistic::ALL), "what nothing is convicted by, proves nothing");
}
