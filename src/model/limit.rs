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
        /// Requests for messages that an address makes, sent or refused.
        SmsAsks = "sms_asks",
        /// Failed messages that an address asked for.
        SmsFailedPerIp = "sms_failed_per_ip",
        /// Failed messages to a mobile.
        SmsFailedPerMobile = "sms_failed_per_mobile",
        /// How often an address has learnt from the classic families that a mobile is registered.
        MobileTaken = "mobile_taken",
        /// Messages to a mobile of which none was redeemed: suspicious, never refused.
        SmsUnredeemed = "sms_unredeemed",
        /// Mobiles that an address asks messages for: suspicious, never refused.
        SmsMobilesPerIp = "sms_mobiles_per_ip",
        /// Messages that the addresses of a block asked for: suspicious, never refused.
        SmsBlock = "sms_block",
        /// Messages to mobiles of one prefix: suspicious, never refused.
        SmsPrefix = "sms_prefix",
        /// Mobiles for which an address under suspicion gets messages for pictures alone, in the classic families.
        SmsSuspiciousPerIp = "sms_suspicious_per_ip",
        /// Wrong tries, of all who did not ask for it together, at one code.
        StrangersTries = "strangers_tries",
        /// Wrong guesses of a network at the codes of a mobile.
        WrongCodes = "wrong_codes",
        /// Wrong guesses of strangers together at the codes of a mobile.
        WrongCodesOfStrangers = "wrong_codes_of_strangers",
        /// Wrong guesses of known networks together at the codes of a mobile.
        WrongCodesOfKnownNetworks = "wrong_codes_of_known_networks",
        /// Wrong guesses of a known device at the codes of a mobile.
        WrongCodesOfDevice = "wrong_codes_of_device",
        /// Wrong guesses at the codes of a mobile since the last right one.
        WrongCodesInAll = "wrong_codes_in_all",
        /// Wrong guesses of an address at the codes of all mobiles.
        WrongCodesPerIp = "wrong_codes_per_ip",
        /// Wrong guesses of a network at the password of a mobile.
        WrongPasswords = "wrong_passwords",
        /// Wrong guesses of strangers together at the password of a mobile.
        WrongPasswordsOfStrangers = "wrong_passwords_of_strangers",
        /// Wrong guesses of known networks together at the password of a mobile.
        WrongPasswordsOfKnownNetworks = "wrong_passwords_of_known_networks",
        /// Wrong guesses of a known device at the password of a mobile.
        WrongPasswordsOfDevice = "wrong_passwords_of_device",
        /// Wrong guesses at the password of a mobile since the last right one.
        WrongPasswordsInAll = "wrong_passwords_in_all",
        /// Wrong guesses of an address at the passwords of all mobiles.
        WrongPasswordsPerIp = "wrong_passwords_per_ip",
        /// Guesses with a challenge, beyond those in all.
        GuessesBeyond = "guesses_beyond",
        /// Wrong guesses at the fixed code of a test number.
        TestCodeGuesses = "test_code_guesses",
        /// Sign-ins of a mobile.
        SignInsPerUser = "sign_ins_per_user",
        /// Requests of an address.
        Requests = "requests",
        /// Places of a network in the in-process store.
        Places = "places",
    }
}
