//! The network as named tensors, and back from a file that nobody vouches for.

use std::collections::BTreeMap;

use super::hop::{Hop, HopSpec};
use super::{Builtin, HOPS, Tap, layer_indices, layer_name};
use crate::detector::{Tensor, TensorData};

/// Widest kernel that a file may hold; ours are 3 and 5. With [`KEPT_MAX`] it bounds what one neighbourhood takes.
const KERNEL_MAX: usize = 15;

/// Most dimensions of a hop that a file may hold; ours keep up to 80.
const KEPT_MAX: usize = 1024;

impl Builtin {
    /// Rebuilds the network from its own tensors, tapped at `layers`: those it was fitted with, or fewer. Tensors of other
    /// names are left alone.
    ///
    /// # Errors
    /// A sentence, if a layer is unknown, named twice or out of order, or if a tensor is missing, has the wrong shape or type
    /// (with both shapes), or holds what is not a number.
    pub fn from_folded(layers: &[String], tensors: &BTreeMap<String, Tensor>) -> Result<Self, String> {
        let tapped = layer_indices(layers, HOPS.len())?;
        let mut hops: Vec<Hop> = Vec::new();
        for index in 0..=tapped[tapped.len() - 1] {
            let in_dims = hops.last().map_or(3, |hop| hop.spec.kept);
            hops.push(read_hop(index, in_dims, tensors)?);
        }
        let taps = tapped.iter().map(|&hop| {
            let scale = floats(&scale_name(hop), tensors)?;
            let &[scale] = numbers(&scale_name(hop), scale, &[1])? else {
                unreachable!("numbers checks that there is one");
            };
            Ok(Tap { hop, scale })
        });
        let taps = taps.collect::<Result<_, String>>()?;
        Ok(Self::new(hops, taps))
    }

    /// `hopN.weight` of `(kept, kernel, kernel, in_dims)`, `hopN.bias` of `(kept)`, and of the taps `hopN.scale` of `(1)`.
    pub(super) fn to_tensors(&self) -> BTreeMap<String, Tensor> {
        let mut tensors = BTreeMap::new();
        for (index, hop) in self.hops.iter().enumerate() {
            let HopSpec { kernel, kept } = hop.spec;
            let weight = Tensor::f32(&[kept, kernel, kernel, hop.in_dims], hop.weights.clone());
            tensors.insert(weight_name(index), weight);
            tensors.insert(bias_name(index), Tensor::f32(&[kept], hop.bias.clone()));
        }
        for tap in &self.taps {
            tensors.insert(scale_name(tap.hop), Tensor::f32(&[1], vec![tap.scale]));
        }
        tensors
    }
}

fn weight_name(hop: usize) -> String {
    format!("{}.weight", layer_name(hop))
}

fn bias_name(hop: usize) -> String {
    format!("{}.bias", layer_name(hop))
}

fn scale_name(hop: usize) -> String {
    format!("{}.scale", layer_name(hop))
}

fn read_hop(index: usize, in_dims: usize, tensors: &BTreeMap<String, Tensor>) -> Result<Hop, String> {
    let name = weight_name(index);
    let weight = floats(&name, tensors)?;
    let (kept, kernel) = match *weight.0 {
        [kept, kernel, across, dims]
            if (1..=KEPT_MAX).contains(&kept)
                && kernel <= KERNEL_MAX
                && kernel % 2 == 1
                && across == kernel
                && dims == in_dims =>
        {
            (kept, kernel)
        }
        _ => {
            return Err(format!(
                "tensor `{name}` has shape {:?}: backbone `builtin` needs [1 to {KEPT_MAX}, k, k, {in_dims}] with k odd, at most {KERNEL_MAX}",
                weight.0
            ));
        }
    };
    let bias = floats(&bias_name(index), tensors)?;
    Ok(Hop {
        spec: HopSpec { kernel, kept },
        in_dims,
        weights: numbers(&name, weight, &[kept, kernel, kernel, in_dims])?.to_vec(),
        bias: numbers(&bias_name(index), bias, &[kept])?.to_vec(),
    })
}

/// Shape and values of a tensor.
type Floats<'a> = (&'a [usize], &'a [f32]);

fn floats<'a>(name: &str, tensors: &'a BTreeMap<String, Tensor>) -> Result<Floats<'a>, String> {
    match tensors.get(name) {
        Some(Tensor {
            shape,
            data: TensorData::F32(values),
        }) => Ok((shape, values)),
        Some(_) => Err(format!(
            "tensor `{name}` holds integers: backbone `builtin` needs floats"
        )),
        None => Err(format!("tensor `{name}` is missing: backbone `builtin` needs it")),
    }
}

/// The values, if they have this shape and are numbers.
fn numbers<'a>(name: &str, (shape, values): Floats<'a>, needed: &[usize]) -> Result<&'a [f32], String> {
    if shape != needed || values.len() != needed.iter().product::<usize>() {
        return Err(format!(
            "tensor `{name}` has shape {shape:?} and {} values: backbone `builtin` needs {needed:?}",
            values.len()
        ));
    }
    if let Some(value) = values.iter().find(|value| !value.is_finite()) {
        return Err(format!(
            "tensor `{name}` holds {value}: backbone `builtin` needs finite numbers"
        ));
    }
    Ok(values)
}
