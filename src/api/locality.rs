//! Whether a request comes from this machine, as far as can be told. What developers alone may see depends on it.

use std::net::IpAddr;

use poem::{
    Request,
    http::{HeaderName, header, uri::Authority},
};

use super::client_ip::TrustedProxies;

/// What proxies and content networks add beside `X-Forwarded-…`.
const MARKS_OF_PROXIES: [&str; 6] =
    ["forwarded", "via", "x-real-ip", "x-client-ip", "cf-connecting-ip", "true-client-ip"];

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
    name.as_str().starts_with("x-forwarded-") || MARKS_OF_PROXIES.contains(&name.as_str())
}

fn has_local_host(request: &Request) -> bool {
    let hosts: Vec<_> = request.headers().get_all(header::HOST).iter().collect();
    let targeted = request.original_uri().authority();
    !hosts.is_empty()
        && hosts.iter().all(|host| Authority::try_from(host.as_bytes()).is_ok_and(|host| is_local_name(&host)))
        && targeted.is_none_or(is_local_name)
}

/// `localhost` and all below it (RFC 6761, 6.3), and loopback addresses.
fn is_local_name(authority: &Authority) -> bool {
    let name = authority.host().to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => {
            let name = name.strip_suffix('.').unwrap_or(&name);
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}
