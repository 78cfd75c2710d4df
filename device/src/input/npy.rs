//! NumPy's .npy files: float32, int32 or int64, little-endian, C order.

use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use twinmask_model::graph::Element;

use crate::input::error::{InputError, Origin};
use crate::input::tensor::{Data, Tensor};

/// First bytes of every .npy file.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";
/// Most bytes of a header: NumPy's own take 128.
const MAX_HEADER: usize = 1 << 16;

/// Reads an array of exactly this shape and element type, such as [`write()`] makes of floats. No more is taken from
/// `file` than that array has bytes, and one more.
///
/// # Errors
/// [`InputError::Array`] saying what is wrong with the array, and the mend.
pub fn read(file: impl Read, shape: &[u32], element: Element) -> Result<Tensor, InputError> {
    read_array(file, shape, element).map_err(|reason| InputError::Array { origin: Origin::Memory, reason })
}

/// As [`read`]; says what is wrong with the array, and the mend.
pub(crate) fn read_array(mut file: impl Read, shape: &[u32], element: Element) -> Result<Tensor, String> {
    let header = read_header(&mut file)?;
    let found = parse(&header).ok_or("has a header that cannot be understood: save it again with numpy.save")?;
    let (wanted, size) = match element {
        Element::F32 => ("<f4", 4u64),
        Element::I32 => ("<i4", 4),
        Element::I64 => ("<i8", 8),
    };
    if found.descr != wanted {
        return Err(format!("holds {}: convert it with .astype('{wanted}')", dtype(found.descr)));
    }
    if found.fortran {
        return Err("is in Fortran order: convert it with numpy.ascontiguousarray".into());
    }
    if found.shape.len() != shape.len() || found.shape.iter().zip(shape).any(|(a, &b)| *a != u64::from(b)) {
        return Err(format!("has the shape {:?}, the model takes {shape:?}: reshape it", found.shape));
    }
    let len = shape.iter().fold(size, |n, &d| n.saturating_mul(u64::from(d)));
    let mut bytes = Vec::new();
    file.take(len.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 != len {
        let state = if (bytes.len() as u64) < len { "is cut off" } else { "has bytes after its elements" };
        return Err(format!("{state}: {shape:?} takes {len} bytes; save it again"));
    }
    Tensor::new(shape, elements(&bytes, element)?).map_err(|e| e.to_string())
}

fn elements(bytes: &[u8], element: Element) -> Result<Data, String> {
    match element {
        Element::F32 => {
            let data: Vec<f32> = bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
            match data.iter().position(|v| !v.is_finite()) {
                Some(i) => Err(format!("holds {} at element {i}: inputs must be finite", data[i])),
                None => Ok(Data::F32(data)),
            }
        }
        Element::I32 => Ok(Data::I32(bytes.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b)).collect())),
        Element::I64 => Ok(Data::I64(bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect())),
    }
}

fn unreadable(e: io::Error) -> String {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => "is cut off within its header: save it again".into(),
        _ => format!("cannot be read: {e}"),
    }
}

fn read_header(file: &mut impl Read) -> Result<String, String> {
    let mut start = [0u8; 8];
    file.read_exact(&mut start).map_err(unreadable)?;
    if !start.starts_with(MAGIC) {
        return Err("is no .npy file, whatever its name says: save it with numpy.save".into());
    }
    let mut size = [0u8; 4];
    let bytes = match start[6] {
        1 => 2,
        2 | 3 => 4,
        v => return Err(format!("is of .npy version {v}, unknown here: save it with numpy.save")),
    };
    file.read_exact(&mut size[..bytes]).map_err(unreadable)?;
    let size = u32::from_le_bytes(size) as usize;
    if size > MAX_HEADER {
        return Err(format!(
            "announces a header of {size} bytes, more than {MAX_HEADER}: save it again with numpy.save"
        ));
    }
    let mut header = vec![0; size];
    file.read_exact(&mut header).map_err(unreadable)?;
    String::from_utf8(header).map_err(|_| "has a header that is no text: save it again with numpy.save".into())
}

struct Header<'a> {
    descr: &'a str,
    fortran: bool,
    shape: Vec<u64>,
}

/// Reads the Python dictionary `{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }`.
fn parse(header: &str) -> Option<Header<'_>> {
    let field = |key: &str| Some(header.split_once(key)?.1.trim_start().strip_prefix(':')?.trim_start());
    let descr = field("'descr'")?;
    // A record type is a list; show it as it stands.
    let descr = match descr.strip_prefix('\'') {
        Some(rest) => rest.split_once('\'')?.0,
        None => descr.split_once(']')?.0,
    };
    let order = field("'fortran_order'")?;
    let fortran = order.starts_with("True");
    let shape = field("'shape'")?.strip_prefix('(')?.split_once(')')?.0;
    let sizes = shape.split(',').map(str::trim).filter(|s| !s.is_empty()).map(|s| s.parse().ok());
    (fortran || order.starts_with("False")).then_some(Header { descr, fortran, shape: sizes.collect::<Option<_>>()? })
}

/// NumPy's name of a type code.
fn dtype(descr: &str) -> String {
    let (order, code) = descr.split_at_checked(1).unwrap_or(("", descr));
    let name = match code {
        "f2" => "float16",
        "f4" => "float32",
        "f8" => "float64",
        "i1" => "int8",
        "i2" => "int16",
        "i4" => "int32",
        "i8" => "int64",
        "u1" => "uint8",
        "u2" => "uint16",
        "u4" => "uint32",
        "u8" => "uint64",
        "b1" => "bool",
        _ => return format!("elements of type {descr:.60?}"),
    };
    if order == ">" { format!("big-endian {name}") } else { name.into() }
}

/// Writes an array of `shape` (format version 1.0) to a temporary name beside `path`, and renames it: an older file
/// stays whole until the new one is. Readable by its owner only, as it may hold what the inference was to hide.
///
/// # Errors
/// [`InputError::Write`] when the elements do not fit the shape, and whatever the file system says.
pub fn write(path: &Path, shape: &[u32], data: &[f32]) -> Result<(), InputError> {
    write_file(path, shape, data).map_err(|source| InputError::Write { path: path.into(), source })
}

fn write_file(path: &Path, shape: &[u32], data: &[f32]) -> io::Result<()> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    if twinmask_model::graph::elements(shape) != data.len() {
        return Err(invalid(format!("{} elements are no array of shape {shape:?}", data.len())));
    }
    let sizes: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let sizes = if shape.len() == 1 { sizes.trim_end() } else { sizes.trim_end_matches(", ") };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}");
    // The elements begin at a multiple of 64 bytes.
    let padding = (64 - (MAGIC.len() + 4 + header.len() + 1) % 64) % 64;
    header.extend(std::iter::repeat_n(' ', padding).chain(['\n']));
    let size = u16::try_from(header.len()).map_err(|_| invalid(format!("rank {} is too high", shape.len())))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let mut out = BufWriter::new(file.as_file_mut());
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&size.to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    data.iter().try_for_each(|v| out.write_all(&v.to_le_bytes()))?;
    out.flush()?;
    drop(out);
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
