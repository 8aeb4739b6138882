//! One GET, with limits; the map is all that the client fetches.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A map of 256 shards and 512 tables is far below this; a table of routes may be large.
const BODY: usize = 16 << 20;

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// Plain HTTP, a connection of its own.
pub(crate) async fn get(url: &str, headers: &[(&str, &str)], limit: Duration) -> Result<Reply, String> {
    tokio::time::timeout(limit, fetch(url, headers)).await.unwrap_or_else(|_| Err(format!("{url}: no answer within {limit:?}")))
}

async fn fetch(url: &str, headers: &[(&str, &str)]) -> Result<Reply, String> {
    let failed = |e: &dyn std::fmt::Display| format!("{url}: {e}");
    let uri: Uri = url.parse().map_err(|e| failed(&e))?;
    if uri.scheme_str() != Some("http") {
        return Err(failed(&"only http:// is spoken"));
    }
    let host = uri.host().ok_or_else(|| failed(&"no host"))?;
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(80))).await.map_err(|e| failed(&e))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    let connection = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut request = Request::get(path).header(header::HOST, uri.authority().map_or(host, |a| a.as_str()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| failed(&e))?;
    let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
    let status = response.status().as_u16();
    let etag = response.headers().get(header::ETAG).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let body = Limited::new(response.into_body(), BODY).collect().await.map_err(|e| failed(&e))?.to_bytes().to_vec();
    connection.abort();
    Ok(Reply { status, etag, body })
}
