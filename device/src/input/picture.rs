//! Pictures: decoding within limits, and the tensor that a model takes.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, Cursor, Read, Seek};
use std::path::Path;

use image::{DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use twinmask_model::preprocess::{Layout, Order, Preprocess};

use crate::input::error::{InputError, Origin};
use crate::input::resample::Fit;
use crate::input::rows::PngRows;

/// Most megapixels (2^20) of a picture, unless the application says otherwise.
pub const MAX_MEGAPIXELS: u32 = 64;
/// Most bytes of a picture's file.
const MAX_FILE: u64 = 512 << 20;

/// A picture, upright, as 8-bit RGB. Preprocessing is the model's: resized (short side, bilinear, antialiased) and
/// centre-cropped unless it has the size already; one-channel models get the grey of the colours.
///
/// It takes 3 bytes per pixel; decoding a JPEG, an interlaced PNG or one with EXIF takes more for a while. A PNG file
/// that is given as [`Input::file`](crate::Input::file) is never in memory as a whole.
#[derive(Debug, Clone)]
pub struct Image {
    pixels: RgbImage,
    origin: Origin,
}

impl Image {
    /// Reads a PNG or JPEG file; EXIF turns it upright, alpha is dropped.
    ///
    /// # Errors
    /// [`InputError`] naming the file and what to do. Pictures beyond [`MAX_MEGAPIXELS`] are refused before anything of
    /// their size is allocated.
    pub fn path(path: impl AsRef<Path>) -> Result<Self, InputError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|source| InputError::Read { path: path.into(), source })?;
        Self::read(file, path, MAX_MEGAPIXELS)
    }

    /// As [`path`](Self::path), of an open file with at most so many megapixels.
    pub(crate) fn read(file: File, path: &Path, megapixels: u32) -> Result<Self, InputError> {
        let unread = |source| InputError::Read { path: path.into(), source };
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unread)?;
        Self::decode(&bytes, Origin::File(path.into()), megapixels)
    }

    /// Decodes the bytes of a PNG or JPEG file; EXIF turns it upright, alpha is dropped.
    ///
    /// # Errors
    /// As [`path`](Self::path).
    pub fn encoded(bytes: &[u8]) -> Result<Self, InputError> {
        Self::decode(bytes, Origin::Memory, MAX_MEGAPIXELS)
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

    #[cfg(test)]
    pub(crate) const fn pixels(&self) -> &RgbImage {
        &self.pixels
    }

    fn decode(bytes: &[u8], origin: Origin, megapixels: u32) -> Result<Self, InputError> {
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
        if format == ImageFormat::Png
            && let Some(mut rows) = PngRows::open(Cursor::new(bytes)).map_err(damaged)?
        {
            let (width, height) = check_size(rows.size(), &origin, megapixels)?;
            let mut pixels = Vec::with_capacity(width as usize * height as usize * 3);
            while let Some(row) = rows.next().map_err(damaged)? {
                pixels.extend_from_slice(row);
            }
            let whole = RgbImage::from_raw(width, height, pixels).ok_or_else(|| damaged("rows are missing".into()))?;
            return Ok(Self { pixels: whole, origin });
        }
        let mut limits = Limits::default();
        // 16 bits times four channels, and the decoder's rows.
        limits.max_alloc = Some((u64::from(megapixels) << 20) * 8 + (64 << 20));
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(|e| damaged(e.to_string()))?;
        check_size(decoder.dimensions(), &origin, megapixels)?;
        let orientation = decoder.orientation().map_err(|e| damaged(e.to_string()))?;
        let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| damaged(e.to_string()))?;
        picture.apply_orientation(orientation);
        Ok(Self { pixels: picture.into_rgb8(), origin })
    }

    /// The tensor of a model that takes `[channels, height, width]`.
    pub(crate) fn to_tensor(&self, size: [u32; 3], preprocess: &Preprocess) -> Vec<f32> {
        let mut fitting = Fitting::new(self.pixels.dimensions(), size);
        self.pixels.as_raw().chunks_exact(3 * self.pixels.width() as usize).for_each(|row| fitting.row(row));
        fitting.tensor(preprocess)
    }
}

/// The tensor of a PNG picture for a model that takes `[channels, height, width]`, row by row; none for one that has to
/// be decoded as a whole.
///
/// # Errors
/// As [`Image::path`].
pub(crate) fn png_tensor(
    source: impl BufRead + Seek,
    origin: &Origin,
    megapixels: u32,
    size: [u32; 3],
    preprocess: &Preprocess,
) -> Result<Option<Vec<f32>>, InputError> {
    let damaged = |reason: String| InputError::Picture { origin: origin.clone(), reason };
    let Some(mut rows) = PngRows::open(source).map_err(damaged)? else { return Ok(None) };
    let mut fitting = Fitting::new(check_size(rows.size(), origin, megapixels)?, size);
    // To the end, also where only the middle shows: a damaged picture is none.
    while let Some(row) = rows.next().map_err(damaged)? {
        fitting.row(row);
    }
    Ok(Some(fitting.tensor(preprocess)))
}

fn check_size((width, height): (u32, u32), origin: &Origin, megapixels: u32) -> Result<(u32, u32), InputError> {
    if u64::from(width) * u64::from(height) > u64::from(megapixels) << 20 {
        return Err(InputError::TooLarge { origin: origin.clone(), width, height, most: u64::from(megapixels) });
    }
    if width == 0 || height == 0 {
        return Err(InputError::Picture { origin: origin.clone(), reason: "it has no pixels".into() });
    }
    Ok((width, height))
}

/// Rows of RGB on their way to a tensor.
struct Fitting {
    channels: usize,
    fit: Fit,
}

impl Fitting {
    fn new((width, height): (u32, u32), [channels, to_height, to_width]: [u32; 3]) -> Self {
        let (from, to) = ([width, height].map(|n| n as usize), [to_width, to_height].map(|n| n as usize));
        Self { channels: channels as usize, fit: Fit::new(from, to, channels as usize) }
    }

    fn row(&mut self, rgb: &[u8]) {
        let grey = || rgb.as_chunks().0.iter().map(|&p| luma(p)).collect();
        self.fit.row(&if self.channels == 1 { Cow::Owned(grey()) } else { Cow::Borrowed(rgb) });
    }

    fn tensor(self, preprocess: &Preprocess) -> Vec<f32> {
        let (channels, pixels) = (self.channels, self.fit.finish());
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
