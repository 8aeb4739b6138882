//! The examples in other languages pass the golden vectors, and ask the service.

use std::path::{Path, PathBuf};
use std::process::Command;

use mysql_async::prelude::Queryable;
use shardpair::client::{At, Client, ClientOptions, MapSource};
use shardpair::routing::Key;

use crate::harness::{SOON, application};
use crate::segments::alone;
use crate::service::{MapFile, Service, map, uniform};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clients")
}

async fn run(program: &str, arguments: &[&str], directory: PathBuf) -> String {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a task").expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

#[tokio::test]
async fn python() {
    run("python3", &["-m", "unittest", "-q", "test_shardpair"], directory()).await;
    let (file, text) = (MapFile::new("python", &uniform(3, "Mod", 4)), MapFile::new("python-text", &uniform(3, "Crc32", 4)));
    let service = Service::start(&[("default/shop", &file), ("default/texts", &text)]).await;
    for (cluster, key, shard) in [("shop", "-3", 1), ("shop", "18446744073709551615", 3), ("texts", "\u{e9}", 36_158 % 4)] {
        let out = run("python3", &["shardpair.py", &service.url(&format!("default/{cluster}")), "d.t", key], directory()).await;
        assert_eq!(out.trim(), format!("{shard} 127.0.0.1 3306"));
    }
}

#[tokio::test]
async fn go() {
    run("go", &["test", "."], directory().join("go")).await;
    let file = MapFile::new("go", &uniform(3, "Mod", 4));
    let service = Service::start(&[("default/shop", &file)]).await;
    let out = run("go", &["run", ".", &service.url("default/shop"), "d.t", "-3"], directory().join("go")).await;
    assert_eq!(out.trim(), "1 127.0.0.1 3306");
}

#[path = "../../examples/clients/checkout.rs"]
mod checkout;

/// The lines of docs/clients.md (tests/pure/snippets compares them).
async fn as_in_the_document(url: String, user: &str, password: &str, id: u64) -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::new(MapSource::Service(url), ClientOptions::new("checkout-7", user, password)).await?;
    let at = At::Row("shop.orders", Key::Int(42));
    client.idempotent(at, |conn| Box::pin(async move { conn.exec_drop("INSERT IGNORE INTO shop.orders (id, user_id) VALUES (?, 42)", (id,)).await })).await?;
    Ok(())
}

#[tokio::test]
async fn rust() {
    let server = alone().await;
    let mut session = server.session().await;
    session.exec("CREATE DATABASE shop", SOON).await.expect("a database");
    session.exec("CREATE TABLE shop.orders (id BIGINT UNSIGNED PRIMARY KEY, user_id BIGINT NOT NULL)", SOON).await.expect("a table");
    let who = application();
    session.exec(&format!("GRANT ALL ON shop.* TO {}@'%'", who.user), SOON).await.expect("granted");
    let file = MapFile::new("rust", &map(1, "Mod", &[(1, 0)], &[server.port]).replace("d.t", "shop.orders"));
    let service = Service::start(&[("default/shop", &file)]).await;
    as_in_the_document(service.url("default/shop"), &who.user, &who.password, 7).await.expect("written");
    session.exec("ALTER TABLE shop.orders CHANGE COLUMN id n BIGINT UNSIGNED AUTO_INCREMENT", SOON).await.expect("the demo's table");
    for (map, orders) in [(service.url("default/shop"), 2), (file.0.display().to_string(), 3)] {
        assert_eq!(checkout::run(&map, &who.user, &who.password, 42).await.expect("ordered"), orders);
    }
    assert_eq!(session.scalar("SELECT user_id FROM shop.orders WHERE n = 7", SOON).await.expect("a row").as_deref(), Some("42"));
}
