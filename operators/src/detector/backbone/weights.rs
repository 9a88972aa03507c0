//! Reads network weights from the bytes of a safetensors file. The bytes are not trusted.

use std::collections::BTreeMap;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};

use crate::detector::{Tensor, TensorData};

/// Bytes a weights file may have: WideResNet-50-2, the largest network here, needs 276 MB in `f32`, and an anomaly
/// detection checkpoint around it holds a memory bank of a few hundred more. Larger files are refused.
pub const WEIGHTS_BYTES_MAX: usize = 1 << 30;

/// Reads every tensor of a safetensors file, by name. `F16`, `BF16` and `F64` become `f32`; integers other than `I64` and
/// booleans are left out, because no network here has any.
///
/// # Errors
/// A sentence that says whether the bytes are too large, truncated, no safetensors file at all, or hold numbers in a format
/// that cannot be read (8-bit floats, complex numbers).
pub fn read_weights(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    if bytes.len() > WEIGHTS_BYTES_MAX {
        return Err(format!(
            "the weights file is too large: {} bytes, the limit is {WEIGHTS_BYTES_MAX}",
            bytes.len()
        ));
    }
    let file = SafeTensors::deserialize(bytes).map_err(|error| describe(bytes, &error))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        if let Some(data) = read_values(&view).map_err(|found| format!("tensor `{name}` {found}"))? {
            let shape = view.shape().to_vec();
            tensors.insert(name.to_owned(), Tensor { shape, data });
        }
    }
    Ok(tensors)
}

/// The values of one tensor; none for integers that no network needs.
fn read_values(view: &TensorView) -> Result<Option<TensorData>, String> {
    let values = match view.dtype() {
        Dtype::F32 => view
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .copied()
            .map(f32::from_le_bytes)
            .collect(),
        Dtype::F64 => {
            let values = view.data().as_chunks::<8>().0.iter().copied().map(f64::from_le_bytes);
            values.map(|value| value as f32).collect()
        }
        Dtype::F16 => halves(view, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => halves(view, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        Dtype::I64 => {
            let values = view.data().as_chunks::<8>().0.iter().copied().map(i64::from_le_bytes);
            return Ok(Some(TensorData::I64(values.collect())));
        }
        Dtype::BOOL | Dtype::U8 | Dtype::I8 | Dtype::U16 | Dtype::I16 | Dtype::U32 | Dtype::I32 | Dtype::U64 => {
            return Ok(None);
        }
        other => return Err(format!("holds numbers of type {other:?}; save it as F32, F16 or BF16")),
    };
    Ok(Some(TensorData::F32(values)))
}

/// Half-precision floats as `f32`, which holds every one of them exactly.
fn halves(view: &TensorView, widen: impl Fn([u8; 2]) -> f32) -> Vec<f32> {
    view.data().as_chunks::<2>().0.iter().copied().map(widen).collect()
}

/// Which of the three it is: truncated, something else altogether, or damaged.
fn describe(bytes: &[u8], error: &SafeTensorError) -> String {
    // The file starts with the length of its header (8 bytes), then the header, a JSON object, then the numbers.
    let looks_like_header = bytes.get(8) == Some(&b'{');
    match error {
        SafeTensorError::InvalidHeaderLength if looks_like_header => {
            format!(
                "the weights file is truncated: it ends within its header, after {} bytes",
                bytes.len()
            )
        }
        SafeTensorError::MetadataIncompleteBuffer => describe_length(bytes),
        SafeTensorError::InvalidHeader(_) | SafeTensorError::InvalidHeaderDeserialization(_) if looks_like_header => {
            format!("the weights file is damaged: {error}")
        }
        SafeTensorError::TensorInvalidInfo
        | SafeTensorError::InvalidOffset(_)
        | SafeTensorError::ValidationOverflow
        | SafeTensorError::MisalignedSlice => format!("the weights file is damaged: {error}"),
        _ if bytes.is_empty() => "the weights file is empty".to_owned(),
        _ if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02") => {
            "the weights are a PyTorch pickle, which is never opened because it can run code: save them as safetensors"
                .to_owned()
        }
        _ => "the weights are not a safetensors file".to_owned(),
    }
}

/// The header is in order, but the file is shorter or longer than it says.
fn describe_length(bytes: &[u8]) -> String {
    let declared = declared_bytes(bytes).unwrap_or(bytes.len());
    if declared > bytes.len() {
        format!("the weights file is truncated: {} of {declared} bytes", bytes.len())
    } else {
        format!(
            "the weights file is damaged: its header accounts for {declared} of {} bytes",
            bytes.len()
        )
    }
}

/// Bytes of the whole file according to its own header.
fn declared_bytes(bytes: &[u8]) -> Option<usize> {
    let header_bytes = usize::try_from(u64::from_le_bytes(*bytes.first_chunk::<8>()?)).ok()?;
    let start = header_bytes.checked_add(8)?;
    let header: serde_json::Value = serde_json::from_slice(bytes.get(8..start)?).ok()?;
    let ends = header
        .as_object()?
        .values()
        .filter_map(|info| info.get("data_offsets")?.get(1)?.as_u64());
    start.checked_add(usize::try_from(ends.max().unwrap_or(0)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one tensor `w` of shape `[2]`.
    fn file(dtype: &str, data: &[u8]) -> Vec<u8> {
        let header = format!(
            r#"{{"w":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,{}]}}}}"#,
            data.len()
        );
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn check(dtype: &str, data: &[u8], expected: &[f32]) {
        let tensors = read_weights(&file(dtype, data)).unwrap();
        assert_eq!(tensors["w"], Tensor::f32(&[2], expected.to_vec()), "{dtype}");
    }

    #[test]
    fn floats_of_any_width_become_f32() {
        check(
            "F32",
            &[1.5f32.to_le_bytes(), (-0.1f32).to_le_bytes()].concat(),
            &[1.5, -0.1],
        );
        check(
            "F64",
            &[1.5f64.to_le_bytes(), (-0.1f64).to_le_bytes()].concat(),
            &[1.5, -0.1],
        );
        // 1.5 and the smallest subnormal, 2^-24; 1.5 and -2^127.
        check("F16", &[0x00, 0x3e, 0x01, 0x00], &[1.5, 2f32.powi(-24)]);
        check("BF16", &[0xc0, 0x3f, 0x00, 0xff], &[1.5, -(2f32.powi(127))]);
    }

    #[test]
    fn integers_do_not_stand_in_the_way() {
        let tensors = read_weights(&file("I64", &[7u64.to_le_bytes(), 8u64.to_le_bytes()].concat())).unwrap();
        assert_eq!(tensors["w"], Tensor::i64(&[2], vec![7, 8]));
        assert!(read_weights(&file("U8", &[1, 2])).unwrap().is_empty());
    }

    #[test]
    fn eight_bit_floats_are_refused() {
        let error = read_weights(&file("F8_E4M3", &[1, 2])).unwrap_err();
        assert_eq!(
            error,
            "tensor `w` holds numbers of type F8_E4M3; save it as F32, F16 or BF16"
        );
    }

    #[test]
    fn truncated_files_are_called_truncated() {
        let whole = file("F32", &[0; 8]);
        for length in 9..whole.len() {
            let error = read_weights(&whole[..length]).unwrap_err();
            assert!(
                error.starts_with("the weights file is truncated: "),
                "{length}: {error}"
            );
        }
        let error = read_weights(&whole[..whole.len() - 1]).unwrap_err();
        assert!(
            error.ends_with(&format!("{} of {} bytes", whole.len() - 1, whole.len())),
            "{error}"
        );
        assert_eq!(read_weights(&[]).unwrap_err(), "the weights file is empty");
    }

    #[test]
    fn foreign_files_are_called_foreign() {
        for foreign in [
            &b"\x89PNG\r\n\x1a\n and so on"[..],
            b"hello, world",
            b"short",
            &[0; 64],
            &[0xff; 64],
        ] {
            assert_eq!(
                read_weights(foreign).unwrap_err(),
                "the weights are not a safetensors file",
                "{foreign:?}"
            );
        }
        let error = read_weights(b"PK\x03\x04\x00\x00\x00\x00 archive/data.pkl").unwrap_err();
        assert!(error.starts_with("the weights are a PyTorch pickle"), "{error}");
    }

    #[test]
    fn damaged_files_are_called_damaged() {
        let mut longer = file("F32", &[0; 8]);
        longer.push(0);
        let header = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
        let overflow = format!(
            r#"{{"w":{{"dtype":"F32","shape":[{0},{0}],"data_offsets":[0,8]}}}}"#,
            u64::MAX
        );
        let mismatch = r#"{"w":{"dtype":"F32","shape":[9],"data_offsets":[0,8]}}"#;
        let backwards = r#"{"w":{"dtype":"F32","shape":[0],"data_offsets":[8,0]}}"#;
        let files = [
            longer,
            header(&overflow),
            header(mismatch),
            header(backwards),
            header("{\"w\":"),
        ];
        for file in files {
            let error = read_weights(&file).unwrap_err();
            assert!(error.starts_with("the weights file is damaged: "), "{error}");
        }
    }

    #[test]
    fn files_beyond_the_limit_are_refused() {
        // Zeroed memory that is never touched costs nothing.
        let error = read_weights(&vec![0; WEIGHTS_BYTES_MAX + 1]).unwrap_err();
        assert_eq!(
            error,
            "the weights file is too large: 1073741825 bytes, the limit is 1073741824"
        );
    }
}
