//! The routing service's answers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::eventually;
use crate::service::{MapFile, Service, map, uniform};

const CLUSTER: &str = "/v1/clusters/default/shop";

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn etag(head: &str) -> String {
    head.lines().find_map(|l| l.strip_prefix("etag: ")).expect("an ETag").to_owned()
}

#[tokio::test]
async fn the_map_has_an_etag_and_a_long_poll_ends_when_it_changes() {
    let file = MapFile::new("etag", &uniform(5, "Mod", 2));
    let service = Service::start(&[("default/shop", &file)]).await;
    let (status, head, body) = service.get(&format!("{CLUSTER}/map")).await;
    assert_eq!((status, value(&body)), (200, value(&uniform(5, "Mod", 2))));
    let tag = etag(&head);
    let same = service.ask("GET", &format!("{CLUSTER}/map"), &[("if-none-match", &tag)], "").await.expect("an answer");
    assert_eq!((same.0, same.2.as_str(), etag(&same.1)), (304, "", tag.clone()));
    let begun = Instant::now();
    let (headers, path) = ([("if-none-match", tag.as_str()), ("shardpair-client", "me"), ("shardpair-epoch", "5")], format!("{CLUSTER}/map?wait=30"));
    let (changed, ()) = tokio::join!(service.ask("GET", &path, &headers, ""), async {
        eventually("the poll is there", async || value(&service.get(&format!("{CLUSTER}/clients")).await.2)["known"] == 1).await;
        file.write(&uniform(6, "Mod", 4));
    });
    let changed = changed.expect("an answer");
    assert_eq!((changed.0, &value(&changed.2)["epoch"]), (200, &json!(6)));
    assert!(begun.elapsed() < Duration::from_secs(10));
    // The client that still uses 5 is behind, until it says otherwise.
    let (_, _, behind) = service.get(&format!("{CLUSTER}/clients")).await;
    assert_eq!(value(&behind)["behind"][0]["id"], "me");
    let plain = format!("{CLUSTER}/map");
    let waiting = format!("{CLUSTER}/clients?behind=6&wait=20");
    let (done, _) = tokio::join!(service.get(&waiting), service.ask("GET", &plain, &[("shardpair-client", "me"), ("shardpair-epoch", "6")], ""));
    assert_eq!(value(&done.2)["behind"], json!([]));
}

#[tokio::test]
async fn keys_are_routed_by_the_golden_vectors() {
    let vectors: Value = value(include_str!("../../docs/routing-vectors.json"));
    let vectors = vectors["residues"].as_array().expect("vectors").iter().filter(|v| v["modulus"].as_u64().expect("a modulus") <= 512).collect::<Vec<_>>();
    let mut rules = vectors.iter().map(|v| (v["function"].as_str().expect("a function"), v["modulus"].as_u64().expect("a modulus") as u32)).collect::<Vec<_>>();
    rules.sort();
    rules.dedup();
    let names = rules.iter().map(|(f, m)| format!("vectors/{}-{m}", f.to_ascii_lowercase())).collect::<Vec<_>>();
    let files = rules.iter().zip(&names).map(|((f, m), name)| MapFile::new(&name.replace('/', "-"), &uniform(1, f, *m))).collect::<Vec<_>>();
    let service = Service::start(&names.iter().map(String::as_str).zip(&files).collect::<Vec<_>>()).await;
    for vector in &vectors {
        let name = format!("vectors/{}-{}", vector["function"].as_str().expect("text").to_ascii_lowercase(), vector["modulus"]);
        let (kind, key) = vector["key"].as_object().expect("a key").iter().next().expect("one");
        let key = form_urlencoded::byte_serialize(key.as_str().expect("a text").as_bytes()).collect::<String>();
        let (status, _, body) = service.get(&format!("/v1/clusters/{name}/route?table=d.t&type={kind}&key={key}")).await;
        assert_eq!((status, &value(&body)["shard"]), (200, &vector["residue"]), "{vector}: {body}");
    }
    assert!(vectors.len() > 20, "{}", vectors.len());
    println!("{} vectors", vectors.len());
}

#[tokio::test]
async fn what_has_no_shard_is_refused_with_its_reason() {
    let (integers, texts) = (MapFile::new("refuse-int", &uniform(5, "Mod", 2)), MapFile::new("refuse-text", &uniform(5, "Crc32", 2)));
    let service = Service::start(&[("default/shop", &integers), ("default/texts", &texts)]).await;
    for (path, status, reason) in [
        ("shop/route?table=d.t&key=abc", 400, "WrongType"),
        ("shop/route?table=d.t&key=1.5", 400, "WrongType"),
        ("shop/route?table=d.t&key=99999999999999999999", 400, "WrongType"),
        ("shop/route?table=d.t&key=3&type=text", 400, "WrongType"),
        ("shop/route?table=d.t", 400, "NullKey"),
        ("shop/route?table=d.nothing&key=1", 404, "UnknownTable"),
        ("shop/route?table=d.all&key=1", 400, "NotSharded"),
        ("shop/route?table=d.t&key=1&type=float", 400, "BadRequest"),
        ("texts/route?table=d.t&key=0g&type=hex", 400, "WrongType"),
        ("none/route?table=d.t&key=1", 404, "UnknownCluster"),
        ("none/map", 404, "UnknownCluster"),
        ("shop/map?wait=long", 400, "BadRequest"),
    ] {
        let (got, _, body) = service.get(&format!("/v1/clusters/default/{path}")).await;
        assert_eq!((got, value(&body)["reason"].as_str()), (status, Some(reason)), "{path}: {body}");
    }
    let (status, _, body) = service.ask("POST", &format!("{CLUSTER}/route"), &[], r#"{"table":"d.t","keys":[-3,18446744073709551615,"x",null,1.5,true]}"#).await.expect("an answer");
    let routes = &value(&body)["routes"];
    assert_eq!((status, &routes[0]["shard"], &routes[1]["shard"]), (200, &json!(1), &json!(1)), "{body}");
    assert_eq!([2, 3, 4, 5].map(|i| routes[i]["reason"].as_str().expect("a reason").to_owned()), ["WrongType", "NullKey", "WrongType", "WrongType"]);
    let many = format!(r#"{{"keys":[{}1]}}"#, "1,".repeat(10_000));
    for bad in ["{", "[]", r#"{"keys":3}"#, r#"{"table":1,"keys":[]}"#, &many] {
        let (status, _, body) = service.ask("POST", &format!("{CLUSTER}/route"), &[], bad).await.expect("an answer");
        assert_eq!((status, value(&body)["reason"].as_str()), (400, Some("BadRequest")), "{body}");
    }
}

#[tokio::test]
async fn a_map_that_cannot_be_leaves_the_last_good_one_in_use() {
    let file = MapFile::new("bad", &uniform(5, "Mod", 2));
    let service = Service::start(&[("default/shop", &file)]).await;
    let refused = async |why: &str| {
        let (_, _, body) = service.get("/v1/clusters").await;
        let cluster = value(&body)["clusters"][0].clone();
        assert_eq!(cluster["epoch"], 5);
        cluster["refused"].as_str().is_some_and(|text| text.contains(why))
    };
    let overlap = map(6, "Mod", &[(2, 0), (2, 0)], &[]);
    for (text, why) in [(uniform(4, "Mod", 2), "older"), ("{".to_owned(), "can't be read"), (uniform(6, "Mod", 2).replace("\"version\":1", "\"version\":2"), "upgrade"), (overlap, "overlap"), (uniform(5, "Mod", 4), "two different maps")] {
        file.write(&text);
        eventually(why, async || refused(why).await).await;
        assert_eq!(value(&service.get(&format!("{CLUSTER}/route?table=d.t&key=3")).await.2)["shard"], 1);
    }
    let (_, _, metrics) = service.get("/metrics").await;
    assert!(metrics.contains("shardpair_route_maps_refused_total 5") && metrics.contains("shardpair_route_epoch{namespace=\"default\",cluster=\"shop\"} 5"), "{metrics}");
    std::fs::remove_file(&file.0).expect("removed");
    eventually("the source's silence shows", async || service.get("/metrics").await.2.contains("shardpair_route_source_errors_total")).await;
    assert_eq!(service.get(&format!("{CLUSTER}/map")).await.0, 200);
}

#[tokio::test]
async fn the_openapi_document_names_what_there_is() {
    let file = MapFile::new("openapi", &uniform(5, "Mod", 2));
    let service = Service::start(&[("default/shop", &file)]).await;
    let document = value(&service.get("/v1/openapi.json").await.2);
    assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.")));
    let paths = document["paths"].as_object().expect("paths");
    for (path, item) in paths {
        let path = path.replace("{namespace}", "default").replace("{name}", "shop");
        for (method, operation) in item.as_object().expect("methods") {
            let body = if method == "post" { r#"{"keys":[1]}"# } else { "" };
            let query = if path.ends_with("/route") { "?key=1" } else { "" };
            let (status, head, _) = service.ask(&method.to_ascii_uppercase(), &format!("{path}{query}"), &[], body).await.expect("an answer");
            assert_eq!(status, 200, "{method} {path}");
            assert!(operation["responses"].get("200").is_some() && head.contains("content-type"), "{method} {path}");
        }
    }
    assert_eq!(service.get("/v1/nothing").await.0, 404);
    assert_eq!(paths.len(), 8);
}
