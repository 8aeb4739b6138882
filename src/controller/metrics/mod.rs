//! What the operator measures, in the OpenMetrics text format. Labels are bounded: namespace, pair, member, and typed reasons.
//!
//! [`series`] is the table of all of them, [`data`] what is known, [`collect`] writes it when it is asked for. A pair's series
//! are forgotten with the pair, or when this process no longer leads: one process at a time tells of a pair.

mod collect;
pub mod data;
pub mod series;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::ResourceExt;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::api::conditions::{self, AVAILABLE, READY, REDUNDANT};
use crate::api::expansion::{ExpansionPlan, ExpansionPlanStatus, Phase};
use crate::api::pair::{LastMove, ShardPairStatus};
use crate::pair::guide::{self, Class};
use crate::pair::record::Record;
use crate::pair::step::{Decision, Reason};
use data::{MemberData, PairData, PlanData, SplitData};

type Key = (String, String);

/// By namespace and name.
#[derive(Debug, Default)]
struct Known {
    pairs: BTreeMap<Key, PairData>,
    plans: BTreeMap<Key, PlanData>,
}

#[derive(Debug, Default)]
struct Shared(Mutex<Known>);

/// See the module.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    known: Arc<Shared>,
    reconcile: Histogram,
    leading: Gauge<i64, AtomicI64>,
}

const PASS_BUCKETS: [f64; 9] = [0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

impl Default for Metrics {
    fn default() -> Self {
        use series::special::{LEADING, RECONCILE};
        let mut registry = Registry::with_prefix("shardpair");
        let known = Arc::new(Shared::default());
        let (reconcile, leading) = (Histogram::new(PASS_BUCKETS), Gauge::default());
        registry.register(RECONCILE.0, RECONCILE.1, reconcile.clone());
        registry.register(LEADING.0, LEADING.1, leading.clone());
        registry.register_collector(Box::new(known.clone()));
        Self { registry: Arc::new(registry), known, reconcile, leading }
    }
}

impl Metrics {
    fn with<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.0.lock().expect("never poisoned"))
    }

    fn of<T>(&self, namespace: &str, pair: &str, change: impl FnOnce(&mut PairData) -> T) -> T {
        self.with(|known| change(known.pairs.entry((namespace.to_owned(), pair.to_owned())).or_default()))
    }

    /// A pass ended.
    pub fn passed(&self, took: Duration) {
        self.reconcile.observe(took.as_secs_f64());
    }

    /// How a pair is, after a pass; `before`: the reason of the pass before it.
    pub fn pair(&self, namespace: &str, pair: &str, record: &Record, decision: &Decision, before: Option<Reason>) {
        self.of(namespace, pair, |known| {
            let reason = decision.note.reason;
            if before != Some(reason) && guide::guide(reason).0 >= Class::Refusal {
                *known.refusals.entry(reason.as_str()).or_default() += 1;
            }
            known.reason = Some(reason);
            known.record.clone_from(record);
        });
    }

    /// What was told of it, and its members.
    pub fn observed(&self, namespace: &str, pair: &str, status: &ShardPairStatus, paused: bool, members: BTreeMap<String, MemberData>) {
        let holds = |type_| conditions::find(&status.conditions, type_).map(|c| c.status == "True");
        self.of(namespace, pair, |known| {
            known.conditions = [holds(READY), holds(AVAILABLE), holds(REDUNDANT)];
            known.paused = paused;
            known.members = members;
        });
    }

    /// The record names another primary.
    pub fn switched(&self, namespace: &str, pair: &str, done: &LastMove) {
        let reason = guide::reason(&done.reason).map_or("Other", Reason::as_str);
        self.of(namespace, pair, |known| *known.moves.entry((data::kind(done.kind), reason)).or_default() += 1);
    }

    /// The VIP leads to it.
    pub fn moved(&self, namespace: &str, pair: &str, gap: Duration) {
        self.of(namespace, pair, |known| known.gaps.observe(gap.as_secs_f64()));
    }

    /// A pair is gone, or another process's now.
    pub fn forget(&self, namespace: &str, pair: &str) {
        self.with(|known| known.pairs.remove(&(namespace.to_owned(), pair.to_owned())));
    }

    /// How far an expansion has come.
    pub fn expansion(&self, plan: &ExpansionPlan) {
        let told = expansion(&plan.spec.cluster_ref.name, plan.status.as_ref().unwrap_or(&ExpansionPlanStatus::default()));
        self.with(|known| known.plans.insert((plan.namespace().unwrap_or_default(), plan.name_any()), told));
    }

    /// An expansion is gone, or another process's now.
    pub fn forget_expansion(&self, namespace: &str, plan: &str) {
        self.with(|known| known.plans.remove(&(namespace.to_owned(), plan.to_owned())));
    }

    /// Whether this process leads.
    pub fn leads(&self, leading: bool) {
        self.leading.set(i64::from(leading));
    }

    /// For `/metrics`.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String doesn't fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn done(phase: Option<Phase>) -> f64 {
    match phase {
        None => 0.0,
        Some(Phase::Preflight) => 1.0,
        Some(Phase::Prepared) => 2.0,
        Some(Phase::Flipped) => 3.0,
        Some(Phase::Dissolved) => 4.0,
        Some(Phase::Complete) => 5.0,
    }
}

fn expansion(cluster: &str, status: &ExpansionPlanStatus) -> PlanData {
    let number = |n: Option<i64>| n.map(|n| n as f64);
    let shard = |s: &crate::api::expansion::ShardProgress| SplitData {
        phase: done(s.phase),
        pause_seconds: s.pause_seconds,
        misrouted: number(s.misrouted_rows),
        scanned: number(s.rows_scanned),
        deleted: number(s.rows_deleted),
        estimated: number(s.rows_estimated),
        throttled: s.throttled.as_ref().map(|t| t.reason.clone()),
    };
    PlanData {
        cluster: cluster.to_owned(),
        phase: done(status.phase),
        stalled: conditions::is_true(&status.conditions, conditions::STALLED),
        shards: status.shards.iter().map(|s| (s.shard, shard(s))).collect(),
    }
}
