//! The guard in real MySQL: who is refused, who isn't, and what a fence waits for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shardpair::mysql::{Error, Session, accounts, guard, replication, role, sessions};
use shardpair::routing::refusal::{CROSSING, Kind, MOVED, NOT_YET};
use shardpair::routing::{Function, Guard, Keys, Refusal, Table, TableClass};

use crate::harness::{AS_PRIMARY, SOON, Server, application, count, eventually, pair};
use shardpair::mysql::role::OpenAs;

fn table(name: &str, class: TableClass) -> Table {
    Table { name: name.into(), key: (class == TableClass::Sharded).then(|| "id".into()), class }
}

/// Keys mod 4: this shard has 0 and 2, of which 2 moves.
fn guard_of(tables: &[Table]) -> Guard {
    Guard::of(tables, Function::Mod, &Keys::Residue { modulus: 2, residue: 0 }, None).expect("a guard")
}

fn classes(of: &[u32]) -> BTreeSet<u32> {
    of.iter().copied().collect()
}

const LONG: Duration = Duration::from_secs(60);

/// One open server with the application's account and table `d.t`.
async fn alone() -> (Server, Session) {
    let a = Server::start("a").await;
    let mut on_a = a.session().await;
    role::open_primary(&mut on_a, OpenAs { ack: false, ..AS_PRIMARY }, SOON).await.expect("open");
    accounts::bootstrap_primary(&mut on_a, &["d".to_owned()], &application(), SOON).await.expect("accounts");
    on_a.exec("CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(20), n INT)", SOON).await.expect("a table");
    (a, on_a)
}

/// How many transactions wait for a row's lock. MySQL looks anew only when nobody has asked for 100 ms.
async fn lock_waits(session: &mut Session) -> u32 {
    let sql = "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state='LOCK WAIT'";
    session.scalar("DO SLEEP(0.12)", SOON).await.expect("a pause");
    session.scalar(sql, SOON).await.expect("transactions").and_then(|n| n.parse().ok()).expect("a number")
}

fn refusal(result: Result<(), Error>) -> Refusal {
    match result.expect_err("refused") {
        Error::Server { code, message, .. } => Refusal::parse(code, &message).unwrap_or_else(|| panic!("{code}: {message}")),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn only_keys_of_owned_classes_are_written_whatever_the_statement() {
    let (a, mut on_a) = alone().await;
    let mut app = a.session_as(&application()).await;
    let guarded = guard_of(&[table("d.t", TableClass::Sharded), table("d.country", TableClass::Reference)]);
    assert_eq!(guard::read(&mut on_a).await.expect("read"), None);
    on_a.exec("INSERT INTO d.t VALUES (0, 'stays', 0), (2, 'moves', 0), (6, 'moves', 0), (1, 'stray', 0)", SOON).await.expect("rows");
    let before = a.facts().await.executed;
    guard::place(&mut on_a, &guarded, &guarded.both(), 5, SOON).await.expect("placed");
    app.exec("UPDATE d.t SET n=n+1 WHERE id IN (0, 2)", SOON).await.expect("both owned");
    guard::set_owned(&mut on_a, &guarded.parents(), 6).await.expect("given up");

    let moved = |class| Refusal { kind: Kind::Moved, epoch: 6, class: Some(class), table: "d.t".into() };
    for sql in ["INSERT INTO d.t VALUES (10, 'x', 0)", "INSERT INTO d.t VALUES (4, 'x', 0), (10, 'x', 0)", "UPDATE d.t SET n=9 WHERE id=2", "DELETE FROM d.t WHERE id=6",
        "REPLACE INTO d.t VALUES (2, 'x', 0)", "INSERT INTO d.t VALUES (2, 'x', 0) ON DUPLICATE KEY UPDATE n=9", "UPDATE d.t SET n=9 WHERE id<>1"]
    {
        assert_eq!(refusal(app.exec(sql, SOON).await), moved(2), "{sql}");
    }
    // Never this shard's: nobody's here. The epoch is that of the guard.
    assert_eq!(refusal(app.exec("DELETE FROM d.t WHERE id=1", SOON).await), moved(1));
    assert_eq!(refusal(app.exec("INSERT INTO d.t VALUES (-1, 'x', 0)", SOON).await), moved(3));
    let crossing = refusal(app.exec("UPDATE d.t SET id=14 WHERE id=0", SOON).await);
    assert_eq!((crossing.kind, crossing.class), (Kind::Crossing, Some(0)));
    let code = on_a.exec("UPDATE d.t SET id=14 WHERE id=0", SOON).await.expect_err("also the operator").code();
    assert_eq!((code, Kind::Crossing.code()), (Some(CROSSING), CROSSING));
    assert_eq!(count(&mut on_a, "n=1").await, 2, "nothing of all that was written");

    app.exec("INSERT INTO d.t VALUES (4, 'x', 0), (-4, 'x', 0)", SOON).await.expect("its own");
    app.exec("UPDATE d.t SET id=8 WHERE id=4", SOON).await.expect("the same class");
    on_a.exec("DELETE FROM d.t WHERE id IN (1, 2, 6)", SOON).await.expect("the operator purges");
    let state = guard::read(&mut on_a).await.expect("read").expect("a guard");
    assert_eq!((state.hash, state.epoch, state.owned), (guarded.hash(), 6, guarded.parents()));
    // The writes above, and nothing of the guard's, are in the binlog.
    assert_eq!(a.facts().await.executed.subtract(&before).count(), 4);
    guard::remove(&mut on_a).await.expect("removed");
    assert_eq!(guard::read(&mut on_a).await.expect("read"), None);
    app.exec("INSERT INTO d.t VALUES (3, 'x', 0)", SOON).await.expect("no guard any more");
    guard::remove(&mut on_a).await.expect("nothing to do");
}

/// Writes rows of one class, until told to stop: how many were accepted, the longest, and the first refusal's time.
async fn writer(a: shardpair::mysql::Endpoint, first: u64, stop: Arc<AtomicBool>, fenced: Arc<AtomicBool>, late: Arc<AtomicU64>) -> (u64, Duration) {
    let mut session = Session::connect(&a, &application(), SOON).await.expect("a session");
    let (mut accepted, mut longest) = (0, Duration::ZERO);
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let was_fenced = fenced.load(Ordering::SeqCst);
        let begun = Instant::now();
        match session.exec(&format!("INSERT INTO d.t VALUES ({}, 'w', 0)", first + n * 64), SOON).await {
            Ok(()) => {
                accepted += 1;
                longest = longest.max(begun.elapsed());
                // It began after the fence had returned, and ended before it was undone.
                late.fetch_add(u64::from(was_fenced && fenced.load(Ordering::SeqCst)), Ordering::SeqCst);
            }
            Err(error) => assert_eq!(error.code(), Some(MOVED), "{error}"),
        }
    }
    (accepted, longest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_under_16_writers_lets_nothing_through_and_the_others_go_on() {
    let (a, mut on_a) = alone().await;
    let guarded = guard_of(&[table("d.t", TableClass::Sharded)]);
    guard::place(&mut on_a, &guarded, &guarded.both(), 5, SOON).await.expect("placed");
    let flags = || Arc::new(AtomicBool::new(false));
    let (stop, fenced, never) = (flags(), flags(), flags());
    let (late, none) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    // Writers of class 2 (which moves) and of class 0.
    let moving = (0..8).map(|w| tokio::spawn(writer(a.endpoint(), 2 + w * 4, stop.clone(), fenced.clone(), late.clone()))).collect::<Vec<_>>();
    let staying = (8..16).map(|w| tokio::spawn(writer(a.endpoint(), w * 4, stop.clone(), never.clone(), none.clone()))).collect::<Vec<_>>();
    eventually("writers write", async || count(&mut on_a, "id % 4 = 2").await > 200).await;

    let begun = Instant::now();
    guard::fence(&mut on_a, guarded.moves, 6, Duration::from_millis(300)).await.expect("fenced");
    let (took, at_fence) = (begun.elapsed(), count(&mut on_a, "id % 4 = 2").await);
    fenced.store(true, Ordering::SeqCst);
    let others = count(&mut on_a, "id % 4 = 0").await;
    eventually("the others go on", async || count(&mut on_a, "id % 4 = 0").await > others + 200).await;
    assert_eq!(count(&mut on_a, "id % 4 = 2").await, at_fence, "a moving write came after the fence");
    // Given back: they go on too.
    fenced.store(false, Ordering::SeqCst);
    guard::set_owned(&mut on_a, &guarded.both(), 7).await.expect("given back");
    eventually("they go on", async || count(&mut on_a, "id % 4 = 2").await > at_fence + 50).await;
    stop.store(true, Ordering::SeqCst);
    let mut longest = Duration::ZERO;
    let mut accepted = 0;
    for task in moving.into_iter().chain(staying) {
        let (rows, worst) = task.await.expect("a writer");
        accepted += rows;
        longest = longest.max(worst);
    }
    println!("fence {took:?} under 16 writers, {accepted} rows, longest accepted write {longest:?}");
    assert_eq!(late.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_fence_waits_for_a_long_transaction_or_gives_up_and_changes_nothing() {
    let (a, mut on_a) = alone().await;
    let guarded = guard_of(&[table("d.t", TableClass::Sharded)]);
    guard::place(&mut on_a, &guarded, &guarded.both(), 5, SOON).await.expect("placed");
    let mut long = a.session_as(&application()).await;
    let mut app = a.session_as(&application()).await;
    long.exec("BEGIN", SOON).await.expect("begin");
    long.exec("INSERT INTO d.t VALUES (2, 'long', 0)", SOON).await.expect("passed");
    let begun = Instant::now();
    let error = guard::fence(&mut on_a, 2, 6, Duration::from_millis(300)).await.expect_err("gives up");
    println!("{error}");
    assert!(matches!(&error, Error::TimedOut { state, .. } if state.contains(&format!("session {}", long.id()))), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
    assert_eq!(guard::read(&mut on_a).await.expect("read").expect("a guard").epoch, 5);
    app.exec("INSERT INTO d.t VALUES (6, 'x', 0)", SOON).await.expect("as before");

    // While it waits, keys that stay are written at once; those that move wait, and are then refused.
    let (mut on_a2, mut app2) = (a.session().await, a.session_as(&application()).await);
    let fencing = tokio::spawn(async move { guard::fence(&mut on_a2, 2, 6, SOON).await });
    eventually("the fence waits", async || lock_waits(&mut on_a).await == 1).await;
    let mover = tokio::spawn(async move { app2.exec("INSERT INTO d.t VALUES (10, 'x', 0)", SOON).await });
    let begun = Instant::now();
    app.exec("INSERT INTO d.t VALUES (4, 'x', 0)", SOON).await.expect("stays");
    assert!(begun.elapsed() < Duration::from_millis(500), "a key that stays waited {:?}", begun.elapsed());
    eventually("the mover waits", async || lock_waits(&mut on_a).await == 2).await;
    long.exec("COMMIT", SOON).await.expect("committed");
    fencing.await.expect("task").expect("fenced");
    assert_eq!(refusal(mover.await.expect("task")).epoch, 6);
    assert_eq!(count(&mut on_a, "id=2").await, 1, "what had passed is there");

    // One who was refused and stays in the transaction doesn't keep the class closed.
    app.exec("BEGIN", SOON).await.expect("begin");
    refusal(app.exec("INSERT INTO d.t VALUES (18, 'x', 0)", SOON).await);
    let begun = Instant::now();
    guard::set_owned(&mut on_a, &guarded.both(), 7).await.expect("given back");
    assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
    let mut next = a.session_as(&application()).await;
    next.exec("INSERT INTO d.t VALUES (18, 'x', 0)", SOON).await.expect("open again");
}

#[tokio::test]
async fn the_applier_fires_no_guard_and_a_standby_stays_closed() {
    let (a, b) = pair().await;
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    let guarded = guard_of(&[table("d.t", TableClass::Sharded)]);
    let before = (a.facts().await.executed, b.facts().await.executed);
    guard::place(&mut on_a, &guarded, &guarded.both(), 5, SOON).await.expect("on A");
    guard::place(&mut on_b, &guarded, &classes(&[]), 5, SOON).await.expect("on B");
    assert_eq!((a.facts().await.executed, b.facts().await.executed), before);
    let closed = b.facts().await;
    assert!(closed.super_read_only && closed.channel.is_some_and(|c| c.applier_running));
    let mut app = a.session_as(&application()).await;
    app.exec("INSERT INTO d.t VALUES (0, 'a', 0), (2, 'a', 0)", SOON).await.expect("acknowledged");
    app.exec("UPDATE d.t SET n=7", SOON).await.expect("acknowledged");
    app.exec("DELETE FROM d.t WHERE id=0", SOON).await.expect("acknowledged");
    let executed = replication::state(&mut on_a, SOON).await.expect("state").executed;
    replication::wait_executed(&mut on_b, &executed, SOON).await.expect("applied");
    assert_eq!(count(&mut on_b, "n=7").await, 1);
    guard::set_owned(&mut on_b, &guarded.childs(), 6).await.expect("on B");
    assert!(b.facts().await.super_read_only);
    guard::remove(&mut on_b).await.expect("removed");
    assert!(b.facts().await.super_read_only);
}

#[tokio::test]
async fn placing_waits_for_open_transactions_and_goes_on_where_it_ended() {
    let (a, mut on_a) = alone().await;
    on_a.exec("CREATE TABLE d.u (id BIGINT UNSIGNED PRIMARY KEY)", SOON).await.expect("a table");
    let guarded = guard_of(&[table("d.t", TableClass::Sharded), table("d.u", TableClass::Sharded)]);
    let mut long = a.session_as(&application()).await;
    long.exec("BEGIN", SOON).await.expect("begin");
    long.exec("INSERT INTO d.u VALUES (1)", SOON).await.expect("a row");
    let error = guard::place(&mut on_a, &guarded, &guarded.both(), 5, Duration::from_millis(500)).await.expect_err("not yet");
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert_eq!(guard::read(&mut on_a).await.expect("read").expect("begun").hash, "");
    let placing = tokio::spawn(async move {
        let (guarded, mut on_a) = (guarded, on_a);
        guard::place(&mut on_a, &guarded, &guarded.both(), 5, Duration::from_secs(20)).await.map(|()| (guarded, on_a))
    });
    long.exec("COMMIT", SOON).await.expect("committed");
    let (guarded, mut on_a) = placing.await.expect("task").expect("placed");
    let triggers = "SELECT count(*), group_concat(trigger_name ORDER BY 1) FROM information_schema.triggers WHERE trigger_schema='d'";
    let placed = on_a.rows(triggers, SOON).await.expect("triggers");
    assert_eq!(placed[0].at(0), Some("6"));
    // Again: nothing. Another guard: its triggers, its classes.
    guard::place(&mut on_a, &guarded, &guarded.both(), 5, SOON).await.expect("again");
    assert_eq!(on_a.rows(triggers, SOON).await.expect("triggers"), placed);
    let finer = Guard::of(&[table("d.t", TableClass::Sharded)], Function::Mod, &Keys::Residue { modulus: 4, residue: 2 }, None).expect("a guard");
    guard::place(&mut on_a, &finer, &finer.both(), 9, SOON).await.expect("another");
    assert_eq!(on_a.rows(triggers, SOON).await.expect("triggers")[0].at(0), Some("3"));
    let state = guard::read(&mut on_a).await.expect("read").expect("a guard");
    assert_eq!((state.owned, state.epoch), (classes(&[2, 6]), 9));
    assert_eq!(on_a.scalar("SELECT @@log_bin_trust_function_creators", SOON).await.expect("value").as_deref(), Some("0"));
    // A column that can't be a key is told.
    let text = guard_of(&[Table { key: Some("v".into()), ..table("d.t", TableClass::Sharded) }]);
    let error = guard::place(&mut on_a, &text, &text.both(), 9, SOON).await.expect_err("a text");
    assert!(error.to_string().contains("d.t"), "{error}");
}

#[tokio::test]
async fn reference_and_local_tables_are_refused_and_allowed() {
    let (a, mut on_a) = alone().await;
    on_a.exec("CREATE TABLE d.country (code CHAR(2) PRIMARY KEY)", SOON).await.expect("a table");
    let guarded = guard_of(&[table("d.t", TableClass::Sharded), table("d.country", TableClass::Reference)]);
    guard::place(&mut on_a, &guarded, &guarded.childs(), 5, SOON).await.expect("placed");
    let mut app = a.session_as(&application()).await;
    app.exec("INSERT INTO d.country VALUES ('de')", SOON).await.expect("not refused yet");
    guard::refuse_unsharded(&mut on_a, &guarded, 5, SOON).await.expect("refused");
    guard::place(&mut on_a, &guarded, &guarded.childs(), 6, SOON).await.expect("placed again");
    for sql in ["INSERT INTO d.country VALUES ('fr')", "UPDATE d.country SET code='xx'", "DELETE FROM d.country"] {
        let refused = refusal(app.exec(sql, SOON).await);
        assert_eq!((refused.kind, refused.kind.code(), refused.epoch, refused.table.as_str()), (Kind::NotYet, NOT_YET, 5, "d.country"), "{sql}");
    }
    assert!(guard::read(&mut on_a).await.expect("read").expect("a guard").unsharded_refused);
    app.exec("INSERT INTO d.t VALUES (2, 'x', 0)", SOON).await.expect("its own key");
    guard::allow_unsharded(&mut on_a, 7).await.expect("allowed");
    app.exec("INSERT INTO d.country VALUES ('fr')", SOON).await.expect("allowed");
    assert!(!guard::read(&mut on_a).await.expect("read").expect("a guard").unsharded_refused);
}

#[tokio::test]
async fn the_application_loses_and_gets_back_its_ddl_also_in_open_sessions_and_while_commits_wait() {
    let (a, b) = pair().await;
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    let databases = ["d".to_owned()];
    let mut app = a.session_as(&application()).await;
    app.exec("USE d", SOON).await.expect("use");
    // A commit waits: an account statement that is logged would now lock everybody out.
    replication::stop_receiver(&mut on_b, SOON).await.expect("fence");
    let mut waiting = a.session_as(&application()).await;
    let writing = tokio::spawn(async move { waiting.exec("INSERT INTO d.t VALUES (1, 'a', 1)", Duration::from_secs(60)).await });
    eventually("a commit waits", async || sessions::commits_waiting(&mut on_a, SOON).await.expect("list") == 1).await;
    guard::revoke_ddl(&mut on_a, "app", &databases).await.expect("revoked");
    a.session_as(&application()).await.close().await;
    replication::start_receiver(&mut on_b, &crate::harness::replicator(), SOON).await.expect("receiver");
    writing.await.expect("task").expect("acknowledged");

    // A session that had chosen its database keeps its rights there: it has to end, when it is idle.
    app.exec("BEGIN", SOON).await.expect("begin");
    app.exec("INSERT INTO t VALUES (3, 'a', 1)", SOON).await.expect("a row");
    let old_sessions = async |s: &mut Session| guard::read(s).await.expect("read").expect("a guard").old_sessions;
    assert_eq!(old_sessions(&mut on_a).await, None, "nobody has looked yet");
    assert_eq!(guard::retire_sessions(&mut on_a, "app", LONG).await.expect("one round"), 1, "it is at work");
    assert_eq!(old_sessions(&mut on_a).await, Some(1));
    app.exec("COMMIT", SOON).await.expect("committed");
    let mut young = a.session_as(&application()).await;
    young.exec("USE d", SOON).await.expect("use");
    eventually("it is seen idle", async || guard::retire_sessions(&mut on_a, "app", LONG).await.expect("one round") == 0).await;
    assert_eq!(old_sessions(&mut on_a).await, Some(0));
    assert!(app.exec("TRUNCATE t", SOON).await.expect_err("ended").is_connection());
    let mut app = young;
    for sql in ["TRUNCATE t", "DROP TABLE t", "ALTER TABLE t ADD x INT", "CREATE TABLE u (id INT)", "CREATE INDEX i ON t (n)", "RENAME TABLE t TO u",
        "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET @x=1"]
    {
        let mut fresh = a.session_as(&application()).await;
        fresh.exec("USE d", SOON).await.expect("use");
        for session in [&mut fresh, &mut app] {
            assert!(matches!(session.exec(sql, SOON).await.expect_err(sql).code(), Some(1142 | 1044 | 1419)), "{sql}");
        }
    }
    app.exec("INSERT INTO t VALUES (2, 'a', 1)", SOON).await.expect("rows are written");
    app.rows("SELECT class, owned, epoch FROM shardpair.guard", SOON).await.expect("a client may look whether a key has moved");
    assert_eq!(app.exec("UPDATE shardpair.guard SET owned=1", SOON).await.expect_err("and no more").code(), Some(1142));
    assert_eq!(app.exec("SELECT hash FROM shardpair.guard_state", SOON).await.expect_err("and no more").code(), Some(1142));
    assert_eq!(on_b.scalar("SELECT drop_priv FROM mysql.db WHERE user='app'", SOON).await.expect("row").as_deref(), Some("Y"), "it was logged");
    let upkeep = accounts::bootstrap_primary(&mut on_a, &databases, &application(), SOON).await.expect("upkeep");
    assert_eq!(upkeep, accounts::Changed::default());
    assert!(guard::remove(&mut on_a).await.is_err(), "the rights would be forgotten");
    guard::revoke_ddl(&mut on_b, "app", &databases).await.expect("on the standby");
    for session in [&mut on_a, &mut on_b] {
        guard::restore_ddl(session, "app", &databases).await.expect("restored");
        guard::remove(session).await.expect("removed");
    }
    assert!(b.facts().await.super_read_only);
    let mut app = a.session_as(&application()).await;
    app.exec("CREATE TABLE d.u (id INT)", SOON).await.expect("as before, in a session that is younger");
    assert_eq!(app.exec("SELECT class FROM shardpair.guard", SOON).await.expect_err("nothing to be seen any more").code(), Some(1142));
    let grants = on_a.rows("SHOW GRANTS FOR 'app'@'%'", SOON).await.expect("grants");
    assert!(grants.iter().all(|grant| !grant.at(0).is_some_and(|grant| grant.contains("guard"))), "{grants:?}");
    let upkeep = accounts::bootstrap_primary(&mut on_a, &databases, &application(), SOON).await.expect("upkeep");
    assert_eq!(upkeep, accounts::Changed::default());
}

#[tokio::test]
async fn once_guarded_no_session_truncates_and_before_the_guard_goes_nobody_from_before_the_flip_is_left() {
    let (a, mut on_a) = alone().await;
    let databases = ["d".to_owned()];
    let guarded = guard_of(&[table("d.t", TableClass::Sharded)]);
    // Two sessions from before: one that is idle, one that never comes to an end.
    let (mut idle, mut busy) = (a.session_as(&application()).await, a.session_as(&application()).await);
    for session in [&mut idle, &mut busy] {
        session.exec("USE d", SOON).await.expect("use");
    }
    guard::place(&mut on_a, &guarded, &guarded.both(), 5, SOON).await.expect("placed");
    guard::revoke_ddl(&mut on_a, "app", &databases).await.expect("revoked");
    idle.exec("TRUNCATE t", SOON).await.expect("what had to be mended: the REVOKE alone stops nobody");
    busy.exec("BEGIN", SOON).await.expect("begin");
    busy.exec("INSERT INTO t VALUES (2, 'held', 0)", SOON).await.expect("a row");
    assert_eq!(guard::retire_sessions(&mut on_a, "app", LONG).await.expect("a round"), 1, "the one at work is left");
    assert!(idle.exec("TRUNCATE t", SOON).await.expect_err("ended").is_connection());
    // Its time is over: what it had begun is rolled back.
    assert_eq!(guard::retire_sessions(&mut on_a, "app", Duration::ZERO).await.expect("a round"), 0);
    assert!(busy.exec("TRUNCATE t", SOON).await.expect_err("ended").is_connection());
    assert_eq!(count(&mut on_a, "id=2").await, 0);
    let mut app = a.session_as(&application()).await;
    app.exec("USE d", SOON).await.expect("use");
    assert_eq!(app.rows("SELECT class FROM shardpair.guard WHERE owned", SOON).await.expect("it may look").len(), 2);
    for sql in ["TRUNCATE t", "DROP TABLE t", "ALTER TABLE t ADD x INT"] {
        assert!(matches!(app.exec(sql, SOON).await.expect_err(sql).code(), Some(1142 | 1044)), "{sql}");
    }

    // The flip; `app` came through what is now the other shard's VIP. Before the guard goes it has to come again.
    guard::fence(&mut on_a, guarded.moves, 6, SOON).await.expect("fenced");
    guard::note_sessions(&mut on_a).await.expect("noted");
    assert_eq!(guard::read(&mut on_a).await.expect("read").expect("a guard").old_sessions, None);
    let mut young = a.session_as(&application()).await;
    eventually("nobody is left", async || guard::retire_sessions(&mut on_a, "app", LONG).await.expect("a round") == 0).await;
    assert!(app.exec("INSERT INTO t VALUES (6, 'stray', 0)", SOON).await.expect_err("ended").is_connection());
    guard::restore_ddl(&mut on_a, "app", &databases).await.expect("restored");
    guard::remove(&mut on_a).await.expect("removed");
    young.exec("INSERT INTO d.t VALUES (4, 'stays', 0)", SOON).await.expect("who came later goes on");
}
