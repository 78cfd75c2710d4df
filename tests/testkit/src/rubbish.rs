//! What a client sends that means harm or has lost its mind.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use twinmask_codec::Counter;
use twinmask_ring::prf::Key;
use twinmask_transport::frame_io::write_frame;
use twinmask_transport::{Connection, Role};
use twinmask_wire::message::{Claim, Infer, Open, Prf, Secret};
use twinmask_wire::{Codec, CodecChoice, FrameType, frame};

/// Bytes of a client that means harm or has lost its mind.
fn rubbish(i: u64) -> Vec<u8> {
    let mut words = vec![0; 700];
    Key::derive("rubbish", &[]).fill(i, 32, &mut words);
    let random: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let header = |kind: u8, flags: u16, body: u32, payload: u32| {
        let tail = [flags.to_le_bytes().as_slice(), &body.to_le_bytes(), &payload.to_le_bytes()].concat();
        [b"TWMK".as_slice(), &[twinmask_wire::VERSION, kind], &tail, &random].concat()
    };
    match i % 7 {
        0 => random,
        1 => header(1, 0, 64, 0),
        2 => header(7, 0, 4, u32::MAX),
        3 => header(7, 1, 4, 1 << 29),
        4 => {
            let infer = Infer { counter: Counter::new(i), exact: true, relay: false };
            let mut frame = frame::encode(FrameType::Infer, &infer);
            let at = i as usize / 7 % frame.len();
            frame[at] ^= 1 << (i % 8);
            frame
        }
        5 => header((i % 16) as u8, 0, 4096, 0),
        _ => random[..(i % 50) as usize].to_vec(),
    }
}

/// Sends rubbish, on the control stream (`opened` false) or on the streams of an inference of a proper session, and
/// waits at most `patience` for the end of the connection.
pub async fn pester(connection: &Connection, i: u64, opened: bool, digest: [u8; 32], patience: Duration) {
    let seed = (connection.peer().role == Role::EdgeA).then_some(Secret([7; 32]));
    let open =
        Open { session: [9; 16], digest, seed, prfs: vec![Prf::ChaCha20], codec: CodecChoice::Auto, ticket: None };
    let Ok((mut control, _answers)) = connection.open_bi().await else { return };
    if !opened {
        let _ = control.write_all(&rubbish(i)).await;
        let _ = control.finish();
    } else {
        let _ = write_frame(&mut control, FrameType::Open, &open, Codec::Packed, &[]).await;
        let way = i / 2;
        if way.is_multiple_of(2) {
            let _ =
                write_frame(&mut control, FrameType::Claim, &Claim { counter: Counter::new(0) }, Codec::Packed, &[])
                    .await;
        }
        let Ok((mut stream, _answers)) = connection.open_bi().await else { return };
        if !way.is_multiple_of(3) {
            let infer = Infer { counter: Counter::new(way % 2), exact: true, relay: false };
            let _ = write_frame(&mut stream, FrameType::Infer, &infer, Codec::Packed, &[]).await;
        }
        let _ = stream.write_all(&rubbish(i)).await;
        let _ = stream.finish();
    }
    // Most of it ends the session at once; what is only too short does not.
    let _ = tokio::time::timeout(patience, connection.closed()).await;
    connection.close(0, "");
}
