//! A network for images of one size: what is computed in which order, and where everything lies.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bias::Bias;
use super::element::Element;
use super::graph::{Network, Node, NodeId, Window};
use super::pack::{Form, PackedConv};
use super::tile::{BLOCK, POSITIONS};
use super::winograd;

/// Extent of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values per position.
    pub channels: usize,
}

impl Extent {
    /// Values of the map.
    pub fn values(self) -> usize {
        self.height * self.width * self.channels
    }
}

/// A map with a border of zeros, so that windows may look beyond its edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MapLayout {
    pub(super) extent: Extent,
    pub(super) padding: usize,
    /// Pixels that may be read behind it.
    pub(super) behind: usize,
}

/// Values behind a map: a row of a window is read in whole groups, and a depthwise convolution's channels in whole blocks.
pub(super) const BEHIND: usize = BLOCK;

impl MapLayout {
    /// Values from row to row.
    pub(super) fn row(self) -> usize {
        (self.extent.width + 2 * self.padding) * self.extent.channels
    }

    /// All values.
    pub(super) fn len(self) -> usize {
        (self.extent.height + 2 * self.padding) * self.row() + self.behind * self.extent.channels + BEHIND
    }

    /// The first value of row `y`, which may lie above the map by as much as the border is wide.
    pub(super) fn row_start(self, y: isize) -> usize {
        usize::try_from(y + self.padding as isize).expect("inside the border") * self.row()
    }
}

/// Size-independent parts of a network, ready to be run.
pub(super) struct Compiled<E: Element> {
    pub(super) network: Network,
    /// By node.
    pub(super) convs: Vec<Option<Arc<PackedConv<E>>>>,
    /// By node: what one step of its activations is worth.
    pub(super) scales: Vec<f32>,
    /// Of the first layer, what is multiplied with raw pixels; none where pixels are normalised first.
    pub(super) raw_weight: Option<Vec<f64>>,
    /// Pixels along one side of a position of the image's map: 1, or those of [`cells`](super::cells).
    pub(super) cell: usize,
}

/// One thing to do. Maps and wide maps are numbered.
pub(super) enum Step<E: Element> {
    /// The image, of so many pixels in a row, becomes a map of pixels or of cells, with so many pixels along one side.
    Image { to: usize, width: usize, cell: usize },
    /// A convolution.
    Conv(Box<ConvStep<E>>),
    /// The maximum or the mean under a window.
    Pool { from: usize, to: usize, pooling: Pooling },
}

/// The maximum or the mean under a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pooling {
    pub(super) window: Window,
    pub(super) pool: Pool,
}

/// What is taken of the values under a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    Max,
    Mean,
}

/// A convolution and what follows it.
pub(super) struct ConvStep<E: Element> {
    pub(super) from: usize,
    /// As the network has it.
    pub(super) window: Window,
    /// The same.
    pub(super) in_channels: usize,
    /// The stride and the padding of the window in positions of the map that is read: of pixels, or of cells.
    pub(super) stride: usize,
    pub(super) padding: usize,
    pub(super) weights: Arc<PackedConv<E>>,
    pub(super) bias: Bias,
    pub(super) added: AddedFrom<E>,
    pub(super) relu: bool,
    pub(super) out: Extent,
    /// The map of its activations, or of what is pooled of them, and 1 over their scale.
    pub(super) map: Option<(usize, f32)>,
    /// The pooling that follows, where nobody else reads the activations: they are not kept.
    pub(super) pooling: Option<Pooling>,
    /// Its values in `f32`.
    pub(super) wide: Option<usize>,
}

/// Where what is added comes from.
pub(super) enum AddedFrom<E: Element> {
    Nothing,
    Map(usize, f32),
    Wide(usize),
    /// A convolution that is computed here, tile by tile, and kept nowhere.
    Projection(Box<ConvStep<E>>),
}

/// Steps, and what they need.
pub(super) struct Schedule<E: Element> {
    pub(super) steps: Vec<Step<E>>,
    /// By step: its node.
    pub(super) nodes: Vec<NodeId>,
    pub(super) maps: Vec<MapLayout>,
    pub(super) wides: Vec<Extent>,
    /// The wide maps that are the network's results.
    pub(super) taps: Vec<usize>,
}

impl<E: Element> Schedule<E> {
    /// A step in words, and its multiplications.
    pub(super) fn describe(&self, step: usize) -> (String, u64) {
        let conv = match &self.steps[step] {
            Step::Image { .. } => return ("image".to_owned(), 0),
            Step::Pool { pooling, .. } => return (pooling.describe(), 0),
            Step::Conv(conv) => conv,
        };
        conv.describe()
    }
}

impl<E: Element> ConvStep<E> {
    /// Itself in words, and its multiplications.
    fn describe(&self) -> (String, u64) {
        let Window { kernel, stride, .. } = self.window;
        let in_channels = self.in_channels;
        let Extent {
            height,
            width,
            channels,
        } = self.out;
        let (shortcut, of_shortcut) = match &self.added {
            AddedFrom::Nothing => (String::new(), 0),
            AddedFrom::Map(..) | AddedFrom::Wide(_) => (" + shortcut".to_owned(), 0),
            AddedFrom::Projection(projection) => {
                let Window { kernel, stride, .. } = projection.window;
                let what = format!(" + conv {kernel}x{kernel}/{stride} of {}", projection.in_channels);
                (what, projection.describe().1)
            }
        };
        let what = format!(
            "{}conv {kernel}x{kernel}/{stride} {in_channels} -> {channels} at {width}x{height}{}{}",
            match self.weights.form {
                Form::Direct => "",
                Form::Depthwise => "depthwise ",
                Form::Winograd => "winograd ",
            },
            shortcut,
            self.pooling
                .map_or(String::new(), |pooling| format!(" + {}", pooling.describe())),
        );
        let multiplications = match self.weights.form {
            Form::Direct => self.out.values() * in_channels * kernel * kernel,
            Form::Depthwise => self.out.values() * kernel * kernel,
            Form::Winograd => {
                let tiles = height.div_ceil(winograd::TILE) * width.div_ceil(winograd::TILE);
                tiles * winograd::POINTS * in_channels * channels
            }
        };
        (what, multiplications as u64 + of_shortcut)
    }
}

impl Pooling {
    fn of(node: &Node) -> Option<(NodeId, Self)> {
        match node {
            Node::MaxPool { input, window } => Some((
                *input,
                Self {
                    window: *window,
                    pool: Pool::Max,
                },
            )),
            Node::AvgPool { input, window } => Some((
                *input,
                Self {
                    window: *window,
                    pool: Pool::Mean,
                },
            )),
            Node::Image | Node::Conv { .. } => None,
        }
    }

    fn describe(&self) -> String {
        let name = if self.pool == Pool::Max { "max" } else { "average" };
        format!("{name} pool {0}x{0}/{1}", self.window.kernel, self.window.stride)
    }
}

impl<E: Element> Compiled<E> {
    /// The schedule for images of this size, in pixels; `keeps_all`: activations that are only pooled are kept, too.
    ///
    /// # Errors
    /// A sentence, if the image is too small for a window, or too large for memory.
    pub(super) fn schedule(&self, height: usize, width: usize, keeps_all: bool) -> Result<Schedule<E>, String> {
        let extents = extents(&self.network, height, width)?;
        Scheduler {
            compiled: self,
            uses: Uses::of(self),
            extents,
            size: [height, width],
            keeps_all,
            behind: match E::IN_GROUPS {
                true => (POSITIONS - 1) * self.network.strides().max().unwrap_or(0),
                false => 0,
            },
            of_map: BTreeMap::new(),
            of_wide: BTreeMap::new(),
            free: BTreeMap::new(),
            schedule: Schedule {
                steps: Vec::new(),
                nodes: Vec::new(),
                maps: Vec::new(),
                wides: Vec::new(),
                taps: Vec::new(),
            },
        }
        .run()
    }
}

/// Pixels along one side that are looked at: beyond it something is wrong with whoever asks.
const SIDE_MAX: usize = 1 << 14;

fn extents(network: &Network, height: usize, width: usize) -> Result<Vec<Extent>, String> {
    if height > SIDE_MAX || width > SIDE_MAX {
        return Err(format!(
            "an image of {width}x{height} pixels is larger than {SIDE_MAX} on a side"
        ));
    }
    let mut extents: Vec<Extent> = Vec::with_capacity(network.nodes.len());
    for (at, node) in network.nodes.iter().enumerate() {
        let (input, window) = match node {
            Node::Image => {
                extents.push(Extent {
                    height,
                    width,
                    channels: 3,
                });
                continue;
            }
            Node::Conv { input, conv, .. } => (input, conv.window),
            Node::MaxPool { input, window } | Node::AvgPool { input, window } => (input, *window),
        };
        let of = extents[input.0];
        let positions = window.positions(of.height).zip(window.positions(of.width));
        let (height, width) = positions
            .filter(|_| of.height > 0 && of.width > 0)
            .ok_or_else(|| format!("an image of {width}x{height} pixels is too small for the network"))?;
        let channels = network.channels(NodeId(at));
        let extent = Extent {
            height,
            width,
            channels,
        };
        if let Node::Conv { add: Some(add), .. } = node
            && extents[add.0] != extent
        {
            return Err(format!(
                "an image of {width}x{height} pixels leads to maps that cannot be added"
            ));
        }
        extents.push(extent);
    }
    Ok(extents)
}

/// Who reads a node.
struct Uses {
    /// By node: the last that reads its activations, and the border that its readers need.
    maps: Vec<Option<(usize, usize)>>,
    /// By node: how many read its activations.
    readers: Vec<usize>,
    /// By node: the last that adds its sums, which are kept until then.
    wides: Vec<Option<usize>>,
    /// By node: whether its sums are computed where they are added.
    is_projection: Vec<bool>,
}

impl Uses {
    fn of<E: Element>(compiled: &Compiled<E>) -> Self {
        let network = &compiled.network;
        let n_nodes = network.nodes.len();
        let mut uses = Self {
            maps: vec![None; n_nodes],
            readers: vec![0; n_nodes],
            wides: vec![None; n_nodes],
            is_projection: projections(compiled),
        };
        for (at, node) in network.nodes.iter().enumerate() {
            match node {
                Node::Image => {}
                Node::Conv { .. } if uses.is_projection[at] => {}
                Node::Conv { input, conv, add, .. } => {
                    uses.reads(*input, at, conv.window.padding);
                    match add {
                        Some(add) if uses.is_projection[add.0] => {
                            if let Node::Conv { input, conv, .. } = &network.nodes[add.0] {
                                uses.reads(*input, at, conv.window.padding);
                            }
                        }
                        Some(add) if matches!(network.nodes[add.0], Node::Conv { relu: false, .. }) => {
                            uses.wides[add.0] = Some(at);
                        }
                        Some(add) => uses.reads(*add, at, 0),
                        None => {}
                    }
                }
                Node::MaxPool { input, window } | Node::AvgPool { input, window } => {
                    uses.reads(*input, at, window.padding);
                }
            }
        }
        uses
    }

    /// Notes a reader, of those of a node the last.
    fn reads(&mut self, of: NodeId, at: usize, padding: usize) {
        let before = self.maps[of.0].map_or(0, |(_, padding)| padding);
        self.maps[of.0] = Some((at, before.max(padding)));
        self.readers[of.0] += 1;
    }
}

/// By node: whether it is a convolution whose sums one other convolution adds, and nobody else wants, so that they can be computed tile
/// by tile where they are added.
fn projections<E: Element>(compiled: &Compiled<E>) -> Vec<bool> {
    let network = &compiled.network;
    let mut adders = vec![0; network.nodes.len()];
    let mut fits = vec![true; network.nodes.len()];
    let is_direct = |at: usize| {
        let conv = compiled.convs[at].as_ref();
        conv.is_some_and(|conv| conv.form == Form::Direct)
    };
    for (at, node) in network.nodes.iter().enumerate() {
        match node {
            Node::Image => {}
            Node::Conv { input, add, .. } => {
                fits[input.0] = false;
                if let Some(add) = add {
                    adders[add.0] += 1;
                    fits[add.0] &= is_direct(at);
                }
            }
            Node::MaxPool { input, .. } | Node::AvgPool { input, .. } => fits[input.0] = false,
        }
    }
    let is_projection = |(at, node): (usize, &Node)| match node {
        // The bias over raw pixels depends on where they are.
        Node::Conv {
            input,
            add: None,
            relu: false,
            ..
        } => {
            *input != network.image()
                && fits[at]
                && adders[at] == 1
                && is_direct(at)
                && !network.taps.contains(&NodeId(at))
        }
        _ => false,
    };
    network.nodes.iter().enumerate().map(is_projection).collect()
}

/// Puts a schedule together. A map whose readers are done is used again for the next of the same layout: then its border is
/// still zero, and it may still be in the cache.
struct Scheduler<'a, E: Element> {
    compiled: &'a Compiled<E>,
    uses: Uses,
    extents: Vec<Extent>,
    size: [usize; 2],
    keeps_all: bool,
    /// Of every map, the pixels that may be read behind it.
    behind: usize,
    /// By node.
    of_map: BTreeMap<usize, usize>,
    of_wide: BTreeMap<usize, usize>,
    free: BTreeMap<MapLayout, Vec<usize>>,
    schedule: Schedule<E>,
}

impl<E: Element> Scheduler<'_, E> {
    fn run(mut self) -> Result<Schedule<E>, String> {
        for at in 0..self.compiled.network.nodes.len() {
            // What leads to no result is not computed.
            if self.uses.maps[at].is_none() && self.uses.wides[at].is_none() && !self.is_tapped(at) {
                continue;
            }
            // What its convolution has pooled already is no step of its own.
            if !self.of_map.contains_key(&at) {
                let step = self.step(at);
                self.schedule.steps.push(step);
                self.schedule.nodes.push(NodeId(at));
            }
            self.release(at);
        }
        let taps = self.compiled.network.taps.iter();
        self.schedule.taps = taps.map(|tap| self.of_wide[&tap.0]).collect();
        Ok(self.schedule)
    }

    fn is_tapped(&self, node: usize) -> bool {
        self.compiled.network.taps.contains(&NodeId(node))
    }

    fn step(&mut self, at: usize) -> Step<E> {
        let compiled = self.compiled;
        match &compiled.network.nodes[at] {
            Node::Image => Step::Image {
                to: self.map(at),
                width: self.size[1],
                cell: compiled.cell,
            },
            node @ (Node::MaxPool { .. } | Node::AvgPool { .. }) => {
                let (input, pooling) = Pooling::of(node).expect("it pools");
                Step::Pool {
                    from: self.of_map[&input.0],
                    to: self.map(at),
                    pooling,
                }
            }
            Node::Conv { .. } => Step::Conv(Box::new(self.conv(at))),
        }
    }

    fn conv(&mut self, at: usize) -> ConvStep<E> {
        let compiled = self.compiled;
        let Node::Conv { input, conv, add, relu } = &compiled.network.nodes[at] else {
            unreachable!("a convolution");
        };
        let out = self.extents[at];
        let bias = match &compiled.raw_weight {
            Some(weight) if *input == compiled.network.image() => {
                Bias::of_raw_pixels(conv, weight, compiled.network.mean, self.size, [out.height, out.width])
            }
            _ => Bias::uniform(&conv.bias, out.height, out.width),
        };
        let added = add.map_or(AddedFrom::Nothing, |add| match self.of_wide.get(&add.0) {
            _ if self.uses.is_projection[add.0] => AddedFrom::Projection(Box::new(self.conv(add.0))),
            Some(&wide) if self.uses.wides[add.0].is_some() => AddedFrom::Wide(wide),
            _ => AddedFrom::Map(self.of_map[&add.0], compiled.scales[add.0]),
        });
        let is_wide = self.uses.wides[at].is_some() || self.is_tapped(at);
        let pooled = self.pooled(at).filter(|_| !is_wide);
        let kept = pooled.map_or(at, |(pool, _)| pool);
        let map = self.uses.maps[at]
            .is_some()
            .then(|| (self.map(kept), 1.0 / compiled.scales[at]));
        let (stride, padding) = match *input == compiled.network.image() {
            true => (
                conv.window.stride / compiled.cell,
                conv.window.padding.div_ceil(compiled.cell),
            ),
            false => (conv.window.stride, conv.window.padding),
        };
        ConvStep {
            from: self.of_map[&input.0],
            window: conv.window,
            in_channels: conv.in_channels,
            stride,
            padding,
            weights: compiled.convs[at].clone().expect("every convolution is packed"),
            bias,
            added,
            relu: *relu,
            out,
            map,
            pooling: pooled.map(|(_, pooling)| pooling),
            wide: is_wide.then(|| self.wide(at)),
        }
    }

    /// The node that pools the activations of a node, if no other reads them.
    fn pooled(&self, at: usize) -> Option<(usize, Pooling)> {
        // Winograd's rows come four at a time, and strips as they are pooled.
        let is_direct = self.compiled.convs[at].as_ref()?.form != Form::Winograd;
        let (reader, _) = self.uses.maps[at].filter(|_| !self.keeps_all && is_direct && self.uses.readers[at] == 1)?;
        let (_, pooling) = Pooling::of(&self.compiled.network.nodes[reader])?;
        Some((reader, pooling))
    }

    fn map(&mut self, at: usize) -> usize {
        let padding = self.uses.maps[at].map_or(0, |(_, padding)| padding);
        let (extent, cell) = (self.extents[at], if at == 0 { self.compiled.cell } else { 1 });
        let layout = MapLayout {
            extent: Extent {
                height: extent.height.div_ceil(cell),
                width: extent.width.div_ceil(cell),
                channels: extent.channels * cell * cell,
            },
            padding: padding.div_ceil(cell),
            behind: self.behind,
        };
        let free = self.free.get_mut(&layout).and_then(Vec::pop);
        let map = free.unwrap_or_else(|| {
            self.schedule.maps.push(layout);
            self.schedule.maps.len() - 1
        });
        self.of_map.insert(at, map);
        map
    }

    fn wide(&mut self, at: usize) -> usize {
        self.schedule.wides.push(self.extents[at]);
        self.of_wide.insert(at, self.schedule.wides.len() - 1);
        self.schedule.wides.len() - 1
    }

    /// Lets go of the maps whose last reader was `at`.
    fn release(&mut self, at: usize) {
        let maps = &self.uses.maps;
        let done = self
            .of_map
            .iter()
            .filter(|(node, _)| maps[**node].is_some_and(|(last, _)| last == at));
        let done: Vec<(usize, usize)> = done.map(|(node, map)| (*node, *map)).collect();
        for (node, map) in done {
            self.of_map.remove(&node);
            self.free.entry(self.schedule.maps[map]).or_default().push(map);
        }
    }
}
