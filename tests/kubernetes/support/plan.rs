//! An ExpansionPlan of a test, and what is waited for.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use shardpair::api::conditions;
use shardpair::api::expansion::{ExpansionPlan, ExpansionPlanStatus, Phase};

use super::eventually;
use super::shop::{Shop, merge};

/// A plan of a test.
pub struct Plan<'a> {
    pub shop: &'a Shop,
    pub name: &'static str,
}

impl<'a> Plan<'a> {
    pub async fn apply(shop: &'a Shop, name: &'static str, to: u32, change: Value) -> Self {
        let mut spec = json!({"clusterRef": {"name": shop.name}, "toShards": to, "reverseWindow": "2s"});
        merge(&mut spec, change);
        let object = json!({"apiVersion": "shardpair.io/v1alpha1", "kind": "ExpansionPlan", "metadata": {"name": name}, "spec": spec});
        let plan = Self { shop, name };
        plan.api().patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await.expect("the plan is accepted");
        plan
    }

    fn api(&self) -> Api<ExpansionPlan> {
        Api::namespaced(self.shop.client.clone(), &self.shop.ns)
    }

    pub async fn until(&self, phase: &str) {
        let change = json!({"spec": {"until": phase}});
        self.api().patch(self.name, &PatchParams::default(), &Patch::Merge(change)).await.expect("changed");
    }

    pub async fn status(&self) -> Result<ExpansionPlanStatus, String> {
        Ok(self.api().get(self.name).await.map_err(|e| e.to_string())?.status.unwrap_or_default())
    }

    pub async fn reaches(&self, phase: Phase, within: Duration) -> ExpansionPlanStatus {
        let began = Instant::now();
        let status = eventually(&format!("{}: {phase:?}", self.name), within, async || {
            let status = self.status().await?;
            if status.phase == Some(phase) { Ok(status) } else { Err(self.said(&status)) }
        })
        .await;
        println!("{}: {phase:?} after {:.1} s", self.name, began.elapsed().as_secs_f64());
        status
    }

    /// Waits until a condition has this reason; its message.
    pub async fn says(&self, type_: &str, reason: &str, within: Duration) -> String {
        eventually(&format!("{}: {type_} {reason}", self.name), within, async || {
            let status = self.status().await?;
            let found = conditions::find(&status.conditions, type_).filter(|c| c.reason == reason).map(|c| c.message.clone());
            found.ok_or_else(|| self.said(&status))
        })
        .await
    }

    fn said(&self, status: &ExpansionPlanStatus) -> String {
        let said: Vec<_> = status.conditions.iter().map(|c| format!("{} {} {}: {}", c.type_, c.status, c.reason, c.message)).collect();
        format!("phase {:?}; {}; {:?}", status.phase, said.join("; "), status.shards)
    }

    /// Asks for deletion.
    pub async fn delete(&self) {
        self.api().delete(self.name, &DeleteParams::default()).await.expect("deleted");
    }

    pub async fn is_gone(&self, within: Duration) {
        eventually(&format!("{} is gone", self.name), within, async || match self.api().get_opt(self.name).await {
            Ok(None) => Ok(()),
            Ok(Some(plan)) => Err(self.said(&plan.status.unwrap_or_default())),
            Err(error) => Err(error.to_string()),
        })
        .await;
    }
}
