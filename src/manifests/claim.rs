//! A member's volume: its own PersistentVolumeClaim, not a template's, so that it can grow and outlive the cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::api::names;
use crate::api::valid::Valid;

/// Builds it. Without `storage.onDelete: Delete` it has no owner, and so outlives the cluster.
pub fn build(cluster: &Valid, member: &str) -> PersistentVolumeClaim {
    let mut metadata = super::meta(cluster, member, &[(names::LABEL_MEMBER, member)]);
    metadata.annotations = Some(super::pairs([(names::CLUSTER_UID, cluster.uid.clone())]));
    if !cluster.storage.delete {
        metadata.owner_references = None;
    }
    PersistentVolumeClaim {
        metadata,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: cluster.storage.class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(cluster.storage.size.clone()))])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
