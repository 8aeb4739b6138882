//! A switchover by verbs under writers: no acknowledged row is lost, and the gap stays small.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use shardpair::mysql::{Session, replication, role, sessions};

use crate::harness::{AS_PRIMARY, SOON, application, count, operator, pair, replicator};

/// Writes ids counting up in steps, where `port` points, until told to stop; returns those acknowledged, and the longest gap.
async fn writer(endpoint: shardpair::mysql::Endpoint, port: Arc<AtomicU16>, stop: Arc<AtomicBool>, next: Arc<AtomicU32>) -> (Vec<u32>, Duration) {
    let (mut acked, mut gap, mut last) = (Vec::new(), Duration::ZERO, Instant::now());
    let mut session: Option<Session> = None;
    while !stop.load(Ordering::Relaxed) {
        if !session.as_ref().is_some_and(Session::is_usable) {
            let there = shardpair::mysql::Endpoint { port: port.load(Ordering::Relaxed), ..endpoint.clone() };
            session = Session::connect(&there, &application(), SOON).await.ok();
        }
        let Some(open) = session.as_mut() else { continue };
        let id = next.fetch_add(1, Ordering::Relaxed);
        match open.exec(&format!("INSERT INTO d.t VALUES ({id}, 'w', 0)"), SOON).await {
            Ok(()) => {
                acked.push(id);
                gap = gap.max(last.elapsed());
                last = Instant::now();
            }
            // Read-only: the place has moved.
            Err(_) => session = None,
        }
    }
    (acked, gap)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_under_writers_loses_no_acknowledged_row() {
    let (a, b) = pair().await;
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    let (port, stop, next) = (Arc::new(AtomicU16::new(a.port)), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(1)));
    let writers = (0..2).map(|_| tokio::spawn(writer(a.endpoint(), port.clone(), stop.clone(), next.clone()))).collect::<Vec<_>>();
    crate::harness::eventually("writers write", async || count(&mut on_a, "true").await > 50).await;

    role::close_writes(&mut on_a, Duration::from_secs(1)).await.expect("closed");
    let executed = replication::state(&mut on_a, SOON).await.expect("state").executed;
    replication::wait_executed(&mut on_b, &executed, SOON).await.expect("B has it all");
    replication::stop_receiver(&mut on_b, SOON).await.expect("fence");
    role::open_primary(&mut on_b, role::OpenAs { ack: true, interleave: Some((2, 2)), stop_channel: true }, SOON).await.expect("open B");
    port.store(b.port, Ordering::Relaxed);
    let begun = Instant::now();
    replication::attach(&mut on_a, &b.source(), &replicator(), SOON).await.expect("A follows B");
    let attached = begun.elapsed();
    let ended = sessions::end_application_sessions(&mut on_a, &[&operator().user, &replicator().user], SOON).await.expect("ended");
    role::become_standby(&mut on_a, SOON).await.expect("A is the standby");

    let reached = next.load(Ordering::Relaxed);
    crate::harness::eventually("writers go on", async || next.load(Ordering::Relaxed) > reached + 100).await;
    stop.store(true, Ordering::Relaxed);
    let mut acked = Vec::new();
    let mut gap = Duration::ZERO;
    for writer in writers {
        let (ids, longest) = writer.await.expect("a writer");
        acked.extend(ids);
        gap = gap.max(longest);
    }
    println!("{} rows acknowledged, longest gap {gap:?}, attach {attached:?}, {ended} sessions ended", acked.len());
    let executed = replication::state(&mut on_b, SOON).await.expect("state").executed;
    replication::wait_executed(&mut on_a, &executed, SOON).await.expect("A has it all");
    let ids = acked.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    for session in [&mut on_a, &mut on_b] {
        assert_eq!(count(session, &format!("id IN ({ids})")).await as usize, acked.len());
    }
    assert_eq!(a.facts().await.executed, b.facts().await.executed);
    let of_a = a.facts().await;
    assert!(of_a.super_read_only && !of_a.source.enabled && of_a.replica_enabled);
    assert!(gap < Duration::from_secs(5), "a gap of {gap:?}");
}

#[tokio::test]
async fn a_switchover_that_is_given_up_gives_the_writes_back() {
    let (a, _b) = pair().await;
    let mut on_a = a.session().await;
    role::close_writes(&mut on_a, Duration::from_millis(500)).await.expect("closed");
    let mut app = a.session_as(&application()).await;
    assert_eq!(app.exec("INSERT INTO d.t VALUES (1, 'a', 1)", SOON).await.expect_err("read-only").code(), Some(1290));
    role::reopen_writes(&mut on_a, SOON).await.expect("open");
    app.exec("INSERT INTO d.t VALUES (1, 'a', 1)", SOON).await.expect("acknowledged");
}

#[tokio::test]
async fn events_that_replication_disabled_are_enabled_with_their_definers() {
    let (a, b) = pair().await;
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    let mut app = a.session_as(&application()).await;
    app.exec("CREATE EVENT d.`an event` ON SCHEDULE EVERY 1 DAY DO SET @x=1", SOON).await.expect("an event");
    let executed = replication::state(&mut on_a, SOON).await.expect("state").executed;
    replication::wait_executed(&mut on_b, &executed, SOON).await.expect("applied");
    replication::stop_receiver(&mut on_b, SOON).await.expect("fence");
    role::close_writes(&mut on_a, SOON).await.expect("closed");
    role::open_primary(&mut on_b, role::OpenAs { ack: false, stop_channel: true, ..AS_PRIMARY }, SOON).await.expect("open");
    assert_eq!(b.facts().await.events_disabled, 1);
    assert_eq!(role::enable_events(&mut on_b, SOON).await.expect("enabled"), 1);
    assert_eq!(role::enable_events(&mut on_b, SOON).await.expect("again"), 0);
    let event = "SELECT concat(definer, ' ', status) FROM information_schema.events WHERE event_name='an event'";
    assert_eq!(on_b.scalar(event, SOON).await.expect("event").as_deref(), Some("app@% ENABLED"));
    assert_eq!(b.facts().await.events_disabled, 0);
}
