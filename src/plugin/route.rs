//! `route TABLE KEY`: the shard and the VIP of a row, by the map that clients read.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde::Serialize;

use super::cli::Cli;
use super::trouble::{Doing, Trouble, of_api};
use super::{Output, find};
use crate::api::names;
use crate::routing::map::ROUTES_KEY;
use crate::routing::{Key, Map, Routes};

/// See the module.
#[derive(Clone, Debug, clap::Args)]
pub struct Route {
    /// The table, with its database (shop.orders).
    table: String,
    /// The value of its key column.
    #[arg(allow_hyphen_values = true)]
    key: String,
    /// The cluster; absent: the only one.
    #[arg(long)]
    cluster: Option<String>,
    /// The key is a text, even if it looks like a number.
    #[arg(long)]
    text: bool,
}

/// Where a row is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Routed {
    /// The table.
    pub table: String,
    /// The key as it was understood.
    pub key: String,
    /// The shard.
    pub shard: u32,
    /// Host and port of its VIP.
    pub vip: String,
    /// Epoch of the map.
    pub epoch: i64,
}

/// Carries it out.
pub async fn run(cli: &Cli, args: &Route) -> Result<(), Trouble> {
    let seen = cli.look().await?;
    let cluster = find::cluster_or_only(&seen, args.cluster.as_deref())?;
    let namespace = cluster.namespace().unwrap_or_default();
    let mut map = Map::parse(&read(cli, &namespace, &names::map(&cluster.name_any()), names::MAP_KEY).await?).map_err(|e| Trouble::failed(e.to_string()))?;
    if let Some(source) = map.source.as_ref().and_then(|s| s.config_map.clone()).filter(|_| map.routes.is_none()) {
        let text = read(cli, &namespace, &source, ROUTES_KEY).await?;
        let routes: Routes = serde_json::from_str(&text).map_err(|e| Trouble::failed(format!("ConfigMap {source}: {ROUTES_KEY} can't be read: {e}")))?;
        map.routes = Some(routes);
    }
    let routed = route(&map, &args.table, &args.key, args.text)?;
    match cli.output {
        Some(Output::Json | Output::Yaml) => cli.print(&routed),
        _ => {
            cli.show(false, &format!("{} {}: shard {}, {} (map epoch {})\n", routed.table, routed.key, routed.shard, routed.vip, routed.epoch));
            Ok(())
        }
    }
}

async fn read(cli: &Cli, namespace: &str, name: &str, key: &str) -> Result<String, Trouble> {
    let what = format!("configmap {name}");
    let read = cli.api::<ConfigMap>(namespace).get(name).await.map_err(|e| of_api(Doing { verb: "get", what: &what, namespace: Some(namespace) }, &e))?;
    read.data.and_then(|mut d| d.remove(key)).ok_or_else(|| Trouble::failed(format!("ConfigMap {name} has no {key}: is the operator running?")))
}

/// A number is an integer key, anything else a text. Pure.
pub fn route(map: &Map, table: &str, key: &str, text: bool) -> Result<Routed, Trouble> {
    let typed = match (text, key.parse::<i64>(), key.parse::<u64>()) {
        (false, Ok(n), _) => Key::Int(n),
        (false, _, Ok(n)) => Key::Uint(n),
        _ => Key::Text(key),
    };
    let shard = map.shard_of(table, &typed).map_err(|e| Trouble::failed(e.to_string()))?;
    let shown = if matches!(typed, Key::Text(_)) { format!("\"{key}\"") } else { key.to_owned() };
    Ok(Routed { table: table.to_owned(), key: shown, shard: shard.id, vip: format!("{}:{}", shard.vip, shard.port), epoch: map.epoch })
}
