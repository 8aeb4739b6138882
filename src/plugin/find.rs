//! From what a person typed to the object that is meant. Pure: no name that doesn't exist, none that is ambiguous.

use kube::ResourceExt;

use super::seen::Seen;
use super::trouble::Trouble;
use crate::api::{ExpansionPlan, ShardCluster, ShardPair};

/// The pair: `shop-0`, `shp/shop-0`, or the number of a shard where there is one cluster only.
pub fn pair<'a>(seen: &'a Seen, word: &str) -> Result<&'a ShardPair, Trouble> {
    let name = bare(word, &["shp", "shardpair", "shardpairs"])?;
    let shard = name.parse::<i32>().ok();
    let matching = |p: &&ShardPair| p.name_any() == name || Some(p.spec.shard) == shard;
    one("ShardPair", word, seen, seen.pairs.iter().filter(matching).collect(), seen.pairs.iter().map(|p| p.name_any()).collect())
}

/// The cluster.
pub fn cluster<'a>(seen: &'a Seen, word: &str) -> Result<&'a ShardCluster, Trouble> {
    let name = bare(word, &["shc", "shardcluster", "shardclusters"])?;
    one("ShardCluster", word, seen, seen.clusters.iter().filter(|c| c.name_any() == name).collect(), seen.clusters.iter().map(|c| c.name_any()).collect())
}

/// The cluster that is named, or the only one there is.
pub fn cluster_or_only<'a>(seen: &'a Seen, word: Option<&str>) -> Result<&'a ShardCluster, Trouble> {
    match (word, seen.clusters.as_slice()) {
        (Some(word), _) => cluster(seen, word),
        (None, [only]) => Ok(only),
        (None, []) => Err(Trouble::failed(format!("there is no ShardCluster {}: create one, or choose another with -n", seen.place()))),
        (None, many) => Err(Trouble::misuse(format!("there are {} ShardClusters {}: name one of {}", many.len(), seen.place(), list(many.iter().map(|c| c.name_any()).collect())))),
    }
}

/// The plan: by its name, by its cluster's, or the only one there is.
pub fn plan<'a>(seen: &'a Seen, word: Option<&str>) -> Result<&'a ExpansionPlan, Trouble> {
    let Some(word) = word else {
        return match seen.plans.as_slice() {
            [only] => Ok(only),
            [] => Err(Trouble::failed(format!("there is no ExpansionPlan {}: `kubectl shardpair expand CLUSTER` makes one", seen.place()))),
            many => Err(Trouble::misuse(format!("there are {} ExpansionPlans {}: name one of {}", many.len(), seen.place(), list(many.iter().map(|p| p.name_any()).collect())))),
        };
    };
    let name = bare(word, &["xplan", "expansionplan", "expansionplans"])?;
    let named: Vec<_> = seen.plans.iter().filter(|p| p.name_any() == name).collect();
    let found = if named.is_empty() { seen.plans.iter().filter(|p| p.spec.cluster_ref.name == name).collect() } else { named };
    one("ExpansionPlan", word, seen, found, seen.plans.iter().map(|p| p.name_any()).collect())
}

/// `kind/name` or `name`.
fn bare<'a>(word: &'a str, kinds: &[&str]) -> Result<&'a str, Trouble> {
    match word.split_once('/') {
        None => Ok(word),
        Some((kind, name)) if kinds.contains(&kind.split('.').next().unwrap_or_default()) => Ok(name),
        Some((kind, _)) => Err(Trouble::misuse(format!("{word}: expected {}/NAME or NAME, not a {kind}", kinds[0]))),
    }
}

fn one<'a, K: ResourceExt>(kind: &str, word: &str, seen: &Seen, found: Vec<&'a K>, all: Vec<String>) -> Result<&'a K, Trouble> {
    match found.as_slice() {
        [only] => Ok(only),
        [] if all.is_empty() => Err(Trouble::failed(format!("no {kind} {word} {}: there is none at all; is -n right?", seen.place()))),
        [] => Err(Trouble::failed(format!("no {kind} {word} {}: there {} {}", seen.place(), if all.len() == 1 { "is" } else { "are" }, list(all)))),
        many => {
            let where_: Vec<String> = many.iter().map(|k| format!("{}/{}", k.namespace().unwrap_or_default(), k.name_any())).collect();
            Err(Trouble::misuse(format!("{word} is ambiguous: {}: give the full name, and its namespace with -n", list(where_))))
        }
    }
}

/// At most eight names.
fn list(mut names: Vec<String>) -> String {
    names.sort();
    let more = names.len().saturating_sub(8);
    names.truncate(8);
    let text = names.join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}
