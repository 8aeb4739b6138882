//! Faults during splits: a small ShardCluster of one shard, writers of old and new maps, a plan that goes forward and back and forward,
//! and at every arrow something that strikes. Then the plan goes to its end, and every acknowledged row must be with its owner
//! once, and nowhere else.

use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt, stream};
use mysql_async::prelude::Queryable;
use serde_json::json;
use shardpair::api::expansion::Phase;
use shardpair::simulation::dice::Dice;

use super::aim::kill_now;
use super::nemesis::{FAULT, annotate_pair};
use super::support::cluster::{SYSTEM, leader, start_operators_at_once};
use super::support::faults::Process;
use super::support::lanes::Lanes;
use super::support::plan::Plan;
use super::support::shop::{Shop, pod};
use super::support::writer::Target;
use super::support::{beside_others, eventually, run as run_command, secs};

/// One split, with all its arrows, takes at most this.
const LIMIT: Duration = secs(1_800);
/// A phase is reached within this, whatever strikes.
const ARROW: Duration = secs(300);
/// Of the program itself: the client that is stopped across a flip.
pub const CLIENT: &str = "--stopped-client";

/// What strikes at an arrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    KillOperator, PointKill, PointPause, KillParent, KillParentsStandby, KillChild, KillChildsStandby, StoppedClient, StoppedTransaction, Ddl,
}

const KINDS: &[Kind] = &[
    Kind::KillOperator, Kind::PointKill, Kind::PointKill, Kind::PointKill, Kind::PointPause, Kind::KillParent, Kind::KillParentsStandby, Kind::KillChild,
    Kind::KillChildsStandby, Kind::StoppedClient, Kind::StoppedTransaction, Kind::Ddl,
];
/// Passed on the way forward by the parent, by the child, and on the way back by the child, by the parent.
const POINTS: [&[&str]; 4] = [
    &["WriteRecord", "Cede", "Cede.fenced", "Guard"],
    &["WriteRecord", "Guard", "OpenPrimary", "PointVip"],
    &["WriteRecord", "GiveBack", "GiveBack.closed", "GiveBack.vip", "CloseFollower"],
    &["WriteRecord", "Guard"],
];

/// What is asked for.
pub struct Asked {
    /// How many, and how many of them at a time.
    pub splits: u32,
    pub together: usize,
    /// Of each, with a way back between.
    pub flips: u32,
    /// The operator has named fault points.
    pub points: bool,
    pub seed: u64,
}

/// So many splits, each with a seed of its own. After the first that goes wrong no other begins; those beside it end first.
pub async fn run(asked: Asked) {
    let begun = Instant::now();
    let done = Mutex::new((0, 0, 0));
    let wrong = AtomicBool::new(false);
    let ended: Vec<_> = stream::iter(1..=asked.splits)
        .map(async |number| {
            if wrong.load(Ordering::Relaxed) {
                return Ok(());
            }
            let mut dice = Dice::new(asked.seed + u64::from(number));
            let name = format!("split{number}");
            let one = beside_others(&name, LIMIT, async |client, ns| {
                let shop = Shop::one_shard(&client, &ns).await;
                let (arrows, rows) = one(&shop, asked.flips, asked.points, &mut dice).await;
                let mut done = done.lock().expect("no panic while it is held");
                *done = (done.0 + 1, done.1 + arrows, done.2 + rows);
            });
            let ended = AssertUnwindSafe(one).catch_unwind().await;
            wrong.fetch_or(ended.is_err(), Ordering::Relaxed);
            let (splits, arrows, rows) = *done.lock().expect("no panic while it is held");
            println!("{splits} of {} splits, {:.0} s: {arrows} arrows and {rows} acknowledged rows, none lost, none doubled, none with somebody else", asked.splits, begun.elapsed().as_secs_f64());
            ended
        })
        .buffer_unordered(asked.together.max(1))
        .collect()
        .await;
    if let Some(panic) = ended.into_iter().find_map(Result::err) {
        resume_unwind(panic);
    }
}

/// From one shard to two; how many arrows were struck, how many rows acknowledged.
async fn one(shop: &Shop, flips: u32, points: bool, dice: &mut Dice) -> (u32, usize) {
    let lanes = Lanes::start(shop, 2, Duration::from_millis(20)).await.expect("writers");
    let mut struck = 0;
    let plan = Plan::apply(shop, "double", 2, json!({"until": "Prepared", "reverseWindow": "0s"})).await;
    if dice.once(3) {
        tokio::time::sleep(Duration::from_millis(dice.roll(20_000))).await;
        kill_somebody(shop, dice).await;
        struck += 1;
    }
    plan.reaches(Phase::Prepared, ARROW).await;
    let mut broken = false;
    for turn in 0..flips.max(1) {
        arrow(shop, &plan, Phase::Flipped, points, dice).await;
        struck += 1;
        lanes.progress(60, secs(90)).await.expect("writes go on");
        if turn + 1 == flips.max(1) {
            break;
        }
        broken = !arrow(shop, &plan, Phase::Prepared, points, dice).await;
        struck += 1;
        lanes.progress(60, secs(90)).await.expect("writes go on");
        if broken {
            break;
        }
    }
    println!("{}: forward to the end{}", shop.ns, if broken { ": the link is broken, there is no way back" } else { "" });
    plan.until("Complete").await;
    plan.reaches(Phase::Complete, ARROW).await;
    lanes.progress(60, secs(60)).await.expect("writes go on");
    let log = lanes.stop().await;
    let problems = log.problems(shop, true).await.expect("rows");
    assert!(log.acked() > 0 && problems.is_empty(), "{} problems: {:#?}", problems.len(), &problems[..problems.len().min(20)]);
    (struck, log.acked())
}

/// Forward or back, with something that strikes meanwhile. False: a failover broke the link, so this way back is closed.
async fn arrow(shop: &Shop, plan: &Plan<'_>, to: Phase, points: bool, dice: &mut Dice) -> bool {
    let mut kind = dice.of(KINDS);
    if !points && matches!(kind, Kind::PointKill | Kind::PointPause) {
        kind = Kind::KillOperator;
    }
    let forward = to == Phase::Flipped;
    start_operators_at_once(&shop.client).await;
    let mut client = None;
    let mut what = format!("{kind:?}");
    match kind {
        Kind::PointKill | Kind::PointPause => {
            let child = dice.roll(2);
            let point = dice.of(POINTS[usize::from(!forward) * 2 + child as usize]);
            // On the way back it is the child that acts first.
            let pair = if forward { child } else { 1 - child };
            let fault = format!("{point}={}", if kind == Kind::PointKill { "kill" } else { "pause" });
            what = format!("{what} {fault} of {}-{pair}", shop.name);
            let _ = annotate_pair(shop, pair, FAULT, Some(&fault)).await;
        }
        // Through the new shard's VIP where it is now: after the arrow its connection leads to the wrong server.
        Kind::StoppedClient | Kind::StoppedTransaction => client = Some(Stopped::start(&shop.vip_of(1).await, kind == Kind::StoppedTransaction).await),
        _ => {}
    }
    let begun = Instant::now();
    plan.until(&format!("{to:?}")).await;
    tokio::time::sleep(Duration::from_millis(dice.roll(1_500))).await;
    match kind {
        Kind::KillOperator => kill_operator(shop).await,
        Kind::KillParent | Kind::KillParentsStandby | Kind::KillChild | Kind::KillChildsStandby => {
            let (pair, standby) = (u32::from(matches!(kind, Kind::KillChild | Kind::KillChildsStandby)), matches!(kind, Kind::KillParentsStandby | Kind::KillChildsStandby));
            kill_member(shop, pair, standby).await;
        }
        Kind::Ddl => try_ddl(shop).await,
        Kind::StoppedTransaction => tokio::time::sleep(secs(3)).await,
        _ => {}
    }
    if let (Kind::StoppedTransaction, Some(client)) = (kind, client.take()) {
        client.goes_on().await;
    }
    let reached = reaches(plan, to, !forward).await;
    for pair in 0..2 {
        let _ = annotate_pair(shop, pair, FAULT, None).await;
    }
    if let Some(client) = client {
        client.goes_on().await;
    }
    println!("{}: {what}: {} after {:.1} s", shop.ns, if reached { format!("{to:?}") } else { "LinkBroken".to_owned() }, begun.elapsed().as_secs_f64());
    reached
}

/// A way back may be closed by a failover for good: said so, nothing is lost.
async fn reaches(plan: &Plan<'_>, to: Phase, may_be_broken: bool) -> bool {
    let begun = Instant::now();
    let mut looks = 0;
    loop {
        let status = plan.status().await.unwrap_or_default();
        if status.phase == Some(to) {
            return true;
        }
        looks += 1;
        if looks % 20 == 0 {
            start_operators_at_once(&plan.shop.client).await;
        }
        let said = format!("{:?} {:?}", status.conditions, status.shards);
        if may_be_broken && said.contains("LinkBroken") {
            return false;
        }
        assert!(begun.elapsed() < ARROW, "{to:?} isn't reached: {said}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn kill_operator(shop: &Shop) {
    let _ = kill_now(SYSTEM, &leader(&shop.client).await, "shardpair").await;
}

async fn kill_member(shop: &Shop, pair: u32, standby: bool) {
    let Ok(found) = shop.pairs().get(&format!("{}-{pair}", shop.name)).await else { return };
    let record = found.status.unwrap_or_default().record;
    let Some(name) = (if standby { record.standby } else { Some(record.primary) }) else { return };
    if kill_now(&shop.ns, &pod(&name), "mysqld").await.is_ok() {
        println!("{}: kill -9 of {name}", shop.ns);
    }
}

async fn kill_somebody(shop: &Shop, dice: &mut Dice) {
    match dice.roll(3) {
        0 => kill_operator(shop).await,
        1 => kill_member(shop, 0, dice.once(2)).await,
        _ => kill_member(shop, 1, dice.once(2)).await,
    }
}

/// Through both VIPs, for two seconds: none of it may succeed between Prepared and Dissolved.
async fn try_ddl(shop: &Shop) {
    let begun = Instant::now();
    while begun.elapsed() < secs(2) {
        for shard in 0..2 {
            let Ok(mut conn) = shop.vip_of(shard).await.connect(secs(1)).await else { continue };
            for sql in ["TRUNCATE TABLE orders", "ALTER TABLE orders ADD COLUMN extra INT", "DROP TABLE orders"] {
                let tried = tokio::time::timeout(secs(5), conn.query_drop(sql)).await;
                assert!(!matches!(tried, Ok(Ok(()))), "{sql} succeeded through the VIP of shard {shard}");
            }
        }
    }
}

/// A client in a process of its own, stopped while the keys move.
struct Stopped {
    child: Child,
    transaction: bool,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Stopped {
    async fn start(target: &Target, transaction: bool) -> Self {
        let program = std::env::current_exe().expect("this program");
        let words = [target.host.to_string(), target.user.clone(), target.password.clone(), target.database.clone()];
        let mut child = Command::new(program).arg(CLIENT).arg(if transaction { "open" } else { "idle" }).args(words).stdout(Stdio::piped()).spawn().expect("a client");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let ready = tokio::task::spawn_blocking(move || lines.next().is_some_and(|l| l.is_ok())).await;
        assert!(matches!(ready, Ok(true)), "the client that is to be stopped has written");
        Process(child.id().to_string()).hang().await;
        Self { child, transaction }
    }

    /// Where the keys were, its next write with one that moved must be refused; where a transaction was open, its commit may succeed
    /// only if the keys were still there. It checks that itself.
    async fn goes_on(mut self) {
        let pid = self.child.id().to_string();
        run_command("kill", &["-CONT", &pid]).await;
        let how = if self.transaction { "in a transaction" } else { "idle" };
        let ended = eventually("the client ends", secs(30), async || self.child.try_wait().map_err(|e| e.to_string())?.ok_or("it runs".to_owned())).await;
        assert!(ended.success(), "the stopped client ({how}): {ended}");
    }
}

/// The client itself: a key that moves is written and taken away, on a connection that stays; then again, after it was stopped. What it
/// was told must be true: of a row that was acknowledged, the owner must know.
pub async fn client(words: &[String]) -> Result<(), String> {
    let [how, host, user, password, database] = words else { return Err("five words".to_owned()) };
    let host = host.parse().map_err(|_| "an address")?;
    let target = Target { host, port: 3306, user: user.clone(), password: password.clone(), database: database.clone() };
    let insert = "INSERT INTO orders (user_id, run, id) VALUES (1, 1, 1)";
    let delete = "DELETE FROM orders WHERE run = 1 AND user_id = 1";
    let begun = Instant::now();
    // A connection that was opened just before the VIP moved is refused: made anew, as any client would.
    let mut conn = loop {
        let mut conn = target.connect_patiently(secs(10)).await?;
        match written(&mut conn, how == "open", insert, delete).await {
            Ok(()) => break conn,
            Err(_) if begun.elapsed() < secs(20) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(why) => return Err(why.to_string()),
        }
    };
    println!("written");
    // Stopped here.
    tokio::time::sleep(Duration::from_millis(100)).await;
    if how == "open" {
        let _ = conn.query_drop("COMMIT").await;
    }
    if conn.query_drop(insert).await.is_ok() {
        // Accepted: then this is the owner, and a new connection through the VIP finds the row.
        let mut fresh = target.connect_patiently(secs(10)).await?;
        let found: Option<u64> = fresh.query_first("SELECT count(*) FROM orders WHERE run = 1 AND user_id = 1").await.map_err(|e| e.to_string())?;
        if found != Some(1) {
            return Err(format!("a write was accepted by a server that isn't the owner: {found:?}"));
        }
        // The keys may move just now: then it is for whoever owns them.
        let begun = Instant::now();
        while conn.query_drop(delete).await.is_err() {
            if begun.elapsed() > secs(20) {
                return Err("the row can't be taken away again".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            conn = target.connect_patiently(secs(10)).await?;
        }
    }
    Ok(())
}

async fn written(conn: &mut mysql_async::Conn, open: bool, insert: &str, delete: &str) -> Result<(), mysql_async::Error> {
    if open {
        conn.query_drop("BEGIN").await?;
    }
    conn.query_drop(insert).await?;
    conn.query_drop(delete).await
}
