//! One connection to one member: every command has a deadline, every answer is typed.
//!
//! A command without an answer in time closes the connection at once, because the server may still carry it out; the
//! session is then unusable and its `id` is what has to be ended there (invariant 7). Plain TCP: the password goes
//! over it encrypted with the server's RSA key (caching_sha2_password); see `docs/` for what that does not cover.

use std::fmt;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, IoError, Opts, OptsBuilder, Value};

use super::error::Error;
use crate::api::names;

/// Where a member's mysqld listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The member's name, for errors.
    pub member: String,
    /// IP or host name.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Endpoint {
    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// An account and its password; prints without it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Account name.
    pub user: String,
    /// Password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).field("password", &"…").finish()
    }
}

/// One row of an answer: column names and texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row(Vec<(String, Option<String>)>);

impl Row {
    /// The column of that name (any case); None: NULL or no such column.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(column, _)| column.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_deref())
    }

    /// The column at a place; None: NULL or no such column.
    pub fn at(&self, place: usize) -> Option<&str> {
        self.0.get(place).and_then(|(_, value)| value.as_deref())
    }
}

/// A connection, or what is left of it.
pub struct Session {
    endpoint: Endpoint,
    conn: Option<Conn>,
    id: u32,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} at {}, id {})", self.endpoint.member, self.endpoint.address(), self.id)
    }
}

/// What every session begins with, whatever the server's defaults: UTC, our quoting rules, and no wait for a lock without end.
const BEGINNING: &str = "SET SESSION time_zone='+00:00', sql_mode='STRICT_TRANS_TABLES', lock_wait_timeout=2, \
    innodb_lock_wait_timeout=2, transaction_isolation='READ-COMMITTED', autocommit=1, wait_timeout=86400";

/// ER_SPECIFIC_ACCESS_DENIED_ERROR: here, no SERVICE_CONNECTION_ADMIN.
const NO_PRIVILEGE: u16 = 1227;

impl Session {
    /// Opens a connection within `timeout`; on the port for everybody if the account may not use the administrative interface
    /// (a volume that was initialised before there was one).
    pub async fn connect(endpoint: &Endpoint, credentials: &Credentials, timeout: Duration) -> Result<Self, Error> {
        match Self::connect_once(endpoint, credentials, timeout).await {
            Err(Error::Server { code: NO_PRIVILEGE, .. }) if i32::from(endpoint.port) == names::ADMIN_PORT => {
                Self::connect_once(&Endpoint { port: names::PORT as u16, ..endpoint.clone() }, credentials, timeout).await
            }
            tried => tried,
        }
    }

    async fn connect_once(endpoint: &Endpoint, credentials: &Credentials, timeout: Duration) -> Result<Self, Error> {
        let connecting = Conn::new(options(endpoint, credentials));
        let conn = match tokio::time::timeout(timeout, connecting).await {
            Ok(Ok(conn)) => conn,
            Ok(Err(error)) => return Err(connect_error(endpoint, credentials, error)),
            Err(_) => {
                let (member, doing) = (endpoint.member.clone(), "connecting".to_owned());
                return Err(Error::NoAnswer { member, doing, deadline: timeout, session: 0 });
            }
        };
        Ok(Self { endpoint: endpoint.clone(), id: conn.id(), conn: Some(conn) })
    }

    /// The server's number of this session.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Where it leads.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The member's name.
    pub fn member(&self) -> &str {
        &self.endpoint.member
    }

    /// False after the connection broke or a command got no answer in time.
    pub fn is_usable(&self) -> bool {
        self.conn.is_some()
    }

    /// Runs one statement, which must not contain a secret: its beginning is told in errors.
    pub async fn exec(&mut self, sql: &str, deadline: Duration) -> Result<(), Error> {
        self.run(&shorten(sql), sql, deadline).await.map(drop)
    }

    /// Runs one statement that contains a secret: errors tell `doing` instead of it.
    pub async fn exec_secret(&mut self, doing: &str, sql: &str, deadline: Duration) -> Result<(), Error> {
        self.run(doing, sql, deadline).await.map(drop).map_err(|error| match error {
            // A syntax error quotes the statement.
            Error::Server { member, doing, code: 1064, .. } => {
                Error::Server { member, doing, code: 1064, message: "(text withheld: it may quote a password)".to_owned() }
            }
            other => other,
        })
    }

    /// All rows of one statement (of its first result).
    pub async fn rows(&mut self, sql: &str, deadline: Duration) -> Result<Vec<Row>, Error> {
        self.run(&shorten(sql), sql, deadline).await
    }

    /// The first column of the first row; None: no row, or NULL.
    pub async fn scalar(&mut self, sql: &str, deadline: Duration) -> Result<Option<String>, Error> {
        let rows = self.rows(sql, deadline).await?;
        Ok(rows.first().and_then(|row| row.at(0)).map(str::to_owned))
    }

    /// The one place that speaks: text protocol, deadline, typed errors.
    async fn run(&mut self, doing: &str, sql: &str, deadline: Duration) -> Result<Vec<Row>, Error> {
        // Taken out: a future that is dropped in the middle leaves the session closed, not half used.
        let Some(mut conn) = self.conn.take() else {
            return Err(self.broken(doing, "the session was closed before"));
        };
        match tokio::time::timeout(deadline, conn.query::<mysql_async::Row, _>(sql)).await {
            Ok(Ok(rows)) => {
                self.conn = Some(conn);
                Ok(rows.into_iter().map(convert).collect())
            }
            Ok(Err(mysql_async::Error::Server(error))) => {
                // 1317 is KILL QUERY; 1927 and 3169/4031 announce that the server closes this session.
                if !matches!(error.code, 1053 | 1927 | 3168 | 3169 | 4031) {
                    self.conn = Some(conn);
                }
                let (member, doing) = (self.endpoint.member.clone(), doing.to_owned());
                Err(Error::Server { member, doing, code: error.code, message: error.message })
            }
            Ok(Err(error)) => Err(self.broken(doing, &describe(&error))),
            Err(_) => {
                let (member, doing) = (self.endpoint.member.clone(), doing.to_owned());
                Err(Error::NoAnswer { member, doing, deadline, session: self.id })
            }
        }
    }

    fn broken(&self, doing: &str, cause: &str) -> Error {
        Error::Broken { member: self.endpoint.member.clone(), doing: doing.to_owned(), cause: cause.to_owned() }
    }

    /// For the binlog stream, which needs the bare connection.
    pub(super) fn into_conn(mut self) -> Option<Conn> {
        self.conn.take()
    }

    /// Says goodbye, so that the server has ended the session; bounded. Dropping closes as well, without a word.
    pub async fn close(mut self) {
        if let Some(conn) = self.conn.take() {
            let _ = tokio::time::timeout(Duration::from_millis(200), conn.disconnect()).await;
        }
    }
}

/// Resolves only when the connection breaks, with the reason: a dead process is seen at once, by the end of its
/// connection, and not by the next probe. A KILL QUERY only starts it again.
pub async fn watch(mut session: Session) -> Error {
    loop {
        let slept = session.run("watching the process", "DO SLEEP(86400)", Duration::from_secs(90_000)).await;
        match slept {
            Err(error) if !session.is_usable() => return error,
            // Bounds the loop's speed, should the server refuse the statement each time.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            Ok(_) => {}
        }
    }
}

fn options(endpoint: &Endpoint, credentials: &Credentials) -> Opts {
    OptsBuilder::default()
        .ip_or_hostname(&endpoint.host)
        .tcp_port(endpoint.port)
        .user(Some(&credentials.user))
        .pass(Some(&credentials.password))
        .prefer_socket(false)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(2)))
        .stmt_cache_size(0)
        // Known, so that connecting doesn't ask for them.
        .max_allowed_packet(Some(64 << 20))
        .wait_timeout(Some(86_400))
        .init(vec![BEGINNING])
        .into()
}

fn connect_error(endpoint: &Endpoint, credentials: &Credentials, error: mysql_async::Error) -> Error {
    let (member, address) = (endpoint.member.clone(), endpoint.address());
    match error {
        // Wrong password, host or account; locked; password expired; unknown authentication.
        mysql_async::Error::Server(e) if matches!(e.code, 1044 | 1045 | 1130 | 1251 | 1698 | 1820 | 1862 | 3118 | 3955) => {
            Error::Denied { member, user: credentials.user.clone(), code: e.code, message: e.message }
        }
        mysql_async::Error::Server(e) => Error::Server { member, doing: "connecting".to_owned(), code: e.code, message: e.message },
        mysql_async::Error::Io(IoError::Io(e)) => {
            use std::io::ErrorKind as K;
            match e.kind() {
                K::ConnectionRefused => Error::Refused { member, address },
                K::UnexpectedEof | K::ConnectionReset | K::BrokenPipe | K::ConnectionAborted => {
                    Error::Broken { member, doing: "connecting".to_owned(), cause: e.to_string() }
                }
                _ => Error::Unreachable { member, address, cause: e.to_string() },
            }
        }
        other => Error::Malformed { member, doing: "connecting".to_owned(), why: describe(&other) },
    }
}

/// The driver's words, without payloads.
fn describe(error: &mysql_async::Error) -> String {
    match error {
        mysql_async::Error::Driver(DriverError::UnexpectedPacket { .. }) => "unexpected packet".to_owned(),
        mysql_async::Error::Driver(DriverError::FromRow { .. } | DriverError::FromValue { .. }) => "unreadable row".to_owned(),
        other => other.to_string(),
    }
}

fn convert(row: mysql_async::Row) -> Row {
    let columns = row.columns_ref().iter().map(|c| c.name_str().into_owned()).collect::<Vec<_>>();
    let text = |value| match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true)),
    };
    Row(columns.into_iter().zip(row.unwrap().into_iter().map(text)).collect())
}

/// The beginning of a statement, for errors.
fn shorten(sql: &str) -> String {
    let words = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &words[..at]),
        None => words,
    }
}

/// A text as an SQL literal, under the `sql_mode` that every session begins with.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\0' => quoted.push_str("\\0"),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// A name as an SQL identifier.
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
