//! A question (table, key) and its answer. No IO.

use serde_json::{Value, json};

use crate::routing::{Function, Key, Map, RouteError, Strategy};

/// Why a question has no answer: a word for programs, a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The word.
    pub reason: &'static str,
    /// The text.
    pub text: String,
}

impl Refusal {
    pub(super) fn new(reason: &'static str, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }

    pub(super) fn json(&self) -> Value {
        json!({"reason": self.reason, "error": self.text})
    }
}

impl From<RouteError> for Refusal {
    fn from(error: RouteError) -> Self {
        let reason = match &error {
            RouteError::UnknownTable(_) => "UnknownTable",
            RouteError::NotSharded(..) => "NotSharded",
            RouteError::NullKey => "NullKey",
            RouteError::WrongType { .. } => "WrongType",
            RouteError::NoRoute(_) => "NoRoute",
            RouteError::RoutesMissing(_) => "RoutesMissing",
            RouteError::NoShard(_) => "NoShard",
        };
        Self::new(reason, error.to_string())
    }
}

/// Where a key of `table` is; without a table: of any sharded one.
pub fn place(map: &Map, table: Option<&str>, key: &Key<'_>) -> Result<Value, Refusal> {
    let shard = match table {
        Some(table) => map.shard_of(table, key)?,
        None => map.shard_of_key(key)?,
    };
    Ok(json!({"shard": shard.id, "vip": shard.vip, "port": shard.port}))
}

/// A key as it stands in a URL. `kind`: int, text or hex; absent: what the map's rule needs.
pub fn with_key<T>(map: &Map, text: &str, kind: Option<&str>, ask: impl FnOnce(&Key<'_>) -> Result<T, Refusal>) -> Result<T, Refusal> {
    // CRC-32 takes an integer's digits, so a text will do there.
    let integers = map.strategy == Strategy::Range || (map.strategy == Strategy::Hash && map.function == Function::Mod);
    match kind.unwrap_or(if integers { "int" } else { "text" }) {
        "int" => match (text.parse::<i64>(), text.parse::<u64>()) {
            (Ok(n), _) => ask(&Key::Int(n)),
            (_, Ok(n)) => ask(&Key::Uint(n)),
            _ => Err(Refusal::new("WrongType", format!("key {text:?} is no integer of 64 bits"))),
        },
        "text" => ask(&Key::Text(text)),
        "hex" => ask(&Key::Bytes(&unhex(text).ok_or_else(|| Refusal::new("WrongType", format!("key {text:?} is not hexadecimal")))?)),
        other => Err(Refusal::new("BadRequest", format!("type {other:?}: int, text or hex"))),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.bytes().map(|b| char::from(b).to_digit(16).map(|d| d as u8)).collect::<Option<Vec<_>>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Most keys in one question.
pub const MANY: usize = 10_000;

/// `{"table": …, "keys": […]}`: an answer for each key, in order; a bad key doesn't spoil the others.
pub fn many(map: &Map, question: &Value) -> Result<Value, Refusal> {
    let bad = |text: &str| Refusal::new("BadRequest", text);
    let keys = question.get("keys").and_then(Value::as_array).ok_or_else(|| bad("write {\"table\": \"database.table\", \"keys\": [1, 2]}"))?;
    if keys.len() > MANY {
        return Err(bad(&format!("{} keys: at most {MANY} at a time", keys.len())));
    }
    let table = match question.get("table") {
        None | Some(Value::Null) => None,
        Some(Value::String(table)) => Some(table.as_str()),
        Some(_) => return Err(bad("table is no text")),
    };
    let one = |key: &Value| Key::from_json(key).map_err(Refusal::from).and_then(|key| place(map, table, &key)).unwrap_or_else(|refusal| refusal.json());
    Ok(json!({"epoch": map.epoch, "routes": keys.iter().map(one).collect::<Vec<_>>()}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_urls() {
        assert_eq!(unhex("00fF"), Some(vec![0, 255]));
        assert_eq!((unhex("0"), unhex("0g"), unhex("")), (None, None, Some(vec![])));
    }
}
