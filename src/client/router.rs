//! The map that a client uses, kept up to date: from the routing service, or a file (a mounted ConfigMap is one).
//!
//! A map that can't be read, that loses an epoch or that contradicts the one in use is refused; the last good one stays.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::{http, routes};
use crate::routing::{Map, Routes};
use crate::routing::map::MapError;

/// How long the service may keep a question open.
const POLL: Duration = Duration::from_secs(30);
/// How often a file is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Between attempts that fail, at most.
const PAUSE: Duration = Duration::from_secs(2);

/// Where the map is.
#[derive(Clone, Debug)]
pub enum MapSource {
    /// `http://shardpair-route.shardpair-system/v1/clusters/default/shop`
    Service(String),
    /// `map.json`. A ConfigMap's mount follows the ConfigMap within a minute or so: the service is faster.
    File(PathBuf),
    /// This one, for ever.
    Fixed(Box<Map>),
}

/// Why there is no (newer) map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouterError {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] MapError),
    /// The source doesn't answer.
    #[error("no map from {0}")]
    Source(String),
    /// A newer map is needed and did not come.
    #[error("the map of epoch {wanted} did not come within {waited:?}; epoch {have} is in use")]
    Behind {
        /// What somebody spoke of.
        wanted: i64,
        /// What is in use.
        have: i64,
        /// How long it was waited for.
        waited: Duration,
    },
}

struct Inner {
    map: watch::Sender<Arc<Map>>,
    problem: Mutex<Option<RouterError>>,
    hurry: Notify,
}

impl Inner {
    fn offer(&self, text: &[u8]) -> Result<(), RouterError> {
        let mut next = parse(text)?;
        if routes::table(&next).is_some() {
            // They come from somewhere else ([`Router::route_by`]).
            next.routes.clone_from(&self.map.borrow().routes);
        }
        if self.map.borrow().accepts(&next)? {
            tracing::info!(cluster = next.cluster, epoch = next.epoch, "a newer map");
            self.map.send_replace(Arc::new(next));
        }
        Ok(())
    }

    fn say(&self, result: Result<(), RouterError>) -> bool {
        let failed = result.is_err();
        let mut problem = self.problem.lock().expect("never poisoned");
        if let Err(error) = &result
            && problem.as_ref() != Some(error)
        {
            tracing::warn!(%error, "the map in use stays");
        }
        *problem = result.err();
        failed
    }
}

fn parse(text: &[u8]) -> Result<Map, MapError> {
    Map::parse(std::str::from_utf8(text).map_err(|e| MapError::Malformed(e.to_string()))?)
}

/// Follows the map while it lives; share it by `Arc`.
pub struct Router {
    inner: Arc<Inner>,
    task: Option<JoinHandle<()>>,
}

impl Router {
    /// Reads the first map within `limit`, then follows it. `client` is this process's name in the service's list of
    /// who uses which epoch.
    pub async fn follow(source: MapSource, client: &str, limit: Duration) -> Result<Self, RouterError> {
        let begun = Instant::now();
        let first = loop {
            let read = match &source {
                MapSource::Fixed(map) => Ok((**map).clone()),
                MapSource::File(path) => read(path).await.and_then(|text| Ok(parse(&text)?)),
                MapSource::Service(url) => ask(url, client, None, Duration::ZERO).await.and_then(|answer| match answer {
                    Some((text, _)) => Ok(parse(&text)?),
                    None => Err(RouterError::Source(format!("{url}: 304 without a question"))),
                }),
            };
            match read {
                Ok(map) => break map,
                // It may only be there in a moment; what is malformed is said at once.
                Err(RouterError::Source(_)) if begun.elapsed() < limit => tokio::time::sleep(LOOK).await,
                Err(error) => return Err(error),
            }
        };
        let inner = Arc::new(Inner { map: watch::Sender::new(Arc::new(first)), problem: Mutex::default(), hurry: Notify::new() });
        let task = match source {
            MapSource::Fixed(_) => None,
            MapSource::File(path) => Some(tokio::spawn(follow_file(inner.clone(), path))),
            MapSource::Service(url) => Some(tokio::spawn(follow_service(inner.clone(), url, client.to_owned()))),
        };
        Ok(Self { inner, task })
    }

    /// The map in use.
    pub fn map(&self) -> Arc<Map> {
        self.inner.map.borrow().clone()
    }

    /// Changes with every new map.
    pub fn changes(&self) -> watch::Receiver<Arc<Map>> {
        self.inner.map.subscribe()
    }

    /// Why the source gives no newer map, if it doesn't.
    pub fn problem(&self) -> Option<RouterError> {
        self.inner.problem.lock().expect("never poisoned").clone()
    }

    /// The map in use, with these routes: those of a MySQL table aren't in its text.
    pub(super) fn route_by(&self, routes: Routes) {
        self.inner.map.send_if_modified(|map| {
            let changed = map.routes.as_ref() != Some(&routes);
            if changed {
                *map = Arc::new(Map { routes: Some(routes), ..(**map).clone() });
            }
            changed
        });
    }

    /// Asks for a map newer than `than` now, and waits for it.
    pub async fn newer(&self, than: i64, limit: Duration) -> Result<Arc<Map>, RouterError> {
        self.reach(than + 1, limit).await
    }

    /// Asks for a map of at least `epoch` now, and waits for it.
    pub async fn reach(&self, epoch: i64, limit: Duration) -> Result<Arc<Map>, RouterError> {
        let mut changes = self.inner.map.subscribe();
        if changes.borrow().epoch < epoch {
            self.inner.hurry.notify_one();
        }
        let reached = tokio::time::timeout(limit, changes.wait_for(|map| map.epoch >= epoch)).await;
        match reached {
            Ok(Ok(map)) => Ok(map.clone()),
            Ok(Err(_)) | Err(_) => Err(RouterError::Behind { wanted: epoch, have: self.map().epoch, waited: limit }),
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, RouterError> {
    tokio::fs::read(path).await.map_err(|e| RouterError::Source(format!("{}: {e}", path.display())))
}

async fn follow_file(inner: Arc<Inner>, path: PathBuf) {
    let mut last = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = inner.hurry.notified() => {}
        }
        let text = read(&path).await;
        if last.as_ref() == Some(&text) {
            continue;
        }
        inner.say(text.clone().and_then(|text| inner.offer(&text)));
        last = Some(text);
    }
}

/// The map and its ETag; None: it is still the one of `known` (ETag, epoch).
async fn ask(url: &str, client: &str, known: Option<(&str, i64)>, wait: Duration) -> Result<Option<(Vec<u8>, String)>, RouterError> {
    let url = format!("{}/map?wait={}", url.trim_end_matches('/'), wait.as_secs());
    let epoch = known.map(|(_, epoch)| epoch.to_string()).unwrap_or_default();
    let mut headers = vec![("shardpair-client", client)];
    if let Some((etag, _)) = known {
        headers.extend([("if-none-match", etag), ("shardpair-epoch", epoch.as_str())]);
    }
    let reply = http::get(&url, &headers, wait + Duration::from_secs(3)).await.map_err(RouterError::Source)?;
    match reply.status {
        200 => Ok(Some((reply.body, reply.etag.unwrap_or_default()))),
        304 => Ok(None),
        status => Err(RouterError::Source(format!("{url}: {status} {}", String::from_utf8_lossy(&reply.body[..reply.body.len().min(300)])))),
    }
}

async fn follow_service(inner: Arc<Inner>, url: String, client: String) {
    let (mut etag, mut pause, mut wait) = (String::new(), Duration::from_millis(50), Duration::ZERO);
    loop {
        let epoch = inner.map.borrow().epoch;
        let answer = tokio::select! {
            answer = ask(&url, &client, Some((&etag, epoch)), wait) => answer,
            // Somebody needs a newer map: ask anew, without waiting.
            () = inner.hurry.notified() => {
                wait = Duration::ZERO;
                continue;
            }
        };
        wait = POLL;
        let result = answer.and_then(|answer| match answer {
            Some((text, tag)) => {
                // Remembered also if it is refused: it needn't be sent again.
                etag = tag;
                inner.offer(&text)
            }
            None => Ok(()),
        });
        if inner.say(result) {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE);
            wait = Duration::ZERO;
        } else {
            pause = Duration::from_millis(50);
        }
    }
}
