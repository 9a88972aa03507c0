//! How records go from one process to another.

use serde::de::{Error as _, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

/// A record that may go to a worker of another process. Timely's own encoding (bincode) says nothing about itself, so it cannot
/// read back what serde flattens or tags, as verdicts and rates do for the sake of their JSON. Inside a process records move
/// as they are, and this costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wire<T>(pub T);

impl<T: Serialize> Serialize for Wire<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = rmp_serde::to_vec_named(&self.0).map_err(S::Error::custom)?;
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Wire<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Encoded<T>(std::marker::PhantomData<T>);
        impl<T: DeserializeOwned> Visitor<'_> for Encoded<T> {
            type Value = Wire<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an encoded record")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                rmp_serde::from_slice(bytes).map(Wire).map_err(E::custom)
            }
        }
        deserializer
            .deserialize_bytes(Encoded(std::marker::PhantomData))
            .map_err(|error| D::Error::custom(format!("another process sent what cannot be read: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use timely::Bincode;
    use timely::bytes::arc::BytesMut;
    use timely::communication::Bytesable;

    use super::*;
    use crate::dataflow::{RateKey, Scope, Window};
    use crate::{Decision, Outcome, RectPx, Region, SuppressedRegion, SuppressionReason, Verdict};

    fn sent<T: Serialize + DeserializeOwned + Send + std::any::Any>(record: T) -> T {
        let message = Bincode::from(Wire(record));
        let mut bytes = Vec::new();
        message.into_bytes(&mut bytes);
        assert_eq!(bytes.len(), message.length_in_bytes());
        let received = Bincode::<Wire<T>>::from_bytes(BytesMut::from(bytes).freeze());
        received.payload.0
    }

    #[test]
    fn verdicts_and_rate_keys_arrive_as_they_were_sent() {
        let region = Region {
            bbox_px: RectPx {
                x: 1,
                y: 2,
                width: 3,
                height: 4,
            },
            area_px: 5,
            peak: 0.1 + 0.2,
            mean: f64::MIN_POSITIVE,
            centroid_px: [0.5, f64::MAX],
        };
        let suppressed = SuppressedRegion {
            region: region.clone(),
            reason: SuppressionReason::Border,
        };
        let reason = "torn".to_owned();
        for decision in [Decision::Pass, Decision::Reject, Decision::Unreadable { reason }] {
            let outcome = Outcome::Judged(Arc::new(Verdict {
                camera: "left".into(),
                seq: u64::MAX,
                captured_at_us: 7,
                origin: "".into(),
                detector: "0123456789ab".into(),
                decision,
                image_score: f64::INFINITY,
                threshold: 1e-300,
                calibrated_score: 0.25,
                regions: vec![region.clone()],
                suppressed: vec![suppressed.clone()],
            }));
            assert_eq!(sent(outcome.clone()), outcome);
        }
        for scope in [Scope::Camera("left".into()), Scope::Line("a".into()), Scope::All] {
            for window in [
                Window::Sliding { length_us: 60 },
                Window::Shift,
                Window::Lot { lot: "b".into() },
            ] {
                let scope = scope.clone();
                let key = (RateKey { scope, window }, Some((1_u64, 2_u64)));
                assert_eq!(sent(key.clone()), key);
            }
        }
    }
}
