//! Plain-woven chambray: slate-blue warp, pale weft, and what goes wrong on a loom.

use super::canvas::{Blob, Canvas, Colour, Damage, SIDE, scale};
use super::random::{Lattice, Rng, smoothstep};

const WARP: Colour = [0.33, 0.42, 0.55];
const WEFT: Colour = [0.66, 0.69, 0.71];
const GAP: Colour = [0.10, 0.11, 0.13];
/// The table under the cloth, seen through holes.
const TABLE: Colour = [0.07, 0.07, 0.075];

/// Distance between threads: 38 threads across the frame.
const PITCH_PX: f32 = 6.7;
/// Threads that are kept in tables, counted from a little outside of the frame.
const THREADS: usize = 64;
const THREADS_OUTSIDE: f32 = 10.0;
/// Rows of the fibre table; a power of two.
const FIBRES: usize = 64;

struct Thread {
    tone: f32,
    width: f32,
    offset: f32,
}

/// One stretch of cloth under the camera.
pub(super) struct Fabric {
    /// Where column x and row y lie in the cloth, in threads: the sums `columns[x][axis] + rows[y][axis]`.
    columns: Vec<[f32; 2]>,
    rows: Vec<[f32; 2]>,
    warp: Vec<Thread>,
    weft: Vec<Thread>,
    fibres: Vec<f32>,
}

/// A thread that is not there for a stretch, in threads from the origin.
struct Missing {
    is_warp: bool,
    thread: usize,
    from: f32,
    to: f32,
}

impl Missing {
    fn removes(&self, is_warp: bool, thread: usize, along: f32) -> bool {
        self.is_warp == is_warp && self.thread == thread && (self.from..self.to).contains(&along)
    }
}

/// Where a pixel lies in the weave.
struct Spot {
    thread: [usize; 2],
    across: [f32; 2],
    cloth: [f32; 2],
}

impl Fabric {
    /// The cloth moves under the camera, so every frame shows other threads at another phase.
    pub(super) fn new(rng: &mut Rng) -> Self {
        let mut threads = || -> Vec<Thread> {
            (0..THREADS)
                .map(|_| Thread {
                    tone: 1.0 + rng.around_zero(0.045),
                    width: 0.94 + rng.around_zero(0.05),
                    offset: rng.around_zero(0.04),
                })
                .collect()
        };
        let (warp, weft) = (threads(), threads());
        let origin_px: [f32; 2] = std::array::from_fn(|_| rng.between(0.0, PITCH_PX * 2.0));
        let skew = rng.around_zero(0.006);
        Self {
            columns: positions(rng, [1.0, -skew], origin_px),
            rows: positions(rng, [skew, 1.0], [0.0; 2]),
            warp,
            weft,
            fibres: (0..FIBRES * THREADS).map(|_| rng.around_zero(1.0)).collect(),
        }
    }

    pub(super) fn paint(&self) -> Canvas {
        Canvas::paint(|x, y| self.colour(&self.spot(x, y), None))
    }

    fn spot(&self, x: usize, y: usize) -> Spot {
        let cloth: [f32; 2] = std::array::from_fn(|axis| self.columns[x][axis] + self.rows[y][axis] + THREADS_OUTSIDE);
        // Origin, skew and sway stay within a few threads, so the index lies well inside of the tables.
        let thread = cloth.map(|c| c as usize);
        Spot {
            thread,
            across: std::array::from_fn(|a| cloth[a] - thread[a] as f32 - 0.5),
            cloth,
        }
    }

    /// The upper of the two threads that cross here, lit from the upper left.
    fn colour(&self, spot: &Spot, missing: Option<&Missing>) -> Colour {
        let [warp, weft] = [&self.warp[spot.thread[0]], &self.weft[spot.thread[1]]];
        let across = [spot.across[0] - warp.offset, spot.across[1] - weft.offset];
        let warp_gone = missing.is_some_and(|m| m.removes(true, spot.thread[0], spot.cloth[1]));
        let weft_gone = missing.is_some_and(|m| m.removes(false, spot.thread[1], spot.cloth[0]));
        let over = if (spot.thread[0] + spot.thread[1]).is_multiple_of(2) {
            0.45
        } else {
            -0.45
        };

        let warp_lift = (!warp_gone)
            .then(|| {
                strand_lift(
                    across[0],
                    warp.width,
                    if weft_gone { None } else { Some((over, across[1])) },
                )
            })
            .flatten();
        let weft_lift = (!weft_gone)
            .then(|| {
                strand_lift(
                    across[1],
                    weft.width,
                    if warp_gone { None } else { Some((-over, across[0])) },
                )
            })
            .flatten();
        match (warp_lift, weft_lift) {
            (Some(lift), other) if other.is_none_or(|below| below <= lift) => {
                let fibre = self.fibre(spot.thread[0], spot.cloth[1], across[0]);
                strand_colour(WARP, warp, lift, across[0], fibre)
            }
            (_, Some(lift)) => {
                let fibre = self.fibre(spot.thread[1] + 31, spot.cloth[0], across[1]);
                strand_colour(WEFT, weft, lift, across[1], fibre)
            }
            _ => GAP,
        }
    }

    /// Twisted fibres: noise that runs obliquely across the thread.
    fn fibre(&self, thread: usize, along: f32, across: f32) -> f32 {
        let turn = (along * 7.0 + across * 5.0 + 8.0) as usize;
        self.fibres[(thread % THREADS) * FIBRES + turn % FIBRES]
    }

    /// Damages the cloth at a random place; the answer is the defect's class.
    pub(super) fn damage(&self, damage: &mut Damage, rng: &mut Rng) -> &'static str {
        match rng.below(3) {
            0 => {
                self.hole(damage, rng);
                "hole"
            }
            1 => {
                self.missing_thread(damage, rng);
                "missing_thread"
            }
            _ => {
                oil_stain(damage, rng);
                "oil_stain"
            }
        }
    }

    /// Torn threads: the table shows through, threads end one by one, and a few loose ends cross the gap.
    fn hole(&self, damage: &mut Damage, rng: &mut Rng) {
        let centre = place(rng);
        let radius_px = rng.between(4.5, 15.0);
        let aspect = rng.between(1.0, 1.7);
        let blob = Blob::new(rng, centre, radius_px, aspect, 0.35);
        let table = scale(TABLE, rng.between(0.8, 2.6));
        let loose = [rng.direction(), rng.direction()];
        let bow = rng.around_zero(0.3);
        for (x, y) in blob.pixels(1.5) {
            let spot = self.spot(x, y);
            // A thread is torn across, so a pixel is judged at its thread's middle, and each thread tears elsewhere.
            let axis = usize::from((spot.thread[0] + spot.thread[1]) % 2 == 1);
            let mut judged = [x as f32, y as f32];
            judged[axis] -= spot.across[axis] * PITCH_PX;
            let torn_at = 1.0 + 0.22 * self.fibres[(spot.thread[axis] * 7 + axis) % self.fibres.len()];
            let d = blob.distance(judged[0], judged[1]) / torn_at;
            let shaded = scale(damage.get(x, y), 0.62);
            damage.cover(x, y, shaded, smoothstep(1.22, 1.0, d));
            damage.cover(x, y, table, smoothstep(1.08, 0.92, d));
            for end in loose {
                // A loose end is a bowed line that starts at the rim and stops near the middle.
                let (dx, dy) = (x as f32 - centre[0], y as f32 - centre[1]);
                let along = (dx * end[0] + dy * end[1]) / radius_px;
                let off = (dy * end[0] - dx * end[1]) - bow * radius_px * along * along;
                if d < 1.0 {
                    let line = smoothstep(1.5, 0.5, off.abs()) * smoothstep(0.0, 0.2, along);
                    damage.cover(x, y, scale(WEFT, 0.75), line * 0.8);
                }
            }
        }
    }

    fn missing_thread(&self, damage: &mut Damage, rng: &mut Rng) {
        let is_warp = rng.unit() < 0.5;
        let from = THREADS_OUTSIDE + rng.between(2.0, 24.0);
        // Where a few fibres of the thread are left, the gap is less deep.
        let depth = rng.between(0.5, 1.0);
        let missing = Missing {
            is_warp,
            thread: THREADS_OUTSIDE as usize + 5 + rng.below(28),
            from,
            to: from + rng.between(9.0, 36.0),
        };
        for y in 0..SIDE {
            for x in 0..SIDE {
                let spot = self.spot(x, y);
                if missing.removes(true, spot.thread[0], spot.cloth[1])
                    || missing.removes(false, spot.thread[1], spot.cloth[0])
                {
                    damage.cover(x, y, self.colour(&spot, Some(&missing)), depth);
                }
            }
        }
    }
}

/// How far, in threads, the cloth advances over the rows or columns of the frame: evenly by `slope` pixels a pixel, from
/// `origin_px`, swaying by most of a pixel as tension varies.
fn positions(rng: &mut Rng, slope: [f32; 2], origin_px: [f32; 2]) -> Vec<[f32; 2]> {
    let sway = Lattice::new(rng, SIDE as f32, 61.0);
    (0..SIDE)
        .map(|i| {
            let at = i as f32;
            std::array::from_fn(|axis| {
                let swayed = 0.8 * sway.at(at, 100.0 * axis as f32);
                (origin_px[axis] + slope[axis] * at + swayed) / PITCH_PX
            })
        })
        .collect()
}

/// Height of a thread's surface, or nothing beside it. `crossing` is the bend at the crossing (positive: over) and the
/// distance from its middle; a thread that crosses nothing lies flat and, no longer squeezed, thins out.
fn strand_lift(across: f32, width: f32, crossing: Option<(f32, f32)>) -> Option<f32> {
    let (width, bend) = match crossing {
        Some((over, along)) => (width, over * (1.0 - 4.0 * along * along)),
        None => (width * 0.66, -0.25),
    };
    let c = 2.0 * across / width;
    (c.abs() < 1.0).then_some(0.55 * (1.0 - c * c) + bend)
}

fn strand_colour(dye: Colour, thread: &Thread, lift: f32, across: f32, fibre: f32) -> Colour {
    scale(dye, thread.tone * (0.66 + 0.34 * lift - 0.22 * across + 0.07 * fibre))
}

fn place(rng: &mut Rng) -> [f32; 2] {
    let inside = 26.0;
    std::array::from_fn(|_| rng.between(inside, SIDE as f32 - inside))
}

/// A soft brown stain, darker at its rim, sometimes with a droplet beside it.
fn oil_stain(damage: &mut Damage, rng: &mut Rng) {
    const OIL: Colour = [0.52, 0.40, 0.24];
    let centre = place(rng);
    let radius_px = rng.between(8.0, 26.0);
    // A small stain has to be a strong one to be found.
    let strength = rng.between(0.42, 0.8) + 0.15 * (1.0 - radius_px / 26.0);
    let aspect = rng.between(1.0, 1.6);
    let mut blobs = vec![Blob::new(rng, centre, radius_px, aspect, 0.3)];
    if rng.unit() < 0.5 {
        let [dx, dy] = rng.direction();
        let away = radius_px * aspect + 6.0;
        let droplet = [centre[0] + dx * away, centre[1] + dy * away];
        let droplet_px = rng.between(2.5, 4.0);
        blobs.push(Blob::new(rng, droplet, droplet_px, 1.2, 0.2));
    }
    for blob in &blobs {
        for (x, y) in blob.pixels(1.1) {
            let d = blob.distance(x as f32, y as f32);
            let soaked: Colour = std::array::from_fn(|c| damage.get(x, y)[c] * OIL[c]);
            let rim = 0.75 + 0.25 * smoothstep(0.45, 0.85, d);
            damage.cover(x, y, soaked, strength * rim * smoothstep(1.05, 0.75, d));
        }
    }
}
