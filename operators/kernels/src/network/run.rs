//! Runs a plan.

use std::ops::Range;

use super::cells;
use super::element::{Element, Unit};
use super::finish::{Added, Finish};
use super::graph::{NodeId, Window};
use super::memory::Buffer;
use super::pack::Form;
use super::plan::{AddedFrom, BEHIND, Compiled, ConvStep, Extent, MapLayout, Pool, Pooling, Schedule, Step};
use super::tile::{BLOCK, DepthwiseTile, PIXELS_MAX, PoolRow, Sums, Tile};
#[cfg(target_arch = "x86_64")]
use super::tile::{Group, GroupSums, POSITIONS};
use super::winograd::{self, Tiles};

/// Bytes of weights up to which all of them stay in the second-level cache while rows go by; beyond that one block of output
/// channels stays there, and rows go by once per block.
const WEIGHT_BYTES_RESIDENT_MAX: usize = 256 * 1024;

/// Bytes of the activations that are kept until they are pooled: they and what they are made of stay in the second-level cache. In
/// tests images are small, and have several strips all the same.
const STRIP_BYTES: usize = if cfg!(test) { 2 * 1024 } else { 256 * 1024 };

/// Values of one row of pixels in a cell.
const HALF: usize = 3 * cells::SIDE;

/// A schedule with its memory.
pub(super) struct Running<E: Element> {
    schedule: Schedule<E>,
    maps: Vec<Buffer<E>>,
    wides: Vec<Buffer<f32>>,
    /// By channel and byte: what a pixel is worth; for pixels that are normalised.
    table: Option<Box<[[f32; 256]; 3]>>,
}

/// How an image becomes activations.
pub(super) trait Pixels: Element {
    /// Writes one row of RGB bytes.
    fn row(table: Option<&[[f32; 256]; 3]>, rgb: &[u8], out: &mut [Self]);

    /// Lets `work` have so many values for a while, whatever they are.
    fn with_scratch(len: usize, work: impl FnOnce(&mut [Self]));

    /// Output rows, from the first of a row of tiles on, of a convolution whose weights are transformed.
    fn winograd(work: &mut ConvRows<'_, Self>, rows: Range<usize>);
}

/// [`Pixels::with_scratch`] of one kind of values: each thread has memory of its own.
macro_rules! with_scratch {
    ($value:ty) => {
        fn with_scratch(len: usize, work: impl FnOnce(&mut [$value])) {
            thread_local! {
                /// It grows with the first image that a thread sees.
                static SCRATCH: std::cell::RefCell<$crate::network::memory::Buffer<$value>> =
                    std::cell::RefCell::new($crate::network::memory::Buffer::zeros(0));
            }
            SCRATCH.with_borrow_mut(|scratch| work(scratch.at_least(len)));
        }
    };
}
pub(super) use with_scratch;

impl Pixels for u8 {
    #[inline]
    fn row(_: Option<&[[f32; 256]; 3]>, rgb: &[u8], out: &mut [u8]) {
        out.copy_from_slice(rgb);
    }

    with_scratch!(u8);

    fn winograd(_: &mut ConvRows<'_, u8>, _: Range<usize>) {
        unreachable!("weights of 8 bits are not transformed");
    }
}

impl Pixels for f32 {
    fn row(table: Option<&[[f32; 256]; 3]>, rgb: &[u8], out: &mut [f32]) {
        let table = table.expect("pixels in f32 are normalised");
        for (pixel, out) in rgb.chunks_exact(3).zip(out.chunks_exact_mut(3)) {
            for channel in 0..3 {
                out[channel] = table[channel][usize::from(pixel[channel])];
            }
        }
    }

    with_scratch!(f32);

    fn winograd(work: &mut ConvRows<'_, f32>, rows: Range<usize>) {
        let Under { conv, from, input } = work.under;
        let tiles = Tiles {
            unit: work.unit,
            input,
            layout: from,
            padding: conv.padding,
            channels: from.extent.channels,
            weights: &|block| conv.weights.block(block),
            blocks: conv.weights.blocks,
            rows: rows.start / winograd::TILE..rows.end.div_ceil(winograd::TILE),
            columns: conv.out.width.div_ceil(winograd::TILE),
        };
        tiles.each(|[row, column], block, outputs| {
            let (y, x) = (row * winograd::TILE, column * winograd::TILE);
            let n_columns = winograd::TILE.min(conv.out.width - x);
            let bias = conv.bias.of(y, 0, block);
            for (y, outputs) in (y..rows.end).zip(outputs.chunks_exact(winograd::TILE)) {
                work.finish([y, x], block, bias, &outputs[..n_columns], None);
            }
        });
    }
}

/// A plan whatever it computes in.
pub(super) trait Run: Send + Sync {
    fn n_steps(&self) -> usize;

    /// A step in words, and its multiplications.
    fn describe(&self, at: usize) -> (String, u64);

    /// How many results there are.
    fn n_results(&self) -> usize;

    /// The extent of the result of the tap at `at`.
    fn extent(&self, at: usize) -> Extent;

    /// Bytes of all maps.
    fn bytes(&self) -> usize;

    /// The rows that a member of a team computes of a step.
    ///
    /// # Safety
    /// All members are at the same step, each member is there once, and nobody else uses the memory.
    unsafe fn step(&self, at: usize, unit: Unit, rgb: &[u8], member: usize, members: usize);

    /// The node of a step and the largest activation of its map; none where it has no map.
    ///
    /// # Safety
    /// Nobody takes a step meanwhile.
    unsafe fn largest(&self, at: usize) -> Option<(NodeId, f32)>;

    /// The result of the tap at `at`.
    ///
    /// # Safety
    /// Nobody takes a step while it is borrowed.
    unsafe fn result(&self, at: usize) -> &[f32];
}

impl<E: Pixels> Running<E> {
    /// # Errors
    /// As [`Compiled::schedule`].
    pub(super) fn new(compiled: &Compiled<E>, height: usize, width: usize, keeps_all: bool) -> Result<Self, String> {
        let schedule = compiled.schedule(height, width, keeps_all)?;
        let network = &compiled.network;
        let table = compiled.raw_weight.is_none().then(|| {
            let value =
                |channel: usize, byte: usize| (byte as f32 / 255.0 - network.mean[channel]) / network.std[channel];
            Box::new(std::array::from_fn(|channel| {
                std::array::from_fn(|byte| value(channel, byte))
            }))
        });
        Ok(Self {
            maps: schedule.maps.iter().map(|layout| Buffer::zeros(layout.len())).collect(),
            wides: schedule
                .wides
                .iter()
                .map(|extent| Buffer::zeros(extent.values()))
                .collect(),
            schedule,
            table,
        })
    }

    /// A map, to be read.
    ///
    /// # Safety
    /// Nobody writes to it meanwhile.
    unsafe fn map(&self, map: usize) -> (MapLayout, &[E]) {
        // SAFETY: the caller's promise.
        (self.schedule.maps[map], unsafe { self.maps[map].slice() })
    }

    /// Rows of a map with what is left and right of them, to be written.
    ///
    /// # Safety
    /// Nobody else uses them meanwhile.
    #[expect(clippy::mut_from_ref, reason = "members of a team write to different rows")]
    unsafe fn rows_of_map(&self, map: usize, rows: Range<usize>) -> (MapLayout, &mut [E]) {
        let layout = self.schedule.maps[map];
        let range = layout.row_start(rows.start as isize)..layout.row_start(rows.end as isize);
        // SAFETY: the caller's promise.
        (layout, unsafe { self.maps[map].rows_mut(range) })
    }

    /// # Safety
    /// Nobody else uses these rows meanwhile.
    unsafe fn image(&self, rgb: &[u8], width: usize, cell: usize, to: usize, rows: Range<usize>) {
        // SAFETY: the caller's promise.
        let (layout, map) = unsafe { self.rows_of_map(to, rows.clone()) };
        let border = layout.padding * layout.extent.channels;
        for (row, y) in map.chunks_exact_mut(layout.row()).zip(rows) {
            let row = &mut row[border..][..layout.extent.width * layout.extent.channels];
            if cell == 1 {
                E::row(self.table.as_deref(), &rgb[y * row.len()..][..row.len()], row);
                continue;
            }
            // Beyond an odd edge the rest of a cell is zero.
            row.fill(E::default());
            let cells = row.as_chunks_mut::<{ cells::SIDE * HALF }>().0;
            for (half, rgb) in rgb.chunks(3 * width).skip(y * cell).take(cell).enumerate() {
                let (pixels, last) = rgb.as_chunks::<HALF>();
                for (cell, pixels) in cells.iter_mut().zip(pixels) {
                    E::row(None, pixels, &mut cell[half * HALF..][..HALF]);
                }
                if let (Some(cell), false) = (cells.last_mut(), last.is_empty()) {
                    E::row(None, last, &mut cell[half * HALF..][..last.len()]);
                }
            }
        }
    }

    /// A convolution with all that it reads, and nothing yet that it writes.
    ///
    /// # Safety
    /// Nobody writes to what it reads meanwhile.
    unsafe fn reading<'a>(&'a self, conv: &'a ConvStep<E>, unit: Unit) -> ConvRows<'a, E> {
        let under = |conv: &'a ConvStep<E>| {
            // SAFETY: the caller's promise.
            let (from, input) = unsafe { self.map(conv.from) };
            Under { conv, from, input }
        };
        let added = match &conv.added {
            AddedFrom::Nothing => None,
            AddedFrom::Map(map, scale) => {
                // SAFETY: the caller's promise.
                let (layout, values) = unsafe { self.map(*map) };
                Some(AddedMap::Map(layout, values, *scale))
            }
            // SAFETY: the caller's promise.
            AddedFrom::Wide(wide) => Some(AddedMap::Wide(unsafe { self.wides[*wide].slice() })),
            AddedFrom::Projection(projection) => Some(AddedMap::Projection(under(projection))),
        };
        ConvRows {
            under: under(conv),
            unit,
            added,
            first: 0,
            map: None,
            wide: None,
        }
    }

    /// # Safety
    /// Nobody else uses these rows of what it writes, and nobody writes to what it reads.
    unsafe fn conv(&self, conv: &ConvStep<E>, unit: Unit, rows: Range<usize>) {
        // SAFETY: the caller's promise, here and below.
        let reading = unsafe { self.reading(conv, unit) };
        let map = conv.map.map(|(map, inverse)| {
            // SAFETY: as above.
            let (layout, values) = unsafe { self.rows_of_map(map, rows.clone()) };
            (layout, values, inverse)
        });
        let wide_row = conv.out.width * conv.out.channels;
        // SAFETY: as above.
        let wide = conv
            .wide
            .map(|wide| unsafe { self.wides[wide].rows_mut(rows.start * wide_row..rows.end * wide_row) });
        let mut work = ConvRows {
            first: rows.start,
            map,
            wide,
            ..reading
        };
        work.rows(rows);
    }

    /// Some rows of what is pooled of a convolution: strip by strip, so that activations stay in the cache until they are pooled.
    ///
    /// # Safety
    /// As [`Running::conv`].
    unsafe fn pooled_conv(&self, conv: &ConvStep<E>, pooling: Pooling, unit: Unit, rows: Range<usize>) {
        let Window {
            kernel,
            stride,
            padding,
        } = pooling.window;
        let (to, inverse) = conv.map.expect("what is pooled is kept");
        // SAFETY: the caller's promise, here and below.
        let (to, map) = unsafe { self.rows_of_map(to, rows.clone()) };
        let mut strip = MapLayout {
            extent: conv.out,
            padding,
            behind: 0,
        };
        let pooled_at_once = (STRIP_BYTES / (strip.row() * size_of::<E>())).saturating_sub(kernel) / stride + 1;
        let pooled_at_once = pooled_at_once.min(rows.len().max(1));
        // Rows of a strip, and those at its end that the next begins with.
        let height = (pooled_at_once - 1) * stride + kernel;
        let kept = kernel.saturating_sub(stride);
        strip.extent.height = height;
        E::with_scratch(height * strip.row() + BEHIND, |scratch| {
            scratch.fill(E::default());
            for first in rows.clone().step_by(pooled_at_once) {
                let pooled = first..rows.end.min(first + pooled_at_once);
                // Above the first row of the map and below its last are zeros.
                let top = (first * stride) as isize - padding as isize;
                let known = if first == rows.start { 0 } else { kept };
                let used = (pooled.len() - 1) * stride + kernel;
                let row_at = |at: usize| (top + at as isize).clamp(0, conv.out.height as isize) as usize;
                let wanted = row_at(known)..row_at(used);
                let place = |y: usize| (y as isize - top) as usize * strip.row();
                scratch[place(wanted.end)..height * strip.row()].fill(E::default());
                let mut work = ConvRows {
                    first: wanted.start,
                    map: Some((strip, &mut scratch[place(wanted.start)..], inverse)),
                    // SAFETY: as above.
                    ..unsafe { self.reading(conv, unit) }
                };
                work.rows(wanted);
                let map = &mut map[(first - rows.start) * to.row()..];
                pool_rows(strip, scratch, pooling, to, &mut map[..pooled.len() * to.row()]);
                if kept > 0 {
                    let next = pooled_at_once * stride * strip.row();
                    scratch.copy_within(next..next + kept * strip.row(), 0);
                }
            }
        });
    }
}

impl<E: Pixels> Run for Running<E> {
    fn n_steps(&self) -> usize {
        self.schedule.steps.len()
    }

    fn describe(&self, at: usize) -> (String, u64) {
        self.schedule.describe(at)
    }

    fn n_results(&self) -> usize {
        self.schedule.taps.len()
    }

    fn extent(&self, at: usize) -> Extent {
        self.schedule.wides[self.schedule.taps[at]]
    }

    fn bytes(&self) -> usize {
        let maps: usize = self.maps.iter().map(Buffer::len).sum();
        let wides: usize = self.wides.iter().map(Buffer::len).sum();
        maps * size_of::<E>() + wides * size_of::<f32>()
    }

    unsafe fn step(&self, at: usize, unit: Unit, rgb: &[u8], member: usize, members: usize) {
        let share = |height: usize| height * member / members..height * (member + 1) / members;
        match &self.schedule.steps[at] {
            Step::Image { to, width, cell } => {
                let layout = self.schedule.maps[*to];
                let rows = share(layout.extent.height);
                // SAFETY: the caller's promise, and members have different rows.
                unsafe { self.image(rgb, *width, *cell, *to, rows) };
            }
            Step::Pool { from, to, pooling } => {
                let rows = share(self.schedule.maps[*to].extent.height);
                // SAFETY: the caller's promise; a step does not write to what it reads.
                let ((from, input), (to, map)) = unsafe { (self.map(*from), self.rows_of_map(*to, rows.clone())) };
                let start =
                    from.row_start((rows.start * pooling.window.stride) as isize - pooling.window.padding as isize);
                let left = (from.padding - pooling.window.padding) * from.extent.channels;
                pool_rows(from, &input[start + left..], *pooling, to, map);
            }
            Step::Conv(conv) if let Some(pooling) = conv.pooling => {
                let (to, _) = conv.map.expect("what is pooled is kept");
                let rows = share(self.schedule.maps[to].extent.height);
                // SAFETY: the caller's promise.
                unsafe { self.pooled_conv(conv, pooling, unit, rows) };
            }
            Step::Conv(conv) => {
                let rows = match conv.weights.form {
                    Form::Winograd => {
                        let tiles = share(conv.out.height.div_ceil(winograd::TILE));
                        tiles.start * winograd::TILE..(tiles.end * winograd::TILE).min(conv.out.height)
                    }
                    Form::Direct | Form::Depthwise => share(conv.out.height),
                };
                // SAFETY: the caller's promise.
                unsafe { self.conv(conv, unit, rows) };
            }
        }
    }

    unsafe fn largest(&self, at: usize) -> Option<(NodeId, f32)> {
        let Step::Conv(conv) = &self.schedule.steps[at] else {
            return None;
        };
        let (map, _) = conv.map.as_ref()?;
        // SAFETY: the caller's promise.
        let (_, values) = unsafe { self.map(*map) };
        let largest = values.iter().copied().reduce(|a, b| if b > a { b } else { a })?;
        Some((self.schedule.nodes[at], largest.value(1.0)))
    }

    unsafe fn result(&self, at: usize) -> &[f32] {
        // SAFETY: the caller's promise.
        unsafe { self.wides[self.schedule.taps[at]].slice() }
    }
}

enum AddedMap<'a, E: Element> {
    Map(MapLayout, &'a [E], f32),
    Wide(&'a [f32]),
    Projection(Under<'a, E>),
}

/// A convolution and what it reads.
#[derive(Clone, Copy)]
struct Under<'a, E: Element> {
    conv: &'a ConvStep<E>,
    from: MapLayout,
    input: &'a [E],
}

/// Some output rows of a convolution.
pub(super) struct ConvRows<'a, E: Element> {
    under: Under<'a, E>,
    unit: Unit,
    added: Option<AddedMap<'a, E>>,
    /// The first row.
    first: usize,
    map: Option<(MapLayout, &'a mut [E], f32)>,
    wide: Option<&'a mut [f32]>,
}

/// Lets `work` have all `places` and all blocks of output channels, in the order in which weights come from memory least often.
fn each_block<E: Element, P: Copy>(
    conv: &ConvStep<E>,
    places: impl Iterator<Item = P> + Clone,
    mut work: impl FnMut(P, usize),
) {
    let blocks = 0..conv.weights.blocks;
    let of_projection = match &conv.added {
        AddedFrom::Projection(projection) => projection.weights.bytes(),
        _ => 0,
    };
    if conv.weights.bytes() + of_projection <= WEIGHT_BYTES_RESIDENT_MAX {
        places.for_each(|place| blocks.clone().for_each(|block| work(place, block)));
    } else {
        blocks.for_each(|block| places.clone().for_each(|place| work(place, block)));
    }
}

impl<E: Pixels> ConvRows<'_, E> {
    /// All of these rows.
    fn rows(&mut self, rows: Range<usize>) {
        let form = self.under.conv.weights.form;
        if form == Form::Winograd {
            return E::winograd(self, rows);
        }
        #[cfg(target_arch = "x86_64")]
        if form == Form::Direct && self.unit.in_groups::<E>() {
            return self.rows_in_groups(rows);
        }
        each_block(self.under.conv, rows, |y, block| self.row(y, block));
    }
}

impl<'a, E: Element> Under<'a, E> {
    /// What is under the window of a position, from its first value on.
    fn at(&self, [y, x]: [usize; 2]) -> &'a [E] {
        let ConvStep { stride, padding, .. } = *self.conv;
        let row = self.from.row_start((y * stride) as isize - padding as isize);
        let column = self.from.padding - padding + x * stride;
        &self.input[row + column * self.from.extent.channels..]
    }

    /// Neighbouring positions from `place` on, and a block of output channels.
    fn tile(&self, place: [usize; 2], block: usize) -> Tile<'a, E> {
        let weights = &self.conv.weights;
        Tile {
            input: self.at(place),
            row_step: self.from.row(),
            pixel_step: self.conv.stride * self.from.extent.channels,
            rows: weights.rows,
            groups: weights.groups,
            weights: weights.block(block),
        }
    }

    fn depthwise_tile(&self, place: [usize; 2], block: usize) -> DepthwiseTile<'a, E> {
        let channels = self.from.extent.channels;
        DepthwiseTile {
            input: &self.at(place)[block * BLOCK..],
            row_step: self.from.row(),
            pixel_step: self.conv.stride * channels,
            column_step: channels,
            kernel: self.conv.window.kernel,
            weights: self.conv.weights.block(block),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn group(&self, places: [[usize; 2]; 2], block: usize) -> Group<'a, E> {
        let weights = &self.conv.weights;
        Group {
            inputs: places.map(|place| self.at(place)),
            row_step: self.from.row(),
            pixel_step: self.conv.stride * self.from.extent.channels,
            rows: weights.rows,
            groups: weights.groups,
            weights: weights.block(block),
        }
    }

    /// Makes of a projection's sums in row `y` what is added.
    fn project(&self, unit: Unit, y: usize, block: usize, sums: &[[E::Sum; BLOCK]], values: &mut [[f32; BLOCK]]) {
        let finish = Finish::<E> {
            scales: self.conv.weights.scales_of(block),
            bias: self.conv.bias.of(y, 0, block),
            channels: BLOCK,
            in_block: (self.conv.out.channels - block * BLOCK).min(BLOCK),
            added: Added::Nothing,
            relu: false,
            map: None,
            wide: Some(values.as_flattened_mut()),
        };
        finish.write(unit, sums);
    }
}

impl<'a, E: Element> ConvRows<'a, E> {
    /// One block of output channels of row `y`.
    fn row(&mut self, y: usize, block: usize) {
        let under = self.under;
        let mut sums = Sums::<E::Sum>::default();
        let mut projected = self
            .projection()
            .map(|of| (of, Sums::<E::Sum>::default(), Sums::<f32>::default()));
        for (run, columns) in under.conv.bias.columns().iter().enumerate() {
            let bias = under.conv.bias.of(y, run, block);
            let mut x = columns.start;
            // Tiles of as equal size as can be: 16 positions are 6, 5 and 5.
            let mut tiles = columns.len().div_ceil(PIXELS_MAX);
            while x < columns.end {
                let pixels = (columns.end - x).div_ceil(tiles);
                tiles -= 1;
                let sums = &mut sums.0[..pixels];
                match under.conv.weights.form {
                    Form::Depthwise => E::depthwise_sums(&under.depthwise_tile([y, x], block), sums),
                    Form::Direct | Form::Winograd => E::sums(self.unit, &under.tile([y, x], block), sums),
                }
                let projected = projected.as_mut().map(|(of, sums, values)| {
                    E::sums(self.unit, &of.tile([y, x], block), &mut sums.0[..pixels]);
                    of.project(self.unit, y, block, &sums.0[..pixels], &mut values.0[..pixels]);
                    &values.0[..pixels]
                });
                self.finish([y, x], block, bias, sums, projected);
                x += pixels;
            }
        }
    }

    /// All blocks of output channels of rows, in groups of positions. What a group has beyond the end of a row is computed in vain.
    #[cfg(target_arch = "x86_64")]
    fn rows_in_groups(&mut self, rows: Range<usize>) {
        let under = self.under;
        let per_row = under.conv.out.width.div_ceil(POSITIONS);
        let halves = rows.start * per_row..rows.end * per_row;
        let groups = halves.clone().step_by(2).map(|at| [at, (at + 1).min(halves.end - 1)]);
        let place = |half: usize| [half / per_row, half % per_row * POSITIONS];
        let (tiles, mut sums) = (super::amx::Tiles::new(), GroupSums::default());
        let mut projected = self
            .projection()
            .map(|of| (of, GroupSums::default(), GroupSums::<f32>::default()));
        let group = |pair: [usize; 2], block| {
            let places = pair.map(place);
            E::group_sums(&tiles, &under.group(places, block), &mut sums);
            // An odd half at the end is computed twice and written once.
            let n_halves = if pair[0] == pair[1] { 1 } else { 2 };
            let projected = projected.as_mut().map(|(of, sums, values)| {
                E::group_sums(&tiles, &of.group(places, block), sums);
                for ([y, _], (sums, values)) in places.into_iter().zip(sums.0.iter().zip(&mut values.0)).take(n_halves)
                {
                    of.project(self.unit, y, block, sums, values);
                }
                &values.0
            });
            for (half, ([y, x], sums)) in places.into_iter().zip(&sums.0).take(n_halves).enumerate() {
                for (run, columns) in under.conv.bias.columns().iter().enumerate() {
                    let (first, end) = (columns.start.max(x), columns.end.min(x + POSITIONS));
                    if first < end {
                        let bias = under.conv.bias.of(y, run, block);
                        let within = first - x..end - x;
                        let projected = projected.map(|halves| &halves[half][within.clone()]);
                        self.finish([y, first], block, bias, &sums[within], projected);
                    }
                }
            }
        };
        each_block(under.conv, groups, group);
    }

    /// The convolution that is computed where it is added.
    fn projection(&self) -> Option<Under<'a, E>> {
        match self.added {
            Some(AddedMap::Projection(projection)) => Some(projection),
            _ => None,
        }
    }

    /// Makes of sums what is kept of them, for neighbouring positions from row and column `[y, x]` on; `projected` is what the
    /// projection has there, if there is one.
    fn finish(
        &mut self,
        [y, x]: [usize; 2],
        block: usize,
        bias: &[f32; BLOCK],
        sums: &[[E::Sum; BLOCK]],
        projected: Option<&[[f32; BLOCK]]>,
    ) {
        let conv = self.under.conv;
        let first_channel = block * BLOCK;
        let in_block = (conv.out.channels - first_channel).min(BLOCK);
        let wide_at = (y * conv.out.width + x) * conv.out.channels + first_channel;
        let in_row = |layout: MapLayout| (x + layout.padding) * conv.out.channels + first_channel;
        let finish = Finish {
            scales: conv.weights.scales_of(block),
            bias,
            channels: conv.out.channels,
            in_block,
            added: match &self.added {
                None => Added::Nothing,
                Some(AddedMap::Map(layout, values, scale)) => Added::Map {
                    values: &values[layout.row_start(y as isize) + in_row(*layout)..],
                    scale: *scale,
                },
                Some(AddedMap::Wide(values)) => Added::Wide {
                    values: &values[wide_at..],
                    channels: conv.out.channels,
                },
                Some(AddedMap::Projection(_)) => Added::Wide {
                    values: projected.expect("a projection is computed first").as_flattened(),
                    channels: BLOCK,
                },
            },
            relu: conv.relu,
            map: self.map.as_mut().map(|(layout, map, inverse)| {
                let at = (y - self.first) * layout.row() + in_row(*layout);
                (&mut map[at..], *inverse)
            }),
            wide: self
                .wide
                .as_mut()
                .map(|wide| &mut wide[wide_at - self.first * conv.out.width * conv.out.channels..]),
        };
        finish.write(self.unit, sums);
    }
}

/// Rows of the maximum or the mean under a window, `input` from the first value under the first window on. The border's zeros change
/// no maximum, because activations are not negative.
fn pool_rows<E: Element>(from: MapLayout, input: &[E], pooling: Pooling, to: MapLayout, map: &mut [E]) {
    let (window, channels) = (pooling.window, from.extent.channels);
    for (y, out) in map.chunks_exact_mut(to.row()).enumerate() {
        let out = &mut out[to.padding * channels..][..to.extent.width * channels];
        let row = PoolRow {
            input: &input[y * window.stride * from.row()..],
            row_step: from.row(),
            pixel_step: window.stride * channels,
            channels,
            kernel: window.kernel,
        };
        match pooling.pool {
            Pool::Mean => E::mean_row(&row, out),
            Pool::Max => E::max_row(&row, out),
        }
    }
}
