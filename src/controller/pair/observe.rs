//! Gathers one pass's observation from the watches and the probers: no request to the API server, no waiting.

use std::time::Instant;

use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::Runner;
use crate::api::names;
use crate::api::pair::{ShardPair, SplitRole};
use crate::controller::stores::Stores;
use crate::pair::facts::{self, Member, Observation, Requests, Vip};
use crate::pair::record::Record;

impl Runner {
    /// Everything seen now.
    pub(super) fn observe(&mut self, record: &Record) -> Observation {
        let mut seen = Observation { vip: self.vip(), requests: requests(&self.pair), next_member: self.next_member(), unprovisioned: self.unprovisioned(), other: self.observe_other(), ..Observation::default() };
        for name in self.member_names(record) {
            let mut member = self.objects(&name);
            if let Some(prober) = self.probers.get(&name) {
                prober.snapshot(&mut member);
                // What it said before our last step is no news of what it is now.
                if self.memory.acted.is_some_and(|acted| !prober.asked_since(acted)) {
                    member.facts_age_ms = u64::MAX;
                }
            }
            // `clone_status` may say "In Progress" of a clone that died with its server: only our own task runs one.
            let cloning = self.clone.as_ref().is_some_and(|task| !task.is_finished());
            if let Some(facts) = member.facts.as_mut().filter(|f| f.rebuild_marker) {
                facts.cloning = cloning.then(|| facts.cloning.unwrap_or((0, 0)));
            }
            seen.members.insert(name, member);
        }
        self.remember_serving(record, &mut seen);
        seen.turn_of = self.turn_of(record, &seen);
        let cedes = record.ceded.is_none() && self.settings.split.as_ref().is_some_and(|s| s.role == SplitRole::Parent);
        if let Some(other) = seen.other.as_mut().filter(|_| cedes)
            && let (Some(from), Some(to)) = (seen.members.get(&record.primary), other.members.get(&other.record.primary))
        {
            other.behind_ms = self.memory.trail.behind_ms(from, to, Instant::now());
        }
        seen
    }

    /// Since when has the standby not done what a standby does?
    fn remember_serving(&mut self, record: &Record, seen: &mut Observation) {
        let Some(name) = record.standby.clone() else { return };
        let settings = &self.settings;
        let serves = {
            let view = crate::pair::decide::View { record, settings, seen, now: jiff::Timestamp::now() };
            view.standby_answer().is_some_and(|facts| crate::pair::decide::of_use(&view, facts))
        };
        if serves {
            self.memory.not_serving.remove(&name);
            return;
        }
        let since = *self.memory.not_serving.entry(name.clone()).or_insert_with(Instant::now);
        if let Some(member) = seen.members.get_mut(&name) {
            member.not_serving_ms = since.elapsed().as_millis().max(1) as u64;
        }
    }

    /// The members that matter to this pair: of its spec and of its record.
    pub(super) fn member_names(&self, record: &Record) -> Vec<String> {
        let mut all: Vec<String> = self.pair.spec.members.clone();
        all.extend([record.primary.clone()].into_iter().chain(record.standby.clone()).filter(|n| !n.is_empty()));
        all.sort();
        all.dedup();
        all
    }

    /// A member of another pair, seen through that pair's prober.
    pub(super) fn elsewhere(&self, name: &str) -> Member {
        let mut member = self.objects(name);
        if let Some(prober) = self.ctx.members.find(&self.namespace, name) {
            prober.snapshot(&mut member);
        }
        member
    }

    pub(super) fn objects(&self, name: &str) -> Member {
        let stores = &self.ctx.stores;
        let ns = &self.namespace;
        Member {
            pod: Stores::get(&stores.pods, ns, &names::pod(name)).map(|pod| self.pod(name, &pod)),
            volume: Stores::get(&stores.claims, ns, name).filter(|c| c.metadata.deletion_timestamp.is_none()).and_then(|c| c.uid()),
            address: self.address(name),
            config_hash: Stores::get(&stores.sets, ns, name).and_then(|s| s.annotations().get(names::CONFIG_HASH).cloned()),
            ..Member::default()
        }
    }

    fn pod(&self, member: &str, pod: &Pod) -> facts::Pod {
        let stores = &self.ctx.stores;
        let node_name = pod.spec.as_ref().and_then(|s| s.node_name.clone());
        let node = node_name.as_ref().and_then(|n| stores.nodes.get(&ObjectRef::new(n)));
        let revision = Stores::get(&stores.sets, &self.namespace, member).and_then(|s| s.status.as_ref()?.update_revision.clone());
        let runs = pod.labels().get("controller-revision-hash").cloned();
        facts::Pod {
            uid: pod.uid().unwrap_or_default(),
            ip: pod.status.as_ref().and_then(|s| s.pod_ip.clone()).filter(|_| !ended(pod)),
            node: node_name,
            node_boot: node.as_ref().and_then(|n| n.status.as_ref()?.node_info.as_ref().map(|i| i.boot_id.clone())),
            node_ready: node.as_deref().is_some_and(ready),
            node_cordoned: node.as_ref().is_some_and(|n| n.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false)),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            outdated: revision.is_some() && runs.is_some() && revision != runs,
            waiting: waiting(pod),
        }
    }

    fn vip(&self) -> Vip {
        let stores = &self.ctx.stores;
        let name = self.pair.name_any();
        let own = Stores::get(&stores.slices, &self.namespace, &name);
        let points_to = own.and_then(|s| s.endpoints.first()?.addresses.first().cloned());
        let foreign = stores.foreign_slices.on(&self.namespace, &name);
        // Our own write may not have come back through the watch yet.
        let points_to = self.memory.vip.clone().filter(|(at, _)| at.elapsed().as_secs() < 5).map(|(_, ip)| ip).or(points_to);
        Vip { points_to, foreign }
    }

    /// One more than the highest member of the whole cluster.
    fn next_member(&self) -> String {
        let cluster = &self.pair.spec.cluster;
        names::member(cluster, self.ctx.stores.next_member(&self.namespace, cluster))
    }
}

fn requests(pair: &ShardPair) -> Requests {
    let asked = |key: &str| pair.annotations().get(key).cloned();
    Requests {
        switchover_to: asked(names::ASK_SWITCHOVER_TO),
        promote_with_data_loss: asked(names::ASK_PROMOTE_WITH_DATA_LOSS),
        replace: asked(names::ASK_REPLACE),
        rebuild: asked(names::ASK_REBUILD),
        discard_tail: asked(names::ASK_DISCARD_TAIL),
    }
}

pub(super) fn ended(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).is_some_and(|p| p == "Failed" || p == "Succeeded")
}

fn ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// Why the container doesn't run, or the pod isn't placed.
fn waiting(pod: &Pod) -> String {
    let Some(status) = &pod.status else { return String::new() };
    if let Some(why) = status.container_statuses.iter().flatten().find_map(stopped) {
        return why;
    }
    let unplaced = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    unplaced.map(|c| c.message.clone().unwrap_or_else(|| "not scheduled".to_owned())).unwrap_or_default()
}

/// Why a container doesn't run, with its image and its own last words.
fn stopped(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    let last = container.last_state.as_ref().and_then(|s| s.terminated.as_ref());
    let ended = state.terminated.as_ref().or(last);
    let words = ended.map(|t| match &t.message {
        Some(message) => format!("ended with exit code {}: {}", t.exit_code, message.trim()),
        None => format!("ended with exit code {}", t.exit_code),
    });
    let waits = state.waiting.as_ref().map(|w| {
        // Kubernetes' message for this one tells only how long the back-off is, which changes all the time.
        let message = w.message.as_deref().filter(|_| w.reason.as_deref() != Some("CrashLoopBackOff"));
        [w.reason.as_deref(), message].iter().flatten().copied().collect::<Vec<_>>().join(": ")
    });
    if state.running.is_some() {
        return None;
    }
    let parts: Vec<String> = [waits, words].into_iter().flatten().collect();
    // The image first: a long message is cut at its end.
    Some(format!("image {}: {}", container.image, parts.join("; ")))
}
