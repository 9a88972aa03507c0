//! Convolution and max pooling of one image, as candle matrix products.
//!
//! Activations are `(height, width, channels)`: a 1×1 convolution is then a plain matrix product, the patches under a larger
//! kernel are copied in runs of whole rows, and the result already has the layout of a feature map. candle's own `conv2d`
//! re-orders input, weights and output at every call: on one thread of an EPYC Zen 4 it takes 15, 16 and 5.2 ms for the 3×3
//! convolutions of ResNet-18's first three layers at 256×256, this 3.2, 3.3 and 3.0 (`milliseconds_on_one_thread`).

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Device, InplaceOp2, InplaceOp3, Layout, Result, Shape, Tensor, bail};

/// Values of the patch matrix that are held at a time: 4 MB, so that it stays in cache between copy and product.
pub(super) const PATCH_VALUES_MAX: usize = 1 << 20;

/// Extent, step and zero border of a sliding window, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Window {
    /// A window that keeps `size` for stride 1, and halves it (rounded up) for stride 2.
    pub(super) const fn centred(kernel: usize, stride: usize) -> Self {
        Self {
            kernel,
            stride,
            padding: kernel / 2,
        }
    }

    /// Positions along one axis of `size` pixels.
    fn positions(self, size: usize) -> usize {
        (size + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// The part of the window at `position` that lies inside an axis of `size` pixels: offset in the window, and pixels.
    fn inside(self, position: usize, size: usize) -> (usize, Range<usize>) {
        let start = position * self.stride;
        let end = (start + self.kernel).saturating_sub(self.padding).min(size);
        (
            self.padding.saturating_sub(start),
            start.saturating_sub(self.padding)..end,
        )
    }
}

/// A convolution with the BatchNorm that follows it folded in.
pub(super) struct Conv {
    /// Checkpoint key without `.weight`.
    pub(super) key: String,
    window: Window,
    /// `(kernel · kernel · in, out)`, a column per output channel.
    weight: Tensor,
    /// `(out)`.
    bias: Tensor,
}

/// What follows the convolution.
pub(super) enum Then<'a> {
    /// Nothing.
    Identity,
    /// max(x, 0).
    Relu,
    /// The block's shortcut is added, then max(x, 0).
    AddRelu(&'a Tensor),
}

impl Conv {
    /// A convolution over PyTorch's weight `(out, in, kernel, kernel)` and `(out)` biases.
    pub(super) fn new(key: &str, window: Window, shape: [usize; 4], weight: &[f32], bias: Vec<f32>) -> Result<Self> {
        let [c_out, c_in, kernel, _] = shape;
        let weight = Tensor::from_slice(weight, (c_out, c_in, kernel * kernel), &Device::Cpu)?;
        Ok(Self {
            key: key.to_owned(),
            window,
            weight: weight
                .permute((2, 1, 0))?
                .contiguous()?
                .reshape((kernel * kernel * c_in, c_out))?,
            bias: Tensor::from_vec(bias, c_out, &Device::Cpu)?,
        })
    }

    /// Weight `(out, in, kernel, kernel)` with its shape, and bias: exactly what [`Conv::new`] was given.
    pub(super) fn weight_and_bias(&self) -> Result<([usize; 4], Vec<f32>, Vec<f32>)> {
        let (rows, c_out) = self.weight.dims2()?;
        let kernel = self.window.kernel;
        let c_in = rows / (kernel * kernel);
        let weight = self
            .weight
            .reshape((kernel * kernel, c_in, c_out))?
            .permute((2, 1, 0))?;
        let shape = [c_out, c_in, kernel, kernel];
        Ok((shape, weight.flatten_all()?.to_vec1()?, self.bias.to_vec1()?))
    }

    /// `(height, width, in)` → `(height / stride, width / stride, out)`, rounded up.
    pub(super) fn forward(&self, input: &Tensor, then: &Then) -> Result<Tensor> {
        let (height, width, c_in) = input.dims3()?;
        let (rows, columns) = (self.window.positions(height), self.window.positions(width));
        let output = if self.window == Window::centred(1, 1) {
            input.reshape((height * width, c_in))?.matmul(&self.weight)?
        } else {
            let patch_values = columns * self.window.kernel * self.window.kernel * c_in;
            let band = (PATCH_VALUES_MAX / patch_values).max(1);
            let mut bands = Vec::new();
            for start in (0..rows).step_by(band) {
                let rows = start..(start + band).min(rows);
                let patches = input.apply_op1_no_bwd(&Patches {
                    window: self.window,
                    rows,
                })?;
                bands.push(patches.matmul(&self.weight)?);
            }
            Tensor::cat(&bands, 0)?
        };
        let output = output.reshape((rows, columns, self.bias.elem_count()))?;
        match then {
            Then::Identity => output.inplace_op2(&self.bias, &AddBias { relu: false })?,
            Then::Relu => output.inplace_op2(&self.bias, &AddBias { relu: true })?,
            Then::AddRelu(shortcut) => output.inplace_op3(&self.bias, shortcut, &AddBiasAndShortcut)?,
        }
        Ok(output)
    }
}

/// 3×3 maximum with stride 2, `(height, width, channels)` → half of it, rounded up. Pixels beyond the edge do not count.
pub(super) fn max_pool(input: &Tensor) -> Result<Tensor> {
    input.apply_op1_no_bwd(&MaxPool(Window::centred(3, 2)))
}

/// The pixels under the window at every position of some rows: `(positions, kernel · kernel · channels)`, zero beyond the edge.
struct Patches {
    window: Window,
    rows: Range<usize>,
}

impl CustomOp1 for Patches {
    fn name(&self) -> &'static str {
        "patches"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (height, width, channels) = layout.shape().dims3()?;
        let pixels = contiguous(storage, layout)?;
        let kernel = self.window.kernel;
        let columns = self.window.positions(width);
        let dims = kernel * kernel * channels;
        let mut patches = vec![0.0; self.rows.len() * columns * dims];
        for (position, patch) in patches.chunks_exact_mut(dims).enumerate() {
            let (top, ys) = self.window.inside(self.rows.start + position / columns, height);
            let (left, xs) = self.window.inside(position % columns, width);
            for (row, y) in ys.enumerate() {
                let run = &pixels[(y * width + xs.start) * channels..(y * width + xs.end) * channels];
                let start = ((top + row) * kernel + left) * channels;
                patch[start..start + run.len()].copy_from_slice(run);
            }
        }
        let shape = Shape::from((self.rows.len() * columns, dims));
        Ok((CpuStorage::F32(patches), shape))
    }
}

struct MaxPool(Window);

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (height, width, channels) = layout.shape().dims3()?;
        let pixels = contiguous(storage, layout)?;
        let (rows, columns) = (self.0.positions(height), self.0.positions(width));
        let mut pooled = vec![f32::NEG_INFINITY; rows * columns * channels];
        for (position, maxima) in pooled.chunks_exact_mut(channels).enumerate() {
            let (_, ys) = self.0.inside(position / columns, height);
            let (_, xs) = self.0.inside(position % columns, width);
            for y in ys {
                let run = &pixels[(y * width + xs.start) * channels..(y * width + xs.end) * channels];
                for pixel in run.chunks_exact(channels) {
                    maxima
                        .iter_mut()
                        .zip(pixel)
                        .for_each(|(maximum, &value)| *maximum = maximum.max(value));
                }
            }
        }
        Ok((CpuStorage::F32(pooled), Shape::from((rows, columns, channels))))
    }
}

struct AddBias {
    relu: bool,
}

impl InplaceOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add_bias"
    }

    fn cpu_fwd(&self, output: &mut CpuStorage, layout: &Layout, bias: &CpuStorage, bias_layout: &Layout) -> Result<()> {
        let bias = contiguous(bias, bias_layout)?;
        let floor = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        for position in contiguous_mut(output, layout)?.chunks_exact_mut(bias.len()) {
            position
                .iter_mut()
                .zip(bias)
                .for_each(|(value, &bias)| *value = at_least(floor, *value + bias));
        }
        Ok(())
    }
}

struct AddBiasAndShortcut;

impl InplaceOp3 for AddBiasAndShortcut {
    fn name(&self) -> &'static str {
        "add_bias_and_shortcut"
    }

    fn cpu_fwd(
        &self,
        output: &mut CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
        shortcut: &CpuStorage,
        shortcut_layout: &Layout,
    ) -> Result<()> {
        let bias = contiguous(bias, bias_layout)?;
        let output = contiguous_mut(output, layout)?.chunks_exact_mut(bias.len());
        for (position, shortcut) in output.zip(contiguous(shortcut, shortcut_layout)?.chunks_exact(bias.len())) {
            let terms = bias.iter().zip(shortcut);
            position
                .iter_mut()
                .zip(terms)
                .for_each(|(value, (&bias, &shortcut))| *value = at_least(0.0, *value + bias + shortcut));
        }
        Ok(())
    }
}

/// The larger of the two, but not-a-number stays what it is (`f32::max` would hide an overflow behind a zero).
fn at_least(floor: f32, value: f32) -> f32 {
    if value < floor { floor } else { value }
}

/// The values of a tensor that lies in memory without gaps, as all of ours do.
fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("a tensor is not contiguous"),
    }
}

fn contiguous_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (layout.contiguous_offsets(), storage) {
        (Some((start, end)), CpuStorage::F32(values)) => Ok(&mut values[start..end]),
        _ => bail!("a tensor is not contiguous or not of type F32"),
    }
}
