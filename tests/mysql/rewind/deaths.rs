//! mysqld and operator die before any statement of a rewind; another one goes on, and nothing is undone twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shardpair::mysql::rewind::{self, Order, Outcome};
use shardpair::mysql::{Endpoint, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{LONG, deposed, lonely_writes, rejoins, strings, sums, undo};
use crate::harness::{SOON, Server, operator};

/// A way to the server that ends, both ways, before a statement that begins with `word` goes through.
async fn cut_before(server: &Server, word: &'static str) -> (Endpoint, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = Endpoint { port: listener.local_addr().expect("an address").port(), ..server.endpoint() };
    let (port, cut) = (server.port, Arc::new(AtomicBool::new(false)));
    let seen = cut.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.expect("the server");
            tokio::spawn(relay(client, server, word, seen.clone()));
        }
    });
    (endpoint, cut)
}

async fn relay(mut client: TcpStream, mut server: TcpStream, word: &'static str, cut: Arc<AtomicBool>) {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(n @ 1..) = read else { return };
                // A packet's header of four bytes, the command, its text.
                if up[..n].get(5..).is_some_and(|text| text.starts_with(word.as_bytes())) {
                    cut.store(true, Ordering::Relaxed);
                }
                if cut.load(Ordering::Relaxed) || server.write_all(&up[..n]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(n @ 1..) = read else { return };
                if client.write_all(&down[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}

const STATEMENTS: &[&str] = &[
    "SET GLOBAL super_read_only=OFF", "DROP TABLE", "CREATE TABLE shardpair.rewound", "BEGIN", "BINLOG", "INSERT INTO shardpair.rewound", "REPLACE INTO shardpair.heartbeat",
    "COMMIT", "SET GLOBAL super_read_only=ON", "RESET BINARY LOGS", "SET GLOBAL gtid_purged",
];

#[tokio::test]
async fn a_death_before_any_statement_undoes_nothing_twice() {
    let first = strings(&["INSERT INTO d.t VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3)"]);
    let lonely = strings(&["UPDATE d.t SET n=n+1", "BEGIN", "DELETE FROM d.t WHERE id=1", "INSERT INTO d.t VALUES (1, 'other', 0), (4, 'four', 4)", "COMMIT", "UPDATE d.t SET id=id+10"]);
    let (mut a, b, mut order) = deposed(&first, &lonely).await;
    let before = sums(&mut b.session().await).await;
    let mut rows = 0;
    for (number, word) in STATEMENTS.iter().enumerate() {
        let (through, cut) = cut_before(&a, word).await;
        let mut session = Session::connect(&through, &operator(), SOON).await.expect("a session");
        let died = rewind::undo(&mut session, a.session().await, &order, LONG).await;
        assert!(died.is_err() && cut.load(Ordering::Relaxed), "{word}: {died:?}");
        a.power_cut();
        a.run(false);
        let executed = a.facts().await.executed;
        let Outcome::Undone { events, .. } = undo(&a, &order).await else { panic!("{word}: refused") };
        let committed = ["SET GLOBAL super_read_only=ON", "RESET BINARY LOGS", "SET GLOBAL gtid_purged"].contains(word);
        println!("died before {word}: {executed:#}; then {events} events undone");
        assert_eq!(events == 0, committed, "{word}");
        assert_eq!(sums(&mut a.session().await).await, before, "{word}");
        assert_eq!(a.facts().await.executed, order.keep, "{word}");
        // Another tail, for the next death.
        if number + 1 < STATEMENTS.len() {
            let mut on_a = a.session().await;
            let tail = lonely_writes(&a, &b, &mut on_a, &lonely).await;
            order = Order { tail, keep: order.keep, mark: order.mark + 1 };
        }
        rows = 8;
    }
    rejoins(&a, &b, rows).await;
}
