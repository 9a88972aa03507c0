//! What scorers ask of an embedding, and of tensors that come from a file.

use std::collections::BTreeMap;

use super::{Tensor, TensorData};
use crate::FeatureMap;

/// Most dimensions of an embedding, as in the kernels; the backbones' layers together have a tenth of it.
pub(super) const DIMS_MAX: usize = 1 << 16;

/// Says which dimensions a detector and an embedding have, where they differ.
pub(super) fn check_dims(embedding: &FeatureMap, dims: usize) -> Result<(), String> {
    if embedding.dims == dims {
        return Ok(());
    }
    Err(format!(
        "the detector holds {dims}-dim embeddings but the backbone yields {}\n  hint: use the backbone and the layers it was \
         fitted with, or fit again",
        embedding.dims
    ))
}

/// Checks the dimensions, and that no value would poison the sums.
pub(super) fn check_fit_input(embedding: &FeatureMap, dims: usize) -> Result<(), String> {
    check_dims(embedding, dims)?;
    match embedding.data.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(format!(
            "the embedding holds {} at patch {}, dim {}",
            embedding.data[at],
            at / dims,
            at % dims
        )),
    }
}

/// Shape and values of a tensor of `AXES` axes whose values are all finite; none of the axes is empty.
pub(super) fn finite_f32<'a, const AXES: usize>(
    tensors: &'a BTreeMap<String, Tensor>,
    name: &str,
) -> Result<([usize; AXES], &'a [f32]), String> {
    let (shape, tensor) = shaped(tensors, name)?;
    let TensorData::F32(values) = &tensor.data else {
        return Err(format!("`{name}` holds integers where floats belong"));
    };
    check_len(name, &shape, values.len())?;
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok((shape, values)),
        Some(at) => Err(format!("`{name}` holds {} at {at}", values[at])),
    }
}

/// Shape and values of a tensor of integers of `AXES` axes; none of the axes is empty.
pub(super) fn integers<'a, const AXES: usize>(
    tensors: &'a BTreeMap<String, Tensor>,
    name: &str,
) -> Result<([usize; AXES], &'a [i64]), String> {
    let (shape, tensor) = shaped(tensors, name)?;
    let TensorData::I64(values) = &tensor.data else {
        return Err(format!("`{name}` holds floats where integers belong"));
    };
    check_len(name, &shape, values.len())?;
    Ok((shape, values))
}

fn shaped<'a, const AXES: usize>(
    tensors: &'a BTreeMap<String, Tensor>,
    name: &str,
) -> Result<([usize; AXES], &'a Tensor), String> {
    let tensor = tensors.get(name).ok_or_else(|| format!("`{name}` is missing"))?;
    let shape = <[usize; AXES]>::try_from(tensor.shape.as_slice()).map_err(|_| {
        format!(
            "`{name}` has {} axes instead of {AXES}: {:?}",
            tensor.shape.len(),
            tensor.shape
        )
    })?;
    Ok((shape, tensor))
}

fn check_len(name: &str, shape: &[usize], found: usize) -> Result<(), String> {
    let expected = shape
        .iter()
        .try_fold(1usize, |product, axis| product.checked_mul(*axis));
    if found == 0 || expected != Some(found) {
        return Err(format!("`{name}` of {shape:?} holds {found} values"));
    }
    match shape.last() {
        Some(last) if *last > DIMS_MAX * (DIMS_MAX + 1) / 2 => Err(format!("`{name}` has {last} dims")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_tensors_are_refused() {
        let broken = Tensor {
            shape: vec![2, 2],
            data: TensorData::F32(vec![0.0; 3]),
        };
        let vast = Tensor {
            shape: vec![usize::MAX, 3],
            data: TensorData::F32(vec![0.0; 3]),
        };
        let tensors = BTreeMap::from([
            ("good".to_owned(), Tensor::f32(&[2, 1], vec![1.0, 2.0])),
            ("nan".to_owned(), Tensor::f32(&[1, 2], vec![1.0, f32::NAN])),
            ("whole".to_owned(), Tensor::i64(&[1, 1], vec![1])),
            ("flat".to_owned(), Tensor::f32(&[2], vec![1.0, 2.0])),
            ("empty".to_owned(), Tensor::f32(&[0, 7], vec![])),
            ("broken".to_owned(), broken),
            ("vast".to_owned(), vast),
        ]);
        assert_eq!(finite_f32::<2>(&tensors, "good"), Ok(([2, 1], &[1.0, 2.0][..])));
        assert_eq!(integers::<2>(&tensors, "whole"), Ok(([1, 1], &[1][..])));
        let refusals = [
            ("none", "is missing"),
            ("nan", "holds NaN at 1"),
            ("whole", "integers where floats"),
            ("flat", "1 axes instead of 2"),
            ("empty", "holds 0 values"),
            ("broken", "holds 3 values"),
            ("vast", "holds 3 values"),
        ];
        for (name, reason) in refusals {
            let error = finite_f32::<2>(&tensors, name).unwrap_err();
            assert!(error.contains(reason), "{name}: {error}");
        }
        assert!(
            integers::<2>(&tensors, "good")
                .unwrap_err()
                .contains("floats where integers")
        );
    }

    #[test]
    fn poison_is_found_where_it_is() {
        let embedding = FeatureMap::new(1, 2, 2, vec![0.0, 0.0, 0.0, f32::INFINITY]);
        assert_eq!(
            check_fit_input(&embedding, 2).unwrap_err(),
            "the embedding holds inf at patch 1, dim 1"
        );
        assert!(
            check_fit_input(&embedding, 3)
                .unwrap_err()
                .contains("3-dim embeddings but the backbone yields 2")
        );
    }
}
