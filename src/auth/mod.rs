//! The rules of signing in. No HTTP, no SQL, no Redis.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tracing::Instrument;

use crate::telemetry::traces;

pub mod access_token;
pub mod account;
pub mod cores;
pub mod error;
pub mod event;
pub mod image_code;
pub mod import;
pub mod keys;
pub mod limits;
pub mod login;
pub mod master_key;
pub mod password;
pub mod password_hash;
pub mod picture;
pub mod refresh_token;
pub mod revocation;
pub mod sessions;
mod signer;
pub mod sms_code;
pub mod test_codes;

/// Everything that the outside can ask for.
#[derive(Clone)]
pub struct Auth {
    /// Picture codes.
    pub image_codes: Arc<image_code::ImageCodes>,
    /// SMS codes.
    pub sms_codes: Arc<sms_code::SmsCodes>,
    /// Signing in and registering.
    pub login: login::Login,
    /// Sessions and their tokens.
    pub sessions: Arc<sessions::Sessions>,
    /// What users do to their own account.
    pub account: account::Account,
    /// What is counted.
    pub limits: Arc<limits::Limits>,
}

/// Runs work whose steps belong together to its end, also when the caller hangs up in the middle: what is left of it goes
/// on by itself then.
fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> impl Future<Output = T> + Send {
    ToTheEnd(Some(Box::pin(traces::carried(work))))
}

struct ToTheEnd<T: Send + 'static>(Option<BoxFuture<'static, T>>);

impl<T: Send + 'static> Future for ToTheEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Work that panics is over.
        let mut work = self.0.take().expect("nobody polls what has ended");
        let outcome = work.as_mut().poll(context);
        if outcome.is_pending() {
            self.0 = Some(work);
        }
        outcome
    }
}

impl<T: Send + 'static> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(work.in_current_span());
        }
    }
}
