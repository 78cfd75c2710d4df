//! PNG pictures row by row: a large one takes the memory of a few rows.

use std::io::{BufRead, Seek};

use png::{BitDepth, ColorType, Decoder, Limits, Reader, Transformations};

/// Most bytes that the decoder takes beside a row: chunks of colour profiles and such.
const MOST_BESIDE: usize = 16 << 20;

/// The rows of a PNG picture, as 8-bit RGB; alpha is dropped.
pub(super) struct PngRows<R: BufRead + Seek> {
    reader: Reader<R>,
    /// Bytes of a sample, and samples of a pixel as the decoder gives them.
    sample: usize,
    samples: usize,
    decoded: Vec<u8>,
    rgb: Vec<u8>,
}

impl<R: BufRead + Seek> PngRows<R> {
    /// Reads what stands before the pixels. None for pictures whose rows do not come one after the other: interlaced
    /// ones, and such as may have to be turned.
    ///
    /// # Errors
    /// What the decoder says of a damaged file.
    pub(super) fn open(source: R) -> Result<Option<Self>, String> {
        let mut decoder = Decoder::new_with_limits(source, Limits { bytes: MOST_BESIDE });
        decoder.set_ignore_text_chunk(true);
        // Palettes become colours, fewer than 8 bits become 8; 16 stay, to be rounded here.
        decoder.set_transformations(Transformations::EXPAND);
        let reader = decoder.read_info().map_err(|e| e.to_string())?;
        let (color, depth) = reader.output_color_type();
        let samples = match color {
            ColorType::Grayscale => 1,
            ColorType::GrayscaleAlpha => 2,
            ColorType::Rgb => 3,
            ColorType::Rgba => 4,
            ColorType::Indexed => return Ok(None),
        };
        if reader.info().interlaced || reader.info().exif_metadata.is_some() {
            return Ok(None);
        }
        let sample = if depth == BitDepth::Sixteen { 2 } else { 1 };
        Ok(Some(Self { reader, sample, samples, decoded: Vec::new(), rgb: Vec::new() }))
    }

    /// Width and height, pixels.
    pub(super) fn size(&self) -> (u32, u32) {
        self.reader.info().size()
    }

    /// The next row; none after the last, when the end of the data has been seen, too.
    ///
    /// # Errors
    /// What the decoder says of a damaged file.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, String> {
        let width = self.reader.info().width;
        let line = self.reader.output_line_size(width).ok_or("its rows are too long")?;
        self.decoded.resize(line, 0);
        if self.reader.read_row(&mut self.decoded).map_err(|e| e.to_string())?.is_none() {
            return Ok(None);
        }
        let (sample, samples) = (self.sample, self.samples);
        let eight = |bytes: &[u8]| match bytes {
            // As the crate `image` rounds.
            [high, low] => ((u32::from(u16::from_be_bytes([*high, *low])) + 128) / 257) as u8,
            bytes => bytes[0],
        };
        self.rgb.clear();
        for pixel in self.decoded.chunks_exact(sample * samples) {
            let at = |i: usize| eight(&pixel[i * sample..][..sample]);
            self.rgb.extend(if samples < 3 { [at(0); 3] } else { [at(0), at(1), at(2)] });
        }
        Ok(Some(&self.rgb))
    }
}
