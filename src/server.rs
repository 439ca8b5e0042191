//! How do connections become requests, and how does the server stop without losing one?

mod door;
mod guarded;
mod room;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use poem::{
    Endpoint, Response,
    http::uri::Scheme,
    web::{LocalAddr, RemoteAddr},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::api::CloseConnection;
use door::Place;
use guarded::{Guarded, guarded_body};

pub use door::Door;
pub use room::Room;

/// How many bytes a header block may have; a longer one is answered with 431, and the connection closed.
const HEADER_BLOCK: usize = 64 * 1024;

/// How long the server waits before it accepts again when it could not for want of descriptors or memory.
const BREATH: Duration = Duration::from_millis(100);

/// How long requests in flight, and whatever else is to be finished, may take once the listener is closed.
pub const GRACE: Duration = Duration::from_secs(25);

/// The connections that are left when a listener is closed.
#[derive(Default)]
pub struct Connections {
    graceful: GracefulShutdown,
    tasks: TaskTracker,
}

impl Connections {
    /// Closes those that rest, and lets requests in flight finish.
    pub async fn finish(&mut self) {
        std::mem::take(&mut self.graceful).shutdown().await;
        // A connection has ended once its task has: by then, what a caller hung up on runs detached.
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.tasks.len()
    }
}

/// Serves all who connect, see [`serve_at`]: for addresses that strangers do not reach.
pub async fn serve(
    listener: TcpListener,
    endpoint: impl Endpoint<Output = Response> + 'static,
    stop: impl Future<Output = ()>,
) -> Connections {
    serve_at(Door::wide_open(), listener, endpoint, stop).await
}

/// Serves HTTP/1.1 to those whom the door lets in until `stop` is ready, then closes the listener.
///
/// Own code in place of poem's server, which bounds no header block: a handful of bytes a minute would hold a
/// connection for ever.
pub async fn serve_at(
    door: Arc<Door>,
    listener: TcpListener,
    endpoint: impl Endpoint<Output = Response> + 'static,
    stop: impl Future<Output = ()>,
) -> Connections {
    let endpoint = Arc::new(endpoint);
    let connections = Connections::default();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = door.enter(peer.ip()) else {
                    refuse(stream);
                    continue;
                };
                if let Some(connection) = connection(stream, peer, place, endpoint.clone()) {
                    let connection = connections.graceful.watch(connection);
                    connections.tasks.spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::debug!(%error, "a connection broke");
                        }
                    });
                }
            }
            Err(error) if is_about_the_client(&error) => tracing::debug!(%error, "a client was gone at once"),
            Err(error) => {
                // Out of file descriptors, most likely: let some be returned before the next try.
                tracing::error!(%error, "a connection could not be accepted");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    connections
}

/// Closes a connection without a word, and so that the kernel keeps nothing of it.
fn refuse(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Linux reports what has happened to a connection in the queue as an error of `accept`: clients must not make the
/// others wait by it.
fn is_about_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | NetworkDown | NetworkUnreachable | TimedOut
    )
}

type Connection<S> = http1::Connection<TokioIo<Guarded>, S>;

fn connection(
    stream: TcpStream,
    remote: SocketAddr,
    place: Place,
    endpoint: Arc<impl Endpoint<Output = Response> + 'static>,
) -> Option<
    Connection<
        impl hyper::service::Service<
            hyper::Request<Incoming>,
            Response = hyper::Response<impl hyper::body::Body<Data = impl Send, Error = impl Into<BoxError>>>,
            Error = io::Error,
            Future = impl Send,
        >,
    >,
> {
    let local = stream.local_addr().ok()?;
    stream.set_nodelay(true).ok()?;
    let (place, turns) = (Arc::new(place), Arc::new(AtomicUsize::new(0)));
    let io = TokioIo::new(Guarded::new(stream, place.clone(), turns.clone()));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (endpoint, turns, place) = (endpoint.clone(), turns.clone(), place.clone());
        let (local, remote) = (LocalAddr(local.into()), RemoteAddr(remote.into()));
        async move {
            turns.fetch_add(1, Ordering::Relaxed);
            let has_body = !request.body().is_end_stream();
            let mut request = poem::Request::from((request, local, remote, Scheme::HTTP));
            if has_body {
                let body = request.take_body();
                request.set_body(guarded_body(body, place));
            }
            let response = endpoint.get_response(request).await;
            turns.fetch_add(1, Ordering::Relaxed);
            if response.extensions().get::<CloseConnection>().is_some() {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            Ok(hyper::Response::from(response))
        }
    });
    let mut server = http1::Builder::new();
    server.max_buf_size(HEADER_BLOCK).max_header_size(HEADER_BLOCK);
    Some(server.serve_connection(io, service))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
