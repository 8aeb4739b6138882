//! The application's databases and its account, on the primary, logged.
//!
//! An account statement that queues behind a commit which waits for an acknowledgement dead-locks all logins, the
//! acker's too (seen), so everything here is refused while commits wait, gives up on locks soon, and runs only when there
//! is something to change. The account gets all rights on the cluster's databases and on nothing else.

use std::time::Duration;

use super::error::Error;
use super::replication::refuse_waiting;
use super::session::{Credentials, Session, identifier, quote};

/// All database-level privileges, by name: the operator's account holds exactly these WITH GRANT OPTION.
pub const DATABASE_PRIVILEGES: &str = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, \
    CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER";

/// What [`bootstrap_primary`] changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Databases created.
    pub databases: u32,
    /// The account was created.
    pub account: bool,
    /// Its password was changed.
    pub password: bool,
    /// Rights were given or taken.
    pub rights: bool,
}

/// Creates the databases and the account, sets its password and its rights; does nothing that is done already.
pub async fn bootstrap_primary(
    session: &mut Session,
    databases: &[String],
    application: &Credentials,
    deadline: Duration,
) -> Result<Changed, Error> {
    refuse_waiting(session, "setting up databases and accounts", deadline).await?;
    let mut changed = Changed::default();
    for database in databases {
        changed.databases += u32::from(create_database(session, database, deadline).await?);
    }
    let user = quote(&application.user);
    let exists = format!("SELECT count(*) FROM mysql.user WHERE user={user} AND host='%'");
    if session.scalar(&exists, deadline).await?.as_deref() == Some("0") {
        let sql = format!("CREATE USER {user}@'%' IDENTIFIED BY {}", quote(&application.password));
        account_statement(session, "creating the application's account", &sql, deadline).await?;
        changed.account = true;
    } else if !password_is_right(session, application, deadline).await? {
        let sql = format!("ALTER USER {user}@'%' IDENTIFIED BY {}", quote(&application.password));
        account_statement(session, "changing the application's password", &sql, deadline).await?;
        changed.password = true;
    }
    changed.rights = set_rights(session, databases, &application.user, deadline).await?;
    Ok(changed)
}

async fn create_database(session: &mut Session, name: &str, deadline: Duration) -> Result<bool, Error> {
    let sql = format!("SELECT count(*) FROM information_schema.schemata WHERE schema_name={}", quote(name));
    if session.scalar(&sql, deadline).await?.as_deref() != Some("0") {
        return Ok(false);
    }
    session.exec(&format!("CREATE DATABASE IF NOT EXISTS {}", identifier(name)), deadline).await?;
    Ok(true)
}

/// Asks by logging in, because a password can't be read back.
async fn password_is_right(session: &Session, application: &Credentials, deadline: Duration) -> Result<bool, Error> {
    match Session::connect(session.endpoint(), application, deadline).await {
        Ok(login) => {
            login.close().await;
            Ok(true)
        }
        Err(Error::Denied { code: 1045, .. }) => Ok(false),
        // Locked, expired, offline, too many connections: all of them come after the password was accepted.
        Err(Error::Denied { .. } | Error::Server { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

async fn set_rights(session: &mut Session, databases: &[String], user: &str, deadline: Duration) -> Result<bool, Error> {
    // While a split runs some of them are taken on purpose (unlogged, on each member).
    if super::guard::is_revoked(session).await? {
        return Ok(false);
    }
    let account = format!("{}@'%'", quote(user));
    let mut changed = false;
    let grants = session.rows(&format!("SHOW GRANTS FOR {account}"), deadline).await?;
    let grants = grants.iter().filter_map(|row| row.at(0)).collect::<Vec<_>>();
    for database in databases {
        let whole = format!("GRANT ALL PRIVILEGES ON {}.* TO ", identifier(&pattern(database)));
        if !grants.iter().any(|grant| grant.starts_with(&whole)) {
            let sql = format!("GRANT {DATABASE_PRIVILEGES} ON {}.* TO {account}", identifier(&pattern(database)));
            account_statement(session, "granting the application's rights", &sql, deadline).await?;
            changed = true;
        }
    }
    let sql = format!("SELECT db FROM mysql.db WHERE user={} AND host='%'", quote(user));
    let held = session.rows(&sql, deadline).await?;
    for extra in held.iter().filter_map(|row| row.at(0)).filter(|held| !databases.iter().any(|d| pattern(d) == **held)) {
        let sql = format!("REVOKE {DATABASE_PRIVILEGES} ON {}.* FROM {account}", identifier(extra));
        account_statement(session, "taking rights on a former database", &sql, deadline).await?;
        changed = true;
    }
    Ok(changed)
}

/// In GRANT a database is a pattern: `_` and `%` stand for themselves only with a backslash.
pub(super) fn pattern(database: &str) -> String {
    database.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%")
}

/// Looks again right before: a commit may have begun to wait since.
async fn account_statement(session: &mut Session, doing: &str, sql: &str, deadline: Duration) -> Result<(), Error> {
    refuse_waiting(session, doing, deadline).await?;
    session.exec_secret(doing, sql, deadline).await
}
