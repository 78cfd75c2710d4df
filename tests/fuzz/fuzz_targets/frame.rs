#![no_main]
//! Any bytes as a frame and its payload: an error or what was asked for, never a panic or an unbounded allocation.

use libfuzzer_sys::fuzz_target;
use twinmask_codec::Part;
use twinmask_wire::frame::{FrameHeader, HEADER_LEN, decode_body};
use twinmask_wire::message::{Answer, Claim, Open, Opened, RelayOpen, Round};
use twinmask_wire::payload;

fuzz_target!(|data: &[u8]| {
    let Some((head, rest)) = data.split_at_checked(HEADER_LEN) else { return };
    let head: &[u8; HEADER_LEN] = head.try_into().expect("split at its length");
    if let Ok(header) = FrameHeader::parse(head) {
        let parts = [(100, 20), (7, 32), (64, 2)].map(|(len, bits)| Part { len, bits });
        if let Ok(decoded) = payload::decode(rest, header.codec, &parts) {
            let fits = |(d, p): (&Vec<u32>, Part)| d.len() == p.len && d.iter().all(|e| u64::from(*e) < 1 << p.bits);
            assert!(decoded.iter().zip(parts).all(fits));
        }
    }
    let _ = decode_body::<Open>(rest);
    let _ = decode_body::<Opened>(rest);
    let _ = decode_body::<RelayOpen>(rest);
    let _ = (decode_body::<Claim>(rest), decode_body::<Round>(rest), decode_body::<Answer>(rest));
});
