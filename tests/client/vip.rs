//! A VIP: a local port whose connections lead to one server or another, as kube-proxy's do: those that there are stay where
//! they are when it moves; unless it is cut, as a network is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

pub struct Vip {
    pub port: u16,
    to: Arc<AtomicU16>,
    cut: Arc<Notify>,
    task: AbortHandle,
}

impl Vip {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (own, to) = (listener.local_addr().expect("an address").port(), Arc::new(AtomicU16::new(port)));
        let (target, cut) = (to.clone(), Arc::new(Notify::new()));
        let ends = cut.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let port = target.load(Ordering::Relaxed);
                let ends = ends.clone();
                tokio::spawn(async move {
                    tokio::select! { () = carry(client, port) => {}, () = ends.notified() => {} }
                });
            }
        });
        Self { port: own, to, cut, task: task.abort_handle() }
    }

    pub fn move_to(&self, port: u16) {
        self.to.store(port, Ordering::Relaxed);
    }

    /// Leads nowhere until it is moved: connections end, new ones too.
    pub fn cut(&self) {
        self.move_to(0);
        self.cut.notify_waiters();
    }
}

async fn carry(mut client: TcpStream, port: u16) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let _ = client.set_nodelay(true).and(server.set_nodelay(true));
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

impl Drop for Vip {
    fn drop(&mut self) {
        self.task.abort();
    }
}
