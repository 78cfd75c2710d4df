//! What people and other programs hand in as files: networks, pictures, arrays, settings.

use std::cell::RefCell;
use std::io::{Cursor, Seek, Write};
use std::sync::OnceLock;

use image::{DynamicImage, ImageFormat, RgbImage};
use tempfile::NamedTempFile;
use twinmask_device::{Device, Element, Image, blocking, npy as arrays};
use twinmask_edge::Role;
use twinmask_model::shapes;
use twinmask_onnx::{ImportError, ImportOptions, Imported, import_bytes};
use twinmask_owner_keygen::import::ImportRequest;
use twinmask_settings::over_file;

use crate::scene::scene;
use crate::seeds::{Seed, bad, good};

macro_rules! networks {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../../onnx/models/", $name, ".onnx")).as_slice())),*]
    };
}

/// Small networks of `tests/onnx`, with much of what there is.
pub(crate) const NETWORKS: [(&str, &[u8]); 16] = networks![
    "net_inception_block",
    "net_mixer",
    "net_squeeze_excite",
    "net_shufflenet",
    "net_wave",
    "net_argmax_segmentation",
    "lrn_opset13",
    "local_softmax",
    "maxpool_ceil_pads",
    "resize_linear_half_pixel_up",
    "where_causal_mask",
    "slice_backwards",
    "pad_reflect_opset13",
    "typed_data",
    "two_inputs",
    "zoo_cntk_mnist",
];

/// Bytes of all tensors of a network.
const CAP: u64 = 16 << 20;

pub(crate) fn import(bytes: &[u8]) -> Result<Imported, ImportError> {
    let options = ImportOptions { memory_cap: CAP, ..ImportOptions::default() };
    import_bytes(bytes, "fuzz.onnx".as_ref(), &options)
}

/// A network's file: what is imported checks out, and is divided or refused.
pub(crate) fn onnx(data: &[u8]) -> bool {
    let Ok(imported) = import(data) else { return false };
    shapes::check(&imported.graph, usize::MAX).expect("imported graphs check out");
    let _ = ImportRequest::default().divide(imported.graph);
    true
}

pub(crate) fn onnx_seeds() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = NETWORKS.into_iter().map(|(name, file)| good(name, file)).collect();
    seeds.push(bad("cut", &NETWORKS[0].1[..500]));
    seeds
}

/// A picture, decoded and run through the network alone on the device.
pub(crate) fn picture(data: &[u8]) -> bool {
    static DEVICE: OnceLock<blocking::Device> = OnceLock::new();
    let Ok(image) = Image::encoded(data) else { return false };
    let device = DEVICE.get_or_init(|| {
        let device = Device::builder(scene().device_dir()).mode(twinmask_device::Mode::Local);
        blocking::Device::open(device).expect("a good folder")
    });
    device.run(image).expect("a picture is an input");
    true
}

fn encoded(picture: DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    picture.write_to(&mut out, format).expect("memory takes it");
    out.into_inner()
}

pub(crate) fn picture_seeds() -> Vec<Seed> {
    let colours = |w, h| {
        let pixel = |x, y| image::Rgb([(x * 17) as u8, (y * 23) as u8, (x * y) as u8]);
        DynamicImage::ImageRgb8(RgbImage::from_fn(w, h, pixel))
    };
    let jpeg = encoded(colours(16, 9), ImageFormat::Jpeg);
    let png = |picture| encoded(picture, ImageFormat::Png);
    // EXIF of one entry: orientation 6, a quarter turn.
    let exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let segment = [&[0xff, 0xe1], &(exif.len() as u16 + 2).to_be_bytes()[..], exif].concat();
    let turned = [&jpeg[..2], &segment, &jpeg[2..]].concat();
    let mut huge = png(colours(3, 3));
    huge[16..24].copy_from_slice(&[0, 0x01, 0, 0, 0, 0x01, 0, 0]); // 65536 x 65536, its checksum as it was
    vec![
        bad("cut.jpg", &jpeg[..jpeg.len() - 2]),
        bad("huge.png", huge),
        good("colours.jpg", jpeg),
        good("turned.jpg", turned),
        good("colours.png", png(colours(9, 9))),
        good("long.png", png(colours(40, 1))),
        good("grey.png", png(colours(7, 5).into_luma8().into())),
        good("alpha.png", png(colours(7, 5).into_rgba8().into())),
        good("deep.png", png(colours(7, 5).into_rgb16().into())),
    ]
}

const SHAPE: [u32; 3] = [1, 2, 5];
const ELEMENTS: [Element; 3] = [Element::F32, Element::I32, Element::I64];

/// An array of a shape and each type.
pub(crate) fn npy(data: &[u8]) -> bool {
    let read = |&element: &Element| arrays::read(data, &SHAPE, element);
    let taken: Vec<_> = ELEMENTS.iter().filter_map(|e| read(e).ok()).collect();
    assert!(taken.len() <= 1, "a file of two types");
    taken.iter().for_each(|tensor| assert_eq!(tensor.shape(), SHAPE));
    taken.len() == 1
}

pub(crate) fn npy_seeds() -> Vec<Seed> {
    let written = |shape: &[u32]| {
        let file = NamedTempFile::new().expect("temporary file");
        let data: Vec<f32> = (0..shape.iter().product::<u32>()).map(|v| v as f32).collect();
        arrays::write(file.path(), shape, &data).expect("writes");
        std::fs::read(file.path()).expect("there")
    };
    let floats = written(&SHAPE);
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = floats.windows(from.len()).position(|w| w == from.as_bytes()).expect("in the header");
        [&floats[..at], to.as_bytes(), &floats[at + to.len()..]].concat()
    };
    let longer = [&replaced("<f4", "<i8")[..], &floats[floats.len() - 40..]].concat();
    vec![
        good("int32.npy", replaced("<f4", "<i4")),
        good("int64.npy", longer),
        bad("fortran.npy", replaced("False", "True ")),
        bad("big-endian.npy", replaced("<f4", ">f4")),
        bad("another-shape.npy", written(&[10])),
        bad("cut.npy", &floats[..floats.len() - 1]),
        good("float32.npy", floats),
    ]
}

/// A file of settings, of an edge or of a device.
pub(crate) fn settings(data: &[u8]) -> bool {
    thread_local! {
        static FILE: RefCell<NamedTempFile> = RefCell::new(NamedTempFile::new().expect("temporary file"));
    }
    FILE.with_borrow_mut(|file| {
        file.as_file().set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(data)).expect("writes");
        let edge = over_file(twinmask_edge::Settings::default(), Some(file.path()));
        let edge = edge.is_ok_and(|s| [Role::A, Role::B].into_iter().any(|role| s.clone().config(role).is_ok()));
        let device = over_file(twinmask_device::cli::Settings::default(), Some(file.path()));
        let device = device.is_ok_and(|s| s.builder_for(false).is_ok());
        edge || device
    })
}

macro_rules! samples {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../../deploy/", $name)))),*]
    };
}

pub(crate) fn settings_seeds() -> Vec<Seed> {
    let samples = samples!["device.toml", "edge-basic.toml", "edge-advanced.toml"];
    let mut seeds: Vec<Seed> = samples.into_iter().map(|(name, text)| good(name, text)).collect();
    seeds.push(bad("unknown.toml", "dir = \"x\"\nthread = 2\n"));
    seeds.push(bad("no-toml.toml", "dir = \"x\n"));
    seeds
}
