//! The record of a request: one line of the log, one count and one span, whatever became of it.

use std::time::Instant;

use poem::{
    Request, Response,
    http::{Method, StatusCode},
};

use super::{context::RequestContext, error_code::ErrorCode};
use crate::telemetry::{metrics, sampling, traces};

/// How a request ended: its HTTP status, and its code.
pub type Outcome = (u16, &'static str);

/// The client hung up; the status is nginx's.
pub const CLIENT_CLOSED: Outcome = (499, "client_closed");

/// The body did not arrive in time.
pub const BODY_TIMEOUT: Outcome = (408, "body_timeout");

/// Marks a request that gets no answer, and says why: the connection is closed instead.
#[derive(Clone)]
pub struct CloseConnection(pub Outcome);

/// A request that is being served. When the record is dropped, it is written: a client that hangs up has the whole
/// request dropped, at whatever point.
pub struct Record {
    /// What lines of the log about this request have in common.
    pub span: tracing::Span,
    /// The request in a trace.
    pub trace: traces::Span,
    method: Method,
    operation: &'static str,
    started: Instant,
    outcome: Outcome,
    /// Whether there was no time for it, or no place.
    refused: bool,
}

impl Record {
    /// Begins the record of a request that asks for this operation.
    pub fn begin(request: &Request, context: &RequestContext, operation: Option<&'static str>) -> Self {
        metrics::REQUESTS_IN_FLIGHT.add([], 1.0);
        // What is not ASCII is no trace context (W3C Trace Context, 3.2 and 3.3).
        let header = |name: &str| request.headers().get(name)?.to_str().ok().map(str::to_owned);
        let trace = traces::Span::of_request(header);
        Self {
            span: tracing::info_span!("request", request_id = context.id(), trace_id = trace.trace_id()),
            trace,
            method: request.method().clone(),
            // Never the path: some have the mobile in it.
            operation: operation.unwrap_or("-"),
            started: Instant::now(),
            outcome: CLIENT_CLOSED,
            refused: false,
        }
    }

    /// Notes what the request is answered with.
    pub fn answered(&mut self, response: &Response) {
        // Errors of the classic families hide behind a 200.
        let status = response.data::<ErrorCode>().map_or(response.status(), |code| code.meaning().status);
        self.refused = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        self.outcome = match response.data::<CloseConnection>() {
            Some(CloseConnection(outcome)) => *outcome,
            None => {
                let code = response.data::<ErrorCode>().map_or("ok", |code| code.meaning().name);
                (response.status().as_u16(), code)
            }
        };
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Self { method, operation, started, outcome: (status, code), .. } = &*self;
        metrics::REQUESTS_IN_FLIGHT.add([], -1.0);
        metrics::REQUESTS.count([operation, class(*status), code]);
        metrics::REQUEST_SECONDS.took([operation], started.elapsed());
        self.trace.answered(method.as_str(), operation, *status, code);
        let now = Instant::now();
        if self.refused && !sampling::REFUSALS.takes(now) {
            return;
        }
        sampling::settle(now);
        self.span.in_scope(|| {
            let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
            tracing::info!(%method, operation, status, code, milliseconds, "request served");
        });
    }
}

fn class(status: u16) -> &'static str {
    match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}
