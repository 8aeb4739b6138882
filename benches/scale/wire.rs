//! MySQL's protocol as a server speaks it, as far as the operator needs it: one login, text queries, text rows.
//!
//! Any password is right (`caching_sha2_password`, fast path), nothing is encrypted, packets are below 16 MiB.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// LONG_PASSWORD, LONG_FLAG, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, MULTI_RESULTS, PLUGIN_AUTH.
const CAPABILITIES: u32 = 0x1 | 0x4 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x2_0000 | 0x8_0000;
const PLUGIN: &[u8] = b"caching_sha2_password\0";
const UTF8: u8 = 45;
const VAR_STRING: u8 = 0xfd;

/// What a query is answered with.
pub enum Answer {
    /// Done.
    Ok,
    /// One row, by column name; None: NULL.
    Row(Vec<(&'static str, Option<String>)>),
    /// Rows of these columns.
    Rows(Vec<&'static str>, Vec<Vec<Option<String>>>),
    /// An error's number and text.
    Error(u16, String),
}

/// What a client says.
pub enum Said {
    /// A statement.
    Query(String),
    /// Are you there?
    Ping,
    /// Goodbye.
    Quit,
}

/// One packet's payload, and its number.
async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<(Vec<u8>, u8)> {
    let mut head = [0; 4];
    from.read_exact(&mut head).await?;
    let mut payload = vec![0; u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize];
    from.read_exact(&mut payload).await?;
    Ok((payload, head[3]))
}

fn put(out: &mut Vec<u8>, number: &mut u8, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes()[..3]);
    out.push(*number);
    out.extend_from_slice(payload);
    *number = number.wrapping_add(1);
}

fn text(out: &mut Vec<u8>, value: &str) {
    match value.len() {
        short @ 0..=250 => out.push(short as u8),
        long => {
            out.push(0xfc);
            out.extend_from_slice(&u16::try_from(long).expect("a short text").to_le_bytes());
        }
    }
    out.extend_from_slice(value.as_bytes());
}

/// Greets and lets in; the account's name.
pub async fn login(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), id: u32) -> Result<String> {
    let mut hello = vec![10];
    hello.extend_from_slice(b"9.7.0\0");
    hello.extend_from_slice(&id.to_le_bytes());
    hello.extend_from_slice(b"scramble\0");
    hello.extend_from_slice(&(CAPABILITIES as u16).to_le_bytes());
    hello.push(UTF8);
    hello.extend_from_slice(&2u16.to_le_bytes());
    hello.extend_from_slice(&((CAPABILITIES >> 16) as u16).to_le_bytes());
    hello.push(21);
    hello.extend_from_slice(&[0; 10]);
    hello.extend_from_slice(b"of-the-bench\0");
    hello.extend_from_slice(PLUGIN);
    let (mut out, mut number) = (Vec::new(), 0);
    put(&mut out, &mut number, &hello);
    stream.write_all(&out).await?;
    let (reply, number) = read(stream).await?;
    let name = reply.get(32..).unwrap_or_default();
    let user = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let (mut out, mut number) = (Vec::new(), number.wrapping_add(1));
    put(&mut out, &mut number, &[1, 3]);
    put(&mut out, &mut number, &[0, 0, 0, 2, 0, 0, 0]);
    stream.write_all(&out).await?;
    String::from_utf8(user.to_vec()).map_err(|_| Error::from(ErrorKind::InvalidData))
}

/// What the client says next.
pub async fn listen(stream: &mut (impl AsyncRead + Unpin)) -> Result<Said> {
    let (said, _) = read(stream).await?;
    match said.split_first() {
        Some((3, sql)) => Ok(Said::Query(String::from_utf8_lossy(sql).into_owned())),
        Some((14, _)) => Ok(Said::Ping),
        Some((1, _)) => Ok(Said::Quit),
        _ => Err(ErrorKind::Unsupported.into()),
    }
}

/// Answers.
pub async fn answer(stream: &mut (impl AsyncWrite + Unpin), answer: &Answer) -> Result<()> {
    let (mut out, mut number) = (Vec::with_capacity(4096), 1);
    match answer {
        Answer::Ok => put(&mut out, &mut number, &[0, 0, 0, 2, 0, 0, 0]),
        Answer::Error(code, message) => {
            let mut payload = vec![0xff];
            payload.extend_from_slice(&code.to_le_bytes());
            payload.extend_from_slice(b"#HY000");
            payload.extend_from_slice(message.as_bytes());
            put(&mut out, &mut number, &payload);
        }
        Answer::Row(row) => {
            let names: Vec<&str> = row.iter().map(|(name, _)| *name).collect();
            columns(&mut out, &mut number, &names);
            values(&mut out, &mut number, row.iter().map(|(_, value)| value.as_deref()));
            end(&mut out, &mut number);
        }
        Answer::Rows(names, rows) => {
            columns(&mut out, &mut number, names);
            rows.iter().for_each(|row| values(&mut out, &mut number, row.iter().map(Option::as_deref)));
            end(&mut out, &mut number);
        }
    }
    stream.write_all(&out).await
}

fn columns(out: &mut Vec<u8>, number: &mut u8, names: &[&str]) {
    put(out, number, &[names.len() as u8]);
    for name in names {
        let mut column = Vec::with_capacity(64);
        for part in ["def", "", "", "", name, ""] {
            text(&mut column, part);
        }
        column.extend_from_slice(&[0x0c, UTF8, 0]);
        column.extend_from_slice(&1024u32.to_le_bytes());
        column.extend_from_slice(&[VAR_STRING, 0, 0, 0, 0, 0]);
        put(out, number, &column);
    }
    end(out, number);
}

fn values<'a>(out: &mut Vec<u8>, number: &mut u8, row: impl Iterator<Item = Option<&'a str>>) {
    let mut payload = Vec::with_capacity(256);
    for value in row {
        match value {
            Some(value) => text(&mut payload, value),
            None => payload.push(0xfb),
        }
    }
    put(out, number, &payload);
}

fn end(out: &mut Vec<u8>, number: &mut u8) {
    put(out, number, &[0xfe, 0, 0, 2, 0]);
}
