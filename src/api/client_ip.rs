//! Which address does a request come from, when proxies stand between?

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use poem::http::{HeaderMap, HeaderName};

/// Where proxies write who has asked them.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies whose word counts (`TRUSTED_PROXIES`).
#[derive(Clone, Debug)]
pub struct TrustedProxies(pub Vec<IpNet>);

impl TrustedProxies {
    /// Walks `X-Forwarded-For` from the right: each trusted hop vouches for the entry before it. The first address
    /// that is not a trusted proxy is the client; what stands left of it anybody could have written.
    pub fn client_ip(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        // As bytes: a line that is not text may end with what our own proxy has added to it.
        let lines = headers.get_all(X_FORWARDED_FOR).iter();
        let hops: Vec<&[u8]> = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).collect();
        let mut client = peer;
        for hop in hops.iter().rev() {
            if !self.trusts(client) {
                break;
            }
            let Some(address) = parse(hop) else { break };
            client = address;
        }
        client
    }

    /// Does a trusted proxy name the client of this connection?
    pub fn name_client(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let last = headers.get_all(X_FORWARDED_FOR).iter().next_back();
        let hop = last.and_then(|line| line.as_bytes().rsplit(|byte| *byte == b',').next());
        self.trusts(peer) && hop.is_some_and(|hop| parse(hop).is_some())
    }

    /// Is this one of them?
    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Some proxies add a port, and write IPv6 in brackets.
fn parse(hop: &[u8]) -> Option<IpAddr> {
    let hop = str::from_utf8(hop).ok()?.trim();
    let address = hop
        .parse()
        .or_else(|_| hop.parse().map(|address: SocketAddr| address.ip()))
        .or_else(|_| hop.trim_start_matches('[').trim_end_matches(']').parse());
    address.ok().map(|address: IpAddr| address.to_canonical())
}
