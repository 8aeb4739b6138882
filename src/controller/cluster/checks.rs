//! Why a valid spec still can't be carried out, given what exists: small checks in order. Pure.

use super::plan::{Kind, Live, Member, Seen, members, names_wanted, running};
use crate::api::valid::{Invalid, Valid};
use crate::api::{names, parse};

/// The first reason, or none.
pub(super) fn refusal(cluster: &Valid, seen: &Seen) -> Option<Invalid> {
    let members = members(cluster, seen);
    names_taken(cluster, seen) // something of that name isn't ours
        .or_else(|| record_lost(cluster, seen)) // a pair's truth is gone while its data exists
        .or_else(|| operator_secret(cluster, seen)) // our own accounts are damaged
        .or_else(|| app_secret(cluster, seen)) // the user's account can't be used
        .or_else(|| storage_class(cluster, seen, &members)) // a volume would wait for ever
        .or_else(|| shrinks(cluster, seen, &members)) // a volume would get smaller
        .or_else(|| downgrade(cluster, seen, &members)) // MySQL would get older than its data
}

/// Is the object this ShardCluster's? Volumes outlive their owner, so they carry its uid; the application's Secret may be
/// the user's.
pub(super) fn owned(cluster: &Valid, kind: Kind, name: &str, live: &Live) -> bool {
    match kind {
        Kind::Claim => live.annotation(names::CLUSTER_UID) == cluster.uid,
        Kind::Secret if name == names::app_secret(&cluster.name) => true,
        _ => live.owner().is_some_and(|(_, _, uid)| uid == cluster.uid),
    }
}

fn names_taken(cluster: &Valid, seen: &Seen) -> Option<Invalid> {
    names_wanted(cluster, seen).into_iter().find_map(|(kind, name)| {
        let live = seen.get(kind, &name)?;
        (!owned(cluster, kind, &name, live)).then(|| taken(cluster, kind, &name, live))
    })
}

fn taken(cluster: &Valid, kind: Kind, name: &str, live: &Live) -> Invalid {
    let what = format!("{} {name}", kind.as_str());
    let message = match (kind, live.owner()) {
        (Kind::Claim, _) if !live.annotation(names::CLUSTER_UID).is_empty() => format!(
            "{what} holds the data of an earlier ShardCluster of this name: delete the claim to start anew without that data, or create the cluster under another name"
        ),
        (_, Some(("ShardCluster", owner, _))) if owner == cluster.name => {
            format!("{what} is still there from an earlier ShardCluster of this name: it goes on when Kubernetes has removed it; if it stays, delete it")
        }
        (_, Some((owner_kind, owner, _))) => {
            format!("{what} belongs to {owner_kind} {owner}: create the ShardCluster under another name, or delete that object")
        }
        (_, None) => format!("{what} exists and is not this cluster's: delete or rename it, or create the ShardCluster under another name"),
    };
    Invalid::new("NameTaken", message)
}

/// Pairs are made before volumes: a volume of ours without its pair had one. Those of an ExpansionPlan are made before their
/// shard counts.
fn record_lost(cluster: &Valid, seen: &Seen) -> Option<Invalid> {
    (0..cluster.shards).find_map(|shard| {
        let pair = names::pair(&cluster.name, shard);
        if seen.get(Kind::Pair, &pair).is_some() {
            return None;
        }
        if shard >= cluster.first_shards {
            return Some(Invalid::new(
                "RecordLost",
                format!("ShardPair {pair}, made by an ExpansionPlan, is gone: nobody knows any more which member holds every acknowledged write. Restore it with its status from a backup"),
            ));
        }
        let volume = names::first_members(&cluster.name, shard).into_iter().find(|m| seen.get(Kind::Claim, m).is_some())?;
        Some(Invalid::new(
            "RecordLost",
            format!(
                "ShardPair {pair} is gone while the volume {volume} exists: nobody knows any more which member holds every acknowledged write. \
                 Restore the ShardPair with its status from a backup, or delete the pair's claims to start this shard anew"
            ),
        ))
    })
}

fn value(live: &Live, key: &str) -> Option<String> {
    let encoded = live.value["data"][key].as_str()?;
    let bytes: k8s_openapi::ByteString = serde_json::from_value(encoded.into()).ok()?;
    String::from_utf8(bytes.0).ok().filter(|v| !v.is_empty())
}

fn operator_secret(cluster: &Valid, seen: &Seen) -> Option<Invalid> {
    let name = names::operator_secret(&cluster.name);
    let live = seen.get(Kind::Secret, &name)?;
    let keys = [names::OPERATOR_USERNAME, names::OPERATOR_PASSWORD, names::REPLICATION_USERNAME, names::REPLICATION_PASSWORD];
    let missing = keys.iter().find(|k| value(live, k).is_none())?;
    Some(Invalid::new("BadSecret", format!("Secret {name} has no {missing}: put it back, as the servers know it")))
}

fn app_secret(cluster: &Valid, seen: &Seen) -> Option<Invalid> {
    let name = names::app_secret(&cluster.name);
    let live = seen.get(Kind::Secret, &name)?;
    let bad = |why: &str| Some(Invalid::new("BadSecret", format!("Secret {name} {why}: set the keys username and password, or delete the Secret and one is made")));
    match (value(live, "username"), value(live, "password")) {
        (None, _) => bad("has no username"),
        (_, None) => bad("has no password"),
        (Some(user), _) if user.len() > 32 || user.chars().any(char::is_control) => bad("has a username that MySQL can't take (at most 32 characters)"),
        (Some(user), _) if user == "root" || user.starts_with("mysql.") || user.starts_with("shardpair") => bad("names an account that is MySQL's or the operator's own"),
        _ => None,
    }
}

/// A Redis of the user's: can clients find it?
pub(super) fn their_redis(seen: &Seen, secret: &str) -> Option<Invalid> {
    let bad = |why: &str| Some(Invalid::new("CacheSecret", format!("Secret {secret}, which spec.cache.redis.secretName names, {why}: it needs the key url, such as redis://:password@host:6379")));
    match seen.get(Kind::Secret, secret).map(|live| value(live, "url")) {
        None => bad("doesn't exist"),
        Some(None) => bad("has no url"),
        Some(Some(url)) if !url.starts_with("redis://") && !url.starts_with("rediss://") => bad("has a url that is not Redis'"),
        Some(Some(_)) => None,
    }
}

fn storage_class(cluster: &Valid, seen: &Seen, members: &[Member]) -> Option<Invalid> {
    let to_make = |m: &&Member| !m.known && seen.get(Kind::Claim, &m.name).is_none();
    members.iter().find(to_make)?;
    let known = seen.classes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
    let known = if known.is_empty() { "there is none".to_owned() } else { format!("there are: {known}") };
    match &cluster.storage.class {
        Some(class) if seen.classes.iter().all(|c| &c.name != class) => Some(Invalid::new(
            "StorageClassMissing",
            format!("storage class {class} doesn't exist ({known}): create it; spec.mysql.storage.storageClassName can't change, so for another class make the ShardCluster anew"),
        )),
        None if seen.classes.iter().all(|c| !c.default) => Some(Invalid::new(
            "StorageClassMissing",
            format!("spec.mysql.storage names no class and no storage class is the default ({known}): mark one as default, or make the ShardCluster anew with storageClassName"),
        )),
        _ => None,
    }
}

/// Bytes that a claim asks for.
pub(super) fn size(claim: &Live) -> Option<u128> {
    parse::quantity_bytes(claim.value["spec"]["resources"]["requests"]["storage"].as_str()?)
}

fn shrinks(cluster: &Valid, seen: &Seen, members: &[Member]) -> Option<Invalid> {
    members.iter().find_map(|m| {
        let claim = seen.get(Kind::Claim, &m.name)?;
        (size(claim)? > cluster.storage.size_bytes).then(|| {
            let has = claim.value["spec"]["resources"]["requests"]["storage"].as_str().unwrap_or_default();
            Invalid::new("StorageShrinks", format!("PersistentVolumeClaim {} asks for {has}: volumes never shrink, set spec.mysql.storage.size to at least {has}", m.name))
        })
    })
}

/// Is the claim smaller than wanted, and not bound yet?
pub(super) fn waits_for_binding(cluster: &Valid, claim: &Live) -> bool {
    size(claim).is_some_and(|size| size < cluster.storage.size_bytes) && claim.value["status"]["phase"] != "Bound"
}

/// Is the claim smaller than wanted, in a class that doesn't let it grow?
pub(super) fn cannot_grow(cluster: &Valid, seen: &Seen, claim: &Live) -> bool {
    let class = claim.value["spec"]["storageClassName"].as_str().unwrap_or_default();
    let grows = seen.classes.iter().any(|c| c.name == class && c.grows);
    size(claim).is_some_and(|size| size < cluster.storage.size_bytes) && !grows
}

fn downgrade(cluster: &Valid, seen: &Seen, members: &[Member]) -> Option<Invalid> {
    let (running, image) = running(seen, members)?;
    let wanted = cluster.version?;
    wanted.is_older_than(running).then(|| {
        Invalid::new(
            "Downgrade",
            format!("spec.mysql.image {} is older than {image}, which members run: MySQL's data can't go back, set the image to {running} or newer", cluster.image),
        )
    })
}
