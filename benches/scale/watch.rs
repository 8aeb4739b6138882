//! What the operator does, as a client of the API sees it: when each VIP led where, and how each pair is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use shardpair::api::pair::ShardPair;
use shardpair::pair::record::Mode;

use super::kubelet::NAMESPACE;

/// A pair, as its status says.
#[derive(Clone, Default)]
pub struct Told {
    /// The recorded primary.
    pub primary: String,
    /// The recorded standby.
    pub standby: String,
    /// In Sync, and no move under way.
    pub sync: bool,
}

#[derive(Default)]
struct Inside {
    pairs: HashMap<String, Told>,
    vips: HashMap<String, (String, Instant)>,
}

/// See the module.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Inside>>);

impl Seen {
    /// Begins to look.
    pub fn start(client: &Client) -> Self {
        let seen = Self::default();
        tokio::spawn(pairs(Api::namespaced(client.clone(), NAMESPACE), seen.clone()));
        tokio::spawn(slices(Api::namespaced(client.clone(), NAMESPACE), seen.clone()));
        seen
    }

    fn with<T>(&self, look: impl FnOnce(&mut Inside) -> T) -> T {
        look(&mut self.0.lock().expect("never poisoned"))
    }

    /// A pair.
    pub fn pair(&self, name: &str) -> Told {
        self.with(|inside| inside.pairs.get(name).cloned().unwrap_or_default())
    }

    /// Names of all pairs, in order.
    pub fn pairs(&self) -> Vec<String> {
        let mut names = self.with(|inside| inside.pairs.keys().cloned().collect::<Vec<_>>());
        names.sort();
        names
    }

    /// How many pairs are in Sync.
    pub fn in_sync(&self) -> usize {
        self.with(|inside| inside.pairs.values().filter(|pair| pair.sync).count())
    }

    /// Where a VIP leads, and since when this has been seen.
    pub fn vip(&self, name: &str) -> Option<(String, Instant)> {
        self.with(|inside| inside.vips.get(name).cloned())
    }

    /// Waits until a VIP leads elsewhere than there; how long after `since` that was seen.
    pub async fn moved(&self, name: &str, from: &str, since: Instant, limit: Duration) -> Option<Duration> {
        loop {
            if let Some((_, at)) = self.vip(name).filter(|(to, _)| to != from) {
                return Some(at - since);
            }
            if since.elapsed() > limit {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

async fn pairs(api: Api<ShardPair>, seen: Seen) {
    let mut stream = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
    while let Ok(Some(pair)) = stream.try_next().await {
        let record = pair.status.as_ref().map(|s| s.record.clone()).unwrap_or_default();
        let sync = record.mode == Mode::Sync && record.transition.is_none() && record.provisioned();
        let told = Told { sync, standby: record.standby.unwrap_or_default(), primary: record.primary };
        seen.with(|inside| inside.pairs.insert(pair.name_any(), told));
    }
}

async fn slices(api: Api<EndpointSlice>, seen: Seen) {
    let mut stream = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
    while let Ok(Some(slice)) = stream.try_next().await {
        let Some(to) = slice.endpoints.first().and_then(|e| e.addresses.first().cloned()) else { continue };
        let now = Instant::now();
        seen.with(|inside| {
            let known = inside.vips.entry(slice.name_any()).or_insert_with(|| (to.clone(), now));
            if known.0 != to {
                *known = (to, now);
            }
        });
    }
}
