//! Where do SMS codes come from? Through the front door: ask for one, and be the vendor that delivers it.

use std::{cell::RefCell, collections::HashMap, io, net::SocketAddr, rc::Rc};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    http::{Connection, content_length, member, read_body, read_head},
    requests::{Mobile, WithMobile},
};

/// How many ask at the same time. More brings no more codes a second.
const ASKING: usize = 32;

/// What arrived and was not fetched yet, by mobile.
type Arrived = Rc<RefCell<HashMap<Mobile, [u8; 6]>>>;

/// The vendor at the end of the service's webhook.
pub struct Vendor {
    service: SocketAddr,
    arrived: Arrived,
}

impl Vendor {
    /// Listens where `SMS_WEBHOOK_URL` of the service points to.
    pub async fn listen(address: SocketAddr, service: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let arrived = Arrived::default();
        let inbox = arrived.clone();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(deliver(stream, inbox.clone()));
            }
        });
        Ok(Self { service, arrived })
    }

    /// Asks for a code for each of these mobiles, and returns those that came.
    ///
    /// # Errors
    /// When the service cannot be reached, or answers anything but 200.
    pub async fn codes(&self, mobiles: Vec<Mobile>) -> io::Result<Vec<(Mobile, [u8; 6])>> {
        let waiting = Rc::new(RefCell::new(mobiles.clone()));
        let mut asking = JoinSet::new();
        for _ in 0..ASKING.min(mobiles.len()) {
            asking.spawn_local(ask(self.service, waiting.clone()));
        }
        while let Some(asked) = asking.join_next().await {
            asked.expect("no panic")?;
        }
        let mut arrived = self.arrived.borrow_mut();
        let codes: Vec<_> = mobiles.into_iter().filter_map(|mobile| Some((mobile, arrived.remove(&mobile)?))).collect();
        arrived.clear();
        Ok(codes)
    }
}

async fn ask(service: SocketAddr, waiting: Rc<RefCell<Vec<Mobile>>>) -> io::Result<()> {
    let mut connection = Connection::open(service).await?;
    let mut request = WithMobile::send();
    loop {
        let Some(mobile) = waiting.borrow_mut().pop() else { return Ok(()) };
        let response = connection.ask(request.with(mobile)).await?;
        if response.status != 200 {
            let body = String::from_utf8_lossy(response.body);
            return Err(io::Error::other(format!("no code: {} {body}", response.status)));
        }
    }
}

/// Takes messages from one connection of the service until it is closed.
async fn deliver(mut stream: TcpStream, arrived: Arrived) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let body = read_head(&mut stream, &mut buffer).await?;
        let end = body + content_length(&buffer[..body]).unwrap_or(0);
        read_body(&mut stream, &mut buffer, end).await?;
        let message = &buffer[body..end];
        let mobile = member(message, "mobile").and_then(|digits| digits.try_into().ok());
        let code = member(message, "code").and_then(|digits| digits.try_into().ok());
        if let (Some(mobile), Some(code)) = (mobile, code) {
            arrived.borrow_mut().insert(mobile, code);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
        buffer.clear();
    }
}
