//! Asking for a move: one annotation on the pair, then the operator's answer is awaited.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use serde_json::json;

use super::cli::Cli;
use super::events::{Happened, happened};
use super::seen::Seen;
use super::trouble::{Doing, Trouble, of_api};
use crate::api::{ShardPair, events};

/// Between two looks at the answer.
const LOOK: Duration = Duration::from_millis(200);
/// The event of a refusal comes a moment after the annotation has gone.
const EVENT: Duration = Duration::from_secs(5);

/// Options of every request.
#[derive(Clone, Debug, clap::Args)]
pub struct Waiting {
    /// Ask, and don't wait for the answer.
    #[arg(long)]
    pub no_wait: bool,
    /// Seconds to wait for the answer.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
}

/// Nobody would answer: said before anything is asked. Pure.
pub fn answerable(seen: &Seen, pair: &ShardPair) -> Result<(), Trouble> {
    let name = pair.name_any();
    let Some(cluster) = seen.cluster_of(pair) else {
        return Err(Trouble::failed(format!("{name}: its ShardCluster {} is gone: nobody looks after it", pair.spec.cluster)));
    };
    if let Some(why) = seen.unmanaged(cluster) {
        return Err(Trouble::failed(format!("{name}: {why}")));
    }
    if super::view::PairLine::of(seen, pair).paused {
        return Err(Trouble::failed(format!("{name} is paused: `kubectl shardpair resume` first")));
    }
    Ok(())
}

/// The member that is meant: the standby, or the one that is named. Pure.
pub fn target(pair: &ShardPair, named: Option<&str>) -> Result<String, Trouble> {
    let record = pair.status.clone().unwrap_or_default().record;
    let name = pair.name_any();
    match (record.standby, named) {
        (Some(standby), None) => Ok(standby),
        (Some(standby), Some(named)) if standby == named => Ok(standby),
        (_, Some(named)) if record.primary == named => Err(Trouble::failed(format!("{named} is the primary of {name} already"))),
        (Some(standby), Some(named)) => Err(Trouble::misuse(format!("{named} isn't the standby of {name}: that is {standby}"))),
        (None, _) => Err(Trouble::failed(format!("{name} has no standby now: `kubectl shardpair explain {name}` tells why"))),
    }
}

/// Asks, and waits until the request is done. Gives the pair as it is then.
pub async fn ask(cli: &Cli, pair: &ShardPair, annotation: &str, value: &str, waiting: &Waiting) -> Result<Option<ShardPair>, Trouble> {
    let (namespace, name) = (pair.namespace().unwrap_or_default(), pair.name_any());
    let known = refusals(cli, &namespace, &name).await;
    let asked: ShardPair = cli.patch(&namespace, &name, json!({"metadata": {"annotations": {annotation: value}}})).await?;
    cli.note(&format!("asked: {annotation}={value} on {namespace}/{name}, epoch {}", epoch(&asked)));
    if waiting.no_wait {
        return Ok(None);
    }
    let begun = Instant::now();
    let mut now = asked;
    while now.annotations().contains_key(annotation) || moving(&now) {
        if begun.elapsed() > Duration::from_secs(waiting.timeout) {
            let state = now.status.iter().flat_map(|s| &s.conditions).find(|c| c.type_ == "Ready").map_or_else(String::new, |c| format!(" ({}: {})", c.reason, c.message));
            return Err(Trouble::failed(format!("no answer within {} s{state}; the request stands: `kubectl -n {namespace} annotate shp {name} {annotation}-` takes it back", waiting.timeout)));
        }
        tokio::time::sleep(LOOK).await;
        now = cli.api::<ShardPair>(&namespace).get(&name).await.map_err(|e| of_api(Doing { verb: "get", what: "shardpairs.shardpair.io", namespace: Some(&namespace) }, &e))?;
    }
    // Without a change of the record it was refused, or there was nothing to do: the event tells.
    if epoch(&now) == epoch(pair) {
        let until = Instant::now() + EVENT;
        while Instant::now() < until {
            if let Some(new) = refusals(cli, &namespace, &name).await.into_iter().find(|h| !known.contains(h)) {
                return Err(Trouble::failed(format!("refused: {}", new.message)));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(Some(now))
}

async fn refusals(cli: &Cli, namespace: &str, name: &str) -> BTreeSet<Happened> {
    let all = happened(cli, Some(namespace)).await.unwrap_or_default();
    all.into_iter().filter(|h| h.object == name && h.reason == events::REQUEST_REFUSED).collect()
}

fn epoch(pair: &ShardPair) -> i64 {
    pair.status.as_ref().map_or(0, |s| s.record.epoch)
}

fn moving(pair: &ShardPair) -> bool {
    pair.status.as_ref().is_some_and(|s| s.record.transition.is_some())
}
