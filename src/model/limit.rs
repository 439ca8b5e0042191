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
        /// Requests for a message by an address, whatever came of them.
        SmsAsks = "sms_asks",
        /// Messages that an address asked for and the vendor failed to send.
        SmsFailedPerIp = "sms_failed_per_ip",
        /// Messages to a mobile that the vendor failed to send.
        SmsFailedPerMobile = "sms_failed_per_mobile",
        /// Messages to a block of addresses, and how few of their codes are redeemed. It refuses nothing by itself.
        SmsBlock = "sms_block",
        /// Messages to a prefix of numbers of whose codes few are redeemed. It refuses nothing by itself.
        SmsPrefix = "sms_prefix",
        /// Mobiles that an address under suspicion asks messages for with a picture.
        SmsSuspiciousPerIp = "sms_suspicious_per_ip",
        /// Requests for a message by an address that were told that the number is taken.
        MobileTaken = "mobile_taken",
        /// Wrong guesses at the SMS codes of a mobile.
        WrongCodes = "wrong_codes",
        /// Wrong guesses at the password of a mobile.
        WrongPasswords = "wrong_passwords",
        /// Wrong guesses at the SMS codes of a mobile by one of its known devices.
        WrongCodesOfDevice = "wrong_codes_of_device",
        /// Wrong guesses at the password of a mobile by one of its known devices.
        WrongPasswordsOfDevice = "wrong_passwords_of_device",
        /// Wrong guesses of an address at the SMS codes of all mobiles.
        WrongCodesPerIp = "wrong_codes_per_ip",
        /// Wrong guesses of an address at the passwords of all mobiles.
        WrongPasswordsPerIp = "wrong_passwords_per_ip",
        /// Guesses at a mobile beyond the number that there may be since the last right one.
        GuessesBeyond = "guesses_beyond",
        /// Wrong tries at one code by all that did not ask for it.
        StrangersTries = "strangers_tries",
        /// Wrong guesses at the fixed code of a test number.
        TestCodeGuesses = "test_code_guesses",
        /// Sign-ins of a mobile.
        SignInsPerUser = "sign_ins_per_user",
        /// Places of a network in the memory of a process without Redis.
        Places = "places",
        /// Requests of an address.
        Requests = "requests",
    }
}
