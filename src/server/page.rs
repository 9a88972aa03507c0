//! The page: plain files in the program, which ask for nothing from anywhere else.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::routing::get;

use super::routes::Shared;

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Where each file is, what it is, and its bytes.
const ASSETS: [(&str, &str, &[u8]); 16] = [
    ("/", "text/html; charset=utf-8", include_bytes!("page/index.html")),
    (
        "/assets/style.css",
        "text/css; charset=utf-8",
        include_bytes!("page/style.css"),
    ),
    ("/assets/icon.svg", "image/svg+xml", include_bytes!("page/icon.svg")),
    ("/assets/api.js", SCRIPT, include_bytes!("page/api.js")),
    ("/assets/app.js", SCRIPT, include_bytes!("page/app.js")),
    ("/assets/chart.js", SCRIPT, include_bytes!("page/chart.js")),
    ("/assets/compare.js", SCRIPT, include_bytes!("page/compare.js")),
    ("/assets/line.js", SCRIPT, include_bytes!("page/line.js")),
    ("/assets/nearest.js", SCRIPT, include_bytes!("page/nearest.js")),
    ("/assets/poll.js", SCRIPT, include_bytes!("page/poll.js")),
    ("/assets/queue.js", SCRIPT, include_bytes!("page/queue.js")),
    ("/assets/rates.js", SCRIPT, include_bytes!("page/rates.js")),
    ("/assets/review.js", SCRIPT, include_bytes!("page/review.js")),
    ("/assets/tile.js", SCRIPT, include_bytes!("page/tile.js")),
    ("/assets/whatif.js", SCRIPT, include_bytes!("page/whatif.js")),
    ("/assets/words.js", SCRIPT, include_bytes!("page/words.js")),
];

/// Whether a path is part of the page, which holds nothing that a token guards.
pub(super) fn is_of_page(path: &str) -> bool {
    ASSETS.iter().any(|(of_page, ..)| *of_page == path)
}

pub(super) fn routes() -> Router<Shared> {
    ASSETS
        .iter()
        .fold(Router::new(), |router, (path, content_type, bytes)| {
            // A program that is started anew may have another page.
            let headers = [(CONTENT_TYPE, *content_type), (CACHE_CONTROL, "no-cache")];
            router.route(path, get(async move || (headers, *bytes)))
        })
}
