//! Tensor data of a file: types, lengths, external files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use twinmask_model::dims::elements;

use super::reader;
use super::tensor::{Tensor, check_shape};

/// Bytes that may still be allocated for tensors.
pub(super) struct Budget(u64);

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Takes `elements * size` bytes.
    pub(super) fn charge(&mut self, elements: u64, size: u64) -> Result<(), String> {
        let left = elements.checked_mul(size).and_then(|n| self.0.checked_sub(n));
        self.0 = left.ok_or("the tensors need more memory than the cap allows; raise the memory cap")?;
        Ok(())
    }
}

/// Number of elements and the dimensions, checked.
fn dimensions(dims: &[i64]) -> Result<(u64, Vec<u32>), String> {
    let shape = dims.iter().map(|&d| u32::try_from(d)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| format!("impossible dimensions {dims:?}"))?;
    check_shape(&shape)?;
    Ok((elements(&shape) as u64, shape))
}

/// Bytes per element of an ONNX data type.
fn size_of(data_type: i64) -> Result<u64, String> {
    match data_type {
        2 | 3 | 9 => Ok(1),
        4 | 5 | 10 | 16 => Ok(2),
        1 | 6 | 12 => Ok(4),
        7 | 11 | 13 => Ok(8),
        other => Err(format!(
            "element type {other} is not supported (float, float16, bfloat16, double, integers and booleans are)"
        )),
    }
}

/// Decodes a tensor; external data is looked for in `folder`.
pub(super) fn decode(t: &reader::Tensor, folder: &Path, budget: &mut Budget) -> Result<Tensor, String> {
    let (n, shape) = dimensions(&t.dims)?;
    let size = size_of(t.data_type)?;
    let bytes = n.checked_mul(size).ok_or("impossible dimensions")?;
    let is_float = matches!(t.data_type, 1 | 10 | 11 | 16);
    if t.is_external {
        budget.charge(bytes, 1)?;
        let raw = external(t, folder, bytes)?;
        budget.charge(n, if is_float { 4 } else { 8 })?;
        return from_raw(t.data_type, shape, &raw);
    }
    let there = match t.raw {
        Some(raw) => raw.len() as u64 == bytes,
        None => [t.floats.len(), t.doubles.len(), t.ints.len()].contains(&(n as usize)) || n == 0,
    };
    if !there {
        return Err(format!("its data does not fill its dimensions {:?}", t.dims));
    }
    budget.charge(n, if is_float { 4 } else { 8 })?;
    match t.raw {
        Some(raw) => from_raw(t.data_type, shape, raw),
        None => from_typed(t, shape, n as usize),
    }
}

fn from_raw(data_type: i64, shape: Vec<u32>, raw: &[u8]) -> Result<Tensor, String> {
    fn map<const N: usize, T>(raw: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
        raw.as_chunks::<N>().0.iter().map(|&b| f(b)).collect()
    }
    Ok(match data_type {
        1 => Tensor::floats(shape, map(raw, f32::from_le_bytes)),
        10 => Tensor::floats(shape, map(raw, |b| half(u16::from_le_bytes(b)))),
        11 => Tensor::floats(shape, map(raw, |b| f64::from_le_bytes(b) as f32)),
        16 => Tensor::floats(shape, map(raw, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16))),
        2 | 9 => Tensor::ints(shape, map(raw, |[b]| i64::from(b))),
        3 => Tensor::ints(shape, map(raw, |b| i64::from(i8::from_le_bytes(b)))),
        4 => Tensor::ints(shape, map(raw, |b| i64::from(u16::from_le_bytes(b)))),
        5 => Tensor::ints(shape, map(raw, |b| i64::from(i16::from_le_bytes(b)))),
        6 => Tensor::ints(shape, map(raw, |b| i64::from(i32::from_le_bytes(b)))),
        12 => Tensor::ints(shape, map(raw, |b| i64::from(u32::from_le_bytes(b)))),
        7 | 13 => Tensor::ints(shape, map(raw, i64::from_le_bytes)),
        other => return Err(format!("element type {other}")),
    })
}

fn from_typed(t: &reader::Tensor, shape: Vec<u32>, n: usize) -> Result<Tensor, String> {
    let exact = |len: usize| if len == n { Ok(()) } else { Err(format!("{len} elements for dimensions {:?}", t.dims)) };
    match t.data_type {
        1 => exact(t.floats.len()).map(|()| Tensor::floats(shape, t.floats.clone())),
        11 => exact(t.doubles.len()).map(|()| Tensor::floats(shape, t.doubles.iter().map(|&v| v as f32).collect())),
        10 => exact(t.ints.len()).map(|()| Tensor::floats(shape, t.ints.iter().map(|&v| half(v as u16)).collect())),
        16 => exact(t.ints.len()).map(|()| {
            Tensor::floats(shape, t.ints.iter().map(|&v| f32::from_bits(u32::from(v as u16) << 16)).collect())
        }),
        6 => exact(t.ints.len()).map(|()| Tensor::ints(shape, t.ints.iter().map(|&v| i64::from(v as i32)).collect())),
        _ => exact(t.ints.len()).map(|()| Tensor::ints(shape, t.ints.clone())),
    }
}

/// IEEE 754 binary16 to binary32, exactly.
fn half(bits: u16) -> f32 {
    let (sign, exponent, fraction) =
        (u32::from(bits & 0x8000) << 16, u32::from(bits >> 10 & 31), u32::from(bits & 0x3ff));
    match exponent {
        0 => f32::from_bits(sign | 0x3f80_0000) * (fraction as f32 / 16_777_216.0),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        e => f32::from_bits(sign | (e + 112) << 23 | fraction << 13),
    }
}

/// Reads `bytes` bytes of the tensor's external file, which must lie in the model's folder.
fn external(t: &reader::Tensor, folder: &Path, bytes: u64) -> Result<Vec<u8>, String> {
    let key = |name: &str| t.external.iter().find(|(k, _)| *k == name).map(|&(_, v)| v);
    let number = |name: &str, default: u64| match key(name) {
        None => Ok(default),
        Some(v) => v.parse::<u64>().map_err(|_| format!("external data has the {name} '{v}'")),
    };
    let location = key("location").ok_or("its data is in another file that is not named")?;
    let (offset, length) = (number("offset", 0)?, number("length", bytes)?);
    if length != bytes {
        return Err(format!("external data of {length} bytes for dimensions {:?} ({bytes} bytes)", t.dims));
    }
    let path = inside(folder, location)?;
    let fail =
        |e: std::io::Error| format!("external data '{location}' cannot be read: {e}; put it beside the model file");
    let mut file = File::open(&path).map_err(fail)?;
    let there = file.metadata().map_err(fail)?.len();
    if offset.checked_add(bytes).is_none_or(|end| end > there) {
        return Err(format!("external data '{location}' has {there} bytes, {bytes} at {offset} are wanted"));
    }
    let mut data = vec![0; bytes as usize];
    file.seek(SeekFrom::Start(offset)).map_err(fail)?;
    file.read_exact(&mut data).map_err(fail)?;
    Ok(data)
}

/// `location` below `folder`, without `..`, absolute paths and symbolic links.
fn inside(folder: &Path, location: &str) -> Result<PathBuf, String> {
    let mut path = folder.to_path_buf();
    let mut parts = Path::new(location).components().peekable();
    if parts.peek().is_none() {
        return Err("external data with an empty file name".into());
    }
    for part in parts {
        let Component::Normal(name) = part else {
            return Err(format!(
                "external data '{location}' lies outside the model's folder; put it beside the model file"
            ));
        };
        path.push(name);
        if path.symlink_metadata().is_ok_and(|m| m.file_type().is_symlink()) {
            return Err(format!(
                "external data '{location}' is a symbolic link; put the file itself beside the model file"
            ));
        }
    }
    let regular = path.symlink_metadata().map(|m| m.is_file());
    match regular {
        Ok(true) => Ok(path),
        Ok(false) => Err(format!("external data '{location}' is no regular file")),
        Err(e) => Err(format!("external data '{location}' cannot be read: {e}; put it beside the model file")),
    }
}

#[cfg(test)]
mod tests {
    use super::half;

    #[test]
    fn half_precision() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x8000, -0.0),
            (0x3555, 0.333_251_95),
        ] {
            assert_eq!(half(bits), value, "{bits:04x}");
        }
        assert!(half(0x7e00).is_nan() && half(0x7c00) == f32::INFINITY);
    }
}
