//! What a peer does on the streams of its connections, as bytes that a fuzzer can cut and mend: steps of four bytes
//! (`what`, `at`, `a`, `b`), some with bytes of their own behind them. Everything is a script.

use twinmask_codec::{Part, packed_parts_len};
use twinmask_wire::{Codec, FrameType, VERSION, payload};

/// Where a step happens: bits 0 to 2 are the number of the stream, bit 3 the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    /// Which of the two connections.
    pub(crate) line: usize,
    /// Stream, in the order in which they were opened.
    pub(crate) stream: usize,
}

impl At {
    /// Stream `stream` of the first connection.
    pub(crate) const fn first(stream: usize) -> At {
        At { line: 0, stream }
    }

    /// Stream `stream` of the second connection.
    pub(crate) const fn second(stream: usize) -> At {
        At { line: 1, stream }
    }

    fn of(byte: u8) -> At {
        At { line: usize::from(byte >> 3 & 1), stream: usize::from(byte & 7) }
    }

    const fn byte(self) -> u8 {
        (self.line << 3 | self.stream) as u8
    }
}

/// One thing that a peer does.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Sends bytes: a frame, part of one, or none.
    Send(At, Vec<u8>),
    /// Lets the other side work.
    Wait,
    /// Ends the stream's data.
    Finish(At),
    /// Abandons the stream with a code.
    Reset(At, u32),
    /// Reads no more of the stream.
    Stop(At),
    /// Closes the connection.
    Close(At, u32, String),
}

const RAW: u8 = 0;
const FRAME: u8 = 1;
const WAIT: u8 = 2;
const FINISH: u8 = 3;
const RESET: u8 = 4;
const STOP: u8 = 5;
const CLOSE: u8 = 6;
const BURST: u8 = 7;

/// Which payload a frame has: that of a round of the plan, or one of these.
const NONE: u8 = 0;
const SHORT: u8 = 63;
const ANNOUNCED: u8 = 62;

/// Payloads that the plan expects, by round.
pub(crate) struct Payloads(Vec<Vec<Part>>);

impl Payloads {
    pub(crate) fn new(rounds: impl IntoIterator<Item = Vec<Part>>) -> Payloads {
        Payloads(rounds.into_iter().collect())
    }

    /// Elements that fit their ring, in `codec`.
    fn of(&self, round: usize, codec: Codec) -> Option<Vec<u8>> {
        let parts = self.0.get(round)?;
        let element = |i: usize, part: &Part| (i as u32).wrapping_mul(0x9e37_79b9) >> (32 - part.bits);
        let elements: Vec<Vec<u32>> =
            parts.iter().map(|part| (0..part.len).map(|i| element(i, part)).collect()).collect();
        let elements: Vec<(&[u32], u32)> =
            elements.iter().zip(parts).map(|(e, part)| (e.as_slice(), part.bits)).collect();
        Some(payload::encode(&elements, codec))
    }

    /// The bytes and the announced length of the payload `which`.
    fn pick(&self, which: u8, codec: Codec) -> (Vec<u8>, usize) {
        match which {
            SHORT => {
                let len = self.0.first().map_or(8, |parts| packed_parts_len(parts));
                (vec![0; len.saturating_sub(1)], len)
            }
            ANNOUNCED => (vec![1, 2, 3], 1 << 30),
            _ => {
                let bytes = which.checked_sub(1).and_then(|r| self.of(r.into(), codec)).unwrap_or_default();
                let len = bytes.len();
                (bytes, len)
            }
        }
    }
}

/// The steps that `data` says; what is left of a step that is cut off says nothing.
pub(crate) fn steps(mut data: &[u8], payloads: &Payloads) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some((&[what, at, a, b], rest)) = data.split_first_chunk() {
        let (step, rest) = one(what, At::of(at), a, b, rest, payloads);
        steps.push(step);
        data = rest;
    }
    steps
}

fn one<'a>(what: u8, at: At, a: u8, b: u8, rest: &'a [u8], payloads: &Payloads) -> (Step, &'a [u8]) {
    let taken = |n: u8| rest.split_at(rest.len().min(n.into()));
    match what % 8 {
        RAW => {
            let (bytes, rest) = taken(a);
            (Step::Send(at, bytes.to_vec()), rest)
        }
        FRAME => {
            let (len, rest) = rest.split_first().map_or((0, rest), |(len, rest)| (*len, rest));
            let (body, rest) = rest.split_at(rest.len().min(len.into()));
            let codec = [Codec::Packed, Codec::Zstd, Codec::Raw, Codec::Packed][usize::from(b & 3)];
            let (payload, announced) = payloads.pick(b >> 2, codec);
            let frame = [&head(a, u16::from(b & 3), body.len(), announced)[..], body, &payload].concat();
            (Step::Send(at, frame), rest)
        }
        WAIT => (Step::Wait, rest),
        FINISH => (Step::Finish(at), rest),
        RESET => (Step::Reset(at, a.into()), rest),
        STOP => (Step::Stop(at), rest),
        CLOSE => {
            let (text, rest) = taken(b);
            (Step::Close(at, a.into(), String::from_utf8_lossy(text).into_owned()), rest)
        }
        _ => (Step::Send(at, vec![b; 64 * usize::from(a)]), rest),
    }
}

/// A frame's header as PROTOCOL.md has it, whatever it says.
pub(crate) fn head(kind: u8, flags: u16, body: usize, payload: usize) -> [u8; 16] {
    let mut head = *b"TWMK\0\0\0\0\0\0\0\0\0\0\0\0";
    (head[4], head[5]) = (VERSION, kind);
    head[6..8].copy_from_slice(&flags.to_le_bytes());
    head[8..12].copy_from_slice(&(body as u32).to_le_bytes());
    head[12..].copy_from_slice(&(payload as u32).to_le_bytes());
    head
}

/// A script being written: the seeds'.
#[derive(Clone)]
pub(crate) struct Script(Vec<u8>);

impl Script {
    /// A script that begins with the byte `how`, which the target reads by itself.
    pub(crate) fn new(how: u8) -> Script {
        Script(vec![how])
    }

    fn step(mut self, what: u8, at: At, a: u8, b: u8, bytes: &[u8]) -> Script {
        self.0.extend([what, at.byte(), a, b]);
        self.0.extend_from_slice(bytes);
        self
    }

    /// A frame without payload.
    pub(crate) fn frame<T: serde::Serialize>(self, at: At, kind: FrameType, body: &T) -> Script {
        self.with_payload(at, kind, body, NONE, 0)
    }

    /// A frame with the payload of round `r` in `codec` (0 packed, 1 zstd, 2 raw).
    pub(crate) fn round<T: serde::Serialize>(self, at: At, kind: FrameType, body: &T, r: u32, codec: u8) -> Script {
        self.with_payload(at, kind, body, r as u8 + 1, codec)
    }

    /// A frame that is followed by one byte less than it says.
    pub(crate) fn short<T: serde::Serialize>(self, at: At, kind: FrameType, body: &T) -> Script {
        self.with_payload(at, kind, body, SHORT, 0)
    }

    /// A frame that announces a gigabyte.
    pub(crate) fn announced<T: serde::Serialize>(self, at: At, kind: FrameType, body: &T) -> Script {
        self.with_payload(at, kind, body, ANNOUNCED, 0)
    }

    fn with_payload<T: serde::Serialize>(self, at: At, kind: FrameType, body: &T, which: u8, codec: u8) -> Script {
        let body = twinmask_codec::encode(body);
        let body = [&[body.len() as u8], &body[..]].concat();
        self.step(FRAME, at, kind as u8, which << 2 | codec, &body)
    }

    pub(crate) fn raw(self, at: At, bytes: &[u8]) -> Script {
        self.step(RAW, at, bytes.len() as u8, 0, bytes)
    }

    /// 64 bytes of `value`, `n` times.
    pub(crate) fn burst(self, at: At, n: u8, value: u8) -> Script {
        self.step(BURST, at, n, value, &[])
    }

    pub(crate) fn wait(self) -> Script {
        self.step(WAIT, At::first(0), 0, 0, &[])
    }

    pub(crate) fn finish(self, at: At) -> Script {
        self.step(FINISH, at, 0, 0, &[])
    }

    pub(crate) fn reset(self, at: At) -> Script {
        self.step(RESET, at, 11, 0, &[])
    }

    pub(crate) fn stop(self, at: At) -> Script {
        self.step(STOP, at, 0, 0, &[])
    }

    pub(crate) fn close(self, at: At, code: u8, text: &str) -> Script {
        self.step(CLOSE, at, code, text.len() as u8, text.as_bytes())
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0
    }
}
