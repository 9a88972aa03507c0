//! Decodes H.264 and hands the pictures on as BMP.

#[cfg(test)]
pub(super) mod fixture;

use rust_h264::decoder::{ChromaFormat, Decoder, Frame as Picture};
use rust_h264::nal::{NalUnit, NalUnitType, SpsInfo, parse_sps_info};

use super::bmp::{Colours, bmp_header};

/// Pixels of the largest picture that is decoded: 4096 × 2304, the limit of level 5.2. The decoder keeps up to 16 pictures
/// to predict from, 226 MB at this size.
const PICTURE_PIXELS_MAX: u64 = 36_864 * 256;

/// Decodes one access unit after the other. What it cannot decode it says, and what is predicted from that as well.
pub(super) struct Pictures {
    decoder: Decoder,
    colours: Colours,
    /// Whether a picture since the last one that stands alone could not be decoded: those that follow would be predicted
    /// from something else than the camera saw.
    broken: bool,
}

impl Pictures {
    pub(super) fn new() -> Self {
        Self {
            decoder: Decoder::new(),
            colours: Colours::new(false, 0),
            // Nothing was received to predict from.
            broken: true,
        }
    }

    /// A picture was lost on the way.
    pub(super) fn miss(&mut self) {
        self.broken = true;
    }

    /// Takes a parameter set, or anything else that is no picture.
    ///
    /// # Errors
    /// A sentence, where the stream is of a kind or size that is not decoded.
    pub(super) fn configure(&mut self, nal: &NalUnit<'_>) -> Result<(), String> {
        if nal.nal_unit_type == NalUnitType::Sps {
            self.colours = checked(&parse_sps_info(nal).map_err(undecodable)?)?;
        }
        self.decoder.decode_nal(nal).map_err(undecodable)?;
        Ok(())
    }

    /// Decodes the picture of an access unit.
    ///
    /// # Errors
    /// A sentence, where it has none, is damaged, or is predicted from one that was.
    pub(super) fn decode(&mut self, nals: &[NalUnit<'_>]) -> Result<Picture, String> {
        let stands_alone = nals.iter().any(|nal| nal.nal_unit_type == NalUnitType::SliceIdr);
        let was_broken = self.broken && !stands_alone;
        let decoded = self.decode_unit(nals);
        self.broken = was_broken || decoded.is_err();
        match decoded {
            Ok(_) if was_broken => Err("predicted from a picture that could not be decoded".into()),
            decoded => decoded,
        }
    }

    fn decode_unit(&mut self, nals: &[NalUnit<'_>]) -> Result<Picture, String> {
        let fed = nals.iter().try_for_each(|nal| self.configure(nal));
        // Also after an error, so that half a picture is not taken for the next one.
        let picture = self.decoder.flush();
        fed?;
        picture.ok_or_else(|| "no picture in it".into())
    }

    /// The picture as an uncompressed 24-bit BMP: what `decode` reads without loss, and what takes a copy to write where
    /// compressing would take longer than decoding did.
    ///
    /// # Errors
    /// A sentence, where the samples are not 8 bits.
    pub(super) fn bmp(&self, picture: &Picture) -> Result<Vec<u8>, String> {
        if picture.bit_depth != 8 {
            return Err(format!("{} bits a sample; 8 are decoded", picture.bit_depth));
        }
        let (width, height) = (picture.width as usize, picture.height as usize);
        let stride = (width * 3).next_multiple_of(4);
        let mut bmp = bmp_header(picture.width, picture.height, stride * height);
        let chroma_width = picture.chroma_width() as usize;
        let rows_per_chroma_row = if picture.chroma_format == ChromaFormat::Yuv420 {
            2
        } else {
            1
        };
        for (y, luma) in picture.y.chunks_exact(width).enumerate() {
            let chroma_at = y / rows_per_chroma_row * chroma_width;
            let (u, v) = (&picture.u[chroma_at..], &picture.v[chroma_at..]);
            for (x, luma) in luma.iter().enumerate() {
                let x = (x / 2).min(chroma_width - 1);
                bmp.extend_from_slice(&self.colours.bgr(*luma, u[x], v[x]));
            }
            bmp.resize(bmp.len() + stride - width * 3, 0);
        }
        Ok(bmp)
    }
}

fn undecodable(error: rust_h264::error::DecodeError) -> String {
    format!("damaged or unsupported H.264: {error}")
}

/// Refuses what would take too much memory, before any of it is allocated.
fn checked(sps: &SpsInfo) -> Result<Colours, String> {
    let pixels = u64::from(sps.coded_width) * u64::from(sps.coded_height);
    if pixels > PICTURE_PIXELS_MAX || sps.width < 2 || sps.height < 2 {
        return Err(format!(
            "pictures of {}x{} pixels; at most {PICTURE_PIXELS_MAX} are decoded",
            sps.coded_width, sps.coded_height
        ));
    }
    Ok(Colours::new(sps.full_range, sps.matrix))
}
