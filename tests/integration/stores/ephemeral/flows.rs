//! Flows: sums of messages and redeemed codes of a group, and when they are suspicious.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What happens after how many minutes: so many messages are sent, and so many of their codes redeemed.
type Step = (u64, usize, usize);

/// A block whose messages an hour are bounded, and a prefix whose codes should be redeemed.
fn bounded(sent_per_hour: u32) -> Flow {
    Flow {
        name: LimitName::SmsBlock,
        group: "192.0.2.0/24".to_owned(),
        sent_per_hour: Some(sent_per_hour),
        unredeemed: false,
    }
}

fn redeemed() -> Flow {
    Flow { name: LimitName::SmsPrefix, group: "1380013".to_owned(), sent_per_hour: None, unredeemed: true }
}

fn message(at: DateTime<Utc>, flow: &Flow) -> Tally {
    Tally { flows: vec![flow.clone()], ..tally(at, &[]) }
}

fn slot_of(n: usize) -> CodeSlot {
    CodeSlot { mobile: Mobile::parse(&format!("138{n:08}")).unwrap(), purpose: Purpose::Login }
}

async fn send(bed: &Bed, flow: &Flow, n: usize) -> Tally {
    // A network of its own has its own share of the places.
    let asker = network(&format!("198.51.{}.{}", n / 250, n % 250));
    let message = Tally { network: asker.network.clone(), ..message(bed.now(), flow) };
    bed.codes.issue_code(&slot_of(n), &pending("right"), &message, &asker, true).await.unwrap();
    message
}

async fn redeem(bed: &Bed, n: usize) -> UsedCode {
    let asker = network(&format!("198.51.{}.{}", n / 250, n % 250));
    let nothing = tally(bed.now(), &[]);
    let attempt = Attempt {
        slot: &slot_of(n),
        digest: "right",
        fixed: None,
        asker: &asker,
        presenter: As::Asker,
        guess: &nothing,
        nothing: &|| nothing.clone(),
        sign_in: None,
        unredeemed: &Counter {
            subject: slot_of(n).mobile.as_str().to_owned(),
            ..counter(LimitName::SmsUnredeemed, None, Some(3))
        },
        replay: None,
        presence: &Presence::default(),
    };
    accepted(bed.codes.redeem_code(&attempt).await.unwrap())
}

/// Whether a message is suspicious after these steps, the first of which begins at midnight (UTC).
async fn is_suspicious(bed: &Bed, flow: &Flow, steps: &[Step]) -> bool {
    let today = u64::try_from(bed.now().timestamp()).unwrap() % DAY.as_secs();
    // Long enough for the group's sums to be gone.
    bed.advance(20 * DAY - Duration::from_secs(today)).await;
    for (minutes, sent, redeemed) in steps {
        bed.advance(Duration::from_secs(60 * minutes)).await;
        join_all((0..*sent).map(|n| send(bed, flow, n))).await;
        join_all((0..*redeemed).map(|n| redeem(bed, n))).await;
    }
    match bed.survey(&message(bed.now(), flow)).await {
        Admission::Admitted => false,
        Admission::Suspicious { name } => name == flow.name,
        refused @ Admission::Refused { .. } => panic!("{refused:?}"),
    }
}

contract! {
    async fn a_group_is_suspicious_by_the_messages_of_an_hour_or_the_codes_that_were_not_redeemed(bed) {
        let cases: [(Flow, &[Step], bool); 22] = [
            (bounded(10), &[(0, 9, 0)], false),
            (bounded(10), &[(0, 10, 0)], true),
            // The previous hour counts by what is left of it, rounded up.
            (bounded(10), &[(50, 5, 0), (20, 4, 0)], false),
            (bounded(10), &[(50, 5, 0), (20, 5, 0)], true),
            (bounded(10), &[(10, 9, 0), (50, 0, 0)], false),
            (bounded(10), &[(0, 10, 0), (68, 0, 0)], false),
            (bounded(10), &[(0, 10, 0), (120, 9, 0)], false),
            // As many as were redeemed within a day.
            (bounded(10), &[(0, 12, 11)], true),
            (bounded(10), &[(0, 12, 12), (120, 11, 0)], false),
            (bounded(10), &[(0, 12, 12), (120, 12, 0)], true),
            (bounded(10), &[(0, 12, 12), (24 * 60, 11, 0)], true),
            (redeemed(), &[(0, 20, 0)], false),
            (redeemed(), &[(0, 21, 0)], true),
            (redeemed(), &[(0, 21, 1)], false),
            (redeemed(), &[(0, 100, 100), (120, 30, 0)], false),
            (redeemed(), &[(0, 100, 100), (120, 31, 0)], true),
            (redeemed(), &[(0, 21, 0), (22 * 60, 0, 0)], true),
            (redeemed(), &[(0, 21, 0), (24 * 60, 0, 0)], false),
            // The busiest day is one of the last fourteen.
            (redeemed(), &[(0, 80, 80), (3 * 24 * 60, 24, 0)], false),
            (redeemed(), &[(0, 80, 80), (3 * 24 * 60, 25, 0)], true),
            (redeemed(), &[(0, 80, 80), (14 * 24 * 60, 24, 0)], false),
            (redeemed(), &[(0, 80, 80), (15 * 24 * 60, 24, 0)], true),
        ];
        for (number, (flow, steps, expected)) in cases.into_iter().enumerate() {
            assert_eq!(is_suspicious(&bed, &flow, steps).await, expected, "{number}: {flow:?} {steps:?}");
        }
    }
}

contract! {
    async fn a_message_taken_back_and_a_redemption_undone_count_no_more(bed) {
        let flow = bounded(2);
        send(&bed, &flow, 0).await;
        let taken_back = send(&bed, &flow, 1).await;
        let suspicious = Admission::Suspicious { name: LimitName::SmsBlock };
        assert_eq!(bed.survey(&message(bed.now(), &flow)).await, suspicious);
        bed.codes.uncount(&taken_back).await.unwrap();
        assert_eq!(bed.survey(&message(bed.now(), &flow)).await, Admission::Admitted);

        for n in 1..22 {
            send(&bed, &redeemed(), n).await;
        }
        let suspicious = Admission::Suspicious { name: LimitName::SmsPrefix };
        let issue = async |trusted| {
            let message = message(bed.now(), &redeemed());
            bed.codes.issue_code(&slot(), &pending("right"), &message, &owner(), trusted).await.unwrap()
        };
        assert_eq!(issue(false).await, suspicious);
        missing(bed.present("right", &owner(), As::Asker).await);
        let used = redeem(&bed, 1).await;
        assert_eq!(bed.survey(&message(bed.now(), &redeemed())).await, Admission::Admitted);
        bed.codes.restore_code(&used).await.unwrap();
        assert_eq!(issue(false).await, suspicious);
        assert_eq!(issue(true).await, suspicious);
        accepted(bed.present("right", &owner(), As::Asker).await);
    }
}

contract! {
    async fn no_message_counts_in_a_group_that_a_limit_refused(bed) {
        let flows = vec![bounded(2)];
        let limits = [counter(LimitName::SmsPerMobile, Some(1), None)];
        for _ in 0..3 {
            bed.count(&Tally { flows: flows.clone(), ..tally(bed.now(), &limits) }).await;
        }
        assert_eq!(bed.survey(&message(bed.now(), &flows[0])).await, Admission::Admitted);
    }
}

#[tokio::test]
async fn in_redis_sums_are_bounded_however_long_a_group_is_busy() {
    let bed = Bed::redis().await;
    for _ in 0..40 {
        send(&bed, &redeemed(), 0).await;
        redeem(&bed, 0).await;
        bed.clock.advance(chrono::Duration::hours(13));
    }
    let (client, prefix) = bed.stores.redis().unwrap();
    let length = async |key: &str| -> usize {
        fred::interfaces::HashesInterface::hlen(client, format!("{prefix}limit:sms_prefix:1380013{key}")).await.unwrap()
    };
    assert!(length("").await <= 48, "{}", length("").await);
    assert!((2..=15).contains(&length(":days").await), "{}", length(":days").await);
}
