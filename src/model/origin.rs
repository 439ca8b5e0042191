//! Where does a request come from?

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Weak},
};

use ipnet::IpNet;
use uuid::Uuid;

use super::device::Device;

/// What a request tells about its sender: kept with a session, counted in limits, written to the event log.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// The `User-Agent`, at most 256 characters.
    pub user_agent: Option<String>,
    /// The `X-Request-Id`.
    pub request_id: String,
    /// Is it this machine, as far as can be told?
    pub is_local: bool,
    /// Does the sender still wait?
    pub presence: Presence,
    /// The device that the sender describes.
    pub device: Device,
    /// Whose valid access token the request carries, where a handler has looked.
    pub user_id: Option<Uuid>,
}

/// Tells whether anybody still waits for the answer to a request.
#[derive(Clone, Debug, Default)]
pub struct Presence(Option<Weak<()>>);

impl Presence {
    /// Somebody waits for as long as this is held.
    pub fn while_held(token: &Arc<()>) -> Self {
        Self(Some(Arc::downgrade(token)))
    }

    /// Has the sender gone away? Never for work that was not asked for by a request.
    pub fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|token| token.strong_count() == 0)
    }
}

impl Origin {
    /// What limits count as one address, see [`network_of`].
    pub fn network(&self) -> String {
        self.ip.map_or_else(|| "unknown".to_owned(), |ip| network_of(ip).to_string())
    }

    /// The blocks that the address lies in, such as one buyer of many addresses has: a /24 in IPv4, a /56 and a /48 in
    /// IPv6.
    pub fn blocks(&self) -> Vec<String> {
        let Some(ip) = self.ip else { return vec![] };
        let smaller = ip.is_ipv6().then(|| block(ip, 56));
        smaller.into_iter().chain([largest_block_of(ip)]).map(|block| block.to_string()).collect()
    }
}

/// The largest block that one buyer of addresses usually has: a /24 in IPv4, a /48 in IPv6.
pub fn largest_block_of(ip: IpAddr) -> IpNet {
    block(ip, if ip.is_ipv4() { 24 } else { 48 })
}

fn block(ip: IpAddr, length: u8) -> IpNet {
    IpNet::new(ip, length).expect("no longer than the address").trunc()
}

/// The network of an address: an IPv4 address, or the /64 that one IPv6 customer has to themselves.
pub fn network_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}
