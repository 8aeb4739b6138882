//! The ShardCluster's controller: from a user's spec to Secrets, pairs, members and the map.
//!
//! Observe, plan (pure), apply, report. It makes the objects and tells how the pairs are; what the pairs' servers do is the
//! pair controller's. A spec is refused as a whole before anything is made of it, and an object that isn't this cluster's is
//! never touched. At rest it writes nothing.

mod apply;
mod checks;
pub mod compare;
mod manager;
mod observe;
pub mod plan;
pub mod report;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::watch;

use crate::api::valid::{Invalid, Valid};
use crate::api::{ShardCluster, ShardPair, names};

/// No pass takes longer; the next one goes on where it stopped.
const PASS: Duration = Duration::from_secs(60);
/// What was refused is looked at again this often: what is in the way may go without our being told.
const REFUSED: Duration = Duration::from_secs(15);
/// Another installation's Lease is looked at this often.
const ELSEWHERE: Duration = Duration::from_secs(20);
/// At rest, in case a watch missed something.
const REST: Duration = Duration::from_secs(600);
/// Clusters that are looked at side by side: each holds all of its objects in memory meanwhile.
const SIDE_BY_SIDE: u16 = 2;
/// A pass reads all of a cluster's objects, and each change of a pair asks for one: so many times as long as the last one took is waited
/// before the next, so that a large cluster in trouble leaves the processors to its pairs.
const PAUSE_FACTOR: u32 = 4;
/// That is never longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What a pass could not do; it is tried again, later and later.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The API server said no, or nothing.
    #[error("{what}: {error}")]
    Api {
        /// What was asked of it.
        what: String,
        /// Its answer.
        error: Box<kube::Error>,
    },
    /// The pass took too long.
    #[error("the pass took longer than {} s", PASS.as_secs())]
    Slow,
}

impl Failed {
    /// The object is newer than what was read: looked at again, nothing to worry about.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { error, .. } if matches!(error.as_ref(), kube::Error::Api(status) if status.code == 409))
    }

    /// What no repetition mends: the API server refused an object (a quota, a policy, a webhook).
    fn for_a_person(&self) -> Option<Invalid> {
        match self {
            Self::Api { what, error } => match error.as_ref() {
                kube::Error::Api(status) if (400..500).contains(&status.code) && ![404, 409, 429].contains(&status.code) => {
                    Some(Invalid::new("NotApplied", format!("the API server refused to {what}: {}", status.message)))
                }
                _ => None,
            },
            Self::Slow => None,
        }
    }

    fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |error| Self::Api { what, error: Box::new(error) }
    }
}

/// What all passes share.
pub struct Context {
    client: Client,
    /// Short deadlines, no retries: for the writes that are guarded by a resourceVersion.
    fast: Client,
    /// `<namespace>/<lease>` of this installation.
    installation: String,
    leading: watch::Receiver<bool>,
    namespace: Option<String>,
    recorder: Recorder,
    failures: Mutex<HashMap<String, u32>>,
    leases: Mutex<HashMap<String, (Option<String>, Instant)>>,
    told: Mutex<HashMap<String, String>>,
    /// By uid: when the last pass ended, and how long it took.
    passes: Mutex<HashMap<String, (Instant, Duration)>>,
}

impl Context {
    /// `leading`: does this process hold the Lease now? `namespace`: look after clusters of this one only.
    pub fn new(client: Client, fast: Client, installation: String, leading: watch::Receiver<bool>, namespace: Option<String>) -> Self {
        let reporter = Reporter { controller: "shardpair".into(), instance: Some(installation.replace('/', ".")) };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            fast,
            installation,
            leading,
            namespace,
            failures: Mutex::default(),
            leases: Mutex::default(),
            told: Mutex::default(),
            passes: Mutex::default(),
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

/// Reconciles while this process leads, until `shutdown` says so.
pub async fn run(ctx: Arc<Context>, mut shutdown: watch::Receiver<bool>) {
    let mut leading = ctx.leading.clone();
    loop {
        tokio::select! {
            led = leading.wait_for(|leads| *leads) => if led.is_err() { return },
            _ = shutdown.wait_for(|stop| *stop) => return,
        }
        // Dropped when the Lease is lost: a pass in flight stops between two calls, and what it wrote stands.
        tokio::select! {
            () = controller(ctx.clone()) => {}
            _ = leading.wait_for(|leads| !*leads) => {}
            _ = shutdown.wait_for(|stop| *stop) => return,
        }
    }
}

async fn controller(ctx: Arc<Context>) {
    let ours = || watcher::Config::default().labels(names::LABEL_CLUSTER);
    Controller::new(ctx.api::<DeserializeGuard<ShardCluster>>(), watcher::Config::default())
        .with_config(Config::default().debounce(Duration::from_millis(100)).concurrency(SIDE_BY_SIDE))
        .owns(ctx.api::<ShardPair>(), ours())
        .owns(ctx.api::<StatefulSet>(), ours())
        .owns(ctx.api::<Service>(), ours())
        .owns(ctx.api::<ConfigMap>(), ours())
        .owns(ctx.api::<Secret>(), ours())
        .owns(ctx.api::<PodDisruptionBudget>(), ours())
        .run(reconcile, again, ctx)
        .for_each(|result| async {
            if let Err(error) = result {
                tracing::debug!(%error, "cluster controller");
            }
        })
        .await;
}

impl Context {
    /// How long the next pass has to wait yet; a short one waits too short a time to speak of.
    fn too_soon(&self, uid: &str) -> Option<Duration> {
        let (ended, took) = self.passes.lock().expect("never poisoned").get(uid).copied()?;
        (took * PAUSE_FACTOR).min(PAUSE_MAX).checked_sub(ended.elapsed()).filter(|left| !left.is_zero())
    }

    fn passed(&self, uid: String, took: Duration) {
        let mut passes = self.passes.lock().expect("never poisoned");
        passes.retain(|_, (ended, _)| ended.elapsed() < PAUSE_MAX);
        passes.insert(uid, (Instant::now(), took));
    }
}

async fn reconcile(object: Arc<DeserializeGuard<ShardCluster>>, ctx: Arc<Context>) -> Result<Action, Failed> {
    let uid = object.uid().unwrap_or_default();
    if let Some(left) = ctx.too_soon(&uid) {
        return Ok(Action::requeue(left));
    }
    let begun = Instant::now();
    let pass = async {
        match &object.0 {
            Ok(cluster) => pass(cluster, &ctx).await,
            Err(unreadable) => write::unreadable(&ctx, unreadable).await,
        }
    };
    let ended = tokio::time::timeout(PASS, pass).await;
    ctx.passed(uid.clone(), begun.elapsed());
    let next = ended.map_err(|_| Failed::Slow)??;
    ctx.failures.lock().expect("never poisoned").remove(&uid);
    Ok(next)
}

/// The table of contents.
async fn pass(cluster: &ShardCluster, ctx: &Context) -> Result<Action, Failed> {
    if cluster.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change()); // ownerReferences take everything along but the volumes
    }
    let Some(cluster) = manager::claim(ctx, cluster).await? else {
        return Ok(Action::requeue(ELSEWHERE));
    };
    let parsed = Valid::parse(&cluster);
    let seen = observe::look(ctx, &cluster, parsed.as_ref().ok()).await?;
    let mut plan = match parsed {
        Ok(valid) => plan::plan(&valid, &seen),
        Err(invalid) => plan::Plan::refused(invalid),
    };
    let applied = apply::carry_out(ctx, &cluster, &plan).await;
    plan.remarks.extend(applied.as_ref().err().and_then(Failed::for_a_person));
    let status = report::status(&cluster, &seen, &plan, Timestamp::now());
    write::status(ctx, &cluster, status).await?;
    applied?;
    Ok(Action::requeue(if plan.stalled().is_some() { REFUSED } else { REST }))
}

/// After a failure: 1, 2, 4, … 60 s. One cluster's trouble doesn't slow the others.
fn again(object: Arc<DeserializeGuard<ShardCluster>>, error: &Failed, ctx: Arc<Context>) -> Action {
    if error.is_conflict() {
        tracing::debug!(cluster = object.name_any(), namespace = object.namespace(), %error, "looked at again");
        return Action::requeue(Duration::from_millis(500));
    }
    let mut failures = ctx.failures.lock().expect("never poisoned");
    let count = failures.entry(object.uid().unwrap_or_default()).or_insert(0);
    let wait = Duration::from_secs(1 << (*count).min(6)).min(Duration::from_secs(60));
    *count += 1;
    tracing::warn!(cluster = object.name_any(), namespace = object.namespace(), %error, again_in_seconds = wait.as_secs(), "cluster not reconciled");
    Action::requeue(wait)
}
