//! A tail is undone from the member's own binlog: every type comes back as it was, and what can't be undone is refused.

use std::time::Duration;

use shardpair::mysql::gtid::GtidSet;
use shardpair::mysql::rewind::check::{self, Progress, Verdict};
use shardpair::mysql::rewind::{self, Order, Outcome};
use shardpair::mysql::{Session, replication, role};

use crate::harness::{SOON, Server, pair, replicator, sync};

const LONG: Duration = Duration::from_secs(60);

/// Everything that a binlog carries, as it differs in length, charset and sign.
const KINDS: &str = "CREATE TABLE d.kinds (
    a INT NOT NULL, b VARCHAR(40) CHARACTER SET latin1 NOT NULL, PRIMARY KEY (b, a),
    t1 TINYINT, t2 TINYINT UNSIGNED, s1 SMALLINT, s2 SMALLINT UNSIGNED, m1 MEDIUMINT, m2 MEDIUMINT UNSIGNED, i2 INT UNSIGNED,
    g1 BIGINT, g2 BIGINT UNSIGNED, f FLOAT, d DOUBLE, n1 DECIMAL(5,2), n2 DECIMAL(65,30), n3 DECIMAL(18,9), n4 DECIMAL(10,0),
    b1 BIT(1), b2 BIT(17), b3 BIT(64), dt DATE, ti TIME, ti6 TIME(6), dd DATETIME, dd3 DATETIME(3), ts TIMESTAMP NULL, ts5 TIMESTAMP(5) NULL,
    y YEAR, c1 CHAR(10), c2 CHAR(250) CHARACTER SET utf8mb4, c3 CHAR(5) CHARACTER SET utf16, v1 VARCHAR(300), v2 VARCHAR(20) CHARACTER SET utf32,
    bi BINARY(16), vb VARBINARY(300), tb TINYBLOB, bl BLOB, mb MEDIUMBLOB, lb LONGBLOB, tt TINYTEXT CHARACTER SET latin1, tx TEXT, lt LONGTEXT,
    e ENUM('x','y','z'), st SET('p','q','r','s','t','u','v','w','x9'), j JSON, p POINT, ge GEOMETRY,
    gv INT GENERATED ALWAYS AS (a + 1) VIRTUAL, gs VARCHAR(60) GENERATED ALWAYS AS (concat(b, '!')) STORED, hidden INT DEFAULT 7 INVISIBLE,
    KEY (i2), UNIQUE KEY (g2))";

fn row(a: i64, b: &str, n: u64) -> String {
    format!(
        "({a}, {b}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {n}.1, {n}e-7, {}.25, -{n}.000000000000000000000000000001, {n}.123456789, {n}, b'1', {n}, 18446744073709551615,
          '2026-01-0{}', '-838:59:59', '12:34:56.00000{}', '9999-12-31 23:59:59', '2026-02-03 04:05:06.789', '1970-01-01 00:00:01', '2037-12-31 00:00:00.1234{}',
          1901, 'end  ', repeat('ä', {}), 'ўя', repeat('v', {}), 'x😀', X'0011{n:08x}', repeat(X'00ff', {}), X'27005c', repeat('b', {}), repeat('m', 70000), NULL,
          _latin1 X'e4f6fc', 'it''s \\\\ \\n', repeat('l', 300), 'y', 'p,x9', JSON_OBJECT('k', {n}, 't', CAST('2026-01-02' AS DATE), 'd', 1.10), POINT(1, {n}), NULL)",
        n % 128, n % 256, n % 32768, n % 65536, n % 8388608, n % 16777216, n, -(n as i64), u64::MAX - n, n % 1000, n % 9 + 1, n % 10, n % 10, n % 250, n % 300, n % 150, n * 3,
    )
}

const COLUMNS: &str = "a, b, t1, t2, s1, s2, m1, m2, i2, g1, g2, f, d, n1, n2, n3, n4, b1, b2, b3, dt, ti, ti6, dd, dd3, ts, ts5, y, c1, c2, c3, v1, v2, bi, vb,
    tb, bl, mb, lb, tt, tx, lt, e, st, j, p, ge";

fn insert(rows: &[String]) -> String {
    format!("INSERT INTO d.kinds ({COLUMNS}) VALUES {}", rows.join(", "))
}

/// What all tables of `d` hold, as MySQL sums it up.
async fn sums(session: &mut Session) -> Vec<String> {
    let sql = "SELECT concat('d.', table_name) AS t FROM information_schema.tables WHERE table_schema='d' AND table_type='BASE TABLE' ORDER BY 1";
    let tables = session.rows(sql, SOON).await.expect("tables");
    let mut all = Vec::new();
    for table in tables.iter().filter_map(|row| row.at(0)) {
        let sum = session.rows(&format!("CHECKSUM TABLE {table}"), LONG).await.expect("a checksum");
        all.push(format!("{table} {:?}", sum[0].at(1)));
    }
    all
}

/// A pair with `statements` executed in Sync and `lonely` on the old primary only, in a later process of it.
async fn deposed(statements: &[String], lonely: &[String]) -> (Server, Server, Order) {
    let (mut a, b) = pair().await;
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    for statement in statements {
        on_a.exec(statement, LONG).await.expect("executed in Sync");
    }
    sync(&mut on_a, &mut on_b).await;
    replication::stop_receiver(&mut on_b, SOON).await.expect("fence");
    a.power_cut();
    a.run(false);
    let mut on_a = a.session().await;
    let tail = lonely_writes(&a, &b, &mut on_a, lonely).await;
    let keep = a.facts().await.executed.subtract(&tail);
    role::open_primary(&mut on_b, role::OpenAs { ack: false, interleave: None, stop_channel: true }, SOON).await.expect("B is open");
    (a, b, Order { tail, keep, mark: 9 })
}

async fn lonely_writes(a: &Server, b: &Server, on_a: &mut Session, lonely: &[String]) -> GtidSet {
    role::reopen_writes(on_a, SOON).await.expect("open");
    for statement in lonely {
        on_a.exec(statement, LONG).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
    }
    role::become_standby(on_a, SOON).await.expect("closed");
    on_a.exec("SET SESSION autocommit=1", SOON).await.expect("as before");
    a.facts().await.executed.subtract(&b.facts().await.executed)
}

async fn undo(a: &Server, order: &Order) -> Outcome {
    let mut session = a.session().await;
    rewind::undo(&mut session, a.session().await, order, LONG).await.expect("no trouble")
}

/// A comparison, to its end.
async fn compared(on_a: &mut Session, on_b: &mut Session) -> Verdict {
    let mut begun = None;
    for _ in 0..20 {
        match check::compare(on_a, on_b, begun).await.expect("compared") {
            Progress::Done(verdict) => return verdict,
            Progress::Behind(look) => begun = Some(*look),
        }
    }
    panic!("the comparison never ends");
}

/// Follows B, is compared, and holds the same.
async fn rejoins(a: &Server, b: &Server, rows: usize) {
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    replication::attach(&mut on_a, &b.source(), &replicator(), SOON).await.expect("attached");
    sync(&mut on_b, &mut on_a).await;
    assert_eq!(compared(&mut on_a, &mut on_b).await, Verdict::Equal { rows });
    check::finish(&mut on_a).await.expect("finished");
    let facts = a.facts().await;
    assert!(facts.super_read_only && facts.rewound.is_none());
    assert_eq!(facts.executed, b.facts().await.executed);
    assert_eq!(sums(&mut on_a).await, sums(&mut on_b).await);
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

#[tokio::test]
async fn every_type_comes_back_as_it_was() {
    let nulls = "INSERT INTO d.kinds (a, b) VALUES (-5, 'nulls'), (0, '')".to_owned();
    let wide = (0..700).map(|n| format!("c{n} TINYINT")).collect::<Vec<_>>().join(", ");
    let mut first = vec![KINDS.to_owned(), insert(&[row(1, "'one'", 1), row(2, "_latin1 X'e4'", 22), row(3, "'three'", 333)]), nulls];
    first.push(format!("CREATE TABLE d.wide (id BINARY(16) PRIMARY KEY, {wide})"));
    first.push("INSERT INTO d.wide (id, c0, c699) VALUES (X'01', 1, 2), (X'0200', NULL, 3)".to_owned());
    first.push("CREATE TABLE d.auto (id INT AUTO_INCREMENT PRIMARY KEY, v INT, UNIQUE KEY (v))".to_owned());
    first.push("INSERT INTO d.auto (v) VALUES (1), (2), (3)".to_owned());
    first.push("CREATE TABLE d.vectors (id DATETIME(3) PRIMARY KEY, v VECTOR(3))".to_owned());
    first.push("INSERT INTO d.vectors VALUES ('2026-01-01 00:00:00.123', TO_VECTOR('[1,2,3]'))".to_owned());
    first.push("CREATE TABLE d.parts (id BIGINT UNSIGNED, k CHAR(3), v TEXT, PRIMARY KEY (id, k)) PARTITION BY HASH (id) PARTITIONS 4".to_owned());
    first.push("INSERT INTO d.parts VALUES (1, 'a', 'x'), (18446744073709551615, 'b', 'y')".to_owned());
    let mut lonely = strings(&["BEGIN", "UPDATE d.kinds SET a=a+1 ORDER BY a DESC", "UPDATE d.kinds SET lb=repeat('L', 300000), j=JSON_SET(j, '$.k', NULL), bi=NULL, v1=NULL"]);
    lonely.push(insert(&[row(77, "'new'", 7), row(78, "'newer'", 8)]));
    lonely.extend(strings(&[
        "DELETE FROM d.kinds WHERE b='one'", "SAVEPOINT s", "UPDATE d.kinds SET b=concat(b, 'x')", "COMMIT",
        "UPDATE d.kinds SET t1=NULL, s2=5, g1=NULL, f=1.5, d=NULL, n2=NULL, b2=NULL, dd3=NULL, ts=NULL, e='z', st='', p=NULL, ge=POINT(0, 0), hidden=NULL",
        "DELETE FROM d.kinds WHERE a > 2", "DELETE FROM d.wide WHERE c699=2", "UPDATE d.wide SET c0=9, id=X'0300'", "INSERT INTO d.wide (id) VALUES (X'ff00')",
        "BEGIN", "UPDATE d.auto SET v=v+1 ORDER BY v DESC", "DELETE FROM d.auto WHERE v=2", "INSERT INTO d.auto (v) VALUES (1), (2)", "COMMIT",
        "UPDATE d.vectors SET v=TO_VECTOR('[4,5,6]'), id='2026-01-01 00:00:00.124'", "UPDATE d.parts SET id=id-1", "DELETE FROM d.parts WHERE k='a'",
        "REPLACE INTO d.t VALUES (5, 'five', NULL)", "INSERT INTO d.t VALUES (5, 'x', 1) ON DUPLICATE KEY UPDATE v='FIVE'", "FLUSH BINARY LOGS", "DELETE FROM d.t",
        "SET gtid_next='AUTOMATIC:purge'", "INSERT INTO d.t VALUES (8, 'tagged', 8)", "SET gtid_next='AUTOMATIC'",
    ]));
    let (a, b, order) = deposed(&first, &lonely).await;
    let mut on_b = b.session().await;
    let before = sums(&mut on_b).await;
    assert_ne!(sums(&mut a.session().await).await, before);
    let undone = undo(&a, &order).await;
    println!("{} transactions: {undone:?}", order.tail.count());
    let Outcome::Undone { rows, .. } = undone else { panic!("{undone:?}") };
    assert_eq!(sums(&mut a.session().await).await, [before, vec![]].concat());
    let facts = a.facts().await;
    assert_eq!((facts.executed, facts.rewound), (order.keep.clone(), Some(9)));
    assert!(facts.super_read_only);
    // Again, it finds itself done.
    assert_eq!(undo(&a, &order).await, Outcome::Undone { events: 0, rows: 0 });
    on_b.exec("INSERT INTO d.t VALUES (1, 'after', 1)", SOON).await.expect("B is the primary");
    rejoins(&a, &b, rows).await;
}

mod deaths;
mod refusals;

#[tokio::test]
async fn triggers_are_not_fired_and_foreign_keys_are_not_asked() {
    let first = strings(&[
        "SET GLOBAL log_bin_trust_function_creators=ON", "CREATE TABLE d.log (id INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(60))",
        "CREATE TABLE d.parent (id INT PRIMARY KEY, v INT)",
        "CREATE TABLE d.child (id INT PRIMARY KEY, parent INT NOT NULL, FOREIGN KEY (parent) REFERENCES d.parent (id))",
        "CREATE TRIGGER d.tell AFTER INSERT ON d.parent FOR EACH ROW INSERT INTO d.log (what) VALUES (concat('new ', NEW.id))",
        "CREATE TRIGGER d.bar BEFORE DELETE ON d.parent FOR EACH ROW INSERT INTO d.log (what) VALUES (concat('gone ', OLD.id))",
        "INSERT INTO d.parent VALUES (1, 1), (2, 2)", "INSERT INTO d.child VALUES (1, 1)",
    ]);
    let lonely = strings(&[
        "BEGIN", "INSERT INTO d.parent VALUES (3, 3), (4, 4)", "INSERT INTO d.child VALUES (2, 3), (3, 4)", "DELETE FROM d.child WHERE id=1", "DELETE FROM d.parent WHERE id=1", "COMMIT",
        "UPDATE d.child SET parent=2", "DELETE FROM d.parent WHERE id=3",
    ]);
    let (a, b, order) = deposed(&first, &lonely).await;
    let before = sums(&mut b.session().await).await;
    let Outcome::Undone { rows, .. } = undo(&a, &order).await else { panic!("refused") };
    assert_eq!(sums(&mut a.session().await).await, before);
    rejoins(&a, &b, rows).await;
}

#[tokio::test]
async fn a_row_that_differs_is_found_and_one_that_only_changes_is_not() {
    let first = strings(&["INSERT INTO d.t VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3), (9, 'counter', 0)"]);
    let lonely = strings(&["UPDATE d.t SET v='lonely'", "INSERT INTO d.t VALUES (4, 'four', 4)"]);
    let (a, b, order) = deposed(&first, &lonely).await;
    let Outcome::Undone { rows, .. } = undo(&a, &order).await else { panic!("refused") };
    assert_eq!(rows, 5);
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    replication::attach(&mut on_a, &b.source(), &replicator(), SOON).await.expect("attached");
    // A row that changes all the time is the same all the same.
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (mut busy, ended) = (b.session().await, stop.clone());
    let counting = tokio::spawn(async move {
        while !ended.load(std::sync::atomic::Ordering::Relaxed) {
            busy.exec("UPDATE d.t SET n=n+1 WHERE id=9", SOON).await.expect("counted");
        }
    });
    for _ in 0..5 {
        assert_eq!(compared(&mut on_a, &mut on_b).await, Verdict::Equal { rows });
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    counting.await.expect("the counter");
    for wrong in ["UPDATE d.t SET v='Two' WHERE id=2", "DELETE FROM d.t WHERE id=3", "INSERT INTO d.t VALUES (4, 'four', 4)", "UPDATE d.t SET n=NULL WHERE id=2"] {
        on_a.exec("SET SESSION sql_log_bin=0", SOON).await.expect("unlogged");
        on_a.exec("SET GLOBAL super_read_only=OFF", SOON).await.expect("writable");
        on_a.exec(wrong, SOON).await.expect(wrong);
        let verdict = compared(&mut on_a, &mut on_b).await;
        assert!(matches!(verdict, Verdict::Differs { .. }), "{wrong}: {verdict:?}");
    }
    on_a.exec("DROP TABLE shardpair.rewound", SOON).await.expect("dropped");
    assert_eq!(compared(&mut on_a, &mut on_b).await, Verdict::NoJournal);
}

/// Under load the member is always behind; what it has to reach must not run away from it.
#[tokio::test]
async fn a_comparison_goes_on_where_it_was_when_the_member_is_behind() {
    let first = strings(&["INSERT INTO d.t VALUES (1, 'one', 1)"]);
    let (a, b, order) = deposed(&first, &strings(&["UPDATE d.t SET v='lonely'"])).await;
    let Outcome::Undone { rows, .. } = undo(&a, &order).await else { panic!("refused") };
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    replication::attach(&mut on_a, &b.source(), &replicator(), SOON).await.expect("attached");
    replication::stop_applier(&mut on_a, SOON).await.expect("behind");
    on_b.exec("INSERT INTO d.t VALUES (2, 'two', 2)", SOON).await.expect("a row");
    let begun = match check::compare(&mut on_a, &mut on_b, None).await.expect("begun") {
        Progress::Behind(look) => *look,
        done => panic!("{done:?}"),
    };
    // It applies just what was awaited and no more: a transaction that came later stays out of its reach.
    let awaited = b.facts().await.executed;
    on_b.exec("INSERT INTO d.t VALUES (3, 'three', 3)", SOON).await.expect("a later row");
    on_a.exec(&format!("START REPLICA SQL_THREAD UNTIL SQL_AFTER_GTIDS='{awaited:#}'"), SOON).await.expect("applies so far");
    replication::wait_executed(&mut on_a, &awaited, SOON).await.expect("applied");
    let ended = check::compare(&mut on_a, &mut on_b, Some(begun)).await.expect("ended");
    assert!(matches!(ended, Progress::Done(Verdict::Equal { rows: n }) if n == rows), "{ended:?}");
    assert!(!a.facts().await.executed.contains(&b.facts().await.executed));
}
