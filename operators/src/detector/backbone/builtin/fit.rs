//! The closed-form fit: one pass over the images per hop, and one that scales the last tap.

use intakt_kernels::{EigenError, symmetric_eigen};

use super::hop::{Hop, HopSpec, halve, pixels};
use super::moments::{Gram, HopMoments, Spread};
use super::{Builtin, HOPS, Tap, checked, layer_indices, layer_name, pool};
use crate::imaging::Image;

/// Variances below this are rounding of the fixed point, not structure: such an output keeps its scale.
const VARIANCE_MIN: f64 = 1e-9;

/// Fits the built-in backbone on normal images, without gradients: the kernels of a hop are the principal components of
/// the neighbourhoods that it sees (Saab transform: Kuo et al. 2019, "Interpretable convolutional neural networks via
/// feedforward design", section III).
///
/// Until [`BuiltinFit::is_done`], sum [`BuiltinFit::hop_moments`] over the images, in any order and on any threads, and
/// call [`BuiltinFit::finish_hop`]: the sums are integers, so the backbone comes out the same to the last bit.
///
/// ```
/// use intakt_operators::detector::backbone::builtin::BuiltinFit;
/// use intakt_operators::imaging::Image;
///
/// let images = [1_u32, 2, 3].map(|i| Image::new(32, 32, (0..32 * 32 * 3).map(|at| (at * i % 251) as u8).collect::<Vec<_>>()));
/// let mut fit = BuiltinFit::new(&["hop1".to_string(), "hop2".to_string()])?;
/// while !fit.is_done() {
///     let mut moments = fit.hop_moments(&images[0])?;
///     for image in &images[1..] {
///         moments.merge(&fit.hop_moments(image)?)?;
///     }
///     fit.finish_hop(&moments)?;
/// }
/// let backbone = fit.finish();
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug)]
pub struct BuiltinFit {
    specs: Vec<HopSpec>,
    hops: Vec<Hop>,
    /// The hops that are tapped, ascending.
    tapped: Vec<usize>,
    taps: Vec<Tap>,
    pass: usize,
}

impl BuiltinFit {
    /// A fit of the hops up to the deepest of `layers` (`hop1` …, from shallow to deep).
    ///
    /// # Errors
    /// A sentence, if a layer is unknown, named twice or out of order, or if there is none.
    pub fn new(layers: &[String]) -> Result<Self, String> {
        Self::with_hops(&HOPS, layers)
    }

    /// The same with other hops.
    pub(super) fn with_hops(hops: &[HopSpec], layers: &[String]) -> Result<Self, String> {
        let tapped = layer_indices(layers, hops.len())?;
        let deepest = *tapped.last().expect("layer_indices refuses an empty list");
        Ok(Self {
            specs: hops[..=deepest].to_vec(),
            hops: Vec::new(),
            tapped,
            taps: Vec::new(),
            pass: 0,
        })
    }

    /// Passes over the images in all, for a progress bar: one per hop, and one more.
    pub fn passes(&self) -> usize {
        self.specs.len() + 1
    }

    /// Whether every pass is over.
    pub fn is_done(&self) -> bool {
        self.pass == self.passes()
    }

    /// The sums of one image for the present pass. Panics if the fit is done (a bug of the caller).
    ///
    /// # Errors
    /// The image has no pixels.
    pub fn hop_moments(&self, image: &Image) -> Result<HopMoments, String> {
        assert!(!self.is_done(), "moments for a fit that is done");
        checked(image)?;
        let mut input = pixels(image);
        let mut tap = None;
        for (index, hop) in self.hops.iter().enumerate() {
            let output = hop.apply(&input);
            if index + 1 == self.hops.len() && self.tapped.contains(&index) {
                tap = Some(Spread::of(&pool(&output, index)));
            }
            if index + 1 < self.specs.len() {
                input = halve(&output);
            }
        }
        let next = self.specs.get(self.pass);
        Ok(HopMoments {
            pass: self.pass,
            neighbourhoods: next.map(|spec| Gram::of_neighbourhoods(&input, spec.kernel, self.pass as u64)),
            tap,
        })
    }

    /// Ends the present pass with the sums of all images. Panics if they are those of another pass (a bug of the caller).
    ///
    /// # Errors
    /// The principal components of a hop could not be found.
    pub fn finish_hop(&mut self, moments: &HopMoments) -> Result<(), String> {
        assert_eq!(moments.pass, self.pass, "moments of another pass");
        if let Some(spread) = &moments.tap {
            self.taps.push(Tap {
                hop: self.hops.len() - 1,
                scale: unit_scale(spread.mean_variance()) as f32,
            });
        }
        if let Some(neighbourhoods) = &moments.neighbourhoods {
            let in_dims = self.hops.last().map_or(3, |hop| hop.spec.kept);
            let hop = closed_form(self.specs[self.pass], in_dims, neighbourhoods)
                .map_err(|reason| format!("cannot fit {} of backbone `builtin`: {reason}", layer_name(self.pass)))?;
            self.hops.push(hop);
        }
        self.pass += 1;
        Ok(())
    }

    /// The fitted backbone. Panics unless the fit is done (a bug of the caller).
    pub fn finish(self) -> Builtin {
        assert!(self.is_done(), "{} of {} passes are over", self.pass, self.passes());
        Builtin::new(self.hops, self.taps)
    }
}

/// The factor that brings a mean variance to 1.
fn unit_scale(variance: f64) -> f64 {
    if variance > VARIANCE_MIN {
        variance.sqrt().recip()
    } else {
        1.0
    }
}

/// The kernels of one hop: the constant (DC), and the leading eigenvectors of the covariance of what is left without it
/// (AC). The bias centres the output on the training images, and one factor for all of it brings the mean variance to 1,
/// so that the next hop's fixed point fits; principal components do not depend on either.
fn closed_form(spec: HopSpec, in_dims: usize, neighbourhoods: &Gram) -> Result<Hop, EigenError> {
    let (mean, covariance) = neighbourhoods.mean_and_covariance();
    let dims = mean.len();
    let (constant, direct) = (1.0 / (dims as f64).sqrt(), covariance.iter().sum::<f64>() / dims as f64);
    // The constant itself has the eigenvalue 0, and comes last.
    let eigen = symmetric_eigen(dims, &without_constant(&covariance, dims))?;

    let mut kernels = vec![constant; dims];
    kernels.extend_from_slice(&eigen.vectors[..(spec.kept - 1) * dims]);
    let variance = (direct + eigen.values[..spec.kept - 1].iter().sum::<f64>()) / spec.kept as f64;
    let scale = unit_scale(variance);
    let bias = kernels
        .chunks_exact(dims)
        .map(|kernel| (-scale * kernel.iter().zip(&mean).map(|(a, b)| a * b).sum::<f64>()) as f32)
        .collect();
    Ok(Hop {
        spec,
        in_dims,
        weights: kernels.iter().map(|value| (value * scale) as f32).collect(),
        bias,
    })
}

/// The covariance of vectors whose own mean has been taken out: `P·C·P` with `P = I − 1/n`.
fn without_constant(covariance: &[f64], dims: usize) -> Vec<f64> {
    let row_means: Vec<f64> = covariance
        .chunks_exact(dims)
        .map(|row| row.iter().sum::<f64>() / dims as f64)
        .collect();
    let mean = row_means.iter().sum::<f64>() / dims as f64;
    let cell = |at: usize| covariance[at] - row_means[at / dims] - row_means[at % dims] + mean;
    (0..dims * dims).map(cell).collect()
}
