//! Bundles, behind their signature: it is made here, so that what it protects is reached.

use std::collections::BTreeSet;

use twinmask_model::bundle::{DeviceBundle, DeviceModel, EdgeBundle};
use twinmask_model::container::{Kind, Reader, Storage, Writer};

use crate::scene::scene;
use crate::seeds::{Seed, bad, good};

const KINDS: [Kind; 3] = [Kind::Edge, Kind::Model, Kind::Device];
/// Bytes in front of the table of contents, the last four its length.
const FIXED: usize = 12;
const SIGNATURE: usize = 64;
/// What the signature is over, in front of the digest.
const CONTEXT: &[u8] = b"twinmask/1 bundle";

/// A bundle without its signature: head, table of contents, sections.
pub(crate) fn container(data: &[u8]) -> bool {
    let public = scene().public();
    let whole = signed(data);
    let mut taken = false;
    for kind in KINDS {
        let Ok(reader) = Reader::open(&whole, kind, &public) else { continue };
        assert!(!taken, "a bundle of two kinds");
        taken = true;
        for name in reader.names().collect::<BTreeSet<_>>() {
            let _ = reader.section(name);
        }
    }
    taken
}

/// `data` with a signature of the owner's where one belongs.
fn signed(data: &[u8]) -> Vec<u8> {
    let length = |fixed: &[u8]| u32::from_le_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]) as usize;
    let end = data.get(..FIXED).map_or(data.len(), |fixed| FIXED.saturating_add(length(fixed)).min(data.len()));
    let (head, sections) = data.split_at(end);
    let digest = scene().owner.sign(&[CONTEXT, &blake3(head)].concat());
    [head, digest.as_ref(), sections].concat()
}

fn blake3(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

pub(crate) fn container_seeds() -> Vec<Seed> {
    let mut writer = Writer::new(Kind::Edge);
    writer.section("plain", Storage::Plain, b"some bytes");
    writer.section("packed", Storage::Zstd, &[7; 300]);
    let (whole, _) = writer.finish(&scene().owner);
    let table = u32::from_le_bytes([whole[8], whole[9], whole[10], whole[11]]) as usize;
    let head = &whole[..FIXED + table];
    let sections = &whole[head.len() + SIGNATURE..];
    let unsigned = [head, sections].concat();
    let mut older = unsigned.clone();
    older[4] = 1;
    vec![bad("cut", &unsigned[..unsigned.len() - 1]), bad("older", older), good("two-sections", unsigned)]
}

/// The sections of a bundle: its kind, then of each section the name, how it is stored, and the bytes.
pub(crate) fn bundle(data: &[u8]) -> bool {
    let Some((&kind, mut rest)) = data.split_first() else { return false };
    let kind = KINDS[usize::from(kind) % KINDS.len()];
    let mut writer = Writer::new(kind);
    while let Some((name, storage, bytes, behind)) = section(rest) {
        writer.section(String::from_utf8_lossy(name), storage, bytes);
        rest = behind;
    }
    let (whole, _) = writer.finish(&scene().owner);
    let public = scene().public();
    match kind {
        Kind::Edge => EdgeBundle::read(&whole, &public).is_ok(),
        Kind::Model => DeviceModel::read(&whole, &public).is_ok(),
        Kind::Device => DeviceBundle::read(&whole, &public).is_ok_and(loads),
    }
}

/// Whatever is read as a device's bundle can be opened with its keys, or is refused.
fn loads(bundle: DeviceBundle) -> bool {
    twinmask_device::Model::new(bundle, twinmask_masking::Integrity::default()).is_ok()
}

type Section<'a> = (&'a [u8], Storage, &'a [u8], &'a [u8]);

fn section(data: &[u8]) -> Option<Section<'_>> {
    let (&[how, len], rest) = data.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(usize::from(len))?;
    let (len, rest) = rest.split_first_chunk()?;
    let (bytes, rest) = rest.split_at(rest.len().min(u32::from_le_bytes(*len) as usize));
    Some((name, if how % 2 == 0 { Storage::Plain } else { Storage::Zstd }, bytes, rest))
}

pub(crate) fn bundle_seeds() -> Vec<Seed> {
    let (scene, mut seeds) = (scene(), Vec::new());
    let device = scene.device.write(&scene.owner);
    let wholes = [scene.edge.write(&scene.owner).0, scene.model.write(&scene.owner), device.to_vec()];
    for (i, (whole, kind)) in wholes.iter().zip(KINDS).enumerate() {
        let reader = Reader::open(whole, kind, &scene.public()).expect("own bundle");
        let mut data = vec![i as u8];
        for name in reader.names() {
            let bytes = reader.section(name).expect("own section");
            data.extend([1, name.len() as u8]);
            data.extend_from_slice(name.as_bytes());
            data.extend((bytes.len() as u32).to_le_bytes());
            data.extend(bytes.iter());
        }
        let name = ["edge", "model", "device"][i];
        seeds.push(bad(format!("{name}-cut"), &data[..data.len() - 1]));
        seeds.push(good(name, data));
    }
    seeds
}
