//! The maps in use, each the last good one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::routing::key::fingerprint;
use crate::routing::map::MapError;
use crate::routing::{Map, Routes};

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One map as it is served.
#[derive(Clone, Debug)]
pub struct Served {
    /// The map.
    pub map: Arc<Map>,
    /// As JSON.
    pub body: Arc<str>,
    /// Changes with the body, and only with it.
    pub etag: Arc<str>,
    /// Of the object that it came from: a cluster that was deleted and made again begins anew.
    pub uid: String,
    /// Why a later one was refused, if it was.
    pub refused: Option<String>,
    /// Since when this map is served.
    pub since: Instant,
}

impl Served {
    fn new(map: Map, uid: &str) -> Self {
        let body = map.json();
        let etag = format!("\"{}-{:016x}\"", map.epoch, fingerprint(&body));
        Self { map: Arc::new(map), body: body.into(), etag: etag.into(), uid: uid.to_owned(), refused: None, since: Instant::now() }
    }
}

/// All maps.
pub type All = BTreeMap<Name, Arc<Served>>;

/// The maps in use, for many readers.
pub struct Maps {
    all: watch::Sender<Arc<All>>,
    /// Were they read once?
    ready: watch::Sender<bool>,
}

impl Default for Maps {
    fn default() -> Self {
        Self { all: watch::Sender::new(Arc::default()), ready: watch::Sender::new(false) }
    }
}

impl Maps {
    /// One cluster's.
    pub fn get(&self, name: &Name) -> Option<Arc<Served>> {
        self.all.borrow().get(name).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Arc<All> {
        self.all.borrow().clone()
    }

    /// For those who wait for a change.
    pub fn changes(&self) -> watch::Receiver<Arc<All>> {
        self.all.subscribe()
    }

    /// True after the first whole reading.
    pub fn ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// The source has been read.
    pub fn set_ready(&self) {
        self.ready.send_replace(true);
    }

    /// Uses a map if it is a newer one; else keeps the last good one, and says why.
    pub fn offer(&self, name: &Name, uid: &str, text: &str, routes: Option<&str>) -> Result<bool, MapError> {
        let known = self.get(name).filter(|known| known.uid == uid);
        let read = Map::parse(text).and_then(|mut map| {
            if let Some(routes) = routes {
                map.routes = Some(serde_json::from_str::<Routes>(routes).map_err(|e| MapError::Malformed(format!("{}: {e}", crate::routing::map::ROUTES_KEY)))?);
            }
            Ok(map)
        });
        let read = read.and_then(|map| match &known {
            Some(known) => known.map.accepts(&map).map(|newer| newer.then_some(map)),
            None => Ok(Some(map)),
        });
        match read {
            Ok(Some(map)) => {
                tracing::info!(cluster = %name, epoch = map.epoch, shards = map.shards.len(), "map");
                self.set(name, Served::new(map, uid));
                Ok(true)
            }
            Ok(None) => {
                if let Some(known) = known.filter(|k| k.refused.is_some()) {
                    self.set(name, Served { refused: None, ..(*known).clone() });
                }
                Ok(false)
            }
            Err(error) => {
                tracing::error!(cluster = %name, %error, "map refused");
                if let Some(known) = known {
                    self.set(name, Served { refused: Some(error.to_string()), ..(*known).clone() });
                }
                Err(error)
            }
        }
    }

    fn set(&self, name: &Name, served: Served) {
        self.change(|all| drop(all.insert(name.clone(), Arc::new(served))));
    }

    /// The cluster is gone.
    pub fn remove(&self, name: &Name) {
        self.change(|all| drop(all.remove(name)));
    }

    /// After a whole reading: what wasn't in it is gone.
    pub fn keep_only(&self, listed: &std::collections::BTreeSet<Name>) {
        if self.all.borrow().keys().any(|name| !listed.contains(name)) {
            self.change(|all| all.retain(|name, _| listed.contains(name)));
        }
    }

    fn change(&self, change: impl FnOnce(&mut All)) {
        self.all.send_modify(|all| change(Arc::make_mut(all)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(epoch: i64, shards: u32) -> String {
        let line = |id| format!(r#"{{"id":{id},"modulus":{shards},"residue":{id},"vip":"shop-{id}","port":3306}}"#);
        let lines = (0..shards).map(line).collect::<Vec<_>>().join(",");
        format!(r#"{{"version":1,"cluster":"shop","epoch":{epoch},"strategy":"Hash","function":"Mod","tables":[],"shards":[{lines}]}}"#)
    }

    fn name() -> Name {
        Name { namespace: "default".to_owned(), name: "shop".to_owned() }
    }

    #[test]
    fn the_last_good_map_stays_whatever_comes() {
        let maps = Maps::default();
        assert_eq!(maps.offer(&name(), "u", &text(5, 2), None), Ok(true));
        let etag = maps.get(&name()).expect("a map").etag.clone();
        for bad in ["{", &text(4, 2), &text(5, 4), &text(6, 2).replace("\"version\":1", "\"version\":2"), &text(6, 2).replace("\"residue\":1", "\"residue\":0")] {
            assert!(maps.offer(&name(), "u", bad, None).is_err(), "{bad}");
            let served = maps.get(&name()).expect("a map");
            assert!(served.refused.is_some() && served.etag == etag, "{bad}");
        }
        assert_eq!(maps.offer(&name(), "u", &text(5, 2), None), Ok(false));
        assert_eq!(maps.get(&name()).expect("a map").refused, None, "what was refused is gone again");
        assert_eq!(maps.offer(&name(), "u", &text(6, 4), None), Ok(true));
        assert_ne!(maps.get(&name()).expect("a map").etag, etag);
    }

    #[test]
    fn a_cluster_made_again_begins_anew_and_a_deleted_one_is_gone() {
        let maps = Maps::default();
        maps.offer(&name(), "first", &text(9, 4), None).expect("good");
        assert_eq!(maps.offer(&name(), "second", &text(1, 2), None), Ok(true));
        maps.keep_only(&[name()].into());
        assert!(maps.get(&name()).is_some());
        maps.keep_only(&std::collections::BTreeSet::new());
        assert!(maps.get(&name()).is_none());
    }
}
