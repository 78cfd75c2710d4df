//! The models that an edge serves: signed bundles from its folder, weights packed once by the kernel.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use twinmask_kernels::{Kernel, Linear};
use twinmask_layer::Geometry;
use twinmask_model::bundle::{Digest, EdgeBundle, short};
use twinmask_model::plan::Plan;

use crate::StartError;
use crate::compute::Gathering;

/// The owner's public key in an edge's folder: 64 hexadecimal characters.
const OWNER_FILE: &str = "owner.pub";
/// Folder of the edge bundles.
const MODELS_DIR: &str = "models";
const BUNDLE_EXTENSION: &str = "twm";

/// A model, ready to be computed.
pub(crate) struct Model {
    /// Name and version, for people: `squeezenet v1`.
    pub(crate) title: String,
    pub(crate) digest: Digest,
    pub(crate) plan: Plan,
    /// By layer id.
    pub(crate) layers: Vec<Arc<dyn Linear>>,
    /// By round; for those of fully connected layers only, which are computed for several sessions at once.
    pub(crate) gatherings: Vec<Option<Gathering>>,
}

impl Model {
    fn prepare(bundle: EdgeBundle, digest: Digest, kernel: &dyn Kernel) -> Model {
        let title = format!("{} v{}", bundle.model, bundle.version);
        let plan = bundle.plan;
        let layers = bundle.weights.iter().enumerate();
        let layers = layers.map(|(l, w)| kernel.prepare(plan.layers()[l].geometry(), w, plan.k_of(l))).collect();
        let connected = |r: usize| plan.round_layers(r).all(|l| matches!(plan.layer(l).geometry(), Geometry::Fc(_)));
        let gatherings = (0..plan.rounds().len()).map(|r| connected(r).then(Gathering::default)).collect();
        Model { title, digest, plan, layers, gatherings }
    }
}

/// All models of an edge, by digest.
#[derive(Default)]
pub(crate) struct Models(HashMap<Digest, Arc<Model>>);

impl Models {
    /// Reads every bundle in the folder `dir` of an edge. What `before` holds already is not prepared again.
    ///
    /// # Errors
    /// An unreadable folder or owner key, and the first bundle that is not a good one of this owner.
    pub(crate) fn load(dir: &Path, kernel: &dyn Kernel, before: &Models) -> Result<Models, StartError> {
        let owner = owner_key(dir)?;
        let mut models = Models::default();
        for path in bundles(dir)? {
            let bytes = read(dir, &path, |p| std::fs::read(p))?;
            let begun = Instant::now();
            let (bundle, digest) =
                EdgeBundle::read(&bytes, &owner).map_err(|source| StartError::Bundle { path: path.clone(), source })?;
            let model = match before.get(&digest) {
                Some(model) => Arc::clone(model),
                None => Arc::new(Model::prepare(bundle, digest, kernel)),
            };
            let ms = begun.elapsed().as_millis() as u64;
            tracing::info!(
                model = model.title,
                digest = short(&digest),
                layers = model.layers.len(),
                ms,
                "model loaded"
            );
            models.0.insert(digest, model);
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
    let path = dir.join(OWNER_FILE);
    let text = read(dir, &path, |p| std::fs::read_to_string(p))?;
    let wrong = || {
        StartError::Config(format!(
            "{} does not hold 64 hexadecimal characters; copy it anew from the owner",
            path.display()
        ))
    };
    let digits = text.trim_end().as_bytes();
    let mut key = [0; 32];
    if digits.len() != 2 * key.len() {
        return Err(wrong());
    }
    let digit = |d: u8| char::from(d).to_digit(16).map(|d| d as u8);
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| high << 4 | low).ok_or_else(wrong)?;
    }
    Ok(key)
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
        std::fs::write(folder.path().join(OWNER_FILE), "0".repeat(64)).expect("writes");
        assert!(matches!(load(&folder, &Models::default()), Err(StartError::Bundle { .. })), "another owner");
    }
}
