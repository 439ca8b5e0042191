//! A real HAProxy in front of several instances: it asks each whether it is ready, and leaves out those that are not.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::{
    backends,
    process::{Running, free_port, until},
};

/// A load balancer.
pub struct Balancer {
    pub url: String,
    _haproxy: Running,
    // Dropped last: HAProxy reads from it.
    _folder: TempDir,
}

impl Balancer {
    /// Spreads requests over these addresses.
    pub async fn over(addresses: &[&str]) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let servers = addresses.iter().enumerate();
        let servers: String = servers.map(|(n, address)| format!("    server s{n} {address}\n")).collect();
        // As docs/operations.md advises.
        let config = format!(
            "defaults
    mode http
    timeout connect 1s
    timeout client 40s
    timeout server 40s
    retries 2
    option redispatch
    retry-on conn-failure

frontend public
    bind 127.0.0.1:{port}
    default_backend phonepass

backend phonepass
    balance roundrobin
    option httpchk GET /readyz
    timeout check 2s
    default-server check inter 200ms fall 1 rise 1
{servers}"
        );
        let path = folder.path().join("haproxy.cfg");
        fs::write(&path, config).unwrap();
        let mut haproxy = Command::new(backends::server("TEST_HAPROXY"));
        haproxy.arg("-db").arg("-f").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut haproxy = Running::start(&mut haproxy);
        until("HAProxy is up", Duration::from_secs(30), async || {
            assert_eq!(haproxy.exit_code(), None, "HAProxy does not start");
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        Self { url: format!("http://127.0.0.1:{port}"), _haproxy: haproxy, _folder: folder }
    }
}
