//! How a file is imported.

/// How to import.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Height and width to give to an image input whose size the file leaves open.
    pub input_size: Option<(u32, u32)>,
    /// Most bytes of the file, and of all tensors together.
    pub memory_cap: u64,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self { input_size: None, memory_cap: 4 << 30 }
    }
}
