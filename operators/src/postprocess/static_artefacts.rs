//! What recurs at the same place in most frames of a camera: dirt on the lens, a reflection, a scratch in the cover glass.

use std::collections::VecDeque;

use crate::{RectPx, Region};

/// Frames a camera's memory holds. At 32 a speck is known within seconds of a line, and forgotten as fast when it is wiped
/// off.
pub const REMEMBERED_FRAMES: usize = 32;

/// Fewest remembered frames before anything is called static: among fewer, a few bad parts in a row look like dirt.
pub const SEEN_FRAMES_MIN: usize = 12;

/// Regions remembered per frame, strongest first, which bounds the memory to half a megabyte a thousand cameras.
const REGIONS_PER_FRAME_MAX: usize = 32;

/// How much larger than the remembered one a region may be, as a fraction: dirt breathes with the light, but a defect that
/// has grown together with it is more than dirt.
const GROWTH_MAX: (u128, u128) = (3, 2);

/// How much higher than the remembered one its calibrated peak may be: a defect on top of dirt stands out from it.
const PEAK_RISE_MAX: f64 = 0.1;

/// What is remembered of a region.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    bbox_px: RectPx,
    area_px: u64,
    peak: f64,
}

/// The memory of one camera. Feed it the camera's frames in order; it knows no clock, so a replay repeats it exactly.
///
/// **The danger.** A tool that damages every part at the same place looks exactly like dirt on the lens: after
/// [`SEEN_FRAMES_MIN`] frames its damage would no longer count. That is why the rule is off unless it is asked for, why every
/// region it suppresses stays in the verdict with its reason, and why a camera whose frames hold
/// [`StaticArtefact`](crate::SuppressionReason::StaticArtefact) regions needs somebody to look at it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StaticArtefacts {
    frames: VecDeque<Vec<Seen>>,
}

impl StaticArtefacts {
    /// A camera that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers what the next frame of the camera showed: everything that was above the threshold inside the inspected
    /// area, whether it counted or not (otherwise a suppressed artefact would be forgotten and count again), strongest
    /// first. A frame without regions is remembered too.
    pub fn observe(&mut self, candidate_regions: &[Region]) {
        if self.frames.len() == REMEMBERED_FRAMES {
            self.frames.pop_front();
        }
        let places = candidate_regions.iter().take(REGIONS_PER_FRAME_MAX).map(|region| Seen {
            bbox_px: region.bbox_px,
            area_px: region.area_px,
            peak: region.peak,
        });
        self.frames.push_back(places.collect());
    }

    /// Whether `region` recurs: at least [`SEEN_FRAMES_MIN`] frames are remembered, and in 60 % of them or more there is a
    /// region whose rectangle overlaps its own by half (intersection over union) and that was nearly as large and as
    /// strong. So a defect that touches the dirt, or lies on it, still counts.
    pub fn is_static(&self, region: &Region) -> bool {
        let recurs = |frame: &&Vec<Seen>| frame.iter().any(|seen| is_same(*seen, region));
        let recurrences = self.frames.iter().filter(recurs).count();
        self.frames.len() >= SEEN_FRAMES_MIN && 10 * recurrences >= 6 * self.frames.len()
    }
}

fn is_same(seen: Seen, region: &Region) -> bool {
    let (grown, whole) = GROWTH_MAX;
    same_place(seen.bbox_px, region.bbox_px)
        && u128::from(region.area_px) * whole <= u128::from(seen.area_px) * grown
        && region.peak <= seen.peak + PEAK_RISE_MAX
}

/// Whether the intersection is at least half the union, in integers.
fn same_place(left: RectPx, right: RectPx) -> bool {
    let shared = |a: u32, a_len: u32, b: u32, b_len: u32| {
        let end = (u64::from(a) + u64::from(a_len)).min(u64::from(b) + u64::from(b_len));
        u128::from(end.saturating_sub(u64::from(a.max(b))))
    };
    let area = |rect: RectPx| u128::from(rect.width) * u128::from(rect.height);
    let intersection =
        shared(left.x, left.width, right.x, right.width) * shared(left.y, left.height, right.y, right.height);
    intersection > 0 && 2 * intersection >= area(left) + area(right) - intersection
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: u32, y: u32) -> Region {
        Region {
            bbox_px: RectPx {
                x,
                y,
                width: 10,
                height: 10,
            },
            area_px: 60,
            peak: 0.8,
            mean: 0.6,
            centroid_px: [0.0; 2],
        }
    }

    #[test]
    fn dirt_is_known_after_twelve_frames_and_not_before() {
        let mut memory = StaticArtefacts::new();
        for seen in 0..20 {
            assert_eq!(
                memory.is_static(&at(50, 50)),
                seen >= SEEN_FRAMES_MIN,
                "after {seen} frames"
            );
            memory.observe(&[at(50 + seen as u32 % 2, 50)]);
        }
        assert!(!memory.is_static(&at(90, 50)), "another place");
    }

    #[test]
    fn most_frames_must_show_it() {
        for (every, expected) in [(1, true), (2, false), (3, false)] {
            let mut memory = StaticArtefacts::new();
            (0..30).for_each(|i| memory.observe(if i % every == 0 { vec![at(5, 5)] } else { vec![] }.as_slice()));
            assert_eq!(memory.is_static(&at(5, 5)), expected, "in every {every}th frame");
        }
        let mut memory = StaticArtefacts::new();
        (0..20).for_each(|i| memory.observe(if i % 5 < 3 { vec![at(5, 5)] } else { vec![] }.as_slice()));
        assert!(memory.is_static(&at(5, 5)), "60 % is enough");
    }

    #[test]
    fn it_is_forgotten_when_it_is_wiped_off() {
        let mut memory = StaticArtefacts::new();
        (0..200).for_each(|_| memory.observe(&[at(5, 5), at(100, 5)]));
        assert!(memory.is_static(&at(5, 5)));
        (0..13).for_each(|_| memory.observe(&[at(100, 5)]));
        assert!(!memory.is_static(&at(5, 5)), "19 of 32 frames are less than 60 %");
        assert!(memory.is_static(&at(100, 5)));
        assert_eq!(memory.frames.len(), REMEMBERED_FRAMES);
    }

    #[test]
    fn a_defect_that_touches_dirt_or_lies_on_it_still_counts() {
        let mut memory = StaticArtefacts::new();
        (0..20).for_each(|_| memory.observe(&[at(50, 50)]));
        assert!(memory.is_static(&at(50, 50)));
        let grown = Region {
            area_px: 91,
            ..at(50, 50)
        };
        assert!(!memory.is_static(&grown), "half as large again is more than dirt");
        let risen = Region {
            peak: 0.91,
            ..at(50, 50)
        };
        assert!(!memory.is_static(&risen), "it stands out from the dirt");
    }

    #[test]
    fn half_the_union_is_the_same_place() {
        let rect = |x, width| RectPx {
            x,
            y: 0,
            width,
            height: 4,
        };
        assert!(same_place(rect(0, 10), rect(0, 20)) && same_place(rect(0, 30), rect(10, 30)));
        assert!(!same_place(rect(0, 10), rect(0, 21)) && !same_place(rect(0, 10), rect(10, 10)));
        assert!(!same_place(rect(3, 0), rect(3, 0)), "nothing is nowhere");
        assert!(same_place(rect(u32::MAX, u32::MAX), rect(u32::MAX, u32::MAX)));
    }
}
