//! The time that the server waits for a client: for a header block, for a body, between requests, and for an answer to be
//! read.

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

use futures_util::stream::{self, Stream};
use poem::Body;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

use super::door::Place;

/// How long a header block may take to arrive.
const HEAD: Duration = Duration::from_secs(10);

/// How long a body may take to arrive.
const BODY: Duration = Duration::from_secs(10);

/// How long a connection may rest between requests: longer than the proxies in front of it let theirs rest, so that
/// it is never closed under a request that is on its way.
const REST: Duration = Duration::from_secs(90);

/// How long a client may read nothing of its answer.
const STALL: Duration = Duration::from_secs(30);

/// How often a connection that waits looks whether patience has become shorter.
const LOOK: Duration = Duration::from_secs(2);

/// What waits for one client, for less time as connections run out.
struct Patience {
    place: Arc<Place>,
    timer: Pin<Box<Sleep>>,
}

impl Patience {
    fn with(place: Arc<Place>) -> Self {
        Self { place, timer: Box::pin(tokio::time::sleep(LOOK)) }
    }

    /// Ready with an error once the client has been waited for since then for as long as it may take. The timer runs on
    /// when something else begins to be waited for: it is never more than one look ahead.
    fn poll_over<T>(&mut self, cx: &mut Context<'_>, since: Instant, full: Duration) -> Poll<io::Result<T>> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let (now, deadline) = (Instant::now(), since + self.place.patience(full));
            if deadline <= now {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.timer.as_mut().reset(deadline.min(now + LOOK));
        }
    }
}

/// A body that breaks off with [`io::ErrorKind::TimedOut`] when it does not arrive in time.
pub fn guarded_body(body: Body, place: Arc<Place>) -> Body {
    let mut bytes = Box::pin(body.into_bytes_stream());
    let (mut patience, since) = (Patience::with(place), Instant::now());
    Body::from_bytes_stream(stream::poll_fn(move |cx| match bytes.as_mut().poll_next(cx) {
        Poll::Pending => patience.poll_over(cx, since, BODY).map(Some),
        arrived => arrived,
    }))
}

/// A connection that breaks when its client lets the server wait for too long.
pub struct Guarded {
    stream: TcpStream,
    patience: Patience,
    /// Odd while a request is being served, see [`guarded_body`] for its body.
    turns: Arc<AtomicUsize>,
    seen: usize,
    resting: bool,
    /// When the rest, or the header block, began.
    since: Instant,
    /// Since when the client has read nothing although there is something to read.
    stalled: Option<Instant>,
}

impl Guarded {
    pub fn new(stream: TcpStream, place: Arc<Place>, turns: Arc<AtomicUsize>) -> Self {
        let patience = Patience::with(place);
        Self { stream, patience, turns, seen: 0, resting: false, since: Instant::now(), stalled: None }
    }

    fn wait(&mut self, resting: bool) {
        self.resting = resting;
        self.since = Instant::now();
    }

    /// Waits for no longer than it may for the client to read.
    fn poll_written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.stalled.take().is_some() {
                self.since = Instant::now();
            }
            return written;
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        let given_up = ready!(self.patience.poll_over(cx, since, STALL));
        // Else the kernel would keep what is not read, and the connection, for minutes.
        let _ = self.stream.set_zero_linger();
        Poll::Ready(given_up)
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
        if self.stalled.is_some() {
            return Poll::Pending;
        }
        let (since, full) = (self.since, if self.resting { REST } else { HEAD });
        self.patience.poll_over(cx, since, full)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.poll_written(cx, written)
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
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.poll_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
