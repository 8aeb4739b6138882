//! What the watches keep of each object: only what somebody reads. A thousand pairs are ten thousand objects, and most of a
//! pod, or of who wrote which field of it, nobody here ever asks for.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{
    Container, Node, NodeSpec, NodeStatus, PersistentVolumeClaim, PersistentVolumeClaimStatus, Pod, PodSpec, PodStatus, Service,
    ServiceSpec,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::core::DeserializeGuard;

use crate::api::ShardPair;

/// What is kept of an object.
pub trait Keep {
    /// Takes the rest away.
    fn keep(&mut self);
}

fn unmanaged(object: &mut impl ResourceExt) {
    object.meta_mut().managed_fields = None;
}

impl Keep for Pod {
    /// Where it runs, on which ports, and how it is.
    fn keep(&mut self) {
        unmanaged(self);
        (self.metadata.annotations, self.metadata.owner_references) = (None, None);
        let ports = |c: Container| Container { name: c.name, ports: c.ports, ..Container::default() };
        self.spec = self.spec.take().map(|s| PodSpec { node_name: s.node_name, containers: s.containers.into_iter().map(ports).collect(), ..PodSpec::default() });
        self.status = self.status.take().map(|s| PodStatus {
            phase: s.phase,
            pod_ip: s.pod_ip,
            conditions: s.conditions,
            container_statuses: s.container_statuses,
            ..PodStatus::default()
        });
    }
}

impl Keep for StatefulSet {
    /// Which my.cnf it carries (an annotation), and which revision its pod should run, as of which generation.
    fn keep(&mut self) {
        unmanaged(self);
        self.metadata.owner_references = None;
        self.spec = None;
        self.status = self.status.take().map(|s| StatefulSetStatus { update_revision: s.update_revision, observed_generation: s.observed_generation, ..StatefulSetStatus::default() });
    }
}

impl Keep for Service {
    /// Its address.
    fn keep(&mut self) {
        unmanaged(self);
        self.status = None;
        self.spec = self.spec.take().map(|s| ServiceSpec { cluster_ip: s.cluster_ip, ..ServiceSpec::default() });
    }
}

impl Keep for PersistentVolumeClaim {
    /// That it is there, and its size.
    fn keep(&mut self) {
        unmanaged(self);
        self.metadata.owner_references = None;
        self.spec = None;
        self.status = self.status.take().map(|s| PersistentVolumeClaimStatus { capacity: s.capacity, ..PersistentVolumeClaimStatus::default() });
    }
}

impl Keep for Node {
    /// Its boot, whether it is ready, and whether it is drained.
    fn keep(&mut self) {
        unmanaged(self);
        (self.metadata.annotations, self.metadata.labels) = (None, None);
        self.spec = self.spec.take().map(|s| NodeSpec { unschedulable: s.unschedulable, ..NodeSpec::default() });
        self.status = self.status.take().map(|s| NodeStatus { conditions: s.conditions, node_info: s.node_info, ..NodeStatus::default() });
    }
}

impl Keep for EndpointSlice {
    fn keep(&mut self) {
        unmanaged(self);
    }
}

impl Keep for ShardPair {
    fn keep(&mut self) {
        unmanaged(self);
    }
}

impl<K: ResourceExt> Keep for DeserializeGuard<K> {
    fn keep(&mut self) {
        if let Ok(object) = &mut self.0 {
            unmanaged(object);
        }
    }
}
