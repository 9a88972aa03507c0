//! The pictures that it kept.

use intakt_operators::detector::TrainingImage;
use intakt_operators::imaging::{Image, decode};
use intakt_operators::{Decision, RectPx};
use intakt_pipelines::pictures::{AboutPicture, Closer, KeptPicture, NearestPatch, Pictures, TrainingPicture};
use intakt_pipelines::png::encode_png;
use serde_json::json;

use super::super::{ask, page};
use super::{Ended, verdict};

/// Pictures of frame `seq` of camera "dock".
fn picture(seq: u64, is_rejected: bool) -> KeptPicture {
    let image = Image::new(900, 600, vec![seq as u8; 900 * 600 * 3]);
    KeptPicture {
        frame_px: [900, 600],
        frame_jpeg: b"a frame".to_vec(),
        heatmap_jpeg: encode_png(&image).unwrap(),
        closer: None,
        nearest: Vec::new(),
        about: AboutPicture {
            seq,
            is_rejected,
            drawn_at_us: 1_000 + seq,
        },
    }
}

#[test]
fn the_line_of_a_run_that_has_ended_shows_its_last_minutes_and_pictures() {
    let mut run = Ended::start();
    run.add(400);
    let newest = "/api/v1/cameras/dock/picture?which=newest";
    assert_eq!(run.get(newest).status, 404, "nothing was kept");
    let mut pictures = Pictures::open(&run.directory.path().join("pictures.sqlite")).unwrap();
    pictures.keep("dock", &picture(7, true)).unwrap();
    pictures.keep("dock", &picture(9, false)).unwrap();
    let line = page::events(run.address)
        .find(|line| !line["cameras"][0]["picture"].is_null())
        .unwrap();
    let camera = &line["cameras"][0];
    assert_eq!(
        (&camera["picture"], &camera["rejected_picture"]),
        (
            &json!({"seq": 9, "is_rejected": false, "drawn_at_us": 1_009}),
            &json!({"seq": 7, "is_rejected": true, "drawn_at_us": 1_007})
        )
    );
    // What was rejected is told first, and small.
    let told: Vec<_> = page::pictures(run.address).take(2).collect();
    assert_eq!((&told[0]["seq"], &told[1]["seq"]), (&json!(7), &json!(9)));
    let small = decode(&page::file_of(&told[1]), u16::MAX).unwrap();
    assert_eq!([small.width_px, small.height_px], [400, 266]);
    // A frame a second: the last bar holds seconds 395 to 399, the first 100 to 104.
    let rejects = camera["rejects"].as_array().unwrap();
    let of = |seqs: std::ops::Range<u64>| {
        let n = seqs.end - seqs.start;
        let rejected = seqs.filter(|seq| verdict(*seq).decision == Decision::Reject).count();
        json!(rejected as f64 / n as f64)
    };
    assert_eq!((&rejects[59], &rejects[0]), (&of(395..400), &of(100..105)));
    assert_eq!(camera["reject_rate"], of(100..400));
    assert_eq!(run.get(newest).status, 200);
    let listed = run.json("/api/v1/verdicts?limit=500");
    let pictured = listed["verdicts"].as_array().unwrap().iter();
    let pictured = pictured.filter(|verdict| verdict["has_picture"] == json!(true));
    assert_eq!(
        pictured.map(|verdict| verdict["seq"].clone()).collect::<Vec<_>>(),
        [9, 7]
    );
    for (query, status) in [("?format=png", 200), ("?format=jpeg", 200), ("?format=gif", 400)] {
        let reply = run.get(&format!("/api/v1/cameras/dock/frames/7/heatmap{query}"));
        assert_eq!(reply.status, status, "{query}");
        let is_png = query == "?format=png";
        assert_eq!(
            reply.head.contains("content-type: image/png"),
            is_png,
            "{query}: {reply:?}"
        );
    }
    // Not even a damaged one is looked at by whoever has it.
    let path = "/api/v1/cameras/dock/frames/7/image?format=png";
    let known = ask(run.address, "GET", path, "if-none-match: \"image-png-7-1007\"\r\n", b"");
    assert_eq!(known.status, 304, "{known:?}");
    let damaged = run.get(path);
    assert_eq!(damaged.status, 500, "{damaged:?}");
    run.server.finish();
}

fn rect([x, y, width, height]: [u32; 4]) -> RectPx {
    RectPx { x, y, width, height }
}

fn nearest(region: Option<u32>, jpeg: &[u8]) -> NearestPatch {
    NearestPatch {
        region,
        rect_px: rect([1, 2, 3, 4]),
        distance: 1.5,
        training: TrainingPicture {
            detector: "0123456789ab".to_owned(),
            image: TrainingImage {
                name: format!("good/{}.png", jpeg.len()),
                width_px: 640,
                height_px: 480,
                jpeg: jpeg.to_vec(),
            },
        },
        training_rect_px: rect([5, 6, 7, 8]),
    }
}

#[test]
fn kept_pictures_of_frames_are_shown() {
    let ended = Ended::start();
    let path = |what: &str| format!("/api/v1/cameras/dock/frames/7{what}");
    for what in ["", "/image", "/heatmap", "/closer"] {
        assert_eq!(ended.get(&path(what)).status, 404, "nothing was kept");
    }
    let mut pictures = Pictures::open(&ended.directory.path().join("pictures.sqlite")).unwrap();
    let picture = KeptPicture {
        heatmap_jpeg: b"a heatmap".to_vec(),
        closer: Some(Closer {
            rect_px: rect([11, 12, 13, 14]),
            jpeg: b"a closer look".to_vec(),
        }),
        nearest: vec![nearest(Some(0), b"a training image"), nearest(None, b"")],
        ..picture(7, true)
    };
    pictures.keep("dock", &picture).unwrap();
    pictures.keep("dock", &self::picture(6, true)).unwrap();
    let nearest = |region: Option<u32>, name: &str, has_picture: bool| {
        json!({"region": region, "rect_px": {"x": 1, "y": 2, "width": 3, "height": 4}, "distance": 1.5,
            "image": name, "image_width_px": 640, "image_height_px": 480,
            "image_rect_px": {"x": 5, "y": 6, "width": 7, "height": 8}, "has_picture": has_picture})
    };
    assert_eq!(
        ended.json(&path("")),
        json!({"camera": "dock", "seq": 7, "width_px": 900, "height_px": 600,
            "closer_px": {"x": 11, "y": 12, "width": 13, "height": 14},
            "nearest": [nearest(Some(0), "good/16.png", true), nearest(None, "good/0.png", false)]})
    );
    for (what, body) in [
        ("/image", "a frame"),
        ("/heatmap", "a heatmap"),
        ("/closer", "a closer look"),
        ("/nearest/0", "a training image"),
    ] {
        let reply = ended.get(&path(what));
        assert_eq!((reply.status, reply.body.as_str()), (200, body));
        let tag = reply.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
        let again = ask(
            ended.address,
            "GET",
            &path(what),
            &format!("if-none-match: {tag}\r\n"),
            &[],
        );
        assert_eq!((again.status, again.body.as_str()), (304, ""));
        let several = format!("if-none-match: \"another\", W/{tag}\r\n");
        assert_eq!(ask(ended.address, "GET", &path(what), &several, &[]).status, 304);
        let other = "if-none-match: \"another\"\r\n";
        assert_eq!(ask(ended.address, "GET", &path(what), other, &[]).status, 200);
    }
    for path in [
        "/api/v1/cameras/dock/frames/8/image",
        "/api/v1/cameras/dock/frames/6/closer",
        "/api/v1/cameras/left/frames/7/image",
        "/api/v1/cameras/..%2f..%2fetc/frames/7/image",
        "/api/v1/cameras/dock/frames/7/nearest/1",
        "/api/v1/cameras/dock/frames/7/nearest/2",
        "/api/v1/cameras/dock/frames/8/nearest/0",
    ] {
        assert_eq!(ended.get(path).status, 404, "{path}");
    }
    assert_eq!(ended.get("/api/v1/cameras/dock/frames/seven/image").status, 400);
    drop(pictures);
    // What was written last may lie beside the file.
    for beside in ["pictures.sqlite-wal", "pictures.sqlite-shm"] {
        let _ = std::fs::remove_file(ended.directory.path().join(beside));
    }
    std::fs::write(
        ended.directory.path().join("pictures.sqlite"),
        "no database, whatever it is called",
    )
    .unwrap();
    let reply = ended.get(&path("/image"));
    assert_eq!(reply.status, 500);
    assert!(!reply.body.contains("pictures.sqlite"), "{reply:?}");
}
