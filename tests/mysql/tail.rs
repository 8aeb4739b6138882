//! What an old primary has beyond the new one is saved as a text.

use std::time::Duration;

use shardpair::mysql::gtid::GtidSet;
use shardpair::mysql::{Error, replication, role, sessions, tail};

use crate::harness::{SOON, application, eventually, pair};

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_tail_of_rows_and_ddl_is_saved_and_nothing_else() {
    let (mut a, b) = pair().await;
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    let mut app = a.session_as(&application()).await;
    app.exec("INSERT INTO d.t VALUES (1, 'old', 1), (2, 'gone', NULL), (9, 'acked', 9)", SOON).await.expect("acknowledged");
    on_a.exec("CREATE TABLE d.kinds (id INT PRIMARY KEY, j JSON, b BLOB, e ENUM('x','y'), u BIGINT UNSIGNED, c DECIMAL(8,2), at DATETIME)", SOON).await.expect("DDL");
    let executed = replication::state(&mut on_a, SOON).await.expect("state").executed;
    replication::wait_executed(&mut on_b, &executed, SOON).await.expect("applied");
    replication::stop_receiver(&mut on_b, SOON).await.expect("fence");

    for statement in ["BEGIN", "INSERT INTO d.t VALUES (3, 'it''s new', 3)", "UPDATE d.t SET v='young' WHERE id=1", "DELETE FROM d.t WHERE id=2",
        "INSERT INTO d.kinds VALUES (1, '{\"a\": [1, null]}', x'ff00', 'y', 18446744073709551615, 12.50, '2026-01-02 03:04:05')"]
    {
        app.exec(statement, SOON).await.expect(statement);
    }
    let writing = tokio::spawn(async move { app.exec("COMMIT", LONG).await });
    eventually("the commit waits", async || sessions::commits_waiting(&mut on_a, SOON).await.expect("list") == 1).await;
    a.power_cut();
    assert!(writing.await.expect("task").is_err());
    a.run(false);
    let mut on_a = a.session().await;
    // DDL, in a transaction of its own, with a tag; and one more file.
    role::reopen_writes(&mut on_a, SOON).await.expect("open");
    on_a.exec("SET gtid_next='AUTOMATIC:purge'", SOON).await.expect("a tag");
    on_a.exec("ALTER TABLE d.t ADD COLUMN extra INT", SOON).await.expect("DDL");
    on_a.exec("FLUSH BINARY LOGS", SOON).await.expect("another file");

    let tail = a.facts().await.executed.subtract(&b.facts().await.executed);
    assert_eq!(tail.count(), 2, "{tail}");
    let saved = tail::save(a.session().await, &tail, 1 << 20, LONG).await.expect("saved");
    println!("{}", saved.text);
    assert_eq!((saved.found, saved.missing, saved.rows, saved.statements), (tail.clone(), GtidSet::default(), 4, 1));
    for line in [
        "INSERT d.t\n    after:  id=3, v='it''s new', n=3",
        "UPDATE d.t\n    before: id=1, v='old', n=1\n    after:  id=1, v='young', n=1",
        "DELETE d.t\n    before: id=2, v='gone', n=NULL",
        "ALTER TABLE d.t ADD COLUMN extra INT;",
        "b=0xff00", "u=18446744073709551615", "c='12.50'", "2026-01-02 03:04:05", r#"{"a":[1,null]}"#, ":purge:1",
    ] {
        assert!(saved.text.contains(line), "not there: {line}");
    }
    assert!(!saved.text.contains("acked"), "an acknowledged row is in it");
    let too_large = tail::save(a.session().await, &tail, 500, LONG).await.expect_err("bounded");
    assert!(matches!(too_large, Error::TooLarge { limit: 500, .. }), "{too_large}");
    // A tail whose binlog is gone is told to be missing.
    let gone = GtidSet::parse("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-2").expect("a set");
    let saved = tail::save(a.session().await, &gone, 1 << 20, LONG).await.expect("saved");
    assert_eq!((saved.missing, saved.rows), (gone, 0));
}
