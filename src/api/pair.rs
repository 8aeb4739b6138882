//! `ShardPair`: the two members that hold a shard. Made by the operator, read by people; its status is the record.
//!
//! Pure types. The status is written only with the resourceVersion that was read (invariant 7).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::expansion::Standbys;
use super::rules;
use crate::pair::record::{MoveKind, Record};
use crate::pair::split::{SplitStatus, SplitUntil};

/// What a pair consists of.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "shardpair.io",
    version = "v1alpha1",
    kind = "ShardPair",
    namespaced,
    status = "ShardPairStatus",
    derive = "PartialEq",
    shortname = "shp",
    doc = "The two MySQL servers that hold one shard. Made by the operator from a ShardCluster.",
    printcolumn(name = "Shard", type_ = "integer", json_path = ".spec.shard"),
    printcolumn(name = "Primary", type_ = "string", json_path = ".status.primary"),
    printcolumn(name = "Standby", type_ = "string", json_path = ".status.standby"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.mode"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Lag", type_ = "integer", json_path = ".status.lagSeconds", priority = 1),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.epoch", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::pair_spec()))]
pub struct ShardPairSpec {
    /// Name of the ShardCluster.
    #[schemars(length(min = 1, max = 40))]
    pub cluster: String,
    /// Number of the shard.
    #[schemars(range(min = 0, max = 255))]
    pub shard: i32,
    /// The members, in order of their side: two, or three while one is being replaced.
    #[schemars(length(min = 1, max = 4), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub members: Vec<String>,
    /// Present while an ExpansionPlan splits this pair, or makes it. Only the plan writes it; the pair carries it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
}

/// The record, and what is told beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ShardPairStatus {
    /// The pair's truth.
    #[serde(flatten)]
    pub record: Record,
    /// The standby's `lagSeconds`, for the column (a column can't tell which member is the standby).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<i64>,
    /// The last completed move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_move: Option<LastMove>,
    /// Which operator process wrote last, in which term: claimed anew by each leader, so that an older one's writes fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// What databases and application account were made from; another value: they are made again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<String>,
    /// How far the split has come on this side; present while the spec has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitStatus>,
    /// Ready, Available, Redundant.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The last completed move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastMove {
    /// What it was.
    pub kind: MoveKind,
    /// The old primary.
    pub from: String,
    /// The new primary.
    pub to: String,
    /// When it was done.
    pub at: MicroTime,
    /// From its beginning to the write of the slice.
    pub seconds: f64,
    /// Why.
    pub reason: String,
}

/// Which side of a split a pair is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SplitRole {
    /// It gives half of its keys away.
    Parent,
    /// It is made of new members, follows the parent, and takes that half.
    Child,
}

/// What the plan asks of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Split {
    /// The ExpansionPlan's name.
    #[schemars(length(min = 1, max = 253))]
    pub plan: String,
    /// Which side this is.
    pub role: SplitRole,
    /// The pair of the other side.
    #[schemars(length(min = 1, max = 63))]
    pub other: String,
    /// How far to go. Lowered from Flipped to Prepared it rolls back; from Dissolved on there is no way back.
    pub until: SplitUntil,
    /// When the child gets its standby.
    #[serde(default)]
    pub standbys: Standbys,
    /// Range: the first key that moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_at: Option<i64>,
    /// The map with the new shards: guards name its epoch in what they refuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_epoch: Option<i64>,
    /// The parent's keys before the split, as the map had them. The same on both sides.
    #[serde(default)]
    pub keys: SplitKeys,
}

/// A shard's keys, in the fields of a map's line: modulus and residue (Hash), from and to (Range), route, modulus and
/// residue (Table).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SplitKeys {
    /// Hash, Table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modulus: Option<u32>,
    /// Hash, Table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residue: Option<u32>,
    /// Table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<u32>,
    /// Range: the first key; absent: open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// Range: the first key beyond; absent: open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
}
