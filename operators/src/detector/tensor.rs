//! Named arrays: what a detector file is made of.

/// An array of numbers, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extent of every axis.
    pub shape: Vec<usize>,
    /// As many values as the product of `shape`.
    pub data: TensorData,
}

/// The values of a [`Tensor`].
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Weights, embeddings, factors.
    F32(Vec<f32>),
    /// Exact sums, and places.
    I64(Vec<i64>),
    /// Pictures.
    U8(Vec<u8>),
}

impl Tensor {
    /// A tensor of floats. Panics unless `shape` and `data` agree (a bug of ours).
    pub fn f32(shape: &[usize], data: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "tensor {shape:?}");
        Self {
            shape: shape.to_vec(),
            data: TensorData::F32(data),
        }
    }

    /// A tensor of integers. Panics unless `shape` and `data` agree (a bug of ours).
    pub fn i64(shape: &[usize], data: Vec<i64>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "tensor {shape:?}");
        Self {
            shape: shape.to_vec(),
            data: TensorData::I64(data),
        }
    }

    /// A tensor of bytes, along one axis.
    pub fn u8(data: Vec<u8>) -> Self {
        Self {
            shape: vec![data.len()],
            data: TensorData::U8(data),
        }
    }
}
