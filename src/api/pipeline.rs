//! What happens to every request, before and after its handler? Top to bottom, in this order.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use poem::{
    Body, Endpoint, Error, Request, Response, Result,
    http::{HeaderValue, header},
};
use tracing::Instrument;

use super::{
    aliases,
    bearer::CookieSignIn,
    body::{self, Unread},
    client_ip::TrustedProxies,
    context::{Family, RequestContext, X_REQUEST_ID},
    cors::Cors,
    error_code::ErrorCode,
    operations::Operations,
    page_policy,
    problem::Problem,
    record::{BODY_TIMEOUT, CLIENT_CLOSED, CloseConnection, Outcome, Record},
};
use crate::auth::Auth;

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
    /// What can be asked for.
    pub operations: Operations,
}

impl<E: Endpoint<Output = Response>> Endpoint for Pipeline<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        aliases::rewrite(&mut request);
        let waiting = Arc::new(());
        let context = Arc::new(RequestContext::of(&request, &self.proxies, &waiting));
        let path = request.uri().path().to_owned();
        let origin = request.headers().get(header::ORIGIN).cloned();
        let mut record = Record::begin(&request, &context, self.operations.id(request.method(), &path));

        let outcome = match self.cors.preflight(&request) {
            Some(response) => Ok(response),
            None => {
                let handled = AssertUnwindSafe(self.handle(request, context.clone())).catch_unwind();
                let handled = record.trace.clone().around(handled).instrument(record.span.clone()).await;
                handled.unwrap_or_else(|_| Err(Problem::from(ErrorCode::Internal).into()))
            }
        };

        let mut response = match outcome {
            Ok(response) => response,
            Err(error) => record.span.in_scope(|| self.answer(error, &context, &path)),
        };
        self.cors.decorate(origin.as_ref(), response.headers_mut());
        common_headers(&mut response, &context, &path);
        record.answered(&response);
        Ok(response)
    }
}

impl<E: Endpoint<Output = Response>> Pipeline<E> {
    async fn handle(&self, mut request: Request, context: Arc<RequestContext>) -> Result<Response> {
        let bytes = match body::read(request.take_body()).await {
            Ok(bytes) => bytes,
            Err(Unread::TooLarge) => return Err(Problem::from(ErrorCode::BodyTooLarge).into()),
            Err(Unread::Late) => return Ok(unanswered(BODY_TIMEOUT)),
            Err(Unread::Gone) => return Ok(unanswered(CLIENT_CLOSED)),
        };
        if !matches!(request.uri().path(), "/healthz" | "/readyz") {
            // Probes of a load balancer come often, and all from one address.
            self.auth.limits.request(&context.origin()).await.map_err(Problem::from)?;
        }
        if !self.operations.take(request.method(), request.uri().path()) {
            return Err(Problem::from(ErrorCode::MethodNotAllowed).into());
        }
        request.set_body(Body::from_vec(bytes));
        request.set_data(context);
        request.set_data(self.auth.clone());
        request.set_data(self.cookie_sign_in);
        self.routes.call(request).await
    }

    /// The one place where an error becomes an answer.
    fn answer(&self, error: Error, context: &RequestContext, path: &str) -> Response {
        if error.is_from_response() {
            return error.into_response();
        }
        let problem = Problem::from_framework(&error);
        let not_allowed = problem.code == ErrorCode::MethodNotAllowed;
        let mut response = problem.into_response(context);
        if not_allowed && let Ok(methods) = HeaderValue::from_str(&self.operations.allowed(path)) {
            response.headers_mut().insert(header::ALLOW, methods);
        }
        response
    }
}

/// Stands for the answer to a request that gets none.
fn unanswered(outcome: Outcome) -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(CloseConnection(outcome));
    response
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
    if headers.get(header::CONTENT_TYPE).is_some_and(|media_type| media_type.as_bytes().starts_with(b"text/html")) {
        headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(page_policy::STRICTEST);
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    if context.family == Family::Classic || path.starts_with("/app/") || path == "/dev/sms" {
        // Tokens, users, pictures and codes: nothing of it is for a cache (RFC 6749, 5.1).
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
