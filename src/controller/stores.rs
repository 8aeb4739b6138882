//! What the API server says, kept up to date by watches; nothing is asked for again and again.
//!
//! Reads for decisions come from here; the record itself is read anew, and claimed by a write, before a new leader trusts it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::api::cluster::ShardCluster;
use crate::api::expansion::ExpansionPlan;
use crate::api::names;
use crate::api::pair::ShardPair;
use super::foreign::ForeignSlices;
use super::keep::Keep;
use super::waiters::{Subscription, Waiters};

/// What was found by looking through everything isn't believed for longer than this: a deletion isn't told.
const LOOKED_THROUGH: Duration = Duration::from_secs(5);

/// What was found of a cluster, until something of it changes; the number counts changes.
#[derive(Clone, Copy, Default)]
struct Found {
    changes: u64,
    next_member: Option<(Instant, u32)>,
    /// Numbers below it were given out (`numbers`), also to who has not named his member yet.
    given: u32,
}

/// By namespace and cluster.
type AllFound = Arc<Mutex<HashMap<(String, String), Found>>>;

/// The watched objects.
#[derive(Clone)]
pub struct Stores {
    /// The users' clusters; one that can't be read doesn't hide the others.
    pub clusters: Store<DeserializeGuard<ShardCluster>>,
    /// Their pairs.
    pub pairs: Store<ShardPair>,
    /// The users' plans; one that can't be read doesn't hide the others.
    pub plans: Store<DeserializeGuard<ExpansionPlan>>,
    /// Members' pods.
    pub pods: Store<Pod>,
    /// Members' claims.
    pub claims: Store<PersistentVolumeClaim>,
    /// Members' StatefulSets.
    pub sets: Store<StatefulSet>,
    /// Members' Services.
    pub services: Store<Service>,
    /// The VIPs' own slices.
    pub slices: Store<EndpointSlice>,
    /// Slices that aren't ours, by Service: a foreign one on a VIP takes its traffic.
    pub foreign_slices: ForeignSlices,
    /// All nodes.
    pub nodes: Store<Node>,
    waiters: Waiters,
    found: AllFound,
}

/// Where a change is noted.
#[derive(Clone, Default)]
struct Told {
    waiters: Waiters,
    found: AllFound,
}

/// Starts the watches; they end with the set.
pub async fn start(client: &Client, namespace: Option<&str>, tasks: &mut JoinSet<()>) -> Stores {
    let told = Told::default();
    let ours = || watcher::Config::default().labels(names::LABEL_CLUSTER);
    let any = watcher::Config::default;
    let stores = Stores {
        clusters: watch(scoped(client, namespace), any(), &told, tasks),
        pairs: watch(scoped(client, namespace), any(), &told, tasks),
        plans: watch(scoped(client, namespace), any(), &told, tasks),
        pods: watch(scoped(client, namespace), ours(), &told, tasks),
        claims: watch(scoped(client, namespace), ours(), &told, tasks),
        sets: watch(scoped(client, namespace), ours(), &told, tasks),
        services: watch(scoped(client, namespace), ours(), &told, tasks),
        slices: watch(scoped(client, namespace), ours(), &told, tasks),
        foreign_slices: ForeignSlices::start(scoped(client, namespace), tasks),
        nodes: watch(Api::all(client.clone()), any(), &told, tasks),
        waiters: told.waiters,
        found: told.found,
    };
    let ready = async {
        let s = &stores;
        let _ = tokio::join!(s.clusters.wait_until_ready(), s.pairs.wait_until_ready(), s.pods.wait_until_ready(), s.claims.wait_until_ready(), s.sets.wait_until_ready());
        let _ = tokio::join!(s.plans.wait_until_ready(), s.services.wait_until_ready(), s.slices.wait_until_ready(), s.foreign_slices.wait_until_ready(), s.nodes.wait_until_ready());
    };
    ready.await;
    stores
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn watch<K>(api: Api<K>, config: watcher::Config, told: &Told, tasks: &mut JoinSet<()>) -> Store<K>
where
    K: Keep + Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Default + Eq + Hash + Clone,
{
    let (store, writer) = reflector::store();
    let told = told.clone();
    let stream = watcher(api, config).default_backoff().modify(Keep::keep).reflect(writer).applied_objects();
    tasks.spawn(async move {
        let mut stream = std::pin::pin!(stream);
        loop {
            match stream.try_next().await {
                Ok(Some(object)) => told.changed(&object),
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, kind = %K::kind(&Default::default()), "watch");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    store
}

impl Told {
    fn changed(&self, object: &impl ResourceExt) {
        if let Some(cluster) = object.labels().get(names::LABEL_CLUSTER) {
            let mut all = self.found.lock().expect("never poisoned");
            let found = all.entry((object.namespace().unwrap_or_default(), cluster.clone())).or_default();
            *found = Found { changes: found.changes + 1, next_member: None, ..*found };
        }
        self.waiters.wake(object);
    }
}

impl Stores {
    /// One more than the highest number of a member of the cluster that is named anywhere, or was given out. Claims outlive their
    /// members: a new member must not find an old one's data. Before a pair names it, the number is taken (`numbers`).
    pub fn next_member(&self, namespace: &str, cluster: &str) -> u32 {
        let key = (namespace.to_owned(), cluster.to_owned());
        let found = self.found.lock().expect("never poisoned").get(&key).copied().unwrap_or_default();
        if let Some((_, next)) = found.next_member.filter(|(at, _)| at.elapsed() < LOOKED_THROUGH) {
            return next.max(found.given);
        }
        let next = self.look_for_next_member(namespace, cluster);
        let mut all = self.found.lock().expect("never poisoned");
        let now = all.entry(key).or_default();
        if now.changes == found.changes {
            now.next_member = Some((Instant::now(), next));
        }
        next.max(found.given)
    }

    /// Numbers below `next` are given out.
    pub(super) fn given_out(&self, namespace: &str, cluster: &str, next: u32) {
        let mut all = self.found.lock().expect("never poisoned");
        let found = all.entry((namespace.to_owned(), cluster.to_owned())).or_default();
        found.given = found.given.max(next);
    }

    fn look_for_next_member(&self, namespace: &str, cluster: &str) -> u32 {
        let own = |p: &ShardPair| p.namespace().as_deref() == Some(namespace) && p.spec.cluster == cluster;
        let pairs = self.pairs.state();
        let named = pairs.iter().filter(|p| own(p)).flat_map(|p| {
            let status = p.status.iter().flat_map(|s| s.record.members.iter().map(|m| m.name.clone()));
            p.spec.members.iter().cloned().chain(status).collect::<Vec<_>>()
        });
        let claims = self.claims.state();
        let kept = claims.iter().filter(|c| c.namespace().as_deref() == Some(namespace)).map(|c| c.name_any());
        let known = Self::get(&self.clusters, namespace, cluster);
        let counted = known.iter().filter_map(|c| c.0.as_ref().ok()).map(|c| {
            // The first pairs' members have their numbers from their shards, whether the pairs are made yet or not.
            let (first, next) = (2 * i64::from(c.spec.shards), c.status.as_ref().and_then(|s| s.next_member).unwrap_or(0));
            u32::try_from(first.max(next)).unwrap_or(0)
        });
        let highest = named.chain(kept).filter_map(|m| names::member_number(cluster, &m)).max().map_or(0, |k| k + 1);
        counted.fold(highest, u32::max)
    }

    /// `notify` is told when an object of the cluster changes; until what is returned is dropped.
    pub fn subscribe(&self, namespace: &str, cluster: &str, notify: Arc<Notify>) -> Subscription {
        self.waiters.subscribe(namespace, cluster, notify)
    }

    /// An object of a namespace by name.
    pub fn get<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>>
    where
        K: Resource + Clone + 'static,
        K::DynamicType: Default + Eq + Hash + Clone,
    {
        store.get(&ObjectRef::new_with(name, K::DynamicType::default()).within(namespace))
    }
}

/// For comparing two states of one object: a newer one has a higher number.
pub(super) fn version(object: &impl ResourceExt) -> u64 {
    object.resource_version().and_then(|v| v.parse().ok()).unwrap_or(0)
}
