//! The names of the limits.

use crate::named::named;

named! {
    /// Names a limit, in logs, metrics and keys. `docs/operations.md` lists them.
    pub enum LimitName {
        /// The gap between two messages to a mobile.
        SmsGap = "sms_gap",
        /// Messages to a mobile within a day.
        SmsPerMobile = "sms_per_mobile",
        /// Messages that an address asks for within an hour.
        SmsPerIp = "sms_per_ip",
        /// Messages in all within an hour.
        SmsTotal = "sms_total",
        /// Messages to a mobile of which none was redeemed. It asks for a picture, and refuses nothing.
        SmsUnredeemed = "sms_unredeemed",
        /// Mobiles that an address asks messages for. It asks for a picture, and refuses nothing.
        SmsMobilesPerIp = "sms_mobiles_per_ip",
        /// Wrong guesses at the SMS codes of a mobile.
        WrongCodes = "wrong_codes",
        /// Wrong guesses at the password of a mobile.
        WrongPasswords = "wrong_passwords",
        /// Requests of an address.
        Requests = "requests",
    }
}
