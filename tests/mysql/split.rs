//! A split on four real servers: the child made by CLONE, the link both ways, the flip and the way back under writers.
//!
//! The verbs are called in the order of `controller::pair::split`; what is measured is how long keys pause that move, and
//! that keys that stay don't.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shardpair::mysql::error::Error;
use shardpair::mysql::{Session, clone, facts, guard, heartbeat, replication, role};
use shardpair::routing::refusal::MOVED;
use shardpair::routing::{Function, Guard, Keys, Table, TableClass};

use crate::harness::{AS_PRIMARY, SOON, Server, application, count, eventually, pair, replicator};

const LONG: Duration = Duration::from_secs(60);
const BUDGET: Duration = Duration::from_secs(1);
const ROW: u16 = 16;

/// Even ids stay, odd ones move.
fn guard_of() -> Guard {
    let table = Table { name: "d.t".into(), key: Some("id".into()), class: TableClass::Sharded };
    Guard::of(&[table], Function::Mod, &Keys::Residue { modulus: 1, residue: 0 }, None).expect("a guard")
}

struct Split {
    /// A and B: the parent; X and Y: the child.
    servers: [Server; 4],
    sessions: [Session; 4],
    guard: Guard,
}

/// The data of `to` is a copy of `from`'s.
async fn copy(from: &Server, to: &Server) {
    let mut session = to.session().await;
    clone::mark(&mut session, SOON).await.expect("marked");
    clone::clone_from(&mut session, &from.source(), &replicator(), LONG).await.expect("cloned");
    eventually("the marker is gone", async || !to.facts().await.rebuild_marker).await;
}

/// Everything that stands before a flip.
async fn prepared() -> Split {
    let (a, b) = pair().await;
    let (x, y) = tokio::join!(Server::start("x"), Server::start("y"));
    let mut on_a = a.session().await;
    heartbeat::beat(&mut on_a, ROW, 1, SOON).await;
    let mut app = a.session_as(&application()).await;
    app.exec("INSERT INTO d.t VALUES (2, 'before', 0), (3, 'before', 0)", SOON).await.expect("rows");
    copy(&b, &x).await;
    let mut on_x = x.session().await;
    role::become_follower(&mut on_x, BUDGET, SOON).await.expect("read-only");
    replication::follow(&mut on_x, &a.source(), &replicator(), SOON).await.expect("X follows A");
    copy(&x, &y).await;
    let mut on_y = y.session().await;
    role::become_standby(&mut on_y, SOON).await.expect("standby");
    replication::attach(&mut on_y, &x.source(), &replicator(), SOON).await.expect("Y follows X");
    eventually("Y is X's acker", async || x.facts().await.source.clients == 1).await;
    role::require_acks(&mut on_x, SOON).await.expect("X waits for Y");
    replication::stop_receiver(&mut on_a, SOON).await.expect("the idle channel ends");
    replication::follow(&mut on_a, &x.source(), &replicator(), SOON).await.expect("A follows X");
    let guard = guard_of();
    let mut on_b = b.session().await;
    for (session, owned) in [(&mut on_a, guard.both()), (&mut on_b, guard.both()), (&mut on_x, BTreeSet::new()), (&mut on_y, BTreeSet::new())] {
        guard::place(session, &guard, &owned, 1, SOON).await.expect("guarded");
    }
    Split { servers: [a, b, x, y], sessions: [on_a, on_b, on_x, on_y], guard }
}

impl Split {
    /// Fence, everything on X and Y; then, where the record would be written, X opens. What the keys waited for. A fence that
    /// isn't quick is undone and tried again, as the operator does.
    async fn flip(&mut self, epoch: i64) -> Duration {
        for _ in 0..10 {
            let [on_a, _, on_x, _] = &mut self.sessions;
            let near = facts::read(on_a, SOON).await.expect("facts").executed;
            replication::wait_executed(on_x, &near, LONG).await.expect("X is near");
            let begun = Instant::now();
            if let Err(why) = self.fence(epoch).await {
                println!("flip undone: {why}");
                guard::set_owned(&mut self.sessions[0], &self.guard.both(), epoch - 1).await.expect("undone");
                continue;
            }
            let fenced = begun.elapsed();
            let on_x = &mut self.sessions[2];
            guard::give(on_x, &self.guard.childs(), epoch).await.expect("X accepts its keys");
            role::open_primary(on_x, role::OpenAs { ack: true, interleave: Some((2, 2)), stop_channel: false }, SOON).await.expect("X opens");
            println!("flip: everything was on the child after {fenced:?}, it was open after {:?}", begun.elapsed());
            return begun.elapsed();
        }
        panic!("never flipped");
    }

    async fn fence(&mut self, epoch: i64) -> Result<(), Error> {
        let [on_a, _, on_x, on_y] = &mut self.sessions;
        guard::fence(on_a, self.guard.moves, epoch, BUDGET).await?;
        assert_eq!(heartbeat::beat(on_a, ROW, epoch, SOON).await, heartbeat::Outcome::Written);
        let last = facts::read(on_a, SOON).await?.executed;
        replication::wait_executed(on_x, &last, BUDGET).await?;
        replication::wait_received(on_y, &last, BUDGET).await
    }

    /// X closes, everything on A, which accepts the keys again.
    async fn give_back(&mut self, epoch: i64) -> Duration {
        let begun = Instant::now();
        let [on_a, _, on_x, _] = &mut self.sessions;
        role::close_writes(on_x, BUDGET).await.expect("closed");
        let last = facts::read(on_x, SOON).await.expect("facts").executed;
        replication::wait_executed(on_a, &last, SOON).await.expect("A has it all");
        guard::set_owned(on_a, &self.guard.both(), epoch).await.expect("A accepts them again");
        let gap = begun.elapsed();
        role::become_follower(on_x, BUDGET, SOON).await.expect("read-only");
        guard::set_owned(on_x, &BTreeSet::new(), epoch).await.expect("X accepts nothing");
        println!("way back: {gap:?}");
        gap
    }
}

/// What clients see.
#[derive(Default)]
struct Seen {
    acked: Vec<u64>,
    longest: Duration,
    refused: u64,
    other: Vec<String>,
}

/// Writes ids that go up by 16, where `port` points; a refusal is tried again after a moment, on a new connection.
async fn writer(endpoint: shardpair::mysql::Endpoint, port: Arc<AtomicU16>, stop: Arc<AtomicBool>, ids: Arc<AtomicU64>) -> Seen {
    let (mut seen, mut last, mut session) = (Seen::default(), Instant::now(), None);
    while !stop.load(Ordering::SeqCst) {
        let id = ids.fetch_add(16, Ordering::SeqCst);
        loop {
            if session.is_none() {
                let there = shardpair::mysql::Endpoint { port: port.load(Ordering::SeqCst), ..endpoint.clone() };
                session = Session::connect(&there, &application(), SOON).await.ok();
            }
            let Some(open) = session.as_mut() else { continue };
            match open.exec(&format!("INSERT INTO d.t VALUES ({id}, 'w', 0)"), SOON).await {
                Ok(()) => break,
                Err(error) if matches!(error.code(), Some(MOVED | 1290)) => seen.refused += 1,
                Err(error) => seen.other.push(error.to_string()),
            }
            session = None;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        seen.acked.push(id);
        seen.longest = seen.longest.max(last.elapsed());
        last = Instant::now();
        // The child applies on one disk with its standby, and with all the others here: it must be able to keep up.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_move_and_come_back_under_writers_and_no_acknowledged_row_is_lost() {
    let mut split = prepared().await;
    let [a, _, x, _] = &split.servers;
    let (here, child, stop) = (Arc::new(AtomicU16::new(a.port)), Arc::new(AtomicU16::new(a.port)), Arc::new(AtomicBool::new(false)));
    let (port_of_a, port_of_x) = (a.port, x.port);
    let begin = |port: &Arc<AtomicU16>, first: u64| tokio::spawn(writer(a.endpoint(), port.clone(), stop.clone(), Arc::new(AtomicU64::new(first))));
    let staying = [begin(&here, 1_000), begin(&here, 1_002)];
    let moving = [begin(&child, 1_001), begin(&child, 1_003)];
    let mut watch = a.session().await;
    eventually("writers write", async || count(&mut watch, "id > 1000").await > 50).await;

    let mut gaps = Vec::new();
    for round in 0..3 {
        gaps.push(split.flip(10 + 2 * round).await);
        child.store(port_of_x, Ordering::SeqCst);
        let before = count(&mut split.sessions[2], "id % 2 = 1").await;
        eventually("the child is written", async || count(&mut split.sessions[2], "id % 2 = 1").await > before + 20).await;
        gaps.push(split.give_back(11 + 2 * round).await);
        child.store(port_of_a, Ordering::SeqCst);
        let before = count(&mut split.sessions[0], "id % 2 = 1").await;
        eventually("the parent is written", async || count(&mut split.sessions[0], "id % 2 = 1").await > before + 20).await;
    }
    split.flip(20).await;
    child.store(port_of_x, Ordering::SeqCst);
    tokio::time::timeout(LONG, async { while count(&mut split.sessions[2], "true").await < 10 { tokio::task::yield_now().await } }).await.expect("rows");
    stop.store(true, Ordering::SeqCst);
    let (mut stayed, mut moved, mut longest) = (Vec::new(), Vec::new(), [Duration::ZERO; 2]);
    for (at, writers) in [staying, moving].into_iter().enumerate() {
        for writer in writers {
            let seen = writer.await.expect("a writer");
            assert!(seen.other.is_empty(), "{:?}", seen.other);
            assert!(at == 1 || seen.refused == 0, "keys that stay were refused");
            longest[at] = longest[at].max(seen.longest);
            if at == 0 { stayed.extend(seen.acked) } else { moved.extend(seen.acked) }
        }
    }
    println!("{} + {} rows; longest pause of keys that stay {:?}, that move {:?}; moves {gaps:?}", stayed.len(), moved.len(), longest[0], longest[1]);

    // The link carries all of it both ways, and to the standbys.
    for from in [0, 2] {
        let all = replication::state(&mut split.sessions[from], SOON).await.expect("state").executed;
        for to in 0..4 {
            replication::wait_executed(&mut split.sessions[to], &all, SOON).await.expect("everywhere");
        }
    }
    for ids in [&stayed, &moved] {
        let list = ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        for session in &mut split.sessions {
            assert_eq!(count(session, &format!("id IN ({list})")).await as usize, ids.len());
        }
    }
}

#[tokio::test]
async fn a_fence_behind_an_open_transaction_is_given_up_and_undone() {
    let mut split = prepared().await;
    let a = split.servers[0].endpoint();
    let mut holder = Session::connect(&a, &application(), SOON).await.expect("a session");
    holder.exec("BEGIN", SOON).await.expect("begun");
    holder.exec("INSERT INTO d.t VALUES (101, 'held', 0)", SOON).await.expect("a moving key");
    let begun = Instant::now();
    let held = guard::fence(&mut split.sessions[0], split.guard.moves, 10, BUDGET).await.expect_err("held");
    let took = begun.elapsed();
    println!("{held} after {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    guard::set_owned(&mut split.sessions[0], &split.guard.both(), 9).await.expect("undone");
    let mut app = Session::connect(&a, &application(), SOON).await.expect("a session");
    app.exec("INSERT INTO d.t VALUES (103, 'goes on', 0), (104, 'goes on', 0)", SOON).await.expect("both classes");
    holder.exec("COMMIT", SOON).await.expect("committed");
    split.flip(11).await;
    assert_eq!(count(&mut split.sessions[2], "id = 101").await, 1, "what passed before is there");
}

#[tokio::test]
async fn a_link_that_is_forgotten_carries_nothing_and_all_that_was_received_is_applied() {
    let mut split = prepared().await;
    split.flip(10).await;
    let [a, b, x, _] = &split.servers;
    let mut app = Session::connect(&a.endpoint(), &application(), SOON).await.expect("a session");
    app.exec("INSERT INTO d.t VALUES (200, 'stays', 0)", SOON).await.expect("a key that stays");
    let [on_a, _, on_x, _] = &mut split.sessions;
    let all = replication::state(on_a, SOON).await.expect("state").executed;
    replication::wait_executed(on_x, &all, SOON).await.expect("it came over");
    replication::forget(on_a, false, SOON, SOON).await.expect("A's end");
    replication::forget(on_x, true, SOON, SOON).await.expect("X's end");
    replication::forget(on_x, true, SOON, SOON).await.expect("again");
    replication::follow(on_a, &b.source(), &replicator(), SOON).await.expect("the ordinary reverse channel");
    assert!(x.facts().await.channel.is_none());
    app.exec("INSERT INTO d.t VALUES (202, 'stays', 0)", SOON).await.expect("a key that stays");
    let mut moved = Session::connect(&x.endpoint(), &application(), SOON).await.expect("a session");
    moved.exec("INSERT INTO d.t VALUES (203, 'moved', 0)", SOON).await.expect("a key that moved");
    assert_eq!((count(on_x, "id = 202").await, count(on_a, "id = 203").await), (0, 0));
    assert_eq!(count(on_x, "id = 200").await, 1);
}

#[tokio::test]
async fn a_child_whose_standby_is_gone_applies_again_when_it_no_longer_waits() {
    let mut split = prepared().await;
    split.servers[3].power_cut();
    let mut app = Session::connect(&split.servers[0].endpoint(), &application(), SOON).await.expect("a session");
    app.exec("INSERT INTO d.t VALUES (300, 'x', 0), (301, 'x', 0)", SOON).await.expect("the parent never waits for the child");
    let all = replication::state(&mut split.sessions[0], SOON).await.expect("state").executed;
    replication::wait_received(&mut split.sessions[2], &all, SOON).await.expect("X has received it");
    role::relax_acks(&mut split.sessions[2], SOON).await.expect("Solo");
    replication::wait_executed(&mut split.sessions[2], &all, SOON).await.expect("X has applied it");
    assert_eq!(AS_PRIMARY.interleave, Some((2, 1)), "the child's offset is the other one");
}
