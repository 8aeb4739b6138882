//! A new ShardPair. Made once: from then on its members belong to the pair controller, `split` to an ExpansionPlan's, its status
//! to the pair protocol.

use crate::api::names;
use crate::api::pair::{ShardPair, ShardPairSpec, Split};
use crate::api::valid::Valid;

/// Builds it with its first two members.
pub fn build(cluster: &Valid, shard: u32) -> ShardPair {
    with(cluster, shard, names::first_members(&cluster.name, shard), None)
}

/// Builds the child of a split, with new members.
pub fn child(cluster: &Valid, shard: u32, members: Vec<String>, split: Split) -> ShardPair {
    with(cluster, shard, members, Some(split))
}

fn with(cluster: &Valid, shard: u32, members: Vec<String>, split: Option<Split>) -> ShardPair {
    let number = shard.to_string();
    ShardPair {
        metadata: super::meta(cluster, &names::pair(&cluster.name, shard), &[(names::LABEL_SHARD, &number)]),
        spec: ShardPairSpec {
            cluster: cluster.name.clone(),
            shard: shard as i32,
            members,
            split,
        },
        status: None,
    }
}
