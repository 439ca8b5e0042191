//! What is a one-time code for?

/// The purpose that a code is bound to (ASVS 6.6.2): worthless for any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Signing in or registering, in all families.
    Login,
    /// Setting a new password.
    ResetPassword,
    /// Moving an account to another number.
    ChangeMobile,
    /// Deleting the account.
    DeleteAccount,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 4] = [Self::Login, Self::ResetPassword, Self::ChangeMobile, Self::DeleteAccount];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::ResetPassword => "reset_password",
            Self::ChangeMobile => "change_mobile",
            Self::DeleteAccount => "delete_account",
        }
    }

    /// Is this something that only a signed-in user does?
    pub fn needs_sign_in(self) -> bool {
        matches!(self, Self::ChangeMobile | Self::DeleteAccount)
    }

    /// Reads the name on the wire.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == name)
    }
}
