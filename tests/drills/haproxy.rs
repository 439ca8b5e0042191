//! A real HAProxy in front of several instances, with the configuration of `deploy/`: it asks each whether it is ready,
//! and leaves out those that are not.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::{
    needs::need,
    process::{Running, free_port, until},
};

const CONFIG: &str = include_str!("../../deploy/haproxy/haproxy.cfg");

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
        let mut config = CONFIG.to_owned();
        for (written, here) in [
            ("    bind :8080\n", format!("    bind 127.0.0.1:{port}\n")),
            ("    server a phonepass-a:8000\n    server b phonepass-b:8000\n", servers),
        ] {
            assert_eq!(config.matches(written).count(), 1, "{written}");
            config = config.replace(written, &here);
        }
        let path = folder.path().join("haproxy.cfg");
        fs::write(&path, config).unwrap();
        let mut haproxy = Command::new(need("TEST_HAPROXY"));
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
