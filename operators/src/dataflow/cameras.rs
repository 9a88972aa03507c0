//! Lets the frames of many cameras into the dataflow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::{ProbeHandle, Scope, StreamVec};

use super::mailbox::Post;
use super::{Credit, HOP_US, Inbox, Permit, Waker};
use crate::Frame;

/// How often a closing source looks whether the last hop is through.
const CLOSING_POLL: Duration = Duration::from_millis(1);

/// A frame that was let in, with the permit that bounds how many are alive and the moment it came in.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The frame.
    pub frame: Frame,
    /// Position among the frames of its camera that were let in, counted from 0 without gaps.
    pub ordinal: u64,
    /// Given back when the last stage lets go of the frame.
    pub permit: Arc<Permit>,
    /// For latencies only: it never reaches a verdict.
    pub admitted_at: Instant,
}

struct Camera {
    inbox: Inbox,
    credit: Arc<Credit>,
    newest_us: Option<u64>,
    admitted: u64,
    ended: bool,
}

/// Emits the frames of this worker's cameras, each at its own `captured_at_us`, round robin, at most `credit_max` alive per
/// camera. A camera's frames come in order of capture; the frontier is the least of the cameras' newest frames, so nothing
/// is late. At the end the frontier stops at the end of the last hop until `closed` has seen it, because an empty frontier
/// would not tell the rates that the hop is over.
///
/// `credit_max` is at least 2: a stage that waits for the frontier holds one frame until the next has come in.
pub fn cameras<'scope>(
    scope: Scope<'scope, u64>,
    inboxes: Vec<Inbox>,
    credit_max: usize,
    closed: ProbeHandle<u64>,
) -> StreamVec<'scope, u64, Admitted> {
    assert!(credit_max >= 2, "a camera needs at least two frames in flight");
    source::<_, CapacityContainerBuilder<Vec<Admitted>>, _, _>(scope, "Cameras", move |capability, info| {
        let activator = scope.activator_for(info.address.clone());
        let waker = Waker::new(scope.worker().sync_activator_for(info.address.to_vec()));
        let mut cameras: Vec<Camera> = inboxes
            .into_iter()
            .map(|inbox| {
                inbox.attach(&waker);
                Camera {
                    inbox,
                    credit: Arc::default(),
                    newest_us: None,
                    admitted: 0,
                    ended: false,
                }
            })
            .collect();
        let mut capability = Some(capability);
        move |output| {
            waker.disarm();
            let Some(held) = capability.as_mut() else { return };
            let mut progressed = true;
            while progressed {
                progressed = false;
                for camera in cameras.iter_mut().filter(|camera| !camera.ended) {
                    if camera.credit.out() >= credit_max {
                        continue; // the permit that comes back wakes us
                    }
                    match camera.inbox.take() {
                        Post::Frame(frame) => {
                            progressed = true;
                            let time = admit(camera, &frame, held);
                            let ordinal = camera.admitted;
                            camera.admitted += 1;
                            let permit = Arc::new(camera.credit.take(&waker));
                            let admitted_at = Instant::now();
                            output.session(&held.delayed(&time)).give(Admitted {
                                frame,
                                ordinal,
                                permit,
                                admitted_at,
                            });
                        }
                        Post::Nothing => {}
                        Post::Ended => camera.ended = true,
                    }
                }
            }
            let newest_us = cameras.iter().filter_map(|camera| camera.newest_us).max().unwrap_or(0);
            match cameras
                .iter()
                .filter(|camera| !camera.ended)
                .map(|camera| camera.newest_us.unwrap_or(0))
                .min()
            {
                Some(least_us) => held.downgrade(&least_us.max(*held.time())),
                None => {
                    let end = newest_us / HOP_US * HOP_US + HOP_US;
                    held.downgrade(&end.max(*held.time()));
                    if cameras.is_empty() || !closed.less_than(&end) {
                        capability = None;
                    } else {
                        activator.activate_after(CLOSING_POLL);
                    }
                }
            }
        }
    })
}

/// The time a frame enters at: its own, unless that is not behind the camera's last one and the frontier. Times of a camera
/// are distinct, or a stage that waits for the frontier to pass a frame would wait for frames that its own credits keep out.
fn admit(camera: &mut Camera, frame: &Frame, held: &Capability<u64>) -> u64 {
    assert_eq!(frame.camera, camera.inbox.camera, "a mailbox carries one camera");
    let after_last = camera.newest_us.map_or(0, |newest_us| newest_us + 1);
    let time = frame.captured_at_us.max(after_last).max(*held.time());
    camera.newest_us = Some(time);
    time
}
