//! Weights of stored ONNX files, by name.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use burn::prelude::*;

use super::read;

/// Float initializers of an ONNX file.
#[derive(Debug)]
pub struct Weights {
    file: String,
    tensors: HashMap<String, Vec<f32>>,
}

impl Weights {
    /// Reads `models/NAME.onnx` of the data folder.
    ///
    /// # Errors
    /// When it is missing or not an ONNX file with raw float data.
    pub fn read(root: &Path, name: &str) -> Result<Self> {
        let file = format!("models/{name}.onnx");
        let bytes = read(root, &file)?;
        let path = root.join(&file).display().to_string();
        let tensors = initializers(&bytes).with_context(|| format!("{path}: not an ONNX file"))?;
        ensure!(!tensors.is_empty(), "{path}: an ONNX file without raw float weights");
        Ok(Self { file: path, tensors })
    }

    /// The tensor `name` in `shape`.
    ///
    /// # Errors
    /// When it is not there or of another size.
    pub fn get<const D: usize>(&self, name: &str, shape: [usize; D], on: &Device) -> Result<Tensor<D>> {
        let values = self.tensors.get(name).ok_or_else(|| anyhow!("{}: no tensor {name}", self.file))?;
        let fits = values.len() == shape.iter().product::<usize>();
        ensure!(fits, "{}: tensor {name} has {} values, not the shape {shape:?}", self.file, values.len());
        Ok(Tensor::from_data(TensorData::new(values.clone(), shape), on))
    }
}

/// Graph (field 7), its initializers (5), their names (8) and raw data (9).
fn initializers(model: &[u8]) -> Option<HashMap<String, Vec<f32>>> {
    let mut found = HashMap::new();
    for (_, graph) in fields(model)?.into_iter().filter(|f| f.0 == 7) {
        for (_, tensor) in fields(graph)?.into_iter().filter(|f| f.0 == 5) {
            let parts = fields(tensor)?;
            let part = |n: u64| parts.iter().find(|f| f.0 == n).map(|f| f.1);
            let (Some(name), Some(raw)) = (part(8), part(9)) else { continue };
            let values = raw.chunks_exact(4).filter_map(|c| c.try_into().ok()).map(f32::from_le_bytes).collect();
            found.insert(String::from_utf8(name.to_vec()).ok()?, values);
        }
    }
    Some(found)
}

/// The length-delimited fields of a Protocol Buffers message.
fn fields(mut b: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let mut out = Vec::new();
    while !b.is_empty() {
        let tag = varint(&mut b)?;
        match tag & 7 {
            0 => drop(varint(&mut b)?),
            1 => b = b.get(8..)?,
            2 => {
                let n = usize::try_from(varint(&mut b)?).ok()?;
                out.push((tag >> 3, b.get(..n)?));
                b = &b[n..];
            }
            5 => b = b.get(4..)?,
            _ => return None,
        }
    }
    Some(out)
}

fn varint(b: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for i in 0..10 {
        let (&first, rest) = b.split_first()?;
        *b = rest;
        value |= u64::from(first & 127) << (7 * i);
        if first < 128 {
            return Some(value);
        }
    }
    None
}
