//! Where a VIP leads: the one EndpointSlice of its Service. Moving the VIP is one write of it (invariant 10).

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

use crate::api::names;
use crate::api::pair::ShardPair;

/// Builds the slice of a pair's VIP that leads to `member`, whose pod has this address.
pub fn build(pair: &ShardPair, member: &str, ip: &str, pod: &Pod) -> EndpointSlice {
    let name = pair.name_any();
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: pair.namespace(),
            labels: Some(super::pairs([
                ("kubernetes.io/service-name", name.clone()),
                ("endpointslice.kubernetes.io/managed-by", names::SLICE_MANAGER.to_owned()),
                ("app.kubernetes.io/managed-by", "shardpair".to_owned()),
                (names::LABEL_CLUSTER, pair.spec.cluster.clone()),
                (names::LABEL_SHARD, pair.spec.shard.to_string()),
                (names::LABEL_MEMBER, member.to_owned()),
            ])),
            owner_references: Some(vec![owner(pair)]),
            ..ObjectMeta::default()
        },
        address_type: if ip.contains(':') { "IPv6" } else { "IPv4" }.to_owned(),
        endpoints: vec![Endpoint {
            addresses: vec![ip.to_owned()],
            // Ready whatever the pod says: the record decides where the VIP leads, and there is no second endpoint.
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
        }],
        ports: Some(vec![EndpointPort {
            name: Some("mysql".to_owned()),
            port: Some(names::PORT),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    }
}

fn owner(pair: &ShardPair) -> OwnerReference {
    let reference = pair.controller_owner_ref(&());
    OwnerReference { block_owner_deletion: Some(false), ..reference.unwrap_or_default() }
}
