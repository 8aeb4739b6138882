//! `ExpansionPlan`: N shards become 2N.
//!
//! Pure types. `until` says how far to go: raising it approves, lowering it below Dissolved rolls back.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// How N shards become 2N.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "shardpair.io",
    version = "v1alpha1",
    kind = "ExpansionPlan",
    plural = "expansionplans",
    namespaced,
    status = "ExpansionPlanStatus",
    derive = "PartialEq",
    shortname = "xplan",
    doc = "Doubles the shards of a running ShardCluster.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(name = "To", type_ = "integer", json_path = ".spec.toShards"),
    printcolumn(name = "Until", type_ = "string", json_path = ".spec.until"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Flipped", type_ = "string", description = "Shards that flipped, of those to be split", json_path = ".status.flipped"),
    printcolumn(name = "Pause", type_ = "string", description = "How long keys that move paused at the flip, longest", json_path = ".status.pause"),
    printcolumn(name = "Purged", type_ = "string", description = "Foreign rows: how much has been looked at", json_path = ".status.purged"),
    printcolumn(name = "Complete", type_ = "string", json_path = ".status.conditions[?(@.type==\"Complete\")].status", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Progressing\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::plan_spec()))]
pub struct ExpansionPlanSpec {
    /// The cluster, in the same namespace.
    pub cluster_ref: ClusterRef,
    /// Exactly twice the cluster's shards.
    #[schemars(range(min = 2, max = 256))]
    pub to_shards: i32,
    /// When the new pairs get their standbys.
    #[serde(default)]
    pub standbys: Standbys,
    /// How far to go.
    #[serde(default)]
    pub until: Phase,
    /// How long clients of the routing service that use a map without the new shards are waited for, before the first flip.
    #[serde(default = "default_wait_for_clients")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = rules::duration_at_least("0s")))]
    pub wait_for_clients: String,
    /// How long the way back costs nothing, after the flip.
    #[serde(default = "default_reverse_window")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = rules::duration_at_least("0s")))]
    pub reverse_window: String,
    /// Range: one bound per shard; absent: the median key, as found by the preflight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub split_at: Vec<i64>,
    /// How gently foreign rows are deleted.
    #[serde(default)]
    pub purge: Purge,
}

pub(crate) fn default_wait_for_clients() -> String {
    "30s".to_owned()
}

pub(crate) fn default_reverse_window() -> String {
    "10m".to_owned()
}

/// A ShardCluster of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// Its name.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
}

/// When the new pairs get their standbys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Standbys {
    /// Before the flip.
    #[default]
    Before,
    /// After it: no standby for a while.
    After,
}

/// The phases in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Looked at everything, changed nothing.
    Preflight,
    /// New standbys and guards are there.
    Prepared,
    /// The new shards have their own primaries.
    Flipped,
    /// The links between old and new are gone.
    Dissolved,
    /// Foreign rows are gone, verified.
    #[default]
    Complete,
}

/// How gently foreign rows are deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Purge {
    /// Stop while a standby is further behind than this.
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = rules::duration_at_least("100ms")))]
    pub max_standby_lag: String,
    /// Rows per transaction.
    #[schemars(range(min = 1, max = 100000))]
    pub chunk_rows: i32,
}

impl Default for Purge {
    fn default() -> Self {
        Self { max_standby_lag: "1s".to_owned(), chunk_rows: 1_000 }
    }
}

/// How far it has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExpansionPlanStatus {
    /// The last phase that is wholly done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Complete, Progressing; Stalled only while it holds.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What the preflight found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Per shard.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["shard"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<ShardProgress>,
    /// Shards that flipped, of those to be split: `1/2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flipped: Option<String>,
    /// The longest pause of keys that moved: `82ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<String>,
    /// Rows looked at by the purge, of those estimated: `40%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purged: Option<String>,
    /// When the last shard had flipped: the reverse window begins here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flipped_at: Option<MicroTime>,
    /// When this plan changed the map last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announced_at: Option<MicroTime>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Severity {
    /// The plan can't go on.
    Refused,
    /// It can.
    Warning,
}

/// One finding of the preflight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// One word.
    pub reason: String,
    /// The table, pair or node.
    pub object: String,
    /// What to do.
    pub message: String,
}

/// One shard's progress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardProgress {
    /// The shard that is split.
    pub shard: i32,
    /// The shard that comes out of it.
    pub new_shard: i32,
    /// The last phase that is wholly done here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// How long keys that move paused at the flip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_seconds: Option<f64>,
    /// Range: keys from here on move. Chosen before anything is made, and kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_at: Option<i64>,
    /// Present while a member of the new pair is being cloned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone: Option<CloneProgress>,
    /// What this shard waits for, while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Rows that were written on the wrong side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misrouted_rows: Option<i64>,
    /// Purge: rows looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_scanned: Option<i64>,
    /// Purge: rows deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_deleted: Option<i64>,
    /// Purge: rows to look at, as MySQL estimates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_estimated: Option<i64>,
    /// Present while the purge holds back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled: Option<Throttled>,
}

/// How far a clone has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloneProgress {
    /// The member that is being filled.
    pub member: String,
    /// Bytes that have arrived.
    pub bytes_done: i64,
    /// Bytes in all, as MySQL estimates.
    pub bytes_estimated: i64,
    /// Since the look before; absent at the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<i64>,
    /// At this rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
}

/// Why the purge holds back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Throttled {
    /// One word.
    pub reason: String,
}
