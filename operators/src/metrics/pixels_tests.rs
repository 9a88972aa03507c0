use super::*;
use crate::metrics::auroc;

/// A small generator (xorshift64*), so that the random maps are the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % end
    }
}

/// Frames of one random size with rectangular defects (overlapping, touching at corners or absent); scores have
/// `levels` distinct values, negative ones among them, and are higher in defects.
fn random_frames(random: &mut Random, levels: u64) -> Vec<(AnomalyMap, Mask)> {
    let (height, width) = (1 + random.below(14) as usize, 1 + random.below(14) as usize);
    let frame = |random: &mut Random| {
        let mut mask = Mask::filled(height, width, false);
        for _ in 0..random.below(4) {
            let (y, x) = (
                random.below(height as u64) as usize,
                random.below(width as u64) as usize,
            );
            let (bottom, right) = (y + 1 + random.below(4) as usize, x + 1 + random.below(4) as usize);
            for row in y..bottom.min(height) {
                mask.bits[row * width + x..row * width + right.min(width)].fill(true);
            }
        }
        let scores = mask.bits.iter().map(|&defective| {
            let bonus = if defective { random.below(levels) / 2 } else { 0 };
            (random.below(levels) + bonus) as f32 / 7.0 - 3.0
        });
        let scores = scores.collect();
        (AnomalyMap::new(height, width, scores), mask)
    };
    (0..1 + random.below(5)).map(|_| frame(random)).collect()
}

/// The pixels of every defect, as (frame, index), by flood fill.
fn defects(frames: &[(AnomalyMap, Mask)]) -> Vec<Vec<(usize, usize)>> {
    let mut found = Vec::new();
    for (n, (_, mask)) in frames.iter().enumerate() {
        let mut left = mask.bits.clone();
        while let Some(seed) = left.iter().position(|&set| set) {
            let (mut region, mut next) = (vec![(n, seed)], 0);
            left[seed] = false;
            while let Some(&(_, pixel)) = region.get(next) {
                next += 1;
                for (near, set) in left.iter_mut().enumerate() {
                    let dy = (near / mask.width).abs_diff(pixel / mask.width);
                    let dx = (near % mask.width).abs_diff(pixel % mask.width);
                    if *set && dx <= 1 && dy <= 1 {
                        *set = false;
                        region.push((n, near));
                    }
                }
            }
            found.push(region);
        }
    }
    found
}

/// The definition, threshold by threshold over all pixels.
fn naive_aupro(frames: &[(AnomalyMap, Mask)], limit: f64) -> Option<f64> {
    let defects = defects(frames);
    let pixels = || frames.iter().flat_map(|(map, mask)| map.scores.iter().zip(&mask.bits));
    let n_normal = pixels().filter(|(_, defective)| !**defective).count();
    if defects.is_empty() || n_normal == 0 {
        return None;
    }
    let mut thresholds: Vec<f32> = pixels().map(|(&score, _)| score).collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    let mut curve = vec![(0.0, 0.0)];
    for threshold in thresholds {
        let false_positives = pixels()
            .filter(|(score, defective)| !**defective && **score >= threshold)
            .count();
        let overlaps = defects.iter().map(|region| {
            let covered = region
                .iter()
                .filter(|(n, i)| frames[*n].0.scores[*i] >= threshold)
                .count();
            covered as f64 / region.len() as f64
        });
        curve.push((
            false_positives as f64 / n_normal as f64,
            overlaps.sum::<f64>() / defects.len() as f64,
        ));
    }
    let mut area = 0.0;
    for pair in curve.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let end = x1.min(limit);
        if end > x0 {
            let y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0);
            area += (end - x0) * (y0 + y_end) / 2.0;
        }
    }
    Some(area / limit)
}

fn assert_close(found: Option<f64>, expected: Option<f64>, what: &str) {
    match (found, expected) {
        (Some(a), Some(b)) => assert!((a - b).abs() < 1e-12, "{what}: {a} is not {b}"),
        (a, b) => assert_eq!(a, b, "{what}"),
    }
}

#[test]
fn aupro_matches_naive() {
    let mut random = Random(11);
    let mut defined = 0;
    for round in 0..300 {
        let levels = [2, 5, 40, 100_000][round % 4];
        let limit = [0.3, 0.05, 1.0][round % 3];
        let frames = random_frames(&mut random, levels);
        let found = aupro(&frames, limit);
        assert_close(
            found,
            naive_aupro(&frames, limit),
            &format!("round {round}, {levels} levels, limit {limit}"),
        );
        defined += usize::from(found.is_some());
        assert!(found.is_none_or(|area| (0.0..=1.0).contains(&area)));
    }
    assert!(defined > 200, "only {defined} of 300 cases say anything");
}

#[test]
fn pixel_auroc_is_the_auroc_of_all_pixels() {
    let mut random = Random(5);
    for round in 0..200 {
        let frames = random_frames(&mut random, [2, 9, 100_000][round % 3]);
        let scores: Vec<f32> = frames.iter().flat_map(|(map, _)| map.scores.clone()).collect();
        let labels: Vec<bool> = frames.iter().flat_map(|(_, mask)| mask.bits.clone()).collect();
        assert_eq!(pixel_auroc(&frames), auroc(&scores, &labels), "round {round}");
    }
}

#[test]
fn monotone_transforms_and_the_order_of_frames_change_no_bit() {
    let mut random = Random(3);
    for _ in 0..100 {
        let mut frames = random_frames(&mut random, 1000);
        let before = (pixel_auroc(&frames), aupro(&frames, 0.3));
        for score in frames.iter_mut().flat_map(|(map, _)| &mut map.scores) {
            // Exact and injective on scores below 8 in sevenths of f32.
            *score = *score * 4.0 - 64.0;
        }
        let distinct = |frames: &[(AnomalyMap, Mask)]| {
            let mut all: Vec<u32> = frames
                .iter()
                .flat_map(|f| f.0.scores.iter().map(|s| s.to_bits()))
                .collect();
            all.sort_unstable();
            all.dedup();
            all.len()
        };
        let n_distinct = distinct(&frames);
        frames.reverse();
        assert_eq!((pixel_auroc(&frames), aupro(&frames, 0.3)), before);
        for score in frames.iter_mut().flat_map(|(map, _)| &mut map.scores) {
            *score = (*score / 32.0).exp();
        }
        assert_eq!(distinct(&frames), n_distinct, "the transform must keep scores apart");
        assert_eq!((pixel_auroc(&frames), aupro(&frames, 0.3)), before);
    }
}

#[test]
fn perfect_maps_reach_one_and_never_more() {
    for area in 1..60 {
        let bits: Vec<bool> = (0..90).map(|i| i < area || i == 75 || i > 85).collect();
        let scores = bits
            .iter()
            .enumerate()
            .map(|(i, &set)| if set { 100.0 + i as f32 } else { i as f32 })
            .collect();
        let frames = [(AnomalyMap::new(1, 90, scores), Mask::new(1, 90, bits))];
        let found = aupro(&frames, 0.3).unwrap();
        assert!(found <= 1.0 && found > 1.0 - 1e-12, "{found}");
        assert_eq!(pixel_auroc(&frames), Some(1.0));
    }
}

#[test]
fn without_defects_or_normal_pixels_nothing_is_defined() {
    let map = AnomalyMap::new(2, 2, vec![0.1, 0.2, 0.3, 0.4]);
    for value in [false, true] {
        let frames = [(map.clone(), Mask::filled(2, 2, value))];
        assert_eq!((pixel_auroc(&frames), aupro(&frames, 0.3)), (None, None));
    }
    assert_eq!((pixel_auroc(&[]), aupro(&[], 0.3)), (None, None));
}

#[test]
fn pixels_that_are_not_numbers_are_found_last() {
    let frames = |score| {
        [(
            AnomalyMap::new(1, 3, vec![score, 0.0, f32::NEG_INFINITY]),
            mask_of_first(),
        )]
    };
    assert_eq!(pixel_auroc(&frames(f32::NAN)), Some(0.0));
    assert_eq!(aupro(&frames(f32::NAN), 0.3), Some(0.0));
    assert_eq!(aupro(&frames(f32::INFINITY), 0.3), Some(1.0));
}

fn mask_of_first() -> Mask {
    Mask::new(1, 3, vec![true, false, false])
}

#[test]
#[should_panic(expected = "the mask has the size of the map")]
fn masks_of_another_size_are_a_bug() {
    PixelScores::new().push(&AnomalyMap::new(2, 3, vec![0.0; 6]), Some(&Mask::filled(3, 2, false)));
}

#[test]
fn the_pro_curve_has_the_area_that_is_called_aupro() {
    // Shares that grow slowly, so that the last threshold is far beyond the limit.
    let n = 400;
    let scores: Vec<f32> = (0..n * n).map(|pixel| ((pixel * 7919) % 65_537) as f32).collect();
    let bits: Vec<bool> = (0..n * n)
        .map(|pixel| pixel % n < 40 && scores[pixel] > 9_000.0 && pixel / n % 50 < 30)
        .collect();
    let ranked = ranked(&[(AnomalyMap::new(n, n, scores), Mask::new(n, n, bits))]);
    let curve = ranked.pro_curve(0.3);
    let mut area = 0.0;
    for pair in curve.windows(2) {
        let [from, to] = [pair[0], pair[1]];
        let end = to[0].min(0.3);
        let share = if to[0] > from[0] {
            (end - from[0]) / (to[0] - from[0])
        } else {
            1.0
        };
        area += (end - from[0]) * (from[1] + (from[1] + share * (to[1] - from[1]))) / 2.0;
    }
    let aupro = ranked.aupro(0.3).unwrap();
    assert!((area / 0.3 - aupro).abs() < 1e-3, "{} is not {aupro}", area / 0.3);
    assert!(curve.len() < 2_100 && curve[curve.len() - 1][0] >= 0.3);
    assert!(PixelScores::new().rank().pro_curve(0.3).is_empty());
}
