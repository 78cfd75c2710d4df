//! What is read by the codec: frames, messages, plans, graphs.

use serde::Serialize;
use serde::de::DeserializeOwned;
use twinmask_codec::{self as codec, Counter, Part, RoundId};
use twinmask_exec::{Program, Values};
use twinmask_model::cost;
use twinmask_model::graph::Graph;
use twinmask_model::ops::Op;
use twinmask_model::plan::{Plan, PlanParts};
use twinmask_wire::frame::{FrameHeader, HEADER_LEN, decode_body, encode_with};
use twinmask_wire::message::{self, Prf, Secret};
use twinmask_wire::{Codec, CodecChoice, FrameType, payload};

use crate::scene::scene;
use crate::script::head;
use crate::seeds::{Seed, bad, good};

const PARTS: [Part; 3] = [Part { len: 100, bits: 20 }, Part { len: 7, bits: 32 }, Part { len: 64, bits: 2 }];

/// A frame: its header, and behind its body a payload of [`PARTS`].
pub(crate) fn frame(data: &[u8]) -> bool {
    let Some((head, rest)) = data.split_first_chunk::<HEADER_LEN>() else { return false };
    let Ok(header) = FrameHeader::parse(head) else { return false };
    let Some((_body, payload)) = rest.split_at_checked(header.body_len) else { return false };
    let due = header.expect(header.kind, &PARTS, "a frame").is_ok() && payload.len() == header.payload_len;
    let decoded = payload::decode(payload, header.codec, &PARTS);
    if let Ok(decoded) = &decoded {
        let fits = |(d, p): (&Vec<u32>, Part)| d.len() == p.len && d.iter().all(|e| u64::from(*e) < 1 << p.bits);
        assert!(decoded.iter().zip(PARTS).all(fits), "elements that do not fit their ring");
        let mut sums = PARTS.map(|p| vec![0; p.len]);
        if header.codec == Codec::Packed {
            payload::add_packed(payload, &PARTS, &mut sums).expect("what decodes can be added");
            assert!(sums.as_slice() == decoded, "adding reads other elements than decoding");
        }
    }
    due && decoded.is_ok()
}

pub(crate) fn frame_seeds() -> Vec<Seed> {
    let elements = PARTS.map(|p| (0..p.len as u32).map(|i| i.wrapping_mul(0x9e37_79b9) >> (32 - p.bits)).collect());
    let elements: Vec<(&[u32], u32)> =
        elements.iter().zip(PARTS).map(|(e, p): (&Vec<u32>, Part)| (e.as_slice(), p.bits)).collect();
    let body = message::Round { round: RoundId::new(1) };
    let whole = |codec| encode_with(FrameType::Round, &body, codec, &payload::encode(&elements, codec));
    let [packed, zstd, raw] = [Codec::Packed, Codec::Zstd, Codec::Raw].map(whole);
    let other = [&packed[..4], &[packed[4] + 1], &packed[5..]].concat();
    vec![
        bad("another-version", other),
        bad("cut", &packed[..packed.len() - 1]),
        good("packed", packed),
        good("zstd", zstd),
        good("raw", raw),
    ]
}

/// Reads the body of a frame of this type.
fn reader(kind: FrameType) -> fn(&[u8]) -> bool {
    match kind {
        FrameType::Open => body::<message::Open>,
        FrameType::Opened => cleaned::<message::Opened>,
        FrameType::Claim => body::<message::Claim>,
        FrameType::Claimed => body::<message::Claimed>,
        FrameType::Prefetch => body::<message::Prefetch>,
        FrameType::Infer => body::<message::Infer>,
        FrameType::Round => body::<message::Round>,
        FrameType::Answer => body::<message::Answer>,
        FrameType::End => body::<message::End>,
        FrameType::Busy => body::<message::Busy>,
        FrameType::RelayOpen => cleaned::<message::RelayOpen>,
        FrameType::Credit => body::<message::Credit>,
        FrameType::Correction => body::<message::Correction>,
        FrameType::Drop => body::<message::DropCorrections>,
        FrameType::Miss => body::<message::Miss>,
        FrameType::Rest => body::<message::Rest>,
    }
}

/// Decoded, a body must be what its encoding says, to the byte.
fn body<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> bool {
    let Ok(found) = decode_body::<T>(bytes) else { return false };
    let again = codec::encode(&found);
    assert!(again == bytes, "{found:?} has two encodings");
    true
}

/// The same of a body with a text that is made plain as it is read: from then on it stays what it is.
fn cleaned<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> bool {
    let Ok(found) = decode_body::<T>(bytes) else { return false };
    let again = codec::encode(&found);
    assert_eq!(decode_body::<T>(&again).as_ref(), Ok(&found), "{found:?} is read otherwise the second time");
    true
}

/// The body of a message: of which type of frame says the first byte.
pub(crate) fn message(data: &[u8]) -> bool {
    let Some((&kind, bytes)) = data.split_first() else { return false };
    FrameHeader::parse(&head(kind, 0, 0, 0)).is_ok_and(|header| reader(header.kind)(bytes))
}

pub(crate) fn message_seeds() -> Vec<Seed> {
    let (counter, round, secret) = (Counter::new(5), RoundId::new(2), || Secret([7; 32]));
    let open = |seed: Option<Secret>, ticket: Option<Secret>| message::Open {
        session: [1; 16],
        digest: [2; 32],
        seed,
        prfs: vec![Prf::Aes128, Prf::ChaCha20],
        codec: CodecChoice::Auto,
        ticket,
    };
    let part = Some(message::MaskPart { nonce: [3; 32], proof: [4; 32] });
    let opened = message::Opened { prf: Prf::ChaCha20, max_in_flight: 8, kernel: "portable".into(), relay: true, part };
    let answer = message::Answer { round, compute_us: 1000, queue_us: 10 };
    let relay = message::RelayOpen { session: [1; 16], device: "cam1".into(), digest: [2; 32], ticket: secret() };
    let bodies: [(FrameType, &str, Vec<u8>); 17] = [
        (FrameType::Open, "open-to-a", codec::encode(&open(Some(secret()), Some(secret())))),
        (FrameType::Open, "open-to-b", codec::encode(&open(None, None))),
        (FrameType::Opened, "opened", codec::encode(&opened)),
        (FrameType::Claim, "claim", codec::encode(&message::Claim { counter })),
        (FrameType::Claimed, "claimed", codec::encode(&message::Claimed { counter })),
        (FrameType::Prefetch, "prefetch", codec::encode(&message::Prefetch { counter })),
        (FrameType::Infer, "infer", codec::encode(&message::Infer { counter, exact: true, relay: false })),
        (FrameType::Round, "round", codec::encode(&message::Round { round })),
        (FrameType::Answer, "answer", codec::encode(&answer)),
        (FrameType::End, "end", codec::encode(&message::End {})),
        (FrameType::Busy, "busy", codec::encode(&message::Busy { retry_after_ms: 50 })),
        (FrameType::RelayOpen, "relay-open", codec::encode(&relay)),
        (FrameType::Credit, "credit", codec::encode(&message::Credit { bytes: 1 << 20 })),
        (FrameType::Correction, "correction", codec::encode(&message::Correction { counter, round })),
        (FrameType::Drop, "drop", codec::encode(&message::DropCorrections { counter })),
        (FrameType::Miss, "miss", codec::encode(&message::Miss { round })),
        (FrameType::Rest, "rest", codec::encode(&message::Rest {})),
    ];
    let cut = |(kind, name, body): &(FrameType, &str, Vec<u8>)| {
        let body = body.split_last()?.1;
        Some(bad(format!("{name}-cut"), [&[*kind as u8], body].concat()))
    };
    let mut seeds: Vec<Seed> = bodies.iter().filter_map(cut).collect();
    seeds.extend(bodies.iter().map(|(kind, name, body)| good(*name, [&[*kind as u8], &body[..]].concat())));
    seeds
}

const META: usize = 1 << 20;

/// What both sides must agree on, as bundles hold it.
pub(crate) fn plan(data: &[u8]) -> bool {
    let Ok(parts) = codec::decode::<PlanParts, META>(data) else { return false };
    let Ok(plan) = Plan::new(parts) else { return false };
    for r in plan.round_ids() {
        let (up, down) = (plan.upload_parts(r), plan.answer_parts(r));
        assert!(!up.is_empty() && !down.is_empty(), "a round without layers");
        let stripes = plan.answer_stripes(r, true);
        let fewer = codec::packed_parts_len(&plan.answer_stripes(r, false)) <= codec::packed_parts_len(&stripes);
        assert!(fewer, "dropping bits makes answers longer");
        let elements = |parts: &[Part]| parts.iter().map(|part| part.len).sum::<usize>();
        let uploads: Vec<Part> = (0..plan.stripes(r)).flat_map(|j| plan.upload_stripe(r, j)).collect();
        let all = [elements(&uploads), elements(&stripes)] == [elements(&up), elements(&down)];
        assert!(all && uploads.iter().chain(&stripes).all(|part| part.len > 0), "stripes do not make the whole");
    }
    true
}

pub(crate) fn plan_seeds() -> Vec<Seed> {
    let parts = scene().plan().to_parts();
    let mut twice = parts.clone();
    twice.rounds.push(twice.rounds[0].clone());
    let mut open = parts.clone();
    open.groups[0].k = 33;
    let encoded = |parts: &PlanParts| codec::encode(parts);
    vec![good("plan", encoded(&parts)), bad("a-group-twice", encoded(&twice)), bad("a-wide-ring", encoded(&open))]
}

/// FLOPs beyond which a graph that checks out is not computed: a fuzzer has no time for it.
const FLOPS: u64 = 2_000_000;
/// Bytes of all its tensors.
const MEMORY: usize = 4 << 20;

/// A device's graph: what checks out runs to its end, whatever the numbers.
pub(crate) fn graph(data: &[u8]) -> bool {
    let Ok(mut graph) = codec::decode::<Graph, META>(data) else { return false };
    // Constants lie beside the graph in a bundle; here each value that nothing else makes is one.
    let mut made: Vec<u32> = graph.inputs.iter().map(|port| port.value).collect();
    made.extend(graph.nodes.iter().map(|node| node.output));
    let len = |id: u32| graph.values[id as usize].len();
    let constant = |id: &u32| !made.contains(id) && len(*id) <= MEMORY / 4;
    let constants = (0..graph.values.len() as u32).filter(constant);
    graph.constants = constants.map(|id| (id, numbers(len(id)))).collect();
    let Ok(program) = Program::new(graph, MEMORY) else { return false };
    if cost::local_flops(program.graph()) > FLOPS {
        return true;
    }
    run(program);
    true
}

fn run(program: Program) {
    let mut values = Values::new(std::sync::Arc::new(program));
    let program = std::sync::Arc::clone(values.program());
    let graph = program.graph();
    let inputs: Vec<Vec<f32>> = graph.inputs.iter().map(|port| numbers(graph.value(port.value).len())).collect();
    let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    if values.start(&slices).is_err() {
        return;
    }
    for (r, segment) in program.segments().iter().enumerate() {
        // Indices that are no positions are refused, with the node's name: they depend on the data.
        if values.run_segment(r).is_err() {
            return;
        }
        for &i in &segment.linear {
            let node = &graph.nodes[i];
            assert!(matches!(node.op, Op::Linear(_)), "{} is no hole", node.name);
            values.set(node.output, numbers(graph.value(node.output).len())).expect("of the hole's shape");
        }
    }
    for port in &graph.outputs {
        assert_eq!(values.get(port.value).map(<[f32]>::len).ok(), Some(graph.value(port.value).len()));
    }
}

/// Integers small enough to be an index now and then.
fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7 % 5) as f32 - 1.0).collect()
}

pub(crate) fn graph_seeds() -> Vec<Seed> {
    let graph = &scene().device.model.graph;
    let mut early = graph.clone();
    early.nodes.reverse();
    let mut seeds = vec![good("of-a-device", codec::encode(graph)), bad("upside-down", codec::encode(&early))];
    for (name, file) in crate::files::NETWORKS {
        let imported = crate::files::import(file).expect("a network of the tests");
        seeds.push(good(name, codec::encode(&imported.graph)));
    }
    seeds
}
