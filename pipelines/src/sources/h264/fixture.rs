//! A tiny H.264 encoder and an MP4 file around it, so that tests know every pixel: macroblocks are stored uncompressed
//! (`I_PCM`), or all skipped, which repeats the picture before.

/// Columns and rows of the pictures: 3 × 2 macroblocks.
pub(in super::super) const SIZE_PX: (u32, u32) = (48, 32);
const MACROBLOCKS: u32 = 6;

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: usize,
}

impl Bits {
    fn put(&mut self, value: u32, n: u32) {
        for bit in (0..n).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= ((value >> bit & 1) as u8) << (7 - self.used % 8);
            self.used += 1;
        }
    }

    /// Unsigned Exp-Golomb.
    fn ue(&mut self, value: u32) {
        let length = 32 - (value + 1).leading_zeros();
        self.put(0, length - 1);
        self.put(value + 1, length);
    }

    fn align(&mut self) {
        self.used = self.bytes.len() * 8;
    }

    /// The NAL unit with its stop bit, and with its zeros broken up.
    fn nal(mut self, header: u8) -> Vec<u8> {
        self.put(1, 1);
        let mut nal = vec![header];
        for byte in self.bytes {
            if nal.ends_with(&[0, 0]) && byte <= 3 {
                nal.push(3);
            }
            nal.push(byte);
        }
        nal
    }
}

/// The sequence parameter set for pictures of `macroblocks` columns and rows.
pub(in super::super) fn sps(macroblocks: (u32, u32)) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(0x42_c0_0a, 24);
    for value in [0, 0, 2, 1] {
        bits.ue(value);
    }
    bits.put(0, 1);
    bits.ue(macroblocks.0 - 1);
    bits.ue(macroblocks.1 - 1);
    bits.put(0b1100, 4);
    bits.nal(0x67)
}

/// The picture parameter set.
pub(in super::super) fn pps() -> Vec<u8> {
    let mut bits = Bits::default();
    bits.ue(0);
    bits.ue(0);
    bits.put(0, 2);
    for _ in 0..3 {
        bits.ue(0);
    }
    bits.put(0, 3);
    for _ in 0..3 {
        bits.ue(0);
    }
    bits.put(0b100, 3);
    bits.nal(0x68)
}

/// A picture of one brightness that stands alone; `n` tells it from its neighbours.
pub(in super::super) fn flat(n: u32, luma: u8) -> Vec<u8> {
    let mut bits = Bits::default();
    for value in [0, 7, 0] {
        bits.ue(value);
    }
    bits.put(0, 4);
    bits.ue(n % 2);
    bits.put(0, 2);
    bits.ue(0);
    bits.ue(1);
    for _ in 0..MACROBLOCKS {
        bits.ue(25);
        bits.align();
        bits.bytes.extend([luma; 256]);
        bits.bytes.extend([128; 128]);
        bits.align();
    }
    bits.nal(0x65)
}

/// The picture before once more; `n` counts those since the last one that stands alone, from 1.
pub(in super::super) fn again(n: u32) -> Vec<u8> {
    let mut bits = Bits::default();
    for value in [0, 5, 0] {
        bits.ue(value);
    }
    bits.put(n % 16, 4);
    bits.put(0, 3);
    bits.ue(0);
    bits.ue(1);
    bits.ue(MACROBLOCKS);
    bits.nal(0x41)
}

/// What `luma` becomes in red, green and blue, by the definition of BT.601.
pub(in super::super) fn grey(luma: u8) -> u8 {
    ((f32::from(luma) - 16.0) * 255.0 / 219.0).round().clamp(0.0, 255.0) as u8
}

fn boxed(name: &str, content: &[u8]) -> Vec<u8> {
    let size = (content.len() + 8) as u32;
    [&size.to_be_bytes(), name.as_bytes(), content].concat()
}

fn table(name: &str, head: &[u32], entries: &[u32], n: usize) -> Vec<u8> {
    let values = [&[0], head, &[n as u32], entries].concat();
    boxed(name, &values.iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<u8>>())
}

/// One coded picture of a file: its NAL unit, when it is shown after it is decoded, whether it stands alone.
pub(in super::super) type Coded = (Vec<u8>, u32, bool);

/// A file of these pictures, `duration` units of 1/1000 s apart, two to a chunk.
pub(in super::super) fn mp4(pictures: &[Coded], duration: u32) -> Vec<u8> {
    let units: Vec<Vec<u8>> = pictures
        .iter()
        .map(|(nal, ..)| [&(nal.len() as u32).to_be_bytes(), &nal[..]].concat())
        .collect();
    let ftyp = boxed("ftyp", b"isom\0\0\0\0");
    let mut at = ftyp.len() as u32 + 8;
    let mut chunks = Vec::new();
    for chunk in units.chunks(2) {
        chunks.push(at);
        at += chunk.iter().map(|unit| unit.len() as u32).sum::<u32>();
    }
    let (n, sizes) = (
        pictures.len(),
        units.iter().map(|unit| unit.len() as u32).collect::<Vec<_>>(),
    );
    let shifts: Vec<u32> = pictures.iter().flat_map(|picture| [1, picture.1]).collect();
    let syncs: Vec<u32> = (1..)
        .zip(pictures)
        .filter(|(_, picture)| picture.2)
        .map(|(n, _)| n)
        .collect();
    let stbl = [
        boxed("stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1], &avc1()[..]].concat()),
        table("stts", &[], &[n as u32, duration], 1),
        table("ctts", &[], &shifts, n),
        table("stss", &[], &syncs, syncs.len()),
        table("stsc", &[], &[1, 2, 1], 1),
        table("stsz", &[0], &sizes, n),
        table("stco", &[], &chunks, chunks.len()),
    ];
    let media = [
        boxed("mdhd", &[[0; 12], *b"\0\0\x03\xe8\0\0\0\0\0\0\0\0"].concat()),
        boxed("minf", &boxed("stbl", &stbl.concat())),
    ];
    let moov = boxed("moov", &boxed("trak", &boxed("mdia", &media.concat())));
    [ftyp, boxed("mdat", &units.concat()), moov].concat()
}

fn avc1() -> Vec<u8> {
    let (sps, pps) = (sps((3, 2)), pps());
    let sized = |nal: &[u8]| [&(nal.len() as u16).to_be_bytes(), nal].concat();
    let config = [&[1, 0x42, 0xc0, 10, 0xff, 0xe1], &sized(&sps)[..], &[1], &sized(&pps)].concat();
    boxed("avc1", &[&[0; 78], &boxed("avcC", &config)[..]].concat())
}
