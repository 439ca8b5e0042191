//! Whether a request comes from this machine, as far as can be told. What developers alone may see depends on it.

use std::net::IpAddr;

use poem::{
    Request,
    http::{HeaderName, header},
};

use super::client_ip::TrustedProxies;

/// What proxies and content networks add beside names with [`PARTS_OF_MARKS`] in them.
const MARKS_OF_PROXIES: [&str; 6] =
    ["via", "x-real-ip", "cf-connecting-ip", "cf-ray", "cdn-loop", "x-envoy-external-address"];

/// Parts of the names in which proxies put the client's address.
const PARTS_OF_MARKS: [&str; 3] = ["forwarded", "client-ip", "clientip"];

/// Peer and client have to be of this machine. Unless a trusted proxy names the client, nothing may look like a proxy
/// that is not declared, and the host has to have a name that no other machine reaches it by: a page of a stranger
/// may have its name point here (DNS rebinding). A proxy that adds no header and changes the host cannot be told from
/// a developer.
pub fn is_local(request: &Request, proxies: &TrustedProxies, peer: Option<IpAddr>, client: Option<IpAddr>) -> bool {
    let loopback = [peer, client].iter().all(|ip| ip.is_some_and(|ip| ip.is_loopback()));
    let named_by_proxy = peer.is_some_and(|peer| proxies.name_client(peer, request.headers()));
    loopback && (named_by_proxy || !request.headers().keys().any(marks_proxy) && has_local_host(request))
}

fn marks_proxy(name: &HeaderName) -> bool {
    let name = name.as_str();
    MARKS_OF_PROXIES.contains(&name) || PARTS_OF_MARKS.iter().any(|part| name.contains(part))
}

fn has_local_host(request: &Request) -> bool {
    let hosts: Vec<_> = request.headers().get_all(header::HOST).iter().collect();
    let targeted = request.original_uri().authority();
    !hosts.is_empty()
        && hosts.iter().all(|host| host.to_str().is_ok_and(is_local_name))
        && targeted.is_none_or(|authority| is_local_name(authority.as_str()))
}

/// `localhost` and all below it (RFC 6761, 6.3), and loopback addresses, with or without a port and nothing else: of
/// `[::1]x` and `x@localhost`, every parser makes something else.
fn is_local_name(host: &str) -> bool {
    let end = if host.starts_with('[') {
        host.find(']').map_or(0, |end| end + 1)
    } else {
        host.find(':').unwrap_or(host.len())
    };
    let (name, port) = host.split_at(end);
    if !port.is_empty() && port.strip_prefix(':').is_none_or(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).parse::<IpAddr>();
    match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            name == "localhost"
                || name.strip_suffix(".localhost").is_some_and(|below| !below.contains(['@', '/', '\\']))
        }
    }
}
