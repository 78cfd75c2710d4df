//! Masking keys (paper Algorithm 1, Setup; PROTOCOL.md, "Keys"): per group `S_in`, expanded from the device key, and
//! per layer `S_out = W·S_in mod 2^k`.

use twinmask_codec::{GroupId, LayerId};
use twinmask_kernels::Scratch;
use twinmask_model::bundle::{DeviceBundle, Digest};
use twinmask_model::plan::{Group, Plan};
use twinmask_ring::pack::{self, PackError};
use twinmask_ring::prf::Key;
use zeroize::Zeroizing;

/// `S_in` of group `g` under a device key: `len` elements, uniform in `Z_2^k`.
#[must_use]
pub fn s_in(device_key: &[u8; 32], digest: &Digest, g: GroupId, k: u32, len: usize) -> Zeroizing<Vec<u32>> {
    let mut out = Zeroizing::new(vec![0; len]);
    Key::derive("S_in", &[device_key, digest]).fill(g.into(), k, &mut out);
    out
}

/// `S_out = W·S_in mod 2^k` of each layer of `plan`, packed: what the owner puts into the bundle of the device with
/// this key. `weights` are the layers' integers, `[out_channels, fan_in]` each.
///
/// # Panics
/// If `weights` are not those of the plan's layers.
#[must_use]
pub fn s_out(device_key: &[u8; 32], digest: &Digest, plan: &Plan, weights: &[Vec<i16>]) -> Vec<Zeroizing<Vec<u8>>> {
    let kernel = twinmask_kernels::portable();
    let mut scratch = Scratch::default();
    let mut out = vec![Zeroizing::default(); plan.layers().len()];
    for (g, group) in plan.numbered_groups() {
        let k = group.k();
        let s = s_in(device_key, digest, g, k, group.in_len());
        for &l in group.layers() {
            let (geometry, part) = (plan.layer(l).geometry(), plan.answer_part(l));
            let mut z = Zeroizing::new(vec![0; part.len]);
            kernel.prepare(geometry, &weights[l.index()], k).apply(&s, &mut z, &mut scratch);
            let mut packed = Zeroizing::new(Vec::with_capacity(part.packed_len()));
            pack::pack(&z, k, &mut packed);
            out[l.index()] = packed;
        }
    }
    out
}

/// The keys of one device for one model, expanded and ready to mask with.
pub struct DeviceKeys {
    pub(crate) plan: Plan,
    s_in: Vec<Zeroizing<Vec<u32>>>,
    s_out: Vec<Zeroizing<Vec<u32>>>,
}

impl DeviceKeys {
    /// Expands the keys of `bundle`.
    ///
    /// # Errors
    /// [`PackError`] when a stored `S_out` is no packing of its layer's output.
    pub fn expand(bundle: &DeviceBundle) -> Result<Self, PackError> {
        let plan = bundle.model.plan.clone();
        let expand =
            |(g, group): (GroupId, &Group)| s_in(&bundle.key, &bundle.model.digest, g, group.k(), group.in_len());
        let s_in = plan.numbered_groups().map(expand).collect();
        let unpack = |(l, packed): (LayerId, &Zeroizing<Vec<u8>>)| {
            let part = plan.answer_part(l);
            let mut out = Zeroizing::new(vec![0; part.len]);
            pack::unpack(packed, part.bits, &mut out).map(|()| out)
        };
        let s_out = plan.layer_ids().zip(&bundle.s_out).map(unpack).collect::<Result<_, _>>()?;
        Ok(Self { plan, s_in, s_out })
    }

    pub(crate) fn s_in(&self, g: GroupId) -> &[u32] {
        &self.s_in[g.index()]
    }

    pub(crate) fn s_out(&self, l: LayerId) -> &[u32] {
        &self.s_out[l.index()]
    }

    /// The plan that the keys belong to.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl std::fmt::Debug for DeviceKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceKeys(..)")
    }
}
