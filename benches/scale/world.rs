//! All members, their replication, and their listeners. One lock: what is done under it takes microseconds.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use shardpair::api::names;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;

use super::member::{Member, Session, unite};
use super::sql;
use super::wire::{self, Answer, Said};

/// Everything behind the lock.
#[derive(Default)]
pub struct Inside {
    /// All members.
    pub members: Vec<Member>,
    /// Of a name.
    pub by_name: HashMap<String, usize>,
    /// Of the cluster IP of its own Service.
    pub by_service: HashMap<String, usize>,
}

/// See the module.
#[derive(Default)]
pub struct World {
    inside: Mutex<Inside>,
    /// Something changed that a commit may wait for.
    pub changed: Notify,
    /// Statements answered.
    pub asked: AtomicU64,
    /// Connections that are open.
    pub open: AtomicU64,
    sessions: AtomicU32,
}

impl Inside {
    /// The living source of a member's channel whose receiver runs.
    pub fn source(&self, of: usize) -> Option<usize> {
        let channel = self.members[of].channel.as_ref().filter(|c| c.receiver)?;
        let source = *self.by_service.get(&channel.host)?;
        self.members[source].alive.then_some(source)
    }

    /// Who receives from it now.
    pub fn replicas(&self, source: usize) -> Vec<usize> {
        let name = |at: &usize| self.members[*at].alive && self.source(*at) == Some(source);
        // The two members of a pair stand beside each other; nobody else replicates from either.
        [source, source ^ 1].into_iter().filter(|at| *at < self.members.len()).filter(name).collect()
    }

    /// Semi-sync replicas that are connected to it.
    pub fn ackers(&self, source: usize) -> usize {
        self.replicas(source).into_iter().filter(|at| self.members[*at].channel.as_ref().is_some_and(|c| c.acker)).count()
    }

    /// Everything that the source has comes over.
    pub fn replicate(&mut self, source: usize) {
        for replica in self.replicas(source) {
            if !self.members[replica].channel.as_ref().is_some_and(|c| c.applier) {
                continue;
            }
            let from = &self.members[source];
            let (executed, heartbeat, databases, grants) = (from.executed.clone(), from.heartbeat.clone(), from.databases.clone(), from.grants.clone());
            let to = &mut self.members[replica];
            // A reverse channel brings nothing that the primary doesn't have.
            if executed.iter().all(|(uuid, last)| to.executed.get(uuid).is_some_and(|known| known >= last)) {
                continue;
            }
            unite(&mut to.executed, &executed);
            (to.heartbeat, to.databases, to.grants) = (heartbeat, databases, grants);
        }
    }

    /// One transaction of its own.
    pub fn commit(&mut self, at: usize) {
        let member = &mut self.members[at];
        *member.executed.entry(member.uuid.clone()).or_insert(0) += 1;
        self.replicate(at);
    }
}

impl World {
    /// A look at it, or a change.
    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("never poisoned")
    }

    /// A member of that name, made if need be. A pair's two members must be made one after the other.
    pub fn member(&self, name: &str) -> usize {
        let mut inside = self.inside();
        if let Some(known) = inside.by_name.get(name) {
            return *known;
        }
        let number = inside.members.len();
        inside.members.push(Member::new(number));
        inside.by_name.insert(name.to_owned(), number);
        number
    }

    /// Starts the member's process, listening there; once.
    pub fn boot(self: &Arc<Self>, at: usize, ip: IpAddr) -> std::io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(ip, names::ADMIN_PORT as u16))?;
        let listener = socket.listen(64)?;
        let end = {
            let mut inside = self.inside();
            inside.members[at].boot(ip);
            // Those who waited for it connect again.
            inside.replicate(at);
            inside.members[at].process_end.clone()
        };
        self.changed.notify_waiters();
        let world = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = accept(world, at, listener) => {}
            }
        });
        Ok(())
    }

    /// `kill -9`: connections are reset, the port refuses, replicas see it at once.
    pub fn kill(&self, at: usize) {
        let mut inside = self.inside();
        let replicas = inside.replicas(at);
        inside.members[at].die();
        for replica in replicas {
            if let Some(channel) = &mut inside.members[replica].channel {
                channel.silent_since = Instant::now();
            }
        }
        drop(inside);
        self.changed.notify_waiters();
    }

    /// Writes as the open primary does: waits for the acknowledgement, if it must. `write` is made with the commit.
    pub async fn write(&self, at: usize, write: impl Fn(&mut Member)) -> Answer {
        let mut waits: Option<Waits> = None;
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            {
                let mut inside = self.inside();
                let acks = inside.ackers(at);
                let member = &mut inside.members[at];
                if member.is("super_read_only") {
                    return Answer::Error(1290, "The MySQL server is running with the --super-read-only option".to_owned());
                }
                let wanted = member.variable("rpl_semi_sync_source_wait_for_replica_count").parse().unwrap_or(1);
                if !member.is("rpl_semi_sync_source_enabled") || acks >= wanted {
                    write(member);
                    inside.commit(at);
                    return Answer::Ok;
                }
                if waits.is_none() {
                    member.waiting += 1;
                    waits = Some(Waits { world: self, at, process: member.process.clone() });
                }
            }
            changed.await;
        }
    }
}

/// A commit that waits, however it ends.
struct Waits<'a> {
    world: &'a World,
    at: usize,
    process: String,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let member = &mut self.world.inside().members[self.at];
        if member.process == self.process {
            member.waiting = member.waiting.saturating_sub(1);
        }
    }
}

async fn accept(world: Arc<World>, at: usize, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(world.clone(), at, stream));
    }
}

async fn serve(world: Arc<World>, at: usize, mut stream: TcpStream) {
    let id = world.sessions.fetch_add(1, Ordering::Relaxed) + 1;
    let (own, process) = {
        let inside = world.inside();
        let process = inside.members[at].process_end.clone();
        (process.child_token(), process)
    };
    world.open.fetch_add(1, Ordering::Relaxed);
    tokio::select! {
        () = own.cancelled() => {}
        _ = converse(&world, at, id, &own, &mut stream) => {}
    }
    world.open.fetch_sub(1, Ordering::Relaxed);
    // The sessions of a process that died went with it.
    if !process.is_cancelled() {
        world.inside().members[at].sessions.remove(&id);
    }
}

async fn converse(world: &World, at: usize, id: u32, own: &tokio_util::sync::CancellationToken, stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let user = wire::login(stream, id).await?;
    world.inside().members[at].sessions.insert(id, Session { user, end: own.clone() });
    loop {
        let answer = match wire::listen(stream).await? {
            Said::Quit => return Ok(()),
            Said::Ping => Answer::Ok,
            Said::Query(sql) if sql.starts_with("DO SLEEP") => {
                tokio::time::sleep(Duration::from_secs(86_400)).await;
                Answer::Ok
            }
            Said::Query(sql) => {
                world.asked.fetch_add(1, Ordering::Relaxed);
                sql::answer(world, at, id, &sql).await
            }
        };
        wire::answer(stream, &answer).await?;
    }
}
