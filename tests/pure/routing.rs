//! Routing: golden vectors (also passed by MySQL, in tests/mysql/vectors.rs), maps that are taken and refused, splits.

use proptest::prelude::*;
use serde_json::{Value, json};
use shardpair::routing::guard::{Guard, Rule};
use shardpair::routing::map::MapError;
use shardpair::routing::{Function, Key, Keys, Map, RouteError, Table, TableClass};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../docs/routing-vectors.json")).expect("JSON")
}

fn list(name: &str) -> Vec<Value> {
    let list = vectors()[name].as_array().cloned().unwrap_or_default();
    assert!(!list.is_empty(), "no vectors {name}");
    list
}

/// A vector's key, as a client would give it.
fn with_key<T>(vector: &Value, f: impl FnOnce(Key<'_>) -> T) -> Option<T> {
    let key = &vector["key"];
    if let Some(text) = key["text"].as_str() {
        return Some(f(Key::Text(text)));
    }
    if let Some(hex) = key["hex"].as_str() {
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect::<Vec<_>>();
        return Some(f(Key::Bytes(&bytes)));
    }
    let int = key["int"].as_str()?;
    Some(match int.parse() {
        Ok(int) => f(Key::Int(int)),
        Err(_) => f(Key::Uint(int.parse().expect("64 bits"))),
    })
}

fn function(vector: &Value) -> Function {
    serde_json::from_value(vector["function"].clone()).expect("a function")
}

#[test]
fn rust_passes_the_golden_vectors() {
    for v in list("residues") {
        let modulus = v["modulus"].as_u64().expect("a modulus") as u32;
        let seen = with_key(&v, |key| key.residue(function(&v), modulus)).expect("a key");
        assert_eq!(seen.map(u64::from).ok(), v["residue"].as_u64(), "{v}");
    }
    for v in list("ranges") {
        let (from, to) = (v["from"].as_i64(), v["to"].as_i64());
        let guard = Guard::of(&[], Function::Mod, &Keys::Range { from, to }, v["at"].as_i64()).expect("a guard");
        let seen = with_key(&v, |key| guard.class(&key)).expect("a key").expect("an integer");
        assert_eq!(seen.map(u64::from), v["class"].as_u64(), "{v}");
    }
    for v in list("refused") {
        match with_key(&v, |key| key.residue(function(&v), 4)) {
            Some(seen) => assert!(matches!(seen, Err(RouteError::WrongType { .. })), "{v}"),
            None => assert_eq!(Key::from_json(&v["key"]), Err(RouteError::NullKey)),
        }
    }
}

fn hash_map(epoch: i64, moduli: &[(u32, u32, u32)]) -> Value {
    let shards = moduli.iter().map(|(id, modulus, residue)| json!({"id": id, "modulus": modulus, "residue": residue, "vip": format!("shop-{id}.x.svc"), "port": 3306}));
    json!({"version": 1, "cluster": "shop", "epoch": epoch, "strategy": "Hash", "function": "Mod", "later": {"added": 1},
        "tables": [{"name": "shop.orders", "key": "user_id", "class": "Sharded"}, {"name": "shop.country", "class": "Reference"}],
        "shards": shards.collect::<Vec<_>>()})
}

fn parse(value: &Value) -> Result<Map, MapError> {
    Map::parse(&value.to_string())
}

#[test]
fn a_map_routes_by_table_and_key_and_refuses_the_rest() {
    let map = parse(&hash_map(9, &[(0, 4, 0), (2, 4, 2), (1, 2, 1)])).expect("a map");
    let id = |key: i64| map.shard_of("shop.orders", &Key::Int(key)).map(|s| s.id);
    assert_eq!([id(4), id(6), id(7), id(-2), id(-1)], [Ok(0), Ok(2), Ok(1), Ok(2), Ok(1)]);
    assert_eq!(map.shard_of("shop.x", &Key::Int(1)), Err(RouteError::UnknownTable("shop.x".to_owned())));
    assert_eq!(map.shard_of("shop.country", &Key::Int(1)), Err(RouteError::NotSharded("shop.country".to_owned(), TableClass::Reference)));
    assert!(matches!(map.shard_of("shop.orders", &Key::Text("4")), Err(RouteError::WrongType { .. })));
    let again = Map::parse(&map.json()).expect("what was written is read");
    assert_eq!(again, map);
}

#[test]
fn bad_maps_are_refused_with_the_reason() {
    let mut newer = hash_map(9, &[(0, 1, 0)]);
    newer["version"] = json!(2);
    newer["shards"] = json!("of another form");
    assert_eq!(parse(&newer), Err(MapError::Newer(2)));
    assert!(matches!(Map::parse("{"), Err(MapError::Malformed(_))));
    assert!(matches!(Map::parse("{\"version\": 1}"), Err(MapError::Malformed(_))));
    for shards in [&[][..], &[(0, 2, 0)], &[(0, 2, 0), (1, 4, 0)], &[(0, 2, 0), (0, 2, 1)], &[(0, 2, 2), (1, 2, 1)], &[(0, 0, 0)]] {
        assert!(matches!(parse(&hash_map(9, shards)), Err(MapError::Invalid { epoch: 9, .. })), "{shards:?}");
    }
    let mut keyless = hash_map(9, &[(0, 1, 0)]);
    keyless["tables"][0]["key"] = Value::Null;
    assert!(matches!(parse(&keyless), Err(MapError::Invalid { .. })));
}

#[test]
fn a_map_is_replaced_by_a_newer_epoch_only() {
    let map = |epoch, moduli: &[(u32, u32, u32)]| parse(&hash_map(epoch, moduli)).expect("a map");
    let now = map(9, &[(0, 2, 0), (1, 2, 1)]);
    assert_eq!(now.replaces(&map(10, &[(0, 1, 0)])), Ok(true));
    assert_eq!(now.replaces(&now), Ok(false));
    assert_eq!(now.replaces(&map(8, &[(0, 2, 0), (1, 2, 1)])), Err(MapError::Older { current: 9, got: 8 }));
    assert_eq!(now.replaces(&map(9, &[(0, 1, 0)])), Err(MapError::Contradicts(9)));
    let other = Map { cluster: "other".to_owned(), epoch: 10, ..now.clone() };
    assert!(matches!(now.replaces(&other), Err(MapError::OtherCluster { .. })));
}

#[test]
fn a_table_of_routes_is_never_rewritten_by_a_split() {
    let line = |id: u32| json!({"id": id, "vip": "v", "port": 3306});
    let value = json!({"version": 1, "cluster": "shop", "epoch": 1, "strategy": "Table", "table": {"configMap": "shop-routes"},
        "routes": {"default": 1, "entries": {"acme": 0, "wayne": 0, "42": 0, "lost": 7}}, "tables": [], "shards": [line(0), line(1)]});
    let map = parse(&value).expect("a map");
    let id = |map: &Map, key: Key<'_>| map.shard_of_key(&key).map(|s| s.id);
    assert_eq!([id(&map, Key::Text("acme")), id(&map, Key::Int(42)), id(&map, Key::Text("else"))], [Ok(0), Ok(0), Ok(1)]);
    assert!(matches!(id(&map, Key::Text("lost")), Err(RouteError::NoShard(_))));
    let split = map.split(0, 2, "w", None).expect("a split");
    let placed = ["acme", "wayne", "42", "else"].map(|key| id(&split, Key::Text(key)));
    // crc32("acme") and crc32("wayne") are odd, crc32("42") is even, by Python's zlib.
    assert_eq!(placed, [Ok(0), Ok(2), Ok(0), Ok(1)]);
    let read = Map::parse(&split.json()).expect("written and read");
    assert_eq!(read, split);
    let unloaded = Map { routes: None, ..map };
    assert_eq!(id(&unloaded, Key::Int(1)), Err(RouteError::RoutesMissing("ConfigMap shop-routes".to_owned())));
}

#[test]
fn guards_differ_by_what_they_guard_and_hash_rules_double() {
    let table = |name: &str| Table { name: name.to_owned(), key: Some("k".to_owned()), class: TableClass::Sharded };
    let keys = Keys::Route { route: 3, modulus: 2, residue: 1 };
    let one = Guard::of(&[table("a.t")], Function::Mod, &keys, None).expect("a guard");
    assert_eq!(one.rule, Rule::Residue { function: Function::Crc32, modulus: 4 });
    assert_eq!((one.both(), one.parents(), one.childs()), ([1, 3].into(), [1].into(), [3].into()));
    let two = Guard::of(&[table("a.t"), table("a.u")], Function::Mod, &keys, None).expect("a guard");
    assert_ne!(one.hash(), two.hash());
    let swapped = Guard::of(&[table("a.u"), table("a.t")], Function::Mod, &keys, None).expect("a guard");
    assert_eq!(two.hash(), swapped.hash(), "the order in the spec doesn't matter");
}

proptest! {
    /// Whoever owned a key, exactly one of the halves owns it, and the guard's class says which.
    #[test]
    fn a_split_moves_a_key_to_the_child_or_leaves_it(keys in prop::collection::vec(any::<i64>(), 1..40), text in any::<bool>(), splits in prop::collection::vec(0..4_u32, 1..5)) {
        let function = if text { Function::Crc32 } else { Function::Mod };
        let mut value = hash_map(1, &[(0, 3, 0), (1, 3, 1), (2, 3, 2)]);
        value["function"] = json!(function);
        let mut map = parse(&value).expect("a map");
        for (n, parent) in splits.into_iter().enumerate() {
            let (parent, child) = (parent.min(2), 10 + n as u32);
            let whole = map.shards.iter().find(|s| s.id == parent).expect("the parent").keys;
            let guard = Guard::of(&[], function, &whole, None).expect("a guard");
            let next = map.split(parent, child, "v", None).expect("a split");
            prop_assert_eq!(Map::parse(&next.json()).expect("valid"), next.clone());
            for key in &keys {
                let key = Key::Int(*key);
                let (before, after) = (map.shard_of_key(&key).expect("a shard").id, next.shard_of_key(&key).expect("a shard").id);
                let expected = match guard.class(&key).expect("a class") {
                    None => before,
                    Some(class) if class == guard.stays => parent,
                    Some(_) => child,
                };
                prop_assert_eq!(after, expected);
                prop_assert!(after == before || before == parent);
            }
            map = next;
        }
    }
}
