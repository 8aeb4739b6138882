//! An expansion, as the page shows it. Pure.

use kube::ResourceExt;
use serde::Serialize;

use crate::api::conditions;
use crate::api::expansion::{ExpansionPlan, Phase, ShardProgress};

/// An expansion.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Its namespace.
    pub namespace: String,
    /// Its cluster.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// Shards afterwards.
    pub to_shards: i32,
    /// The last phase that is wholly done, or empty.
    pub phase: String,
    /// How far it may go.
    pub until: String,
    /// Nothing is left to do.
    pub complete: bool,
    /// Nothing goes on without a person.
    pub stalled: bool,
    /// One word.
    pub reason: String,
    /// What it does or waits for.
    pub message: String,
    /// Findings that refuse it.
    pub refusals: Vec<String>,
    /// By shard.
    pub shards: Vec<Split>,
}

/// One shard of an expansion.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Split {
    /// The shard that is split.
    pub shard: i32,
    /// The one that comes out of it.
    pub new_shard: i32,
    /// The last phase that is wholly done, or empty.
    pub phase: String,
    /// How long moving keys paused.
    pub pause_seconds: Option<f64>,
    /// Rows on the wrong side.
    pub misrouted: Option<i64>,
    /// What is being done at length: `cloned` or `purged`, in percent.
    pub progress: Option<Progress>,
    /// What it waits for, or why the purge holds back; or empty.
    pub message: String,
}

/// Something that takes long.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// `cloned`, `purged`
    pub what: &'static str,
    /// 0 to 100.
    pub percent: i64,
    /// At the rate of now.
    pub eta_seconds: Option<i64>,
}

/// Of the object.
pub fn plan(plan: &ExpansionPlan) -> Plan {
    let status = plan.status.clone().unwrap_or_default();
    let said = conditions::of_plan(&status.conditions);
    Plan {
        namespace: plan.namespace().unwrap_or_default(),
        cluster: plan.spec.cluster_ref.name.clone(),
        name: plan.name_any(),
        to_shards: plan.spec.to_shards,
        phase: word(status.phase),
        until: word(Some(plan.spec.until)),
        complete: conditions::is_true(&status.conditions, conditions::COMPLETE),
        stalled: conditions::is_true(&status.conditions, conditions::STALLED),
        reason: said.map(|c| c.reason.clone()).unwrap_or_default(),
        message: said.map(|c| c.message.clone()).unwrap_or_default(),
        refusals: status.findings.iter().filter(|f| f.severity == crate::api::expansion::Severity::Refused).map(|f| format!("{} of {}: {}", f.reason, f.object, f.message)).collect(),
        shards: status.shards.iter().map(split).collect(),
    }
}

fn word(phase: Option<Phase>) -> String {
    phase.map_or_else(String::new, |p| format!("{p:?}"))
}

fn split(s: &ShardProgress) -> Split {
    let percent = |done: i64, all: i64| (done.max(0) as i128 * 100 / all.max(1) as i128).min(100) as i64;
    let cloned = s.clone.as_ref().map(|c| Progress { what: "cloned", percent: percent(c.bytes_done, c.bytes_estimated), eta_seconds: c.eta_seconds });
    let purged = s.rows_scanned.zip(s.rows_estimated).map(|(done, all)| Progress { what: "purged", percent: percent(done, all), eta_seconds: None });
    let held = s.throttled.as_ref().map(|t| format!("the purge holds back: {}", t.reason));
    Split {
        shard: s.shard,
        new_shard: s.new_shard,
        phase: word(s.phase),
        pause_seconds: s.pause_seconds,
        misrouted: s.misrouted_rows,
        progress: cloned.or(purged),
        message: held.or_else(|| s.message.clone()).unwrap_or_default(),
    }
}
