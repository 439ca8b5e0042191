//! What happens to every request, before and after its handler? Top to bottom, in this order.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use futures_util::FutureExt;
use poem::{
    Body, Endpoint, Error, Request, Response, Result,
    http::{HeaderValue, Method, header},
};
use poem_openapi::OperationId;
use tracing::Instrument;

use super::{
    aliases,
    allowed_methods::AllowedMethods,
    bearer::CookieSignIn,
    body::{self, Unread},
    client_ip::TrustedProxies,
    context::{Family, RequestContext, X_REQUEST_ID},
    cors::Cors,
    error_code::ErrorCode,
    problem::Problem,
};
use crate::{
    auth::Auth,
    telemetry::{metrics, traces},
};

/// Marks an answer that nobody waits for: the connection is closed instead.
#[derive(Clone)]
pub struct CloseConnection;

/// The outermost endpoint: turns whatever comes out of the routes into an answer of the contract.
pub struct Pipeline<E> {
    /// The routes.
    pub routes: E,
    /// What handlers and extractors work with.
    pub auth: Arc<Auth>,
    /// `TRUSTED_PROXIES`.
    pub proxies: TrustedProxies,
    /// `CORS_ORIGINS`.
    pub cors: Cors,
    /// `CLASSIC_COOKIE`.
    pub cookie_sign_in: CookieSignIn,
    /// What a 405 lists.
    pub allowed_methods: AllowedMethods,
}

impl<E: Endpoint<Output = Response>> Endpoint for Pipeline<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let started = Instant::now();
        let _in_flight = InFlight::begin();
        aliases::rewrite(&mut request);
        let waiting = Arc::new(());
        let context = Arc::new(RequestContext::of(&request, &self.proxies, &waiting));
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let origin = request.headers().get(header::ORIGIN).cloned();
        let header = |name: &str| request.headers().get(name)?.to_str().ok().map(str::to_owned);
        let trace = traces::Span::of_request(header);
        let span = tracing::info_span!("request", request_id = context.id(), trace_id = trace.trace_id());

        let outcome = match self.cors.preflight(&request) {
            Some(response) => Ok(response),
            None => trace.clone().around(self.handle(request, context.clone())).instrument(span.clone()).await,
        };

        let operation = match &outcome {
            Ok(response) => response.data::<OperationId>(),
            Err(error) => error.data::<OperationId>(),
        };
        // Never the path: classic ones have the mobile in it.
        let operation = operation.map_or("-", |operation| operation.0);
        let mut response = match outcome {
            Ok(response) => response,
            Err(error) => span.in_scope(|| self.answer(error, &context, &path)),
        };
        self.cors.decorate(origin.as_ref(), response.headers_mut());
        common_headers(&mut response, &context, &path);
        // Errors of the classic families hide behind a 200.
        let code = response.data::<ErrorCode>().map_or("ok", |code| code.meaning().name);
        measure(operation, &response, code, started);
        span.in_scope(|| log(&method, operation, &response, started));
        trace.answered(method.as_str(), operation, response.status().as_u16(), code);
        Ok(response)
    }
}

impl<E: Endpoint<Output = Response>> Pipeline<E> {
    async fn handle(&self, mut request: Request, context: Arc<RequestContext>) -> Result<Response> {
        let bytes = match body::read(request.take_body()).await {
            Ok(bytes) => bytes,
            Err(Unread::TooLarge) => return Err(Problem::from(ErrorCode::BodyTooLarge).into()),
            Err(Unread::Gone) => {
                let mut response = Response::default();
                response.extensions_mut().insert(CloseConnection);
                return Ok(response);
            }
        };
        if !matches!(request.uri().path(), "/healthz" | "/readyz") {
            // Probes of a load balancer come often, and all from one address.
            self.auth.limits.request(&context.origin()).await.map_err(Problem::from)?;
        }
        request.set_body(Body::from_vec(bytes));
        request.set_data(context);
        request.set_data(self.auth.clone());
        request.set_data(self.cookie_sign_in);
        AssertUnwindSafe(self.routes.call(request))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Problem::from(ErrorCode::Internal).into()))
    }

    /// The one place where an error becomes an answer.
    fn answer(&self, error: Error, context: &RequestContext, path: &str) -> Response {
        if error.is_from_response() {
            return error.into_response();
        }
        let problem = Problem::from_framework(&error);
        let not_allowed = problem.code == ErrorCode::MethodNotAllowed;
        let mut response = problem.into_response(context);
        if not_allowed && let Ok(methods) = HeaderValue::from_str(&self.allowed_methods.of(path)) {
            response.headers_mut().insert(header::ALLOW, methods);
        }
        response
    }
}

fn common_headers(response: &mut Response, context: &RequestContext, path: &str) {
    let headers = response.headers_mut();
    if headers.get(header::CONTENT_TYPE).is_some_and(|media_type| media_type == "application/json; charset=utf-8") {
        // As the document calls it: JSON has no charset (RFC 8259, 11).
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Ok(id) = HeaderValue::from_str(context.id()) {
        headers.insert(X_REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if context.family == Family::Classic || path.starts_with("/app/") {
        // Tokens, users and pictures: nothing of it is for a cache (RFC 6749, 5.1).
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// Counts a request while it is served, also one whose client goes away.
struct InFlight;

impl InFlight {
    fn begin() -> Self {
        metrics::REQUESTS_IN_FLIGHT.add([], 1.0);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::REQUESTS_IN_FLIGHT.add([], -1.0);
    }
}

fn measure(operation: &'static str, response: &Response, code: &'static str, started: Instant) {
    let status = match response.status().as_u16() {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    };
    metrics::REQUESTS.count([operation, status, code]);
    metrics::REQUEST_SECONDS.took([operation], started.elapsed());
}

fn log(method: &Method, operation: &str, response: &Response, started: Instant) {
    let status = response.status().as_u16();
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    tracing::info!(%method, operation, status, milliseconds, "request served");
}
