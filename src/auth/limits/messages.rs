//! Messages: who may have how many sent, and when that is suspicious.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    Admission, Counter, Counting, DAY, Error, HOUR, LimitName, Limits, Mobile, Origin, Sender, Tally, limit, limited,
    objects, share_of,
};
use crate::store::{StoreError, ephemeral::Flow};

/// How many codes a mobile gets within an hour before it is suspicious, when none is redeemed.
const UNREDEEMED_PER_HOUR: u32 = 3;

/// For how many mobiles one network asks codes within an hour before it is suspicious.
const MOBILES_PER_HOUR: u32 = 10;

/// How many of them one request looks up. If enough of these have not signed in before, the suspicion is right; otherwise
/// those that have are taken out, and the next request looks up others.
const LOOKED_AT: u32 = 64;

/// How many messages a block of addresses asks for within an hour before it is suspicious, in bounds of one address.
const ADDRESSES_PER_BLOCK: u32 = 8;

/// Which share of a number's messages strangers get at most, and which they get together with known networks, in
/// percent: the rest is for the owner's devices.
const STRANGERS_PERCENT: u32 = 60;
const NETWORKS_PERCENT: u32 = 80;

/// Which share of the hourly total strangers get together, in percent.
const STRANGERS_PERCENT_OF_TOTAL: u32 = 80;

/// How many failed messages an address and a number have within an hour.
const FAILED_PER_IP: u32 = 30;
const FAILED_PER_MOBILE: u32 = 5;

/// How often an address learns within an hour that a mobile is registered, in the classic families.
const TAKEN_PER_IP: u32 = 10;

/// For how many mobiles an address under suspicion gets messages within an hour for pictures alone, where there are other
/// kinds of challenges.
const SUSPICIOUS_PER_IP: u32 = 5;

/// The digits of a mobile that it shares with 10,000 others.
const PREFIX: usize = 7;

/// A request for a message. It counts once, however often the limits are asked about it.
pub struct Ask {
    /// Who gets the message.
    pub mobile: Mobile,
    id: String,
    at: DateTime<Utc>,
}

impl Limits {
    /// A request for a message to a mobile.
    pub fn ask(&self, mobile: Mobile) -> Ask {
        Ask { mobile, id: Uuid::now_v7().to_string(), at: self.clock.now() }
    }

    /// A challenge that is looked at for a guess: it counts as a request for a message does, whatever comes of it.
    pub fn challenged(&self, mobile: &Mobile, origin: &Origin, sender: &Sender) -> Tally {
        self.asked(&self.ask(mobile.clone()), origin, sender)
    }

    /// Takes a request out of those of its address, once it is known.
    pub async fn forget_ask(&self, ask: &Ask, origin: &Origin) -> Result<(), StoreError> {
        match self.asks(ask, origin, &Sender::Unknown).filter(objects) {
            Some(counter) => self.codes.forget(&counter, std::slice::from_ref(&ask.id)).await,
            None => Ok(()),
        }
    }

    /// The request by itself, sent or not.
    pub fn asked(&self, ask: &Ask, origin: &Origin, sender: &Sender) -> Tally {
        self.ask_tally(ask, origin, sender, self.asks(ask, origin, sender).into_iter().collect())
    }

    /// The same in the classic families, where it is looked at as long as the address has not learnt too much.
    pub fn asked_classic(&self, ask: &Ask, origin: &Origin, sender: &Sender) -> Tally {
        let mut counters: Vec<_> = self.asks(ask, origin, sender).into_iter().collect();
        counters.extend(self.taken(origin, Counting::Never));
        self.ask_tally(ask, origin, sender, counters)
    }

    /// That an address learns that a mobile is registered.
    pub fn mobile_taken(&self, ask: &Ask, origin: &Origin) -> Tally {
        let counters = self.taken(origin, Counting::IfAdmitted).into_iter().collect();
        self.ask_tally(ask, origin, &Sender::Unknown, counters)
    }

    /// A message. For a known request nothing counts by address or block, and nothing is suspicious.
    pub fn message(&self, ask: &Ask, origin: &Origin, sender: &Sender) -> Tally {
        let mobile = ask.mobile.as_str();
        let total = self.settings.sms_total_per_hour;
        let total = if sender.is_known() { total } else { share_of(total, STRANGERS_PERCENT_OF_TOTAL, false) };
        let gap = u32::from(!self.settings.resend_gap.is_zero());
        let looked_at = |counter| Counter { counting: Counting::Never, ..counter };
        let mut counters = vec![
            limit(LimitName::SmsGap, mobile, self.settings.resend_gap, gap),
            limit(LimitName::SmsPerMobile, mobile, DAY, self.per_mobile(sender)),
            limit(LimitName::SmsTotal, "all", HOUR, total),
            looked_at(limit(LimitName::SmsFailedPerMobile, mobile, HOUR, FAILED_PER_MOBILE)),
        ];
        if sender.is_known() {
            counters.extend(self.asks(ask, origin, sender));
        } else if !self.is_exempt(origin) {
            let network = origin.network();
            counters.push(self.unredeemed(&ask.mobile));
            counters.extend(self.asks(ask, origin, sender));
            counters.push(limit(LimitName::SmsPerIp, &network, HOUR, self.settings.sms_per_ip_per_hour));
            counters.push(looked_at(limit(LimitName::SmsFailedPerIp, &network, HOUR, FAILED_PER_IP)));
            if *sender != Sender::Stranger {
                counters.push(self.mobiles_per_ip(&ask.mobile, origin));
            }
        }
        let mut tally = self.ask_tally(ask, origin, sender, counters);
        tally.flows = self.flows(&ask.mobile, origin, sender);
        tally
    }

    /// The sums that a message counts in. Where the number has signed in before, none is suspicious.
    fn flows(&self, mobile: &Mobile, origin: &Origin, sender: &Sender) -> Vec<Flow> {
        let heeds = matches!(sender, Sender::Unknown | Sender::Newcomer | Sender::Concealed) && !self.is_exempt(origin);
        let blocks = if sender.is_known() || self.is_exempt(origin) { vec![] } else { origin.blocks() };
        let per_hour = self.settings.sms_per_ip_per_hour.saturating_mul(ADDRESSES_PER_BLOCK);
        let blocks = blocks.into_iter().map(|group| Flow {
            name: LimitName::SmsBlock,
            group,
            sent_per_hour: Some(per_hour).filter(|per_hour| heeds && *per_hour > 0),
            unredeemed: heeds,
        });
        let prefix = mobile.as_str()[..PREFIX].to_owned();
        let prefix = Flow { name: LimitName::SmsPrefix, group: prefix, sent_per_hour: None, unredeemed: heeds };
        blocks.chain([prefix]).collect()
    }

    /// The messages to a mobile of which none was redeemed.
    pub fn unredeemed(&self, mobile: &Mobile) -> Counter {
        Counter { suspicion: Some(UNREDEEMED_PER_HOUR), ..limit(LimitName::SmsUnredeemed, mobile.as_str(), HOUR, 0) }
    }

    /// The mobiles that the address asks messages for.
    fn mobiles_per_ip(&self, mobile: &Mobile, origin: &Origin) -> Counter {
        Counter {
            member: Some(mobile.as_str().to_owned()),
            suspicion: Some(MOBILES_PER_HOUR),
            ..limit(LimitName::SmsMobilesPerIp, &origin.network(), HOUR, 0)
        }
    }

    /// Some of the mobiles that count at the address: those that have counted longest.
    pub async fn mobiles_asked_for(&self, ask: &Ask, origin: &Origin) -> Result<Vec<Mobile>, StoreError> {
        let members = self.codes.members(&self.mobiles_per_ip(&ask.mobile, origin), ask.at, LOOKED_AT).await?;
        Ok(members.iter().filter_map(|member| Mobile::parse(member)).collect())
    }

    /// Takes mobiles out of those that count at the address.
    pub async fn forget_mobiles(&self, ask: &Ask, origin: &Origin, mobiles: &[Mobile]) -> Result<(), StoreError> {
        let members: Vec<_> = mobiles.iter().map(|mobile| mobile.as_str().to_owned()).collect();
        self.codes.forget(&self.mobiles_per_ip(&ask.mobile, origin), &members).await
    }

    /// Counts a message that no vendor took, although its gap and quotas are given back.
    pub async fn message_failed(&self, ask: &Ask, origin: &Origin, sender: &Sender) -> Result<(), StoreError> {
        let mut counters = vec![limit(LimitName::SmsFailedPerMobile, ask.mobile.as_str(), HOUR, FAILED_PER_MOBILE)];
        if !sender.is_known() && !self.is_exempt(origin) {
            counters.push(limit(LimitName::SmsFailedPerIp, &origin.network(), HOUR, FAILED_PER_IP));
        }
        for counter in &mut counters {
            counter.counting = Counting::Always;
        }
        self.codes.count(&self.ask_tally(ask, origin, sender, counters)).await.map(drop)
    }

    /// Counts a message for a picture alone, under suspicion.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`].
    pub async fn picture_under_suspicion(&self, ask: &Ask, origin: &Origin) -> Result<(), Error> {
        let counter = Counter {
            member: Some(ask.mobile.as_str().to_owned()),
            ..limit(LimitName::SmsSuspiciousPerIp, &origin.network(), HOUR, SUSPICIOUS_PER_IP)
        };
        match self.codes.count(&self.ask_tally(ask, origin, &Sender::Unknown, vec![counter])).await? {
            Admission::Refused { name, retry_after } => Err(limited(name, retry_after, Some(&ask.mobile), origin)),
            Admission::Admitted | Admission::Suspicious { .. } => Ok(()),
        }
    }

    /// The refusal of a message for suspicion alone (`FRAUD=deny`).
    pub fn deny(&self, name: LimitName, ask: &Ask, origin: &Origin) -> Error {
        limited(name, HOUR, Some(&ask.mobile), origin)
    }

    fn per_mobile(&self, sender: &Sender) -> u32 {
        let per_day = self.settings.sms_per_mobile_per_day;
        match sender {
            Sender::Unknown | Sender::Stranger | Sender::Concealed => share_of(per_day, STRANGERS_PERCENT, true),
            Sender::KnownByNetwork => share_of(per_day, NETWORKS_PERCENT, true),
            Sender::Newcomer | Sender::KnownByDevice(_) => per_day,
        }
    }

    /// Requests for messages. A known sender has as many at its number as a stranger has at an address.
    fn asks(&self, ask: &Ask, origin: &Origin, sender: &Sender) -> Option<Counter> {
        let network = || (!self.is_exempt(origin)).then(|| origin.network());
        let (subject, part) = match sender {
            Sender::KnownByDevice(device) => (ask.mobile.as_str().to_owned(), Some(device.clone())),
            Sender::KnownByNetwork => (ask.mobile.as_str().to_owned(), Some(network()?)),
            Sender::Unknown | Sender::Newcomer | Sender::Stranger | Sender::Concealed => (network()?, None),
        };
        Some(Counter {
            part,
            member: Some(ask.id.clone()),
            counting: Counting::Always,
            ..limit(LimitName::SmsAsks, &subject, HOUR, self.settings.sms_asks_per_ip_per_hour)
        })
    }

    fn taken(&self, origin: &Origin, counting: Counting) -> Option<Counter> {
        let counter = || Counter { counting, ..limit(LimitName::MobileTaken, &origin.network(), HOUR, TAKEN_PER_IP) };
        (!self.is_exempt(origin)).then(counter)
    }

    fn ask_tally(&self, ask: &Ask, origin: &Origin, sender: &Sender, mut counters: Vec<Counter>) -> Tally {
        counters.retain(objects);
        let tally = self.tally(&ask.mobile, origin, sender, counters);
        Tally { id: ask.id.clone(), at: ask.at, ..tally }
    }
}
