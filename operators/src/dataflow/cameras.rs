//! Lets the frames of many cameras into the dataflow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{ProbeHandle, Scope, StreamVec};

use super::mailbox::Post;
use super::{
    Abreast, ClockOff, Control, ControlQueue, Controlled, Credit, HOP_US, Inbox, Ledger, Patience, Permit, Waker,
    Watermark,
};
use crate::{DroppedFrame, Frame, Stamp};

/// How often a worker that waits for no camera looks how far time has gone on, and how often one at least says where it is.
const IDLE_POLL: Duration = Duration::from_millis(500);

/// How often a closing source looks whether the last hop is through.
const CLOSING_POLL: Duration = Duration::from_millis(1);

/// How often a worker that waits for no camera looks where the others are.
const FOLLOWING_POLL: Duration = Duration::from_millis(50);

/// How long a camera's clock has to be right before it is told again that it is off: one that is off by just the limit is right and
/// wrong by turns.
const CLOCK_TOLD_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// A frame that was let in, with the permit that bounds how many are alive and the moment it came in.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The frame.
    pub frame: Frame,
    /// When it enters, and what that says of the frames after it.
    pub stamp: Stamp,
    /// Position among the frames of its camera and setup that were let in, counted from 0 without gaps.
    pub ordinal: u64,
    /// Given back when the last stage lets go of the frame.
    pub permit: Arc<Permit>,
    /// Which of the camera's detectors looks at it: 0 is the first.
    pub setup: u32,
    /// For latencies only: it never reaches a verdict.
    pub admitted_at: Instant,
}

/// Something that enters the dataflow.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A frame that was let in.
    Frame(&'a Admitted),
    /// A frame that was dropped before.
    Dropped(&'a DroppedFrame, Stamp),
    /// Something that was said, and the time at which it was.
    Control(&'a Controlled, u64),
}

/// What is told of every entry, in the order in which they were stamped: an entry's time depends on those before it.
pub type OnEntry = Box<dyn FnMut(Entry<'_>)>;

/// A camera as the dataflow sees it.
pub struct CameraInput {
    /// Where its frames come from.
    pub inbox: Inbox,
    /// What is said about it.
    pub controls: ControlQueue,
    /// Most of its frames alive at once.
    pub credit_max: usize,
    /// When its frames are late.
    pub patience: Patience,
    /// Is told once that its clock is off, and how its frames count.
    pub on_clock_off: OnClockOff,
}

/// Is told that a camera's clock is off.
pub type OnClockOff = Box<dyn Fn(ClockOff)>;

/// What cameras deliver.
pub struct Cameras<'scope> {
    /// The frames that were let in.
    pub frames: StreamVec<'scope, u64, Admitted>,
    /// The frames that were dropped before.
    pub dropped: StreamVec<'scope, u64, (DroppedFrame, Stamp)>,
    /// What was said about the cameras.
    pub controls: StreamVec<'scope, u64, Controlled>,
    /// The frames and drops again, for whoever accounts for them.
    pub ledger: Ledger,
}

struct Camera {
    inbox: Inbox,
    controls: ControlQueue,
    controlled: u64,
    setup: u32,
    credit_max: usize,
    credit: Arc<Credit>,
    admitted: u64,
    state: State,
    on_clock_off: OnClockOff,
    /// When its clock was off last.
    clock_off_at: Option<Instant>,
}

impl Camera {
    fn tell(&mut self, off: Option<ClockOff>, now: Instant) {
        let Some(off) = off else { return };
        let lately = |at: Instant| now.saturating_duration_since(at) < CLOCK_TOLD_AGAIN_AFTER;
        if !self.clock_off_at.replace(now).is_some_and(lately) {
            (self.on_clock_off)(off);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    NothingWaits,
    FrameWaits,
    Ended,
}

/// Emits the frames of this worker's cameras, round robin, at most `credit_max` alive per camera, each at the time that the
/// [`Watermark`] gives it; the frontier is the watermark's too. Times are event times, so results depend on frames and not
/// on when they happened to arrive, save that a live camera which was silent for too long is late.
///
/// Nothing enters before `from_us`, where a run goes on. `abreast` says where the other workers are, and is told where this one
/// is: one whose cameras are all silent goes along with the others. `on_entry` is how a recorder looks on. At the end the frontier stops at the end of the last hop until `closed` has seen it, because an empty frontier would not
/// tell the rates that the hop is over.
pub fn cameras<'scope>(
    scope: Scope<'scope, u64>,
    inputs: Vec<CameraInput>,
    from_us: u64,
    closed: ProbeHandle<u64>,
    abreast: Abreast,
    mut on_entry: Option<OnEntry>,
) -> Cameras<'scope> {
    let mut builder = OperatorBuilder::new("Cameras".to_owned(), scope);
    let info = builder.operator_info();
    let (frames_output, frames) = builder.new_output();
    let (dropped_output, dropped) = builder.new_output();
    let (controls_output, controls) = builder.new_output();
    type Output<D> = OutputBuilder<u64, CapacityContainerBuilder<Vec<D>>>;
    let mut frames_output: Output<Admitted> = OutputBuilder::from(frames_output);
    let mut dropped_output: Output<(DroppedFrame, Stamp)> = OutputBuilder::from(dropped_output);
    let mut controls_output: Output<Controlled> = OutputBuilder::from(controls_output);
    let activator = scope.activator_for(info.address.clone());
    let worker = scope.index();
    let ledger = Ledger::default();
    let entries = ledger.entries();
    let waker = Waker::new(scope.worker().sync_activator_for(info.address.to_vec()));
    builder.build(move |capabilities| {
        let mut gate = Gate::new(inputs, from_us, &waker, Instant::now());
        let mut capabilities = capabilities;
        let mut timer: Option<Instant> = None;
        move |_| {
            waker.disarm();
            let [for_frames, for_dropped, for_controls] = capabilities.as_mut_slice() else {
                return;
            };
            let now = Instant::now();
            let others = abreast.others(worker);
            let alone = others.is_empty();
            gate.watermark.hear(others);
            let (mut frames, mut drops) = (frames_output.activate(), dropped_output.activate());
            let mut controls = controls_output.activate();
            gate.let_in(now, &waker, |entered| {
                if let Some(on_entry) = on_entry.as_mut() {
                    on_entry(entered.as_entry());
                }
                match entered {
                    Entered::Frame(admitted) => {
                        entries.note(&admitted.frame.camera, admitted.stamp.time_us);
                        let at = for_frames.delayed(&admitted.stamp.time_us);
                        frames.session(&at).give(admitted);
                    }
                    Entered::Dropped(dropped, stamp) => {
                        entries.note(&dropped.camera, stamp.time_us);
                        drops
                            .session(&for_dropped.delayed(&stamp.time_us))
                            .give((dropped, stamp));
                    }
                    Entered::Control(controlled, time_us) => {
                        controls.session(&for_controls.delayed(&time_us)).give(controlled);
                    }
                }
            });
            if gate.watermark.all_ended() {
                abreast.tell(worker, gate.watermark.position(now));
                let end = gate.watermark.close(HOP_US);
                downgrade(for_frames, end);
                downgrade(for_dropped, end);
                downgrade(for_controls, end);
                if gate.cameras.is_empty() || !closed.less_than(&end) {
                    capabilities.clear();
                } else {
                    activator.activate_after(CLOSING_POLL);
                }
                return;
            }
            let n_waited_for = gate.watermark.n_waited_for();
            let reached = gate.advance(now);
            if gate.watermark.n_waited_for() < n_waited_for {
                // A file may have waited for a camera that is now known to be silent.
                activator.activate();
            }
            downgrade(for_frames, reached);
            downgrade(for_dropped, reached);
            // Hop by hop: whoever hears controls counts hops, and need not be woken by every frame.
            downgrade(for_controls, reached / HOP_US * HOP_US);
            let position = gate.watermark.position(now);
            abreast.tell(worker, position);
            if timer.is_none_or(|timer| timer <= now) {
                // A moment later, so that the silence is over when it is looked at.
                let silence = gate.watermark.next_silence().map(|due| due + CLOSING_POLL);
                let due = match (position.waited_for, alone) {
                    (_, true) => silence.unwrap_or(now + IDLE_POLL),
                    (true, false) => silence.unwrap_or(now + IDLE_POLL).min(now + IDLE_POLL),
                    (false, false) => now + FOLLOWING_POLL,
                };
                timer = Some(due);
                activator.activate_after(due.saturating_duration_since(now));
            }
        }
    });
    Cameras {
        frames,
        dropped,
        controls,
        ledger,
    }
}

fn downgrade(capability: &mut Capability<u64>, time: u64) {
    capability.downgrade(&time.max(*capability.time()));
}

/// An [`Entry`] on its way.
enum Entered {
    Frame(Admitted),
    Dropped(DroppedFrame, Stamp),
    Control(Controlled, u64),
}

impl Entered {
    fn as_entry(&self) -> Entry<'_> {
        match self {
            Self::Frame(admitted) => Entry::Frame(admitted),
            Self::Dropped(dropped, stamp) => Entry::Dropped(dropped, *stamp),
            Self::Control(controlled, time_us) => Entry::Control(controlled, *time_us),
        }
    }
}

/// The cameras of one worker and their clock.
struct Gate {
    from_us: u64,
    cameras: Vec<Camera>,
    watermark: Watermark,
}

impl Gate {
    fn new(inputs: Vec<CameraInput>, from_us: u64, waker: &Arc<Waker>, now: Instant) -> Self {
        let watermark = Watermark::new(inputs.iter().map(|input| input.patience), from_us, now);
        let camera = |input: CameraInput| {
            input.inbox.attach(waker);
            input.controls.attach(waker);
            Camera {
                inbox: input.inbox,
                controls: input.controls,
                controlled: 0,
                setup: 0,
                credit_max: input.credit_max.max(1),
                credit: Arc::default(),
                admitted: 0,
                state: State::NothingWaits,
                on_clock_off: input.on_clock_off,
                clock_off_at: None,
            }
        };
        Self {
            from_us,
            cameras: inputs.into_iter().map(camera).collect(),
            watermark,
        }
    }

    /// Lets in what may come in, until nothing more may.
    fn let_in(&mut self, now: Instant, waker: &Arc<Waker>, mut enter: impl FnMut(Entered)) {
        let mut progressed = true;
        while progressed {
            (0..self.cameras.len()).for_each(|idx| self.look(idx, now, &mut enter));
            progressed = false;
            for idx in 0..self.cameras.len() {
                if let Some(admitted) = self.next(idx, now, waker) {
                    progressed = true;
                    enter(Entered::Frame(admitted));
                }
            }
        }
    }

    /// Takes the drops out of a mailbox, looks what waits in it, and takes in what was said before that.
    fn look(&mut self, idx: usize, now: Instant, enter: &mut impl FnMut(Entered)) {
        if self.cameras[idx].state == State::Ended {
            self.hear(idx, None, enter);
            return;
        }
        let (all_dropped, post) = self.cameras[idx].inbox.look();
        for (dropped, recorded) in all_dropped {
            let captured_at_us = recorded.map_or(dropped.captured_at_us, |recorded| recorded.time_us);
            enter(Entered::Dropped(
                dropped,
                self.watermark.stamp_dropped(idx, captured_at_us, now),
            ));
        }
        let (state, next_seq) = match post {
            Post::Frame { time_us, seq } => {
                self.watermark.offer(idx, time_us);
                (State::FrameWaits, Some(seq))
            }
            Post::Nothing => (State::NothingWaits, None),
            Post::Ended => {
                self.watermark.end(idx);
                (State::Ended, None)
            }
        };
        self.cameras[idx].state = state;
        self.hear(idx, next_seq, enter);
    }

    /// Takes in what was said before frame `next_seq` is let in.
    fn hear(&mut self, idx: usize, next_seq: Option<u64>, enter: &mut impl FnMut(Entered)) {
        let camera = &mut self.cameras[idx];
        while let Some((control, place)) = camera.controls.take(next_seq, camera.state == State::Ended) {
            if let Control::Setup(setup) = &control {
                camera.setup = *setup;
                camera.admitted = 0;
            }
            if place.is_some_and(|place| place.time_us < self.from_us) {
                // It was told before the run was interrupted.
                continue;
            }
            let controlled = Controlled {
                camera: camera.inbox.camera.clone(),
                ordinal: camera.controlled,
                control,
            };
            camera.controlled += 1;
            let time_us = self.watermark.stamp_control(idx, place.map(|place| place.time_us));
            enter(Entered::Control(controlled, time_us));
        }
    }

    /// The camera's next frame, where it has one and may let it in.
    fn next(&mut self, idx: usize, now: Instant, waker: &Arc<Waker>) -> Option<Admitted> {
        let camera = &mut self.cameras[idx];
        // A permit that comes back wakes us.
        let may_enter = camera.state == State::FrameWaits
            && camera.credit.out() < camera.credit_max
            && self.watermark.may_enter(idx);
        let frame = may_enter.then(|| camera.inbox.take()).flatten()?;
        assert_eq!(frame.camera, camera.inbox.camera, "a mailbox carries one camera");
        camera.state = State::NothingWaits;
        let stamp = match frame.recorded {
            Some(recorded) => self.watermark.repeat(idx, recorded, now),
            None => {
                camera.tell(self.watermark.clock_off(idx, frame.captured_at_us, now), now);
                self.watermark.stamp(idx, frame.captured_at_us, now)
            }
        };
        let ordinal = camera.admitted;
        camera.admitted += 1;
        if ordinal == 0 && camera.setup > 0 {
            camera.controls.begins(camera.setup, frame.seq);
        }
        Some(Admitted {
            frame,
            stamp,
            ordinal,
            permit: Arc::new(camera.credit.take(waker)),
            setup: camera.setup,
            admitted_at: now,
        })
    }

    fn advance(&mut self, now: Instant) -> u64 {
        let cameras = &self.cameras;
        self.watermark
            .advance(now, |idx| cameras[idx].state == State::FrameWaits)
    }
}
