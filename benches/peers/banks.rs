//! Distances: to the nearest of a memory bank, and to a Gaussian per position.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use intakt_kernels::network::Crew;
use intakt_kernels::{Bank, PositionGaussians};
use serde::Deserialize;

use crate::arrays::{Array, read, take};
use crate::{Ran, Work};

/// `bank` and `queries` of a file, `(rows, dims)` each.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NearestRecipe {
    arrays: PathBuf,
    threads: usize,
}

/// `means` and `vectors` `(positions, dims)`, and `factors` `(positions, packed lower triangle)`: inverse Cholesky factors.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MahalanobisRecipe {
    arrays: PathBuf,
    threads: usize,
}

struct Nearest {
    bank: Bank,
    queries: Vec<f32>,
    crew: Arc<Crew>,
}

struct Mahalanobis {
    gaussians: PositionGaussians,
    vectors: Vec<f32>,
    crew: Arc<Crew>,
}

impl NearestRecipe {
    pub(crate) fn prepare(self) -> Result<Box<dyn Work>, String> {
        let mut arrays = read(&self.arrays)?;
        let (bank, queries) = (take(&mut arrays, "bank")?, take(&mut arrays, "queries")?);
        Ok(Box::new(Nearest {
            bank: Bank::new(last_extent(&bank)?, bank.values),
            queries: queries.values,
            crew: Crew::new(self.threads),
        }))
    }
}

impl Work for Nearest {
    /// The rows and the squared distances; rows of a bank of less than 2²⁴ are exact in `f32`.
    fn run(&mut self) -> Result<Ran, String> {
        let _at_work = self.crew.begin();
        let started = Instant::now();
        let found = self.bank.nearest(&self.queries);
        let nanos = started.elapsed().as_nanos() as u64;
        let array = |values: Vec<f32>| Array {
            shape: vec![values.len()],
            values,
        };
        Ok(Ran {
            nanos,
            results: vec![
                array(found.iter().map(|found| found.index as f32).collect()),
                array(found.iter().map(|found| found.squared_distance).collect()),
            ],
            ..Ran::default()
        })
    }
}

impl MahalanobisRecipe {
    pub(crate) fn prepare(self) -> Result<Box<dyn Work>, String> {
        let mut arrays = read(&self.arrays)?;
        let (means, factors) = (take(&mut arrays, "means")?, take(&mut arrays, "factors")?);
        Ok(Box::new(Mahalanobis {
            gaussians: PositionGaussians::new(last_extent(&means)?, means.values, &factors.values),
            vectors: take(&mut arrays, "vectors")?.values,
            crew: Crew::new(self.threads),
        }))
    }
}

impl Work for Mahalanobis {
    fn run(&mut self) -> Result<Ran, String> {
        let _at_work = self.crew.begin();
        let started = Instant::now();
        let distances = self.gaussians.whitened_norms(&[&self.vectors]).remove(0);
        let nanos = started.elapsed().as_nanos() as u64;
        Ok(Ran {
            nanos,
            results: vec![Array {
                shape: vec![distances.len()],
                values: distances,
            }],
            ..Ran::default()
        })
    }
}

fn last_extent(array: &Array) -> Result<usize, String> {
    array
        .shape
        .last()
        .copied()
        .ok_or_else(|| "an array without extents".to_owned())
}
