//! `pause`, `resume`: hands off, of one pair or of a cluster.

use kube::ResourceExt;
use serde_json::{Value, json};

use super::cli::Cli;
use super::find;
use super::seen::Seen;
use super::trouble::Trouble;
use crate::api::{ShardCluster, ShardPair, names};

/// `pause NAME`: a pair or a cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct Pause {
    /// A pair (shop-0) or a cluster (shop, shc/shop).
    name: String,
}

/// `resume NAME`
#[derive(Clone, Debug, clap::Args)]
pub struct Resume {
    /// A pair (shop-0) or a cluster (shop, shc/shop).
    name: String,
}

/// What is paused or resumed.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// By annotation: namespace, name.
    Pair(String, String),
    /// By its spec: namespace, name.
    Cluster(String, String),
}

/// Carries it out.
pub async fn pause(cli: &Cli, args: &Pause) -> Result<(), Trouble> {
    let seen = cli.look().await?;
    let target = target(&seen, &args.name)?;
    set(cli, &target, true).await?;
    cli.show(false, &format!("{} is paused: nothing fails over until `kubectl shardpair resume {}`\n", args.name, args.name));
    Ok(())
}

/// Carries it out.
pub async fn resume(cli: &Cli, args: &Resume) -> Result<(), Trouble> {
    let seen = cli.look().await?;
    let target = target(&seen, &args.name)?;
    if let Target::Pair(..) = &target
        && let Some(cluster) = find::pair(&seen, &args.name).ok().and_then(|p| seen.cluster_of(p)).filter(|c| c.spec.paused)
    {
        return Err(Trouble::failed(format!("the whole cluster is paused: `kubectl shardpair resume {}`", cluster.name_any())));
    }
    set(cli, &target, false).await?;
    cli.show(false, &format!("{} is looked after again\n", args.name));
    Ok(())
}

/// A pair by its name, else a cluster. Pure.
pub fn target(seen: &Seen, word: &str) -> Result<Target, Trouble> {
    let is_cluster = word.starts_with("shc/") || word.starts_with("shardcluster") || seen.clusters.iter().any(|c| c.name_any() == word);
    if is_cluster {
        let cluster = find::cluster(seen, word)?;
        return Ok(Target::Cluster(cluster.namespace().unwrap_or_default(), cluster.name_any()));
    }
    let pair = find::pair(seen, word)?;
    Ok(Target::Pair(pair.namespace().unwrap_or_default(), pair.name_any()))
}

async fn set(cli: &Cli, target: &Target, paused: bool) -> Result<(), Trouble> {
    match target {
        Target::Pair(namespace, name) => {
            let value = if paused { json!("true") } else { Value::Null };
            cli.patch::<ShardPair>(namespace, name, json!({"metadata": {"annotations": {names::PAUSED: value}}})).await.map(drop)
        }
        Target::Cluster(namespace, name) => cli.patch::<ShardCluster>(namespace, name, json!({"spec": {"paused": paused}})).await.map(drop),
    }
}
