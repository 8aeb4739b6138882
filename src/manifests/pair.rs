//! A new ShardPair. Made once: from then on its spec belongs to the pair controller, its status to the pair protocol.

use crate::api::names;
use crate::api::pair::{ShardPair, ShardPairSpec};
use crate::api::valid::Valid;

/// Builds it with its first two members.
pub fn build(cluster: &Valid, shard: u32) -> ShardPair {
    let number = shard.to_string();
    ShardPair {
        metadata: super::meta(cluster, &names::pair(&cluster.name, shard), &[(names::LABEL_SHARD, &number)]),
        spec: ShardPairSpec {
            cluster: cluster.name.clone(),
            shard: shard as i32,
            members: names::first_members(&cluster.name, shard),
            split: None,
        },
        status: None,
    }
}
