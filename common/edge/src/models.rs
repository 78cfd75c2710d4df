//! The models that an edge serves: signed bundles from its folder, weights packed once by the kernel.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use twinmask_codec::{LayerId, Part, RoundId, packed_parts_len};
use twinmask_kernels::{Kernel, Linear};
use twinmask_layer::Geometry;
use twinmask_model::bundle::{Digest, EdgeBundle, short};
use twinmask_model::plan::Plan;
use twinmask_model::seen::Seen;
use twinmask_transport::owner_key::{self, OWNER_FILE, OwnerKeyError};
use twinmask_wire::payload;

use crate::error::StartError;
use crate::role::Role;

/// Folder of the edge bundles.
pub(crate) const MODELS_DIR: &str = "models";
const BUNDLE_EXTENSION: &str = "twm";

/// A model, ready to be computed.
pub(crate) struct Model {
    /// By which devices' certificates name it.
    pub(crate) name: String,
    /// Name and version, for people: `squeezenet v1`.
    pub(crate) title: String,
    pub(crate) digest: Digest,
    pub(crate) plan: Plan,
    /// By layer id.
    pub(crate) layers: Vec<Arc<dyn Linear>>,
    /// By layer id, what computes each stripe of its answers; none where there is one only.
    pub(crate) stripes: Vec<Vec<Arc<dyn Linear>>>,
    /// By round: whether it has fully connected layers only, and is computed for several sessions at once.
    pub(crate) gathers: Vec<bool>,
    /// By round.
    pub(crate) lengths: Arc<[Lengths]>,
}

/// Bytes of the payloads of a round: at most, or as they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    /// Of an upload, whatever its codec.
    pub(crate) upload: usize,
    /// Of an answer, whatever its codec.
    pub(crate) answer: usize,
    /// Of a correction.
    pub(crate) correction: usize,
    /// Of what edge B holds at once: an upload, of which nothing is left when it is computed, or an answer; or three
    /// stripes of the one (one that arrives, and two that are computed with) and one of the other.
    held: usize,
}

impl Lengths {
    fn of(plan: &Plan, r: RoundId) -> Lengths {
        let uploads: Vec<Vec<Part>> = (0..plan.stripes(r)).map(|j| plan.upload_stripe(r, j)).collect();
        let answers: Vec<Vec<Part>> = (0..plan.stripes(r)).map(|j| plan.answer_stripe(r, j, true)).collect();
        let longest = |stripes: &[Vec<Part>]| stripes.iter().map(|s| payload::most_len(s)).max().unwrap_or(0);
        let held = match uploads.len() {
            1 => longest(&uploads).max(longest(&answers)),
            _ => 3 * longest(&uploads) + longest(&answers),
        };
        let (upload, answers) = (payload::most_len(&uploads.concat()), answers.concat());
        Lengths { upload, answer: payload::most_len(&answers), correction: packed_parts_len(&answers), held }
    }
}

impl Model {
    fn prepare(bundle: EdgeBundle, digest: Digest, kernel: &dyn Kernel) -> Model {
        let title = format!("{} v{}", bundle.model, bundle.version);
        let plan = bundle.plan;
        let layers = plan.layer_ids().zip(&bundle.weights);
        let layers = layers.map(|(l, w)| kernel.prepare(plan.layer(l).geometry(), w, plan.k_of(l)));
        let layers: Vec<Arc<dyn Linear>> = layers.collect();
        let stripes = plan.layer_ids().zip(&layers).map(|(l, layer)| stripes(&plan, l, layer)).collect();
        let connected = |r: RoundId| plan.round_layers(r).all(|l| matches!(plan.layer(l).geometry(), Geometry::Fc(_)));
        let gathers = plan.round_ids().map(connected).collect();
        let lengths = plan.round_ids().map(|r| Lengths::of(&plan, r)).collect();
        Model { name: bundle.model, title, digest, plan, layers, stripes, gathers, lengths }
    }

    /// Which kernels compute its layers, in runs of the same, for the log.
    fn kernels(&self) -> String {
        let runs = self.layers.chunk_by(|a, b| a.picked() == b.picked());
        let text = |run: &[Arc<dyn Linear>]| match run {
            [one] => one.picked().to_owned(),
            many => format!("{} x{}", many[0].picked(), many.len()),
        };
        runs.map(text).collect::<Vec<_>>().join(", ")
    }

    /// Most bytes that an inference of this model holds at the edge `role` while it runs.
    pub(crate) fn held(&self, role: Role) -> usize {
        let of = |l: &Lengths| match role {
            Role::A => l.answer,
            Role::B => l.held,
        };
        self.lengths.iter().map(of).max().unwrap_or(0)
    }
}

/// What computes each stripe of the answers of `layer`, if there are several.
fn stripes(plan: &Plan, l: LayerId, layer: &Arc<dyn Linear>) -> Vec<Arc<dyn Linear>> {
    let (Geometry::Conv(conv), order) = (layer.geometry(), plan.output_order(l)) else { return Vec::new() };
    let several = (0..order.count()).filter(|_| order.count() > 1).map(|j| order.rows(j));
    let part = |rows: Range<usize>| conv.rows(rows.start as u32..rows.end as u32);
    several.filter_map(part).map(|(_, part)| layer.of_rows(part)).collect()
}

/// All models of an edge, by digest.
#[derive(Default)]
pub(crate) struct Models(HashMap<Digest, Arc<Model>>);

impl Models {
    /// Reads every bundle in the folder `dir` of an edge. What `before` holds already is not prepared again.
    ///
    /// # Errors
    /// An unreadable folder or owner key, and the first bundle that is not a good one of this owner, or an older one
    /// than this edge has had.
    pub(crate) fn load(dir: &Path, kernel: &dyn Kernel, before: &Models) -> Result<Models, StartError> {
        let owner = owner_key(dir)?;
        let mut models = Models::default();
        let (mut seen, mut loaded) = (Seen::open(dir)?, Vec::new());
        for path in bundles(dir)? {
            let bytes = read(dir, &path, |p| std::fs::read(p))?;
            let begun = Instant::now();
            let (bundle, digest) =
                EdgeBundle::read(&bytes, &owner).map_err(|source| StartError::Bundle { path: path.clone(), source })?;
            seen.edge(&bundle.model, bundle.version)
                .map_err(|source| StartError::Older { path: path.clone(), source })?;
            loaded.push((bundle.model.clone(), bundle.version));
            let model = match before.get(&digest) {
                Some(model) => Arc::clone(model),
                None => Arc::new(Model::prepare(bundle, digest, kernel)),
            };
            let (ms, kernels) = (begun.elapsed().as_millis() as u64, model.kernels());
            tracing::info!(
                model = model.title,
                digest = short(&digest),
                layers = model.layers.len(),
                kernels,
                ms,
                "model loaded"
            );
            models.0.insert(digest, model);
        }
        seen.loaded(loaded.iter().map(|(model, version)| (model.as_str(), *version)));
        let file = seen.file().display().to_string();
        if let Err(error) = seen.save() {
            tracing::error!(%error, file, "cannot write down which versions were here: older ones will not be noticed");
        }
        Ok(models)
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<&Arc<Model>> {
        self.0.get(digest)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Names and short digests, for people.
    pub(crate) fn list(&self) -> String {
        let mut names: Vec<String> = self.0.values().map(|m| format!("{} {}", m.title, short(&m.digest))).collect();
        names.sort();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

fn read<T>(dir: &Path, path: &Path, read: impl FnOnce(&Path) -> std::io::Result<T>) -> Result<T, StartError> {
    read(path).map_err(|source| StartError::Read { path: path.to_owned(), dir: dir.to_owned(), source })
}

/// The bundles in an edge's folder, sorted; none when there is no folder for them.
fn bundles(dir: &Path) -> Result<Vec<PathBuf>, StartError> {
    let folder = dir.join(MODELS_DIR);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = read(dir, &folder, |p| std::fs::read_dir(p)?.collect::<Result<Vec<_>, _>>())?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|e| e.path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == BUNDLE_EXTENSION));
    paths.sort();
    Ok(paths)
}

fn owner_key(dir: &Path) -> Result<[u8; 32], StartError> {
    owner_key::read(&dir.join(OWNER_FILE)).map_err(|error| match error {
        OwnerKeyError::Read { path, source } => StartError::Read { path, dir: dir.to_owned(), source },
        error => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Folder, bundle};

    fn load(folder: &Folder, before: &Models) -> Result<Models, StartError> {
        Models::load(folder.path(), &*twinmask_kernels::default_kernel(), before)
    }

    #[test]
    fn bundles_are_found_by_digest_and_prepared_once() {
        let folder = Folder::new();
        assert_eq!(load(&folder, &Models::default()).expect("no models are no error").list(), "none");
        let digest = folder.add("one", &bundle());
        std::fs::write(folder.path().join("models/README"), "not a bundle").expect("writes");
        let first = load(&folder, &Models::default()).expect("a good folder");
        assert_eq!(first.list(), format!("tiny v1 {}", short(&digest)));
        let again = load(&folder, &first).expect("a good folder");
        assert!(Arc::ptr_eq(&first.0[&digest], &again.0[&digest]));
    }

    /// If this fails, an edge with its folder on a disk that is not to be written does not start.
    #[test]
    fn a_read_only_folder_serves_and_remembers_nothing() {
        let folder = Folder::new();
        let owners = || {
            folder.add("one", &bundle());
            folder.path().to_owned()
        };
        let test = "models::tests::a_read_only_folder_serves_and_remembers_nothing";
        let Some(dir) = twinmask_testkit::read_only(test, owners) else { return };
        std::fs::write(dir.join("probe"), "").expect_err("read-only");
        for _ in 0..2 {
            let models = Models::load(&dir, &*twinmask_kernels::default_kernel(), &Models::default());
            assert_eq!(models.expect("a good folder").len(), 1);
        }
        assert!(!dir.join(twinmask_model::seen::SEEN_FILE).exists());
    }

    #[test]
    fn a_bad_bundle_is_named() {
        let folder = Folder::new();
        folder.add("good", &bundle());
        let path = folder.path().join("models/good.twm");
        let mut bytes = std::fs::read(&path).expect("reads");
        *bytes.last_mut().expect("not empty") ^= 1;
        std::fs::write(folder.path().join("models/worse.twm"), bytes).expect("writes");
        let error = load(&folder, &Models::default()).err().expect("damaged");
        assert!(error.to_string().contains("worse.twm") && error.exit_code() == 3, "{error}");
        for key in ["", "zz", &"g".repeat(64), &"a".repeat(63), &"é".repeat(32)] {
            std::fs::write(folder.path().join(OWNER_FILE), key).expect("writes");
            let error = load(&folder, &Models::default()).err().expect("no key");
            assert!(error.to_string().contains(OWNER_FILE), "{error}");
        }
        std::fs::remove_file(folder.path().join(OWNER_FILE)).expect("removes");
        let error = load(&folder, &Models::default()).err().expect("no key").to_string();
        assert!(error.contains(OWNER_FILE) && error.contains("what owner-keygen wrote for this edge"), "{error}");
        std::fs::write(folder.path().join(OWNER_FILE), "0".repeat(64)).expect("writes");
        assert!(matches!(load(&folder, &Models::default()), Err(StartError::Bundle { .. })), "another owner");
    }
}
