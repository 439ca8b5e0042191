//! Standing of a request about a number: known or stranger. The one place that decides it.

use std::sync::Arc;

use chrono::Duration;

use super::{device::DeviceHashes, sessions::MAX_SESSIONS};
use crate::{
    clock::Clock,
    model::{mobile::Mobile, origin::Origin},
    store::{
        StoreError,
        users::{Acquaintances, UserStore},
    },
};

/// How long a session makes its device and its networks known, after it was opened or refreshed. Rows of sessions are
/// kept for as long.
pub const KNOWN_FOR: Duration = Duration::days(90);

/// Who asks, measured by the sessions of the account that the number belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing shows that it is the owner, or the number has no account.
    Stranger,
    /// The request comes from a network (an IPv4 address, an IPv6 /64) where the owner signed in or refreshed. Behind the
    /// NAT of a carrier strangers do, too.
    KnownByNetwork,
    /// The request brings the device id of one of the sessions, or an access token of the account. With what names the
    /// device in counters.
    KnownByDevice(String),
}

/// What a look at the account of a number has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Who asks.
    pub standing: Standing,
    /// Does the number have an account, so that its owner has signed in before?
    pub has_account: bool,
}

/// Tells known requests from strangers.
pub struct Standings {
    /// Where sessions are kept.
    pub users: Arc<dyn UserStore>,
    /// What device ids are kept as.
    pub devices: DeviceHashes,
    /// What time it is.
    pub clock: Clock,
}

impl Standings {
    /// Looks up who asks about a number, by its newest sessions: one query, so only once a limit objects.
    pub async fn of(&self, mobile: &Mobile, origin: &Origin) -> Result<Found, StoreError> {
        let since = self.clock.now() - KNOWN_FOR;
        Ok(match self.users.acquaintances(mobile, since, MAX_SESSIONS).await? {
            Some(account) => Found { standing: self.standing(&account, origin), has_account: true },
            None => Found { standing: Standing::Stranger, has_account: false },
        })
    }

    fn standing(&self, account: &Acquaintances, origin: &Origin) -> Standing {
        let device = origin.device.id.as_ref().map(|id| self.devices.of(account.user_id, id));
        let brings_device = |device: &String| {
            account.sessions.iter().any(|session| session.device_hash.as_ref().is_some_and(|hash| hash == device))
        };
        if let Some(device) = device.filter(brings_device) {
            return Standing::KnownByDevice(device);
        }
        if origin.user_id == Some(account.user_id) {
            // A device without an id: all of an account's are one, and no other account's.
            return Standing::KnownByDevice(format!("token:{}", account.user_id));
        }
        let network = origin.ip.map(|_| origin.network());
        let comes_from = |network: &String| account.sessions.iter().any(|session| session.networks.contains(network));
        if network.as_ref().is_some_and(comes_from) { Standing::KnownByNetwork } else { Standing::Stranger }
    }
}
