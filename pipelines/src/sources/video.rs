//! Frames from a video file: H.264 in MP4.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use intakt_operators::Frame;
use rust_h264::nal::{parse_avcc, parse_avcc_config};

use super::h264::Pictures;
use super::mp4::{Sample, Track, read_track};
use super::{Next, Source, StopFlag};

/// Bytes of the largest coded picture that is read.
const SAMPLE_BYTES_MAX: u32 = 64 << 20;
/// Pictures that may wait for one that is shown before them but decoded after them: no level of H.264 allows more.
const REORDERED_MAX: usize = 16;

/// What an encoded picture turned out to be.
type Bytes = Result<Arc<[u8]>, Arc<str>>;

/// How a video is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct VideoOptions {
    /// Event time of the first frame, microseconds; 0 by default, because a file does not reliably say when it was taken.
    pub start_us: u64,
}

/// A video file as a camera: every coded picture is one frame, in the order in which they are shown, as a 24-bit BMP.
///
/// The event time is the container's presentation time, counted from the first frame. A picture that cannot be decoded is a
/// frame without bytes, and so is every one that is predicted from it. Besides the frame handed out it holds what H.264
/// demands: at most 16 pictures to predict from, and at most 16 that are decoded before they are shown (none where the
/// encoder uses no B pictures).
pub struct Video {
    camera: Arc<str>,
    path: PathBuf,
    file: File,
    options: VideoOptions,
    track: Track,
    /// Position of each sample in the order of presentation.
    ranks: Vec<u64>,
    /// Time of the first picture shown, in the track's units.
    first_time: i64,
    pictures: Pictures,
    /// Bytes of the length before each NAL unit.
    length_size: usize,
    /// The next sample to decode.
    at: usize,
    /// The next frame to hand out.
    seq: u64,
    /// Pictures that are decoded and not due yet, with their sample.
    early: BTreeMap<u64, (usize, Bytes)>,
}

impl Video {
    /// Opens the file and reads its table of contents.
    ///
    /// # Errors
    /// A sentence: the file cannot be read, or is no H.264 in an MP4 file that is decoded.
    pub fn open(camera: Arc<str>, path: &Path, options: VideoOptions) -> Result<Self, String> {
        Self::read(camera, path, options).map_err(|cause| format!("cannot play \"{}\": {cause}", path.display()))
    }

    fn read(camera: Arc<str>, path: &Path, options: VideoOptions) -> Result<Self, String> {
        let mut file = File::open(path).map_err(|error| error.to_string())?;
        let track = read_track(&mut file)?;
        let mut pictures = Pictures::new();
        let config = parse_avcc_config(&track.config)?;
        for nal in config.sps_nals.iter().chain(&config.pps_nals) {
            pictures.configure(nal)?;
        }
        let length_size = config.length_size;
        let ranks = ranks(&track.samples)?;
        Ok(Self {
            camera,
            path: path.to_owned(),
            file,
            options,
            first_time: track.samples.iter().map(|sample| sample.time).min().unwrap_or(0),
            track,
            ranks,
            pictures,
            length_size,
            at: 0,
            seq: 0,
            early: BTreeMap::new(),
        })
    }

    /// Number of frames in the file.
    pub fn frames(&self) -> u64 {
        self.track.samples.len() as u64
    }

    /// Decodes the next sample. Those before the frame that was resumed at are decoded only to predict from.
    fn decode(&mut self) {
        let (sample, rank) = (self.track.samples[self.at], self.ranks[self.at]);
        let read = self.read_sample(sample);
        let picture = read.and_then(|bytes| self.pictures.decode(&parse_avcc(&bytes, self.length_size)));
        if rank >= self.seq {
            let bmp = picture.and_then(|picture| self.pictures.bmp(&picture));
            self.early
                .insert(rank, (self.at, bmp.map(Into::into).map_err(Into::into)));
        }
        self.at += 1;
    }

    fn read_sample(&mut self, sample: Sample) -> Result<Vec<u8>, String> {
        if sample.size > SAMPLE_BYTES_MAX {
            return Err(format!(
                "a coded picture of {} bytes; at most {SAMPLE_BYTES_MAX} are read",
                sample.size
            ));
        }
        let failed = |error| format!("cannot read the coded picture: {error}");
        self.file.seek(SeekFrom::Start(sample.offset)).map_err(failed)?;
        let mut bytes = Vec::new();
        // Not allocated at once: the size is only announced.
        let wanted = u64::from(sample.size);
        let read = Read::by_ref(&mut self.file)
            .take(wanted)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if read as u64 != wanted {
            return Err(format!(
                "the file ends after {read} of {wanted} bytes of the coded picture"
            ));
        }
        Ok(bytes)
    }

    fn frame(&mut self, at: usize, bytes: Bytes) -> Frame {
        let seq = self.seq;
        self.seq += 1;
        let units = i128::from(self.track.samples[at].time) - i128::from(self.first_time);
        let since_first_us = units * 1_000_000 / i128::from(self.track.timescale);
        Frame {
            camera: self.camera.clone(),
            seq,
            captured_at_us: self
                .options
                .start_us
                .saturating_add(u64::try_from(since_first_us).unwrap_or(u64::MAX)),
            origin: format!("{}#{seq}", self.path.display()).into(),
            bytes,
            recorded: None,
        }
    }
}

impl Source for Video {
    fn camera(&self) -> &Arc<str> {
        &self.camera
    }

    fn is_live(&self) -> bool {
        false
    }

    /// Decodes from the last picture before frame `seq` that stands alone.
    fn resume_at(&mut self, seq: u64) {
        self.seq = seq;
        let mut seen_before = 0;
        for (at, sample) in self.track.samples.iter().enumerate() {
            // Only where all pictures decoded before are shown before as well, and none of them is asked for.
            if sample.is_sync && self.ranks[at] == seen_before && seen_before <= seq {
                self.at = at;
            }
            seen_before = seen_before.max(self.ranks[at] + 1);
        }
    }

    fn next(&mut self, stop: &StopFlag) -> Next {
        while !stop.is_stopped() {
            if let Some((at, bytes)) = self.early.remove(&self.seq) {
                return Next::Frame(self.frame(at, bytes));
            }
            if self.at == self.track.samples.len() {
                break;
            }
            self.decode();
        }
        Next::Ended
    }
}

/// The position of each sample in the order of presentation; of two shown at the same time the one decoded first.
fn ranks(samples: &[Sample]) -> Result<Vec<u64>, String> {
    let mut shown: Vec<usize> = (0..samples.len()).collect();
    shown.sort_by_key(|at| (samples[*at].time, *at));
    let mut ranks = vec![0; samples.len()];
    let mut decoded_before = 0;
    for (rank, at) in shown.into_iter().enumerate() {
        ranks[at] = rank as u64;
        // Everything up to `at` is decoded when this one is shown; what of it is shown later waits.
        decoded_before = decoded_before.max(at + 1);
        if decoded_before - (rank + 1) > REORDERED_MAX {
            return Err(format!(
                "more than {REORDERED_MAX} pictures have to wait for one that is shown before them"
            ));
        }
    }
    Ok(ranks)
}

#[cfg(test)]
mod tests {
    use intakt_operators::imaging::decode;

    use super::super::compliance::{Subject, Taken, frame};
    use super::super::h264::fixture::{Coded, SIZE_PX, again, flat, grey, mp4, sps};
    use super::*;

    fn stored(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("line.mp4");
        std::fs::write(&path, bytes).expect("written");
        (folder, path)
    }

    fn open(path: &Path) -> Video {
        Video::open("belt".into(), path, VideoOptions { start_us: 500 }).expect("an H.264 video")
    }

    /// Two groups of three pictures: 60 60 60 200 200 200.
    fn two_groups() -> Vec<Coded> {
        let group = |n, luma| [(flat(n, luma), 0, true), (again(1), 0, false), (again(2), 0, false)];
        [group(0, 60), group(1, 200)].concat()
    }

    fn greys(source: &mut Video) -> Vec<Result<u8, Arc<str>>> {
        let stop = StopFlag::default();
        let mut greys = Vec::new();
        while let Next::Frame(frame) = source.next(&stop) {
            greys.push(frame.bytes.map(|bytes| {
                let image = decode(&bytes, 255).expect("a BMP");
                assert_eq!((image.width_px, image.height_px), SIZE_PX);
                assert!(image.rgb.iter().all(|level| *level == image.rgb[0]), "one grey");
                image.rgb[0]
            }));
        }
        greys
    }

    #[test]
    fn a_video_complies() {
        let whole = mp4(&two_groups(), 40);
        let (_folder, path) = stored(&whole);
        let fresh = || -> Box<dyn Source> {
            std::fs::write(&path, &whole).expect("written");
            Box::new(open(&path))
        };
        Subject {
            fresh: &fresh,
            frames: 6,
            ends: true,
            replayable: true,
            broken: &[],
            taken: Taken::Spoilt(&|| std::fs::write(&path, &whole[..1000]).expect("cut")),
            ahead_max: 1,
        }
        .complies();
    }

    #[test]
    fn pixels_and_times_are_those_of_the_file() {
        let (_folder, path) = stored(&mp4(&two_groups(), 40));
        let [dark, bright] = [60, 200].map(|luma| Ok(grey(luma)));
        let expected = [dark.clone(), dark.clone(), dark, bright.clone(), bright.clone(), bright];
        assert_eq!(greys(&mut open(&path)), expected);
        let (mut source, stop) = (open(&path), StopFlag::default());
        source.resume_at(4);
        assert_eq!(source.at, 3, "begins at the second group");
        assert_eq!(frame(&mut source, &stop).captured_at_us, 500 + 4 * 40_000);
    }

    #[test]
    fn pictures_leave_in_the_order_in_which_they_are_shown() {
        // Decoded 0 3 1 2.
        let shown = [(50, 0), (80, 80), (110, 0), (140, 0)];
        let coded: Vec<Coded> = (0..)
            .zip(shown)
            .map(|(n, (luma, shift))| (flat(n, luma), shift, true))
            .collect();
        let (_folder, path) = stored(&mp4(&coded, 40));
        assert_eq!(greys(&mut open(&path)), [50, 110, 80, 140].map(|luma| Ok(grey(luma))));
    }

    #[test]
    fn what_follows_a_broken_picture_is_broken_until_one_stands_alone() {
        let mut pictures = two_groups();
        pictures[0].0.truncate(200);
        let (_folder, path) = stored(&mp4(&pictures, 40));
        let greys = greys(&mut open(&path));
        assert_eq!(greys.len(), 6);
        let reason = greys[0].clone().expect_err("cut");
        assert!(reason.starts_with("damaged or unsupported H.264"), "{reason}");
        assert_eq!(
            greys[1],
            Err("predicted from a picture that could not be decoded".into())
        );
        assert_eq!(greys[3..], [Ok(grey(200)), Ok(grey(200)), Ok(grey(200))]);
    }

    #[test]
    fn a_file_that_is_cut_gives_every_frame_its_reason() {
        // The table of contents in front, as in files made for streaming; then the file is cut.
        let bytes = mp4(&two_groups(), 40);
        let (_folder, path) = stored(&bytes);
        let mut source = open(&path);
        std::fs::write(&path, &bytes[..1000]).expect("cut");
        let greys = greys(&mut source);
        assert_eq!(greys.len(), 6);
        assert!(
            greys[5]
                .as_ref()
                .is_err_and(|reason| reason.starts_with("the file ends after 0 of ")),
            "{greys:?}"
        );
    }

    #[test]
    fn damaged_files_are_refused_or_played_and_never_panic() {
        let bytes = mp4(&two_groups(), 40);
        let mut random = 1u64;
        let mut next = || {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize
        };
        let stop = StopFlag::default();
        let tables = bytes.len() - bytes.windows(4).position(|name| name == b"moov").expect("is there");
        for round in 0..200 {
            let mut damaged = bytes.clone();
            for _ in 0..1 + next() % 3 {
                // Every second time in the table of contents, which is small.
                let reach = if round % 2 == 0 { tables } else { bytes.len() };
                let at = bytes.len() - 1 - next() % reach;
                damaged[at] = [0, 0xff, 1, next() as u8][next() % 4];
            }
            damaged.truncate(if round % 5 == 0 {
                next() % bytes.len()
            } else {
                bytes.len()
            });
            let (_folder, path) = stored(&damaged);
            if let Ok(mut source) = Video::open("belt".into(), &path, VideoOptions::default()) {
                let frames = source.frames();
                for _ in 0..frames.min(50) {
                    assert!(matches!(source.next(&stop), Next::Frame(_)), "round {round}");
                }
            }
        }
    }

    #[test]
    fn too_large_pictures_and_other_files_are_refused() {
        let mut pictures = Pictures::new();
        let sps = sps((4096, 4096));
        let nals = rust_h264::nal::parse_annex_b(&[&[0, 0, 0, 1], &sps[..]].concat())
            .iter()
            .map(|nal| pictures.configure(nal))
            .collect::<Vec<_>>();
        assert!(
            nals[0]
                .as_ref()
                .is_err_and(|reason| reason.starts_with("pictures of 65536x65536")),
            "{nals:?}"
        );
        for bytes in [&b""[..], b"not a video", b"\0\0\0\x08moov"] {
            let (_folder, path) = stored(bytes);
            let refused = Video::open("belt".into(), &path, VideoOptions::default());
            assert!(refused.err().is_some_and(|reason| reason.starts_with("cannot play \"")));
        }
    }

    #[test]
    #[ignore = "needs the real images: INTAKT_DATA"]
    fn the_bottle_video_plays_to_its_last_frame() {
        let data =
            PathBuf::from(std::env::var_os("INTAKT_DATA").expect("INTAKT_DATA names the folder of the real images"));
        let path = data.join("video/bottle-detection.mp4");
        let (mut source, stop) = (
            Video::open("belt".into(), &path, VideoOptions::default()).expect("plays"),
            StopFlag::default(),
        );
        // Time and mean red, green and blue, of the planes that FFmpeg decodes: printed by tests/parity/video.py.
        let reference = [
            (0, 0, [153.338533, 149.301172, 141.476029]),
            (1, 33_519, [153.510881, 149.411454, 141.655786]),
            (400, 13_407_821, [157.903967, 152.712118, 145.716224]),
            (1188, 39_821_229, [160.747595, 155.333954, 145.895356]),
        ];
        for seq in 0..1189 {
            let frame = frame(&mut source, &stop);
            let image = decode(&frame.bytes.expect("every frame decodes"), 255).expect("a BMP");
            assert_eq!((frame.seq, image.width_px, image.height_px), (seq, 640, 360));
            if let Some((_, time_us, means)) = reference.iter().find(|(at, ..)| *at == seq) {
                assert_eq!(frame.captured_at_us, *time_us);
                for (channel, mean) in means.iter().enumerate() {
                    let sum: u64 = image
                        .rgb
                        .iter()
                        .skip(channel)
                        .step_by(3)
                        .map(|level| u64::from(*level))
                        .sum();
                    let ours = sum as f64 / (640.0 * 360.0);
                    assert!(
                        (ours - mean).abs() < 1e-4,
                        "frame {seq}, channel {channel}: {ours}, not {mean}"
                    );
                }
            }
        }
        assert!(matches!(source.next(&stop), Next::Ended));
    }
}
