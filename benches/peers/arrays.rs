//! Arrays that go between the two sides: safetensors in, `.npy` out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use intakt_operators::detector::backbone::read_weights;
use intakt_operators::detector::{Tensor, TensorData};

/// An array, row-major.
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// The arrays of a safetensors file by name.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, Tensor>, String> {
    let cannot = |reason: String| format!("cannot read {}: {reason}", path.display());
    let bytes = std::fs::read(path).map_err(|error| cannot(error.to_string()))?;
    read_weights(&bytes).map_err(cannot)
}

/// Takes the array of that name.
pub(crate) fn take(arrays: &mut BTreeMap<String, Tensor>, name: &str) -> Result<Array, String> {
    match arrays.remove(name) {
        Some(Tensor {
            shape,
            data: TensorData::F32(values),
        }) => Ok(Array { shape, values }),
        _ => Err(format!("there is no array `{name}` of floats")),
    }
}

/// Writes arrays to `prefix-0.npy`, `prefix-1.npy` … and says where.
pub(crate) fn save(prefix: &Path, arrays: &[Array]) -> Result<Vec<PathBuf>, String> {
    let written = arrays.iter().enumerate().map(|(at, array)| {
        let mut path = prefix.as_os_str().to_owned();
        path.push(format!("-{at}.npy"));
        let path = PathBuf::from(path);
        std::fs::write(&path, npy(array)).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(path)
    });
    written.collect()
}

/// Version 1.0 of NumPy's format: the header is padded so that the values begin at a multiple of 64 bytes.
fn npy(array: &Array) -> Vec<u8> {
    let extents: String = array.shape.iter().map(|extent| format!("{extent},")).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({extents}), }}");
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((padded as u16).to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = padded - 1).into_bytes());
    bytes.extend(array.values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}
