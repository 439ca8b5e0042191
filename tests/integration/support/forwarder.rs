//! How does an address move from one server to another? Connections that are there stay where they are.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A port of this machine that leads to another one.
pub struct Forwarder {
    pub port: u16,
    target: Arc<AtomicU16>,
    work: JoinHandle<()>,
}

impl Forwarder {
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Arc::new(AtomicU16::new(target));
        let current = target.clone();
        let work = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let port = current.load(Ordering::Relaxed);
                tokio::spawn(async move {
                    // A server that is gone closes the client's connection.
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                        drop(copy_bidirectional(&mut client, &mut server).await);
                    }
                });
            }
        });
        Self { port, target, work }
    }

    /// Leads whoever connects from now on somewhere else.
    pub fn move_to(&self, target: u16) {
        self.target.store(target, Ordering::Relaxed);
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.work.abort();
    }
}
