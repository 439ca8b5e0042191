//! The servers that `REDIS_URL` names. Read once, at the start, so that a wrong one is a wrong setting.

use std::{fmt, str::FromStr};

use fred::types::config::Config;
use url::Url;

const EXPECTED: &str = "expected a redis:, redis-cluster: or redis-sentinel: URL";

/// A Redis that can be connected to. Its `Debug` hides the password.
#[derive(Clone)]
pub struct RedisUrl(pub(super) Config);

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redis")
    }
}

/// The error never quotes the URL: what stands where a port is expected may be a piece of a password.
impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = ["redis", "rediss"].iter().find_map(|scheme| text.strip_prefix(scheme)?.split_once("://"));
        let parameters: &[&str] = match kind {
            Some(("" | "s", _)) => &[],
            Some(("-cluster" | "s-cluster", _)) => &["node"],
            Some(("-sentinel" | "s-sentinel", _)) => {
                &["node", "sentinelServiceName", "sentinelUsername", "sentinelPassword"]
            }
            _ => return Err(EXPECTED.to_owned()),
        };
        let url = Url::parse(text).map_err(|error| format!("{EXPECTED} ({error})"))?;
        if url.fragment().is_some() {
            return Err("a # in its user name or password has to be percent-encoded".to_owned());
        }
        if url.port() == Some(0) {
            return Err("port: expected a number from 1 to 65535".to_owned());
        }
        if url.query_pairs().any(|(name, _)| !parameters.contains(&&*name)) {
            let expected = if parameters.is_empty() { "none".to_owned() } else { parameters.join(", ") };
            return Err(format!("unknown parameter after the ?: expected {expected}"));
        }
        let mut nodes = url.query_pairs().filter(|(name, _)| name == "node");
        if nodes.any(|(_, node)| Url::parse(&format!("redis://{node}")).map_or(0, |node| node.port().unwrap_or(0)) == 0)
        {
            return Err("node: expected host:port".to_owned());
        }
        let named = |(name, value): (_, std::borrow::Cow<'_, str>)| name == "sentinelServiceName" && !value.is_empty();
        if parameters.len() > 1 && !url.query_pairs().any(named) {
            return Err("sentinelServiceName is missing after the ?".to_owned());
        }
        let database = url.path().trim_start_matches('/');
        if !database.is_empty() && (parameters == ["node"] || database.parse::<u8>().is_err()) {
            return Err("expected the number of a database, 0 to 255, as its path; none for a cluster".to_owned());
        }
        // What the driver would say may hold a piece of the password.
        Config::from_url(text).map(Self).map_err(|_| EXPECTED.to_owned())
    }
}
