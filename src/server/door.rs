//! The bounds of connections: so many an address, as long as there is room.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ipnet::IpNet;

use super::room::Room;
use crate::{config::Config, model::origin::network_of, telemetry::metrics};

const BY_ADDRESS: &str = "address";
const FOR_ROOM: &str = "room";

/// The door of one listener.
#[derive(Debug)]
pub struct Door {
    room: Arc<Room>,
    /// `CONNECTIONS_PER_IP`; 0 is no bound.
    per_address: u32,
    /// Peers that speak for many clients, or that the operator trusts with more.
    exempt: Vec<IpNet>,
    open: Mutex<HashMap<IpAddr, u32>>,
    warned: AtomicBool,
}

/// One connection's place, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    door: Arc<Door>,
    /// The address that it counts for; `None` for exempt peers.
    counted: Option<IpAddr>,
}

impl Door {
    /// Lets in at most so many connections an address.
    pub fn new(room: Arc<Room>, per_address: u32, exempt: Vec<IpNet>) -> Arc<Self> {
        for reason in [BY_ADDRESS, FOR_ROOM] {
            metrics::CONNECTIONS_REFUSED.expect([reason]);
        }
        Arc::new(Self { room, per_address, exempt, open: Mutex::default(), warned: AtomicBool::new(false) })
    }

    /// The door that the settings ask for.
    pub fn of(config: &Config, room: Arc<Room>) -> Arc<Self> {
        let exempt = [&config.trusted_proxies, &config.limit_exempt].into_iter().flatten().copied().collect();
        Self::new(room, config.connections_per_ip, exempt)
    }

    /// Lets in all who come.
    pub fn wide_open() -> Arc<Self> {
        Self::new(Room::unbounded(), 0, Vec::new())
    }

    /// A place for a connection of this peer, if there is one.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        let exempt = self.exempt.iter().any(|network| network.contains(&peer));
        let counted = (!exempt).then(|| network_of(peer));
        if let Some(address) = counted
            && !self.count(address)
        {
            metrics::CONNECTIONS_REFUSED.count([BY_ADDRESS]);
            self.warn_of(peer);
            return None;
        }
        if !self.room.take() {
            metrics::CONNECTIONS_REFUSED.count([FOR_ROOM]);
            self.discount(counted);
            return None;
        }
        metrics::CONNECTIONS_OPEN.add([], 1.0);
        Some(Place { door: self.clone(), counted })
    }

    fn count(&self, address: IpAddr) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.entry(address).or_insert(0);
        if self.per_address > 0 && *open >= self.per_address {
            return false;
        }
        *open += 1;
        true
    }

    fn discount(&self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = open.entry(address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// A proxy that is not declared brings all clients from one address.
    fn warn_of(&self, peer: IpAddr) {
        if is_near(peer) && !self.warned.swap(true, Ordering::Relaxed) {
            let connections = self.per_address;
            tracing::warn!(
                %peer,
                connections,
                "connections beyond CONNECTIONS_PER_IP are refused; if this peer is a proxy, name it in TRUSTED_PROXIES"
            );
        }
    }
}

impl Place {
    /// How long the server waits for this peer where it would wait for this long. Exempt peers have their time: a proxy
    /// may have a request on its way.
    pub(super) fn patience(&self, full: Duration) -> Duration {
        if self.counted.is_some() { self.door.room.patience(full) } else { full }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.discount(self.counted);
        self.door.room.give_back();
        metrics::CONNECTIONS_OPEN.add([], -1.0);
    }
}

/// Is this a machine of the operator's own network, as proxies are? Load balancers of clouds use 100.64.0.0/10, too
/// (RFC 6598).
fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_ipv4_or_a_64_of_ipv6() {
        let room = Room::of(100);
        let door = Door::new(room.clone(), 2, vec!["192.0.2.0/24".parse().unwrap()]);
        let enter = |address: &str| door.enter(address.parse().unwrap());
        let mut inside = Vec::new();
        for (address, enters) in [
            ("198.51.100.1", true),
            ("::ffff:198.51.100.1", true),
            ("198.51.100.1", false),
            ("198.51.100.2", true),
            ("2001:db8::1", true),
            ("2001:db8::ffff:1", true),
            ("2001:db8:0:0:9::1", false),
            ("2001:db8:0:1::1", true),
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.2.1", true),
        ] {
            let place = enter(address);
            assert_eq!(place.is_some(), enters, "{address}");
            inside.extend(place);
        }
        assert_eq!(room.open(), inside.len());
        inside.clear();
        assert_eq!(room.open(), 0);
        assert!(door.open.lock().unwrap().is_empty(), "what is closed takes no memory");
        assert!(enter("198.51.100.1").is_some());
    }

    #[test]
    fn a_place_that_there_is_no_room_for_counts_for_no_address() {
        let door = Door::new(Room::of(1), 2, Vec::new());
        let _inside = door.enter("198.51.100.1".parse().unwrap()).unwrap();
        for _ in 0..10 {
            assert!(door.enter("198.51.100.2".parse().unwrap()).is_none());
        }
        assert_eq!(door.open.lock().unwrap().len(), 1);
    }

    #[test]
    fn proxies_are_near() {
        for near in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        for far in ["203.0.113.1", "100.128.0.1", "172.32.0.1", "2001:db8::1"] {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }
}
