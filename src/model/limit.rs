//! The names of the limits.

/// Defines the names and how logs, metrics, keys and `docs/operations.md` write them, each once.
macro_rules! limit_names {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Names a limit, in logs, metrics and keys.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum LimitName {
            $($(#[$doc])* $name,)*
        }

        impl LimitName {
            /// Every limit.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name as logs, metrics and keys have it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

limit_names! {
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
