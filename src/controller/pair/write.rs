//! Writes to the API server, each against the version that was read: record, slice, pods, events.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::Runner;
use super::hands::Surprise;
use crate::api::cluster::ShardCluster;
use crate::api::names;
use crate::api::pair::{LastMove, ShardPair, ShardPairStatus};
use crate::controller::numbers;
use crate::controller::stores::Stores;
use crate::manifests;
use crate::pair::record::{MoveKind, Record};

/// No write that a move waits for takes longer.
const CALL: Duration = Duration::from_millis(1_500);

/// Is the cluster managed by this installation? (`status.manager`, see `controller::cluster`.)
pub(in crate::controller) fn ours(cluster: &ShardCluster, identity: &str) -> bool {
    let manager = cluster.status.as_ref().and_then(|s| s.manager.as_deref());
    let installation = identity.split_once('#').map_or(identity, |(installation, _)| installation);
    manager == Some(installation)
}

impl Runner {
    /// Makes every write in flight of an older operator, or our own unanswered one, fail: the record is ours from here.
    pub(super) async fn claim(&mut self) -> bool {
        let pairs: Api<ShardPair> = Api::namespaced(self.ctx.fast.clone(), &self.namespace);
        let name = self.pair.name_any();
        let ctx = self.ctx.clone();
        let _turn = ctx.unhurried.acquire().await;
        // Not from the watch: a quorum read.
        match tokio::time::timeout(CALL, pairs.get(&name)).await {
            Ok(Ok(pair)) => self.pair = pair,
            Ok(Err(error)) => {
                tracing::warn!(pair = name, %error, "claim");
                return false;
            }
            Err(_) => return false,
        }
        let mut status = self.status();
        status.leader = Some(format!("{}/{}/{}", self.ctx.identity, self.term, Timestamp::now().as_microsecond()));
        match self.put_status(status).await {
            Ok(()) => {
                self.must_claim = false;
                true
            }
            Err(surprise) => {
                tracing::warn!(pair = name, %surprise, "claim");
                false
            }
        }
    }

    /// The one way to write the status: whole, against the resourceVersion that was read, never retried blindly.
    pub(super) async fn put_status(&mut self, status: ShardPairStatus) -> Result<(), Surprise> {
        if !self.ctx.leadership.holds() {
            return Err(Surprise::new("record", "this operator doesn't lead"));
        }
        let pairs: Api<ShardPair> = Api::namespaced(self.ctx.fast.clone(), &self.namespace);
        let name = self.pair.name_any();
        let mut pair = self.pair.clone();
        pair.metadata.managed_fields = None;
        pair.status = Some(status);
        match tokio::time::timeout(CALL, pairs.replace_status(&name, &PostParams::default(), &pair)).await {
            Ok(Ok(written)) => {
                self.pair = written;
                Ok(())
            }
            Ok(Err(kube::Error::Api(status))) if status.code < 500 && status.code != 429 => {
                // Refused: nothing was written. On a conflict the newer object is read, and decided on anew.
                self.must_claim |= status.code == 409;
                Err(Surprise::new("record", format!("{}: {}", status.reason, status.message)))
            }
            Ok(Err(error)) => {
                self.must_claim = true;
                Err(Surprise::new("record", error.to_string()))
            }
            Err(_) => {
                self.must_claim = true;
                Err(Surprise::new("record", "no answer from the API server: whether it was written is not known"))
            }
        }
    }

    /// A member that nobody named before: its number becomes this pair's, or another's was first.
    pub(super) async fn take_numbers(&mut self, new: &Record) -> Result<(), Surprise> {
        let old = self.record();
        let named: Vec<&str> = old.members.iter().map(|m| m.name.as_str()).chain(self.pair.spec.members.iter().map(String::as_str)).collect();
        let cluster = &self.pair.spec.cluster;
        for number in numbers::new_numbers(cluster, &named, new.members.iter().map(|m| m.name.as_str())) {
            if !self.ctx.leadership.holds() {
                return Err(Surprise::new("record", "this operator doesn't lead"));
            }
            let taken = numbers::take_told(&self.ctx.stores, &self.ctx.fast, &self.namespace, cluster, number, 1).await;
            taken.map_err(|refused| Surprise::new("record", refused.to_string()))?;
        }
        Ok(())
    }

    /// The record, with what is told beside it.
    pub(super) async fn write_record(&mut self, record: &Record) -> Result<(), Surprise> {
        let old = self.record();
        let mut status = self.status();
        status.record = record.clone();
        status.observed_generation = self.pair.metadata.generation;
        if old.provisioned() && old.primary != record.primary {
            status.last_move = Some(self.last_move(&old, record));
            self.memory.unpublished_move = true;
        }
        self.put_status(status).await?;
        if old.provisioned() && old.primary != record.primary
            && let Some(done) = self.status().last_move
        {
            self.ctx.metrics.switched(&self.namespace, &self.pair.name_any(), &done);
        }
        self.tell_change(&old, record);
        Ok(())
    }

    fn last_move(&self, old: &Record, new: &Record) -> LastMove {
        let transition = old.transition.as_ref();
        LastMove {
            kind: transition.map_or(MoveKind::Failover, |t| t.kind),
            from: old.primary.clone(),
            to: new.primary.clone(),
            at: MicroTime(Timestamp::now()),
            seconds: self.memory.trouble.map_or(0.0, |t| t.elapsed().as_secs_f64()),
            reason: transition.map(|t| t.reason.clone()).unwrap_or_default(),
        }
    }

    /// One write of the slice (invariant 10).
    pub(super) async fn point_vip(&mut self, member: &str) -> Result<(), Surprise> {
        if !self.ctx.leadership.holds() {
            return Err(Surprise::new("slice", "this operator doesn't lead"));
        }
        let pod = Stores::get(&self.ctx.stores.pods, &self.namespace, &names::pod(member));
        let Some((ip, pod)) = pod.and_then(|p| Some((p.status.as_ref()?.pod_ip.clone()?, p))) else {
            return Err(Surprise::new("slice", format!("the pod of {member} has no address")));
        };
        let name = self.pair.name_any();
        let old = Stores::get(&self.ctx.stores.slices, &self.namespace, &name);
        let mut slice = manifests::slice::build(&self.pair, member, &ip, &pod);
        slice.metadata.resource_version = old.and_then(|s| s.resource_version());
        self.put_slice(&slice).await?;
        self.memory.vip = Some((Instant::now(), ip));
        self.note_pause(member);
        if let (true, Some(trouble)) = (self.memory.unpublished_move, self.memory.trouble) {
            self.memory.gap = Some(trouble.elapsed());
            self.ctx.metrics.moved(&self.namespace, &name, trouble.elapsed());
        }
        Ok(())
    }

    /// Of the VIP or of a member: onto the version that it names, or made.
    pub(super) async fn put_slice(&self, slice: &EndpointSlice) -> Result<(), Surprise> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.ctx.fast.clone(), &self.namespace);
        let params = PostParams::default();
        let write = async {
            match &slice.metadata.resource_version {
                Some(_) => slices.replace(&slice.name_any(), &params, slice).await,
                None => slices.create(&params, slice).await,
            }
        };
        match tokio::time::timeout(CALL, write).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Surprise::new("slice", error.to_string())),
            Err(_) => Err(Surprise::new("slice", "no answer from the API server")),
        }
    }

    /// Ends a member's process: its pod is deleted, that very pod.
    pub(super) async fn delete_pod(&mut self, member: &str, uid: &str) -> Result<(), Surprise> {
        use k8s_openapi::api::core::v1::Pod;
        let pods: Api<Pod> = Api::namespaced(self.ctx.fast.clone(), &self.namespace);
        let params = DeleteParams::default().preconditions(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        match tokio::time::timeout(CALL, pods.delete(&names::pod(member), &params)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 || status.code == 409 => Ok(()),
            Ok(Err(error)) => Err(Surprise::new("pod", error.to_string())),
            Err(_) => Err(Surprise::new("pod", "no answer from the API server")),
        }
    }

    /// Takes a request away, if it is still the one that was read.
    pub(super) async fn clear_request(&mut self, annotation: &str) -> Result<(), Surprise> {
        let change = json!({"metadata": {"resourceVersion": self.pair.resource_version(), "annotations": {annotation: null}}});
        self.patch_pair(change).await
    }

    pub(super) async fn set_members(&mut self, members: &[String]) -> Result<(), Surprise> {
        let change = json!({"metadata": {"resourceVersion": self.pair.resource_version()}, "spec": {"members": members}});
        self.patch_pair(change).await
    }

    async fn patch_pair(&mut self, change: serde_json::Value) -> Result<(), Surprise> {
        let pairs: Api<ShardPair> = Api::namespaced(self.ctx.fast.clone(), &self.namespace);
        let name = self.pair.name_any();
        match tokio::time::timeout(CALL, pairs.patch(&name, &PatchParams::default(), &Patch::Merge(change))).await {
            Ok(Ok(pair)) => {
                self.pair = pair;
                Ok(())
            }
            Ok(Err(error)) => Err(Surprise::new("pair", error.to_string())),
            Err(_) => {
                self.must_claim = true;
                Err(Surprise::new("pair", "no answer from the API server"))
            }
        }
    }

    /// For events.
    pub(super) fn reference(&self) -> k8s_openapi::api::core::v1::ObjectReference {
        self.pair.object_ref(&())
    }
}
