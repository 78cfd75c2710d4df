//! Pictures: decoding within limits, and the tensor that a model takes.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use twinmask_model::preprocess::{Layout, Order, Preprocess};

use super::InputError;
use super::resample::{Picture, fit};

/// Most pixels of a picture: 64 megapixels.
pub(super) const MAX_PIXELS: u64 = 64 << 20;
/// Most bytes of a picture's file.
const MAX_FILE: u64 = 512 << 20;
/// Most bytes the decoder may take: 16 bits times four channels, and its rows.
const MAX_DECODER: u64 = MAX_PIXELS * 8 + (64 << 20);

/// Decodes a picture, upright, as 8-bit RGB.
pub(super) fn decode(path: &Path, file: File, format: ImageFormat) -> Result<RgbImage, InputError> {
    let damaged = |reason: String| InputError::Picture { path: path.into(), reason };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|source| InputError::Read { path: path.into(), source })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(damaged(format!("more than {} MB", MAX_FILE >> 20)));
    }
    // The JPEG decoder fills what is missing with grey and says nothing.
    if format == ImageFormat::Jpeg && !jpeg_ends(&bytes) {
        return Err(damaged("its end is missing".into()));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| damaged(e.to_string()))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(InputError::TooLarge { path: path.into(), width, height });
    }
    let orientation = decoder.orientation().map_err(|e| damaged(e.to_string()))?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| damaged(e.to_string()))?;
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

/// Whether the last scan is followed by an end marker. Neither marker occurs within a scan's data.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|w| w == marker);
    last([0xff, 0xd9]) > last([0xff, 0xda])
}

/// The tensor of a model that takes `[channels, height, width]`.
pub(super) fn to_tensor(picture: &RgbImage, [channels, height, width]: [u32; 3], preprocess: &Preprocess) -> Vec<f32> {
    let channels = channels as usize;
    let grey: Vec<u8>;
    let data = if channels == 1 {
        grey = picture.pixels().map(|p| luma(p.0)).collect();
        &grey
    } else {
        picture.as_raw().as_slice()
    };
    let source = Picture { data, width: picture.width() as usize, height: picture.height() as usize, channels };
    let pixels = fit(source, width as usize, height as usize);
    let tables: Vec<[f32; 256]> = (0..channels).map(|c| preprocess.table(c)).collect();
    let taken = |c: usize| if preprocess.order == Order::Bgr { channels - 1 - c } else { c };
    let area = pixels.len() / channels;
    let mut tensor = vec![0.0; pixels.len()];
    for (i, pixel) in pixels.chunks_exact(channels).enumerate() {
        for (c, table) in tables.iter().enumerate() {
            let at = if preprocess.layout == Layout::Nhwc { i * channels + c } else { c * area + i };
            tensor[at] = table[usize::from(pixel[taken(c)])];
        }
    }
    tensor
}

/// Grey of a colour, ITU-R 601 as Pillow computes it.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + (1 << 15)) >> 16) as u8
}
