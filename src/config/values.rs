//! URLs, hosts and networks as values of settings.
//!
//! No reason quotes the value: who prints it knows whether it may be shown.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use ipnet::{IpNet, Ipv4Net};
use secrecy::SecretString;
use url::{Host, Url};

use crate::sms;

fn parse_http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| "expected an http: or https: URL".to_owned())
}

/// What paths are appended to.
pub fn parse_base_url(text: &str) -> Result<Url, String> {
    let HiddenUrl(url) = parse_collector_url(text)?;
    if url.username().is_empty() && url.password().is_none() {
        Ok(url)
    } else {
        Err("expected an http: or https: URL without user name and password".to_owned())
    }
}

/// A base URL that may have a user name and a password.
pub fn parse_collector_url(text: &str) -> Result<HiddenUrl, String> {
    let url = parse_http_url(text)?;
    if url.query().is_none() && url.fragment().is_none() {
        Ok(HiddenUrl(url))
    } else {
        Err("expected an http: or https: URL without ? and #".to_owned())
    }
}

/// A URL that may hold a password or a token. Its `Debug` hides it.
#[derive(Clone)]
pub struct HiddenUrl(pub Url);

impl fmt::Debug for HiddenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Where requests go as they are.
pub fn parse_webhook_url(text: &str) -> Result<HiddenUrl, String> {
    let url = parse_http_url(text)?;
    if url.fragment().is_none() {
        Ok(HiddenUrl(url))
    } else {
        Err("expected an http: or https: URL without #".to_owned())
    }
}

pub fn parse_webhook_secret(text: &str) -> Result<SecretString, String> {
    let secret = SecretString::from(text);
    sms::check_webhook_secret(&secret).map(|()| secret)
}

/// A name without scheme, port and path, in ASCII: what stands behind the @ in a message is compared with it.
pub fn parse_host_name(text: &str) -> Result<String, String> {
    let is_name = matches!(Host::parse(text), Ok(Host::Domain(name)) if name.eq_ignore_ascii_case(text));
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let labels = text.split('.').all(|label| !label.is_empty());
    if is_name && plain && labels {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("expected the name of a host alone, such as login.example.com (other letters than those of ASCII as xn--…)"
            .to_owned())
    }
}

/// A network, or a single address. One of IPv4 in the clothes of IPv6 is the IPv4 one, as peers are.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network =
        network.map_err(|_| "expected addresses or networks such as 10.0.0.0/8 with commas between".to_owned())?;
    let mapped = match network {
        IpNet::V6(network) => network.addr().to_ipv4_mapped().zip(network.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    Ok(mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(network, IpNet::V4))
}

/// Do two listeners want the same address?
pub fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    // An IPv6 wildcard takes IPv4 as well.
    let covers = |one: IpAddr, other: IpAddr| one.is_unspecified() && (one.is_ipv6() || other.is_ipv4());
    let (one_ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port()
        && one.port() != 0
        && (one_ip == other_ip || covers(one_ip, other_ip) || covers(other_ip, one_ip))
}

/// A wrong value as it is shown: of a URL neither user name and password nor what stands behind ? or #.
pub fn shown(value: &str) -> String {
    let Some((before, after)) = value.split_once("://") else {
        return value.rsplit_once('@').map_or_else(|| value.to_owned(), |(_, rest)| format!("***@{rest}"));
    };
    // Up to the last @: a password need not be encoded as it should be.
    let after = after.rsplit_once('@').map_or_else(|| after.to_owned(), |(_, rest)| format!("***@{rest}"));
    let end = after.find(['?', '#']).map_or(after.len(), |mark| mark + 1);
    let (start, rest) = after.split_at(end);
    format!("{before}://{start}{}", if rest.is_empty() { "" } else { "***" })
}
