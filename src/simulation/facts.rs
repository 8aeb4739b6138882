//! What a server says of itself, in the operator's own form (`mysql::facts` in small).

use super::script::name;
use super::server::{Receiver, Server};
use super::set::{Log, uuid};
use crate::pair::facts::{Channel, Facts, ReceiverState, SourceSide};

/// What the world knows beside the server itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Around {
    /// Semi-sync clients that are connected to it.
    pub clients: u32,
    /// Milliseconds since its receiver heard anything.
    pub silent_ms: u64,
    /// Its receiver tries and is told why not.
    pub receiver_error: bool,
    /// Milliseconds that its applier is behind.
    pub lag_ms: u64,
}

/// The address that others replicate from.
pub fn address(member: u8) -> String {
    format!("svc-{}", name(member))
}

/// The name of the process.
pub fn process(member: u8, server: &Server) -> String {
    format!("k{}-{}.{}", server.kernel, name(member), server.process)
}

/// One answer.
pub fn facts(member: u8, server: &Server, around: &Around, log: &Log) -> Facts {
    let channel = server.source.map(|source| Channel {
        receiver: match server.receiver {
            Receiver::Off => ReceiverState::Off,
            Receiver::Connecting => ReceiverState::Connecting,
            Receiver::On => ReceiverState::On,
        },
        source_host: address(source),
        source_uuid: server.met.map(uuid).unwrap_or_default(),
        received: log.gtids(server.received),
        silent_ms: server.met.map(|_| around.silent_ms),
        receiver_error: if around.receiver_error { "2003: Can't connect".to_owned() } else { String::new() },
        applier_running: server.applier && !server.applier_error,
        applier_error: if server.applier_error { "1062: Duplicate entry".to_owned() } else { String::new() },
    });
    Facts {
        server_uuid: uuid(server.volume),
        version: "9.7.4".to_owned(),
        process: process(member, server),
        super_read_only: server.super_read_only(),
        offline_mode: server.offline,
        executed: log.gtids(server.executed),
        purged: log.gtids(server.purged),
        filters: 0,
        foreign_channels: 0,
        source: SourceSide {
            enabled: server.acks,
            on: server.acks,
            clients: around.clients,
            waiting: u32::from(!server.pending.is_empty()),
            wait_count: u32::from(server.wait_count),
            altered: false,
        },
        replica_enabled: server.acker,
        lag_seconds: channel.is_some().then_some(if server.open() { 0 } else { around.lag_ms as i64 / 1000 }),
        channel,
        events_on: server.open(),
        events_disabled: 0,
        rebuild_marker: server.marked,
        guard: server.guard.map(|g| g.seen(server.process)),
        rewound: server.rewound.map(i64::from),
        epoch: (server.epoch > 0).then_some(i64::from(server.epoch)),
        cloning: server.cloning.filter(|_| server.marked).map(|_| (512 << 20, 1024 << 20)),
    }
}
