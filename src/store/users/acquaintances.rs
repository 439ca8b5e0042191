//! What shows that a request is the owner's.

use uuid::Uuid;

use crate::model::origin::network_of;

/// What shows that a request comes from the owner of an account: where they have signed in before.
#[derive(Clone, Debug)]
pub struct Acquaintances {
    /// Whose account it is.
    pub user_id: Uuid,
    /// The newest first. Sessions of which the owner has reason to think that they were not theirs are left out: those that
    /// were ended from another session, with others, by an operator, or because a refresh token was stolen.
    pub sessions: Vec<Acquaintance>,
}

/// A session that counts.
#[derive(Clone, Debug)]
pub struct Acquaintance {
    /// See [`DeviceKey::of_user`](crate::model::device::DeviceKey::of_user).
    pub device_hash: Option<String>,
    /// Where it was begun and last refreshed, see [`network_of`].
    pub networks: Vec<String>,
}

impl Acquaintance {
    pub(super) fn new(device_hash: Option<String>, ips: [Option<String>; 2]) -> Self {
        let networks = ips.into_iter().flatten().filter_map(|ip| Some(network_of(ip.parse().ok()?).to_string()));
        Self { device_hash, networks: networks.collect() }
    }

    /// Is there anything to know an owner by?
    pub(super) fn tells(&self) -> bool {
        self.device_hash.is_some() || !self.networks.is_empty()
    }
}
