//! Where the maps come from: the operator's ConfigMaps, or files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Api, Client, ResourceExt};

use super::Shared;
use super::maps::Name;
use crate::api::names;
use crate::routing::Map;
use crate::routing::map::ROUTES_KEY;

/// How often files, and tables of routes (users' own ConfigMaps, which carry no label of ours), are read.
const LOOK: Duration = Duration::from_secs(1);

/// Follows the ConfigMaps for ever. While the API server is away nothing is forgotten.
pub(super) async fn watch(client: Client, namespace: Option<String>, shared: Shared) {
    let api: Api<ConfigMap> = namespace.map_or_else(|| Api::all(client.clone()), |ns| Api::namespaced(client.clone(), &ns));
    let mut events = watch_objects(api, watcher::Config::default().labels(names::LABEL_CLUSTER)).default_backoff().boxed();
    let (mut known, mut listed) = (BTreeMap::<Name, ConfigMap>::new(), BTreeSet::new());
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => {
                    shared.metrics.source(true);
                    took(event, &mut known, &mut listed, &shared);
                }
                Some(Err(error)) => {
                    shared.metrics.source(false);
                    tracing::warn!(%error, "the maps can't be watched: serving those that are known");
                }
                None => return,
            },
            _ = look.tick() => routes(&client, &known, &shared).await,
        }
    }
}

fn cluster_of(object: &ConfigMap) -> Option<Name> {
    let cluster = object.labels().get(names::LABEL_CLUSTER)?;
    (object.name_any() == names::map(cluster)).then(|| Name { namespace: object.namespace().unwrap_or_default(), name: cluster.clone() })
}

fn text_of(object: &ConfigMap) -> &str {
    object.data.as_ref().and_then(|d| d.get(names::MAP_KEY)).map_or("", String::as_str)
}

fn took(event: Event<ConfigMap>, known: &mut BTreeMap<Name, ConfigMap>, listed: &mut BTreeSet<Name>, shared: &Shared) {
    let offer = |name: &Name, object: &ConfigMap| {
        // With a table of routes the map is offered with it, by `routes`.
        if route_config_map(object).is_none() && shared.maps.offer(name, &object.uid().unwrap_or_default(), text_of(object), None).is_err() {
            shared.metrics.refused();
        }
    };
    match event {
        Event::Init => listed.clear(),
        Event::InitApply(object) | Event::Apply(object) => {
            let Some(name) = cluster_of(&object) else { return };
            offer(&name, &object);
            listed.insert(name.clone());
            known.insert(name, object);
        }
        Event::InitDone => {
            shared.maps.keep_only(listed);
            known.retain(|name, _| listed.contains(name));
            shared.maps.set_ready();
        }
        Event::Delete(object) => {
            let Some(name) = cluster_of(&object) else { return };
            known.remove(&name);
            shared.maps.remove(&name);
        }
    }
}

fn route_config_map(object: &ConfigMap) -> Option<String> {
    Map::parse(text_of(object)).ok()?.source?.config_map
}

/// Maps of strategy Table: with the routes of their ConfigMap. A table in MySQL is the client library's to read.
async fn routes(client: &Client, known: &BTreeMap<Name, ConfigMap>, shared: &Shared) {
    for (name, object) in known {
        let Some(source) = route_config_map(object) else { continue };
        let read = tokio::time::timeout(Duration::from_secs(2), Api::<ConfigMap>::namespaced(client.clone(), &name.namespace).get_opt(&source)).await;
        let found = match read {
            Ok(Ok(Some(found))) => found,
            Ok(Ok(None)) => {
                tracing::warn!(cluster = %name, source, "the ConfigMap of routes is missing");
                continue;
            }
            Ok(Err(_)) | Err(_) => {
                shared.metrics.source(false);
                continue;
            }
        };
        let text = found.data.as_ref().and_then(|d| d.get(ROUTES_KEY)).map_or("", String::as_str);
        if shared.maps.offer(name, &object.uid().unwrap_or_default(), text_of(object), Some(text)).is_err() {
            shared.metrics.refused();
        }
    }
}

/// Reads files again and again.
pub(super) async fn files(files: Vec<(Name, PathBuf)>, shared: Shared) {
    let mut last = BTreeMap::new();
    loop {
        for (name, path) in &files {
            let text = tokio::fs::read_to_string(path).await;
            shared.metrics.source(text.is_ok());
            let text = text.unwrap_or_default();
            if last.get(name) != Some(&text) && shared.maps.offer(name, "", &text, None).is_err() {
                shared.metrics.refused();
            }
            last.insert(name.clone(), text);
        }
        shared.maps.set_ready();
        tokio::time::sleep(LOOK / 5).await;
    }
}
