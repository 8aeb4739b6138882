//! Numbers in blocks from a MySQL row.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mysql_async::{OptsBuilder, Pool};
use shardpair::client::ids::{SegmentError, SegmentOptions, Segments};
use shardpair::mysql::accounts;
use shardpair::mysql::role::{self, OpenAs};

use crate::harness::{AS_PRIMARY, SOON, Server, application};

const TABLE: &str = "d.segments";
const ALONE: OpenAs = OpenAs { ack: false, ..AS_PRIMARY };

/// A writable server with the application's account and database `d`.
pub async fn alone() -> Server {
    let server = Server::start("a").await;
    let mut session = server.session().await;
    role::open_primary(&mut session, ALONE, SOON).await.expect("open");
    accounts::bootstrap_primary(&mut session, &["d".to_owned()], &application(), SOON).await.expect("accounts");
    session.close().await;
    server
}

pub fn pool(port: u16) -> Pool {
    let who = application();
    Pool::new(OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).user(Some(who.user)).pass(Some(who.password)).prefer_socket(false))
}

fn options(step: u64) -> SegmentOptions {
    SegmentOptions { table: TABLE.to_owned(), step, ..SegmentOptions::default() }
}

#[tokio::test]
async fn numbers_are_unique_over_generators_and_a_kill_of_mysqld_and_no_caller_sees_it() {
    let server = alone().await;
    let pool = pool(server.port);
    Segments::create_table(&pool, TABLE).await.expect("a table");
    Segments::create(&pool, TABLE, "orders", 1).await.expect("a sequence");
    Segments::create(&pool, TABLE, "orders", 1).await.expect("made already: left as it is");
    let until = Instant::now() + Duration::from_secs(5);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let ids = std::sync::Arc::new(Segments::start(pool.clone(), "orders", SegmentOptions { patience: Duration::from_secs(30), ..options(50) }).await.expect("started"));
        for _ in 0..3 {
            let ids = ids.clone();
            callers.spawn(async move {
                let mut own = Vec::new();
                while Instant::now() < until {
                    own.push(ids.next().await.expect("a number"));
                    if own.len() % 20 == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                own
            });
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.signal_mysqld("KILL");
    let mut again = server.session().await;
    role::open_primary(&mut again, ALONE, SOON).await.expect("open again");
    let all = callers.join_all().await;
    let made = all.iter().map(Vec::len).sum::<usize>();
    let different = all.iter().flatten().collect::<BTreeSet<_>>();
    assert_eq!(different.len(), made, "numbers twice");
    assert!(all.iter().all(|own| own.len() > 100), "somebody stood still: {:?}", all.iter().map(Vec::len).collect::<Vec<_>>());
    let rows = again.scalar("SELECT next_id FROM d.segments WHERE name='orders'", SOON).await.expect("a row").expect("a number");
    let handed_out: u64 = rows.parse().expect("a number");
    assert!(**different.last().expect("numbers") < handed_out);
    println!("{made} numbers, {handed_out} handed out");
    drop(pool);
}

#[tokio::test]
async fn a_sequence_that_is_missing_or_used_up_is_a_clear_error() {
    let server = alone().await;
    let pool = pool(server.port);
    Segments::create_table(&pool, TABLE).await.expect("a table");
    let missing = Segments::start(pool.clone(), "none", options(8)).await.err().expect("refused");
    assert!(matches!(&missing, SegmentError::NoRow { name, .. } if name == "none"), "{missing}");
    Segments::create(&pool, TABLE, "end", u64::MAX - 20).await.expect("a sequence");
    let ids = Segments::start(pool.clone(), "end", options(8)).await.expect("started");
    let mut last = 0;
    let ended = loop {
        match ids.next().await {
            Ok(id) => last = id,
            Err(error) => break error,
        }
    };
    assert!(matches!(ended, SegmentError::Exhausted(_)), "{ended}");
    assert!(last >= u64::MAX - 20 + 7, "{last}");
    assert!(Segments::start(pool.clone(), "end", options(1)).await.is_err(), "a step of 1");
    drop(ids);
}
