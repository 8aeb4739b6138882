//! A ShardCluster's spec, parsed and checked: the only form that builders and reconcilers take.
//!
//! Pure. Repeats in code what CEL refuses at apply (an older CRD may be installed) and adds what CEL can't tell. Every
//! refusal has a reason for the condition and a message that says what to do.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::ResourceExt;

use super::cluster::{
    self, AutoIncrement, OnDelete, PodTemplate, PullPolicy, ShardCluster, ShardClusterSpec, Sharding, Strategy, TableClass,
};
use super::{names, parse};
use crate::pair::settings::{Ack, Durability, Settings};

/// Why a spec can't be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// One word, the reason of the condition Stalled.
    pub reason: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl Invalid {
    /// A refusal in one line.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Most shards that a cluster may have.
pub const SHARDS_MAX: i32 = 256;
/// The oldest MySQL whose replication commands shardpair speaks.
pub const OLDEST: parse::Version = parse::Version { major: 8, minor: 4, patch: None };

/// A member's volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// As the user wrote it.
    pub size: String,
    /// In bytes.
    pub size_bytes: u128,
    /// None: the default class.
    pub class: Option<String>,
    /// Delete the volume with the cluster.
    pub delete: bool,
}

/// A Redis for the cluster's clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redis {
    /// The operator's.
    Own(OwnRedis),
    /// The user's: name of the Secret whose key `url` leads to it.
    Theirs(String),
}

/// A Redis that the operator makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnRedis {
    /// Image.
    pub image: String,
    /// Bytes for values.
    pub memory_bytes: u64,
}

/// A spec that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Valid {
    /// Name of the ShardCluster.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// Number of shards now: status.shards once known, else spec.shards.
    pub shards: u32,
    /// Number of shards at creation: the pairs of all later ones are made by ExpansionPlans.
    pub first_shards: u32,
    /// Range: the bounds now, in order (status.ranges once an ExpansionPlan split them, else the spec's).
    pub ranges: Vec<cluster::Range>,
    /// Version of the map: status.epoch once known, else 1.
    pub epoch: i64,
    /// MySQL image.
    pub image: String,
    /// Its version, as far as the tag tells.
    pub version: Option<parse::Version>,
    /// Pull policy.
    pub pull_policy: Option<PullPolicy>,
    /// Names of pull secrets.
    pub pull_secrets: Vec<String>,
    /// The user's my.cnf entries, none of them reserved.
    pub config: BTreeMap<String, String>,
    /// CPU and memory.
    pub resources: Option<ResourceRequirements>,
    /// Volume.
    pub storage: Storage,
    /// The user's part of the pods.
    pub pod_template: PodTemplate,
    /// Redis, if one is wanted.
    pub redis: Option<Redis>,
    /// Databases.
    pub databases: Vec<String>,
    /// Routing.
    pub sharding: Sharding,
    /// The pair protocol's settings, without members.
    pub settings: Settings,
}

impl Valid {
    /// Parses and checks a whole ShardCluster.
    pub fn parse(cluster: &ShardCluster) -> Result<Self, Invalid> {
        let spec = &cluster.spec;
        let name = cluster.name_any();
        check_name(&name)?;
        check_shards(spec.shards)?;
        let version = check_image(&spec.mysql.image)?;
        check_config(&spec.mysql.config)?;
        check_pod_template(&spec.mysql.pod_template)?;
        check_databases(&spec.databases)?;
        check_sharding(spec)?;
        let status = cluster.status.clone().unwrap_or_default();
        Ok(Self {
            namespace: cluster.namespace().unwrap_or_default(),
            uid: cluster.uid().unwrap_or_default(),
            shards: status.shards.unwrap_or(spec.shards).clamp(1, SHARDS_MAX) as u32,
            first_shards: spec.shards as u32,
            ranges: if status.ranges.is_empty() { spec.sharding.ranges.clone() } else { status.ranges.clone() },
            epoch: status.epoch.unwrap_or(1),
            image: spec.mysql.image.clone(),
            version,
            pull_policy: spec.mysql.image_pull_policy,
            pull_secrets: spec.mysql.image_pull_secrets.clone(),
            config: spec.mysql.config.clone(),
            resources: spec.mysql.resources.clone(),
            storage: storage(&spec.mysql.storage)?,
            pod_template: spec.mysql.pod_template.clone(),
            redis: spec.cache.redis.as_ref().map(redis).transpose()?,
            databases: spec.databases.clone(),
            sharding: spec.sharding.clone(),
            settings: spec.settings(Vec::new())?,
            name,
        })
    }
}

impl ShardClusterSpec {
    /// What the pair protocol needs to know, for a pair of these members.
    pub fn settings(&self, members: Vec<String>) -> Result<Settings, Invalid> {
        let f = &self.failover;
        Ok(Settings {
            durability: match f.durability {
                cluster::Durability::Preferred => Durability::Preferred,
                cluster::Durability::Required => Durability::Required,
            },
            ack: match f.ack {
                cluster::Ack::Received => Ack::Received,
                cluster::Ack::Flushed => Ack::Flushed,
            },
            solo_after_ms: duration("spec.failover.soloAfter", &f.solo_after, 1_000)?,
            detect_after_ms: duration("spec.failover.detectAfter", &f.detect_after, 500)?,
            replace_after_ms: match f.replace_after.as_str() {
                "never" => None,
                text => Some(duration("spec.failover.replaceAfter", text, 10_000)?),
            },
            paused: self.paused,
            reads_max_lag_ms: match self.reads.service {
                true => Some(duration("spec.reads.maxLag", &self.reads.max_lag, 2_000)?),
                false => None,
            },
            interleave_ids: self.ids.auto_increment == AutoIncrement::Interleave,
            members,
            split: None,
        })
    }
}

fn check_name(name: &str) -> Result<(), Invalid> {
    let label = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-');
    if label && name.len() <= names::CLUSTER_NAME_MAX {
        return Ok(());
    }
    Err(Invalid::new(
        "InvalidName",
        format!("the name {name:?} can't name Services: make the ShardCluster under a name of at most {} characters (a-z, 0-9, '-') that starts with a letter", names::CLUSTER_NAME_MAX),
    ))
}

fn check_shards(shards: i32) -> Result<(), Invalid> {
    if (1..=SHARDS_MAX).contains(&shards) {
        return Ok(());
    }
    Err(Invalid::new("InvalidShards", format!("spec.shards is {shards}: set it to a number from 1 to {SHARDS_MAX}")))
}

fn names_an_image(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace)
}

fn check_image(image: &str) -> Result<Option<parse::Version>, Invalid> {
    if !names_an_image(image) {
        return Err(Invalid::new("InvalidImage", "spec.mysql.image is not an image name: set it to something like mysql:9.7"));
    }
    match parse::image_version(image) {
        Some(v) if v.is_older_than(OLDEST) => Err(Invalid::new(
            "ImageTooOld",
            format!("spec.mysql.image {image} is MySQL {v}: shardpair needs {OLDEST} or newer, so set it to mysql:8.4 or mysql:9.7"),
        )),
        version => Ok(version),
    }
}

fn check_config(config: &BTreeMap<String, String>) -> Result<(), Invalid> {
    for (key, value) in config {
        let well_formed = key.starts_with(|c: char| c.is_ascii_alphabetic())
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !well_formed || value.contains(['\n', '\r']) {
            return Err(Invalid::new("InvalidConfig", format!("spec.mysql.config entry {key:?} is not one line of my.cnf: correct or remove it")));
        }
        if let Some(why) = crate::mysql::config::refused(key) {
            return Err(Invalid::new("ReservedConfig", format!("spec.mysql.config may not set {key}: {why}; remove the entry")));
        }
    }
    Ok(())
}

fn check_pod_template(template: &PodTemplate) -> Result<(), Invalid> {
    let ours = |k: &&String| k.starts_with("shardpair.io/");
    match template.labels.keys().chain(template.annotations.keys()).find(ours) {
        Some(key) => Err(Invalid::new("InvalidPodTemplate", format!("spec.mysql.podTemplate sets {key}: names under shardpair.io/ are the operator's, remove it"))),
        None => Ok(()),
    }
}

fn check_databases(databases: &[String]) -> Result<(), Invalid> {
    const SYSTEM: &[&str] = &["mysql", "sys", "performance_schema", "information_schema", "shardpair"];
    let mut seen = BTreeSet::new();
    for d in databases {
        let well_formed = !d.is_empty()
            && d.len() <= 64
            && d.bytes().all(|b| b.is_ascii_alphanumeric() || b"_$-".contains(&b))
            && !d.starts_with(['-', '$']);
        if !well_formed || SYSTEM.contains(&d.to_ascii_lowercase().as_str()) || !seen.insert(d) {
            return Err(Invalid::new("InvalidDatabase", format!("spec.databases names {d:?}: use each name once, letters, digits and _ only, none of MySQL's own or 'shardpair'")));
        }
    }
    Ok(())
}

fn check_sharding(spec: &ShardClusterSpec) -> Result<(), Invalid> {
    let sharding = &spec.sharding;
    let bad = |message: String| Err(Invalid::new("InvalidSharding", message));
    for t in &sharding.tables {
        match t.name.split_once('.') {
            Some((db, table)) if spec.databases.iter().any(|d| d == db) && !table.is_empty() => {}
            _ => return bad(format!("spec.sharding.tables names {:?}: write database.table, with a database of spec.databases", t.name)),
        }
        if t.class == TableClass::Sharded && t.key.as_deref().unwrap_or_default().is_empty() {
            return bad(format!("spec.sharding.tables: {} is Sharded and has no key: name the column that decides, or make it Reference or Local", t.name));
        }
    }
    match sharding.strategy {
        Strategy::Hash => Ok(()),
        Strategy::Range => check_ranges(spec),
        Strategy::Table => match &sharding.table {
            Some(t) if t.config_map.is_some() != t.mysql_table.is_some() => Ok(()),
            _ => bad("strategy Table needs spec.sharding.table with either configMap or mysqlTable".to_owned()),
        },
    }
}

fn check_ranges(spec: &ShardClusterSpec) -> Result<(), Invalid> {
    let ranges = &spec.sharding.ranges;
    let numbers: BTreeSet<i32> = ranges.iter().map(|r| r.shard).collect();
    let complete = ranges.len() == spec.shards as usize && numbers == (0..spec.shards).collect();
    let last_open = ranges.last().is_some_and(|r| r.to.is_none());
    let ascending = ranges.windows(2).all(|w| match (w[0].to, w[1].to) {
        (Some(a), Some(b)) => a < b,
        (Some(_), None) => true,
        (None, _) => false,
    });
    if complete && last_open && ascending {
        return Ok(());
    }
    Err(Invalid::new(
        "InvalidSharding",
        "spec.sharding.ranges must name each shard once, in ascending order of 'to', which all but the last have",
    ))
}

fn storage(storage: &cluster::Storage) -> Result<Storage, Invalid> {
    match parse::quantity_bytes(&storage.size) {
        Some(size_bytes) if size_bytes > 0 => Ok(Storage {
            size: storage.size.clone(),
            size_bytes,
            class: storage.storage_class_name.clone(),
            delete: storage.on_delete == OnDelete::Delete,
        }),
        _ => Err(Invalid::new("InvalidStorage", format!("spec.mysql.storage.size {:?} is not a size: write something like 10Gi", storage.size))),
    }
}

fn redis(redis: &cluster::Redis) -> Result<Redis, Invalid> {
    const MEMORY: std::ops::RangeInclusive<u128> = 16 << 20..=1 << 40;
    let (image, memory) = (redis.image.as_deref(), redis.memory.as_deref());
    if let Some(secret) = &redis.secret_name {
        return match (image, memory) {
            (None, None) => Ok(Redis::Theirs(secret.clone())),
            _ => Err(Invalid::new("InvalidCache", "spec.cache.redis.secretName names a Redis of yours: remove image and memory, which are for the operator's own")),
        };
    }
    let image = image.unwrap_or("redis:7");
    if !names_an_image(image) {
        return Err(Invalid::new("InvalidCache", "spec.cache.redis.image is not an image name: set it to something like redis:7 or valkey/valkey:8"));
    }
    let memory = memory.unwrap_or("256Mi");
    match parse::quantity_bytes(memory).filter(|bytes| MEMORY.contains(bytes)) {
        Some(bytes) => Ok(Redis::Own(OwnRedis { image: image.to_owned(), memory_bytes: bytes as u64 })),
        None => Err(Invalid::new("InvalidCache", format!("spec.cache.redis.memory {memory:?} is not a size from 16Mi to 1Ti: write something like 256Mi"))),
    }
}

fn duration(field: &str, text: &str, least_ms: u64) -> Result<u64, Invalid> {
    match parse::duration_ms(text) {
        Some(ms) if ms >= least_ms => Ok(ms),
        _ => Err(Invalid::new("InvalidDuration", format!("{field} is {text:?}: write a duration of at least {least_ms}ms, such as 3s or 1500ms"))),
    }
}
