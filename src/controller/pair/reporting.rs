//! Tells what was seen and done: status, pods' labels and readiness, events, metrics. Writes only what is new.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::Runner;
use crate::api::{conditions, names, parse};
use crate::controller::events::event;
use crate::controller::metrics::data::MemberData;
use crate::controller::stores::Stores;
use crate::pair::decide::{View, split_status};
use crate::pair::facts::Observation;
use crate::pair::record::{Mode, Record};
use crate::pair::report::{self, Told};
use crate::pair::split::SplitStatus;
use crate::pair::step::{Decision, Next, Step};

/// While something is under way the status is told at most this often.
const TELL: Duration = Duration::from_millis(1_000);
/// A move that takes longer than this is told of while it goes on.
const LONG_MOVE: Duration = Duration::from_secs(3);
/// Trouble of a pair in Sync that is over sooner than this isn't told in its status, milliseconds.
const LASTING_MS: u64 = 2_000;

impl Runner {
    pub(super) async fn report(&mut self, seen: &Observation, decision: &Decision, next: Next) {
        let record = self.record();
        let before = self.memory.said.as_ref().map(|(reason, _)| *reason);
        self.ctx.metrics.pair(&self.namespace, &self.pair.name_any(), &record, decision, before);
        self.measure(&record, seen);
        self.say(decision);
        // A move comes first: a changed readiness makes kube-proxy sync, and the VIP's slice would wait 1 s for the next one.
        let busy = match next {
            Next::Tick => None,
            Next::Now | Next::Soon => Some(self.memory.busy_since.unwrap_or_else(Instant::now)),
        };
        self.memory.busy_since = busy;
        let due = self.memory.told.is_none_or(|at| at.elapsed() >= TELL);
        let long = busy.is_none_or(|since| since.elapsed() >= LONG_MOVE && due);
        if !long || self.must_claim || passing(&record, seen, decision) {
            return;
        }
        self.memory.told = Some(Instant::now());
        self.tell_status(&record, seen, decision).await;
        self.tell_pods(&record, seen).await;
    }

    /// What metrics tell of the members, at most once a second.
    fn measure(&mut self, record: &Record, seen: &Observation) {
        if self.memory.measured.is_some_and(|at| at.elapsed() < TELL) {
            return;
        }
        self.memory.measured = Some(Instant::now());
        let claims = &self.ctx.stores.claims;
        let member = |(name, member): (&String, &crate::pair::facts::Member)| {
            let claim = Stores::get(claims, &self.namespace, name);
            let size = claim.and_then(|c| c.status.as_ref()?.capacity.as_ref()?.get("storage").and_then(|q| parse::quantity_bytes(&q.0)));
            let measured = self.probers.get(name).map(|p| p.measured()).unwrap_or_default();
            (name.clone(), MemberData::of(record, seen, name, member, size.map(|s| s as f64), measured))
        };
        let members = seen.members.iter().map(member).collect();
        self.ctx.metrics.observed(&self.namespace, &self.pair.name_any(), &self.status(), self.settings.paused, members);
    }

    async fn tell_status(&mut self, record: &Record, seen: &Observation, decision: &Decision) {
        let ctx = self.ctx.clone();
        // Not waited for: what comes next may be in a hurry, and the next pass tells as well.
        let Ok(_turn) = ctx.unhurried.try_acquire() else { return };
        let now = Timestamp::now();
        let old = self.status();
        let mut status = old.clone();
        status.record.members = report::members(record, seen);
        status.split = self.told_of_split(record, seen, decision, now);
        let standby = record.standby.as_deref().and_then(|name| status.record.member(name));
        status.lag_seconds = standby.and_then(|m| m.lag_seconds);
        for said in report::conditions(record, &self.settings, seen, decision, now) {
            conditions::upsert(&mut status.conditions, said, self.pair.metadata.generation, now);
        }
        status.observed_generation = self.pair.metadata.generation;
        if let (Some(gap), Some(last_move)) = (self.memory.gap.take(), &mut status.last_move) {
            last_move.seconds = (gap.as_secs_f64() * 1000.0).round() / 1000.0;
            self.memory.unpublished_move = false;
        }
        if status != old
            && let Err(surprise) = self.put_status(status).await
        {
            tracing::debug!(pair = %self.pair.name_any(), %surprise, "status");
        }
    }

    fn told_of_split(&self, record: &Record, seen: &Observation, decision: &Decision, now: Timestamp) -> Option<SplitStatus> {
        let view = View { record, settings: &self.settings, seen, now };
        split_status(&view, decision, self.pause_seconds())
    }

    /// Role label and readiness gate of the pods.
    async fn tell_pods(&self, record: &Record, seen: &Observation) {
        let pods: Api<Pod> = Api::namespaced(self.ctx.client.clone(), &self.namespace);
        let roles = report::roles(record, &self.settings, seen, Timestamp::now());
        for (member, (role, fills)) in roles {
            let name = names::pod(&member);
            let Some(pod) = Stores::get(&self.ctx.stores.pods, &self.namespace, &name) else { continue };
            let shard = self.pair.spec.shard.to_string();
            let labelled = |key: &str, value: &str| pod.labels().get(key).is_some_and(|v| v == value);
            if !labelled(names::LABEL_ROLE, role) || !labelled(names::LABEL_SHARD, &shard) {
                let change = json!({"metadata": {"uid": pod.uid(), "labels": {names::LABEL_ROLE: role, names::LABEL_SHARD: shard}}});
                patch(&pods, &name, change, false).await;
            }
            let status = if fills { "True" } else { "False" };
            let current = pod.status.iter().flat_map(|s| s.conditions.iter().flatten()).find(|c| c.type_ == names::IN_ROLE);
            if current.is_none_or(|c| c.status != status) {
                let condition = json!({"type": names::IN_ROLE, "status": status, "lastTransitionTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), "reason": role, "message": ""});
                let change = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
                patch(&pods, &name, change, true).await;
            }
        }
    }

    /// What the change of the record means, as events.
    pub(super) fn tell_change(&self, old: &Record, new: &Record) {
        for told in report::changes(old, new) {
            self.tell(told);
        }
    }

    /// A decision's own event and log line, once as long as it stays the same.
    fn say(&mut self, decision: &Decision) {
        let said = (decision.note.reason, decision.note.message.clone());
        if self.memory.said.as_ref() == Some(&said) {
            return;
        }
        let same_reason = self.memory.said.as_ref().is_some_and(|(r, _)| *r == said.0);
        if !same_reason || !decision.steps.is_empty() {
            let steps: Vec<&str> = decision.steps.iter().map(Step::name).collect();
            tracing::info!(pair = %self.pair.name_any(), namespace = self.namespace, epoch = self.record().epoch, reason = said.0.as_str(), steps = steps.join(","), "{}", said.1);
        }
        if !same_reason && let Some(told) = report::said(decision) {
            self.tell(told);
        }
        self.memory.said = Some(said);
    }

    pub(super) fn tell(&self, told: Told) {
        let event = event(told.warning, told.reason, &told.message);
        let (recorder, reference) = (self.ctx.recorder.clone(), self.reference());
        // Not waited for: a move goes on.
        tokio::spawn(async move {
            if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(10), recorder.publish(&event, &reference)).await {
                tracing::warn!(%error, "event not published");
            }
        });
    }
}

/// An answer that is late on a busy machine is no news: told when it lasts. Only for a pair in Sync; what is done about it is
/// told with the record.
fn passing(record: &Record, seen: &Observation, decision: &Decision) -> bool {
    let brief = |ms: u64| ms > 0 && ms < LASTING_MS;
    let at_rest = record.mode == Mode::Sync && record.transition.is_none() && decision.steps.is_empty();
    at_rest && seen.members.values().any(|m| brief(m.away_ms()) || brief(m.not_serving_ms))
}

async fn patch(pods: &Api<Pod>, name: &str, change: serde_json::Value, status: bool) {
    let params = PatchParams::default();
    let call = async {
        match status {
            true => pods.patch_status(name, &params, &Patch::Strategic(change)).await,
            false => pods.patch(name, &params, &Patch::Strategic(change)).await,
        }
    };
    match tokio::time::timeout(Duration::from_secs(5), call).await {
        Ok(Err(error)) => tracing::debug!(pod = name, %error, "pod not told"),
        Err(_) => tracing::debug!(pod = name, "pod not told: no answer"),
        Ok(Ok(_)) => {}
    }
}
