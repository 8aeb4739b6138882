//! One run: a pair in Sync, a writer, a fault, the pair in Sync again, every row looked at.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use super::Kind;
use super::phases::{self, Phases};
use super::report;
use super::setting;
use super::support::faults;
use super::support::shop::{BACK_IN_SYNC, Shop};
use super::support::writer::{Pace, Writer};
use super::support::{secs, with_temp_ns_for};

/// As long as it takes.
const DAY: Duration = secs(24 * 3600);

/// What is measured.
pub struct Plan {
    pub runs: u32,
    pub kinds: Vec<Kind>,
    pub pause: Duration,
    pub connections: u32,
}

/// What one run gave.
#[derive(Clone, Debug)]
pub struct Run {
    pub kind: &'static str,
    /// The longest time without an acknowledged row, from the fault to the new primary's first second.
    pub gap: Duration,
    /// The longest one after that, until the pair was in Sync again.
    pub return_gap: Duration,
    /// From the fault to Sync.
    pub to_sync: Duration,
    pub acked: usize,
    pub problems: Vec<String>,
    pub phases: Phases,
}

/// All of it; true: nothing was lost.
pub async fn all(plan: Plan, path: &Path) -> bool {
    let mut runs: Vec<Run> = Vec::new();
    let mut about = json!(null);
    let spec = json!({"mysql": {"config": {"innodb_buffer_pool_size": "128M"}}});
    with_temp_ns_for("bench", DAY, async |client, ns| {
        let shop = Shop::with(&client, &ns, 1, spec.clone()).await;
        about = setting::describe(&shop, plan.connections).await;
        println!("{}", serde_json::to_string_pretty(&about).unwrap_or_default());
        for kind in &plan.kinds {
            for number in 1..=plan.runs {
                let run = one(&shop, *kind, plan.connections).await;
                println!("{} {number}/{}: {}", run.kind, plan.runs, report::line(&run));
                runs.push(run);
                tokio::time::sleep(plan.pause).await;
            }
            report::table(&runs, kind.name());
        }
    })
    .await;
    for kind in &plan.kinds {
        report::table(&runs, kind.name());
    }
    report::write(path, &about, &runs);
    runs.iter().all(|run| run.problems.is_empty())
}

async fn one(shop: &Shop, kind: Kind, connections: u32) -> Run {
    let before = shop.in_sync(0, BACK_IN_SYNC).await;
    let writer = shop.writer(Pace { connections, ..Pace::default() }).await;
    writer.progress(200, secs(20)).await.expect("writes before the fault");
    let fault = inflict(shop, kind, &before.primary, before.standby.as_deref().expect("a standby")).await;
    let after = shop.moved_from(&before.primary).await;
    writer.progress(200, secs(20)).await.expect("writes after the fault");
    let moved = after_a_second(&writer).await;
    faults::heal_all().await.expect("it wakes, if it is still there");
    let least = if kind == Kind::Switchover { after.epoch } else { after.epoch + 1 };
    shop.in_sync(least, BACK_IN_SYNC).await;
    let to_sync = fault.0.elapsed();
    let log = writer.stop().await;
    let mut conn = shop.vip().await.connect_patiently(secs(10)).await.expect("the VIP answers");
    let problems = log.problems(&mut conn).await.expect("rows");
    let gap = log.longest_gap_between(fault.0, moved);
    Run {
        kind: kind.name(),
        gap: gap.length,
        return_gap: log.longest_gap_between(moved, fault.0 + to_sync).length,
        to_sync,
        acked: log.acked(),
        problems,
        phases: phases::of(&shop.ns, fault.1, gap.to).await,
    }
}

async fn after_a_second(writer: &Writer) -> Instant {
    let begun = Instant::now();
    while begun.elapsed() < secs(1) {
        writer.progress(1, secs(20)).await.expect("writes go on");
    }
    Instant::now()
}

/// The moment before it happens: what has to be found out first is found out first.
async fn inflict(shop: &Shop, kind: Kind, primary: &str, standby: &str) -> (Instant, SystemTime) {
    let (process, node) = (shop.mysqld(primary).await, shop.node_of(primary).await);
    let now = (Instant::now(), SystemTime::now());
    match kind {
        Kind::Kill9 => process.kill().await,
        Kind::Sigstop => process.hang().await,
        Kind::Cut => node.cut().await,
        Kind::PodDelete => shop.delete_pod(primary).await,
        Kind::Switchover => shop.annotate("shardpair.io/switchover-to", standby).await,
    }
    now
}
