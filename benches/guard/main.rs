//! What the guard costs: one-row inserts a second with and without it, by 1 and 16 writers.
//!
//! `cargo bench --bench guard -- 8` (seconds a measurement; default 6). One real mysqld as in tests/mysql, durable as in
//! production, without an acker: a wait for another machine would hide the cost. With and without take turns, three
//! times; the medians are compared. Results also in target/bench-guard.json.

#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/mysql/harness.rs"]
mod harness;

use std::time::{Duration, Instant};

use harness::{AS_PRIMARY, SOON, Server, application};
use shardpair::mysql::role::{self, OpenAs};
use shardpair::mysql::{Session, accounts, guard};
use shardpair::routing::{Function, Guard, Keys, Table, TableClass};

const ROUNDS: usize = 3;

fn main() {
    let seconds = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(6);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let results = runtime.block_on(run(Duration::from_secs(seconds)));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench-guard.json");
    std::fs::write(path, serde_json::to_string_pretty(&results).expect("JSON")).expect("target/bench-guard.json");
}

#[derive(Clone, Copy)]
struct Figures {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

async fn run(each: Duration) -> Vec<serde_json::Value> {
    let a = Server::start("a").await;
    let mut on_a = a.session().await;
    role::open_primary(&mut on_a, OpenAs { ack: false, ..AS_PRIMARY }, SOON).await.expect("open");
    accounts::bootstrap_primary(&mut on_a, &["d".to_owned()], &application(), SOON).await.expect("accounts");
    let table = Table { name: "d.t".into(), key: Some("user_id".into()), class: TableClass::Sharded };
    let guarded = Guard::of(&[table], Function::Mod, &Keys::Residue { modulus: 1, residue: 0 }, None).expect("a guard");
    println!("setting: one mysqld 9.7, sync_binlog=1, flush_log_at_trx_commit=1, no acker, {} s each, {ROUNDS} rounds, medians", each.as_secs());
    let mut results = Vec::new();
    for writers in [1, 16] {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            for guard_on in [false, true] {
                on_a.exec("DROP TABLE IF EXISTS d.t", SOON).await.expect("dropped");
                on_a.exec("CREATE TABLE d.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, user_id BIGINT NOT NULL, v VARCHAR(100))", SOON).await.expect("a table");
                if guard_on {
                    guard::place(&mut on_a, &guarded, &guarded.both(), 1, SOON).await.expect("placed");
                } else {
                    guard::remove(&mut on_a).await.expect("removed");
                }
                let figures = load(&a, writers, each).await;
                if guard_on { with.push(figures) } else { without.push(figures) }
            }
        }
        let (without, with) = (median(without), median(with));
        let cost = 100.0 * (1.0 - with.per_second / without.per_second);
        for (name, f) in [("without", without), ("with", with)] {
            println!("{writers:>2} writers, {name:>7} guard: {:>6.0} inserts/s, p50 {:.2} ms, p99 {:.2} ms", f.per_second, f.p50_ms, f.p99_ms);
        }
        println!("{writers:>2} writers: the guard costs {cost:.0} %");
        results.push(serde_json::json!({"writers": writers, "without": without.per_second, "with": with.per_second, "costPercent": cost,
            "p50Ms": [without.p50_ms, with.p50_ms], "p99Ms": [without.p99_ms, with.p99_ms]}));
    }
    results
}

fn median(mut all: Vec<Figures>) -> Figures {
    all.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    all[all.len() / 2]
}

async fn load(a: &Server, writers: u64, each: Duration) -> Figures {
    let endpoint = a.endpoint();
    let tasks = (0..writers).map(|writer| {
        let endpoint = endpoint.clone();
        tokio::spawn(async move {
            let mut session = Session::connect(&endpoint, &application(), SOON).await.expect("a session");
            let (begun, mut took) = (Instant::now(), Vec::new());
            while begun.elapsed() < each {
                let sent = Instant::now();
                let key = took.len() as u64 * writers + writer;
                session.exec(&format!("INSERT INTO d.t (user_id, v) VALUES ({key}, 'some text of a usual length')"), SOON).await.expect("written");
                took.push(sent.elapsed());
            }
            took
        })
    });
    let mut all = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        all.extend(task.await.expect("a writer"));
    }
    all.sort();
    let at = |part: f64| all[((all.len() - 1) as f64 * part) as usize].as_secs_f64() * 1000.0;
    Figures { per_second: all.len() as f64 / each.as_secs_f64(), p50_ms: at(0.5), p99_ms: at(0.99) }
}
