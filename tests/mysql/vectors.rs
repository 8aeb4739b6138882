//! The golden vectors of routing, through MySQL: the class expressions of guards and purges mean what Rust means.

use serde_json::Value;
use shardpair::mysql::role::{self, OpenAs};
use shardpair::routing::guard::Rule;
use shardpair::routing::{Function, Guard, KeyKind, Keys};

use crate::harness::{AS_PRIMARY, SOON, Server};

fn guard(rule: Rule) -> Guard {
    let made = Guard::of(&[], Function::Mod, &Keys::Residue { modulus: 1, residue: 0 }, None).expect("a guard");
    Guard { rule, ..made }
}

#[tokio::test]
async fn mysql_passes_the_golden_vectors() {
    let a = Server::start("a").await;
    let mut session = a.session().await;
    role::open_primary(&mut session, OpenAs { ack: false, ..AS_PRIMARY }, SOON).await.expect("open");
    session.exec("CREATE DATABASE d", SOON).await.expect("a database");
    let vectors: Value = serde_json::from_str(include_str!("../../docs/routing-vectors.json")).expect("JSON");
    let of = |name: &str| vectors[name].as_array().cloned().expect("a list").into_iter();
    let mut checked = 0;
    for v in of("residues").chain(of("ranges")) {
        let rule = match v["function"].as_str() {
            Some(_) => Rule::Residue {
                function: serde_json::from_value(v["function"].clone()).expect("a function"),
                modulus: v["modulus"].as_u64().expect("a modulus") as u32,
            },
            None => Rule::Side { from: v["from"].as_i64(), at: v["at"].as_i64().expect("a bound"), to: v["to"].as_i64() },
        };
        let expected = if v["function"].is_string() { v["residue"].as_u64() } else { v["class"].as_u64() };
        let (column, literal) = (v["column"].as_str().expect("a column"), v["sql"].as_str().expect("a literal"));
        for sql in ["DROP TABLE IF EXISTS d.v".to_owned(), format!("CREATE TABLE d.v (k {column} NOT NULL)"), format!("INSERT INTO d.v VALUES ({literal})")] {
            session.exec(&sql, SOON).await.expect(&sql);
        }
        let kind = "SELECT data_type, column_type FROM information_schema.columns WHERE table_schema='d' AND table_name='v'";
        let rows = session.rows(kind, SOON).await.expect("the column");
        let part = |at| rows[0].at(at).unwrap_or_default();
        let kind = KeyKind::of_column(part(0), part(1)).expect("a kind");
        let class = guard(rule).class_sql("`k`", kind).expect("an expression");
        let seen = session.scalar(&format!("SELECT {class} FROM d.v"), SOON).await.expect(&class);
        assert_eq!(seen, expected.map(|n| n.to_string()), "{v}: {class}");
        checked += 1;
    }
    assert!(checked > 80, "only {checked} vectors");
}
