//! Curves of two shares against each other, with no more points than an eye can tell apart.

/// Points lie at least so far apart, in shares: 1 / 512 of the height or width of a picture of the curve is less than a pixel of it.
const APART: f64 = 1.0 / 512.0;

/// The ROC curve: of each threshold, from the highest down, the share of the normal above it and the share of the anomalous
/// above it. `counts` are the `(normal, anomalous)` of each score that occurs, the highest score first. It begins at (0, 0) and
/// ends at (1, 1); nothing where one of the classes is empty.
pub fn roc_curve(counts: impl IntoIterator<Item = (u64, u64)> + Clone) -> Vec<[f64; 2]> {
    let (n_normal, n_anomalous) = counts
        .clone()
        .into_iter()
        .fold((0, 0), |sums, counts| (sums.0 + counts.0, sums.1 + counts.1));
    if n_normal == 0 || n_anomalous == 0 {
        return Vec::new();
    }
    let mut curve = Curve::new([1.0, 1.0]);
    let (mut normal, mut anomalous) = (0, 0);
    for (more_normal, more_anomalous) in counts {
        normal += more_normal;
        anomalous += more_anomalous;
        curve.go_to([normal as f64 / n_normal as f64, anomalous as f64 / n_anomalous as f64]);
    }
    curve.end()
}

/// A curve that is being drawn, from (0, 0) on.
pub(super) struct Curve {
    /// The largest x and y there are.
    extent: [f64; 2],
    points: Vec<[f64; 2]>,
    /// Where the curve is, if that is not its last point yet.
    at: Option<[f64; 2]>,
}

impl Curve {
    /// A curve whose points lie between (0, 0) and `extent`.
    pub(super) fn new(extent: [f64; 2]) -> Self {
        Self {
            extent,
            points: vec![[0.0, 0.0]],
            at: None,
        }
    }

    /// Goes on to a point.
    pub(super) fn go_to(&mut self, to: [f64; 2]) {
        let last = self.points[self.points.len() - 1];
        let is_near = [0, 1]
            .into_iter()
            .all(|axis| (to[axis] - last[axis]).abs() < APART * self.extent[axis]);
        match (is_near, self.at.take()) {
            (true, _) => self.at = Some(to),
            (false, before) => {
                // The point before keeps a corner where it is.
                self.points.extend(before);
                self.points.push(to);
            }
        }
    }

    /// Its points.
    pub(super) fn end(mut self) -> Vec<[f64; 2]> {
        self.points.extend(self.at);
        self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roc_curve_goes_through_every_threshold() {
        // Scores 4, 3, 2, 1: anomalous, both, normal, anomalous.
        let counts = [(0, 1), (1, 1), (1, 0), (0, 2)];
        assert_eq!(
            roc_curve(counts),
            [[0.0, 0.0], [0.0, 0.25], [0.5, 0.5], [1.0, 0.5], [1.0, 1.0]]
        );
        assert_eq!(
            roc_curve([(3, 0), (1, 0)]),
            Vec::<[f64; 2]>::new(),
            "no anomalous frame"
        );
    }

    #[test]
    fn a_curve_of_many_points_has_few_and_the_same_area() {
        let n = 100_000_u64;
        let counts: Vec<(u64, u64)> = (0..n).map(|score| (score, n - score)).collect();
        let points = roc_curve(counts.iter().copied());
        assert!(points.len() < 2_100, "{}", points.len());
        let area = |points: &[[f64; 2]]| -> f64 {
            let trapezoid = |pair: &[[f64; 2]]| (pair[1][0] - pair[0][0]) * (pair[0][1] + pair[1][1]) / 2.0;
            points.windows(2).map(trapezoid).sum()
        };
        let mut every = vec![[0.0, 0.0]];
        let (mut normal, mut anomalous) = (0, 0);
        let sum = n * (n - 1) / 2;
        for (more_normal, more_anomalous) in counts {
            normal += more_normal;
            anomalous += more_anomalous;
            every.push([normal as f64 / sum as f64, anomalous as f64 / (sum + n) as f64]);
        }
        assert!((area(&points) - area(&every)).abs() < 1e-4);
        assert_eq!(points[points.len() - 1], [1.0, 1.0]);
    }
}
