//! What the operator measures, in the OpenMetrics text format. Labels are bounded: namespace, pair, and typed reasons.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::pair::record::{Mode, Record};
use crate::pair::step::{Decision, Reason, Step};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pair {
    namespace: String,
    pair: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PairReason {
    namespace: String,
    pair: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Move {
    namespace: String,
    pair: String,
    kind: String,
}

/// See the module.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    epoch: Family<Pair, Gauge<i64, AtomicI64>>,
    sync: Family<Pair, Gauge<i64, AtomicI64>>,
    state: Family<PairReason, Gauge<i64, AtomicI64>>,
    moves: Family<Move, Counter<u64, AtomicU64>>,
    gap: Family<Pair, Histogram>,
    reconcile: Histogram,
    leading: Gauge<i64, AtomicI64>,
}

/// Seconds: a failover is a quarter of one.
const GAP_BUCKETS: [f64; 12] = [0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0];
const PASS_BUCKETS: [f64; 9] = [0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("shardpair");
        let own = Self {
            registry: Arc::default(),
            epoch: Family::default(),
            sync: Family::default(),
            state: Family::default(),
            moves: Family::default(),
            gap: Family::new_with_constructor(|| Histogram::new(GAP_BUCKETS)),
            reconcile: Histogram::new(PASS_BUCKETS),
            leading: Gauge::default(),
        };
        registry.register("pair_epoch", "Epoch of the pair's record", own.epoch.clone());
        registry.register("pair_sync", "1: every acknowledged write is on both members; 0: Solo", own.sync.clone());
        registry.register("pair_state", "1 for the reason that the pair's last decision gave", own.state.clone());
        registry.register("pair_moves", "Moves of the primary's role, by kind", own.moves.clone());
        registry.register("pair_write_gap_seconds", "From the first sign of trouble to the write of the VIP's slice", own.gap.clone());
        registry.register("reconcile_seconds", "Duration of one pass over one pair", own.reconcile.clone());
        registry.register("leading", "1: this process leads", own.leading.clone());
        Self { registry: Arc::new(registry), ..own }
    }
}

impl Metrics {
    /// A pass ended.
    pub fn passed(&self, took: Duration) {
        self.reconcile.observe(took.as_secs_f64());
    }

    /// How a pair is, after a pass; `before`: the reason of the pass before it.
    pub fn pair(&self, namespace: &str, pair: &str, record: &Record, decision: &Decision, before: Option<Reason>) {
        let own = || Pair { namespace: namespace.to_owned(), pair: pair.to_owned() };
        self.epoch.get_or_create(&own()).set(record.epoch);
        self.sync.get_or_create(&own()).set(i64::from(record.mode == Mode::Sync));
        let label = |reason: &str| PairReason { namespace: namespace.to_owned(), pair: pair.to_owned(), reason: reason.to_owned() };
        let reason = decision.note.reason;
        if before != Some(reason) {
            self.state.get_or_create(&label(reason.as_str())).set(1);
            before.map(|old| self.state.remove(&label(old.as_str())));
        }
        for step in &decision.steps {
            if let Step::WriteRecord(new) = step
                && record.transition.is_some()
                && new.primary != record.primary
            {
                let kind = record.transition.as_ref().map(|t| format!("{:?}", t.kind)).unwrap_or_default();
                self.moves.get_or_create(&Move { namespace: namespace.to_owned(), pair: pair.to_owned(), kind }).inc();
            }
        }
    }

    /// A move is done.
    pub fn moved(&self, namespace: &str, pair: &str, gap: Duration) {
        self.gap.get_or_create(&Pair { namespace: namespace.to_owned(), pair: pair.to_owned() }).observe(gap.as_secs_f64());
    }

    /// A pair is gone.
    pub fn forget(&self, namespace: &str, pair: &str) {
        let own = Pair { namespace: namespace.to_owned(), pair: pair.to_owned() };
        self.epoch.remove(&own);
        self.sync.remove(&own);
        self.gap.remove(&own);
        for reason in Reason::ALL {
            self.state.remove(&PairReason { namespace: namespace.to_owned(), pair: pair.to_owned(), reason: reason.as_str().to_owned() });
        }
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
