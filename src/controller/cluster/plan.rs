//! From a valid spec and what exists to what is to be done. Pure.
//!
//! First the refusals (`checks`): any of them, and nothing is done. Then the objects in the order in which they need each
//! other; a pair comes before its members' volumes, so that a volume without a pair means that a record was lost.

use std::collections::{BTreeMap, BTreeSet};

use kube::Resource;
use serde::Serialize;
use serde_json::Value;

use super::{checks, compare};
use crate::api::valid::{Invalid, Redis, Valid};
use crate::api::{ShardPair, names, parse};
use crate::manifests::{self, claim, config, map, pair, pdb, redis, secret, service, statefulset};
use crate::mysql::config::{Params, base_config, render};

/// What the controller makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// ShardPair
    Pair,
    /// Secret
    Secret,
    /// StatefulSet
    StatefulSet,
    /// Service
    Service,
    /// ConfigMap
    ConfigMap,
    /// PersistentVolumeClaim
    Claim,
    /// PodDisruptionBudget
    Budget,
}

impl Kind {
    /// As Kubernetes calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pair => "ShardPair",
            Self::Secret => "Secret",
            Self::StatefulSet => "StatefulSet",
            Self::Service => "Service",
            Self::ConfigMap => "ConfigMap",
            Self::Claim => "PersistentVolumeClaim",
            Self::Budget => "PodDisruptionBudget",
        }
    }
}

/// An object that exists.
#[derive(Clone, Debug)]
pub struct Live {
    /// As the API server has it.
    pub value: Value,
}

impl Live {
    /// Its uid.
    pub fn uid(&self) -> &str {
        self.value["metadata"]["uid"].as_str().unwrap_or_default()
    }

    /// Its controlling owner: kind, name, uid.
    pub fn owner(&self) -> Option<(&str, &str, &str)> {
        let owners = self.value["metadata"]["ownerReferences"].as_array()?;
        let owner = owners.iter().find(|o| o["controller"] == true)?;
        Some((owner["kind"].as_str()?, owner["name"].as_str()?, owner["uid"].as_str()?))
    }

    pub(super) fn annotation(&self, key: &str) -> &str {
        self.value["metadata"]["annotations"][key].as_str().unwrap_or_default()
    }

    pub(super) fn label(&self, key: &str) -> &str {
        self.value["metadata"]["labels"][key].as_str().unwrap_or_default()
    }
}

/// A storage class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Taken where no class is named.
    pub default: bool,
    /// Its volumes may grow.
    pub grows: bool,
}

/// Passwords for Secrets that don't exist yet.
#[derive(Clone, Debug, Default)]
pub struct Fresh {
    /// The operator's account.
    pub operator: String,
    /// The replication account.
    pub replication: String,
    /// The application's account.
    pub app: String,
    /// Redis'.
    pub redis: String,
}

/// Everything seen in one pass.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What is labelled as the cluster's, and what has a wanted name.
    pub objects: BTreeMap<(Kind, String), Live>,
    /// The image that each member's pod runs.
    pub images: BTreeMap<String, String>,
    /// Storage classes, if they matter.
    pub classes: Vec<Class>,
    /// For new Secrets.
    pub fresh: Fresh,
}

impl Seen {
    /// An object.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Live> {
        self.objects.get(&(kind, name.to_owned()))
    }

    /// The pairs that belong to the ShardCluster of this uid, by shard.
    pub fn pairs(&self, uid: &str) -> BTreeMap<u32, ShardPair> {
        let ours = |(key, live): (&(Kind, String), &Live)| {
            let own = key.0 == Kind::Pair && live.owner().is_some_and(|(_, _, owner)| owner == uid);
            let pair: ShardPair = own.then(|| serde_json::from_value(live.value.clone()).ok())??;
            Some((u32::try_from(pair.spec.shard).ok()?, pair))
        };
        self.objects.iter().filter_map(ours).collect()
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make it; from then on it isn't ours to change (Secrets, pairs).
    Create(Kind, Value),
    /// Server-side apply; `uid`: onto this very object, None: it doesn't exist yet.
    Apply(Kind, Value, Option<String>),
    /// Delete this very object.
    Delete(Kind, String, String),
}

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// The spec can't be carried out: there are no actions.
    pub refused: Option<Invalid>,
    /// Single things that can't be done, beside the actions.
    pub remarks: Vec<Invalid>,
    /// There would be actions, were the cluster not paused.
    pub held_back: bool,
}

impl Plan {
    /// Nothing is done, for this reason.
    pub fn refused(invalid: Invalid) -> Self {
        Self { refused: Some(invalid), ..Self::default() }
    }

    /// What a person must see to.
    pub fn stalled(&self) -> Option<&Invalid> {
        self.refused.as_ref().or(self.remarks.first())
    }
}

/// A member that shall exist.
pub(super) struct Member {
    pub(super) name: String,
    number: u32,
    shard: u32,
    /// The record knows its volume.
    pub(super) known: bool,
}

/// Plans.
pub fn plan(cluster: &Valid, seen: &Seen) -> Plan {
    if let Some(invalid) = checks::refusal(cluster, seen) {
        return Plan::refused(invalid);
    }
    let mut plan = Plan::default();
    let members = members(cluster, seen);
    secrets(cluster, seen, &mut plan);
    pairs(cluster, seen, &mut plan);
    let wanted = statefulset::wanted(cluster, &my_cnf(cluster, 0));
    for member in &members {
        volume(cluster, seen, member, &mut plan);
        one_member(cluster, seen, member, &wanted, &mut plan);
    }
    for shard in shards(cluster, seen) {
        apply(seen, Kind::Service, service::vip(cluster, shard), &mut plan);
        apply(seen, Kind::Budget, pdb::build(cluster, shard), &mut plan);
        if cluster.settings.reads_max_lag_ms.is_some() {
            apply(seen, Kind::Service, service::read(cluster, shard), &mut plan);
        }
    }
    the_map(cluster, seen, &mut plan);
    the_cache(cluster, seen, &mut plan);
    gone_members(cluster, seen, &members, &mut plan);
    gone_shards(cluster, seen, &mut plan);
    if cluster.settings.paused {
        plan.held_back = !plan.actions.is_empty();
        plan.actions.clear();
    }
    plan
}

/// Every name that the plan may make.
pub fn names_wanted(cluster: &Valid, seen: &Seen) -> Vec<(Kind, String)> {
    let mut names = vec![
        (Kind::Secret, names::operator_secret(&cluster.name)),
        (Kind::Secret, names::app_secret(&cluster.name)),
        (Kind::ConfigMap, names::map(&cluster.name)),
    ];
    for shard in shards(cluster, seen) {
        let name = names::pair(&cluster.name, shard);
        names.extend([Kind::Pair, Kind::Service, Kind::Budget].map(|kind| (kind, name.clone())));
        names.extend(cluster.settings.reads_max_lag_ms.map(|_| (Kind::Service, names::read(&cluster.name, shard))));
    }
    if let Some(Redis::Own(_)) = cluster.redis {
        names.extend(OF_REDIS.map(|kind| (kind, names::redis(&cluster.name))));
    }
    for member in members(cluster, seen) {
        names.extend([Kind::Claim, Kind::ConfigMap, Kind::Service, Kind::StatefulSet].map(|kind| (kind, member.name.clone())));
    }
    names
}

/// Do storage classes matter: is a volume to be made, or to grow?
pub fn needs_classes(cluster: &Valid, seen: &Seen) -> bool {
    members(cluster, seen).iter().any(|m| match seen.get(Kind::Claim, &m.name) {
        None => !m.known,
        Some(claim) => checks::size(claim).is_some_and(|size| size < cluster.storage.size_bytes),
    })
}

/// The cluster's shards, and those that a plan is adding.
fn shards(cluster: &Valid, seen: &Seen) -> BTreeSet<u32> {
    (0..cluster.shards).chain(seen.pairs(&cluster.uid).into_keys()).collect()
}

/// Who the pairs say their members are; for a pair to be made, its first two.
pub(super) fn members(cluster: &Valid, seen: &Seen) -> Vec<Member> {
    let pairs = seen.pairs(&cluster.uid);
    let mut listed = BTreeSet::new();
    let mut members = Vec::new();
    for shard in shards(cluster, seen) {
        let pair = pairs.get(&shard);
        let names = pair.map_or_else(|| names::first_members(&cluster.name, shard), |p| p.spec.members.clone());
        let record = pair.and_then(|p| p.status.as_ref()).map(|s| &s.record);
        for name in names {
            let Some(number) = names::member_number(&cluster.name, &name) else { continue };
            let known = record.and_then(|r| r.member(&name)).is_some_and(|m| !m.volume.is_empty());
            if listed.insert(name.clone()) {
                members.push(Member { name, number, shard, known });
            }
        }
    }
    members
}

fn secrets(cluster: &Valid, seen: &Seen, plan: &mut Plan) {
    let fresh = &seen.fresh;
    create(seen, Kind::Secret, secret::operator(cluster, &fresh.operator, &fresh.replication), plan);
    create(seen, Kind::Secret, secret::app(cluster, &fresh.app), plan);
}

fn pairs(cluster: &Valid, seen: &Seen, plan: &mut Plan) {
    // Later ones are made by ExpansionPlans, and never twice (`checks::record_lost`).
    for shard in 0..cluster.shards.min(cluster.first_shards) {
        create(seen, Kind::Pair, pair::build(cluster, shard), plan);
    }
}

/// A volume that the record knows and that is gone is not made anew: the member would come back empty under its old name.
fn volume(cluster: &Valid, seen: &Seen, member: &Member, plan: &mut Plan) {
    match seen.get(Kind::Claim, &member.name) {
        None if member.known => {}
        // Kubernetes lets only a bound claim grow: later.
        Some(claim) if checks::waits_for_binding(cluster, claim) => {}
        Some(claim) if checks::cannot_grow(cluster, seen, claim) => plan.remarks.push(Invalid::new(
            "VolumeCannotGrow",
            format!(
                "PersistentVolumeClaim {} can't grow to {}: its storage class doesn't allow it (allowVolumeExpansion); set spec.mysql.storage.size back, \
                 or replace the members one by one after changing the class",
                member.name, cluster.storage.size
            ),
        )),
        _ => apply(seen, Kind::Claim, claim::build(cluster, &member.name), plan),
    }
}

fn one_member(cluster: &Valid, seen: &Seen, member: &Member, wanted: &str, plan: &mut Plan) {
    let my_cnf = my_cnf(cluster, member.number);
    let made_for = seen.get(Kind::StatefulSet, &member.name).and_then(|set| {
        let labels = &set.value["spec"]["template"]["metadata"]["labels"];
        labels[names::LABEL_SHARD].as_str()?.parse().ok()
    });
    let set = statefulset::build(cluster, &member.name, made_for.unwrap_or(member.shard), &my_cnf, wanted);
    apply(seen, Kind::ConfigMap, config::build(cluster, &member.name, &my_cnf, !member.known), plan);
    apply(seen, Kind::Service, service::member(cluster, &member.name), plan);
    apply(seen, Kind::StatefulSet, set, plan);
}

/// A member's my.cnf; its server_id is unique in the cluster, and stays.
fn my_cnf(cluster: &Valid, number: u32) -> String {
    render(&base_config(&Params::container(number + 1, cluster.settings.ack)), &cluster.config)
}

/// A newer map than ours is a plan's: it stays.
fn the_map(cluster: &Valid, seen: &Seen, plan: &mut Plan) {
    let text = |live: &Live| live.value["data"][names::MAP_KEY].as_str().map(str::to_owned);
    let epoch = |json: String| serde_json::from_str::<Value>(&json).ok()?["epoch"].as_i64();
    let there = seen.get(Kind::ConfigMap, &names::map(&cluster.name)).and_then(text).and_then(epoch);
    if there.is_none_or(|epoch| epoch <= cluster.epoch) {
        apply(seen, Kind::ConfigMap, map::build(cluster), plan);
    }
}

/// What the cluster's own Redis consists of. The Secret stays when it isn't wanted any more, for clients that still read it, and
/// goes with the cluster.
const OF_REDIS: [Kind; 3] = [Kind::Secret, Kind::Service, Kind::StatefulSet];

fn the_cache(cluster: &Valid, seen: &Seen, plan: &mut Plan) {
    let name = names::redis(&cluster.name);
    match &cluster.redis {
        Some(Redis::Own(wanted)) => {
            create(seen, Kind::Secret, redis::secret(cluster, &seen.fresh.redis), plan);
            apply(seen, Kind::Service, redis::service(cluster), plan);
            if let Some(secret) = seen.get(Kind::Secret, &name) {
                apply(seen, Kind::StatefulSet, redis::statefulset(cluster, wanted, secret.uid()), plan);
            }
            return;
        }
        Some(Redis::Theirs(secret)) => plan.remarks.extend(checks::their_redis(seen, secret)),
        None => {}
    }
    for kind in [Kind::Service, Kind::StatefulSet] {
        let ours = seen.get(kind, &name).filter(|live| live.label(names::COMPONENT) == names::REDIS && checks::owned(cluster, kind, &name, live));
        plan.actions.extend(ours.map(|live| delete((&(kind, name.clone()), live))));
    }
}

/// Objects of others that a pass reads by name.
pub fn names_read(cluster: &Valid) -> Option<(Kind, String)> {
    match &cluster.redis {
        Some(Redis::Theirs(secret)) => Some((Kind::Secret, secret.clone())),
        _ => None,
    }
}

/// Objects of members that no pair lists any more; their volumes stay.
fn gone_members(cluster: &Valid, seen: &Seen, members: &[Member], plan: &mut Plan) {
    let gone = |(key, live): &(&(Kind, String), &Live)| {
        let of_member = matches!(key.0, Kind::StatefulSet | Kind::ConfigMap | Kind::Service);
        let member = live.label(names::LABEL_MEMBER);
        of_member && !member.is_empty() && member == key.1 && checks::owned(cluster, key.0, &key.1, live) && members.iter().all(|m| m.name != member)
    };
    plan.actions.extend(seen.objects.iter().filter(gone).map(delete));
}

/// VIPs and budgets of shards that a plan had announced or prepared, and took back; Services for reads that aren't wanted any more.
fn gone_shards(cluster: &Valid, seen: &Seen, plan: &mut Plan) {
    let there = shards(cluster, seen);
    let gone = |(key, live): &(&(Kind, String), &Live)| {
        let shard = live.label(names::LABEL_SHARD).parse::<u32>().ok().filter(|shard| *shard >= cluster.first_shards && !there.contains(shard));
        let of_pair = matches!(key.0, Kind::Service | Kind::Budget) && shard.is_some_and(|shard| names::pair(&cluster.name, shard) == key.1);
        let reads = cluster.settings.reads_max_lag_ms.is_some();
        let read = key.0 == Kind::Service && live.label(names::LABEL_SHARD).parse().is_ok_and(|s| names::read(&cluster.name, s) == key.1 && !(reads && there.contains(&s)));
        (of_pair || read) && checks::owned(cluster, key.0, &key.1, live)
    };
    plan.actions.extend(seen.objects.iter().filter(gone).map(delete));
}

fn delete((key, live): (&(Kind, String), &Live)) -> Action {
    Action::Delete(key.0, key.1.clone(), live.uid().to_owned())
}

fn create<K: Resource<DynamicType = ()> + Serialize>(seen: &Seen, kind: Kind, object: K, plan: &mut Plan) {
    let name = object.meta().name.clone().unwrap_or_default();
    if seen.get(kind, &name).is_none() {
        plan.actions.push(Action::Create(kind, serde_json::to_value(&object).expect("plain data")));
    }
}

fn apply<K: Resource<DynamicType = ()> + Serialize>(seen: &Seen, kind: Kind, object: K, plan: &mut Plan) {
    let name = object.meta().name.clone().unwrap_or_default();
    let wanted = serde_json::to_value(manifests::stamp(object)).expect("plain data");
    match seen.get(kind, &name) {
        None => plan.actions.push(Action::Apply(kind, wanted, None)),
        Some(live) if compare::unchanged(&live.value, &wanted) => {}
        Some(live) => plan.actions.push(Action::Apply(kind, wanted, Some(live.uid().to_owned()))),
    }
}

/// The newest version among the images that the members run, or would run.
pub(super) fn running(seen: &Seen, members: &[Member]) -> Option<(parse::Version, String)> {
    let image = |m: &Member| {
        let template = || {
            let set = seen.get(Kind::StatefulSet, &m.name)?;
            set.value["spec"]["template"]["spec"]["containers"][0]["image"].as_str().map(str::to_owned)
        };
        seen.images.get(&m.name).cloned().or_else(template)
    };
    let versions = members.iter().filter_map(image).filter_map(|i| Some((parse::image_version(&i)?, i)));
    versions.reduce(|a, b| if a.0.is_older_than(b.0) { b } else { a })
}
