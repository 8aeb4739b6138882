//! The client's map: followed, refused, kept.

use std::time::{Duration, Instant};

use shardpair::client::{MapSource, Router, RouterError};
use shardpair::routing::Key;
use shardpair::routing::map::MapError;

use crate::harness::eventually;
use crate::service::{MapFile, Service, uniform};

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_file_is_followed_and_what_cannot_be_is_refused() {
    let file = MapFile::new("router", &uniform(5, "Mod", 2));
    let router = Router::follow(MapSource::File(file.0.clone()), "test", LIMIT).await.expect("a map");
    assert_eq!(router.map().shard_of("d.t", &Key::Int(3)).expect("a shard").id, 1);
    for (text, wanted) in [(uniform(4, "Mod", 4), MapError::Older { current: 5, got: 4 }), (uniform(6, "Mod", 4).replace("\"version\":1", "\"version\":9"), MapError::Newer(9))] {
        file.write(&text);
        eventually("it is refused", async || router.problem() == Some(RouterError::Refused(wanted.clone()))).await;
        assert_eq!(router.map().epoch, 5);
    }
    file.write(&uniform(7, "Mod", 4));
    let reached = router.reach(7, LIMIT).await.expect("a newer map");
    assert_eq!((reached.epoch, reached.shards.len(), router.problem()), (7, 4, None));
    let behind = router.reach(8, Duration::from_millis(50)).await.expect_err("no such map");
    assert!(matches!(behind, RouterError::Behind { wanted: 8, have: 7, .. }), "{behind}");
}

#[tokio::test]
async fn no_first_map_is_an_error_that_says_why() {
    let missing = Router::follow(MapSource::File("/nonexistent/map.json".into()), "test", Duration::from_millis(300)).await.err().expect("an error");
    assert!(matches!(&missing, RouterError::Source(why) if why.contains("/nonexistent/map.json")), "{missing}");
    let file = MapFile::new("broken", "{}");
    let broken = Router::follow(MapSource::File(file.0.clone()), "test", LIMIT).await.err().expect("an error");
    assert!(matches!(broken, RouterError::Refused(MapError::Malformed(_))), "{broken}");
    let refused = Router::follow(MapSource::Service("http://127.0.0.1:9/v1/clusters/a/b".into()), "test", Duration::from_millis(300)).await.err().expect("an error");
    assert!(matches!(refused, RouterError::Source(_)), "{refused}");
}

#[tokio::test]
async fn the_service_is_followed_at_once_and_survived() {
    let file = MapFile::new("followed", &uniform(5, "Mod", 2));
    let mut service = Service::start(&[("default/shop", &file)]).await;
    let router = Router::follow(MapSource::Service(service.url("default/shop")), "app-1", LIMIT).await.expect("a map");
    eventually("its poll is there", async || service.get("/v1/clusters/default/shop/clients").await.2.contains("\"known\":1")).await;
    let begun = Instant::now();
    file.write(&uniform(6, "Mod", 4));
    router.reach(6, LIMIT).await.expect("a newer map");
    println!("a new map reached the client {:?} after the file changed (the service looks every 200 ms)", begun.elapsed());
    eventually("it says what it uses", async || service.get("/v1/clusters/default/shop/clients?behind=6&wait=1").await.2.contains("\"behind\":[]")).await;
    service.kill();
    eventually("it notices", async || router.problem().is_some()).await;
    assert_eq!(router.map().epoch, 6);
    file.write(&uniform(7, "Mod", 4));
    let _service = Service::start_at(service.port, &[("default/shop", &file)]).await;
    router.reach(7, LIMIT).await.expect("a newer map");
    assert_eq!(router.problem(), None);
}
