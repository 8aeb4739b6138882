//! Where a Service leads: its one EndpointSlice, which only the pair's controller writes. Moving the VIP is one write of
//! it (invariant 10).

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

use crate::api::names;
use crate::api::pair::ShardPair;

/// Builds the slice of a pair's VIP that leads to `member`, whose pod has this address.
pub fn build(pair: &ShardPair, member: &str, ip: &str, pod: &Pod) -> EndpointSlice {
    slice(pair, (&pair.name_any(), owner(pair.controller_owner_ref(&()))), member, Some((ip, pod)))
}

/// Builds the slice of a member's own Service, and goes with it: to its pod, ready or not, or nowhere.
pub fn of_member(pair: &ShardPair, service: &Service, pod: Option<&Pod>) -> EndpointSlice {
    let member = service.name_any();
    slice(pair, (&member, owner(service.controller_owner_ref(&()))), &member, pod.and_then(at))
}

/// Builds the slice of the Service for reads, and goes with it: to the standby's pod, or nowhere.
pub fn of_reads(pair: &ShardPair, service: &Service, to: Option<(&str, &Pod)>) -> EndpointSlice {
    let member = to.map(|(member, _)| member).unwrap_or_default();
    slice(pair, (&service.name_any(), owner(service.controller_owner_ref(&()))), member, to.and_then(|(_, pod)| at(pod)))
}

fn at(pod: &Pod) -> Option<(&str, &Pod)> {
    Some((pod.status.as_ref()?.pod_ip.as_deref()?, pod))
}

fn slice(pair: &ShardPair, (service, owner): (&str, OwnerReference), member: &str, at: Option<(&str, &Pod)>) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(service.to_owned()),
            namespace: pair.namespace(),
            labels: Some(super::pairs([
                ("kubernetes.io/service-name", service.to_owned()),
                ("endpointslice.kubernetes.io/managed-by", names::SLICE_MANAGER.to_owned()),
                ("app.kubernetes.io/managed-by", "shardpair".to_owned()),
                (names::LABEL_CLUSTER, pair.spec.cluster.clone()),
                (names::LABEL_SHARD, pair.spec.shard.to_string()),
                (names::LABEL_MEMBER, member.to_owned()),
            ])),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        address_type: if at.is_some_and(|(ip, _)| ip.contains(':')) { "IPv6" } else { "IPv4" }.to_owned(),
        endpoints: at.map(|(ip, pod)| endpoint(ip, pod)).into_iter().collect(),
        ports: Some(vec![EndpointPort {
            name: Some("mysql".to_owned()),
            port: Some(names::PORT),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    }
}

fn endpoint(ip: &str, pod: &Pod) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_owned()],
        // Ready whatever the pod says: the record decides where the VIP leads, a member replicates before it is ready, and there is no second endpoint.
        conditions: Some(EndpointConditions { ready: Some(true), serving: Some(true), terminating: Some(false) }),
        node_name: pod.spec.as_ref().and_then(|s| s.node_name.clone()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.namespace(),
            name: Some(pod.name_any()),
            uid: pod.uid(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

fn owner(reference: Option<OwnerReference>) -> OwnerReference {
    OwnerReference { block_owner_deletion: Some(false), ..reference.unwrap_or_default() }
}
