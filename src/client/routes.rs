//! The table of routes of strategy Table, where it is a MySQL table: read from shard 0, again and again, the last good one kept.
//!
//! The map itself changes by its epoch; its routes are the user's own and may change under the same one.

use std::collections::BTreeMap;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::calls::{Member, Places, Work};
use super::pools::Pools;
use super::router::Router;
use crate::routing::map::ROUTES_COLUMNS;
use crate::routing::{Map, Routes, Strategy};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// A look takes at most this.
const LIMIT: Duration = Duration::from_secs(5);

/// The table that the map names, if its routes are there.
pub(super) fn table(map: &Map) -> Option<&str> {
    let source = map.source.as_ref().filter(|_| map.strategy == Strategy::Table)?;
    source.mysql_table.as_deref()
}

/// Reads all of them. The row with the empty key is the default.
pub(super) fn read<'c>(conn: &'c mut Conn, table: &str) -> Work<'c, Routes> {
    let quoted = table.split('.').map(|part| format!("`{}`", part.replace('`', "``"))).collect::<Vec<_>>().join(".");
    let [key, route] = ROUTES_COLUMNS;
    Box::pin(async move {
        let rows: Vec<(String, u32)> = conn.query(format!("SELECT {key}, {route} FROM {quoted}")).await?;
        let mut entries = rows.into_iter().collect::<BTreeMap<_, _>>();
        Ok(Routes { default: entries.remove(""), entries })
    })
}

/// Follows the table while it is the map's.
pub(super) async fn follow(router: &Router, pools: &Pools, places: &Places) {
    let mut said = String::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let map = router.map();
        let Some(table) = table(&map) else { continue };
        let Some(address) = map.shards.iter().find(|s| s.id == 0).and_then(|shard| places(shard, Member::Primary)) else { continue };
        let slot = pools.slot(&address, true);
        let (pool, number) = slot.pool();
        let looked = tokio::time::timeout(LIMIT, async { read(&mut pool.get_conn().await?, table).await });
        let problem = match looked.await {
            Ok(Ok(routes)) => {
                router.route_by(routes);
                String::new()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if !problem.is_empty() {
            slot.renew(number);
            if problem != said {
                tracing::warn!(table, problem, "the routes in use stay");
            }
        }
        said = problem;
    }
}
