//! What does the framework cost alone? A server that answers 204 to everything and does nothing.

use poem::{EndpointExt, Server, endpoint, http::StatusCode, listener::TcpListener};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).expect("usage: empty ADDRESS:PORT");
    let answer = endpoint::make_sync(|_| StatusCode::NO_CONTENT);
    Server::new(TcpListener::bind(address)).run(answer.boxed()).await
}
