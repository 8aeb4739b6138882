//! How long an old primary with a tail takes until it may be in Sync again: rewound, and cloned, by the size of its data.
//!
//! `cargo bench --bench rewind -- 100 1000 4000` (MiB; default 100 1000). Real mysqld processes, as in tests/mysql; from the
//! moment at which the member answers to the one at which it holds all that the primary executed, the rows of its tail
//! compared. Results also in target/bench-rewind.json.

#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/mysql/harness.rs"]
mod harness;

use std::time::{Duration, Instant};

use harness::{SOON, Server, eventually, pair, replicator, sync};
use shardpair::mysql::rewind::check::{self, Progress, Verdict};
use shardpair::mysql::rewind::{self, Order, Outcome};
use shardpair::mysql::{Session, clone, replication, role};

const LONG: Duration = Duration::from_secs(1800);
/// Transactions of a tail, each of this many rows.
const TRANSACTIONS: u32 = 50;
const ROWS: u32 = 4;

fn main() {
    let sizes: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![100, 1000] } else { sizes };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut results = Vec::new();
    for mib in sizes {
        let (rewound, cloned) = runtime.block_on(measure(mib));
        println!("{mib} MiB: rewound in {} ms, cloned in {} ms: {:.0} times", rewound.as_millis(), cloned.as_millis(), cloned.as_secs_f64() / rewound.as_secs_f64());
        results.push(serde_json::json!({"mib": mib, "transactions": TRANSACTIONS, "rewoundMs": rewound.as_millis() as u64, "clonedMs": cloned.as_millis() as u64}));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench-rewind.json");
    std::fs::write(path, serde_json::to_string_pretty(&results).expect("JSON")).expect("target/bench-rewind.json");
}

async fn measure(mib: u64) -> (Duration, Duration) {
    let (mut a, b) = pair().await;
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    fill(&mut on_a, mib).await;
    let executed = replication::state(&mut on_a, SOON).await.expect("state").executed;
    replication::wait_executed(&mut on_b, &executed, LONG).await.expect("applied");
    replication::stop_receiver(&mut on_b, SOON).await.expect("fence");
    a.power_cut();
    a.run(false);
    role::open_primary(&mut on_b, role::OpenAs { ack: false, interleave: None, stop_channel: true }, SOON).await.expect("open");
    let rewound = rewind_once(&a, &b).await;
    let mut on_a = a.session().await;
    replication::detach(&mut on_a, SOON).await.expect("detached");
    let cloned = clone_once(&a, &b).await;
    (rewound, cloned)
}

/// Rows of about 1 KiB, doubled.
async fn fill(session: &mut Session, mib: u64) {
    let bytes = "concat(random_bytes(500), repeat('x', 500))";
    session.exec("CREATE TABLE d.big (id BIGINT AUTO_INCREMENT PRIMARY KEY, v VARBINARY(1100), n INT DEFAULT 0)", SOON).await.expect("a table");
    let values = vec![format!("({bytes})"); 1000].join(", ");
    session.exec(&format!("INSERT INTO d.big (v) VALUES {values}"), LONG).await.expect("rows");
    let mut rows = 1000_u64;
    while rows < mib * 1000 {
        let more = rows.min(mib * 1000 - rows).min(50_000);
        session.exec(&format!("INSERT INTO d.big (v) SELECT {bytes} FROM d.big LIMIT {more}"), LONG).await.expect("more rows");
        rows += more;
    }
}

/// A tail on A, and what is to be undone.
async fn tail(a: &Server, b: &Server, mark: i64) -> Order {
    let mut session = a.session().await;
    role::reopen_writes(&mut session, SOON).await.expect("open");
    for number in 0..TRANSACTIONS {
        let first = u64::from(number * 17);
        session.exec("BEGIN", SOON).await.expect("begun");
        session.exec(&format!("UPDATE d.big SET n=n+1 WHERE id > {first} ORDER BY id LIMIT {ROWS}"), SOON).await.expect("updated");
        session.exec("INSERT INTO d.big (v) VALUES ('lonely')", SOON).await.expect("inserted");
        session.exec(&format!("DELETE FROM d.big WHERE id > {} ORDER BY id LIMIT 1", first + 900), SOON).await.expect("deleted");
        session.exec("COMMIT", SOON).await.expect("committed");
    }
    role::become_standby(&mut session, SOON).await.expect("closed");
    let executed = a.facts().await.executed;
    let tail = executed.subtract(&b.facts().await.executed);
    Order { keep: executed.subtract(&tail), tail, mark }
}

async fn rewind_once(a: &Server, b: &Server) -> Duration {
    let order = tail(a, b, 1).await;
    let begun = Instant::now();
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    let undone = rewind::undo(&mut on_a, a.session().await, &order, LONG).await.expect("undone");
    assert!(matches!(undone, Outcome::Undone { .. }), "{undone:?}");
    println!("  undone in {} ms: {undone:?}", begun.elapsed().as_millis());
    let mut on_a = a.session().await;
    role::become_standby(&mut on_a, SOON).await.expect("standby");
    replication::attach(&mut on_a, &b.source(), &replicator(), SOON).await.expect("attached");
    let verdict = check::compare(&mut on_a, &mut on_b, None).await.expect("compared");
    assert!(matches!(verdict, Progress::Done(Verdict::Equal { .. })), "{verdict:?}");
    check::finish(&mut on_a).await.expect("finished");
    sync(&mut on_b, &mut on_a).await;
    let took = begun.elapsed();
    role::relax_acks(&mut on_b, SOON).await.expect("Solo");
    took
}

async fn clone_once(a: &Server, b: &Server) -> Duration {
    let order = tail(a, b, 2).await;
    assert!(!order.tail.is_empty());
    let begun = Instant::now();
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    clone::mark(&mut on_a, SOON).await.expect("marked");
    clone::clone_from(&mut on_a, &b.source(), &replicator(), LONG).await.expect("cloned");
    eventually("the marker is gone", async || !a.facts().await.rebuild_marker).await;
    let mut on_a = a.session().await;
    role::become_standby(&mut on_a, SOON).await.expect("standby");
    replication::attach(&mut on_a, &b.source(), &replicator(), SOON).await.expect("attached");
    sync(&mut on_b, &mut on_a).await;
    begun.elapsed()
}
