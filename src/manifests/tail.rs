//! What a returning member had beyond the primary, kept as a readable file (invariant 8): a Secret, since it holds rows.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::api::names;
use crate::api::pair::ShardPair;

/// Secret `<member>-tail-<epoch>` with the one key `tail.txt`. Nobody owns it: it stays until a person deletes it.
pub fn build(pair: &ShardPair, member: &str, epoch: i64, text: &str) -> Secret {
    let name = format!("{member}-tail-{epoch}");
    Secret {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: pair.namespace(),
            labels: Some(super::pairs([
                ("app.kubernetes.io/managed-by", "shardpair".to_owned()),
                (names::LABEL_CLUSTER, pair.spec.cluster.clone()),
                (names::LABEL_SHARD, pair.spec.shard.to_string()),
                (names::LABEL_MEMBER, member.to_owned()),
            ])),
            annotations: Some(super::pairs([("shardpair.io/pair", format!("{} {}", ShardPair::kind(&()), pair.name_any()))])),
            ..ObjectMeta::default()
        },
        data: Some([("tail.txt".to_owned(), ByteString(text.as_bytes().to_vec()))].into()),
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}
