//! From a key to its shard, as the client does it for each call: nanoseconds, one thread.

use std::time::{Duration, Instant};

use shardpair::routing::{Key, Map};

const LASTING: Duration = Duration::from_secs(1);
const SHARDS: u32 = 64;

fn map(strategy: &str, function: &str) -> Map {
    let bounds = |id: u32| {
        let (from, to) = ((id > 0).then(|| format!(r#","from":{}"#, id * 1_000)), (id + 1 < SHARDS).then(|| format!(r#","to":{}"#, (id + 1) * 1_000)));
        from.unwrap_or_default() + &to.unwrap_or_default()
    };
    let keys = |id: u32| if strategy == "Range" { bounds(id) } else { format!(r#","modulus":{SHARDS},"residue":{id}"#) };
    let shards = (0..SHARDS).map(|id| format!(r#"{{"id":{id},"vip":"shop-{id}.default.svc","port":3306{}}}"#, keys(id))).collect::<Vec<_>>().join(",");
    let function = if function.is_empty() { String::new() } else { format!(r#""function":"{function}","#) };
    let text = format!(
        r#"{{"version":1,"cluster":"shop","epoch":1,"strategy":"{strategy}",{function}"tables":[{{"name":"shop.orders","key":"user_id","class":"Sharded"}}],"shards":[{shards}]}}"#
    );
    Map::parse(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn measure(what: &str, map: &Map, key: impl Fn(u64) -> String, integer: bool) {
    let keys: Vec<String> = (0..4_096).map(key).collect();
    let numbers: Vec<i64> = keys.iter().map(|k| k.parse().unwrap_or_default()).collect();
    let (begun, mut routed, mut sum) = (Instant::now(), 0_u64, 0_u64);
    while begun.elapsed() < LASTING {
        for (text, number) in keys.iter().zip(&numbers) {
            let key = if integer { Key::Int(*number) } else { Key::Text(text) };
            sum += u64::from(map.shard_of("shop.orders", &key).expect("a shard").id);
        }
        routed += keys.len() as u64;
    }
    println!("{what:<24} {SHARDS} shards: {:>6.1} ns a key (mean shard {:.1})", begun.elapsed().as_nanos() as f64 / routed as f64, sum as f64 / routed as f64);
}

/// Each strategy.
pub fn run() {
    let spread = |n: u64| n.wrapping_mul(0x9E37_79B9) % (u64::from(SHARDS) * 1_000);
    measure("Hash, Mod, integers", &map("Hash", "Mod"), |n| spread(n).to_string(), true);
    measure("Hash, Crc32, texts", &map("Hash", "Crc32"), |n| format!("user-{}", spread(n)), false);
    measure("Range, integers", &map("Range", ""), |n| spread(n).to_string(), true);
}
