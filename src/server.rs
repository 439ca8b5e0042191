//! How do connections become requests, and how does the server stop without losing one?

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use poem::{
    Endpoint, Response,
    http::uri::Scheme,
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Instant, Sleep},
};
use tokio_util::task::TaskTracker;

use crate::api::CloseConnection;

/// How long a header block may take to arrive.
const HEAD: Duration = Duration::from_secs(10);

/// How long a connection may rest between requests: longer than the proxies in front of it let theirs rest, so that
/// it is never closed under a request that is on its way.
const REST: Duration = Duration::from_secs(90);

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

/// Serves HTTP/1.1 until `stop` is ready, then closes the listener.
///
/// Own code in place of poem's server, which bounds no header block: a handful of bytes a minute would hold a
/// connection for ever.
pub async fn serve(
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
            Ok((stream, _)) => {
                if let Some(connection) = connection(stream, endpoint.clone()) {
                    let connection = connections.graceful.watch(connection);
                    connections.tasks.spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::debug!(%error, "a connection broke");
                        }
                    });
                }
            }
            Err(error) => {
                // Out of file descriptors, most likely: let some be returned before the next try.
                tracing::error!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections
}

type Connection<S> = http1::Connection<TokioIo<Guarded>, S>;

fn connection(
    stream: TcpStream,
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
    let addresses = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?)));
    let (local, remote) = addresses.ok()?;
    stream.set_nodelay(true).ok()?;
    let turns = Arc::new(AtomicUsize::new(0));
    let io = TokioIo::new(Guarded::new(stream, turns.clone()));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (endpoint, turns) = (endpoint.clone(), turns.clone());
        let (local, remote) = (LocalAddr(local.into()), RemoteAddr(remote.into()));
        async move {
            turns.fetch_add(1, Ordering::Relaxed);
            let response = endpoint.get_response((request, local, remote, Scheme::HTTP).into()).await;
            turns.fetch_add(1, Ordering::Relaxed);
            if response.extensions().get::<CloseConnection>().is_some() {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            Ok(hyper::Response::from(response))
        }
    });
    Some(http1::Builder::new().serve_connection(io, service))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection that breaks when a header block does not arrive in time.
struct Guarded {
    stream: TcpStream,
    /// Odd while a request is being served; its body has a deadline of its own.
    turns: Arc<AtomicUsize>,
    seen: usize,
    resting: bool,
    deadline: Pin<Box<Sleep>>,
}

impl Guarded {
    fn new(stream: TcpStream, turns: Arc<AtomicUsize>) -> Self {
        Self { stream, turns, seen: 0, resting: false, deadline: Box::pin(tokio::time::sleep(HEAD)) }
    }

    fn wait(&mut self, resting: bool) {
        self.resting = resting;
        self.deadline.as_mut().reset(Instant::now() + if resting { REST } else { HEAD });
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let turns = self.turns.load(Ordering::Relaxed);
        if turns % 2 == 1 {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        if turns != self.seen {
            self.seen = turns;
            self.wait(true);
        }
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buffer) {
            if self.resting {
                self.wait(false);
            }
            return Poll::Ready(read);
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
