//! The way between two machines: it leads here or there, it carries, it swallows, or it is cut.

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

#[derive(Clone, Copy)]
struct Way {
    target: u16,
    state: State,
}

/// A port of this machine that leads to another one.
pub struct Forwarder {
    pub port: u16,
    way: Arc<watch::Sender<Way>>,
    work: JoinHandle<()>,
}

impl Forwarder {
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = Arc::new(watch::Sender::new(Way { target, state: State::Carries }));
        let current = way.clone();
        let work = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(near, current.subscribe()));
            }
        });
        Self { port, way, work }
    }

    /// Leads whoever connects from now on somewhere else; connections that are there stay where they are.
    pub fn move_to(&self, target: u16) {
        self.way.send_modify(|way| way.target = target);
    }

    pub fn swallow(&self) {
        self.turn(State::Swallows);
    }

    pub fn cut(&self) {
        self.turn(State::Cut);
    }

    pub fn mend(&self) {
        self.turn(State::Carries);
    }

    fn turn(&self, state: State) {
        self.way.send_modify(|way| way.state = state);
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.work.abort();
        self.cut();
    }
}

async fn carry(near: TcpStream, mut way: watch::Receiver<Way>) {
    if way.borrow().state == State::Cut {
        return;
    }
    // In a partition the first packet is lost, too: the far end is reached when the way is mended.
    let Ok(Way { target, .. }) = way.wait_for(|way| way.state != State::Swallows).await.map(|way| *way) else { return };
    // A server that is gone closes the client's connection.
    let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let ((near_out, near_in), (far_out, far_in)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pass_on(near_out, far_in, way.clone()) => {}
        () = pass_on(far_out, near_in, way.clone()) => {}
        _ = way.wait_for(|way| way.state == State::Cut) => {}
    }
}

/// What was swallowed stays lost: whatever comes later on this connection would make no sense, so nothing does.
async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: watch::Receiver<Way>) {
    let mut buffer = vec![0; 16 * 1024];
    let mut lost = false;
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        lost |= way.borrow().state == State::Swallows;
        if !lost && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
