//! Status and events: what is said is `expansion::report`'s (pure); here it is written, no more often than need be.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::api::PostParams;
use kube::{Resource, ResourceExt};

use super::{CALL, Runner};
use crate::controller::events::event;
use crate::api::expansion::ExpansionPlan;
use crate::expansion::facts::{Observation, Plan};
use crate::expansion::report;
use crate::expansion::step::Decision;

/// Numbers and words alone are written at most this often.
const PROGRESS: Duration = Duration::from_secs(3);

impl Runner {
    pub(super) async fn report(&mut self, plan: &Plan, seen: &Observation, decision: &Decision, now: Timestamp) {
        self.log(decision);
        let old = self.status();
        let new = report::status(&old, plan, seen, decision, self.plan.metadata.generation, now);
        let lately = self.memory.reported.is_some_and(|at| at.elapsed() < PROGRESS);
        if new == old || lately && !report::is_urgent(&old, &new) {
            return;
        }
        let mut object = self.plan.clone();
        object.metadata.managed_fields = None;
        object.status = Some(new.clone());
        let name = self.plan.name_any();
        let write = self.api::<ExpansionPlan>();
        match tokio::time::timeout(CALL, write.replace_status(&name, &PostParams::default(), &object)).await {
            Ok(Ok(written)) => {
                self.plan = written;
                self.memory.reported = Some(Instant::now());
                for told in report::events(&old, &new, decision, plan.deleting) {
                    self.tell(told);
                }
            }
            // Newer than what was read, or gone: the next pass has it.
            Ok(Err(error)) => tracing::debug!(plan = name, %error, "status not written"),
            Err(_) => tracing::debug!(plan = name, "status not written: no answer"),
        }
    }

    fn log(&mut self, decision: &Decision) {
        let said = (decision.note.reason, decision.note.message.clone());
        if self.memory.said.as_ref().is_none_or(|last| last.0 != said.0) || !decision.steps.is_empty() {
            let steps: Vec<String> = decision.steps.iter().map(|s| format!("{s:?}")).collect();
            tracing::info!(plan = self.plan.name_any(), namespace = self.namespace, reason = said.0.as_str(), steps = steps.join(", "), "{}", said.1);
        }
        self.memory.said = Some(said);
    }

    fn tell(&self, told: report::Told) {
        let event = event(told.warning, told.reason, &told.note);
        let (recorder, reference) = (self.ctx.recorder.clone(), self.plan.object_ref(&()));
        // Not waited for: a flip goes on.
        tokio::spawn(async move {
            if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(10), recorder.publish(&event, &reference)).await {
                tracing::warn!(%error, "event not published");
            }
        });
    }
}
