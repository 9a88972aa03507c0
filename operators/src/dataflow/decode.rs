//! Makes pixels of the bytes of a frame.

use std::sync::Arc;
use std::time::Instant;

use timely::dataflow::StreamVec;
use timely::dataflow::operators::core::OkErr;

use super::{Admitted, Offload, Permit, Resources};
use crate::detector::InputRecipe;
use crate::imaging::{FrameLayout, Image, decode, product_rect};
use crate::postprocess::FrameStamp;
use crate::{Frame, RectPx};

/// A frame with its pixels, as the stages after [`Decode`] share it.
#[derive(Debug)]
pub struct DecodedFrame {
    /// The frame as received.
    pub frame: Frame,
    /// Position among the frames of its camera and setup that were let in.
    pub ordinal: u64,
    /// Which of the camera's detectors looks at it.
    pub setup: u32,
    /// Its pixels. Whoever draws them later shares them, and holds no permit with them.
    pub image: Arc<Image>,
    /// Where its tiles and the pixels of its anomaly map lie.
    pub layout: FrameLayout,
    /// The part of the frame that shows the product.
    pub product_px: RectPx,
    /// When it came in; for latencies only.
    pub admitted_at: Instant,
    /// Returned when the last stage drops the frame.
    pub permit: Arc<Permit>,
}

/// A frame that cannot be judged.
#[derive(Clone, Debug)]
pub struct UnreadableFrame {
    /// Which frame.
    pub frame: FrameStamp,
    /// Position among the frames of its camera and setup that were let in.
    pub ordinal: u64,
    /// Which of the camera's detectors was to look at it.
    pub setup: u32,
    /// What was wrong.
    pub reason: String,
    /// When it came in; for latencies only.
    pub admitted_at: Instant,
}

/// Decodes frames.
pub trait Decode<'scope>: Sized {
    /// Splits frames into those with pixels and those without, each at its own time. `input_of` gives the recipe of a camera and setup.
    fn decode(
        self,
        resources: &Resources,
        input_of: impl Fn(&str, u32) -> Arc<InputRecipe> + Send + Sync + 'static,
    ) -> (
        StreamVec<'scope, u64, Arc<DecodedFrame>>,
        StreamVec<'scope, u64, UnreadableFrame>,
    );
}

impl<'scope> Decode<'scope> for StreamVec<'scope, u64, Admitted> {
    fn decode(
        self,
        resources: &Resources,
        input_of: impl Fn(&str, u32) -> Arc<InputRecipe> + Send + Sync + 'static,
    ) -> (
        StreamVec<'scope, u64, Arc<DecodedFrame>>,
        StreamVec<'scope, u64, UnreadableFrame>,
    ) {
        let unreadable = |admitted: &Admitted, reason: String| UnreadableFrame {
            frame: (&admitted.frame).into(),
            ordinal: admitted.ordinal,
            setup: admitted.setup,
            reason,
            admitted_at: admitted.admitted_at,
        };
        let latencies = resources.latencies.clone();
        let decode = move |admitted: &Admitted| {
            let camera = &admitted.frame.camera;
            latencies
                .timed("decode", camera, || {
                    decode_frame(admitted, &input_of(camera, admitted.setup))
                })
                .map(Arc::new)
                .map_err(|reason| unreadable(admitted, reason))
        };
        let on_panic = move |admitted: &Admitted, message: String| {
            Err(unreadable(admitted, format!("the decoder panicked: {message}")))
        };
        self.offload("decode", resources, decode, on_panic)
            .ok_err(|result| result)
    }
}

fn decode_frame(admitted: &Admitted, input: &InputRecipe) -> Result<DecodedFrame, String> {
    let frame = &admitted.frame;
    let bytes = frame.bytes.as_ref().map_err(|reason| reason.to_string())?;
    let image = decode(bytes, input.sixteen_bit_max).map_err(|error| error.to_string())?;
    let layout = FrameLayout::new(input, image.width_px, image.height_px)?;
    let whole = RectPx {
        x: 0,
        y: 0,
        width: image.width_px,
        height: image.height_px,
    };
    let product_px = if input.exclude_dark_margin {
        product_rect(&image)
    } else {
        whole
    };
    let (frame, admitted_at, permit) = (frame.clone(), admitted.admitted_at, admitted.permit.clone());
    Ok(DecodedFrame {
        frame,
        ordinal: admitted.ordinal,
        setup: admitted.setup,
        image: Arc::new(image),
        layout,
        product_px,
        admitted_at,
        permit,
    })
}
