//! What does Prometheus get to see?

use poem::{Endpoint, Response, Route, endpoint::make, get, http::header};

use super::readiness::Readiness;
use crate::telemetry::metrics;

/// The text format of Prometheus.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`, and nothing else: an endpoint for an address of its own, which no client reaches.
pub fn metrics(readiness: Readiness) -> impl Endpoint<Output = Response> + 'static {
    let scrape = make(move |_| {
        let readiness = readiness.clone();
        async move {
            look(&readiness).await;
            Ok::<_, poem::Error>(Response::builder().header(header::CONTENT_TYPE, TEXT).body(metrics::render()))
        }
    });
    Route::new().at("/metrics", get(scrape))
}

/// What nobody tells by itself: it is asked for when somebody wants to know.
async fn look(readiness: &Readiness) {
    let stores = readiness.stores().await;
    for (store, up) in stores {
        metrics::STORE_UP.set([store], f64::from(up));
    }
    let ready = !readiness.is_stopping() && stores.iter().all(|(_, up)| *up);
    metrics::READY.set([], f64::from(ready));
    for pool in readiness.users.pools() {
        metrics::CONNECTIONS.set([pool.name, "in_use"], pool.in_use.into());
        metrics::CONNECTIONS.set([pool.name, "idle"], pool.idle.into());
        metrics::CONNECTIONS_MAX.set([pool.name], pool.max.into());
    }
}
