//! The writer's end: one address, or all members tried in turn, in MySQL's protocol or PostgreSQL's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde::Deserialize;

use super::postgres::{self, Answer, Connection};
use super::writer::{Outcome, Service, TABLE, Target, judge};

/// What a stack says about where its clients write (`endpoints`).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    pub protocol: Protocol,
    /// Tried in turn until one takes a write.
    pub addresses: Vec<SocketAddr>,
    /// Every server that holds the data, for the comparison at the end.
    pub members: Vec<SocketAddr>,
    pub user: String,
    #[serde(default)]
    pub password: String,
    pub database: String,
}

/// Spoken by the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Mysql,
    Postgres,
}

/// An open connection.
pub enum Open {
    Mysql(Box<Conn>),
    Postgres(Connection),
}

impl Service for Endpoints {
    type Conn = Open;

    async fn open(&self, turn: usize, deadline: Duration) -> Result<Open, String> {
        self.connect(self.addresses[turn % self.addresses.len()], deadline).await
    }

    async fn write(conn: &mut Open, sql: &str) -> Outcome {
        match conn {
            Open::Mysql(conn) => judge(conn.query_drop(sql).await),
            Open::Postgres(conn) => postgres::judge(conn.query(sql).await),
        }
    }
}

impl Endpoints {
    /// A connection to one of them.
    pub async fn connect(&self, to: SocketAddr, deadline: Duration) -> Result<Open, String> {
        match self.protocol {
            Protocol::Mysql => {
                let (user, password, database) = (self.user.clone(), self.password.clone(), self.database.clone());
                let target = Target { host: to.ip(), port: to.port(), user, password, database };
                target.connect(deadline).await.map(|conn| Open::Mysql(Box::new(conn)))
            }
            Protocol::Postgres => match tokio::time::timeout(deadline, Connection::open(to, &self.user, &self.database)).await {
                Ok(opened) => opened.map(Open::Postgres),
                Err(_) => Err(format!("no connection within {deadline:?}")),
            },
        }
    }

    /// Makes the writer's table, at whoever takes it.
    pub async fn make_table(&self) -> Result<(), String> {
        let sql = match self.protocol {
            Protocol::Mysql => TABLE,
            Protocol::Postgres => "CREATE TABLE IF NOT EXISTS writes (n BIGSERIAL PRIMARY KEY, run BIGINT NOT NULL, id BIGINT NOT NULL); \
                                   CREATE INDEX IF NOT EXISTS writes_id ON writes (run, id)",
        };
        let mut last = String::new();
        for turn in 0..60 * self.addresses.len() {
            match self.open(turn, Duration::from_secs(1)).await {
                Ok(mut conn) => match tokio::time::timeout(Duration::from_secs(10), Self::write(&mut conn, sql)).await {
                    Ok(Outcome::Acked) => return Ok(()),
                    Ok(Outcome::Refused(why) | Outcome::InDoubt(why)) => last = why,
                    Err(_) => "no answer".clone_into(&mut last),
                },
                Err(why) => last = why,
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Err(format!("no table: {last}"))
    }

    /// How often each id of a run is there, where the clients' writes go now.
    pub async fn front(&self, run: u64) -> Result<BTreeMap<u64, u64>, String> {
        let mut last = String::new();
        for turn in 0..20 * self.addresses.len() {
            match self.open(turn, Duration::from_secs(1)).await {
                // Nothing to delete, but refused by one that takes no writes.
                Ok(mut conn) => match tokio::time::timeout(Duration::from_secs(2), Self::write(&mut conn, "DELETE FROM writes WHERE run = 0")).await {
                    Ok(Outcome::Acked) => return Self::read(conn, run).await,
                    Ok(Outcome::Refused(why) | Outcome::InDoubt(why)) => last = why,
                    Err(_) => "no answer".clone_into(&mut last),
                },
                Err(why) => last = why,
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Err(format!("nobody takes writes: {last}"))
    }

    /// How often each id of a run is there, in one server.
    pub async fn rows(&self, of: SocketAddr, run: u64) -> Result<BTreeMap<u64, u64>, String> {
        Self::read(self.connect(of, Duration::from_secs(5)).await?, run).await
    }

    async fn read(conn: Open, run: u64) -> Result<BTreeMap<u64, u64>, String> {
        let sql = format!("SELECT id, COUNT(*) FROM writes WHERE run = {run} GROUP BY id");
        match conn {
            Open::Mysql(mut conn) => {
                let rows: Vec<(u64, u64)> = conn.query(sql).await.map_err(|e| e.to_string())?;
                Ok(rows.into_iter().collect())
            }
            Open::Postgres(mut conn) => match conn.query(&sql).await? {
                Answer::Rows(rows) => rows.iter().map(|row| pair(row)).collect(),
                Answer::No(state, why) => Err(format!("{state} {why}")),
            },
        }
    }
}

fn pair(row: &[String]) -> Result<(u64, u64), String> {
    match row {
        [id, times] => Ok((id.parse().map_err(|_| "no number")?, times.parse().map_err(|_| "no number")?)),
        _ => Err("not two columns".to_owned()),
    }
}
