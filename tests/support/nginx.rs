//! How does a test put a reverse proxy in front of an application? A real nginx, with the configuration of `deploy/`.

use std::{
    fs,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use phonepass::server::{self, Connections};
use poem::{Body, Endpoint, EndpointExt, Request, Response, Result};
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{
    Answer,
    needs::need,
    process::{Running, free_port, until},
};

const CONFIG: &str = include_str!("../../deploy/nginx/phonepass.conf");

/// What stands around `conf.d` in a machine's own nginx.conf, with all files in the folder of the test. One process,
/// so that nothing is left when it is killed.
const AROUND: &str = "
    daemon off;
    master_process off;
    pid nginx.pid;
    error_log error.log;
    events {}
    http {
        access_log off;
        client_body_temp_path body;
        proxy_temp_path proxy;
        fastcgi_temp_path fastcgi;
        uwsgi_temp_path uwsgi;
        scgi_temp_path scgi;
        include phonepass.conf;
    }
";

/// An application that tells what reached it, behind an nginx that asks Phonepass.
pub struct Proxied {
    pub url: String,
    client: reqwest::Client,
    reached: Arc<AtomicUsize>,
    application: JoinHandle<Connections>,
    _nginx: Nginx,
}

/// A process with a part of a configuration that is for the block `http`.
pub struct Nginx {
    _running: Running,
    // Dropped last: nginx writes into it.
    _folder: TempDir,
}

impl Nginx {
    /// Starts it, and waits until it listens on this port, as the configuration says.
    pub async fn start(config: &str, port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("phonepass.conf"), config).unwrap();
        fs::write(folder.path().join("nginx.conf"), AROUND).unwrap();
        let mut nginx = Command::new(need("TEST_NGINX"));
        nginx.arg("-p").arg(folder.path()).args(["-c", "nginx.conf"]);
        nginx.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut nginx = Running::start(&mut nginx);
        until("nginx is up", Duration::from_secs(30), async || {
            if nginx.exit_code().is_some() {
                panic!("nginx: {}", fs::read_to_string(folder.path().join("error.log")).unwrap_or_default());
            }
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        Self { _running: nginx, _folder: folder }
    }
}

impl Proxied {
    /// Asks the Phonepass at this URL.
    pub async fn by(phonepass: &str) -> Self {
        let reached = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let application = listener.local_addr().unwrap().to_string();
        let echo = Echo(reached.clone()).boxed();
        let port = free_port();
        let mut config = CONFIG.to_owned();
        for (written, here) in [
            ("server 127.0.0.1:8000;", format!("server {};", phonepass.strip_prefix("http://").unwrap())),
            ("server 127.0.0.1:3000;", format!("server {application};")),
            ("listen 8080;", format!("listen 127.0.0.1:{port};")),
        ] {
            assert_eq!(config.matches(written).count(), 1, "{written}");
            config = config.replace(written, &here);
        }
        Self {
            url: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build().unwrap(),
            reached,
            application: tokio::spawn(server::serve(listener, echo, std::future::pending())),
            _nginx: Nginx::start(&config, port).await,
        }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub async fn get_as(&self, path: &str, token: &str) -> Answer {
        Answer::to(self.request(Method::GET, path).bearer_auth(token)).await
    }

    /// How many requests have reached the application?
    pub fn reached(&self) -> usize {
        self.reached.load(Ordering::Relaxed)
    }
}

impl Drop for Proxied {
    fn drop(&mut self) {
        self.application.abort();
    }
}

/// Answers with the request: method, path, headers (all values of each), body.
struct Echo(Arc<AtomicUsize>);

impl Endpoint for Echo {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let body = request.take_body().into_string().await?;
        let mut headers = json!({});
        for name in request.headers().keys() {
            let values = request.headers().get_all(name).iter().map(|value| value.to_str().unwrap());
            headers[name.as_str()] = values.collect();
        }
        let (method, path) = (request.method().as_str(), request.uri().path());
        let told = json!({ "method": method, "path": path, "headers": headers, "body": body });
        Ok(Response::builder().content_type("application/json").body(Body::from_string(told.to_string())))
    }
}
