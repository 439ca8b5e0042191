//! Where did the time of a request go? Spans, for a collector of OpenTelemetry.
//!
//! Made by hand, not out of the spans and events of the log: those have addresses in them, and more of them than the
//! level of the log lets through.

use std::{panic::Location, sync::OnceLock, time::Duration};

use opentelemetry::{
    Context, KeyValue,
    context::FutureExt,
    propagation::{Extractor, TextMapPropagator},
    trace::{Link, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, TraceId, Tracer, TracerProvider},
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Config, IdGenerator, RandomIdGenerator, SamplingResult, SdkTracer, SdkTracerProvider, ShouldSample},
};

/// How long the end of the process waits for the collector to take the last spans.
const FAREWELL: Duration = Duration::from_secs(2);

/// Who makes spans; nobody, while there is no collector.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Spans on their way to the collector; those that are left go there when this is dropped.
pub struct Traces(SdkTracerProvider);

impl Drop for Traces {
    fn drop(&mut self) {
        // The SDK has logged why: nobody else can do anything about it.
        let _ = self.0.shutdown_with_timeout(FAREWELL);
    }
}

/// Sends spans to the collector at this base URL from now on, in the name of a service.
///
/// They wait in a queue of their own. When it is full, because the collector is slow or gone, spans are dropped.
///
/// # Errors
/// When the collector's URL is of no use. Whether anybody answers there does not matter.
pub fn install(collector: &str, service: &str) -> Result<Traces, String> {
    let url = format!("{}/v1/traces", collector.trim_end_matches('/'));
    // Whatever OTEL_EXPORTER_OTLP_PROTOCOL says: there is no other in here.
    let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(url).build();
    let exporter = exporter.map_err(|error| error.to_string())?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_service_name(service.to_owned()).with_attribute(version).build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource);
    let provider = provider.with_sampler(OwnSampling(Config::default().sampler)).build();
    TRACER.get_or_init(|| provider.tracer("phonepass"));
    Ok(Traces(provider))
}

/// What `OTEL_TRACES_SAMPLER` says, except that a caller can only put a request in: any client can write a `traceparent`
/// that says not to record what it does.
#[derive(Clone, Debug)]
struct OwnSampling(Box<dyn ShouldSample>);

impl ShouldSample for OwnSampling {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let decide = |parent, trace_id| self.0.should_sample(parent, trace_id, name, kind, attributes, links);
        let caller = parent.map(|parent| parent.span().span_context().clone()).filter(SpanContext::is_remote);
        let Some(caller) = caller else { return decide(parent, trace_id) };
        // Some decide by the id, which is the caller's as well.
        let own_id = RandomIdGenerator::default().new_trace_id();
        let decided = decide(parent.filter(|_| caller.is_sampled()), own_id);
        SamplingResult { trace_state: caller.trace_state().clone(), ..decided }
    }
}

/// A span that is under way; nothing while there is no collector. It ends with its last clone.
#[derive(Clone)]
pub struct Span(Option<Context>);

impl Span {
    /// A request begins, as a part of whatever its headers tell (W3C Trace Context).
    pub fn of_request(header: impl Fn(&str) -> Option<String>) -> Self {
        Self(TRACER.get().map(|tracer| {
            let headers = ["traceparent", "tracestate"].map(|name| (name, header(name)));
            let caller = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
            begin(tracer, "request", SpanKind::Server, &caller)
        }))
    }

    /// The one that whoever asks is in.
    pub fn current() -> Self {
        Self(TRACER.get().map(|_| Context::current()))
    }

    /// What all spans of the same request have in common.
    pub fn trace_id(&self) -> Option<String> {
        self.0.as_ref().map(|context| context.span().span_context().trace_id().to_string())
    }

    /// Does some work as a part of it.
    pub async fn around<T>(self, work: impl Future<Output = T>) -> T {
        match self.0 {
            Some(context) => work.with_context(context).await,
            None => work.await,
        }
    }

    /// The request is over, answered or not.
    pub fn answered(&self, method: &str, operation: &'static str, status: u16, code: &'static str) {
        let Some(context) = &self.0 else { return };
        let span = context.span();
        span.update_name(format!("{method} {operation}"));
        span.set_attributes([
            KeyValue::new("http.request.method", method.to_owned()),
            KeyValue::new("http.response.status_code", i64::from(status)),
            KeyValue::new("phonepass.operation", operation),
            KeyValue::new("phonepass.code", code),
        ]);
        if status >= 500 {
            span.set_status(Status::error(code));
        }
    }
}

/// Does some work of a request in the background, as a part of the request.
pub fn carried<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    Span::current().around(work)
}

/// Asks something outside of the process: a span tells who was asked, and where in the code.
#[track_caller]
pub fn call<T, E>(whom: &'static str, work: impl Future<Output = Result<T, E>>) -> impl Future<Output = Result<T, E>> {
    let place = Location::caller();
    let context = part(whom, SpanKind::Client).inspect(|context| {
        context.span().set_attributes([
            KeyValue::new("code.file.path", place.file()),
            KeyValue::new("code.line.number", i64::from(place.line())),
        ]);
    });
    outcome(context, work)
}

/// Does a part of the work.
pub fn step<T, E>(name: &'static str, work: impl Future<Output = Result<T, E>>) -> impl Future<Output = Result<T, E>> {
    outcome(part(name, SpanKind::Internal), work)
}

/// Does for several requests at once what they have asked for: a part of the first, linked to the others.
pub fn batch<'a, T, E>(
    name: &'static str,
    mut callers: impl Iterator<Item = &'a Span>,
    work: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>> {
    let first = callers.next().and_then(|caller| caller.0.clone()).filter(Context::has_active_span);
    let context = TRACER.get().zip(first).map(|(tracer, first)| {
        let others = callers.filter_map(|caller| caller.0.as_ref());
        let links = others.map(|other| Link::with_context(other.span().span_context().clone())).collect::<Vec<_>>();
        let size = KeyValue::new("phonepass.batch.size", i64::try_from(links.len() + 1).unwrap_or(i64::MAX));
        let builder = SpanBuilder::from_name(format!("batch {name}")).with_attributes([size]).with_links(links);
        first.with_span(tracer.build_with_context(builder, &first))
    });
    outcome(context, work)
}

/// A part of whatever the caller is in. Work in the background is in nothing, and in no trace.
fn part(name: &'static str, kind: SpanKind) -> Option<Context> {
    let tracer = TRACER.get()?;
    let parent = Some(Context::current()).filter(Context::has_active_span)?;
    Some(begin(tracer, name, kind, &parent))
}

fn begin(tracer: &SdkTracer, name: &'static str, kind: SpanKind, parent: &Context) -> Context {
    parent.with_span(tracer.build_with_context(SpanBuilder::from_name(name).with_kind(kind), parent))
}

async fn outcome<T, E>(context: Option<Context>, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let Some(context) = context else { return work.await };
    let outcome = work.with_context(context.clone()).await;
    if outcome.is_err() {
        // The log tells why.
        context.span().set_status(Status::error(""));
    }
    outcome
}

/// The headers of a request that tell whom it is a part of.
struct Headers([(&'static str, Option<String>); 2]);

impl Extractor for Headers {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == key).and_then(|(_, value)| value.as_deref())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }
}
