//! Guards of docs/security-argument.md that no crate holds alone: what the edges get, and what they can do together.

mod in_process;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use in_process::{InProcess, Passed, Wire};
use twinmask_device::engine::Session;
use twinmask_device::engine::infer;
use twinmask_device::{Glimpse, Model};
use twinmask_kernels::default_kernel;
use twinmask_masking::SessionSeed;
use twinmask_masking::mask::session_id;
use twinmask_testkit::numbers;
use twinmask_tests::{binaries, networks};
use twinmask_wire::FrameType;

fn input(network: &Model, label: &str) -> Vec<f32> {
    numbers(label, network.inputs().tensors[0].shape.iter().product::<u32>() as usize)
}

async fn open_session(deployment: &InProcess, network: &Arc<Model>, wires: [&Arc<Wire>; 2], wait: Duration) -> Session {
    let kernels = [default_kernel(), default_kernel()];
    deployment.session(network, wires, kernels, wait).await.expect("opens")
}

const LONG: Duration = Duration::from_secs(20);

/// If this fails, an edge sees more of the data than its masked shares: a frame more, a length, or anything at all at
/// A.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_edges_get_has_the_same_shape_whatever_the_data() {
    let deployment = InProcess::new(&networks::mixed());
    let network = deployment.network();
    let (a, b) = (Arc::new(Wire::default()), Arc::new(Wire::default()));
    let session = open_session(&deployment, &network, [&a, &b], LONG).await;
    let (mut to_a, mut to_b) = (Vec::new(), Vec::new());
    let open = |wire: &Wire| wire.take().into_iter().find(|f| f.kind == FrameType::Open).expect("a session").body;
    assert_eq!(open(&a), open(&b) + 32, "the seed goes to A and not to B");
    let zeros = vec![0.0; input(&network, "").len()];
    for input in [input(&network, "first"), input(&network, "second"), zeros] {
        let mut remote = session.begin().await.expect("granted");
        infer(&network, &mut network.values(), std::slice::from_ref(&input), &mut remote).await.expect("an inference");
        remote.finish().await.expect("both edges are there");
        for (wire, seen) in [(&a, &mut to_a), (&b, &mut to_b)] {
            // END comes last on both, and may be on its way still.
            let mut frames: Vec<Passed> = Vec::new();
            while !frames.iter().any(|f| f.kind == FrameType::End) {
                frames.extend(wire.take());
                tokio::task::yield_now().await;
            }
            frames.retain(|f| f.up);
            // CLAIM and INFER travel on streams of their own, in no order.
            frames.sort_by_key(|f| f.kind as u8);
            seen.push(frames);
        }
    }
    for seen in [&to_a, &to_b] {
        assert!(seen.iter().all(|frames| *frames == seen[0]), "{seen:?}");
    }
    assert!(to_a[0].iter().all(|f| f.payload == 0 && f.kind != FrameType::Round), "{:?}", to_a[0]);
    assert_eq!(to_b[0].iter().filter(|f| f.kind == FrameType::Round).count(), network.plan().rounds().len());
}

/// If this fails, masks repeat from session to session.
#[test]
fn every_session_has_a_seed_and_an_id_of_its_own() {
    let seeds: BTreeSet<[u8; 32]> = (0..100).map(|_| *SessionSeed::generate().expose()).collect();
    let ids: BTreeSet<[u8; 16]> = (0..100).map(|_| session_id()).collect();
    assert_eq!((seeds.len(), ids.len()), (100, 100));
}

/// If this fails, a device that was resumed from a snapshot may put two inputs under one mask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_share_leaves_before_edge_a_has_granted_the_counter() {
    let deployment = InProcess::new(&networks::tiny());
    let network = deployment.network();
    let (a, b) = (Arc::new(Wire::losing(FrameType::Claimed)), Arc::new(Wire::default()));
    let session = open_session(&deployment, &network, [&a, &b], Duration::from_millis(300)).await;
    assert!(session.begin().await.is_err(), "edge A's grant was lost");
    assert!(a.take().iter().any(|f| f.kind == FrameType::Claimed), "edge A did grant");
    let to_b: Vec<FrameType> = b.take().iter().filter(|f| f.up).map(|f| f.kind).collect();
    assert_eq!(to_b, [FrameType::Open]);
}

/// The smallest of `values` that lie within half of `Z_2^k` of each other.
fn cyclic_min(values: &[u32], k: u32) -> u32 {
    let offset = |v: u32| twinmask_ring::centre(v.wrapping_sub(values[0]), k);
    let least = values.iter().map(|&v| offset(v)).min().expect("at least one request");
    values[0].wrapping_add(least as u32) & twinmask_ring::mask(k)
}

/// Share of the elements of all groups behind the first for which the attacker's guess at `S_in` is right, given what
/// it has of each request and group.
fn recovered(requests: &[Vec<Glimpse>], seen: impl Fn(&Glimpse, usize) -> u32) -> f64 {
    let (mut right, mut all) = (0, 0);
    for (g, first) in requests[0].iter().enumerate().skip(1) {
        let keep = twinmask_ring::mask(first.k);
        for i in 0..first.x.len() {
            let truth = first.share_a[i].wrapping_add(first.share_b[i]).wrapping_sub(first.x[i] as u32) & keep;
            let values: Vec<u32> = requests.iter().map(|r| seen(&r[g], i) & keep).collect();
            right += u32::from(cyclic_min(&values, first.k) == truth);
            all += 1;
        }
    }
    f64::from(right) / f64::from(all)
}

/// Share of the same elements that are zero in at least one request.
fn once_zero(requests: &[Vec<Glimpse>]) -> f64 {
    let groups = 1..requests[0].len();
    let zero = |g: usize, i: usize| requests.iter().any(|r| r[g].x[i] == 0);
    let all: usize = groups.clone().map(|g| requests[0][g].x.len()).sum();
    let zeros: usize = groups.map(|g| (0..requests[0][g].x.len()).filter(|&i| zero(g, i)).count()).sum();
    zeros as f64 / all as f64
}

/// What collusion gives (docs/security-argument.md): both shares of a request are `x + S_in`, and `S_in` never changes,
/// so behind a ReLU its value is what remains when x is zero. If this fails, the threat model describes another scheme.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_edges_together_recover_s_in_and_one_alone_does_not() {
    let deployment = InProcess::new(&networks::tower(6));
    let network = deployment.network();
    let (a, b) = (Arc::new(Wire::default()), Arc::new(Wire::default()));
    let session = open_session(&deployment, &network, [&a, &b], LONG).await;
    let mut requests = Vec::new();
    for r in 0..32 {
        let mut remote = session.begin().await.expect("granted");
        remote.watch(usize::MAX);
        let input = input(&network, &format!("request {r}"));
        infer(&network, &mut network.values(), std::slice::from_ref(&input), &mut remote).await.expect("an inference");
        requests.push(remote.glimpses().to_vec());
        remote.finish().await.expect("both edges are there");
    }
    let both = |n: usize| recovered(&requests[..n], |g, i| g.share_a[i].wrapping_add(g.share_b[i]));
    let counts = [1, 2, 4, 8, 16, 32];
    let shares = counts.map(both);
    println!("S_in recovered by both edges after {counts:?} requests: {shares:.3?}");
    // Exactly where an activation was zero at least once.
    assert_eq!(shares, counts.map(|n| once_zero(&requests[..n])));
    assert!(shares[0] > 0.4 && shares[5] > 0.9 && shares.is_sorted(), "{shares:?}");
    // Whatever the activations are, two requests differ by just what their shares differ by.
    for (first, second) in requests[0].iter().zip(&requests[1]) {
        for i in 0..first.x.len() {
            let sum = |g: &Glimpse| g.share_a[i].wrapping_add(g.share_b[i]);
            let difference = twinmask_ring::centre(sum(first).wrapping_sub(sum(second)), first.k);
            assert_eq!(difference, first.x[i] - second.x[i]);
        }
    }
    // The same attack with the shares of one edge.
    let alone = [recovered(&requests, |g, i| g.share_b[i]), recovered(&requests, |g, i| g.share_a[i])];
    assert!(alone.iter().all(|&s| s < 0.001), "{alone:?}");
}

/// If this fails, edge B's view in mode `relay` depends on the data: for every x each pair (v, z_A + T) must come from
/// exactly one pair of masks, also where W has no inverse. Without T it does depend: z_A is a function of R.
#[test]
fn the_view_of_edge_b_in_relay_is_uniform() {
    let (k, size) = (3, 8u32);
    for w in 0..size {
        for x in 0..size {
            let s_in = 5;
            let view = |r: u32, t: u32| {
                let v = x.wrapping_add(s_in).wrapping_sub(r) & twinmask_ring::mask(k);
                let correction = w.wrapping_mul(r).wrapping_add(t) & twinmask_ring::mask(k);
                (v * size + correction) as usize
            };
            let mut seen = vec![0; 64];
            (0..size).for_each(|r| (0..size).for_each(|t| seen[view(r, t)] += 1));
            assert_eq!(seen, [1; 64], "w = {w}, x = {x}");
            let mut without_t = vec![0; 64];
            (0..size).for_each(|r| without_t[view(r, 0)] += 1);
            assert_eq!(without_t.iter().filter(|&&n| n > 0).count(), 8, "only 8 of 64 pairs");
        }
    }
}

/// If this fails, docs/security-argument.md (or docs/theory.md) names a test that is not there any more.
#[test]
fn every_guard_that_the_argument_names_exists() {
    for (page, least) in [("docs/security-argument.md", 40), ("docs/theory.md", 5)] {
        let text = read(page);
        let named: BTreeSet<(&str, &str)> = text.split('`').filter_map(|t| t.split_once(".rs: ")).collect();
        assert!(named.len() >= least, "{page} names only {} tests", named.len());
        for (file, test) in named {
            let source = read(&format!("{file}.rs"));
            let before: Vec<&str> = source.split(&format!("fn {test}()")).collect();
            assert_eq!(before.len(), 2, "{page}: {file}.rs has no test {test}, or several");
            let attribute = before[0].rfind("#[").map(|at| &before[0][at..]).unwrap_or_default();
            assert!(
                attribute.starts_with("#[test]") || attribute.starts_with("#[tokio::test"),
                "{file}.rs: {test} is no test"
            );
        }
    }
}

/// Whether `source` defines `name`, which may be `Type::function`.
fn defines(source: &str, name: &str) -> bool {
    let words: Vec<&str> = source.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
    let after = |before: &[&str], name: &str| words.windows(2).any(|w| before.contains(&w[0]) && w[1] == name);
    const TYPES: [&str; 4] = ["struct", "enum", "trait", "type"];
    match name.split_once("::") {
        // A function or a variant of the type.
        Some((of, item)) => after(&TYPES, of) && (after(&["fn"], item) || source.contains(&format!("    {item}"))),
        None => after(&TYPES, name) || after(&["fn", "const"], name),
    }
}

/// If this fails, docs/security-argument.md tells of code that is not there any more: what it says of it may not hold.
#[test]
fn the_code_that_the_argument_names_is_there() {
    let text = read("docs/security-argument.md");
    let mut named = 0;
    for code in text.split("Code: ").skip(1) {
        let code = code.split("Guard").next().and_then(|c| c.split("\n\n").next()).unwrap_or_default();
        let mut source = None;
        for span in code.split('`').skip(1).step_by(2) {
            if span.ends_with(".rs") {
                source = Some((span, read(span)));
                continue;
            }
            let (file, source) = source.as_ref().unwrap_or_else(|| panic!("{span} stands before any file"));
            assert!(defines(source, span), "{file} has no {span}");
            named += 1;
        }
    }
    assert!(named >= 20, "only {named} names");
    let source = read("common/masking/src/mask.rs");
    assert!(!defines(&source, "Masking::pull") && !defines(&source, "Masker::nothing") && !defines(&source, "unmask"));
}

fn read(path: &str) -> String {
    let path = binaries::workspace().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
