//! The usual PNG, taken apart on two threads where one is idle: about half of the time goes into inflating, the other half into taking
//! back the filters of rows (PNG, third edition, section 9), and rows can be taken back while the next ones are inflated.

use intakt_kernels::network::pipelined;
use intakt_kernels::unfilter;
use png::{BitDepth, ColorType, DecodeOptions, Decoded, StreamingDecoder, UnfilterRegion, chunk};

use super::decode::FRAME_PIXELS_MAX;
use super::image::Image;

/// Bytes of rows that are handed from thread to thread at once.
const SLAB_BYTES: usize = 128 << 10;

/// How far back what is inflated may refer.
const LOOK_BACK_BYTES: usize = 32 << 10;

/// With what a PNG begins.
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Bytes of the longest row: several are held beside the image.
const ROW_BYTES_MAX: usize = 1 << 20;

/// Decodes an RGB or grey PNG of 8 bits that is not interlaced. None of any other, and none where something is wrong: the decoder of all
/// files says what.
pub(super) fn decode_png(bytes: &[u8]) -> Option<Image> {
    if !bytes.starts_with(SIGNATURE) {
        return None;
    }
    let mut options = DecodeOptions::default();
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    let mut file = Unread {
        decoder: StreamingDecoder::new_with_options(options),
        rest: bytes,
    };
    file.pass_over(|decoded| matches!(decoded, Decoded::ChunkBegin(_, chunk::IDAT)))?;
    let info = file.decoder.info()?;
    let (width, height) = (info.width, info.height);
    let pixels = u64::from(width) * u64::from(height);
    let is_plain = info.bit_depth == BitDepth::Eight && !info.interlaced && info.animation_control.is_none();
    if !is_plain || !(1..=FRAME_PIXELS_MAX).contains(&pixels) {
        return None;
    }
    let channels = match info.color_type {
        ColorType::Rgb => 3,
        ColorType::Grayscale => 1,
        _ => return None,
    };
    let row_bytes = width as usize * channels;
    if row_bytes > ROW_BYTES_MAX {
        return None;
    }
    let slabs = Slabs {
        file,
        row_bytes,
        rows_left: height as usize,
        history: Vec::new(),
        is_flushed: false,
        is_at_end: false,
    };
    let mut rgb = vec![0; 3 * pixels as usize];
    let mut rows = Rows {
        above: vec![0; row_bytes],
        row: vec![0; row_bytes],
        channels,
        rgb: rgb.chunks_exact_mut(3 * width as usize),
    };
    let mut is_whole = true;
    pipelined(slabs, |slab| {
        is_whole = is_whole && slab.is_some_and(|slab| rows.take(&slab).is_some())
    });
    is_whole.then(|| Image::new(width, height, rgb))
}

/// A file, and how much of it is still to be read.
struct Unread<'a> {
    decoder: StreamingDecoder,
    rest: &'a [u8],
}

impl Unread<'_> {
    /// Reads on, without the image's data, until something is there; none where it ends before or something is wrong.
    fn pass_over(&mut self, is_there: impl Fn(&Decoded) -> bool) -> Option<()> {
        loop {
            let (read, decoded) = self.decoder.update(self.rest, None).ok()?;
            self.rest = &self.rest[read..];
            if is_there(&decoded) {
                return Some(());
            }
            if matches!(decoded, Decoded::Nothing) && self.rest.is_empty() {
                return None;
            }
        }
    }
}

/// Whole rows, each behind the number of its filter; before them what was inflated last.
struct Slab {
    bytes: Vec<u8>,
    first: usize,
}

/// Inflates. A slab that is none is the last: something was wrong.
struct Slabs<'a> {
    file: Unread<'a>,
    row_bytes: usize,
    rows_left: usize,
    history: Vec<u8>,
    /// Whether all of the image's data was read.
    is_flushed: bool,
    is_at_end: bool,
}

impl Iterator for Slabs<'_> {
    type Item = Option<Slab>;

    fn next(&mut self) -> Option<Option<Slab>> {
        if self.is_at_end {
            return None;
        }
        if self.rows_left == 0 {
            self.is_at_end = true;
            let is_flushed = |decoded: &Decoded| matches!(decoded, Decoded::ImageDataFlushed);
            // What is left of the image's data is passed over.
            let is_whole = self.is_flushed || self.file.pass_over(is_flushed).is_some();
            return if is_whole { None } else { Some(None) };
        }
        let slab = self.slab();
        self.is_at_end = slab.is_none();
        Some(slab)
    }
}

impl Slabs<'_> {
    fn slab(&mut self) -> Option<Slab> {
        let row_bytes = 1 + self.row_bytes;
        let n_rows = (SLAB_BYTES / row_bytes).clamp(1, self.rows_left);
        let first = self.history.len();
        let mut bytes = std::mem::take(&mut self.history);
        bytes.resize(first + n_rows * row_bytes, 0);
        let mut region = UnfilterRegion {
            available: 0,
            filled: first,
        };
        while region.filled < bytes.len() {
            let filled = region.filled;
            let Unread { decoder, rest } = &mut self.file;
            let (read, decoded) = decoder.update(rest, Some(&mut region.as_buf(&mut bytes))).ok()?;
            *rest = &rest[read..];
            self.is_flushed = matches!(decoded, Decoded::ImageDataFlushed);
            let is_stuck = read == 0 && region.filled == filled;
            if region.filled < bytes.len() && (is_stuck || self.is_flushed) {
                return None;
            }
        }
        self.rows_left -= n_rows;
        if self.rows_left > 0 {
            self.history.reserve_exact(LOOK_BACK_BYTES + SLAB_BYTES);
            self.history
                .extend_from_slice(&bytes[bytes.len().saturating_sub(LOOK_BACK_BYTES)..]);
        }
        Some(Slab { bytes, first })
    }
}

/// Takes filters back.
struct Rows<'a> {
    /// The row above, zeros above the first.
    above: Vec<u8>,
    row: Vec<u8>,
    channels: usize,
    /// Rows that are to be filled.
    rgb: std::slice::ChunksExactMut<'a, u8>,
}

impl Rows<'_> {
    fn take(&mut self, slab: &Slab) -> Option<()> {
        for filtered in slab.bytes[slab.first..].chunks_exact(1 + self.above.len()) {
            let out = self.rgb.next()?;
            let (filter, filtered) = filtered.split_first()?;
            if self.channels == 3 {
                unfilter::<3>(*filter, filtered, &self.above, &mut self.row).then_some(())?;
                out.copy_from_slice(&self.row);
            } else {
                unfilter::<1>(*filter, filtered, &self.above, &mut self.row).then_some(())?;
                let pixels = out.as_chunks_mut().0.iter_mut();
                pixels.zip(&self.row).for_each(|(pixel, grey)| *pixel = [*grey; 3]);
            }
            std::mem::swap(&mut self.above, &mut self.row);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
