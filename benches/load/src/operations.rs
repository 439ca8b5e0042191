//! What can be asked of the service, and what is the right answer?

use std::{cell::RefCell, collections::VecDeque, fmt, io, net::SocketAddr, rc::Rc, str::FromStr};

use clap::ValueEnum;

use crate::{
    codes::Vendor,
    http::{Connection, member},
    population::{Population, new_mobile},
    requests::{Mobile, WithMobile, WithPart, plain},
};

/// One kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Operation {
    /// A new user signs in with a code
    Register,
    /// A user signs in with a code
    SignIn,
    /// A refresh token is traded in
    Refresh,
    /// A user asks who they are
    Me,
    /// A reverse proxy asks whether a token is good
    Check,
    /// A user signs in with the password
    Password,
    /// Somebody needs a picture code
    Picture,
    /// A user wants a code
    Send,
    /// A server that does nothing is asked
    Empty,
}

impl Operation {
    /// The only status that is no error.
    pub fn expected_status(self) -> u16 {
        match self {
            Self::Register | Self::SignIn | Self::Refresh | Self::Password => 201,
            Self::Me | Self::Picture | Self::Send => 200,
            Self::Check | Self::Empty => 204,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("none is skipped").get_name())
    }
}

/// An operation on so many connections: `sign_in:64`, or `sign_in:64@9000` to offer 9000 a second.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// What is asked.
    pub operation: Operation,
    /// How many connections ask.
    pub connections: usize,
    /// Requests a second; without, each connection asks again as soon as it has its answer.
    pub rate: Option<f64>,
}

impl FromStr for Offer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (operation, rest) = text.split_once(':').ok_or("expected operation:connections")?;
        let (connections, rate) = rest.split_once('@').map_or((rest, None), |(n, rate)| (n, Some(rate)));
        Ok(Self {
            operation: Operation::from_str(operation, false)?,
            connections: connections.parse().map_err(|error| format!("{connections}: {error}"))?,
            rate: rate.map(str::parse).transpose().map_err(|error| format!("{rest}: {error}"))?,
        })
    }
}

type Logins = Rc<RefCell<VecDeque<(Mobile, [u8; 6])>>>;

/// Where operations take what they need: numbers, codes, tokens.
pub struct Supplies {
    service: SocketAddr,
    vendor: Vendor,
    users: Rc<RefCell<Population>>,
    users_with_password: Rc<RefCell<Population>>,
    /// How many sessions take part.
    sessions: usize,
}

impl Supplies {
    /// For a population of so many users from the mobile `first` on, of whom every `password_every`-th has a password.
    pub fn new(
        service: SocketAddr,
        vendor: Vendor,
        first: u64,
        users: u32,
        password_every: usize,
        sessions: usize,
    ) -> Self {
        let population = |step| Rc::new(RefCell::new(Population::new(first, users, step)));
        Self { service, vendor, users: population(1), users_with_password: population(password_every), sessions }
    }

    /// What each connection of an offer will ask, and the codes that they share, if they need any.
    pub async fn scripts(&self, offer: Offer) -> io::Result<(Vec<Script>, Option<Codes>)> {
        let connections = offer.connections;
        let scripts = |script: &dyn Fn(usize) -> Script| (0..connections).map(script).collect();
        Ok(match offer.operation {
            Operation::Register | Operation::SignIn => {
                let logins = Logins::default();
                let users = (offer.operation == Operation::SignIn).then(|| self.users.clone());
                let codes = Codes { logins: logins.clone(), users };
                (scripts(&|_| Script::Code(logins.clone(), WithMobile::code_sign_in())), Some(codes))
            }
            Operation::Password => {
                let users = &self.users_with_password;
                (scripts(&|_| Script::Mobile(users.clone(), WithMobile::password_sign_in())), None)
            }
            Operation::Send => (scripts(&|_| Script::Mobile(self.users.clone(), WithMobile::send())), None),
            Operation::Refresh => {
                let count = self.sessions.max(connections);
                let tokens = self.sign_in(count, "refresh_token").await?;
                let example = String::from_utf8_lossy(&tokens[0]).into_owned();
                let request = plain("PUT", "/app/v1_0/authorizations", Some(&example));
                let of_connection = |n: usize| tokens.iter().skip(n).step_by(connections).cloned().collect();
                (scripts(&|n| Script::Refresh(WithPart::new(request.clone(), &example), of_connection(n))), None)
            }
            Operation::Me => (self.with_access_tokens(connections, "/app/v1_0/user").await?, None),
            Operation::Check => (self.with_access_tokens(connections, "/app/v1_0/authorizations").await?, None),
            Operation::Picture => {
                let example = format!("{:032x}", 0);
                let request = plain("GET", &format!("/app/v1_0/image_codes/{example}"), None);
                (scripts(&|_| Script::Picture(WithPart::new(request.clone(), &example))), None)
            }
            Operation::Empty => {
                let requests = Rc::new(vec![plain("GET", "/", None)]);
                (scripts(&|_| Script::Same(requests.clone(), 0)), None)
            }
        })
    }

    async fn with_access_tokens(&self, connections: usize, path: &str) -> io::Result<Vec<Script>> {
        let tokens = self.sign_in(self.sessions, "token").await?;
        let request = |token: &Vec<u8>| plain("GET", path, Some(&String::from_utf8_lossy(token)));
        let requests: Rc<Vec<Vec<u8>>> = Rc::new(tokens.iter().map(request).collect());
        let first = |n: usize| n * requests.len() / connections;
        Ok((0..connections).map(|n| Script::Same(requests.clone(), first(n))).collect())
    }

    /// Signs in so many users, and returns this token of each.
    async fn sign_in(&self, count: usize, token: &str) -> io::Result<Vec<Vec<u8>>> {
        let mobiles = (0..count).map(|_| self.users.borrow_mut().draw()).collect();
        let mut connection = Connection::open(self.service).await?;
        let mut request = WithMobile::code_sign_in();
        let mut tokens = Vec::with_capacity(count);
        for (mobile, code) in self.vendor.codes(mobiles).await? {
            let response = connection.ask(request.with_code(mobile, code)).await?;
            let value = member(response.body, token);
            tokens.push(value.ok_or_else(|| io::Error::other(format!("no {token}: {}", response.status)))?.to_vec());
        }
        Ok(tokens)
    }

    /// Gets codes until there are so many, as far as there are users.
    pub async fn refill(&self, codes: &Codes, count: usize) -> io::Result<()> {
        let missing = codes.most().min(count).saturating_sub(codes.left());
        let mobiles = (0..missing).map(|_| match &codes.users {
            Some(users) => users.borrow_mut().draw(),
            None => new_mobile(),
        });
        let arrived = self.vendor.codes(mobiles.collect()).await?;
        codes.logins.borrow_mut().extend(arrived);
        Ok(())
    }
}

/// Codes to sign in with, of users of the population or of new ones.
pub struct Codes {
    logins: Logins,
    users: Option<Rc<RefCell<Population>>>,
}

/// How many codes of new users are outstanding at most. A single instance keeps 200,000 entries.
const MOST_NEW: usize = 100_000;

impl Codes {
    /// How many are left.
    pub fn left(&self) -> usize {
        self.logins.borrow().len()
    }

    fn most(&self) -> usize {
        self.users.as_ref().map_or(MOST_NEW, |users| users.borrow().len().min(MOST_NEW))
    }
}

/// What one connection asks, one request after the other.
pub enum Script {
    /// With a code each time, from those that are left.
    Code(Logins, WithMobile),
    /// For a user each time.
    Mobile(Rc<RefCell<Population>>, WithMobile),
    /// From this one on, in a circle.
    Same(Rc<Vec<Vec<u8>>>, usize),
    /// With the tokens in a circle, each replaced by its successor.
    Refresh(WithPart, VecDeque<Vec<u8>>),
    /// With a new id each time.
    Picture(WithPart),
}

impl Script {
    /// The next request; `None` when all codes are used up.
    pub fn next(&mut self) -> Option<&[u8]> {
        match self {
            Self::Code(logins, request) => {
                let (mobile, code) = logins.borrow_mut().pop_front()?;
                Some(request.with_code(mobile, code))
            }
            Self::Mobile(users, request) => Some(request.with(users.borrow_mut().draw())),
            Self::Same(requests, next) => {
                *next = (*next + 1) % requests.len();
                Some(&requests[*next])
            }
            Self::Refresh(request, tokens) => Some(request.with(&tokens[0])),
            Self::Picture(request) => Some(request.with(format!("{:032x}", fastrand::u128(..)).as_bytes())),
        }
    }

    /// The request was answered as it should be.
    pub fn answered(&mut self, body: &[u8]) {
        if let Self::Refresh(_, tokens) = self {
            if let Some(successor) = member(body, "refresh_token") {
                tokens[0] = successor.to_vec();
            }
            tokens.rotate_left(1);
        }
    }
}
