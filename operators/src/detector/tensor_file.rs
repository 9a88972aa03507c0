//! The safetensors container: an 8-byte length, a JSON header, the values. Written here rather than by the crate because the
//! crate keeps metadata in a hash map, so that the same content would give different bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::file::DetectorFileError;
use super::{Tensor, TensorData};

/// Longest header: a manifest of some 400,000 training images. Safetensors readers refuse headers above 100 MB.
pub(super) const HEADER_BYTES_MAX: usize = 64 << 20;

/// Metadata and tensors by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Contents {
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) tensors: BTreeMap<String, Tensor>,
}

/// The header of a file, and the bytes behind it that its tensors lie in.
#[derive(Debug)]
pub(super) struct Opened<'a> {
    pub(super) metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, TensorInfo>,
    values: &'a [u8],
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    #[serde(rename = "__metadata__", default)]
    metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<String, TensorInfo>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TensorInfo {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// Passes the file's bytes to `out`, piece by piece: a pure function of the content. Integers come before floats and those before
/// bytes, so that every value is aligned to its size, and names ascend.
///
/// # Errors
/// A sentence, where the header is above [`HEADER_BYTES_MAX`].
pub(super) fn write(contents: &Contents, out: &mut dyn FnMut(&[u8])) -> Result<(), String> {
    let header = header_bytes(&contents.metadata, &infos(&contents.tensors));
    if header.len() > HEADER_BYTES_MAX {
        return Err(format!(
            "the description of the detector takes {} bytes, above {HEADER_BYTES_MAX}: its manifest is too long",
            header.len()
        ));
    }
    out(&(header.len() as u64).to_le_bytes());
    out(&header);
    in_file_order(&contents.tensors).for_each(|(_, tensor)| pass_values(&tensor.data, out));
    Ok(())
}

/// Reads the header. Nothing is allocated for the tensors; their names, shapes and places are not looked at yet.
///
/// # Errors
/// Cut off, or not such a file.
pub(super) fn open(bytes: &[u8]) -> Result<Opened<'_>, DetectorFileError> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(DetectorFileError::Truncated(format!(
            "it ends after {} bytes",
            bytes.len()
        )));
    };
    let length = u64::from_le_bytes(*length);
    if length > HEADER_BYTES_MAX as u64 || rest.first().is_some_and(|&first| first != b'{') {
        return Err(DetectorFileError::Foreign("it is no safetensors file".into()));
    }
    let Some((header, values)) = rest.split_at_checked(length as usize) else {
        let found = rest.len();
        return Err(DetectorFileError::Truncated(format!(
            "its header has {found} of {length} bytes"
        )));
    };
    let parsed: Header = serde_json::from_slice(header).map_err(|error| {
        DetectorFileError::Foreign(format!(
            "its header is no safetensors header, or was changed on its way: {error}"
        ))
    })?;
    Ok(Opened {
        metadata: parsed.metadata,
        tensors: parsed.tensors,
        values,
    })
}

impl Opened<'_> {
    /// The whole content. Allocates as many bytes as the file has.
    ///
    /// # Errors
    /// Cut off, or damaged: tensors that overlap, leave gaps, or do not fill their shapes.
    pub(super) fn read(self) -> Result<Contents, DetectorFileError> {
        self.check_places()?;
        let values = self.values;
        let tensors = self.tensors.into_iter().map(|(name, info)| {
            let bytes = &values[info.data_offsets[0]..info.data_offsets[1]];
            let data = match info.dtype.as_str() {
                "I64" => TensorData::I64(decoded(bytes, i64::from_le_bytes)),
                "U8" => TensorData::U8(bytes.to_vec()),
                _ => TensorData::F32(decoded(bytes, f32::from_le_bytes)),
            };
            let shape = info.shape;
            (name, Tensor { shape, data })
        });
        Ok(Contents {
            tensors: tensors.collect(),
            metadata: self.metadata,
        })
    }

    /// Checks that the tensors lie one after the other, each as large as its shape, and fill the file.
    fn check_places(&self) -> Result<(), DetectorFileError> {
        let mut infos: Vec<(&String, &TensorInfo)> = self.tensors.iter().collect();
        infos.sort_by_key(|(_, info)| info.data_offsets);
        let mut end = 0;
        for (name, info) in infos {
            let damaged = |what: String| DetectorFileError::Damaged(format!("tensor `{name}` {what}"));
            let size = value_bytes(&info.dtype).ok_or_else(|| damaged(format!("is of type {}", info.dtype)))?;
            let bytes = info
                .shape
                .iter()
                .try_fold(size, |bytes, &extent| bytes.checked_mul(extent));
            let [start, stop] = info.data_offsets;
            if start != end || bytes.is_none() || stop.checked_sub(start) != bytes {
                let shape = &info.shape;
                return Err(damaged(format!(
                    "of shape {shape:?} lies at bytes {start} to {stop}, after {end}"
                )));
            }
            end = stop;
        }
        match self.values.len() {
            found if found < end => Err(DetectorFileError::Truncated(format!(
                "its tensors have {found} of {end} bytes"
            ))),
            found if found > end => Err(DetectorFileError::Damaged(format!(
                "{} bytes follow its last tensor",
                found - end
            ))),
            _ => Ok(()),
        }
    }
}

/// SHA-256 of metadata and tensors: of every key, value, tensor name, type, shape and values, each after its length.
pub(super) fn content_hash(contents: &Contents) -> String {
    let mut sha = Sha256::new();
    for (key, value) in &contents.metadata {
        [key, value].into_iter().for_each(|text| hash_text(&mut sha, text));
    }
    for (name, tensor) in &contents.tensors {
        hash_text(&mut sha, name);
        hash_text(&mut sha, dtype(&tensor.data));
        sha.update((tensor.shape.len() as u64).to_le_bytes());
        tensor
            .shape
            .iter()
            .for_each(|&extent| sha.update((extent as u64).to_le_bytes()));
        pass_values(&tensor.data, &mut |bytes| sha.update(bytes));
    }
    hexadecimal(&sha.finalize())
}

/// Lower-case digits, two a byte.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash_text(sha: &mut Sha256, text: &str) {
    sha.update((text.len() as u64).to_le_bytes());
    sha.update(text);
}

fn header_bytes(metadata: &BTreeMap<String, String>, tensors: &BTreeMap<String, TensorInfo>) -> Vec<u8> {
    let header = Header {
        metadata: metadata.clone(),
        tensors: tensors.clone(),
    };
    let mut json = serde_json::to_vec(&header).expect("maps of strings and numbers are JSON");
    // Padded so that the values begin at a multiple of eight bytes, as the format asks for.
    json.resize(json.len().next_multiple_of(8), b' ');
    json
}

fn infos(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, TensorInfo> {
    let mut end = 0;
    let places = in_file_order(tensors).map(|(name, tensor)| {
        let start = end;
        end +=
            tensor.shape.iter().product::<usize>() * value_bytes(dtype(&tensor.data)).expect("both types have a size");
        let info = TensorInfo {
            dtype: dtype(&tensor.data).into(),
            shape: tensor.shape.clone(),
            data_offsets: [start, end],
        };
        (name.clone(), info)
    });
    places.collect()
}

fn in_file_order(tensors: &BTreeMap<String, Tensor>) -> impl Iterator<Item = (&String, &Tensor)> {
    let of = |kind: &'static str| tensors.iter().filter(move |(_, tensor)| dtype(&tensor.data) == kind);
    of("I64").chain(of("F32")).chain(of("U8"))
}

fn dtype(data: &TensorData) -> &'static str {
    match data {
        TensorData::F32(_) => "F32",
        TensorData::I64(_) => "I64",
        TensorData::U8(_) => "U8",
    }
}

fn value_bytes(dtype: &str) -> Option<usize> {
    match dtype {
        "F32" => Some(4),
        "I64" => Some(8),
        "U8" => Some(1),
        _ => None,
    }
}

/// Passes values as little-endian bytes, in pieces of a few kilobytes so that nothing is copied whole.
fn pass_values(data: &TensorData, out: &mut dyn FnMut(&[u8])) {
    let mut piece = Vec::with_capacity(8192);
    match data {
        TensorData::F32(values) => values.chunks(2048).for_each(|values| {
            piece.clear();
            values.iter().for_each(|value| piece.extend(value.to_le_bytes()));
            out(&piece);
        }),
        TensorData::I64(values) => values.chunks(1024).for_each(|values| {
            piece.clear();
            values.iter().for_each(|value| piece.extend(value.to_le_bytes()));
            out(&piece);
        }),
        TensorData::U8(values) => out(values),
    }
}

fn decoded<const N: usize, T>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| from(*chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents() -> Contents {
        let floats = (0..5000).map(|i| i as f32 * 0.1 - 3.0).collect();
        Contents {
            metadata: (0..20)
                .map(|i| (format!("key {i}"), format!("value \"{i}\" ü")))
                .collect(),
            tensors: BTreeMap::from([
                ("a.floats".to_string(), Tensor::f32(&[50, 100], floats)),
                ("b.sums".to_string(), Tensor::i64(&[3], vec![i64::MIN, -1, i64::MAX])),
                ("c.nothing".to_string(), Tensor::f32(&[0, 7], vec![])),
                ("d.scalar".to_string(), Tensor::f32(&[], vec![0.25])),
                ("a.bytes".to_string(), Tensor::u8(vec![1, 2, 3])),
            ]),
        }
    }

    fn bytes_of(contents: &Contents) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(contents, &mut |piece| bytes.extend_from_slice(piece)).unwrap();
        bytes
    }

    #[test]
    fn contents_survive_and_so_do_bytes() {
        let bytes = bytes_of(&contents());
        let again = open(&bytes).unwrap().read().unwrap();
        assert_eq!(again, contents());
        assert_eq!(bytes_of(&again), bytes);
    }

    #[test]
    fn any_safetensors_reader_opens_the_file() {
        let bytes = bytes_of(&contents());
        let (header_length, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header_length % 8, 0);
        assert_eq!(metadata.metadata().as_ref().unwrap()["key 3"], "value \"3\" ü");
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.len(), 5);
        let floats = file.tensor("a.floats").unwrap();
        assert_eq!(
            (floats.dtype(), floats.shape()),
            (safetensors::Dtype::F32, [50, 100].as_slice())
        );
        assert_eq!(floats.data()[4 * 7..4 * 8], (7.0_f32 * 0.1 - 3.0).to_le_bytes());
        let sums = file.tensor("b.sums").unwrap();
        assert_eq!((sums.dtype(), sums.data().len()), (safetensors::Dtype::I64, 24));
        let bytes = file.tensor("a.bytes").unwrap();
        assert_eq!((bytes.dtype(), bytes.data()), (safetensors::Dtype::U8, &[1, 2, 3][..]));
    }

    #[test]
    fn impossible_headers_are_refused_without_allocating() {
        let file = |header: &str, values: usize| {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            bytes.resize(bytes.len() + values, 0);
            open(&bytes).and_then(Opened::read).unwrap_err()
        };
        let one = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        use DetectorFileError::{Damaged, Foreign, Truncated};
        let huge = "[4294967296,4294967296,4294967296]";
        for (header, values) in [
            (one("F32", huge, "[0,0]"), 0),
            (one("F32", "[2]", "[4,12]"), 12),
            (one("F32", "[2]", "[8,0]"), 8),
            (one("F32", "[3]", "[0,8]"), 8),
            (one("F16", "[4]", "[0,8]"), 8),
            (one("F32", "[2]", "[0,8]"), 9),
        ] {
            let error = file(&header, values);
            assert!(matches!(error, Damaged(_)), "{header}: {error:?}");
        }
        assert!(matches!(
            file(&one("F32", "[2305843009213693951]", "[0,9223372036854775804]"), 8),
            Truncated(_)
        ));
        assert!(matches!(file(&one("F32", "[-1]", "[0,4]"), 4), Foreign(_)));
        assert!(matches!(file(&format!("{}1", "[".repeat(100_000)), 0), Foreign(_)));
        assert!(matches!(
            file(&format!("{{\"t\":{}", "[".repeat(100_000)), 0),
            Foreign(_)
        ));
    }
}
