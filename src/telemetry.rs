//! Spans to an OpenTelemetry collector, by OTLP over HTTP. Behind the feature `otel`; without OTEL_EXPORTER_OTLP_ENDPOINT it does nothing.
//!
//! A pass over a pair is a trace: observe, decide, act with its steps, report. Pairs at rest pass twice a second: such a trace is
//! dropped at its end, before anything is sent ([`Passes`]), so that what arrives is what happened.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use opentelemetry::trace::{SpanId, TraceId, TracerProvider};
use opentelemetry::{Context, Value};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanProcessor};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// Where collectors are named, by OpenTelemetry's own convention.
pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The field of a pass that says: something happened.
pub const TOLD: &str = "told";
/// Passes that are under way at once: one a pair.
const OPEN: usize = 4_096;
/// Spans of one pass; what is beyond is not told.
const SPANS: usize = 128;
/// One call to the collector.
const CALL: Duration = Duration::from_secs(10);
/// An answer of the collector.
const ANSWER: usize = 64 << 10;
/// Flushing at the end of the process.
const LAST: Duration = Duration::from_secs(2);

/// Log lines as without the feature, and spans if a collector is named; until what it returns is dropped.
pub fn start(runtime: Handle, filter: EnvFilter, json: bool) -> Option<Sending> {
    start_to(runtime, &std::env::var(ENDPOINT).unwrap_or_default(), filter, json)
}

/// The same, with the collector as an argument; empty: none.
pub fn start_to(runtime: Handle, endpoint: &str, filter: EnvFilter, json: bool) -> Option<Sending> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if json { lines.json().boxed() } else { lines.with_ansi(false).boxed() };
    let (spans, sending) = layer(runtime, endpoint).unzip();
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).init();
    sending
}

/// Sends what is left when it is dropped.
pub struct Sending(SdkTracerProvider);

impl Drop for Sending {
    fn drop(&mut self) {
        let _ = self.0.shutdown_with_timeout(LAST);
    }
}

/// A layer that sends spans of ours. Calls run on `runtime`.
fn layer<S>(runtime: Handle, endpoint: &str) -> Option<(impl Layer<S>, Sending)>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    if endpoint.is_empty() {
        return None;
    }
    let traces = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = match SpanExporter::builder().with_http().with_endpoint(traces).with_http_client(Caller(runtime)).build() {
        Ok(exporter) => exporter,
        Err(error) => {
            eprintln!("shardpair: no spans are sent: {error}");
            return None;
        }
    };
    let resource = Resource::builder().with_service_name("shardpair").with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build();
    let provider = SdkTracerProvider::builder().with_resource(resource).with_span_processor(Passes::before(BatchSpanProcessor::builder(exporter).build())).build();
    let ours = Targets::new().with_target("shardpair", tracing::Level::DEBUG);
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("shardpair")).with_filter(ours);
    Some((layer, Sending(provider)))
}

/// Keeps the spans of a pass until it ends, and sends them if anything happened in it.
#[derive(Debug)]
pub struct Passes<P> {
    next: P,
    open: Mutex<HashMap<TraceId, Vec<SpanData>>>,
}

impl<P: SpanProcessor> Passes<P> {
    /// What is kept goes on to `next`.
    pub fn before(next: P) -> Self {
        Self { next, open: Mutex::default() }
    }
}

impl<P: SpanProcessor> SpanProcessor for Passes<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        let trace = span.span_context.trace_id();
        let mut open = self.open.lock().expect("never poisoned");
        if span.parent_span_id != SpanId::INVALID {
            if open.len() < OPEN || open.contains_key(&trace) {
                let spans = open.entry(trace).or_default();
                if spans.len() < SPANS {
                    spans.push(span);
                }
            }
            return;
        }
        let spans = open.remove(&trace).unwrap_or_default();
        drop(open);
        if span.attributes.iter().any(|a| a.key.as_str() == TOLD && a.value == Value::Bool(true)) {
            spans.into_iter().chain([span]).for_each(|s| self.next.on_end(s));
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// Plain HTTP, a connection of its own for each call: there is one every few seconds at most. The SDK waits in a thread
/// without a runtime, so the call runs on ours.
#[derive(Debug)]
struct Caller(Handle);

impl HttpClient for Caller {
    fn send_bytes<'a, 'r>(&'a self, request: Request<Bytes>) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'r>>
    where
        'a: 'r,
        Self: 'r,
    {
        let call = self.0.spawn(async move { tokio::time::timeout(CALL, send(request)).await.unwrap_or_else(|_| Err("no answer".into())) });
        Box::pin(async move { call.await.unwrap_or_else(|e| Err(e.into())) })
    }
}

async fn send(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let uri = request.uri().clone();
    if uri.scheme_str() != Some("http") {
        return Err(format!("{uri}: only http:// is spoken").into());
    }
    let authority = uri.authority().ok_or("no host")?.clone();
    let stream = TcpStream::connect((authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    parts.uri = uri.path_and_query().map_or("/", |p| p.as_str()).parse()?;
    parts.headers.insert(hyper::header::HOST, authority.as_str().parse()?);
    let (parts, body) = sender.send_request(Request::from_parts(parts, Full::new(body))).await?.into_parts();
    let body = Limited::new(body, ANSWER).collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(parts, body))
}
