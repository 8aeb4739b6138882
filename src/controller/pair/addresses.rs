//! Where each member's own Service leads: a slice of ours, written when the member's pod has another address.
//!
//! Not left to a selector: Kubernetes would rewrite the slice at the very moment a pod dies, and kube-proxy, which syncs
//! once a second, would let the VIP's move wait behind it (invariant 10; seen: 0.7-1.2 s). So a change waits while the
//! VIP may be about to move, for [`HELD_BACK`] at most.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;

use super::Runner;
use crate::api::names;
use crate::controller::stores::Stores;
use crate::manifests;
use crate::pair::decide::View;
use crate::pair::facts::{Contact, Observation};
use crate::pair::reads::{self, Reads};
use crate::pair::record::{Mode, Record};

/// Longer than detection, drain and move take together, usually.
const HELD_BACK: Duration = Duration::from_secs(4);

impl Runner {
    /// Brings the slices of this pair's own members up to date.
    pub(super) async fn lead_to_members(&mut self, record: &Record, seen: &Observation) {
        let members = self.pair.spec.members.clone();
        self.memory.addresses.retain(|name, _| members.contains(name));
        for member in members {
            let Some(differs) = self.leads_elsewhere(&member) else {
                self.memory.addresses.remove(&member);
                continue;
            };
            let since = *self.memory.addresses.entry(member.clone()).or_insert_with(Instant::now);
            if (moving(record, seen) && since.elapsed() < HELD_BACK) || !self.ctx.leadership.holds() {
                continue;
            }
            match self.put_slice(&differs).await {
                Ok(()) => {
                    self.memory.addresses.remove(&member);
                }
                Err(surprise) => tracing::warn!(pair = %self.pair.name_any(), member, %surprise, "the member's slice"),
            }
        }
    }

    /// Brings the slice of the Service for reads up to date.
    pub(super) async fn lead_reads(&mut self, record: &Record, seen: &Observation) {
        let Some(max_lag_ms) = self.settings.reads_max_lag_ms else { return };
        let stores = &self.ctx.stores;
        let Ok(shard) = u32::try_from(self.pair.spec.shard) else { return };
        let name = names::read(&self.pair.spec.cluster, shard);
        let Some(service) = Stores::get(&stores.services, &self.namespace, &name) else { return };
        let there = Stores::get(&stores.slices, &self.namespace, &name);
        let at = there.as_deref().and_then(address);
        let leads = there.as_ref().filter(|_| at.is_some()).and_then(|s| s.labels().get(names::LABEL_MEMBER).cloned());
        let view = View { record, settings: &self.settings, seen, now: jiff::Timestamp::now() };
        let (to, why) = match reads::place(&view, max_lag_ms, leads.as_deref()) {
            Reads::Keep => return,
            Reads::Lead(member) => (Some(member), "the standby is read"),
            Reads::Nowhere(why) => (None, why),
        };
        let pod = to.as_ref().and_then(|to| Stores::get(&stores.pods, &self.namespace, &names::pod(to)));
        let to = to.as_deref().zip(pod.as_deref()).filter(|(_, pod)| ip(pod).is_some());
        // No slice yet is as good as an empty one, which could never take an address of the other family.
        let same = (there.is_some() || to.is_none()) && leads.as_deref() == to.map(|(member, _)| member) && at == to.and_then(|(_, pod)| ip(pod));
        // A move comes first (invariant 10). Until it is over the slice leads to a member that is the pair's in any case.
        if same || moving(record, seen) || self.settings.paused || !self.ctx.leadership.holds() {
            return;
        }
        let wanted = onto(there.as_deref(), manifests::slice::of_reads(&self.pair, &service, to));
        match self.put_slice(&wanted).await {
            Ok(()) => tracing::info!(service = name, leads_to = to.map(|(member, _)| member), why, "reads of the standby"),
            Err(surprise) => tracing::warn!(service = name, %surprise, "the slice for reads"),
        }
    }

    /// The slice as it should be, if it isn't; None too while the member has no Service.
    fn leads_elsewhere(&self, member: &str) -> Option<EndpointSlice> {
        let stores = &self.ctx.stores;
        let service = Stores::get(&stores.services, &self.namespace, member)?;
        let pod = Stores::get(&stores.pods, &self.namespace, &names::pod(member)).filter(|p| !super::observe::ended(p));
        let there = Stores::get(&stores.slices, &self.namespace, member);
        if there.as_deref().and_then(address) == pod.as_deref().and_then(ip) {
            return None;
        }
        Some(onto(there.as_deref(), manifests::slice::of_member(&self.pair, &service, pod.as_deref())))
    }
}

/// Where a slice leads.
fn address(slice: &EndpointSlice) -> Option<&String> {
    slice.endpoints.first()?.addresses.first()
}

fn ip(pod: &Pod) -> Option<&String> {
    pod.status.as_ref()?.pod_ip.as_ref()
}

/// In the place of the one that is there, which keeps its family.
fn onto(there: Option<&EndpointSlice>, mut wanted: EndpointSlice) -> EndpointSlice {
    if let Some(slice) = there {
        wanted.metadata.resource_version = slice.resource_version();
        wanted.address_type.clone_from(&slice.address_type);
    }
    wanted
}

/// May the VIP be about to move?
fn moving(record: &Record, seen: &Observation) -> bool {
    let answers = seen.members.get(&record.primary).is_some_and(|p| p.contact == Contact::Answering);
    record.transition.is_some() || (record.mode == Mode::Sync && !answers)
}
