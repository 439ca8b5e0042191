//! Requests of any kind, by address.

use super::{Admission, Error, LimitName, Limits, MINUTE, Origin, limit, limited, tally};

impl Limits {
    /// Counts a request of any kind. If the store is down, the request is allowed: tokens verify without any store.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`].
    pub async fn request(&self, origin: &Origin) -> Result<(), Error> {
        let per_minute = self.settings.requests_per_ip_per_minute;
        if per_minute == 0 || self.is_exempt(origin) {
            return Ok(());
        }
        let network = origin.network();
        let counter = limit(LimitName::Requests, &network, MINUTE, per_minute);
        match self.codes.count(&tally(self.clock.now(), network, vec![counter])).await {
            Ok(Admission::Refused { name, retry_after }) => Err(limited(name, retry_after, None, origin)),
            Ok(Admission::Admitted | Admission::Suspicious { .. }) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "failed to count the request, allowed");
                Ok(())
            }
        }
    }
}
