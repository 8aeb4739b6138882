//! Deleting a table's foreign half: our purge beside pt-archiver (Debian's percona-toolkit), under the same foreground.
//!
//! `cargo bench --bench purge -- 400000` (rows; default 200000). A pair of real mysqld processes in Sync, guard in place, 4
//! writers of rows that stay, about 100 writes a second each. pt-archiver runs as the operator (the guard refuses others)
//! in its best settings (`--bulk-delete --primary-key-only --commit-each`) with several limits; without it
//! installed only ours is measured. Results also in target/bench-purge.json.

#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/mysql/harness.rs"]
mod harness;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::{SOON, Server, application, operator, pair};
use shardpair::mysql::purge::policy::Limits;
use shardpair::mysql::purge::{self, Purge};
use shardpair::mysql::{Session, guard, replication};
use shardpair::routing::{Function, Guard, Keys, Table, TableClass};

const LONG: Duration = Duration::from_secs(600);
const WRITERS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(10);

fn main() {
    let rows = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(200_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let results = runtime.block_on(run(rows));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench-purge.json");
    std::fs::write(path, serde_json::to_string_pretty(&results).expect("JSON")).expect("target/bench-purge.json");
}

fn guarded() -> Guard {
    let table = Table { name: "d.big".into(), key: Some("user_id".into()), class: TableClass::Sharded };
    Guard::of(&[table], Function::Mod, &Keys::Residue { modulus: 1, residue: 0 }, None).expect("a guard")
}

async fn run(rows: u64) -> Vec<serde_json::Value> {
    let (a, b) = pair().await;
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    on_a.exec("CREATE TABLE d.big (id BIGINT PRIMARY KEY, user_id BIGINT NOT NULL, v VARCHAR(200) NOT NULL, n INT NOT NULL)", SOON).await.expect("a table");
    let guarded = guarded();
    guard::place(&mut on_a, &guarded, &guarded.parents(), 1, SOON).await.expect("placed");
    println!("setting: two mysqld 9.7 in Sync on one machine, {rows} rows of about 130 bytes, half of them foreign, {WRITERS} writers with {} ms between", PAUSE.as_millis());
    let archiver = Command::new("pt-archiver").arg("--version").output().is_ok();
    let mut ways = vec![("nothing".to_owned(), 0), ("shardpair".to_owned(), 1000), ("shardpair".to_owned(), 5000)];
    if archiver {
        ways.extend([100, 500, 1000].map(|limit| ("pt-archiver".to_owned(), limit)));
    } else {
        println!("pt-archiver isn't installed: apt-get install percona-toolkit");
    }
    let mut results = Vec::new();
    for (way, limit) in ways {
        refill(&mut on_a, &mut on_b, rows).await;
        let stop = Arc::new(AtomicBool::new(false));
        let foreground = (0..WRITERS).map(|w| tokio::spawn(writer(a.endpoint(), w, rows, stop.clone()))).collect::<Vec<_>>();
        let begun = Instant::now();
        let deleted = match way.as_str() {
            "nothing" => nothing().await,
            "shardpair" => ours(&a, &b, limit).await,
            _ => theirs(&a, limit).await,
        };
        let took = begun.elapsed();
        stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in foreground {
            all.extend(task.await.expect("a writer"));
        }
        all.sort();
        let at = |part: f64| all[((all.len() - 1) as f64 * part) as usize].as_secs_f64() * 1000.0;
        let speed = deleted as f64 / took.as_secs_f64();
        println!(
            "{way:>11} {limit:>5} rows a transaction: {deleted} rows in {:.1} s = {speed:.0} rows/s; foreground {:.0} writes/s, p50 {:.2} ms, p99 {:.2} ms",
            took.as_secs_f64(), all.len() as f64 / took.as_secs_f64(), at(0.5), at(0.99)
        );
        results.push(serde_json::json!({"way": way, "limit": limit, "deleted": deleted, "seconds": took.as_secs_f64(), "rowsPerSecond": speed, "p50Ms": at(0.5), "p99Ms": at(0.99)}));
    }
    results
}

/// The same rows again, on both members.
async fn refill(on_a: &mut Session, on_b: &mut Session, rows: u64) {
    let _ = purge::forget(on_a).await;
    on_a.exec("DELETE FROM d.big", LONG).await.expect("emptied");
    on_a.exec("INSERT INTO d.big VALUES (0, 0, repeat('x', 100), 0)", SOON).await.expect("a row");
    let mut there = 1;
    while there < rows {
        let sql = format!("INSERT INTO d.big SELECT id+{there}, user_id+{there}, v, 0 FROM d.big WHERE id < {}", rows - there);
        on_a.exec(&sql, LONG).await.expect("rows");
        there *= 2;
    }
    on_a.exec("ANALYZE NO_WRITE_TO_BINLOG TABLE d.big", LONG).await.expect("analyzed");
    let executed = replication::state(on_a, SOON).await.expect("state").executed;
    replication::wait_executed(on_b, &executed, LONG).await.expect("applied");
}

/// An application's writes to rows that stay.
async fn writer(endpoint: shardpair::mysql::Endpoint, number: u64, rows: u64, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut session = Session::connect(&endpoint, &application(), SOON).await.expect("a session");
    let (mut took, mut next) = (Vec::new(), number * 7919);
    while !stop.load(Ordering::Relaxed) {
        next = (next * 6_364_136_223 + 1_442_695) % rows;
        let sent = Instant::now();
        session.exec(&format!("UPDATE d.big SET n=n+1 WHERE id={}", next / 2 * 2), LONG).await.expect("written");
        took.push(sent.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    took
}

async fn nothing() -> u64 {
    tokio::time::sleep(Duration::from_secs(8)).await;
    0
}

async fn ours(a: &Server, b: &Server, limit: u32) -> u64 {
    let (mut primary, mut standby, mut probe) = (a.session().await, b.session().await, a.session().await);
    let guarded = guarded();
    let limits = Limits::new(limit, Duration::from_secs(1));
    let mut purge = Purge::begin((&mut primary, &mut standby, &mut probe), &guarded, guarded.moves, limits, (1, 1)).await.expect("begin");
    while !purge.progress().done {
        purge.step().await.expect("a step");
    }
    purge.progress().deleted
}

async fn theirs(a: &Server, limit: u32) -> u64 {
    let who = operator();
    let (port, source) = (a.port, format!("h=127.0.0.1,P={},u={},D=d,t=big", a.port, who.user));
    let run = move || {
        Command::new("pt-archiver")
            .args(["--source", &source, "--password", &who.password, "--purge", "--where", "user_id % 2 = 1", "--primary-key-only", "--bulk-delete"])
            .args(["--commit-each", "--no-check-charset", "--statistics", "--limit", &limit.to_string()])
            .output()
    };
    let output = tokio::task::spawn_blocking(run).await.expect("a task").expect("pt-archiver runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "pt-archiver on port {port}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().find_map(|line| line.strip_prefix("DELETE ")).and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}
