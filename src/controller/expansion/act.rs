//! Carries out a decision's steps as they stand, in their order, and stops at the first surprise.
//!
//! Every write names the version that was read: what another one changed meanwhile is a surprise, and looked at anew.

use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{CALL, Runner, Surprise};
use crate::api::cluster::ShardCluster;
use crate::api::expansion::{ExpansionPlan, Standbys};
use crate::api::pair::{ShardPair, Split, SplitKeys, SplitRole};
use crate::api::valid::Valid;
use crate::api::names;
use crate::controller::numbers;
use crate::expansion::facts::{Level, Plan};
use crate::expansion::step::{Decision, Step};
use crate::manifests;
use crate::pair::split::SplitUntil;
use crate::routing::Keys;

fn until(level: Level) -> SplitUntil {
    match level {
        Level::Prepared => SplitUntil::Prepared,
        Level::Flipped => SplitUntil::Flipped,
        Level::Dissolved => SplitUntil::Dissolved,
        Level::Purged => SplitUntil::Purged,
    }
}

fn split_keys(keys: Keys) -> SplitKeys {
    match keys {
        Keys::Residue { modulus, residue } => SplitKeys { modulus: Some(modulus), residue: Some(residue), ..SplitKeys::default() },
        Keys::Range { from, to } => SplitKeys { from, to, ..SplitKeys::default() },
        Keys::Route { route, modulus, residue } => SplitKeys { route: Some(route), modulus: Some(modulus), residue: Some(residue), ..SplitKeys::default() },
    }
}

async fn call<T>(step: &str, doing: impl Future<Output = kube::Result<T>>) -> Result<T, Surprise> {
    match tokio::time::timeout(CALL, doing).await {
        Ok(done) => done.map_err(|e| Surprise::new(step, e.to_string())),
        Err(_) => Err(Surprise::new(step, "no answer from the API server")),
    }
}

impl Runner {
    /// What was done stays in the decision; the rest is dropped.
    pub(super) async fn act(&mut self, plan: &Plan, decision: &mut Decision) -> Result<(), Surprise> {
        let steps = std::mem::take(&mut decision.steps);
        for step in steps {
            if !self.ctx.leadership.holds() {
                return Err(Surprise::new(format!("{step:?}"), "this operator doesn't lead"));
            }
            self.step(plan, &step).await?;
            decision.steps.push(step);
        }
        Ok(())
    }

    async fn step(&mut self, plan: &Plan, step: &Step) -> Result<(), Surprise> {
        match step {
            Step::Hold => self.set_finalizer(true).await,
            Step::Release => self.set_finalizer(false).await,
            Step::Choose(_) => Ok(()), // kept in the plan's status, which is written after the steps
            Step::MakePair { parent, child } => self.make_pair(plan, *parent, *child).await,
            Step::Ask { parent, until } => self.ask(plan, *parent, *until).await,
            Step::Unask(shard) => self.set_split(*shard, None).await,
            Step::DropPair(shard) => self.drop_pair(*shard).await,
            Step::Announce(shards) => self.announce(plan, *shards).await,
        }
    }

    async fn set_finalizer(&mut self, on: bool) -> Result<(), Surprise> {
        let mut finalizers: Vec<String> = self.plan.finalizers().iter().filter(|f| *f != names::PLAN_FINALIZER).cloned().collect();
        if on {
            finalizers.push(names::PLAN_FINALIZER.to_owned());
        }
        let change = json!({"metadata": {"resourceVersion": self.plan.resource_version(), "finalizers": finalizers}});
        let (api, name) = (self.api::<ExpansionPlan>(), self.plan.name_any());
        let written = call("finalizer", api.patch(&name, &PatchParams::default(), &Patch::Merge(change))).await?;
        self.plan = written;
        Ok(())
    }

    fn valid(&self) -> Result<(ShardCluster, Valid), Surprise> {
        let cluster = self.cluster().ok_or_else(|| Surprise::new("cluster", "it is gone, or can't be read"))?;
        let valid = Valid::parse(&cluster).map_err(|invalid| Surprise::new("cluster", invalid.to_string()))?;
        Ok((cluster, valid))
    }

    fn pair(&self, shard: u32) -> Result<ShardPair, Surprise> {
        let (cluster, _) = self.valid()?;
        let found = self.pairs(&cluster).remove(&shard);
        found.ok_or_else(|| Surprise::new("pair", format!("the pair of shard {shard} isn't there")))
    }

    /// What both sides of a split are told; the keys are those of the map before it.
    fn split(&self, plan: &Plan, parent: u32, role: SplitRole, level: Level) -> Result<Split, Surprise> {
        let (_, mut valid) = self.valid()?;
        let half = plan.to_shards / 2;
        // That of the map with the new shards, announced or about to be.
        let map_epoch = valid.epoch + i64::from(valid.shards <= half);
        if valid.shards > half {
            valid.shards = half;
            valid.ranges = manifests::map::join(&valid.ranges, half);
        }
        let other = if role == SplitRole::Parent { plan.child(parent) } else { parent };
        Ok(Split {
            plan: plan.name.clone(),
            role,
            other: names::pair(&valid.name, other),
            until: until(level),
            standbys: plan.standbys,
            split_at: plan.chosen.get(&parent).copied(),
            map_epoch: Some(map_epoch),
            keys: split_keys(manifests::map::keys(&valid, parent)),
        })
    }

    async fn make_pair(&mut self, plan: &Plan, parent: u32, child: u32) -> Result<(), Surprise> {
        let (_, valid) = self.valid()?;
        let members = match plan.standbys {
            Standbys::Before => {
                let next = self.ctx.stores.next_member(&self.namespace, &valid.name);
                let taken = numbers::take_told(&self.ctx.stores, &self.ctx.fast, &self.namespace, &valid.name, next, 2).await;
                taken.map_err(|refused| Surprise::new("make the pair", refused.to_string()))?;
                vec![names::member(&valid.name, next), names::member(&valid.name, next + 1)]
            }
            // The original order: the standby that follows already becomes the new primary.
            Standbys::After => {
                let standby = self.pair(parent)?.status.and_then(|s| s.record.standby);
                vec![standby.ok_or_else(|| Surprise::new("make the pair", "the parent has no standby to give"))?]
            }
        };
        let split = self.split(plan, parent, SplitRole::Child, Level::Prepared)?;
        let object = manifests::pair::child(&valid, child, members, split);
        let api = self.api::<ShardPair>();
        let made = call("make the pair", api.create(&PostParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PostParams::default() }, &object)).await?;
        self.memory.written.pairs.insert(made.name_any(), made);
        Ok(())
    }

    /// Forward the child first: the parent acts, and must find it willing. Back the parent first: it must not act again.
    async fn ask(&mut self, plan: &Plan, parent: u32, level: Level) -> Result<(), Surprise> {
        let sides = [(plan.child(parent), SplitRole::Child), (parent, SplitRole::Parent)];
        let back = level == Level::Prepared;
        for (shard, role) in if back { [sides[1], sides[0]] } else { sides } {
            // A pair that this very decision made isn't among the watched yet; it was made as asked for here.
            let name = names::pair(&self.plan.spec.cluster_ref.name, shard);
            if back && role == SplitRole::Child && self.memory.written.pairs.get(&name).is_some_and(|p| p.status.is_none()) {
                continue;
            }
            let split = self.split(plan, parent, role, level)?;
            if self.pair(shard)?.spec.split.as_ref() != Some(&split) {
                self.set_split(shard, Some(split)).await?;
            }
        }
        Ok(())
    }

    async fn set_split(&mut self, shard: u32, split: Option<Split>) -> Result<(), Surprise> {
        let pair = self.pair(shard)?;
        let name = pair.name_any();
        // As a whole: a merge would keep fields that the new one lacks.
        let mut split = split.map_or(Value::Null, |s| serde_json::to_value(s).expect("plain data"));
        if let Value::Object(fields) = &mut split {
            fields.entry("splitAt").or_insert(Value::Null);
        }
        let change = json!({"metadata": {"resourceVersion": pair.resource_version()}, "spec": {"split": split}});
        let written = call(&format!("split of {name}"), self.api::<ShardPair>().patch(&name, &PatchParams::default(), &Patch::Merge(change))).await?;
        self.memory.written.pairs.insert(name, written);
        Ok(())
    }

    /// Only this very pair, only as it was seen: one that follows and owns no key.
    async fn drop_pair(&mut self, shard: u32) -> Result<(), Surprise> {
        let pair = self.pair(shard)?;
        let owns = pair.status.as_ref().is_some_and(|s| s.record.provisioned() && s.record.follows.is_none());
        if owns || pair.spec.split.as_ref().is_none_or(|s| s.role != SplitRole::Child) {
            return Err(Surprise::new("drop the pair", format!("{} may own keys", pair.name_any())));
        }
        let preconditions = Preconditions { uid: pair.uid(), resource_version: pair.resource_version() };
        let params = DeleteParams::default().preconditions(preconditions);
        call("drop the pair", self.api::<ShardPair>().delete(&pair.name_any(), &params)).await?;
        self.memory.written.pairs.remove(&pair.name_any());
        Ok(())
    }

    /// The map itself is made of this by the cluster's controller.
    async fn announce(&mut self, plan: &Plan, shards: u32) -> Result<(), Surprise> {
        let (cluster, valid) = self.valid()?;
        let half = plan.to_shards / 2;
        let ranges = match (valid.ranges.is_empty(), shards > valid.shards) {
            (true, _) => Vec::new(),
            (false, true) => manifests::map::split(&valid.ranges, &plan.chosen, half),
            (false, false) => manifests::map::join(&valid.ranges, half),
        };
        let change = json!({
            "metadata": {"resourceVersion": cluster.resource_version()},
            "status": {"shards": shards, "epoch": valid.epoch + 1, "ranges": ranges},
        });
        let api: Api<ShardCluster> = self.api();
        let written = call("the map's shards", api.patch_status(&cluster.name_any(), &PatchParams::default(), &Patch::Merge(change))).await?;
        self.memory.written.cluster = Some(written);
        Ok(())
    }
}
