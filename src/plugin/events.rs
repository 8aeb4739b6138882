//! `events [NAME]`: what happened, in order, with what each thing means.

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::Serialize;

use super::cli::Cli;
use super::paint::{Paint, drawn};
use super::seen::{Seen, age};
use super::trouble::{Doing, Trouble, of_api};
use super::{Output, find};
use crate::pair::guide::Class;

/// See the module.
#[derive(Clone, Debug, clap::Args)]
pub struct Events {
    /// A pair or a cluster (with its pairs and plans); absent: all of the namespace.
    name: Option<String>,
    /// At most so many, the newest.
    #[arg(long, default_value_t = 50)]
    last: usize,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Happened {
    /// When it happened last.
    pub at: Timestamp,
    /// Its namespace.
    pub namespace: String,
    /// ShardPair, ShardCluster, ExpansionPlan.
    pub kind: String,
    /// The object's name.
    pub object: String,
    /// One word.
    pub reason: String,
    /// Something a person may have to look at.
    pub warning: bool,
    /// How often.
    pub count: i32,
    /// A sentence.
    pub message: String,
}

/// Carries it out.
pub async fn run(cli: &Cli, args: &Events) -> Result<(), Trouble> {
    let seen = cli.look().await?;
    let about = args.name.as_deref().map(|word| objects(&seen, word)).transpose()?;
    let mut all = happened(cli, seen.namespace.as_deref()).await?;
    if let Some(about) = about {
        all.retain(|h| about.contains(&(h.namespace.clone(), h.object.clone())));
    }
    let excess = all.len().saturating_sub(args.last);
    all.drain(..excess);
    match cli.output {
        Some(Output::Json | Output::Yaml) => cli.print(&all)?,
        _ if all.is_empty() => cli.note(&format!("no events {} (Kubernetes keeps them for an hour)", seen.place())),
        _ => cli.show(false, &text(&all, seen.now, seen.namespace.is_none(), cli.paint())),
    }
    Ok(())
}

/// Of our kinds, oldest first.
pub async fn happened(cli: &Cli, namespace: Option<&str>) -> Result<Vec<Happened>, Trouble> {
    let api: Api<Event> = match namespace {
        Some(namespace) => cli.api(namespace),
        None => Api::all(cli.client.clone()),
    };
    let listed = api.list(&ListParams::default()).await.map_err(|e| of_api(Doing { verb: "list", what: "events.events.k8s.io", namespace }, &e))?;
    let mut all: Vec<Happened> = listed.items.into_iter().filter_map(read).collect();
    all.sort();
    Ok(all)
}

/// One of ours. Pure.
pub fn read(event: Event) -> Option<Happened> {
    let about = event.regarding.clone()?;
    let ours = about.api_version.as_deref().is_some_and(|v| v.starts_with("shardpair.io/"));
    let first = event.event_time.as_ref().map(|t| t.0).or(event.metadata.creation_timestamp.as_ref().map(|t| t.0));
    let at = event.series.as_ref().map(|s| s.last_observed_time.0).or(first)?;
    ours.then(|| Happened {
        at,
        namespace: about.namespace.unwrap_or_else(|| event.namespace().unwrap_or_default()),
        kind: about.kind.unwrap_or_default(),
        object: about.name.unwrap_or_default(),
        reason: event.reason.unwrap_or_default(),
        warning: event.type_.as_deref() == Some("Warning"),
        count: event.series.map_or(1, |s| s.count),
        message: event.note.unwrap_or_default(),
    })
}

/// A cluster with its pairs and plans, or one pair.
fn objects(seen: &Seen, word: &str) -> Result<Vec<(String, String)>, Trouble> {
    let key = |namespace: Option<String>, name: String| (namespace.unwrap_or_default(), name);
    if let Ok(cluster) = find::cluster(seen, word) {
        let plans = seen.plans.iter().filter(|p| p.namespace() == cluster.namespace() && p.spec.cluster_ref.name == cluster.name_any());
        let mut all = vec![key(cluster.namespace(), cluster.name_any())];
        all.extend(seen.pairs_of(cluster).map(|p| key(p.namespace(), p.name_any())));
        all.extend(plans.map(|p| key(p.namespace(), p.name_any())));
        return Ok(all);
    }
    find::pair(seen, word).map(|p| vec![key(p.namespace(), p.name_any())])
}

/// For a person.
pub fn text(all: &[Happened], now: Timestamp, namespaces: bool, paint: Paint) -> String {
    let row = |h: &Happened| {
        let object = if namespaces { format!("{}/{}", h.namespace, h.object) } else { h.object.clone() };
        let times = if h.count > 1 { format!(" ({} times)", h.count) } else { String::new() };
        let class = if h.warning { Class::Wait } else { Class::Rest };
        vec![format!("{} ago", age(now.as_second() - h.at.as_second())).into(), object.into(), drawn(class, &h.reason), format!("{}{times}", h.message).into()]
    };
    paint.table(&["WHEN", "OBJECT", "WHAT", "MESSAGE"], all.iter().map(row).collect())
}
