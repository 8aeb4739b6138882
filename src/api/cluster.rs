//! `ShardCluster`: what a user asks for, N pairs of MySQL servers behind N VIPs.
//!
//! Pure types. Limits on lists and strings are there so that the API server can afford the CEL rules (`rules`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use crate::pair::record::Mode;

/// A set of dual-master MySQL shard pairs.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "shardpair.io",
    version = "v1alpha1",
    kind = "ShardCluster",
    namespaced,
    status = "ShardClusterStatus",
    derive = "PartialEq",
    shortname = "shc",
    doc = "A set of dual-master MySQL shard pairs, each behind a VIP.",
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 40")
        .message("metadata.name must have at most 40 characters (a-z, 0-9, '-'), start with a letter and not end with '-': Services are named after it"),
    printcolumn(name = "Shards", type_ = "integer", json_path = ".status.shards"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Available", type_ = "string", json_path = ".status.conditions[?(@.type==\"Available\")].status"),
    printcolumn(name = "Redundant", type_ = "string", json_path = ".status.conditions[?(@.type==\"Redundant\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Stalled", type_ = "string", json_path = ".status.conditions[?(@.type==\"Stalled\")].reason", priority = 1),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.mysql.image", priority = 1),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.epoch", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::cluster_spec()))]
pub struct ShardClusterSpec {
    /// Number of shards at creation. Later only an ExpansionPlan changes it: see status.shards.
    #[schemars(range(min = 1, max = 256), extend("x-kubernetes-validations" = rules::shards()))]
    pub shards: i32,
    /// The servers.
    pub mysql: Mysql,
    /// Databases to create on every shard. The list may grow.
    #[serde(default)]
    #[schemars(length(max = 32), inner(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_$-]*$")), extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = rules::databases()))]
    pub databases: Vec<String>,
    /// Which shard a key belongs to.
    #[serde(default)]
    pub sharding: Sharding,
    /// How new ids are made.
    #[serde(default)]
    pub ids: Ids,
    /// What to do when a member is gone.
    #[serde(default)]
    pub failover: Failover,
    /// Reads of the standby.
    #[serde(default)]
    pub reads: Reads,
    /// Caches beside the databases.
    #[serde(default, skip_serializing_if = "Cache::is_empty")]
    pub cache: Cache,
    /// Observe and report, change nothing.
    #[serde(default)]
    pub paused: bool,
}

/// The MySQL servers of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mysql {
    /// A stock MySQL image, 8.4 or newer. Changing it upgrades the standbys first, then switches over.
    #[serde(default = "default_image")]
    #[schemars(length(min = 1, max = 512), regex(pattern = "^[^\\s]+$"))]
    pub image: String,
    /// Pull policy of the image; absent: Kubernetes' default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,
    /// Names of Secrets with registry credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 253)))]
    pub image_pull_secrets: Vec<String>,
    /// my.cnf entries of the section mysqld. Those that safety rests on are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "config_schema")]
    pub config: BTreeMap<String, String>,
    /// CPU and memory of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// The volume of each member.
    pub storage: Storage,
    /// Where and how the pods run.
    #[serde(default)]
    pub pod_template: PodTemplate,
}

/// When the image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// At each start.
    Always,
    /// When the node lacks it.
    IfNotPresent,
    /// Never.
    Never,
}

impl PullPolicy {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

fn default_image() -> String {
    "mysql:9.7".to_owned()
}

fn config_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "description": "my.cnf entries of the section mysqld. Those that safety rests on are refused.",
        "type": "object",
        "maxProperties": 128,
        "additionalProperties": {"type": "string", "maxLength": 1024, "pattern": "^[^\\n\\r]*$"},
        "x-kubernetes-validations": rules::config(),
    })
}

/// A member's volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::storage()))]
pub struct Storage {
    /// Size. May grow where the storage class allows it; never shrinks.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-validations" = rules::storage_size()))]
    pub size: String,
    /// Storage class; absent: the default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// What happens to the volumes when the ShardCluster is deleted.
    #[serde(default)]
    pub on_delete: OnDelete,
}

/// What happens to the volumes of a deleted cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDelete {
    /// They stay.
    #[default]
    Retain,
    /// They are deleted with it.
    Delete,
}

/// What a user adds to the pods. Affinity is combined with shardpair's own, which keeps the members of a pair apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplate {
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels; shardpair.io/ is shardpair's own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Affinity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Tolerations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Node selector.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Topology spread constraints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Priority class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
}

/// How a key finds its shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::sharding()))]
pub struct Sharding {
    /// The rule.
    pub strategy: Strategy,
    /// Hash: how a key becomes a number.
    pub function: Function,
    /// Range: one entry per shard, in ascending order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub ranges: Vec<Range>,
    /// Table: where the routes are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<RouteTable>,
    /// The application's tables.
    #[schemars(length(max = 512))]
    pub tables: Vec<Table>,
}

pub use crate::routing::{Function, Strategy, TableClass};

/// Keys of one shard: from the bound before (inclusive) to `to` (exclusive).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Range {
    /// The shard.
    #[schemars(range(min = 0, max = 255))]
    pub shard: i32,
    /// Exclusive upper bound; absent in the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
}

/// Where the routes of strategy Table are: exactly one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::sharding_table_source()))]
pub struct RouteTable {
    /// A ConfigMap of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub config_map: Option<String>,
    /// A MySQL table (db.table) on shard 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 129))]
    pub mysql_table: Option<String>,
}

/// One table of the application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::table()))]
pub struct Table {
    /// `database.table`
    #[schemars(length(min = 3, max = 129), regex(pattern = "^[^.`]{1,64}\\.[^.`]{1,64}$"))]
    pub name: String,
    /// Sharded: the column that decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub key: Option<String>,
    /// What the table holds.
    #[serde(default)]
    pub class: TableClass,
}

impl From<&Table> for crate::routing::Table {
    fn from(table: &Table) -> Self {
        Self { name: table.name.clone(), key: table.key.clone(), class: table.class }
    }
}

impl From<&RouteTable> for crate::routing::map::RouteSource {
    fn from(source: &RouteTable) -> Self {
        Self { config_map: source.config_map.clone(), mysql_table: source.mysql_table.clone() }
    }
}

/// How new ids are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Ids {
    /// AUTO_INCREMENT.
    pub auto_increment: AutoIncrement,
}

/// AUTO_INCREMENT on two servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AutoIncrement {
    /// Step 2, one side odd, the other even.
    #[default]
    Interleave,
    /// The application makes its ids.
    Unmanaged,
}

/// Caches beside the databases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Cache {
    /// A Redis for the cluster's clients; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
}

impl Cache {
    /// Nothing is wanted?
    pub fn is_empty(&self) -> bool {
        self.redis.is_none()
    }
}

/// Redis 7 or Valkey: the operator's (`{}` is enough), or one of yours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::redis()))]
pub struct Redis {
    /// The image; absent: redis:7.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = "^[^\\s]+$"))]
    pub image: Option<String>,
    /// For values; absent: 256Mi. The container has half as much again and 64Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-validations" = rules::redis_memory()))]
    pub memory: Option<String>,
    /// One of yours: the Secret whose key `url` leads to it (`redis://:password@host:6379`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}

/// Reads of the standby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Reads {
    /// A Service CLUSTER-SHARD-read for each pair, which leads to the standby while the pair is in Sync.
    pub service: bool,
    /// A standby further behind leaves it, and is back within half of that.
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = rules::duration_at_least("2s")))]
    pub max_lag: String,
}

impl Default for Reads {
    fn default() -> Self {
        Self { service: false, max_lag: "5s".to_owned() }
    }
}

/// What to do when a member is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Failover {
    /// Without a standby: go on or stall.
    pub durability: Durability,
    /// What an acknowledgement survives.
    pub ack: Ack,
    /// How long writes wait for a lost standby before the pair goes on without it (durability Preferred).
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = rules::duration_at_least("1s")))]
    pub solo_after: String,
    /// Replace a member that is gone for this long by a new one: 'never' or a duration.
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = rules::replace_after()))]
    pub replace_after: String,
    /// Silence of a member that counts as gone. A broken connection needs no waiting.
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = rules::duration_at_least("500ms")))]
    pub detect_after: String,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            ack: Ack::default(),
            solo_after: "3s".to_owned(),
            replace_after: "never".to_owned(),
            detect_after: "1500ms".to_owned(),
        }
    }
}

/// Without a standby: go on or stall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Durability {
    /// Go Solo after soloAfter.
    #[default]
    Preferred,
    /// Stall rather than run without a standby.
    Required,
}

/// What an acknowledgement survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ack {
    /// The death of either mysqld.
    #[default]
    Received,
    /// Also a power cut of both nodes, at about half the write rate.
    Flushed,
}

/// What is so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ShardClusterStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Number of shards; an ExpansionPlan raises it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<i32>,
    /// Version of the map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// Range: the bounds after an ExpansionPlan, in order; empty: those of the spec.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
    /// `<namespace>/<lease>` of the operator installation that manages this cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// Number of the next new member: each is given out once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_member: Option<i64>,
    /// The Secret whose key `url` leads to the cluster's Redis, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_secret: Option<String>,
    /// Ready, Available, Redundant; Reconciling and Stalled only while they hold.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The pairs in short.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub pairs: Vec<PairSummary>,
}

/// A pair in one line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PairSummary {
    /// `<cluster>-<shard>`
    pub name: String,
    /// The shard.
    pub shard: i32,
    /// The member behind the VIP.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub primary: String,
    /// The other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<String>,
    /// Sync or Solo; absent until the pair is provisioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Reason of the pair's condition Ready.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ready: String,
}
