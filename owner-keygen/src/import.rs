//! How a network is read and divided: the same for `add-model`, which keeps it, and `inspect`, which only looks.

use std::path::Path;

use twinmask_model::graph::Graph;
use twinmask_model::ring_plan::Profile;
use twinmask_onnx::{ImportError, ImportOptions, Imported, import};

use crate::partition::{Offload, PartitionError, Partitioned, partition};

/// What a person may say about it.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// Ring widths.
    pub profile: Profile,
    /// Which layers leave the device.
    pub offload: Offload,
    /// Height and width, where the file leaves them open.
    pub input_size: Option<(u32, u32)>,
}

impl Default for ImportRequest {
    /// `balanced` rings, and all layers that can leave the device.
    fn default() -> Self {
        Self { profile: Profile::Balanced, offload: Offload::All, input_size: None }
    }
}

impl ImportRequest {
    /// Reads the ONNX file at `path`.
    ///
    /// # Errors
    /// [`ImportError`], naming file, node or tensor, and the mend.
    pub fn read(&self, path: &Path) -> Result<Imported, ImportError> {
        import(path, &ImportOptions { input_size: self.input_size, ..ImportOptions::default() })
    }

    /// Divides what was read.
    ///
    /// # Errors
    /// [`PartitionError`], naming the layer.
    pub fn divide(&self, graph: Graph) -> Result<Partitioned, PartitionError> {
        partition(graph, self.profile, &self.offload)
    }
}
