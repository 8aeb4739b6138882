//! Every name that shardpair gives: objects, labels, annotations, keys. Pure.
//!
//! No two ShardClusters of a namespace can derive the same name: pairs end in `-<digits>`, members in `-m<digits>`, the
//! rest in a word. The pair and the VIP Service share a name on purpose.

use std::collections::BTreeMap;

/// API group.
pub const GROUP: &str = "shardpair.io";
/// Field manager of every server-side apply.
pub const FIELD_MANAGER: &str = "shardpair";

/// On everything that belongs to a cluster: its name.
pub const LABEL_CLUSTER: &str = "shardpair.io/cluster";
/// On pods and pairs: the shard's number.
pub const LABEL_SHARD: &str = "shardpair.io/shard";
/// On pods and member objects: the member's name.
pub const LABEL_MEMBER: &str = "shardpair.io/member";
/// On pods: `primary` or `standby`.
pub const LABEL_ROLE: &str = "shardpair.io/role";
/// Value of [`LABEL_ROLE`].
pub const ROLE_PRIMARY: &str = "primary";
/// Value of [`LABEL_ROLE`].
pub const ROLE_STANDBY: &str = "standby";
/// On what isn't a member's: which part of the cluster it is.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Value of [`COMPONENT`], and the container.
pub const REDIS: &str = "redis";
/// `endpointslice.kubernetes.io/managed-by`; keeps Kubernetes' own controllers off the VIP's slice.
pub const SLICE_MANAGER: &str = "shardpair.io";

/// Request on a pair: make this member primary.
pub const ASK_SWITCHOVER_TO: &str = "shardpair.io/switchover-to";
/// Request on a pair: make this member primary though acknowledged writes may be lost.
pub const ASK_PROMOTE_WITH_DATA_LOSS: &str = "shardpair.io/promote-with-data-loss";
/// Request on a pair: replace this member by a new one.
pub const ASK_REPLACE: &str = "shardpair.io/replace";
/// Request on a pair: replace this standby's data by a clone of the primary's.
pub const ASK_REBUILD: &str = "shardpair.io/rebuild";
/// Request on a pair: give up what this member holds beyond the primary.
pub const ASK_DISCARD_TAIL: &str = "shardpair.io/discard-tail";
/// On a pair, `"true"`: observe and report, change nothing.
pub const PAUSED: &str = "shardpair.io/paused";

/// On a member's ConfigMap and StatefulSet: hash of my.cnf, so that a change shows without rolling pods.
pub const CONFIG_HASH: &str = "shardpair.io/config-hash";
/// On a member's StatefulSet: hash of pod template and my.cnf as the spec wants them of any member; the same on two means that both were told.
pub const WANTED_HASH: &str = "shardpair.io/wanted";
/// On every applied object: hash of what was applied, so that an unchanged object is not written again.
pub const APPLIED_HASH: &str = "shardpair.io/applied";
/// On volumes, which outlive their cluster: uid of the ShardCluster that they belong to.
pub const CLUSTER_UID: &str = "shardpair.io/cluster-uid";

/// On Redis' pod: uid of the Secret that it was started with.
pub const SECRET_UID: &str = "shardpair.io/secret-uid";

/// Finalizer of an ExpansionPlan: what it made is undone before it goes.
pub const PLAN_FINALIZER: &str = "shardpair.io/plan";

/// Pod condition (readiness gate): the member fills the role that its pair's record gives it.
pub const IN_ROLE: &str = "shardpair.io/in-role";
/// The container.
pub const CONTAINER: &str = "mysqld";
/// Port of the server and of the VIP.
pub const PORT: i32 = 3306;
/// Port of MySQL's administrative interface, on the pod's address: the operator's own way in, outside `max_connections`.
pub const ADMIN_PORT: i32 = 33_062;
/// Name of that port in a member's container; a pod without it was made by an operator that didn't know it.
pub const ADMIN: &str = "admin";
/// Longest name of a ShardCluster, so that all derived names fit Kubernetes' 63 characters.
pub const CLUSTER_NAME_MAX: usize = 40;

/// Keys of the operator's Secret.
pub const OPERATOR_USERNAME: &str = "operator-username";
/// See [`OPERATOR_USERNAME`].
pub const OPERATOR_PASSWORD: &str = "operator-password";
/// See [`OPERATOR_USERNAME`].
pub const REPLICATION_USERNAME: &str = "replication-username";
/// See [`OPERATOR_USERNAME`].
pub const REPLICATION_PASSWORD: &str = "replication-password";
/// Key of a member's ConfigMap: `1` until the record knows the member's volume.
pub const FIRST: &str = "first";
/// Key of the map ConfigMap.
pub const MAP_KEY: &str = "map.json";

/// Do its annotations pause it?
pub fn paused(annotations: &BTreeMap<String, String>) -> bool {
    annotations.get(PAUSED).is_some_and(|v| v == "true")
}

/// ShardPair, VIP Service, its EndpointSlice and the pair's PodDisruptionBudget.
pub fn pair(cluster: &str, shard: u32) -> String {
    format!("{cluster}-{shard}")
}

/// Service for reads of a pair's standby, and its EndpointSlice.
pub fn read(cluster: &str, shard: u32) -> String {
    format!("{cluster}-{shard}-read")
}

/// Member: StatefulSet, Service, ConfigMap and PersistentVolumeClaim.
pub fn member(cluster: &str, k: u32) -> String {
    format!("{cluster}-m{k}")
}

/// The number of a member, from its name.
pub fn member_number(cluster: &str, member: &str) -> Option<u32> {
    let digits = member.strip_prefix(cluster)?.strip_prefix("-m")?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// The first two members of a shard.
pub fn first_members(cluster: &str, shard: u32) -> Vec<String> {
    vec![member(cluster, 2 * shard), member(cluster, 2 * shard + 1)]
}

/// The one pod of a member.
pub fn pod(member: &str) -> String {
    format!("{member}-0")
}

/// Secret with the operator's and the replication account.
pub fn operator_secret(cluster: &str) -> String {
    format!("{cluster}-operator")
}

/// Secret with the application's account.
pub fn app_secret(cluster: &str) -> String {
    format!("{cluster}-app")
}

/// The cluster's own Redis: Secret (key `url`), Service and StatefulSet.
pub fn redis(cluster: &str) -> String {
    format!("{cluster}-redis")
}

/// ConfigMap with the map.
pub fn map(cluster: &str) -> String {
    format!("{cluster}-map")
}

/// A Service's name within the cluster, as the map gives it.
pub fn service_host(service: &str, namespace: &str) -> String {
    format!("{service}.{namespace}.svc")
}
