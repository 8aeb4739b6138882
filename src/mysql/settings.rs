//! Changed my.cnf entries on a running server: set at run time where MySQL can; said where it can't.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::Error;
use super::session::{Session, quote};

/// What became of the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Set now.
    pub set: Vec<String>,
    /// Only a restart changes these.
    pub restart_for: Vec<String>,
    /// MySQL doesn't know these, or refuses the value.
    pub refused: Vec<String>,
}

/// An entry was taken out of my.cnf: its default comes back with a restart.
const REMOVED: &str = "(an entry was removed)";
/// "Variable is read only."
const READ_ONLY: u16 = 1238;

/// Sets every entry whose value differs from the server's. If none differs, something was taken away.
pub async fn apply(session: &mut Session, wanted: &BTreeMap<String, String>, deadline: Duration) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    for (name, value) in wanted {
        let variable = name.to_lowercase().replace('-', "_");
        if !variable.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.') {
            outcome.refused.push(name.clone());
            continue;
        }
        let current = match session.scalar(&format!("SELECT @@GLOBAL.{variable}"), deadline).await {
            Ok(current) => current.unwrap_or_default(),
            Err(Error::Server { .. }) => {
                outcome.refused.push(name.clone());
                continue;
            }
            Err(error) => return Err(error),
        };
        if normal(&current) == normal(value) {
            continue;
        }
        match session.exec(&format!("SET GLOBAL {variable} = {}", literal(value)), deadline).await {
            Ok(()) => outcome.set.push(name.clone()),
            Err(error) if error.code() == Some(READ_ONLY) => outcome.restart_for.push(name.clone()),
            Err(Error::Server { .. }) => outcome.refused.push(name.clone()),
            Err(error) => return Err(error),
        }
    }
    if outcome == Outcome::default() {
        outcome.restart_for.push(REMOVED.to_owned());
    }
    Ok(outcome)
}

/// A number with MySQL's suffixes, as an integer.
fn number(value: &str) -> Option<u128> {
    let value = value.trim();
    let (digits, factor) = match value.char_indices().last()? {
        (at, 'k' | 'K') => (&value[..at], 1 << 10),
        (at, 'm' | 'M') => (&value[..at], 1 << 20),
        (at, 'g' | 'G') => (&value[..at], 1 << 30),
        (at, 't' | 'T') => (&value[..at], 1_u128 << 40),
        _ => (value, 1),
    };
    digits.parse::<u128>().ok()?.checked_mul(factor)
}

/// Values that mean the same look the same.
fn normal(value: &str) -> String {
    if let Some(number) = number(value) {
        return number.to_string();
    }
    match value.trim().to_lowercase().as_str() {
        "on" | "true" | "yes" => "1".to_owned(),
        "off" | "false" | "no" => "0".to_owned(),
        other => match other.parse::<f64>() {
            Ok(number) => number.to_string(),
            Err(_) => other.to_owned(),
        },
    }
}

/// As SET takes it.
fn literal(value: &str) -> String {
    match (number(value), value.trim().parse::<f64>()) {
        (Some(number), _) => number.to_string(),
        (None, Ok(_)) => value.trim().to_owned(),
        (None, Err(_)) => quote(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_mean_the_same_look_the_same() {
        assert_eq!(normal("64M"), normal("67108864"));
        assert_eq!(normal("ON"), normal("1"));
        assert_eq!(normal("off"), normal("0"));
        assert_eq!(normal("10.000000"), normal("10.0"));
        assert_eq!(normal("STRICT_ALL_TABLES"), normal("strict_all_tables"));
        assert_ne!(normal("64M"), normal("65M"));
    }

    #[test]
    fn values_are_literals_of_their_kind() {
        assert_eq!(literal("1G"), "1073741824");
        assert_eq!(literal("0.5"), "0.5");
        assert_eq!(literal("it's"), "'it''s'");
    }
}
