//! Where each member's own Service leads: a slice of ours, written when the member's pod has another address.
//!
//! Not left to a selector: Kubernetes would rewrite the slice at the very moment a pod dies, and kube-proxy, which syncs
//! once a second, would let the VIP's move wait behind it (invariant 10; seen: 0.7-1.2 s). So a change waits while the
//! VIP may be about to move, for [`HELD_BACK`] at most.

use std::time::{Duration, Instant};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;

use super::Runner;
use crate::api::names;
use crate::controller::stores::Stores;
use crate::manifests;
use crate::pair::facts::{Contact, Observation};
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

    /// The slice as it should be, if it isn't; None too while the member has no Service.
    fn leads_elsewhere(&self, member: &str) -> Option<EndpointSlice> {
        let stores = &self.ctx.stores;
        let service = Stores::get(&stores.services, &self.namespace, member)?;
        let pod = Stores::get(&stores.pods, &self.namespace, &names::pod(member)).filter(|p| !super::observe::ended(p));
        let there = Stores::get(&stores.slices, &self.namespace, member);
        let leads_to = there.as_ref().and_then(|s| s.endpoints.first()?.addresses.first());
        if leads_to == pod.as_ref().and_then(|p| p.status.as_ref()?.pod_ip.as_ref()) {
            return None;
        }
        let mut wanted = manifests::slice::of_member(&self.pair, &service, pod.as_deref());
        if let Some(slice) = there {
            wanted.metadata.resource_version = slice.resource_version();
            // A slice keeps its family.
            wanted.address_type.clone_from(&slice.address_type);
        }
        Some(wanted)
    }
}

/// May the VIP be about to move?
fn moving(record: &Record, seen: &Observation) -> bool {
    let answers = seen.members.get(&record.primary).is_some_and(|p| p.contact == Contact::Answering);
    record.transition.is_some() || (record.mode == Mode::Sync && !answers)
}
