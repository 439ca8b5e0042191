//! Keyed hashes of device ids.

use hmac::Mac;
use uuid::Uuid;

use super::master_key::{HmacSha256, MasterKey};
use crate::model::device::{DeviceId, DeviceKey};

/// Hashes the ids of devices, so that the database tells neither an id nor which users share a device.
#[derive(Clone)]
pub struct DeviceHashes(HmacSha256);

impl DeviceHashes {
    /// Keyed from the master key.
    pub fn new(master: &MasterKey) -> Self {
        Self(master.hmac("device"))
    }

    /// What a new session hands to the store.
    pub fn key(&self, id: &DeviceId) -> DeviceKey {
        DeviceKey(self.0.clone().chain_update(id.expose()).finalize().into_bytes().into())
    }

    /// The hash that sessions of a user on this device have.
    pub fn of(&self, user_id: Uuid, id: &DeviceId) -> String {
        self.key(id).of_user(user_id)
    }
}
