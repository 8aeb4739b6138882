//! Worker ids leased from Kubernetes rather than from Redis, as an application of the cluster has them.

use std::collections::BTreeSet;
use std::time::Instant;

use shardpair::client::ids::{IdError, KubernetesStore, Snowflake, SnowflakeOptions, parts};

use crate::support::{eventually, kubectl, secs, with_temp_ns};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_ids_are_leases_of_which_each_has_one_holder_and_a_dead_ones_goes_to_another() {
    with_temp_ns("ids", async |kube, ns| {
        let two = || SnowflakeOptions { workers: 3..=4, ..SnowflakeOptions::new("test") };
        let start = async || Snowflake::start(KubernetesStore::new(kube.clone(), &ns, "orders"), two()).await;
        // All at once, for two worker ids.
        let begun = Instant::now();
        let (started, refused): (Vec<_>, Vec<_>) = futures::future::join_all((0..4).map(|_| start())).await.into_iter().partition(Result::is_ok);
        println!("two leased in {:?}", begun.elapsed());
        assert!(refused.iter().all(|r| matches!(r, Err(IdError::NoneFree(2)))) && refused.len() == 2);
        let mut holders: Vec<_> = started.into_iter().flatten().collect();
        assert_eq!(holders.iter().filter_map(Snowflake::worker).collect::<BTreeSet<_>>(), BTreeSet::from([3, 4]));
        let leases = kubectl(&["-n", &ns, "get", "leases", "-o", "name"]).await;
        assert_eq!(leases.lines().collect::<Vec<_>>(), ["lease.coordination.k8s.io/orders-3", "lease.coordination.k8s.io/orders-4"]);
        let mut ids = BTreeSet::new();
        for holder in &holders {
            ids.extend((0..10_000).map(|_| holder.next().expect("an id")));
        }
        assert_eq!(ids.len(), 20_000);
        // One dies: its worker id is another's when its time is over, and begins after it.
        let dead = holders.remove(0);
        let (worker, last) = (dead.worker().expect("a worker id"), dead.next().expect("an id"));
        drop(dead);
        let begun = Instant::now();
        let heir = eventually("the dead one's worker id", secs(30), async || start().await.map_err(|e| e.to_string())).await;
        println!("a dead one's worker id is another's after {:?}", begun.elapsed());
        let next = heir.next().expect("an id");
        assert_eq!(heir.worker(), Some(worker));
        assert!(parts(next).unix_ms > parts(last).unix_ms && !ids.contains(&next), "{next} after {last}");
    })
    .await;
}
