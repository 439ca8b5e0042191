//! The network between two machines: it carries, it swallows, or it is cut.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Carries,
    /// What is sent is lost, and nobody is told: a partition.
    Swallows,
    /// Connections break, and none are made: a machine that refuses.
    Cut,
}

/// A way to a server, on a port of its own.
pub struct Link {
    pub port: u16,
    state: Arc<watch::Sender<State>>,
    carrier: JoinHandle<()>,
}

impl Link {
    /// A way to this port.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().port();
        let state = Arc::new(watch::Sender::new(State::Carries));
        let carrier = tokio::spawn({
            let state = state.clone();
            async move {
                loop {
                    let (near, _) = listener.accept().await.unwrap();
                    tokio::spawn(carry(near, port, state.subscribe()));
                }
            }
        });
        Self { port: here, state, carrier }
    }

    pub fn swallow(&self) {
        self.state.send_replace(State::Swallows);
    }

    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    pub fn mend(&self) {
        self.state.send_replace(State::Carries);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.carrier.abort();
        self.cut();
    }
}

async fn carry(near: TcpStream, port: u16, mut state: watch::Receiver<State>) {
    if *state.borrow() == State::Cut {
        return;
    }
    // In a partition the first packet is lost, too: the far end is reached when the way is mended.
    let _ = state.wait_for(|state| *state != State::Swallows).await;
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let ((near_out, near_in), (far_out, far_in)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pass_on(near_out, far_in, state.clone()) => {}
        () = pass_on(far_out, near_in, state.clone()) => {}
        _ = state.wait_for(|state| *state == State::Cut) => {}
    }
}

/// What was swallowed stays lost: whatever comes later on this connection would make no sense, so nothing does.
async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: watch::Receiver<State>) {
    let mut buffer = vec![0; 16 * 1024];
    let mut lost = false;
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        lost |= *state.borrow() == State::Swallows;
        if !lost && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
