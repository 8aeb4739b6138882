//! The map: which shard a key belongs to, and where that shard is. What clients read (`map.json`).
//!
//! A map is replaced only by a newer epoch of the same cluster ([`Map::replaces`]): one that loses an epoch, or that says
//! something else under the same epoch, is refused and the last good one stays in use. Unknown fields are ignored, an
//! unknown version is refused.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::key::Key;
use super::keys::{Keys, partition};
use super::{Function, RouteError, SplitError, Strategy, Table, TableClass};

/// The version of `map.json` that this code reads and writes.
pub const VERSION: u32 = 1;

/// Where the routes of strategy Table are: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteSource {
    /// A ConfigMap of the cluster's namespace, key [`ROUTES_KEY`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<String>,
    /// A MySQL table (db.table) on shard 0, with the columns [`ROUTES_COLUMNS`]; the row with the empty key is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mysql_table: Option<String>,
}

/// The ConfigMap's key that holds [`Routes`] as JSON.
pub const ROUTES_KEY: &str = "routes.json";
/// Columns of a MySQL table of routes: the key's text, and its route.
pub const ROUTES_COLUMNS: [&str; 2] = ["shard_key", "route"];

/// The table of routes: exact keys (integers in decimal) to routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    /// Of keys without an entry; None: they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<u32>,
    /// Key to route.
    #[serde(default)]
    pub entries: BTreeMap<String, u32>,
}

impl Routes {
    /// The route of a key. Bytes that are no UTF-8 have no entry.
    pub fn route(&self, key: &Key<'_>) -> Result<u32, RouteError> {
        let bytes = key.bytes();
        let listed = std::str::from_utf8(&bytes).ok().and_then(|text| self.entries.get(text)).copied();
        listed.or(self.default).ok_or_else(|| RouteError::NoRoute(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// One line of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number; its VIP is `<cluster>-<id>`.
    pub id: u32,
    /// What belongs to it.
    pub keys: Keys,
    /// Host name of its VIP.
    pub vip: String,
    /// Port.
    pub port: u16,
}

/// A whole map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// The cluster's name.
    pub cluster: String,
    /// Its version: it only grows.
    pub epoch: i64,
    /// The rule.
    pub strategy: Strategy,
    /// Hash: how a key becomes a number.
    pub function: Function,
    /// Table: where the routes are.
    pub source: Option<RouteSource>,
    /// Table: the routes themselves, if they were put in.
    pub routes: Option<Routes>,
    /// The application's tables.
    pub tables: Vec<Table>,
    /// Every key belongs to exactly one of them.
    pub shards: Vec<Shard>,
}

/// Why a map can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// No JSON, or not of this form.
    #[error("map.json can't be read: {0}")]
    Malformed(String),
    /// From a newer shardpair.
    #[error("map.json has version {0}, this program reads {VERSION}: upgrade it")]
    Newer(u32),
    /// It contradicts itself.
    #[error("map.json of epoch {epoch} is not a map: {why}")]
    Invalid {
        /// Its epoch.
        epoch: i64,
        /// What is wrong.
        why: String,
    },
    /// An older one than that in use.
    #[error("map.json has epoch {got}, older than {current} in use: kept the one in use; was etcd restored, or is a mount stale?")]
    Older {
        /// The epoch in use.
        current: i64,
        /// The one offered.
        got: i64,
    },
    /// The same epoch, another content.
    #[error("two different maps have epoch {0}: kept the one in use")]
    Contradicts(i64),
    /// Of another cluster.
    #[error("the map is of cluster {got}, not {current}")]
    OtherCluster {
        /// The cluster in use.
        current: String,
        /// The one offered.
        got: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    version: u32,
    cluster: String,
    epoch: i64,
    strategy: Strategy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    function: Option<Function>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    table: Option<RouteSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    routes: Option<Routes>,
    #[serde(default)]
    tables: Vec<Table>,
    shards: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    id: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modulus: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    residue: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    route: Option<u32>,
    vip: String,
    port: u16,
}

impl Line {
    fn of(shard: &Shard) -> Self {
        let mut line = Self { id: shard.id, modulus: None, residue: None, from: None, to: None, route: None, vip: shard.vip.clone(), port: shard.port };
        match shard.keys {
            Keys::Residue { modulus, residue } => (line.modulus, line.residue) = (Some(modulus), Some(residue)),
            Keys::Range { from, to } => (line.from, line.to) = (from, to),
            Keys::Route { route, modulus, residue } => (line.route, line.modulus, line.residue) = (Some(route), Some(modulus), Some(residue)),
        }
        line
    }

    fn shard(self, strategy: Strategy) -> Result<Shard, String> {
        let keys = match (strategy, self.modulus, self.residue) {
            (Strategy::Hash, Some(modulus), Some(residue)) => Keys::Residue { modulus, residue },
            (Strategy::Hash, _, _) => return Err(format!("shard {} has no modulus and residue", self.id)),
            (Strategy::Range, _, _) => Keys::Range { from: self.from, to: self.to },
            // Maps of before the first split may leave all three out.
            (Strategy::Table, modulus, residue) => {
                Keys::Route { route: self.route.unwrap_or(self.id), modulus: modulus.unwrap_or(1), residue: residue.unwrap_or(0) }
            }
        };
        Ok(Shard { id: self.id, keys, vip: self.vip, port: self.port })
    }
}

impl Map {
    /// Reads `map.json`, and checks that each key has exactly one shard.
    pub fn parse(text: &str) -> Result<Self, MapError> {
        // The version first: a newer form need not have today's fields.
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let malformed = |e: serde_json::Error| MapError::Malformed(e.to_string());
        match serde_json::from_str::<Version>(text).map_err(malformed)?.version {
            VERSION => {}
            0 => return Err(MapError::Malformed("version 0".to_owned())),
            newer => return Err(MapError::Newer(newer)),
        }
        let wire: Wire = serde_json::from_str(text).map_err(malformed)?;
        let epoch = wire.epoch;
        let shards = wire.shards.into_iter().map(|line| line.shard(wire.strategy)).collect::<Result<Vec<_>, _>>();
        let shards = shards.map_err(|why| MapError::Invalid { epoch, why })?;
        let map = Self {
            cluster: wire.cluster,
            epoch,
            strategy: wire.strategy,
            function: wire.function.unwrap_or_default(),
            source: wire.table,
            routes: wire.routes,
            tables: wire.tables,
            shards,
        };
        map.check().map_err(|why| MapError::Invalid { epoch, why })?;
        Ok(map)
    }

    /// As `map.json`.
    pub fn json(&self) -> String {
        let wire = Wire {
            version: VERSION,
            cluster: self.cluster.clone(),
            epoch: self.epoch,
            strategy: self.strategy,
            function: (self.strategy == Strategy::Hash).then_some(self.function),
            table: self.source.clone(),
            routes: self.routes.clone(),
            tables: self.tables.clone(),
            shards: self.shards.iter().map(Line::of).collect(),
        };
        // Numbers and texts only: it can't fail. By way of a value, so that names are in order.
        serde_json::to_value(&wire).unwrap_or_default().to_string()
    }

    fn check(&self) -> Result<(), String> {
        if self.shards.is_empty() {
            return Err("it has no shards".to_owned());
        }
        let ids = self.shards.iter().map(|s| s.id).collect::<BTreeSet<_>>();
        if ids.len() != self.shards.len() {
            return Err("two shards have the same id".to_owned());
        }
        if let Some(table) = self.tables.iter().find(|t| t.class == TableClass::Sharded && t.key.as_deref().unwrap_or_default().is_empty()) {
            return Err(format!("table {} is Sharded and has no key", table.name));
        }
        partition(&self.shards.iter().map(|s| s.keys).collect::<Vec<_>>())
    }

    /// Is `next` to be used instead of this one? False: it is this one.
    pub fn replaces(&self, next: &Self) -> Result<bool, MapError> {
        if self.cluster != next.cluster {
            return Err(MapError::OtherCluster { current: self.cluster.clone(), got: next.cluster.clone() });
        }
        match next.epoch.cmp(&self.epoch) {
            std::cmp::Ordering::Greater => Ok(true),
            std::cmp::Ordering::Less => Err(MapError::Older { current: self.epoch, got: next.epoch }),
            std::cmp::Ordering::Equal if self == next => Ok(false),
            std::cmp::Ordering::Equal => Err(MapError::Contradicts(self.epoch)),
        }
    }

    /// As [`Map::replaces`], but routes may change under the same epoch: they are the user's own.
    pub fn accepts(&self, next: &Self) -> Result<bool, MapError> {
        if self.epoch == next.epoch && next.routes.is_some() && self.routes != next.routes {
            let bare = |map: &Self| Self { routes: None, ..map.clone() };
            return bare(self).replaces(&bare(next)).map(|_| true);
        }
        self.replaces(next)
    }

    /// The shard of a row of `table` (`database.table`).
    pub fn shard_of(&self, table: &str, key: &Key<'_>) -> Result<&Shard, RouteError> {
        let listed = self.tables.iter().find(|t| t.name == table).ok_or_else(|| RouteError::UnknownTable(table.to_owned()))?;
        match listed.class {
            TableClass::Sharded => self.shard_of_key(key),
            class => Err(RouteError::NotSharded(table.to_owned(), class)),
        }
    }

    /// The shard of a key, whatever the table.
    pub fn shard_of_key(&self, key: &Key<'_>) -> Result<&Shard, RouteError> {
        let route = match (self.strategy, &self.routes) {
            (Strategy::Table, Some(routes)) => Some(routes.route(key)?),
            (Strategy::Table, None) => return Err(RouteError::RoutesMissing(self.source_name())),
            _ => None,
        };
        for shard in &self.shards {
            if shard.keys.hold(self.function, key, route)? {
                return Ok(shard);
            }
        }
        Err(RouteError::NoShard(route.map(|r| format!(": route {r} leads nowhere")).unwrap_or_default()))
    }

    fn source_name(&self) -> String {
        let source = self.source.clone().unwrap_or_default();
        source.config_map.map(|c| format!("ConfigMap {c}")).or(source.mysql_table.map(|t| format!("table {t} of shard 0"))).unwrap_or_default()
    }

    /// The map in which `parent` has given its moving half to `child`. The epoch is the caller's.
    pub fn split(&self, parent: u32, child: u32, vip: &str, at: Option<i64>) -> Result<Self, SplitError> {
        if self.shards.iter().any(|s| s.id == child) {
            return Err(SplitError::Shard(child, "exists already"));
        }
        let mut map = self.clone();
        let place = map.shards.iter().position(|s| s.id == parent).ok_or(SplitError::Shard(parent, "does not exist"))?;
        let (stays, moves) = map.shards[place].keys.split(at)?;
        map.shards[place].keys = stays;
        map.shards.push(Shard { id: child, keys: moves, vip: vip.to_owned(), port: map.shards[place].port });
        map.shards.sort_by_key(|s| s.id);
        Ok(map)
    }
}
