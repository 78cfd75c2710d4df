#![allow(clippy::unwrap_used)]

use std::fs;

use image::{DynamicImage, ImageFormat, RgbImage};
use twinmask_model::preprocess::{Layout, Order};

use std::path::{Path, PathBuf};

use twinmask_model::preprocess::Preprocess;

use super::resample::Fit;
use super::*;

fn spec(shape: &[u32], preset: &str) -> InputSpec {
    let input = TensorSpec { name: "x".into(), shape: shape.to_vec(), element: Element::F32 };
    InputSpec { tensors: vec![input], preprocess: Preprocess::preset(preset).unwrap(), max_megapixels: MAX_MEGAPIXELS }
}

fn load(path: &Path, spec: &InputSpec) -> Result<Vec<f32>, InputError> {
    Input::file(path).resolve(spec).map(|mut tensors| tensors.remove(0))
}

/// A picture of every kind of slope; Pillow's answers below are for exactly this one.
fn pattern(width: u32, height: u32, channels: u32) -> Vec<u8> {
    let pixel = |y: u32, x: u32, c: u32| (x * 7 + y * 13 + c * 29 + (x * y) % 31 * 5) as u8;
    (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..channels).map(move |c| pixel(y, x, c)))).collect()
}

fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0u32, |h, &b| h.wrapping_mul(31).wrapping_add(u32::from(b) + 1))
}

/// Pixels `[height, width, channels]`, resized to cover a size, and the middle of that.
fn fit(data: &[u8], from: [usize; 2], channels: usize, to: [usize; 2]) -> Vec<u8> {
    let mut fit = Fit::new(from, to, channels);
    data.chunks_exact(from[0] * channels).for_each(|row| fit.row(row));
    fit.finish()
}

#[test]
fn resizing_is_pillows_to_the_bit() {
    // Pillow 12: resize((covering size), BILINEAR), then the middle; hashes for three channels and one.
    let cases = [
        ((37, 23), (16, 16), [0x6ffb063, 0x5126bf9]),
        ((300, 200), (224, 224), [0xd134c7fc, 0x155dfbcf]),
        ((20, 30), (64, 64), [0x40ff9e3c, 0x66bda806]),
        ((100, 10), (32, 8), [0xd38de732, 0x571cca34]),
        ((1, 50), (8, 8), [0xcd909600, 0xe2e73e00]),
        ((641, 480), (160, 160), [0x4a2ee6a0, 0x63908c2]),
        ((224, 224), (224, 224), [0xd36ad856, 0x11dfbcd6]),
        ((225, 224), (224, 224), [0xd36ad856, 0x11dfbcd6]),
        ((51, 40), (20, 31), [0x3133dbd1, 0x9dbfa043]),
    ];
    for ((w, h), (to_w, to_h), hashes) in cases {
        for (channels, expected) in [3, 1].into_iter().zip(hashes) {
            let data = pattern(w, h, channels);
            let fitted = fit(&data, [w as usize, h as usize], channels as usize, [to_w, to_h]);
            assert_eq!(fitted.len(), to_w * to_h * channels as usize);
            assert_eq!(hash(&fitted), expected, "{w}x{h} to {to_w}x{to_h}, {channels} channels");
        }
    }
}

#[test]
fn extreme_shapes_are_cropped_before_they_grow() {
    let data = pattern(1, 65_536, 3);
    // Covering 224 columns takes 14,680,064 rows; only 224 of them are computed.
    assert_eq!(fit(&data, [1, 65_536], 3, [224, 224]).len(), 224 * 224 * 3);
}

fn saved(folder: &tempfile::TempDir, name: &str, picture: &DynamicImage, format: ImageFormat) -> PathBuf {
    let path = folder.path().join(name);
    picture.save_with_format(&path, format).unwrap();
    path
}

#[test]
fn pictures_become_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let data = vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 200, 77];
    let rgb = DynamicImage::from(RgbImage::from_raw(4, 1, data.clone()).unwrap());
    let png = saved(&folder, "rgb.png", &rgb, ImageFormat::Png);
    let planes = load(&png, &spec(&[1, 3, 1, 4], "raw")).unwrap();
    assert_eq!(planes, [255.0, 0.0, 0.0, 10.0, 0.0, 255.0, 0.0, 200.0, 0.0, 0.0, 255.0, 77.0]);
    // Pillow's convert("L") of the same pixels.
    assert_eq!(load(&png, &spec(&[1, 1, 1, 4], "raw")).unwrap(), [76.0, 150.0, 29.0, 129.0]);
    let mut bgr = spec(&[1, 1, 4, 3], "raw");
    bgr.preprocess.layout = Layout::Nhwc;
    assert_eq!(load(&png, &bgr).unwrap(), data.iter().map(|&v| f32::from(v)).collect::<Vec<_>>());
    bgr.preprocess.order = Order::Bgr;
    // Mean and deviation belong to the model's channels: the first is blue.
    bgr.preprocess.mean = vec![1.0, 0.0, 0.0];
    assert_eq!(load(&png, &bgr).unwrap()[9..], [76.0, 200.0, 10.0]);
    let transparent = DynamicImage::from(rgb.to_rgba8());
    let mut with_alpha = transparent.to_rgba8();
    with_alpha.pixels_mut().for_each(|p| p.0[3] = 7);
    let alpha = saved(&folder, "alpha", &DynamicImage::from(with_alpha), ImageFormat::Png);
    assert_eq!(
        load(&alpha, &spec(&[1, 3, 1, 4], "raw")).unwrap(),
        planes,
        "alpha is dropped, the name does not matter"
    );
    let grey = saved(
        &folder,
        "grey.jpg",
        &DynamicImage::from(image::GrayImage::from_pixel(64, 48, image::Luma([51]))),
        ImageFormat::Jpeg,
    );
    let flat = load(&grey, &spec(&[1, 3, 32, 32], "unit")).unwrap();
    assert!(flat.len() == 3072 && flat.iter().all(|&v| v == 0.2), "{:?}", &flat[..4]);
    let no_picture = load(&png, &spec(&[1, 12], "raw")).unwrap_err().to_string();
    assert!(no_picture.contains("rgb.png") && no_picture.contains(".npy"), "{no_picture}");
}

#[test]
fn photos_are_turned_upright() {
    let folder = tempfile::tempdir().unwrap();
    // Black left of white; "rotate by 90 degrees clockwise" puts black on top.
    let halves = RgbImage::from_fn(64, 32, |x, _| image::Rgb([if x < 32 { 0 } else { 255 }; 3]));
    let path = saved(&folder, "phone.jpg", &DynamicImage::from(halves), ImageFormat::Jpeg);
    let mut bytes = fs::read(&path).unwrap();
    let exif = b"\xff\xe1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    bytes.splice(2..2, exif.iter().copied());
    fs::write(&path, bytes).unwrap();
    let upright = load(&path, &spec(&[1, 1, 64, 32], "raw")).unwrap();
    let (top, bottom) = upright.split_at(32 * 32);
    assert!(top.iter().all(|&v| v < 16.0) && bottom.iter().all(|&v| v > 239.0), "{:?}", &upright[..4]);
}

/// A PNG file: header fields, and its data stored as it is, behind chunks of `before`.
fn png_file(size: [u32; 2], [depth, color, interlace]: [u8; 3], before: &[(&[u8; 4], &[u8])], data: &[u8]) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let body = [&kind[..], data].concat();
        [&(data.len() as u32).to_be_bytes()[..], &body, &crc32(&body).to_be_bytes()].concat()
    };
    let (len, mut sums) = (data.len() as u16, [1u32, 0]);
    for &b in data {
        sums[0] = (sums[0] + u32::from(b)) % 65_521;
        sums[1] = (sums[1] + sums[0]) % 65_521;
    }
    let adler = sums[1] << 16 | sums[0];
    let zlib = [&[0x78, 1, 1][..], &len.to_le_bytes(), &(!len).to_le_bytes(), data, &adler.to_be_bytes()].concat();
    let header = [&size[0].to_be_bytes()[..], &size[1].to_be_bytes(), &[depth, color, 0, 0, interlace]].concat();
    let mut file = [b"\x89PNG\r\n\x1a\n".as_slice(), &chunk(b"IHDR", &header)].concat();
    before.iter().for_each(|(kind, data)| file.extend(chunk(kind, data)));
    [file, chunk(b"IDAT", &zlib), chunk(b"IEND", &[])].concat()
}

/// If this fails, what a network sees of a picture depends on the way in which it was decoded.
#[test]
fn rows_are_those_of_the_whole_picture() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.png");
    let palette: Vec<u8> = (0..=255u8).flat_map(|i| [i, i.wrapping_mul(3), 255 - i]).collect();
    let palette: [(&[u8; 4], &[u8]); 2] = [(b"PLTE", &palette), (b"tRNS", &[0, 128])];
    let key: [(&[u8; 4], &[u8]); 1] = [(b"tRNS", &[0, 7])];
    // Greys of 1, 2, 4, 8, 16 bits, with a transparent one, colours, palettes, alpha.
    let kinds = [(1, 0, 1), (2, 0, 1), (4, 0, 1), (8, 0, 1), (16, 0, 1), (8, 2, 3), (16, 2, 3), (8, 3, 1), (4, 3, 1)];
    let kinds = kinds.into_iter().chain([(8, 4, 2), (16, 4, 2), (8, 6, 4), (16, 6, 4)]);
    let (width, height) = (33u32, 29u32);
    for (depth, color, samples) in kinds {
        let line = (width as usize * samples * usize::from(depth)).div_ceil(8);
        let row = |y: usize| std::iter::once(0).chain((0..line).map(move |i| (i * 37 + y * 101) as u8));
        let data: Vec<u8> = (0..height as usize).flat_map(row).collect();
        let before: Vec<&[(&[u8; 4], &[u8])]> = match color {
            3 => vec![&palette],
            0 => vec![&[], &key],
            _ => vec![&[]],
        };
        for before in before {
            let file = png_file([width, height], [depth, color, 0], before, &data);
            fs::write(&path, &file).unwrap();
            let whole = image::load_from_memory(&file).unwrap().into_rgb8();
            let said = format!("{depth} bits, colour type {color}");
            for (shape, preset) in [([1, 3, 29, 33], "raw"), ([1, 3, 8, 8], "raw"), ([1, 1, 16, 16], "unit")] {
                let expected = Image::rgb8(width, height, whole.as_raw()).unwrap();
                let expected = Input::from(expected).resolve(&spec(&shape, preset)).unwrap();
                assert_eq!([load(&path, &spec(&shape, preset)).unwrap()], expected[..], "{said}");
                let encoded = Input::from(Image::encoded(&file).unwrap()).resolve(&spec(&shape, preset)).unwrap();
                assert_eq!(encoded, expected, "{said}");
            }
        }
    }
    // Every value of 16 bits is rounded as `image` does.
    let all: Vec<u8> = (0..128u16)
        .flat_map(|y| [0].into_iter().chain((0..512).flat_map(move |x| (y * 512 + x).to_be_bytes())))
        .collect();
    for part in all.chunks(1025 * 16) {
        let file = png_file([512, 16], [16, 0, 0], &[], part);
        assert_eq!(Image::encoded(&file).unwrap().pixels(), &image::load_from_memory(&file).unwrap().into_rgb8());
    }
}

/// Rows of these do not come one after the other.
#[test]
fn interlaced_and_turned_pictures_are_decoded_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.png");
    // Adam7 of 2x2: the passes hold (0, 0), then (1, 0), then the second row.
    fs::write(&path, png_file([2, 2], [8, 0, 1], &[], &[0, 10, 0, 20, 0, 30, 40])).unwrap();
    assert_eq!(load(&path, &spec(&[1, 1, 2, 2], "raw")).unwrap(), [10.0, 20.0, 30.0, 40.0]);
    let upright = |orientation| {
        let exif = [b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(), &[orientation], &[0; 6]].concat();
        fs::write(&path, png_file([2, 1], [8, 0, 0], &[(b"eXIf", &exif)], &[0, 10, 20])).unwrap();
        load(&path, &spec(&[1, 1, 2, 1], "raw"))
    };
    assert_eq!(upright(6).unwrap(), [10.0, 20.0], "turned clockwise");
    assert_eq!(upright(8).unwrap(), [20.0, 10.0], "and the other way");
    let mut small = spec(&[1, 1, 2, 1], "raw");
    small.max_megapixels = 0;
    assert!(matches!(load(&path, &small), Err(InputError::TooLarge { most: 0, .. })), "the bound holds for these, too");
}

/// Peak of this process's memory so far, kB.
#[cfg(target_os = "linux")]
fn peak_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// If this fails, one picture takes a weak device's memory. In a process of its own, where no other test takes any.
#[cfg(target_os = "linux")]
#[test]
fn a_large_png_takes_the_memory_of_a_few_rows() {
    const PATH: &str = "TWINMASK_LARGE_PNG";
    if let Some(path) = std::env::var_os(PATH) {
        let model = spec(&[1, 3, 224, 224], "raw");
        let before = peak_kb();
        let tensor = load(Path::new(&path), &model).unwrap();
        assert!(tensor.iter().all(|&v| v == 77.0));
        println!("took {} kB", peak_kb() - before);
        assert!(peak_kb() - before < 24 << 10, "{} kB", peak_kb() - before);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.png");
    let mut encoder = png::Encoder::new(std::io::BufWriter::new(fs::File::create(&path).unwrap()), 8192, 8192);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().unwrap();
    let mut rows = writer.stream_writer().unwrap();
    (0..8192).for_each(|_| std::io::Write::write_all(&mut rows, &[77; 4 * 8192]).unwrap());
    rows.finish().unwrap();
    writer.finish().unwrap();
    let mut test = std::process::Command::new(std::env::current_exe().unwrap());
    let out = test.args(["--exact", "input::tests::a_large_png_takes_the_memory_of_a_few_rows", "--nocapture"]);
    let out = out.env(PATH, &path).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("took"), "{text}{}", String::from_utf8_lossy(&out.stderr));
    // The bound is looked at before anything of the picture's size is there.
    let mut model = spec(&[1, 3, 224, 224], "raw");
    model.max_megapixels = 63;
    let refused = load(&path, &model).unwrap_err().to_string();
    assert!(refused.contains("8192x8192 pixels, more than the 63 megapixels that are decoded"), "{refused}");
}

#[test]
fn damaged_and_huge_pictures_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let picture = DynamicImage::from(RgbImage::from_raw(90, 70, pattern(90, 70, 3)).unwrap());
    let model = spec(&[1, 3, 64, 64], "unit");
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let path = saved(&folder, "whole", &picture, format);
        let whole = fs::read(&path).unwrap();
        assert!(load(&path, &model).is_ok());
        for len in (17..whole.len() - 13).step_by(37) {
            fs::write(&path, &whole[..len]).unwrap();
            let e = load(&path, &model).unwrap_err();
            assert!(matches!(e, InputError::Picture { .. }), "{format:?} cut to {len}: {e}");
        }
    }
    // The size stands in the header, its checksum behind it: 20,000 x 20,000.
    let mut huge = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x4e\x20\0\0\x4e\x20\x08\x02\0\0\0".to_vec();
    huge.extend(crc32(&huge[12..]).to_be_bytes());
    huge.extend(b"\0\0\0\x0cIDAT\x78\x9c\x63\x60\x18\x05\xa3\0\0\0\0\0\0");
    let path = folder.path().join("huge.png");
    fs::write(&path, huge).unwrap();
    let e = load(&path, &model).unwrap_err();
    assert!(e.to_string().contains("20000x20000") && e.to_string().contains("64 megapixels"), "{e}");
    for (name, bytes) in
        [("empty.png", &b""[..]), ("text.jpg", b"not a picture at all"), ("picture.gif", b"GIF89a\x01\0\x01\0\0\0\0\0")]
    {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let e = load(&path, &model).unwrap_err();
        assert!(matches!(&e, InputError::Unknown { origin: Origin::File(path) } if path.ends_with(name)), "{e}");
    }
    assert!(matches!(load(&folder.path().join("missing.png"), &model), Err(InputError::Read { .. })));
    assert!(matches!(load(folder.path(), &model), Err(InputError::Read { .. })), "a folder");
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0u32, |crc, &b| (0..8).fold(crc ^ u32::from(b), step))
}

#[test]
fn arrays_come_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("array.npy");
    for shape in [vec![1, 2, 3], vec![6], vec![1; 8], vec![], vec![2, 100, 30]] {
        let data: Vec<f32> = (0..twinmask_model::graph::elements(&shape)).map(|i| i as f32 * -0.1).collect();
        npy::write(&path, &shape, &data).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!((bytes.len() - 4 * data.len()) % 64, 0, "aligned");
        assert_eq!(load(&path, &spec(&shape, "raw")).unwrap(), data);
    }
    let header = String::from_utf8_lossy(&fs::read(&path).unwrap()[10..]).into_owned();
    assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 100, 30), }"));
    npy::write(&path, &[1], &[1.0]).unwrap();
    assert!(String::from_utf8_lossy(&fs::read(&path).unwrap()).contains("'shape': (1,), }"));
    assert!(npy::write(&path, &[2], &[1.0]).is_err());
    assert!(load(&path, &spec(&[1], "raw")).is_ok(), "a failed write leaves the old file whole");
    let nowhere = npy::write(&folder.path().join("none/out.npy"), &[1], &[1.0]).unwrap_err();
    assert!(nowhere.to_string().contains("out.npy"), "{nowhere}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
}

fn array(version: u8, dictionary: &str, data: &[f32]) -> Vec<u8> {
    let mut bytes = [b"\x93NUMPY".as_slice(), &[version, 0]].concat();
    let size = (dictionary.len() as u32).to_le_bytes();
    bytes.extend(if version == 1 { &size[..2] } else { &size[..] });
    bytes.extend(dictionary.as_bytes());
    bytes.extend(data.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

#[test]
fn arrays_that_do_not_fit_say_why() {
    let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }\n";
    let data = [1.0, 2.0, 3.0, 4.0];
    let changed = |from: &str, to: &str| array(1, &good.replace(from, to), &data);
    let folder = tempfile::tempdir().unwrap();
    let read = |bytes: &[u8]| {
        let path = folder.path().join("a.npy");
        fs::write(&path, bytes).unwrap();
        load(&path, &spec(&[1, 4], "raw"))
    };
    for version in 1..=3 {
        assert_eq!(read(&array(version, good, &data)).unwrap(), data);
    }
    let mut absurd = array(2, good, &data);
    absurd[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let whole = array(1, good, &data);
    let cases: [(Vec<u8>, &str); 15] = [
        (changed("<f4", "<f8"), "holds float64: convert it with .astype('<f4')"),
        (changed("<f4", "|u1"), "uint8"),
        (changed("<f4", ">f4"), "big-endian float32"),
        (changed("'<f4'", "[('a', '<f4')]"), ".astype"),
        (changed("False", "True"), "numpy.ascontiguousarray"),
        (changed("(1, 4)", "(4,)"), "shape [4], the model takes [1, 4]"),
        (changed("(1, 4)", "(1, 99999999999999999999999)"), "cannot be understood"),
        (changed("'shape'", "'sharp'"), "cannot be understood"),
        (array(9, good, &data), "version 9"),
        (absurd, "header of 4294967295 bytes"),
        (whole[..whole.len() - 1].to_vec(), "is cut off"),
        (whole[..20].to_vec(), "cut off within its header"),
        ([whole.as_slice(), b"x"].concat(), "after its elements"),
        (array(1, good, &[1.0, f32::NAN, 3.0, 4.0]), "holds NaN at element 1"),
        (b"\x89PNG\r\n\x1a\n".to_vec(), "is no .npy file"),
    ];
    for (bytes, said) in cases {
        let e = read(&bytes).unwrap_err().to_string();
        assert!(e.contains(said) && e.contains("a.npy"), "{e:?} does not say {said:?}");
    }
}

#[test]
fn photos_of_the_models_size_are_left_alone() {
    let data = std::env::var_os("TWINMASK_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let photos = data.join("images/photos224");
    if !photos.is_dir() {
        return println!("skipped: {} is absent", photos.display());
    }
    let model = spec(&[1, 3, 224, 224], "imagenet");
    let mut seen = 0;
    for photo in fs::read_dir(photos).unwrap().map(|entry| entry.unwrap().path()) {
        let pixels = image::open(&photo).unwrap().into_rgb8();
        let tensor = load(&photo, &model).unwrap();
        for (x, y, px) in pixels.enumerate_pixels() {
            for (c, (mean, std)) in [(0.485f32, 0.229f32), (0.456, 0.224), (0.406, 0.225)].into_iter().enumerate() {
                let (formula, x) =
                    ((f32::from(px.0[c]) / 255.0 - mean) / std, tensor[c * 224 * 224 + (y * 224 + x) as usize]);
                assert!((formula - x).abs() <= 1e-6, "{}: {x} for {formula}", photo.display());
            }
        }
        seen += 1;
    }
    assert!(seen > 0);
    let array = data.join("reference/squeezenet1.1.zoo_set0.input.npy");
    assert_eq!(load(&array, &model).unwrap().len(), 3 * 224 * 224);
}

#[test]
fn pictures_from_bytes_and_pixels_are_those_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let data = pattern(9, 7, 3);
    let rgb = DynamicImage::from(RgbImage::from_raw(9, 7, data.clone()).unwrap());
    let path = saved(&folder, "rgb.png", &rgb, ImageFormat::Png);
    let model = spec(&[1, 3, 5, 5], "unit");
    let from_file = load(&path, &model).unwrap();
    let encoded = Image::encoded(&fs::read(&path).unwrap()).unwrap();
    for image in [Image::path(&path).unwrap(), encoded, Image::rgb8(9, 7, &data).unwrap()] {
        assert_eq!(Input::from(image).resolve(&model).unwrap(), std::slice::from_ref(&from_file));
    }
    let grey = Image::grey8(2, 1, &[10, 200]).unwrap();
    assert_eq!(Input::from(grey).resolve(&spec(&[1, 1, 1, 2], "raw")).unwrap(), [[10.0, 200.0]]);
    assert!(matches!(Image::rgb8(9, 7, &data[1..]), Err(InputError::Pixels { .. })));
    assert!(matches!(Image::rgb8(9, 6, &data), Err(InputError::Pixels { .. })));
    assert!(matches!(Image::grey8(u32::MAX, u32::MAX, &[1]), Err(InputError::Pixels { .. })));
    let error = Image::encoded(b"nothing").unwrap_err().to_string();
    assert!(error.starts_with("in memory is no PNG"), "{error}");
}

#[test]
fn tensors_are_given_by_name() {
    let tensor = |name: &str, element| TensorSpec { name: name.into(), shape: vec![1, 2], element };
    let mut model = spec(&[1, 2], "raw");
    model.tensors = vec![tensor("ids", Element::I64), tensor("mask", Element::I32), tensor("x", Element::F32)];
    let ids = || Tensor::new([1, 2], vec![5i64, -1]).unwrap();
    let mask = || Tensor::new([1, 2], vec![1i32, 0]).unwrap();
    let x = || Tensor::new([1, 2], vec![0.5f32, 0.25]).unwrap();
    let any_order = Input::named([("x", x()), ("ids", ids()), ("mask", mask())]);
    assert_eq!(any_order.resolve(&model).unwrap(), [[5.0, -1.0], [1.0, 0.0], [0.5, 0.25]]);
    let said = |input: Input| input.resolve(&model).unwrap_err().to_string();
    assert!(said(x().into()).contains("ids, mask, x"));
    assert!(said(Input::named([("ids", ids()), ("ids", ids()), ("x", x())])).contains("ids, mask, x"));
    let wrong_type = said(Input::named([("ids", x()), ("mask", mask()), ("x", x())]));
    assert!(wrong_type.contains("'ids' holds float32") && wrong_type.contains("int64"), "{wrong_type}");
    let wrong_shape = Tensor::new([2], vec![5i64, 1]).unwrap();
    let said = said(Input::named([("ids", wrong_shape), ("mask", mask()), ("x", x())]));
    assert!(said.contains("shape [2]") && said.contains("[1, 2]"), "{said}");
}

#[test]
fn integer_arrays_are_read_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ids.npy");
    let dictionary = "{'descr': '<i8', 'fortran_order': False, 'shape': (1, 2), }\n";
    let mut bytes = array(1, dictionary, &[]);
    bytes.extend([7i64, -3].iter().flat_map(|v| v.to_le_bytes()));
    fs::write(&path, bytes).unwrap();
    let mut model = spec(&[1, 2], "raw");
    let float = load(&path, &model).unwrap_err().to_string();
    assert!(float.contains("holds int64: convert it with .astype('<f4')"), "{float}");
    model.tensors[0].element = Element::I64;
    assert_eq!(load(&path, &model).unwrap(), [7.0, -3.0]);
}
