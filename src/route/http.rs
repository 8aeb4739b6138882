//! The service's HTTP: thin; what is answered is decided in `answer`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::Shared;
use super::answer::{self, Refusal};
use super::maps::{Name, Served};

/// What this service answers, as an OpenAPI 3.1 document.
pub const OPENAPI: &str = include_str!("openapi.json");
/// The longest wait for a change.
const WAIT: Duration = Duration::from_secs(60);
/// The header in which a client names itself.
pub const CLIENT: &str = "shardpair-client";
/// The header in which it says what it uses.
pub const EPOCH: &str = "shardpair-epoch";

type Query = HashMap<String, String>;

/// All paths.
pub fn app(shared: Shared) -> Router {
    let metrics = |State(shared): State<Shared>| async move { ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], shared.metrics.render(&shared)) };
    let ready = |State(shared): State<Shared>| async move { if shared.maps.ready() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "the maps haven't been read yet") } };
    Router::new()
        .route("/v1/clusters", get(clusters))
        .route("/v1/clusters/{namespace}/{name}/map", get(map))
        .route("/v1/clusters/{namespace}/{name}/route", get(route).post(routes))
        .route("/v1/clusters/{namespace}/{name}/clients", get(clients))
        .route("/v1/openapi.json", get(|| async { ([(header::CONTENT_TYPE, "application/json")], OPENAPI) }))
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .layer(DefaultBodyLimit::max(1 << 20))
        .with_state(shared)
}

fn query(raw: Option<String>) -> Query {
    form_urlencoded::parse(raw.unwrap_or_default().as_bytes()).into_owned().collect()
}

fn text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn refused(refusal: &Refusal) -> Response {
    let status = match refusal.reason {
        "UnknownCluster" | "UnknownTable" | "NoRoute" => StatusCode::NOT_FOUND,
        "RoutesMissing" | "NotReady" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    text(status, refusal.json().to_string())
}

impl Shared {
    fn served(&self, name: &Name) -> Result<std::sync::Arc<Served>, Refusal> {
        self.maps.get(name).ok_or_else(|| match self.maps.ready() {
            true => Refusal::new("UnknownCluster", format!("there is no map of cluster {name}")),
            false => Refusal::new("NotReady", "the maps haven't been read yet"),
        })
    }

    /// Counts, and measures what doesn't wait.
    fn answered(&self, call: &'static str, begun: Option<Instant>, result: Result<Response, Refusal>) -> Response {
        let response = result.unwrap_or_else(|refusal| refused(&refusal));
        self.metrics.call(call, response.status().as_u16(), begun.map(|b| b.elapsed()));
        response
    }
}

async fn clusters(State(shared): State<Shared>) -> Response {
    let line = |(name, served): (&Name, &std::sync::Arc<Served>)| {
        json!({"namespace": name.namespace, "name": name.name, "epoch": served.map.epoch, "shards": served.map.shards.len(),
            "servedSeconds": served.since.elapsed().as_secs(), "refused": served.refused})
    };
    let all = shared.maps.all().iter().map(line).collect::<Vec<_>>();
    shared.answered("clusters", None, Ok(text(StatusCode::OK, json!({"clusters": all}).to_string())))
}

fn seconds(query: &Query) -> Result<Duration, Refusal> {
    let Some(wait) = query.get("wait") else { return Ok(Duration::ZERO) };
    let seconds = wait.trim_end_matches('s').parse::<u64>().map_err(|_| Refusal::new("BadRequest", format!("wait {wait:?}: whole seconds, such as 30")))?;
    Ok(Duration::from_secs(seconds).min(WAIT))
}

/// The map; with the ETag that the client has and `wait`, as soon as it is another one.
async fn map(State(shared): State<Shared>, Path((namespace, name)): Path<(String, String)>, RawQuery(raw): RawQuery, headers: HeaderMap) -> Response {
    let result = map_of(&shared, &Name { namespace, name }, &query(raw), &headers).await;
    shared.answered("map", None, result)
}

async fn map_of(shared: &Shared, name: &Name, query: &Query, headers: &HeaderMap) -> Result<Response, Refusal> {
    let value = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let wait = seconds(query)?;
    let mut changes = shared.maps.changes();
    let mut served = shared.served(name)?;
    if let Some((id, epoch)) = value(CLIENT).zip(value(EPOCH).and_then(|e| e.parse().ok())).filter(|(id, _)| id.len() <= 128)
        && !shared.followers.heard(name, id, epoch, Instant::now())
    {
        tracing::warn!(cluster = %name, "too many clients: some aren't counted");
    }
    let has = value("if-none-match").unwrap_or_default();
    let known = |served: &Served| has.split(',').any(|tag| tag.trim().trim_start_matches("W/") == &*served.etag);
    let until = tokio::time::Instant::now() + wait;
    while known(&served) {
        if !matches!(tokio::time::timeout_at(until, changes.changed()).await, Ok(Ok(()))) {
            return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, served.etag.to_string())]).into_response());
        }
        served = shared.served(name)?;
    }
    let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (header::ETAG, served.etag.to_string()), (header::CACHE_CONTROL, "no-cache".to_owned())];
    Ok((headers, Body::from(served.body.to_string())).into_response())
}

async fn route(State(shared): State<Shared>, Path((namespace, name)): Path<(String, String)>, RawQuery(raw): RawQuery) -> Response {
    let begun = Instant::now();
    let query = query(raw);
    let result = shared.served(&Name { namespace, name }).and_then(|served| {
        let key = query.get("key").ok_or_else(|| Refusal::new("NullKey", "key is absent: a row without its shard key has no shard"))?;
        let table = query.get("table").map(String::as_str);
        let mut found = answer::with_key(&served.map, key, query.get("type").map(String::as_str), |key| answer::place(&served.map, table, key))?;
        found["epoch"] = Value::from(served.map.epoch);
        Ok(text(StatusCode::OK, found.to_string()))
    });
    shared.answered("route", Some(begun), result)
}

async fn routes(State(shared): State<Shared>, Path((namespace, name)): Path<(String, String)>, body: Bytes) -> Response {
    let begun = Instant::now();
    let result = shared.served(&Name { namespace, name }).and_then(|served| {
        let question = serde_json::from_slice(&body).map_err(|e| Refusal::new("BadRequest", format!("the body is no JSON: {e}")))?;
        Ok(text(StatusCode::OK, answer::many(&served.map, &question)?.to_string()))
    });
    shared.answered("routes", Some(begun), result)
}

/// Who uses which epoch; with `behind` and `wait`, as soon as nobody uses an older one.
async fn clients(State(shared): State<Shared>, Path((namespace, name)): Path<(String, String)>, RawQuery(raw): RawQuery) -> Response {
    let result = clients_of(&shared, &Name { namespace, name }, &query(raw)).await;
    shared.answered("clients", None, result)
}

async fn clients_of(shared: &Shared, name: &Name, query: &Query) -> Result<Response, Refusal> {
    let epoch = shared.served(name)?.map.epoch;
    let wanted = match query.get("behind") {
        Some(behind) => behind.parse().map_err(|_| Refusal::new("BadRequest", format!("behind {behind:?}: an epoch")))?,
        None => epoch,
    };
    let behind = shared.followers.wait(name, wanted, seconds(query)?).await;
    let list = |all: Vec<super::followers::Follower>| {
        all.into_iter().map(|f| json!({"id": f.id, "epoch": f.epoch, "secondsAgo": f.seen.elapsed().as_secs()})).collect::<Vec<_>>()
    };
    let all = shared.followers.of(name, Instant::now());
    Ok(text(StatusCode::OK, json!({"epoch": epoch, "known": all.len(), "behind": list(behind)}).to_string()))
}
