//! An application of a ShardCluster, in Rust: writes a row where its key belongs, and reads it back, from the standby if that has it.
//!
//! `cargo run --example checkout --no-default-features --features client -- MAP USER PASSWORD USER_ID`
//!
//! MAP is the routing service's address of the cluster (`http://…/v1/clusters/default/shop`) or the map as a file (`map.json`); user and
//! password are in the Secret `<cluster>-app`. The table is that of `deploy/demo`: `shop.orders (n … AUTO_INCREMENT PRIMARY KEY, user_id …)`.

use std::error::Error;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use shardpair::client::{At, CallError, Client, ClientOptions, Freshness, MapSource, Work};
use shardpair::routing::Key;

fn source(map: &str) -> MapSource {
    if map.starts_with("http://") { MapSource::Service(map.to_owned()) } else { MapSource::File(map.into()) }
}

fn insert(conn: &mut Conn, user: i64) -> Work<'_, ()> {
    Box::pin(async move { conn.exec_drop("INSERT INTO shop.orders (user_id) VALUES (?)", (user,)).await })
}

/// One more order of a user; how many there are then.
pub async fn order(client: &Client, user: i64) -> Result<u64, CallError> {
    let at = At::Row("shop.orders", Key::Int(user));
    let before = count(client, user, Freshness::Latest).await?;
    // A failover is waited out. Only a COMMIT without an answer may or may not have happened: then look, and don't guess.
    match client.transaction(at, |conn| insert(conn, user)).await {
        Ok(()) => {}
        Err(CallError::InDoubt { why, .. }) => {
            println!("in doubt: {why}");
            if count(client, user, Freshness::Latest).await? == before {
                client.transaction(at, |conn| insert(conn, user)).await?;
            }
        }
        Err(other) => return Err(other),
    }
    // What was written before the token is read after it, from the standby if it gets there in time.
    let token = client.token(at).await?;
    count(client, user, Freshness::After(&token, Duration::from_millis(50))).await
}

async fn count(client: &Client, user: i64, freshness: Freshness<'_>) -> Result<u64, CallError> {
    let at = At::Row("shop.orders", Key::Int(user));
    let found = client.read(at, freshness, move |conn| Box::pin(async move { conn.exec_first("SELECT count(*) FROM shop.orders WHERE user_id = ?", (user,)).await })).await?;
    Ok(found.unwrap_or_default())
}

/// Connects, orders, tells.
pub async fn run(map: &str, name: &str, password: &str, user: i64) -> Result<u64, Box<dyn Error>> {
    let client = Client::new(source(map), ClientOptions::new("checkout", name, password)).await?;
    let shard = client.router().map().shard_of("shop.orders", &Key::Int(user))?.id;
    let orders = order(&client, user).await?;
    println!("user {user} is on shard {shard} and has {orders} orders");
    Ok(orders)
}

#[allow(dead_code, reason = "tests/client calls `run` itself")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [map, name, password, user] = &arguments[..] else { return Err("usage: checkout MAP USER PASSWORD USER_ID".into()) };
    run(map, name, password, user.parse()?).await.map(drop)
}
