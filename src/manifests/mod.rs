//! Builders of everything that a ShardCluster owns: from a [`Valid`] spec to objects, one file an object.
//!
//! Pure, and without errors: whatever can be wrong was refused while parsing. Everything but volumes is controlled by the
//! ShardCluster, so that its deletion takes them along; volumes stay, unless the user says otherwise.

pub mod claim;
pub mod config;
pub mod map;
pub mod pair;
pub mod pdb;
pub mod pod;
pub mod redis;
pub mod secret;
pub mod service;
pub mod slice;
pub mod statefulset;
pub mod tail;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::api::cluster::ShardCluster;
use crate::api::names;
use crate::api::valid::Valid;

/// User and group of mysqld in the stock images.
pub const MYSQL_ID: i64 = 999;

/// The ShardCluster as the controlling owner.
pub fn owner(cluster: &Valid) -> OwnerReference {
    OwnerReference {
        api_version: ShardCluster::api_version(&()).into_owned(),
        kind: ShardCluster::kind(&()).into_owned(),
        name: cluster.name.clone(),
        uid: cluster.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}

/// Metadata of an object that goes with its cluster.
pub fn meta(cluster: &Valid, name: &str, labels: &[(&str, &str)]) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(self::labels(cluster, labels)),
        owner_references: Some(vec![owner(cluster)]),
        ..ObjectMeta::default()
    }
}

/// The labels of everything, and some more.
pub fn labels(cluster: &Valid, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    [("app.kubernetes.io/managed-by", "shardpair"), (names::LABEL_CLUSTER, cluster.name.as_str())]
        .iter()
        .chain(more)
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

/// A map of one line each.
pub(crate) fn pairs<const N: usize>(entries: [(&str, String); N]) -> BTreeMap<String, String> {
    entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

/// Short hash of a text.
pub fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Notes on an object what it was built as, so that it is not written again while nothing changed.
pub fn stamp<K: Resource + Serialize>(mut object: K) -> K {
    let text = serde_json::to_string(&object).expect("plain data");
    object.meta_mut().annotations.get_or_insert_default().insert(names::APPLIED_HASH.to_owned(), hash(&text));
    object
}
