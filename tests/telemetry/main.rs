//! Spans of passes arrive at a collector (a tiny OTLP receiver of this test's own), those of pairs at rest don't.
//!
//! Needs the feature: `cargo test --features otel --test telemetry`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use shardpair::controller::spans;
use shardpair::telemetry;
use tracing::Instrument;
use tracing_subscriber::EnvFilter;

/// Head and body of one request; answered with an empty response.
fn answer(mut stream: TcpStream) -> (String, Vec<u8>) {
    let (mut all, mut part) = (Vec::new(), [0; 65_536]);
    loop {
        let read = stream.read(&mut part).expect("a request");
        all.extend_from_slice(&part[..read]);
        let Some(at) = all.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&all[..at]).to_lowercase();
        let length: usize = head.split_once("content-length:").and_then(|(_, l)| l.lines().next()?.trim().parse().ok()).unwrap_or(0);
        if all.len() >= at + 4 + length {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n").expect("answered");
            return (head, all[at + 4..].to_vec());
        }
    }
}

fn collector() -> (u16, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = send.send(answer(stream));
        }
    });
    (port, receive)
}

/// A pass as a runner makes it.
async fn pass(pair: &'static str, reason: &str, steps: &[&'static str], news: bool) {
    let work = async {
        spans::part("observe").in_scope(|| ());
        spans::part("decide").in_scope(|| ());
        spans::decided(7, reason, "", steps, (!news).then_some(reason));
        let act = async {
            for step in steps {
                tokio::task::yield_now().instrument(spans::step(step, 7)).await;
            }
        };
        act.instrument(spans::part("act")).await;
        spans::part("report").in_scope(|| ());
    };
    work.instrument(spans::pass("pair", "default", pair)).await;
}

/// Protobuf as it is written: (field's number, bytes or number). No library: with one as a dev-dependency, all that the operator is
/// built of would be built twice.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>, u64)> {
    let varint = |bytes: &mut &[u8]| {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = bytes.split_first().expect("a number");
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        value
    };
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let long = match key & 7 {
            0 => {
                all.push((key >> 3, Vec::new(), varint(&mut bytes)));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (value, rest) = bytes.split_at(long);
        all.push((key >> 3, value.to_vec(), 0));
        bytes = rest;
    }
    all
}

/// All messages in a field.
fn within(bytes: &[u8], number: u64) -> Vec<Vec<u8>> {
    fields(bytes).into_iter().filter(|f| f.0 == number).map(|f| f.1).collect()
}

/// Name, ids and attributes of a span, by opentelemetry-proto's trace.proto.
struct Span {
    name: String,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    attributes: BTreeMap<String, String>,
}

fn attributes(bytes: &[u8], number: u64) -> BTreeMap<String, String> {
    let of = |pair: &Vec<u8>| {
        let key = String::from_utf8(within(pair, 1)[0].clone()).expect("text");
        let value = fields(&within(pair, 2)[0]).remove(0);
        (key, if value.0 == 1 { String::from_utf8(value.1).expect("text") } else { value.2.to_string() })
    };
    within(bytes, number).iter().map(of).collect()
}

fn span(bytes: &[u8]) -> Span {
    let one = |number| within(bytes, number).into_iter().next().unwrap_or_default();
    Span { name: String::from_utf8(one(5)).expect("text"), trace: one(1), id: one(2), parent: one(4), attributes: attributes(bytes, 9) }
}

#[test]
fn what_happened_arrives_with_pair_epoch_and_reason_and_rest_does_not() {
    let (port, received) = collector();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let endpoint = format!("http://127.0.0.1:{port}");
    let sending = telemetry::start_to(runtime.handle().clone(), &endpoint, EnvFilter::new("info"), true).expect("it sends");
    runtime.block_on(async {
        for _ in 0..50 {
            pass("shop-1", "InSync", &[], false).await;
        }
        pass("shop-0", "ProcessGone", &["WriteRecord", "PointVip"], true).await;
    });
    drop(sending);
    let (head, body) = received.recv_timeout(Duration::from_secs(10)).expect("spans");
    assert!(head.starts_with("post /v1/traces ") && head.contains("application/x-protobuf"), "{head}");
    let resource = &within(&body, 1)[0];
    assert_eq!(attributes(&within(resource, 1)[0], 1)["service.name"], "shardpair");
    let spans: Vec<Span> = within(resource, 2).iter().flat_map(|scope| within(scope, 2)).map(|s| span(&s)).collect();
    let names: Vec<&str> = spans.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["observe", "decide", "WriteRecord", "PointVip", "act", "report", "pair"], "one pass, the whole of it last");
    let whole = spans.last().expect("a pass");
    let said = ["name", "namespace", "epoch", "reason", "steps", "told"].map(|key| whole.attributes[key].as_str());
    assert_eq!(said, ["shop-0", "default", "7", "ProcessGone", "WriteRecord,PointVip", "1"]);
    let of = |name: &str| spans.iter().find(|s| s.name == name).expect("a span");
    assert!(whole.trace.len() == 16 && whole.parent.is_empty() && spans.iter().all(|s| s.trace == whole.trace));
    assert_eq!((&of("PointVip").parent, &of("act").parent), (&of("act").id, &whole.id));
    assert_eq!(of("PointVip").attributes["epoch"], "7");
    assert!(received.recv_timeout(Duration::from_millis(100)).is_err(), "nothing of a pair at rest");
}
