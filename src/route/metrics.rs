//! What the routing service measures. Labels are bounded: its own paths and status codes, and clusters.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Shared;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    call: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cluster {
    namespace: String,
    cluster: String,
}

/// Seconds: a call takes tens of microseconds.
const BUCKETS: [f64; 9] = [0.000_02, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.05, 0.5];

/// See the module.
pub struct Metrics {
    registry: Registry,
    calls: Family<Call, Counter<u64, AtomicU64>>,
    seconds: Histogram,
    refused: Counter<u64, AtomicU64>,
    source_errors: Counter<u64, AtomicU64>,
    epoch: Family<Cluster, Gauge<i64, AtomicI64>>,
    clients: Family<Cluster, Gauge<i64, AtomicI64>>,
    behind: Family<Cluster, Gauge<i64, AtomicI64>>,
    last_contact: Mutex<Option<Instant>>,
    silence: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("shardpair_route");
        let (calls, refused, source_errors) = (Family::default(), Counter::default(), Counter::default());
        let (epoch, clients, behind, silence) = (Family::default(), Family::default(), Family::default(), Gauge::default());
        let seconds = Histogram::new(BUCKETS);
        registry.register("calls", "Calls by kind and status code", calls.clone());
        registry.register("call_seconds", "Time of a call that doesn't wait for a change", seconds.clone());
        registry.register("maps_refused", "Maps that were malformed, newer than this program, or lost an epoch", refused.clone());
        registry.register("source_errors", "Failures of the watch", source_errors.clone());
        registry.register("epoch", "Epoch of the map that is served", epoch.clone());
        registry.register("clients", "Clients heard of lately by this replica", clients.clone());
        registry.register("clients_behind", "Those of them that use an older epoch", behind.clone());
        registry.register("source_silence_seconds", "Since when the source of the maps fails; 0: it doesn't", silence.clone());
        Self { registry, calls, seconds, refused, source_errors, epoch, clients, behind, last_contact: Mutex::new(None), silence }
    }
}

impl Metrics {
    /// A call was answered. `took`: None where it may have waited for a change.
    pub fn call(&self, call: &'static str, code: u16, took: Option<Duration>) {
        self.calls.get_or_create(&Call { call, code }).inc();
        if let Some(took) = took {
            self.seconds.observe(took.as_secs_f64());
        }
    }

    /// A map was refused.
    pub fn refused(&self) {
        self.refused.inc();
    }

    /// The source answers, or fails.
    pub fn source(&self, answers: bool) {
        let mut since = self.last_contact.lock().expect("never poisoned");
        if answers {
            *since = None;
        } else {
            self.source_errors.inc();
            since.get_or_insert_with(Instant::now);
        }
    }

    /// In the OpenMetrics format.
    pub fn render(&self, shared: &Shared) -> String {
        let now = Instant::now();
        self.silence.set(self.last_contact.lock().expect("never poisoned").map_or(0, |since| since.elapsed().as_secs() as i64));
        for family in [&self.epoch, &self.clients, &self.behind] {
            family.clear();
        }
        for (name, served) in shared.maps.all().iter() {
            let label = Cluster { namespace: name.namespace.clone(), cluster: name.name.clone() };
            let known = shared.followers.of(name, now);
            self.epoch.get_or_create(&label).set(served.map.epoch);
            self.clients.get_or_create(&label).set(known.len() as i64);
            self.behind.get_or_create(&label).set(known.iter().filter(|f| f.epoch < served.map.epoch).count() as i64);
        }
        let mut text = String::new();
        // Writing into a String doesn't fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
