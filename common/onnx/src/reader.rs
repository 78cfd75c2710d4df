//! Reads ONNX's protobuf messages from bytes, borrowing all names and data from them.
//!
//! Own code and not `rten_onnx::onnx::ModelProto::decode`: that one allocates a length before it knows that the bytes
//! are there and recurses without bound (a hostile file aborts the process), refuses packed `dims` and `ints` as
//! proto3 writers emit them, and knows no local functions.

use std::cell::Cell;

/// Deepest nesting of graphs in attributes.
const MAX_DEPTH: u32 = 8;
/// Most nodes, tensors, attributes and other messages in a file.
const MAX_MESSAGES: u32 = 1 << 20;
/// Longest name, in bytes.
const MAX_NAME: usize = 4096;

type Result<T> = std::result::Result<T, String>;

/// One field of a message.
#[derive(Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

fn take<'a>(rest: &mut &'a [u8], n: u64) -> Result<&'a [u8]> {
    let n = usize::try_from(n).ok().filter(|&n| n <= rest.len()).ok_or("it ends in the middle of a field")?;
    let (head, tail) = rest.split_at(n);
    *rest = tail;
    Ok(head)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let mut out = [0; N];
    out.copy_from_slice(take(rest, N as u64)?);
    Ok(out)
}

fn varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let [byte] = array::<1>(rest)?;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("an integer is longer than 10 bytes".into())
}

/// Calls `field` with every field of a message.
fn fields<'a>(mut rest: &'a [u8], mut field: impl FnMut(u64, Wire<'a>) -> Result<()>) -> Result<()> {
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let wire = match tag & 7 {
            0 => Wire::Varint(varint(&mut rest)?),
            1 => Wire::Fixed64(array(&mut rest)?),
            2 => {
                let len = varint(&mut rest)?;
                Wire::Bytes(take(&mut rest, len)?)
            }
            5 => Wire::Fixed32(array(&mut rest)?),
            other => return Err(format!("unknown wire type {other}")),
        };
        field(tag >> 3, wire)?;
    }
    Ok(())
}

impl<'a> Wire<'a> {
    fn bytes(self) -> Result<&'a [u8]> {
        if let Self::Bytes(b) = self {
            Ok(b)
        } else {
            Err("a number stands where text or a message is expected".into())
        }
    }

    fn text(self) -> Result<&'a str> {
        if self.bytes()?.len() > MAX_NAME {
            return Err(format!("a name is longer than {MAX_NAME} bytes"));
        }
        std::str::from_utf8(self.bytes()?).map_err(|_| "a name is not UTF-8".into())
    }

    fn int(self) -> Result<i64> {
        if let Self::Varint(v) = self { Ok(v as i64) } else { Err("an integer is expected".into()) }
    }

    fn float(self) -> Result<f32> {
        if let Self::Fixed32(b) = self { Ok(f32::from_le_bytes(b)) } else { Err("a 32-bit float is expected".into()) }
    }

    /// Appends one integer, or all of a packed field.
    fn ints(self, out: &mut Vec<i64>) -> Result<()> {
        match self {
            Self::Bytes(mut packed) => {
                while !packed.is_empty() {
                    out.push(varint(&mut packed)? as i64);
                }
                Ok(())
            }
            other => other.int().map(|v| out.push(v)),
        }
    }

    fn floats(self, out: &mut Vec<f32>) -> Result<()> {
        match self {
            Self::Bytes(packed) => {
                let (words, rest) = packed.as_chunks::<4>();
                out.extend(words.iter().map(|&w| f32::from_le_bytes(w)));
                if rest.is_empty() { Ok(()) } else { Err("a list of floats ends in the middle of one".into()) }
            }
            other => other.float().map(|v| out.push(v)),
        }
    }

    fn doubles(self, out: &mut Vec<f64>) -> Result<()> {
        match self {
            Self::Fixed64(b) => out.push(f64::from_le_bytes(b)),
            Self::Bytes(packed) if packed.len() % 8 == 0 => {
                out.extend(packed.as_chunks::<8>().0.iter().map(|&w| f64::from_le_bytes(w)));
            }
            _ => return Err("a list of doubles is malformed".into()),
        }
        Ok(())
    }
}

/// `ModelProto`.
#[derive(Default)]
pub(super) struct Model<'a> {
    /// Producer's name and version.
    pub(super) producer: [&'a str; 2],
    /// Domain and version of each operator set.
    pub(super) opsets: Vec<(&'a str, i64)>,
    pub(super) graph: Option<Graph<'a>>,
    pub(super) functions: Vec<Function<'a>>,
}

/// `GraphProto`.
#[derive(Default, Clone)]
pub(super) struct Graph<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) initializers: Vec<Tensor<'a>>,
    pub(super) inputs: Vec<ValueInfo<'a>>,
    pub(super) outputs: Vec<ValueInfo<'a>>,
    /// Whether sparse initializers are present, which are not supported.
    pub(super) sparse: bool,
}

/// `FunctionProto`: a local function.
#[derive(Default)]
pub(super) struct Function<'a> {
    pub(super) domain: &'a str,
    pub(super) name: &'a str,
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    /// Attributes with default values.
    pub(super) defaults: Vec<Attribute<'a>>,
    pub(super) nodes: Vec<Node<'a>>,
}

/// `NodeProto`.
#[derive(Default, Clone)]
pub(super) struct Node<'a> {
    pub(super) domain: &'a str,
    pub(super) op: &'a str,
    pub(super) name: String,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) attributes: Vec<Attribute<'a>>,
}

/// `AttributeProto`; which field holds the value follows from the name.
#[derive(Default, Clone)]
pub(super) struct Attribute<'a> {
    pub(super) name: &'a str,
    /// In a local function: the function's attribute that gives the value.
    pub(super) reference: &'a str,
    pub(super) f: f32,
    pub(super) i: i64,
    pub(super) s: &'a [u8],
    pub(super) tensor: Option<Tensor<'a>>,
    pub(super) floats: Vec<f32>,
    pub(super) ints: Vec<i64>,
}

/// `TensorProto`.
#[derive(Default, Clone)]
pub(super) struct Tensor<'a> {
    pub(super) name: &'a str,
    pub(super) dims: Vec<i64>,
    pub(super) data_type: i64,
    pub(super) raw: Option<&'a [u8]>,
    pub(super) floats: Vec<f32>,
    /// `int32_data`, `int64_data` or `uint64_data`.
    pub(super) ints: Vec<i64>,
    pub(super) doubles: Vec<f64>,
    /// Keys and values that say where the data is, if outside.
    pub(super) external: Vec<(&'a str, &'a str)>,
    pub(super) is_external: bool,
}

/// `ValueInfoProto` of a tensor.
#[derive(Default, Clone)]
pub(super) struct ValueInfo<'a> {
    pub(super) name: &'a str,
    pub(super) element_type: i64,
    /// Sizes; `None` (symbolic) unless given as a positive number.
    pub(super) shape: Option<Vec<Option<u32>>>,
}

/// Counts messages, so that a file of empty ones cannot take many times its size.
struct Reader(Cell<u32>);

/// Reads a whole file.
pub(super) fn read(bytes: &[u8]) -> Result<Model<'_>> {
    let reader = Reader(Cell::new(0));
    let mut m = Model::default();
    fields(bytes, |number, wire| {
        match number {
            2 => m.producer[0] = wire.text()?,
            3 => m.producer[1] = wire.text()?,
            7 => m.graph = Some(reader.graph(wire.bytes()?, 0)?),
            8 => {
                let [domain, version] = reader.pair(wire)?;
                let version = version.map_or(Ok(0), Wire::int)?;
                m.opsets.push((domain.map_or(Ok(""), Wire::text)?, version));
            }
            25 => m.functions.push(reader.function(wire.bytes()?)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(m)
}

impl Reader {
    fn count(&self) -> Result<()> {
        self.0.set(self.0.get() + 1);
        if self.0.get() <= MAX_MESSAGES { Ok(()) } else { Err(format!("it has more than {MAX_MESSAGES} parts")) }
    }

    /// Fields 1 and 2 of a message.
    fn pair<'a>(&self, wire: Wire<'a>) -> Result<[Option<Wire<'a>>; 2]> {
        self.count()?;
        let mut out = [None; 2];
        fields(wire.bytes()?, |number, wire| {
            if let 1 | 2 = number {
                out[number as usize - 1] = Some(wire);
            }
            Ok(())
        })?;
        Ok(out)
    }

    fn graph<'a>(&self, bytes: &'a [u8], depth: u32) -> Result<Graph<'a>> {
        self.count()?;
        if depth > MAX_DEPTH {
            return Err(format!("graphs are nested more than {MAX_DEPTH} deep"));
        }
        let mut g = Graph::default();
        fields(bytes, |number, wire| {
            match number {
                1 => g.nodes.push(self.node(wire.bytes()?, depth)?),
                5 => g.initializers.push(self.tensor(wire.bytes()?)?),
                11 => g.inputs.push(self.value_info(wire.bytes()?)?),
                12 => g.outputs.push(self.value_info(wire.bytes()?)?),
                15 => g.sparse = true,
                _ => {}
            }
            Ok(())
        })?;
        Ok(g)
    }

    fn function<'a>(&self, bytes: &'a [u8]) -> Result<Function<'a>> {
        self.count()?;
        let mut f = Function::default();
        fields(bytes, |number, wire| {
            match number {
                1 => f.name = wire.text()?,
                4 => f.inputs.push(wire.text()?),
                5 => f.outputs.push(wire.text()?),
                7 => f.nodes.push(self.node(wire.bytes()?, 0)?),
                10 => f.domain = wire.text()?,
                11 => f.defaults.push(self.attribute(wire.bytes()?, 0)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(f)
    }

    fn node<'a>(&self, bytes: &'a [u8], depth: u32) -> Result<Node<'a>> {
        self.count()?;
        let mut n = Node::default();
        fields(bytes, |number, wire| {
            match number {
                1 => n.inputs.push(wire.text()?.into()),
                2 => n.outputs.push(wire.text()?.into()),
                3 => n.name = wire.text()?.into(),
                4 => n.op = wire.text()?,
                5 => n.attributes.push(self.attribute(wire.bytes()?, depth)?),
                7 => n.domain = wire.text()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(n)
    }

    fn attribute<'a>(&self, bytes: &'a [u8], depth: u32) -> Result<Attribute<'a>> {
        self.count()?;
        let mut a = Attribute::default();
        fields(bytes, |number, wire| {
            match number {
                1 => a.name = wire.text()?,
                2 => a.f = wire.float()?,
                3 => a.i = wire.int()?,
                4 => a.s = wire.bytes()?,
                5 => a.tensor = Some(self.tensor(wire.bytes()?)?),
                // Control flow is not supported; its graphs are still checked for form and depth.
                6 => drop(self.graph(wire.bytes()?, depth + 1)?),
                7 => wire.floats(&mut a.floats)?,
                8 => wire.ints(&mut a.ints)?,
                21 => a.reference = wire.text()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(a)
    }

    fn tensor<'a>(&self, bytes: &'a [u8]) -> Result<Tensor<'a>> {
        self.count()?;
        let mut t = Tensor::default();
        fields(bytes, |number, wire| {
            match number {
                1 => wire.ints(&mut t.dims)?,
                2 => t.data_type = wire.int()?,
                4 => wire.floats(&mut t.floats)?,
                5 | 7 | 11 => wire.ints(&mut t.ints)?,
                8 => t.name = wire.text()?,
                9 => t.raw = Some(wire.bytes()?),
                10 => wire.doubles(&mut t.doubles)?,
                13 => {
                    let [key, value] = self.pair(wire)?;
                    t.external.push((key.map_or(Ok(""), Wire::text)?, value.map_or(Ok(""), Wire::text)?));
                }
                14 => t.is_external = wire.int()? == 1,
                _ => {}
            }
            Ok(())
        })?;
        Ok(t)
    }

    fn value_info<'a>(&self, bytes: &'a [u8]) -> Result<ValueInfo<'a>> {
        let mut v = ValueInfo::default();
        fields(bytes, |number, wire| {
            match number {
                1 => v.name = wire.text()?,
                2 => {
                    if let [Some(tensor), _] = self.pair(wire)? {
                        let [element_type, shape] = self.pair(tensor)?;
                        v.element_type = element_type.map_or(Ok(0), Wire::int)?;
                        v.shape = shape.map(|s| self.shape(s)).transpose()?;
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(v)
    }

    fn shape(&self, wire: Wire) -> Result<Vec<Option<u32>>> {
        let mut dims = Vec::new();
        fields(wire.bytes()?, |number, wire| {
            if number == 1 {
                let [value, _] = self.pair(wire)?;
                let value = value.map_or(Ok(0), Wire::int)?;
                dims.push(u32::try_from(value).ok().filter(|&v| v > 0));
            }
            Ok(())
        })?;
        Ok(dims)
    }
}
