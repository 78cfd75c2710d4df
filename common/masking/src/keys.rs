//! Masking keys (paper Algorithm 1, Setup; PROTOCOL.md, "Keys"): per group `S_in`, expanded from the device key, and
//! per layer `S_out = W·S_in mod 2^k`.

use twinmask_model::bundle::{DeviceBundle, Digest};
use twinmask_model::plan::Plan;
use twinmask_ring::pack::{self, PackError};
use twinmask_ring::prf::Key;
use zeroize::Zeroizing;

/// `S_in` of group `g` under a device key: `len` elements, uniform in `Z_2^k`.
#[must_use]
pub fn s_in(device_key: &[u8; 32], digest: &Digest, g: u32, k: u32, len: usize) -> Zeroizing<Vec<u32>> {
    let mut out = Zeroizing::new(vec![0; len]);
    Key::derive("S_in", &[device_key, digest]).fill(u64::from(g), k, &mut out);
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
        let groups = plan.groups.iter().enumerate();
        let s_in = groups
            .map(|(g, group)| s_in(&bundle.key, &bundle.model.digest, g as u32, u32::from(group.k), group.len as usize))
            .collect();
        let unpack = |(l, packed): (usize, &Zeroizing<Vec<u8>>)| {
            let mut out = Zeroizing::new(vec![0; plan.layers[l].geometry.out_len()]);
            pack::unpack(packed, plan.k_of(l), &mut out).map(|()| out)
        };
        let s_out = bundle.s_out.iter().enumerate().map(unpack).collect::<Result<_, _>>()?;
        Ok(Self { plan, s_in, s_out })
    }

    pub(crate) fn s_in(&self, group: usize) -> &[u32] {
        &self.s_in[group]
    }

    pub(crate) fn s_out(&self, layer: usize) -> &[u32] {
        &self.s_out[layer]
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
