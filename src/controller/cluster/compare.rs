//! Would applying an object change anything? Pure.
//!
//! What is wanted must be found in what is there; what the API server or others added beside it doesn't count. The hash of
//! what was applied last (an annotation) tells what this can't: a field that is no longer wanted.

use serde_json::Value;

use crate::api::{names, parse};

/// Is everything wanted there, and was it applied as it is now?
pub fn unchanged(live: &Value, wanted: &Value) -> bool {
    let hash = |v: &Value| v["metadata"]["annotations"][names::APPLIED_HASH].as_str().map(str::to_owned);
    hash(live) == hash(wanted) && contains(live, wanted)
}

/// Is everything of `wanted` in `live`? Absent and empty are the same; quantities are compared by value.
pub fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(k, w)| contains(live.get(k).unwrap_or(&Value::Null), w))
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(l, w)| contains(l, w))
        }
        (Value::Null, wanted) => is_empty(wanted),
        (Value::String(live), Value::String(wanted)) => live == wanted || same_quantity(live, wanted),
        (live, wanted) => live == wanted,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn same_quantity(a: &str, b: &str) -> bool {
    milli(a).is_some_and(|a| milli(b) == Some(a))
}

/// In thousandths, since the API server writes `0.5` CPUs as `500m`.
fn milli(text: &str) -> Option<u128> {
    match text.strip_suffix('m') {
        Some(digits) => digits.parse().ok(),
        None => match text.parse::<f64>() {
            Ok(plain) if plain.is_finite() && plain >= 0.0 => Some((plain * 1000.0).round() as u128),
            _ => parse::quantity_bytes(text).map(|n| n * 1000),
        },
    }
}
