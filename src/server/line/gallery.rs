//! Small pictures of the line as those who look at it are told them, each encoded once.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use intakt_pipelines::pictures::{AboutPicture, NewestPictures};

use super::super::wire::line::{CameraPicture, LineEvent, WhichPicture};

/// A picture of a camera.
pub(super) struct Hung {
    /// From 1 on; a camera's are numbered in the order in which they were drawn.
    pub(super) number: u64,
    about: AboutPicture,
    /// What is told of it.
    pub(super) json: Arc<str>,
}

/// The newest pictures of each camera.
#[derive(Default)]
pub(super) struct Gallery {
    hung: BTreeMap<(Arc<str>, WhichPicture), Arc<Hung>>,
    numbered: u64,
}

impl Gallery {
    /// Hangs those of a camera that are not there yet; `jpeg` gives a picture's file, if it can.
    pub(super) fn hang(
        &mut self,
        camera: &Arc<str>,
        newest: NewestPictures,
        jpeg: impl Fn(AboutPicture) -> Option<Arc<[u8]>>,
    ) {
        // What was rejected is as old as the newest, or older.
        let wanted = [
            (WhichPicture::Rejected, newest.rejected),
            (WhichPicture::Newest, newest.newest),
        ];
        for (which, about) in wanted {
            let Some(about) = about else { continue };
            let of = |which| {
                self.hung
                    .get(&(camera.clone(), which))
                    .filter(|hung| hung.about == about)
            };
            // The newest may be the one that was rejected, too.
            let known = of(which).or_else(|| of(WhichPicture::Rejected)).cloned();
            let hung = known.or_else(|| {
                let jpeg = jpeg(about)?;
                self.numbered += 1;
                Some(Arc::new(Hung {
                    number: self.numbered,
                    about,
                    json: json(camera, about, &jpeg),
                }))
            });
            if let Some(hung) = hung {
                self.hung.insert((camera.clone(), which), hung);
            }
        }
    }

    /// All of them, each once, by number.
    pub(super) fn pictures(&self) -> Vec<Arc<Hung>> {
        let mut all: Vec<_> = self.hung.values().cloned().collect();
        all.sort_by_key(|hung| hung.number);
        all.dedup_by_key(|hung| hung.number);
        all
    }
}

fn json(camera: &Arc<str>, about: AboutPicture, jpeg: &[u8]) -> Arc<str> {
    let picture = CameraPicture {
        camera: camera.clone(),
        picture: about.into(),
        jpeg: STANDARD.encode(jpeg),
    };
    let json = serde_json::to_string(&LineEvent::Picture(&picture));
    json.expect("what is said of a picture is JSON").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(seq: u64, is_rejected: bool) -> AboutPicture {
        AboutPicture {
            seq,
            is_rejected,
            drawn_at_us: 1_000 * seq,
        }
    }

    /// What is there, by number and frame.
    fn hung(gallery: &Gallery) -> Vec<(u64, String, u64)> {
        let read = |hung: Arc<Hung>| {
            let json: serde_json::Value = serde_json::from_str(&hung.json).unwrap();
            let seq = json["seq"].as_u64().unwrap();
            (hung.number, json["camera"].as_str().unwrap().to_owned(), seq)
        };
        gallery.pictures().into_iter().map(read).collect()
    }

    #[test]
    fn each_picture_is_encoded_once_and_in_its_order() {
        let mut gallery = Gallery::default();
        let [dock, quay] = ["dock", "quay"].map(Arc::<str>::from);
        let asked = std::cell::RefCell::new(Vec::new());
        let mut hang = |camera: &Arc<str>, newest, rejected| {
            gallery.hang(camera, NewestPictures { newest, rejected }, |about| {
                asked.borrow_mut().push(about.seq);
                Some(b"a picture".as_slice().into())
            });
            hung(&gallery)
        };
        let dock_of = |number, seq| (number, "dock".to_owned(), seq);
        assert_eq!(hang(&dock, None, None), []);
        // Nobody was told of either: what was rejected comes first.
        assert_eq!(
            hang(&dock, Some(about(5, false)), Some(about(3, true))),
            [dock_of(1, 3), dock_of(2, 5)]
        );
        assert_eq!(hang(&quay, Some(about(9, false)), None)[2], (3, "quay".to_owned(), 9));
        // One that was rejected is both, and stays when the next one passes.
        assert_eq!(
            hang(&dock, Some(about(6, true)), Some(about(6, true)))[1],
            dock_of(4, 6)
        );
        assert_eq!(
            hang(&dock, Some(about(7, false)), Some(about(6, true))),
            [(3, "quay".to_owned(), 9), dock_of(4, 6), dock_of(5, 7)]
        );
        assert_eq!(*asked.borrow(), [3, 5, 9, 6, 7]);
    }

    #[test]
    fn what_cannot_be_read_leaves_what_was_there() {
        let mut gallery = Gallery::default();
        let dock: Arc<str> = "dock".into();
        let newest = |seq| NewestPictures {
            newest: Some(about(seq, false)),
            rejected: None,
        };
        gallery.hang(&dock, newest(1), |_| Some(b"a picture".as_slice().into()));
        gallery.hang(&dock, newest(2), |_| None);
        assert_eq!(hung(&gallery), [(1, "dock".to_owned(), 1)]);
        gallery.hang(&dock, newest(2), |_| Some(b"a picture".as_slice().into()));
        assert_eq!(hung(&gallery), [(2, "dock".to_owned(), 2)]);
    }
}
