//! The owner: makes key files. Needs the weights, as whoever computes `W·S_in` does.

use std::fs::OpenOptions;
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use twinmask_kernels::{Linear, Scratch, default_kernel};
use twinmask_model::bundle::{Digest, EdgeBundle};
use twinmask_model::plan::Plan;
use twinmask_ring::prf::Key;
use twinmask_transport::owner_key::{self, OWNER_FILE};

use super::store::{Head, RequestKey};

/// A model's integer layers, ready to be applied: what the owner and the edge have in common.
pub struct Owner {
    /// All that both sides agree on.
    pub plan: Plan,
    /// The model's digest, which key files and devices carry.
    pub digest: Digest,
    layers: Vec<Arc<dyn Linear>>,
}

impl Owner {
    /// Reads the newest version of `model` from the folder of an edge, as `owner-keygen` wrote it.
    ///
    /// # Errors
    /// When there is none, or it is not the owner's.
    pub fn load(edge_dir: &Path, model: &str) -> Result<Self> {
        let path = newest(&edge_dir.join("models"), model)?;
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let owner = owner_key::read(&edge_dir.join(OWNER_FILE))?;
        let (bundle, digest) = EdgeBundle::read(&bytes, &owner).with_context(|| path.display().to_string())?;
        let kernel = default_kernel();
        let prepare = |(l, weights): (_, &Vec<i16>)| {
            kernel.prepare(bundle.plan.layer(l).geometry(), weights, bundle.plan.k_of(l))
        };
        let layers = bundle.plan.layer_ids().zip(&bundle.weights).map(prepare).collect();
        Ok(Self { plan: bundle.plan, digest, layers })
    }

    /// Writes keys for `requests` requests to `path`, readable by its owner alone; gives the file's size in bytes.
    /// Their secrets come from `seed`, which must never be given twice.
    ///
    /// # Errors
    /// When the file is there already, or cannot be written.
    pub fn issue(&self, path: &Path, requests: u64, seed: &[u8; 32]) -> Result<u64> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut out = BufWriter::new(file.with_context(|| path.display().to_string())?);
        let head = Head { digest: self.digest, issued: requests, used: 0 };
        out.write_all(&head.bytes())?;
        let mut record = Vec::with_capacity(RequestKey::packed_len(&self.plan));
        for request in 0..requests {
            record.clear();
            self.key(&Key::derive("one-time", &[seed, &request.to_le_bytes()])).pack(&self.plan, &mut record);
            out.write_all(&record).with_context(|| path.display().to_string())?;
        }
        out.into_inner().map_err(|e| anyhow!("{}: {e}", path.display()))?.sync_all()?;
        Ok(std::fs::metadata(path)?.len())
    }

    /// One request's pair: `S_in` from `key`, and `W·S_in`.
    fn key(&self, key: &Key) -> RequestKey {
        let mut scratch = Scratch::default();
        let s_in: Vec<Vec<u32>> =
            self.plan.numbered_groups().map(|(g, group)| key.elements(g.into(), group.k(), group.in_len())).collect();
        let s_out = self.plan.numbered_layers().zip(&self.layers).map(|((_, layer), linear)| {
            let mut out = vec![0; layer.geometry().out_len()];
            linear.apply(&s_in[layer.group().index()], &mut out, &mut scratch);
            out
        });
        let s_out = s_out.collect();
        RequestKey { s_in, s_out }
    }

    /// `W·v` of every layer of the group number `group`, one after the other, into `out`.
    ///
    /// # Panics
    /// If `share` is not the group's length.
    pub(super) fn apply(&self, group: usize, share: &[u32], scratch: &mut Scratch) -> Vec<Vec<u32>> {
        let layers = self.plan.groups()[group].layers().iter();
        let each = layers.map(|l| {
            let mut z = vec![0; self.plan.layer(*l).geometry().out_len()];
            self.layers[l.index()].apply(share, &mut z, scratch);
            z
        });
        each.collect()
    }
}

/// 32 random bytes of the operating system's.
///
/// # Errors
/// When it gives none.
pub fn fresh_seed() -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut seed)).context("/dev/urandom")?;
    Ok(seed)
}

/// `MODEL-vN.twm` with the largest N in `folder`.
fn newest(folder: &Path, model: &str) -> Result<PathBuf> {
    let version = |name: &str| name.strip_prefix(model)?.strip_prefix("-v")?.strip_suffix(".twm")?.parse::<u32>().ok();
    let files = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?.flatten();
    let newest = files.filter_map(|f| Some((version(f.file_name().to_str()?)?, f.path()))).max();
    newest.map(|(_, path)| path).ok_or_else(|| anyhow!("{} holds no model '{model}'", folder.display()))
}
