//! The preflight's facts, read from a real dictionary; the median of a key; a table of routes.

use shardpair::expansion::preflight::{ShardSeen, Wanted, check};
use shardpair::mysql::{Session, guard, role, schema};
use shardpair::routing::{Function, Guard, Key, Keys, Table, TableClass};

use crate::harness::{AS_PRIMARY, SOON, Server};
use shardpair::mysql::role::OpenAs;

async fn open(statements: &[&str]) -> (Server, Session) {
    let a = Server::start("a").await;
    let mut on_a = a.session().await;
    role::open_primary(&mut on_a, OpenAs { ack: false, ..AS_PRIMARY }, SOON).await.expect("open");
    for sql in statements {
        on_a.exec(sql, SOON).await.expect(sql);
    }
    (a, on_a)
}

#[tokio::test]
async fn every_bad_table_of_a_real_server_is_found() {
    let (a, on_a) = open(&[
        "CREATE DATABASE shop", "CREATE DATABASE other",
        "CREATE TABLE shop.good (id BIGINT AUTO_INCREMENT PRIMARY KEY, user_id BIGINT UNSIGNED NOT NULL, KEY (user_id))",
        "CREATE TABLE shop.`no-pk` (user_id BIGINT NOT NULL)",
        "CREATE TABLE shop.nullable (id INT PRIMARY KEY, user_id INT)",
        "CREATE TABLE shop.made (user_id INT AUTO_INCREMENT PRIMARY KEY)",
        "CREATE TABLE shop.computed (id INT PRIMARY KEY, user_id INT AS (id + 1) STORED NOT NULL)",
        "CREATE TABLE shop.defaulted (id INT PRIMARY KEY, user_id INT NOT NULL DEFAULT (1 + 1))",
        "CREATE TABLE shop.texts (id INT PRIMARY KEY, user_id VARCHAR(20) NOT NULL)",
        "CREATE TABLE shop.crossing (id INT PRIMARY KEY, user_id INT NOT NULL, good BIGINT, CONSTRAINT leads FOREIGN KEY (good) REFERENCES shop.good (id) ON DELETE CASCADE)",
        "CREATE TABLE shop.unlisted (id INT PRIMARY KEY)",
        "CREATE TABLE other.not_ours (id INT)",
        "CREATE VIEW shop.seen AS SELECT * FROM shop.good",
        "CREATE EVENT shop.nightly ON SCHEDULE EVERY 1 DAY DO DELETE FROM shop.good",
        "SET GLOBAL log_bin_trust_function_creators=1",
        "CREATE TRIGGER shop.audit AFTER INSERT ON shop.texts FOR EACH ROW SET @x=1",
        "XA START 'x'", "INSERT INTO other.not_ours VALUES (1)", "XA END 'x'", "XA PREPARE 'x'",
    ])
    .await;
    // The guard's own triggers are no finding.
    let of = |name: &str| Table { name: format!("shop.{name}"), key: Some("user_id".into()), class: TableClass::Sharded };
    let keys = Keys::Residue { modulus: 1, residue: 0 };
    let guarded = Guard::of(&[of("good")], Function::Mod, &keys, None).expect("a guard");
    on_a.close().await;
    let mut on_a = a.session().await;
    guard::place(&mut on_a, &guarded, &guarded.both(), 1, SOON).await.expect("placed");
    let seen = schema::read(&mut on_a, &["shop".to_owned()], SOON).await.expect("read");
    assert!(seen.data_bytes > 1 << 20 && seen.version.starts_with(|c: char| c.is_ascii_digit()), "{seen:?}");
    let tables = ["good", "no-pk", "nullable", "made", "computed", "defaulted", "texts", "crossing", "gone"].map(of).to_vec();
    let wanted = Wanted { tables, interleave: true, volume_bytes: 1 << 40, ..Wanted::default() };
    let shard = ShardSeen { pair: "shop-0".into(), schema: seen, ..ShardSeen::default() };
    let found = check(&wanted, &[shard]);
    let told = found.iter().map(|f| format!("{:?} {} {}", f.severity, f.reason, f.object)).collect::<Vec<_>>();
    let expected = [
        "Refused ForeignKeyCrosses shop.crossing (leads)", "Refused KeyMadeByServer shop.computed", "Refused KeyMadeByServer shop.made",
        "Refused KeyNullable shop.nullable", "Refused KeyType shop.texts", "Refused NoPrimaryKey shop.no-pk", "Refused TableMissing shop.gone",
        "Refused TableUnlisted shop.unlisted", "Refused Trigger shop.texts", "Refused XaPrepared shop-0", "Warning Event shop.nightly",
        "Warning UniqueWithoutKey shop.computed", "Warning UniqueWithoutKey shop.crossing", "Warning UniqueWithoutKey shop.defaulted",
        "Warning UniqueWithoutKey shop.nullable", "Warning UniqueWithoutKey shop.texts",
    ];
    assert_eq!(told, expected, "{found:#?}");
    on_a.exec("XA ROLLBACK 'x'", SOON).await.expect("rolled back");
}

#[tokio::test]
async fn a_cascade_goes_around_a_guard_and_a_default_does_not() {
    let (_a, mut on_a) = open(&[
        "CREATE DATABASE d",
        "CREATE TABLE d.p (id INT PRIMARY KEY)",
        "CREATE TABLE d.c (id INT PRIMARY KEY, k INT NOT NULL DEFAULT (2 + 0), p INT, FOREIGN KEY (p) REFERENCES d.p (id) ON DELETE CASCADE)",
        "CREATE USER app IDENTIFIED BY 'app-password'", "GRANT SELECT, INSERT, UPDATE, DELETE ON d.* TO app",
    ])
    .await;
    let table = Table { name: "d.c".into(), key: Some("k".into()), class: TableClass::Sharded };
    let guarded = Guard::of(&[table], Function::Mod, &Keys::Residue { modulus: 2, residue: 0 }, None).expect("a guard");
    on_a.exec("INSERT INTO d.p VALUES (1)", SOON).await.expect("a row");
    on_a.exec("INSERT INTO d.c VALUES (1, 2, 1)", SOON).await.expect("a row");
    guard::place(&mut on_a, &guarded, &guarded.parents(), 1, SOON).await.expect("placed");
    let mut app = _a.session_as(&crate::harness::application()).await;
    assert!(app.exec("INSERT INTO d.c (id) VALUES (2)", SOON).await.expect_err("its default has moved").code() == Some(31_001));
    assert!(app.exec("DELETE FROM d.c", SOON).await.is_err());
    // Why the preflight refuses it.
    app.exec("DELETE FROM d.p", SOON).await.expect("no guard there");
    assert_eq!(on_a.scalar("SELECT count(*) FROM d.c", SOON).await.expect("count").as_deref(), Some("0"));
}

#[tokio::test]
async fn the_median_halves_the_rows_and_routes_are_read() {
    let (_a, mut on_a) = open(&[
        "CREATE DATABASE d", "CREATE TABLE d.n (n INT PRIMARY KEY)", "SET SESSION cte_max_recursion_depth=100000",
        "INSERT INTO d.n WITH RECURSIVE s AS (SELECT 0 AS n UNION ALL SELECT n+1 FROM s WHERE n < 19999) SELECT n FROM s",
        "CREATE TABLE d.t (id INT PRIMARY KEY, k BIGINT NOT NULL, x BIGINT NOT NULL, KEY (k))",
        // Half of the rows have keys below 1000, the other half are far away.
        "INSERT INTO d.t SELECT n, IF(n % 2, n % 1000, 1000000000 + n), -n FROM d.n", "ANALYZE TABLE d.t",
        "CREATE TABLE d.routes (shard_key VARCHAR(50) PRIMARY KEY, route INT NOT NULL)", "INSERT INTO d.routes VALUES ('acme', 1), ('', 0)",
        "CREATE TABLE d.empty (k INT NOT NULL)",
    ])
    .await;
    let median = schema::median(&mut on_a, "d.t", "k", None, None, SOON).await.expect("read").expect("rows");
    let below: i64 = on_a.scalar(&format!("SELECT count(*) FROM d.t WHERE k < {median}"), SOON).await.expect("count").and_then(|n| n.parse().ok()).expect("a number");
    println!("median {median}: {below} of 20000 below");
    assert!((9_900..=10_000).contains(&below), "{median}: {below}");
    assert_eq!(schema::median(&mut on_a, "d.t", "x", Some(-19_999), Some(0), SOON).await.expect("counted"), Some(-10_000));
    assert_eq!(schema::median(&mut on_a, "d.empty", "k", None, None, SOON).await.expect("read"), None);
    let routes = schema::routes(&mut on_a, "d.routes", SOON).await.expect("routes");
    assert_eq!((routes.route(&Key::Text("acme")), routes.route(&Key::Int(7))), (Ok(1), Ok(0)));
}
