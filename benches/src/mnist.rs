//! Network A of published private-inference systems (SecureML, MiniONN, SecureNN, Chameleon, GAZELLE measure it on
//! MNIST): three fully connected layers, 784-128-128-10, and one 500 times larger of the same form; seeded weights.

use std::path::PathBuf;

use anyhow::Result;
use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, TypeProtoTensor, ValueInfoProto,
};
use rten_onnx::protobuf::{EncodeMessage, MessageWriter, ProtobufError, ValueWriter, WriteValue};
use twinmask_ring::prf::Key;

use crate::deployment::SEED;
use crate::folders::model_path;
use crate::report::number;

/// A network of fully connected layers with ReLU between them, on 28x28 grey pictures.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    /// Name in results and of the file.
    pub name: &'static str,
    /// Widths, input and output included.
    pub widths: [u32; 4],
}

/// Network A (118,016 multiply-accumulates) and one of 500 times as many.
pub const NETWORKS: [Network; 2] = [
    Network { name: "mnist-a", widths: [784, 128, 128, 10] },
    Network { name: "mnist-a-x500", widths: [784, 7295, 7295, 10] },
];

/// A published figure of a private inference on a small MNIST network, to stand beside measured ones: on the authors'
/// machines and network, offline and online together.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Cited {
    /// System.
    pub system: &'static str,
    /// Who computes.
    pub setting: &'static str,
    /// Network.
    pub network: &'static str,
    /// Link.
    pub link: &'static str,
    /// Seconds per inference.
    pub seconds: f64,
    /// MB sent per inference, where known.
    pub mb: Option<f64>,
    /// Where the figure stands.
    pub source: &'static str,
}

/// As in SecureML, and figure 10 of MiniONN.
const A: &str = "network A, 784-128-128-10";

/// What to keep in mind when reading [`cited_rows`].
pub const CAVEAT: &str = "The published figures were measured by others, on their machines and networks (LAN: within one data \
     centre), offline and online together. All of those systems hide the weights from whoever owns the input, which this project \
     does not attempt. Only abstracts could be checked for this table: SecureNN's \"up to 113 times\" is 4.88 s / 0.043 s, the \
     first and the fifth row; the figures themselves are quoted as the named comparisons give them.";

/// Published figures.
pub const CITED: [Cited; 6] = [
    Cited {
        system: "SecureML",
        setting: "two servers",
        network: A,
        link: "LAN",
        seconds: 4.88,
        mb: None,
        source: "Mohassel, Zhang, S&P 2017, as compared by MiniONN",
    },
    Cited {
        system: "MiniONN",
        setting: "client and server",
        network: A,
        link: "LAN",
        seconds: 1.04,
        mb: Some(15.8),
        source: "Liu et al., CCS 2017 (eprint 2017/452)",
    },
    Cited {
        system: "GAZELLE",
        setting: "client and server",
        network: A,
        link: "LAN",
        seconds: 0.09,
        mb: Some(0.5),
        source: "Juvekar et al., USENIX Security 2018, as compared by SecureNN and XONN",
    },
    Cited {
        system: "Chameleon",
        setting: "two servers and a helper",
        network: "one convolution and two FC layers",
        link: "LAN",
        seconds: 2.7,
        mb: Some(12.9),
        source: "Riazi et al., AsiaCCS 2018 (eprint 2017/1164), as compared by GAZELLE; 133 times faster than CryptoNets by its \
                 arXiv abstract, which is 2.2 s",
    },
    Cited {
        system: "SecureNN",
        setting: "three servers",
        network: A,
        link: "LAN",
        seconds: 0.043,
        mb: Some(2.1),
        source: "Wagh et al., PoPETs 2019(3) (eprint 2018/442)",
    },
    Cited {
        system: "SecureNN",
        setting: "three servers",
        network: "network A, given as 1.2 MFLOP",
        link: "Wi-Fi",
        seconds: 3.1,
        mb: None,
        source: "second-hand; not found in what could be checked, and network A as above has 0.24 MFLOP",
    },
];

/// Columns of [`cited_rows`].
pub const CITED_COLUMNS: [&str; 7] = ["system", "setting", "network", "link", "s", "MB", "source"];

/// [`CITED`] as rows of a table.
#[must_use]
pub fn cited_rows() -> Vec<Vec<String>> {
    let row = |c: &Cited| {
        let mb = c.mb.map_or_else(|| "-".to_owned(), |mb| mb.to_string());
        let texts = [c.system, c.setting, c.network, c.link].map(str::to_owned);
        [texts.to_vec(), vec![c.seconds.to_string(), mb, c.source.to_owned()]].concat()
    };
    CITED.iter().map(row).collect()
}

/// A row of what was measured here, beside [`cited_rows`].
#[must_use]
pub fn own_row(scheme: &str, network: &str, link: &str, ms: f64, bytes: f64) -> Vec<String> {
    let widths = NETWORKS.iter().find(|n| n.name == network).map(|n| n.widths.map(|w| w.to_string()).join("-"));
    let network = format!("{network}, {}", widths.unwrap_or_default());
    let texts = [scheme, "device and two edges that know the weights", &network, link].map(str::to_owned);
    [texts.to_vec(), vec![number(ms / 1e3), number(bytes / 1e6), "measured here".to_owned()]].concat()
}

impl Network {
    /// Multiply-accumulates of one inference.
    #[must_use]
    pub fn macs(&self) -> u64 {
        self.widths.windows(2).map(|w| u64::from(w[0]) * u64::from(w[1])).sum()
    }

    /// The ONNX file, written once.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn file(&self) -> Result<PathBuf> {
        let path = model_path(self.name)?;
        if !path.exists() {
            let part = path.with_extension("part");
            let out = std::io::BufWriter::new(std::fs::File::create(&part)?);
            Model(self).encode(ValueWriter::new(out))?;
            std::fs::rename(&part, &path)?;
        }
        Ok(path)
    }

    /// Flatten, and a Gemm for each layer with a Relu between any two.
    fn nodes(&self) -> Vec<NodeProto> {
        let node = |op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>| NodeProto {
            name: Some(output.into()),
            op_type: Some(op.into()),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.into()],
            attribute,
            domain: None,
        };
        let mut nodes = vec![node("Flatten", &["input"], "flat", vec![int("axis", 1)])];
        let last = self.widths.len() - 1;
        let mut x = "flat".to_owned();
        for layer in 1..=last {
            let (name, weight, bias) = (format!("fc{layer}"), format!("fc{layer}.weight"), format!("fc{layer}.bias"));
            nodes.push(node("Gemm", &[&x, &weight, &bias], &name, vec![int("transB", 1)]));
            x = name.clone();
            if layer < last {
                x = format!("{name}.relu");
                nodes.push(node("Relu", &[&name], &x, vec![]));
            }
        }
        nodes
    }

    /// Weights `[out, in]`, uniform of the variance 2 / fan-in, and zero biases.
    fn tensors(&self) -> Vec<TensorProto> {
        let key = Key::derive("bench-mnist", &[&SEED.to_le_bytes(), self.name.as_bytes()]);
        let pairs = self.widths.windows(2).enumerate();
        pairs
            .flat_map(|(i, w)| {
                let (inputs, outputs) = (w[0], w[1]);
                let mut words = vec![0; (inputs * outputs) as usize];
                key.fill(i as u64, 24, &mut words);
                let reach = (6.0 / inputs as f32).sqrt();
                let values = words.into_iter().map(|w| (w as f32 / (1 << 23) as f32 - 1.0) * reach);
                let bytes = values.flat_map(f32::to_le_bytes).collect();
                let dims = vec![i64::from(outputs), i64::from(inputs)];
                let bias = vec![0; 4 * outputs as usize];
                [
                    tensor(&format!("fc{}.weight", i + 1), dims, bytes),
                    tensor(&format!("fc{}.bias", i + 1), vec![outputs.into()], bias),
                ]
            })
            .collect()
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: Some(name.into()), i: Some(i), r#type: Some(AttributeType::INT), ..Default::default() }
}

fn tensor(name: &str, dims: Vec<i64>, raw_data: Vec<u8>) -> TensorProto {
    let data_type = Some(DataType::FLOAT);
    TensorProto { name: Some(name.into()), dims, data_type, raw_data: Some(raw_data.into()), ..Default::default() }
}

fn described(name: &str, shape: &[i64]) -> ValueInfoProto {
    let dim = shape.iter().map(|&d| Dimension { dim_value: Some(d), dim_param: None }).collect();
    let tensor = TypeProtoTensor { elem_type: Some(DataType::FLOAT), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { tensor_type: Some(tensor), sequence: None }) }
}

/// `ModelProto`.
struct Model<'a>(&'a Network);

impl EncodeMessage for Model<'_> {
    fn encode_fields<W: WriteValue>(&self, f: &mut MessageWriter<W>) -> Result<(), ProtobufError> {
        f.write_int64(1, 8)?;
        f.write_message(7, &Graph(self.0))?;
        f.write_message(8, &OperatorSetIdProto { domain: Some(String::new()), version: Some(17) })
    }
}

/// `GraphProto`.
struct Graph<'a>(&'a Network);

impl EncodeMessage for Graph<'_> {
    fn encode_fields<W: WriteValue>(&self, f: &mut MessageWriter<W>) -> Result<(), ProtobufError> {
        f.write_repeated_message(1, &self.0.nodes())?;
        f.write_string(2, self.0.name)?;
        f.write_repeated_message(5, &self.0.tensors())?;
        f.write_message(11, &described("input", &[1, 1, 28, 28]))?;
        f.write_message(12, &described("fc3", &[1, 10]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_network_is_500_times_network_a() {
        let [a, large] = NETWORKS;
        assert_eq!(a.macs(), 118_016);
        let ratio = large.macs() as f64 / a.macs() as f64;
        assert!((499.0..501.0).contains(&ratio), "{ratio}");
    }
}
