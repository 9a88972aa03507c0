//! Where the pictures of an MP4 file lie. Reads the sample table of its first H.264 track, and trusts nothing in it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Bytes of the largest table of contents that is read: about a day and a half of video at 30 frames a second.
const MOOV_BYTES_MAX: u64 = 64 << 20;
/// Pictures of the longest video that is read: 37 hours at 30 frames a second, 100 MB of table.
const SAMPLES_MAX: usize = 4_000_000;
/// Boxes at the top of a file, or in a box, that are looked at.
const BOXES_MAX: usize = 10_000;

/// The H.264 track of a file.
#[derive(Debug)]
pub(super) struct Track {
    /// Content of the `avcC` box: the parameter sets.
    pub(super) config: Vec<u8>,
    /// Units of time per second.
    pub(super) timescale: u32,
    /// The coded pictures, in the order in which they are decoded.
    pub(super) samples: Vec<Sample>,
}

/// One coded picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// Position in the file, bytes.
    pub(super) offset: u64,
    /// Length, bytes.
    pub(super) size: u32,
    /// When it is shown, in the track's units; may begin anywhere.
    pub(super) time: i64,
    /// Whether decoding can begin here.
    pub(super) is_sync: bool,
}

/// Reads the table of contents.
///
/// # Errors
/// A sentence about what is missing, contradictory or too large.
pub(super) fn read_track(file: &mut File) -> Result<Track, String> {
    let moov = read_moov(file)?;
    let mut tracks = children(&moov)?.into_iter().filter(|(name, _)| name == b"trak");
    let video = tracks.find_map(|(_, trak)| h264_track(trak).transpose());
    video.unwrap_or_else(|| Err("it has no H.264 video track; convert it with H.264".into()))
}

fn read_moov(file: &mut File) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot read it: {error}");
    let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let mut at = 0;
    for _ in 0..BOXES_MAX {
        if at + 8 > length {
            break;
        }
        file.seek(SeekFrom::Start(at)).map_err(failed)?;
        let mut header = [0; 16];
        let header_len = (length - at).min(16) as usize;
        file.read_exact(&mut header[..header_len]).map_err(failed)?;
        let (name, content_at, end) = box_header(&header[..header_len], length - at)?;
        match &name {
            b"moov" => {
                let size = end - content_at;
                if size > MOOV_BYTES_MAX {
                    return Err(format!(
                        "its table of contents takes {size} bytes, at most {MOOV_BYTES_MAX} are read"
                    ));
                }
                let mut moov = vec![0; size as usize];
                file.seek(SeekFrom::Start(at + content_at)).map_err(failed)?;
                file.read_exact(&mut moov).map_err(failed)?;
                return Ok(moov);
            }
            b"moof" => return Err("it is fragmented; remux it into one piece".into()),
            _ => at += end,
        }
    }
    Err("it has no table of contents (moov): not an MP4 file, or its recording was cut off".into())
}

/// Name, begin of the content and end of a box, relative to its begin; `available` bytes are there.
fn box_header(bytes: &[u8], available: u64) -> Result<([u8; 4], u64, u64), String> {
    let (size, name) = (u64::from(u32_at(bytes, 0)?), array_at(bytes, 4)?);
    let (content_at, end) = match size {
        0 => (8, available),
        1 => (16, u64::from_be_bytes(array_at(bytes, 8)?)),
        _ => (8, size),
    };
    if end < content_at || end > available {
        return Err(format!("box \"{}\" has an impossible size", name.escape_ascii()));
    }
    Ok((name, content_at, end))
}

type Child<'a> = ([u8; 4], &'a [u8]);

fn children(mut bytes: &[u8]) -> Result<Vec<Child<'_>>, String> {
    let mut found = Vec::new();
    while bytes.len() >= 8 && found.len() < BOXES_MAX {
        let (name, content_at, end) = box_header(bytes, bytes.len() as u64)?;
        // Both lie within `bytes`, so they fit.
        found.push((name, &bytes[content_at as usize..end as usize]));
        bytes = &bytes[end as usize..];
    }
    Ok(found)
}

fn child<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> Result<&'a [u8], String> {
    path.iter().try_fold(bytes, |bytes, name| {
        let found = children(bytes)?.into_iter().find(|(found, _)| found == *name);
        found
            .map(|(_, content)| content)
            .ok_or_else(|| format!("box \"{}\" is missing", name.escape_ascii()))
    })
}

/// `None` if the track is none of H.264 video.
fn h264_track(trak: &[u8]) -> Result<Option<Track>, String> {
    let table = child(trak, &[b"mdia", b"minf", b"stbl"])?;
    let entries = child(table, &[b"stsd"])?.get(8..).unwrap_or_default();
    let entry = children(entries)?
        .into_iter()
        .find(|(name, _)| matches!(name, b"avc1" | b"avc3"));
    let Some((_, entry)) = entry else {
        return Ok(None);
    };
    // 78 bytes of size, resolution and a name precede the boxes.
    let config = child(entry.get(78..).unwrap_or_default(), &[b"avcC"])?;
    let media = child(trak, &[b"mdia", b"mdhd"])?;
    let timescale = u32_at(media, if media.first() == Some(&1) { 20 } else { 12 })?;
    if timescale == 0 {
        return Err("its clock stands still (timescale 0)".into());
    }
    Ok(Some(Track {
        config: config.to_vec(),
        timescale,
        samples: samples(table)?,
    }))
}

fn samples(table: &[u8]) -> Result<Vec<Sample>, String> {
    let sizes = sizes(child(table, &[b"stsz"])?)?;
    let offsets = offsets(table, &sizes)?;
    let times = times(table, sizes.len())?;
    // Without a table of sync samples all are.
    let mut syncs = match child(table, &[b"stss"]) {
        Ok(stss) => Some(entries::<4>(stss, 4)?.map(|e| u32::from_be_bytes(*e)).peekable()),
        Err(_) => None,
    };
    let joined = sizes.into_iter().zip(offsets).zip(times).zip(1u32..);
    Ok(joined
        .map(|(((size, offset), time), number)| Sample {
            offset,
            size,
            time,
            is_sync: syncs.as_mut().is_none_or(|syncs| syncs.next_if_eq(&number).is_some()),
        })
        .collect())
}

fn sizes(stsz: &[u8]) -> Result<Vec<u32>, String> {
    let (common, count) = (u32_at(stsz, 4)?, u32_at(stsz, 8)? as usize);
    if count > SAMPLES_MAX {
        return Err(format!("it announces {count} pictures, at most {SAMPLES_MAX} are read"));
    }
    if common != 0 {
        return Ok(vec![common; count]);
    }
    let sizes: Vec<u32> = entries::<4>(stsz, 8)?.map(|e| u32::from_be_bytes(*e)).collect();
    Ok(sizes)
}

/// Where the samples lie: they follow one another in chunks, and runs of chunks hold the same number of them.
fn offsets(table: &[u8], sizes: &[u32]) -> Result<Vec<u64>, String> {
    let chunks: Vec<u64> = match child(table, &[b"stco"]) {
        Ok(stco) => entries::<4>(stco, 4)?
            .map(|e| u64::from(u32::from_be_bytes(*e)))
            .collect(),
        Err(_) => entries::<8>(child(table, &[b"co64"])?, 4)?
            .map(|e| u64::from_be_bytes(*e))
            .collect(),
    };
    let mut runs = entries::<12>(child(table, &[b"stsc"])?, 4)?
        .map(|e| {
            (
                u32::from_be_bytes([e[0], e[1], e[2], e[3]]),
                u32::from_be_bytes([e[4], e[5], e[6], e[7]]),
            )
        })
        .peekable();
    let (mut offsets, mut per_chunk) = (Vec::with_capacity(sizes.len()), 0);
    for (mut at, number) in chunks.into_iter().zip(1u32..) {
        while let Some((_, samples)) = runs.next_if(|(first, _)| *first <= number) {
            per_chunk = samples as usize;
        }
        let first = offsets.len();
        for size in &sizes[first..sizes.len().min(first.saturating_add(per_chunk))] {
            offsets.push(at);
            at = at.saturating_add(u64::from(*size));
        }
    }
    if offsets.len() < sizes.len() {
        return Err(format!(
            "it announces {} pictures but says where {} lie",
            sizes.len(),
            offsets.len()
        ));
    }
    Ok(offsets)
}

/// When the samples are shown: when they are decoded, plus their offset if they have one.
fn times(table: &[u8], count: usize) -> Result<Vec<i64>, String> {
    let durations = runs(child(table, &[b"stts"])?)?;
    let shifts = child(table, &[b"ctts"]).map_or(Ok(Vec::new()), runs)?;
    let mut shifts = shifts
        .into_iter()
        .flat_map(|(n, shift)| std::iter::repeat_n(shift.cast_signed(), n as usize));
    let (mut times, mut decoded) = (Vec::with_capacity(count), 0i64);
    for duration in durations
        .into_iter()
        .flat_map(|(n, duration)| std::iter::repeat_n(duration, n as usize))
        .take(count)
    {
        times.push(decoded + i64::from(shifts.next().unwrap_or(0)));
        // At most SAMPLES_MAX times 2³²: fits.
        decoded += i64::from(duration);
    }
    if times.len() < count {
        return Err(format!(
            "it announces {count} pictures but says when {} are shown",
            times.len()
        ));
    }
    Ok(times)
}

fn runs(bytes: &[u8]) -> Result<Vec<(u32, u32)>, String> {
    let runs = entries::<8>(bytes, 4)?;
    Ok(runs
        .map(|e| {
            (
                u32::from_be_bytes([e[0], e[1], e[2], e[3]]),
                u32::from_be_bytes([e[4], e[5], e[6], e[7]]),
            )
        })
        .collect())
}

/// The entries of a table whose number of entries stands at `count_at`.
fn entries<const N: usize>(bytes: &[u8], count_at: usize) -> Result<impl Iterator<Item = &[u8; N]>, String> {
    let count = u32_at(bytes, count_at)? as usize;
    let (entries, _) = bytes.get(count_at + 4..).unwrap_or_default().as_chunks::<N>();
    if count > entries.len() {
        return Err(format!("a table announces {count} entries and holds {}", entries.len()));
    }
    Ok(entries[..count].iter())
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], String> {
    let found = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    found.copied().ok_or_else(|| "a box ends too early".into())
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, String> {
    array_at(bytes, at).map(u32::from_be_bytes)
}
