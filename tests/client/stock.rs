//! A hundred items, a thousand buyers, and a failover in the middle of it.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use shardpair::client::stock::{Gate, Stock, take_from_row};
use shardpair::client::{At, CallError, Client};

use crate::calls::{client, fail_over, one_shard};
use crate::harness::{SOON, pair};
use crate::redis_server::Redis;
use crate::vip::Vip;

const BUYERS: u32 = 1_000;
const ITEMS: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bought {
    Yes,
    SoldOut,
}

async fn buy(client: &Client, gate: &Stock, buyer: u32) -> Result<Bought, CallError> {
    let token = format!("buyer-{buyer}");
    // A gate that is gone, or forgot, lets the database decide.
    if gate.take("phone", &token, 1).await.unwrap_or(Gate::Unknown) == Gate::SoldOut {
        return Ok(Bought::SoldOut);
    }
    let bought = client.idempotent(At::Shard(0), |conn| {
        Box::pin(async move {
            conn.exec_drop("INSERT IGNORE INTO d.orders VALUES (?, 1)", (buyer,)).await?;
            // Done before, by a try whose answer was lost.
            if conn.affected_rows() == 0 || take_from_row(conn, "d.stock", ("item", 1), "remaining", 1).await? {
                return Ok(Bought::Yes);
            }
            Err(mysql_async::Error::Other("sold out".into()))
        })
    });
    match bought.await {
        Err(CallError::Refused(why)) if why.contains("sold out") => Ok(Bought::SoldOut),
        Err(error) => {
            let _ = gate.give_back("phone", &token).await;
            Err(error)
        }
        bought => bought,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_buyers_of_a_hundred_items_buy_exactly_a_hundred_also_across_a_failover_and_a_flush() {
    let (mut a, mut b) = pair().await;
    let redis = Redis::start().await;
    let vip = Vip::to(a.port).await;
    let mut on_a = a.session().await;
    on_a.exec("CREATE TABLE d.stock (item INT PRIMARY KEY, remaining INT NOT NULL)", SOON).await.expect("a table");
    on_a.exec("CREATE TABLE d.orders (buyer INT PRIMARY KEY, item INT NOT NULL)", SOON).await.expect("a table");
    on_a.exec("INSERT INTO d.stock VALUES (1, 100)", SOON).await.expect("stock");
    let client = Arc::new(client(&one_shard(vip.port)).await);
    let gate = Stock::new(redis.connection().await, "shop");
    gate.open("phone", ITEMS).await.expect("open");
    let mut buyers = tokio::task::JoinSet::new();
    for buyer in 0..BUYERS {
        let (client, gate) = (client.clone(), gate.clone());
        buyers.spawn(async move {
            // Over half a second: before, during and after the failover.
            tokio::time::sleep(Duration::from_millis(u64::from(buyer * 7 % 500))).await;
            buy(&client, &gate, buyer).await
        });
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis.connection().await).await.expect("flushed");
    fail_over(&mut a, &mut b, &vip).await;
    let results = buyers.join_all().await;
    let bought = results.iter().filter(|r| **r == Ok(Bought::Yes)).count();
    let errors = results.iter().filter_map(|r| r.as_ref().err()).collect::<Vec<_>>();
    let mut on_b = b.session().await;
    let orders = on_b.scalar("SELECT count(*) FROM d.orders", SOON).await.expect("orders");
    let left = on_b.scalar("SELECT remaining FROM d.stock", SOON).await.expect("stock");
    assert_eq!((errors.as_slice(), bought, orders.as_deref(), left.as_deref()), (&[][..], 100, Some("100"), Some("0")));
}

#[tokio::test]
async fn the_gate_counts_each_token_once_and_gives_back() {
    let redis = Redis::start().await;
    let gate = Stock::new(redis.connection().await, "shop");
    assert_eq!(gate.take("phone", "a", 1).await, Ok(Gate::Unknown));
    gate.open("phone", 2).await.expect("open");
    assert_eq!(gate.take("phone", "a", 1).await, Ok(Gate::Reserved));
    assert_eq!(gate.take("phone", "a", 1).await, Ok(Gate::Reserved), "the same request again");
    assert_eq!(gate.take("phone", "b", 2).await, Ok(Gate::SoldOut));
    assert_eq!(gate.take("phone", "b", 1).await, Ok(Gate::Reserved));
    assert_eq!(gate.take("phone", "c", 1).await, Ok(Gate::SoldOut));
    assert_eq!((gate.give_back("phone", "a").await, gate.give_back("phone", "a").await), (Ok(1), Ok(0)));
    assert_eq!(gate.take("phone", "c", 1).await, Ok(Gate::Reserved));
    let gate = &gate;
    gate.open("phone", ITEMS).await.expect("open");
    let taken = futures::future::join_all((0..BUYERS).map(|n| async move { gate.take("phone", &n.to_string(), 1).await })).await;
    assert_eq!(taken.iter().filter(|t| **t == Ok(Gate::Reserved)).count() as u64, ITEMS);
}
