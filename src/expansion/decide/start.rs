//! May it begin, and what is looked at before anything is touched.

use super::view::View;
use super::{Said, dry_run};
use crate::api::expansion::{Phase, Standbys};
use crate::expansion::step::{Reason, Step, Work};

pub(super) fn complete(v: &View) -> Option<Said> {
    if v.plan.phase != Some(Phase::Complete) {
        return None;
    }
    let said = Said::wait(Reason::Complete, format!("{} shards", v.plan.to_shards));
    Some(if v.plan.held { Said { steps: vec![Step::Release], ..said } } else { said })
}

pub(super) fn cluster_gone(v: &View) -> Option<Said> {
    let said = match v.cluster() {
        None => Said::wait(Reason::NoCluster, "there is no ShardCluster of the name in spec.clusterRef in this namespace: create it, or delete the plan"),
        Some(c) if c.deleting => Said::wait(Reason::ClusterDeleted, "the ShardCluster is being deleted"),
        Some(_) => return None,
    };
    // What it made goes with the cluster.
    Some(if v.plan.deleting && v.plan.held { Said { steps: vec![Step::Release], ..said } } else { said })
}

pub(super) fn nothing_left(v: &View) -> Option<Said> {
    (v.plan.deleting && !v.in_flight()).then(|| Said::go(Reason::RollingBack, "nothing is left of it", if v.plan.held { vec![Step::Release] } else { Vec::new() }))
}

pub(super) fn paused(v: &View) -> Option<Said> {
    if v.plan.paused {
        return Some(Said::wait(Reason::Paused, "the plan has the annotation shardpair.io/paused: take it away to go on"));
    }
    let paused = v.cluster().is_some_and(|c| c.paused);
    paused.then(|| Said::wait(Reason::Paused, "spec.paused of the ShardCluster is true: set it to false to go on"))
}

/// Whether it can be carried out at all; asked until something has been made.
pub(super) fn admission(v: &View) -> Option<Said> {
    let cluster = v.cluster()?;
    if let Some(invalid) = &cluster.invalid {
        return Some(Said::wait(Reason::ClusterInvalid, format!("the ShardCluster can't be carried out: {invalid}")));
    }
    if v.in_flight() {
        return None;
    }
    if let Some(other) = &v.seen.before {
        return Some(Said::wait(Reason::AnotherPlan, format!("ExpansionPlan {other} of the same cluster goes first: this one begins when that is Complete or deleted")));
    }
    if v.plan.to_shards != cluster.shards * 2 {
        let message = format!("spec.toShards is {}, and the cluster has {} shards: make a plan with toShards: {}", v.plan.to_shards, cluster.shards, cluster.shards * 2);
        return Some(Said::wait(Reason::NotDouble, message));
    }
    let impossible = match v.plan.standbys {
        Standbys::After if cluster.required => Some("spec.standbys: After leaves pairs without a standby for a while, which the cluster's durability: Required forbids: use Before"),
        _ if !cluster.by_range && !v.plan.split_at.is_empty() => Some("spec.splitAt is for clusters of strategy Range: make a plan without it"),
        _ => None,
    };
    impossible.map(|why| Said::wait(Reason::NotPossible, why))
}

/// A dry run makes nothing, so nothing has to be undone.
pub(super) fn hold(v: &View) -> Option<Said> {
    (v.aim() >= Some(Phase::Prepared) && !v.plan.held).then(|| Said::go(Reason::Preflight, "it begins", vec![Step::Hold]))
}

pub(super) fn preflight(v: &View) -> Option<Said> {
    if v.in_flight() {
        return None;
    }
    if v.aim() == Some(Phase::Preflight) && v.plan.phase == Some(Phase::Preflight) && v.seen.preflight.is_none() {
        return Some(Said::wait(Reason::Approval, dry_run(v)));
    }
    if let Some(why) = v.plan.parents().find_map(|s| v.unwell(s)) {
        return Some(Said::wait(Reason::Degraded, format!("every pair must be in Sync and at rest before it begins; {why}")));
    }
    let Some(preflight) = &v.seen.preflight else {
        let error = v.seen.preflight_error.as_ref().map(|e| format!("; tried again after: {e}")).unwrap_or_default();
        return Some(Said::wait(Reason::Preflight, format!("schema, pairs and disks are looked at{error}")).work(Work::Preflight));
    };
    let refusals: Vec<_> = preflight.refusals().collect();
    if let Some(first) = refusals.first() {
        let more = if refusals.len() > 1 { format!(" ({} more in status.findings)", refusals.len() - 1) } else { String::new() };
        return Some(Said::wait(Reason::Refused, format!("{}: {}: {}{more}", first.reason, first.object, first.message)));
    }
    bounds(v)
}

/// Range: where each shard is cut, noted before anything is made.
fn bounds(v: &View) -> Option<Said> {
    if !v.cluster()?.by_range || v.aim() < Some(Phase::Prepared) || v.plan.parents().all(|s| v.plan.chosen.contains_key(&s)) {
        return None;
    }
    let medians = &v.seen.preflight.as_ref()?.medians;
    let bound = |s: u32| v.plan.split_at.get(s as usize).or(medians.get(&s)).copied().ok_or(s);
    Some(match v.plan.parents().map(|s| Ok((s, bound(s)?))).collect::<Result<Vec<_>, u32>>() {
        Ok(chosen) => Said::go(Reason::Preflight, "each shard's bound is noted", vec![Step::Choose(chosen)]),
        Err(s) => Said::wait(Reason::NotPossible, format!("shard {s} has no rows whose median could split it: make a plan with spec.splitAt, one bound per shard")),
    })
}
