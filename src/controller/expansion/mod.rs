//! One runner per ExpansionPlan: observe -> decide -> act -> report, for as long as this operator leads.
//!
//! What is decided is `expansion::decide` (pure). The runner writes the plan, the `spec.split` of pairs, new pairs, and the map's
//! shards and epoch in the ShardCluster's status; all of it against the resourceVersion that was read. What a pair does for a split
//! is its own runner's. Looking at schemas, reading binary logs and purging run beside it (`work`), and end with it.

mod act;
mod audit;
mod jobs;
mod observe;
mod purge;
mod report;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt};
use tokio::sync::Notify;
use tracing::Instrument;

use super::pair::Context;
use super::pair::hands::Surprise;
use super::runners::Runners;
use super::spans;
use super::stores::{Stores, version};
use crate::api::ShardPair;
use crate::api::cluster::ShardCluster;
use crate::api::expansion::{ExpansionPlan, ExpansionPlanStatus, Phase};
use crate::expansion::decide::decide;
use crate::expansion::facts::{Clients, Level, Observation, Plan};
use crate::expansion::step::{Reason, Step};

/// After steps: until the watch has brought what was written.
const SETTLE: Duration = Duration::from_millis(20);
/// No call to the API server takes longer.
const CALL: Duration = Duration::from_millis(1_500);

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
    let mut running = Runners::default();
    loop {
        let term = ctx.leadership.term();
        let plans = if term > 0 { ctx.stores.plans.state() } else { Vec::new() };
        let wanted = plans.into_iter().map(|p| (p.uid().unwrap_or_default(), p)).collect();
        // One that can't be read (of a newer version) is left alone; its CRD refuses what this version could not mean.
        running.keep(term, wanted, |found: Arc<DeserializeGuard<ExpansionPlan>>| Some(run(ctx.clone(), found.0.as_ref().ok()?.clone())));
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
    async fn pass(&mut self) -> Duration {
        let span = spans::pass("expansion", &self.namespace, &self.plan.name_any());
        self.contents().instrument(span).await
    }

    /// The table of contents. How long to wait at most for the next one.
    async fn contents(&mut self) -> Duration {
        self.newest();
        self.ctx.metrics.expansion(&self.plan);
        let Some((plan, mut seen)) = spans::part("observe").in_scope(|| self.observe()) else {
            self.work.want(&[], &Default::default());
            return Duration::from_secs(2);
        };
        seen.clients = self.clients(&plan, &seen).await;
        let now = Timestamp::now();
        let mut decision = spans::part("decide").in_scope(|| decide(&plan, &seen, now));
        let before = self.memory.said.as_ref().map(|(reason, _)| reason.as_str());
        let epoch = self.memory.written.cluster.as_ref().and_then(|c| c.status.as_ref()).and_then(|s| s.epoch).unwrap_or_default();
        spans::decided(epoch, decision.note.reason.as_str(), &decision.note.message, &decision.steps.iter().map(Step::name).collect::<Vec<_>>(), before);
        self.work.want(&decision.work, &self.errand(&plan));
        let planned = decision.steps.len();
        let surprise = self.act(&plan, &mut decision).instrument(spans::part("act")).await.err();
        if let Some(surprise) = &surprise {
            spans::surprised(surprise);
            tracing::info!(plan = self.plan.name_any(), namespace = self.namespace, reason = decision.note.reason.as_str(), %surprise, "looked at again");
        }
        self.report(&plan, &seen, &decision, now).instrument(spans::part("report")).await;
        match (surprise.is_some(), planned) {
            (true, _) => Duration::from_millis(300),
            (false, 0) => Duration::from_millis(decision.again_ms),
            (false, _) => SETTLE,
        }
    }

    /// Asked from the new map on until the first flip, as long as they are waited for.
    async fn clients(&self, plan: &Plan, seen: &Observation) -> Option<Clients> {
        let replicas = self.ctx.route_replicas.as_deref()?;
        let announced = seen.cluster.as_ref().is_some_and(|c| c.shards == plan.to_shards);
        let waiting = plan.announced_at.is_some_and(|at| Timestamp::now().as_millisecond() - at.as_millisecond() < plan.clients_ms);
        let asked = seen.pairs.values().any(|p| p.asked.as_ref().is_some_and(|a| a.plan == plan.name && a.until >= Level::Flipped));
        if !announced || !waiting || asked || plan.until < Phase::Flipped {
            return None;
        }
        let epoch = self.cluster()?.status?.epoch?;
        Some(super::clients::ask(replicas, &self.namespace, &self.plan.spec.cluster_ref.name, epoch).await)
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

impl Drop for Runner {
    fn drop(&mut self) {
        self.ctx.metrics.forget_expansion(&self.namespace, &self.plan.name_any());
    }
}
