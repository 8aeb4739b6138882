//! One runner per ExpansionPlan: observe -> decide -> act -> report, for as long as this operator leads.
//!
//! What is decided is `expansion::decide` (pure). The runner writes the plan, the `spec.split` of pairs, new pairs, and the map's
//! shards and epoch in the ShardCluster's status; all of it against the resourceVersion that was read. What a pair does for a split
//! is its own runner's. Looking at schemas, reading binary logs and purging run beside it (`work`), and end with it.

mod act;
mod jobs;
mod observe;
mod purge;
mod report;
mod work;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use super::pair::Context;
use super::stores::Stores;
use crate::api::ShardPair;
use crate::api::cluster::ShardCluster;
use crate::api::expansion::{ExpansionPlan, ExpansionPlanStatus};
use crate::expansion::decide::decide;
use crate::expansion::step::Reason;

/// After steps: until the watch has brought what was written.
const SETTLE: Duration = Duration::from_millis(20);
/// No call to the API server takes longer.
const CALL: Duration = Duration::from_millis(1_500);

/// What couldn't be done, and why; the next pass looks anew.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {what}")]
pub(super) struct Surprise {
    step: String,
    what: String,
}

impl Surprise {
    fn new(step: impl Into<String>, what: impl ToString) -> Self {
        Self { step: step.into(), what: what.to_string() }
    }
}

/// Objects as this runner wrote them, until the watch has them.
#[derive(Default)]
struct Written {
    pairs: BTreeMap<String, ShardPair>,
    cluster: Option<ShardCluster>,
}

#[derive(Default)]
struct Memory {
    written: Written,
    reported: Option<Instant>,
    said: Option<(Reason, String)>,
    /// Bytes of a clone when they were looked at last, by child.
    clones: BTreeMap<u32, (i64, Instant, Option<i64>)>,
}

/// See the module.
struct Runner {
    ctx: Arc<Context>,
    namespace: String,
    plan: ExpansionPlan,
    memory: Memory,
    work: work::Work,
    notify: Arc<Notify>,
    term: u64,
}

/// One runner per plan, as long as this process leads.
pub async fn runners(ctx: Arc<Context>) {
    let mut running: HashMap<String, (u64, AbortHandle)> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let term = ctx.leadership.term();
        let plans = if term > 0 { ctx.stores.plans.state() } else { Vec::new() };
        let wanted: HashMap<String, Arc<DeserializeGuard<ExpansionPlan>>> = plans.into_iter().map(|p| (p.uid().unwrap_or_default(), p)).collect();
        running.retain(|uid, (of, task)| {
            let keep = *of == term && wanted.contains_key(uid);
            if !keep {
                task.abort();
            }
            keep && !task.is_finished()
        });
        for (uid, found) in wanted {
            // One that can't be read (of a newer version) is left alone; its CRD refuses what this version could not mean.
            if let Ok(plan) = &found.0 {
                running.entry(uid).or_insert_with(|| (term, tasks.spawn(run(ctx.clone(), plan.clone()))));
            }
        }
        while tasks.try_join_next().is_some() {}
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn run(ctx: Arc<Context>, plan: ExpansionPlan) {
    let namespace = plan.namespace().unwrap_or_default();
    let notify = Arc::new(Notify::new());
    let _subscription = ctx.stores.subscribe(&namespace, &plan.spec.cluster_ref.name, notify.clone());
    let work = work::Work::new(ctx.clone(), &namespace, &plan.spec.cluster_ref.name, notify.clone());
    let mut runner = Runner { term: ctx.leadership.term(), ctx, namespace, plan, memory: Memory::default(), work, notify };
    while runner.ctx.leadership.term() == runner.term {
        let wait = runner.pass().await;
        let _ = tokio::time::timeout(wait, runner.notify.notified()).await;
    }
}

impl Runner {
    /// The table of contents. How long to wait at most for the next one.
    async fn pass(&mut self) -> Duration {
        self.newest();
        let Some((plan, seen)) = self.observe() else {
            self.work.want(&[], &Default::default());
            return Duration::from_secs(2);
        };
        let now = Timestamp::now();
        let mut decision = decide(&plan, &seen, now);
        self.work.want(&decision.work, &self.errand(&plan));
        let planned = decision.steps.len();
        let surprise = self.act(&plan, &mut decision).await.err();
        if let Some(surprise) = &surprise {
            tracing::info!(plan = self.plan.name_any(), namespace = self.namespace, reason = decision.note.reason.as_str(), %surprise, "looked at again");
        }
        self.report(&plan, &seen, &decision, now).await;
        match (surprise.is_some(), planned) {
            (true, _) => Duration::from_millis(300),
            (false, 0) => Duration::from_millis(decision.again_ms),
            (false, _) => SETTLE,
        }
    }

    /// The newer of what the watch brought and what was written last.
    fn newest(&mut self) {
        let found = Stores::get(&self.ctx.stores.plans, &self.namespace, &self.plan.name_any());
        if let Some(Ok(plan)) = found.as_deref().map(|p| &p.0)
            && version(plan) > version(&self.plan)
        {
            self.plan = plan.clone();
        }
    }

    fn status(&self) -> ExpansionPlanStatus {
        self.plan.status.clone().unwrap_or_default()
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.ctx.fast.clone(), &self.namespace)
    }
}

/// For comparing two states of one object.
fn version(object: &impl ResourceExt) -> u64 {
    object.resource_version().and_then(|v| v.parse().ok()).unwrap_or(0)
}
