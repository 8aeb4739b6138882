//! The live page: read-only, off by default, and on the pod's loopback only: who may forward a port to the operator's pod
//! (`kubectl shardpair dashboard`) may look, nobody else can reach it.
//!
//! One value is made from the watches four times a second while a page is open, and what changed of it is sent by
//! server-sent events. The page draws it; it asks for nothing and can change nothing.

pub mod change;
pub mod plan;
pub mod snapshot;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::stream;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::leader::Leadership;
use super::stores::Stores;
use change::Told;
use snapshot::{Snapshot, snapshot};

/// Between two looks at the watches while a page is open.
const LOOK: Duration = Duration::from_millis(250);
/// Between two looks while none is: so that moves are remembered.
const GLANCE: Duration = Duration::from_secs(2);
/// A page that hears nothing for longer than this says so.
const TICK: Duration = Duration::from_secs(5);
/// Pages that may be open at once.
const PAGES: usize = 16;
/// Nothing from anywhere else, in no frame, and no text is ever taken for markup or script.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
/// The page itself.
const FILES: [(&str, &str, &str); 7] = [
    ("/", "text/html; charset=utf-8", include_str!("page.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page.js")),
    ("/state.js", "text/javascript; charset=utf-8", include_str!("state.js")),
    ("/draw.js", "text/javascript; charset=utf-8", include_str!("draw.js")),
    ("/parts.js", "text/javascript; charset=utf-8", include_str!("parts.js")),
    ("/icon.svg", "image/svg+xml", include_str!("icon.svg")),
];

/// Serves the page until the task is aborted.
pub async fn serve(listen: std::net::SocketAddr, operator: String, stores: Stores, leadership: Leadership) {
    let feed = watch::Sender::new(Told { operator, ..Told::default() });
    let app = router(feed.clone());
    let pages = async {
        match tokio::net::TcpListener::bind(listen).await {
            Ok(listener) => {
                let _ = axum::serve(listener, app).await;
            }
            Err(error) => tracing::error!(%error, %listen, "can't serve the page"),
        }
    };
    tokio::select! {
        () = pages => {}
        () = look_on(&feed, &stores, &leadership) => {}
    }
}

async fn look_on(feed: &watch::Sender<Told>, stores: &Stores, leadership: &Leadership) {
    loop {
        let newer = look(stores);
        feed.send_if_modified(|told| told.take(newer, leadership.holds()));
        let distance = if feed.receiver_count() > 0 { LOOK } else { GLANCE };
        let begun = tokio::time::Instant::now();
        // A page that is opened needn't wait for a glance.
        while begun.elapsed() < distance && (distance == LOOK || feed.receiver_count() == 0) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn look(stores: &Stores) -> Snapshot {
    let (clusters, pairs, plans) = (stores.clusters.state(), stores.pairs.state(), stores.plans.state());
    let pairs: Vec<_> = pairs.iter().map(AsRef::as_ref).collect();
    let plans: Vec<_> = plans.iter().filter_map(|p| p.0.as_ref().ok()).collect();
    snapshot(clusters.iter().filter_map(|c| c.0.as_ref().ok()), &pairs, &plans)
}

/// The page, and what `feed` says as events. For `serve`, and for tests that tell it themselves.
pub fn router(feed: watch::Sender<Told>) -> Router {
    let pages = Arc::new(Semaphore::new(PAGES));
    let mut app = Router::new().route("/events", get(move || events(feed.clone(), pages.clone())));
    for (path, kind, text) in FILES {
        app = app.route(path, get(move || async move { ([(header::CONTENT_TYPE, kind)], text) }));
    }
    app.layer(from_fn(guarded))
}

/// Adds the headers. A name that isn't this machine's own is a page of somewhere else, whose name was made to lead here.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = match is_local(request.headers()) {
        true => next.run(request).await,
        false => (StatusCode::MISDIRECTED_REQUEST, "the page is served as localhost only: kubectl shardpair dashboard").into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

struct Watching {
    feed: watch::Receiver<Told>,
    before: Option<Told>,
    _page: OwnedSemaphorePermit,
}

async fn events(feed: watch::Sender<Told>, pages: Arc<Semaphore>) -> Response {
    let Ok(page) = pages.try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open: close one").into_response();
    };
    let watching = Watching { feed: feed.subscribe(), before: None, _page: page };
    Sse::new(stream::unfold(watching, next_event)).into_response()
}

/// What changed; or, after a while without a change, the time.
async fn next_event(mut watching: Watching) -> Option<(Result<Event, Infallible>, Watching)> {
    if watching.before.is_some() {
        match tokio::time::timeout(TICK, watching.feed.changed()).await {
            Err(_) => return Some((Ok(Event::default().event("tick").data(Timestamp::now().as_millisecond().to_string())), watching)),
            Ok(Err(_)) => return None,
            Ok(Ok(())) => {}
        }
    }
    let told = watching.feed.borrow_and_update().clone();
    let change = told.since(watching.before.as_ref(), Timestamp::now().as_millisecond());
    watching.before = Some(told);
    let text = serde_json::to_string(&change).unwrap_or_default();
    Some((Ok(Event::default().data(text)), watching))
}
