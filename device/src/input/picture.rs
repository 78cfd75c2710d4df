//! Pictures: decoding within limits, and the tensor that a model takes.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::{DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use twinmask_model::preprocess::{Layout, Order, Preprocess};

use crate::input::error::{InputError, Origin};
use crate::input::resample::{Picture, fit};

/// Most pixels of a picture: 64 megapixels.
const MAX_PIXELS: u64 = 64 << 20;
/// Most bytes of a picture's file.
const MAX_FILE: u64 = 512 << 20;
/// Most bytes the decoder may take: 16 bits times four channels, and its rows.
const MAX_DECODER: u64 = MAX_PIXELS * 8 + (64 << 20);

/// A picture, upright, as 8-bit RGB. Preprocessing is the model's: resized (short side, bilinear, antialiased) and
/// centre-cropped unless it has the size already; one-channel models get the grey of the colours.
#[derive(Debug, Clone)]
pub struct Image {
    pixels: RgbImage,
    origin: Origin,
}

impl Image {
    /// Reads a PNG or JPEG file; EXIF turns it upright, alpha is dropped.
    ///
    /// # Errors
    /// [`InputError`] naming the file and what to do. Pictures beyond 64 megapixels are refused before anything of
    /// their size is allocated.
    pub fn path(path: impl AsRef<Path>) -> Result<Self, InputError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|source| InputError::Read { path: path.into(), source })?;
        Self::read(file, path)
    }

    /// As [`path`](Self::path), of an open file.
    pub(crate) fn read(file: File, path: &Path) -> Result<Self, InputError> {
        let unread = |source| InputError::Read { path: path.into(), source };
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unread)?;
        Self::decode(&bytes, Origin::File(path.into()))
    }

    /// Decodes the bytes of a PNG or JPEG file; EXIF turns it upright, alpha is dropped.
    ///
    /// # Errors
    /// As [`path`](Self::path).
    pub fn encoded(bytes: &[u8]) -> Result<Self, InputError> {
        Self::decode(bytes, Origin::Memory)
    }

    /// Pixels `[height, width, 3]`, row by row, red green blue.
    ///
    /// # Errors
    /// [`InputError::Pixels`] when there are not `3 * width * height` bytes.
    pub fn rgb8(width: u32, height: u32, pixels: &[u8]) -> Result<Self, InputError> {
        let picture = fills(pixels, width, height, 3).and_then(|()| RgbImage::from_raw(width, height, pixels.to_vec()));
        let pixels = picture.ok_or_else(|| wrong_size(pixels, width, height, 3))?;
        Ok(Self { pixels, origin: Origin::Memory })
    }

    /// Grey pixels `[height, width]`, row by row.
    ///
    /// # Errors
    /// [`InputError::Pixels`] when there are not `width * height` bytes.
    pub fn grey8(width: u32, height: u32, pixels: &[u8]) -> Result<Self, InputError> {
        let picture =
            fills(pixels, width, height, 1).and_then(|()| GrayImage::from_raw(width, height, pixels.to_vec()));
        let picture = picture.ok_or_else(|| wrong_size(pixels, width, height, 1))?;
        Ok(Self { pixels: DynamicImage::ImageLuma8(picture).into_rgb8(), origin: Origin::Memory })
    }

    /// Where it came from.
    pub(crate) const fn origin(&self) -> &Origin {
        &self.origin
    }

    fn decode(bytes: &[u8], origin: Origin) -> Result<Self, InputError> {
        let damaged = |reason: String| InputError::Picture { origin: origin.clone(), reason };
        let Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg)) = image::guess_format(bytes) else {
            return Err(InputError::Unknown { origin });
        };
        if bytes.len() as u64 > MAX_FILE {
            return Err(damaged(format!("more than {} MB", MAX_FILE >> 20)));
        }
        // The JPEG decoder fills what is missing with grey and says nothing.
        if format == ImageFormat::Jpeg && !jpeg_ends(bytes) {
            return Err(damaged("its end is missing".into()));
        }
        let mut limits = Limits::default();
        limits.max_alloc = Some(MAX_DECODER);
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(|e| damaged(e.to_string()))?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(InputError::TooLarge { origin, width, height, most: MAX_PIXELS >> 20 });
        }
        let orientation = decoder.orientation().map_err(|e| damaged(e.to_string()))?;
        let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| damaged(e.to_string()))?;
        picture.apply_orientation(orientation);
        Ok(Self { pixels: picture.into_rgb8(), origin })
    }

    /// The tensor of a model that takes `[channels, height, width]`.
    pub(crate) fn to_tensor(&self, [channels, height, width]: [u32; 3], preprocess: &Preprocess) -> Vec<f32> {
        let (picture, channels) = (&self.pixels, channels as usize);
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
}

/// Whether there are as many bytes as the size takes; none are taken for a picture without pixels.
fn fills(pixels: &[u8], width: u32, height: u32, channels: u64) -> Option<()> {
    let expected = (u64::from(width) * u64::from(height)).saturating_mul(channels);
    (expected > 0 && expected == pixels.len() as u64).then_some(())
}

fn wrong_size(pixels: &[u8], width: u32, height: u32, channels: u64) -> InputError {
    let expected = (u64::from(width) * u64::from(height)).saturating_mul(channels);
    InputError::Pixels { found: pixels.len(), width, height, expected }
}

/// Whether the last scan is followed by an end marker. Neither marker occurs within a scan's data.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|w| w == marker);
    last([0xff, 0xd9]) > last([0xff, 0xda])
}

/// Grey of a colour, ITU-R 601 as Pillow computes it.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + (1 << 15)) >> 16) as u8
}
