//! Where do messages arrive? The webhook of the service, and so every phone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use phonepass::server;
use poem::{Endpoint, Request, Response, Result};
use serde_json::Value;
use tokio::net::TcpListener;

/// The last code that reached each number.
#[derive(Clone, Default)]
pub struct Phones(Arc<Mutex<HashMap<String, String>>>);

impl Phones {
    /// Starts to listen; returns the URL.
    pub async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(server::serve(listener, self.clone(), std::future::pending()));
        url
    }

    pub fn code(&self, mobile: &str) -> Option<String> {
        self.0.lock().unwrap().get(mobile).cloned()
    }
}

impl Endpoint for Phones {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let message: Value = request.take_body().into_json().await?;
        let text = |name: &str| message[name].as_str().unwrap().to_owned();
        self.0.lock().unwrap().insert(text("mobile"), text("code"));
        Ok(Response::default())
    }
}
