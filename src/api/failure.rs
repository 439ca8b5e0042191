//! Which errors can an operation answer with, and how does the document say so?

use std::{collections::BTreeMap, marker::PhantomData};

use poem_openapi::{
    ApiResponse,
    payload::Json,
    registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry},
    types::Type,
};

use super::{envelope::ErrorBody, error_code::ErrorCode, problem::Problem};
use crate::auth::error::Error;

/// The errors that an operation can answer with, beside those that any can.
pub trait Failures: Send + 'static {
    /// Their codes.
    const CODES: &'static [ErrorCode];
}

/// Every code that an operation can answer with.
pub fn codes<F: Failures>() -> impl Iterator<Item = ErrorCode> {
    let anywhere = [ErrorCode::TooManyRequests, ErrorCode::Internal, ErrorCode::Unavailable];
    F::CODES.iter().copied().chain(anywhere)
}

/// The error half of an operation of the app family: documents its codes, one response for each status.
pub struct Failure<F>(Problem, PhantomData<F>);

impl<F> From<Problem> for Failure<F> {
    fn from(problem: Problem) -> Self {
        Self(problem, PhantomData)
    }
}

impl<F> From<Error> for Failure<F> {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}

impl<F> From<Failure<F>> for poem::Error {
    fn from(failure: Failure<F>) -> Self {
        failure.0.into()
    }
}

impl<F: Failures> ApiResponse for Failure<F> {
    fn meta() -> MetaResponses {
        let mut by_status = BTreeMap::<u16, Vec<ErrorCode>>::new();
        for code in codes::<F>() {
            by_status.entry(code.meaning().status.as_u16()).or_default().push(code);
        }
        let responses = by_status.into_iter().map(|(status, codes)| MetaResponse {
            description: named(codes),
            status: Some(status),
            status_range: None,
            content: vec![MetaMediaType {
                content_type: <Json<ErrorBody> as poem_openapi::payload::Payload>::CONTENT_TYPE,
                schema: ErrorBody::schema_ref(),
            }],
            headers: headers(status),
        });
        MetaResponses { responses: responses.collect() }
    }

    fn register(registry: &mut Registry) {
        ErrorBody::register(registry);
    }
}

/// The names of codes: what `document` writes the description and the examples of a response from.
pub fn named(codes: impl IntoIterator<Item = ErrorCode>) -> &'static str {
    let names: Vec<_> = codes.into_iter().map(|code| code.meaning().name).collect();
    // The registry wants text that lives for ever; the document is made once.
    names.join(" ").leak()
}

fn headers(status: u16) -> Vec<MetaHeader> {
    let header = |name: &str, description: &str, schema: MetaSchemaRef| MetaHeader {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required: true,
        deprecated: false,
        schema,
    };
    match status {
        401 => vec![header("WWW-Authenticate", "`Bearer` (RFC 6750).", String::schema_ref())],
        429 | 503 => vec![header("Retry-After", "Seconds to wait before another try.", u32::schema_ref())],
        _ => Vec::new(),
    }
}

/// Names the failures of operations.
macro_rules! failures {
    ($($name:ident: $($code:ident),*;)+) => {
        $(
            /// The failures of an operation.
            pub struct $name;

            impl $crate::api::failure::Failures for $name {
                const CODES: &'static [$crate::api::error_code::ErrorCode] =
                    &[$($crate::api::error_code::ErrorCode::$code),*];
            }
        )+
    };
}

pub(super) use failures;
