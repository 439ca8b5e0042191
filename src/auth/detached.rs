//! Work that outlives its request.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::telemetry::traces;

/// All work that no request holds any more, so that the process can wait for it before it ends. Clones share it.
#[derive(Clone, Default)]
pub struct Detached(TaskTracker);

impl Detached {
    /// Runs work whose steps belong together to its end, also when the caller hangs up in the middle: the rest of it
    /// then runs detached.
    pub fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        ToTheEnd { work: Some(Box::pin(traces::carried(work))), detached: self.0.clone() }
    }

    /// Starts work that no answer waits for.
    pub fn spawn(&self, work: impl Future<Output: Send> + Send + 'static) {
        self.0.spawn(traces::carried(work));
    }

    /// Waits until nothing is left. Call it when no request can begin more.
    pub async fn finish(&self) {
        self.0.close();
        self.0.wait().await;
    }

    /// How much is under way.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

struct ToTheEnd<T: Send + 'static> {
    work: Option<BoxFuture<'static, T>>,
    detached: TaskTracker,
}

impl<T: Send + 'static> Future for ToTheEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Work that panics is over.
        let mut work = self.work.take().expect("a future is not polled once it is ready");
        let outcome = work.as_mut().poll(context);
        if outcome.is_pending() {
            self.work = Some(work);
        }
        outcome
    }
}

impl<T: Send + 'static> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            self.detached.spawn_on(work.in_current_span(), &runtime);
        }
    }
}
