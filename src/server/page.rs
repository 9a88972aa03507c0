//! The page: plain files in the program, which ask for nothing from anywhere else.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::routes::Shared;

struct Asset {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const ASSETS: [Asset; 5] = [
    Asset {
        path: "/",
        content_type: "text/html; charset=utf-8",
        bytes: include_bytes!("page/index.html"),
    },
    Asset {
        path: "/assets/style.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("page/style.css"),
    },
    Asset {
        path: "/assets/app.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("page/app.js"),
    },
    Asset {
        path: "/assets/tile.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("page/tile.js"),
    },
    Asset {
        path: "/assets/icon.svg",
        content_type: "image/svg+xml",
        bytes: include_bytes!("page/icon.svg"),
    },
];

/// Whether a path is part of the page, which holds nothing that a token guards.
pub(super) fn is_of_page(path: &str) -> bool {
    ASSETS.iter().any(|asset| asset.path == path)
}

pub(super) fn routes() -> Router<Shared> {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        router.route(asset.path, get(async || sent(asset)))
    })
}

fn sent(asset: &Asset) -> Response {
    // A program that is started anew may have another page.
    let headers = [(CONTENT_TYPE, asset.content_type), (CACHE_CONTROL, "no-cache")];
    (headers, asset.bytes).into_response()
}
