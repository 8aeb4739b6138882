//! Strategy Table, its routes in a MySQL table: the client reads them, follows them, and keeps the last good ones.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use shardpair::client::{At, Client, ClientOptions, MapSource};
use shardpair::routing::Key;

use crate::calls::options;
use crate::harness::{SOON, eventually};
use crate::segments::alone;
use crate::service::MapFile;

fn map(epoch: i64, ports: [u16; 2]) -> String {
    let line = |id: usize| format!(r#"{{"id":{id},"route":{id},"modulus":1,"residue":0,"vip":"127.0.0.1","port":{}}}"#, ports[id]);
    format!(
        r#"{{"version":1,"cluster":"shop","epoch":{epoch},"strategy":"Table","table":{{"mysqlTable":"d.routes"}},"tables":[{{"name":"d.t","key":"city"}}],"shards":[{},{}]}}"#,
        line(0),
        line(1)
    )
}

#[tokio::test]
async fn routes_of_a_mysql_table_are_read_followed_and_kept() {
    let (zero, one) = tokio::join!(alone(), alone());
    for server in [&zero, &one] {
        server.session().await.exec("CREATE TABLE d.t (city VARCHAR(20) PRIMARY KEY)", SOON).await.expect("a table");
    }
    let ports = [zero.port, one.port];
    let file = MapFile::new("routes", &map(1, ports));
    let source = MapSource::File(file.0.clone());
    let none = Client::new(source.clone(), ClientOptions { patience: Duration::from_millis(300), ..options() }).await.err().expect("no routes").to_string();
    assert!(none.contains("table d.routes of shard 0") && none.contains("1146"), "{none}");
    let mut on_zero = zero.session().await;
    for sql in ["CREATE TABLE d.routes (shard_key VARCHAR(64) PRIMARY KEY, route INT UNSIGNED NOT NULL)", "INSERT INTO d.routes VALUES ('', 0), ('Lyon', 1)"] {
        on_zero.exec(sql, SOON).await.expect(sql);
    }
    let client = Client::new(source, options()).await.expect("a client");
    let shard = |city: &str| client.router().map().shard_of("d.t", &Key::Text(city)).expect("a shard").id;
    assert_eq!((shard("Lyon"), shard("Oslo")), (1, 0));
    client.transaction(At::Row("d.t", Key::Text("Lyon")), |conn| Box::pin(async move { conn.query_drop("INSERT INTO d.t VALUES ('Lyon')").await })).await.expect("written");
    let there = one.session().await.scalar("SELECT city FROM d.t", SOON).await.expect("a row");
    assert_eq!(there.as_deref(), Some("Lyon"));
    on_zero.exec("REPLACE INTO d.routes VALUES ('Oslo', 1)", SOON).await.expect("another route");
    eventually("the route is followed", async || shard("Oslo") == 1).await;
    // Nothing to be read any more, and a newer map: the routes stay.
    on_zero.exec("DROP TABLE d.routes", SOON).await.expect("dropped");
    file.write(&map(2, ports));
    client.router().reach(2, SOON).await.expect("the newer map");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!((shard("Lyon"), shard("Oslo"), shard("Rome"), client.router().problem()), (1, 1, 0, None));
}
