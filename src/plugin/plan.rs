//! An expansion as it is told: phases, bars, the time that is left. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use super::paint::{Paint, bar, drawn};
use super::seen::age;
use crate::api::conditions::{self, COMPLETE, STALLED};
use crate::api::expansion::{Finding, Phase, Severity, ShardProgress};
use crate::api::ExpansionPlan;
use crate::pair::guide::Class;

/// The phases in order.
pub const PHASES: [Phase; 5] = [Phase::Preflight, Phase::Prepared, Phase::Flipped, Phase::Dissolved, Phase::Complete];
const BAR: usize = 20;

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The cluster that grows.
    pub cluster: String,
    /// To so many shards.
    pub to_shards: i32,
    /// The last phase that is wholly done.
    pub phase: Option<Phase>,
    /// How far it may go.
    pub until: Phase,
    /// All done.
    pub complete: bool,
    /// Nothing goes on without a person.
    pub stalled: bool,
    /// One word.
    pub reason: String,
    /// What it does or waits for.
    pub message: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What the preflight found.
    pub findings: Vec<Finding>,
    /// Per shard.
    pub shards: Vec<ShardProgress>,
    /// Seconds that the purge still takes at its pace; None: not known.
    pub eta_seconds: Option<i64>,
}

impl PlanView {
    /// Of the object alone.
    pub fn of(plan: &ExpansionPlan, _now: Timestamp) -> Self {
        let status = plan.status.clone().unwrap_or_default();
        let told = conditions::of_plan(&status.conditions);
        Self {
            namespace: plan.namespace().unwrap_or_default(),
            name: plan.name_any(),
            cluster: plan.spec.cluster_ref.name.clone(),
            to_shards: plan.spec.to_shards,
            phase: status.phase,
            until: plan.spec.until,
            complete: conditions::is_true(&status.conditions, COMPLETE),
            stalled: conditions::is_true(&status.conditions, STALLED),
            reason: told.map_or_else(|| "NotLookedAt".to_owned(), |c| c.reason.clone()),
            message: told.map_or_else(|| "no operator has looked at it yet".to_owned(), |c| c.message.clone()),
            since: told.map(|c| c.last_transition_time.0),
            findings: status.findings,
            shards: status.shards,
            eta_seconds: None,
        }
    }

    /// Rows that the purge has looked at, and has to look at.
    pub fn rows(&self) -> (i64, i64) {
        let sum = |of: fn(&ShardProgress) -> Option<i64>| self.shards.iter().filter_map(of).sum::<i64>();
        (sum(|s| s.rows_scanned), sum(|s| s.rows_estimated))
    }

    /// It waits for a person's word.
    pub fn needs_approval(&self) -> bool {
        !self.stalled && self.phase == Some(self.until) && self.until != Phase::Complete
    }
}

/// How fast the purge has been since it was looked at first, by plan.
#[derive(Clone, Debug, Default)]
pub struct Pace(BTreeMap<String, (Timestamp, i64)>);

impl Pace {
    /// Puts the time that is left into the view.
    pub fn note(&mut self, plan: &mut PlanView, now: Timestamp) {
        let (done, all) = plan.rows();
        let (since, then) = *self.0.entry(plan.name.clone()).or_insert((now, done));
        let seconds = (now.as_millisecond() - since.as_millisecond()) as f64 / 1000.0;
        let left = (all - done).max(0) as f64;
        plan.eta_seconds = (done > then && seconds >= 1.0 && all > 0).then(|| (left * seconds / (done - then) as f64).ceil() as i64);
    }
}

/// For a person.
pub fn text(plan: &PlanView, paint: Paint) -> String {
    let done = plan.phase.map_or(0, |p| PHASES.iter().position(|q| *q == p).map_or(0, |i| i + 1)) as i64;
    let class = if plan.stalled { Class::Alarm } else if plan.complete { Class::Rest } else { Class::Work };
    let phase = plan.phase.map_or_else(|| "-".to_owned(), |p| format!("{p:?}"));
    let mut text = format!("plan {}: {} to {} shards {} {phase} of {:?}, {}\n", plan.name, plan.cluster, plan.to_shards, bar(done, PHASES.len() as i64, BAR), plan.until, paint.text(class, &plan.reason));
    if !plan.message.is_empty() && !plan.complete {
        text += &format!("  {}\n", plan.message);
    }
    if plan.needs_approval() {
        text += &format!("  -> `kubectl shardpair approve {0}` goes on{1}\n", plan.name, if may_roll_back(plan) { format!(", `kubectl shardpair rollback {}` undoes it", plan.name) } else { String::new() });
    }
    text += &findings(plan, paint);
    let rows: Vec<_> = plan.shards.iter().map(shard).collect();
    if !rows.is_empty() {
        text += &paint.table(&["  SHARD", "PHASE", "PAUSE", "MISROUTED", "PURGE", "DELETED"], rows);
    }
    if let Some(left) = plan.eta_seconds.filter(|_| !plan.complete) {
        text += &format!("  purge: about {} left\n", age(left));
    }
    text
}

/// From the first change until the links are dissolved.
pub fn may_roll_back(plan: &PlanView) -> bool {
    matches!(plan.phase, Some(Phase::Prepared | Phase::Flipped))
}

fn findings(plan: &PlanView, paint: Paint) -> String {
    if plan.findings.is_empty() {
        return String::new();
    }
    let row = |f: &Finding| {
        let class = if f.severity == Severity::Refused { Class::Refusal } else { Class::Wait };
        vec![drawn(class, format!("  {:?}", f.severity)), f.reason.clone().into(), f.object.clone().into(), f.message.clone().into()]
    };
    paint.table(&[], plan.findings.iter().map(row).collect())
}

fn shard(s: &ShardProgress) -> Vec<super::paint::Drawn> {
    let dash = || "-".to_owned();
    let purge = match (s.rows_scanned, s.rows_estimated) {
        (Some(scanned), Some(all)) => bar(scanned, all, BAR / 2),
        (Some(scanned), None) => format!("{scanned} rows"),
        _ => dash(),
    };
    let purge = match &s.throttled {
        Some(t) => drawn(Class::Wait, format!("{purge} held: {}", t.reason)),
        None => purge.into(),
    };
    vec![
        format!("  {} -> {}", s.shard, s.new_shard).into(),
        s.phase.map_or_else(dash, |p| format!("{p:?}")).into(),
        s.pause_seconds.map_or_else(dash, |p| format!("{p:.3}s")).into(),
        match s.misrouted_rows {
            Some(0) => "0".into(),
            Some(n) => drawn(Class::Alarm, n),
            None => dash().into(),
        },
        purge,
        s.rows_deleted.map_or_else(dash, |n| n.to_string()).into(),
    ]
}
