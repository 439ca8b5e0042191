//! Lifetimes: every key expires, and what is emptied leaves none.

use super::*;

const DAY: i64 = 24 * 60 * 60 * 1000;

fn flows() -> Vec<Flow> {
    let flow = |name, group: &str| Flow { name, group: group.to_owned(), sent_per_hour: Some(8), unredeemed: true };
    vec![flow(LimitName::SmsBlock, "192.0.2.0/24"), flow(LimitName::SmsPrefix, "1380013")]
}

/// Sends a code, guesses wrong in every way, redeems it and puts it back. Returns what can be undone.
async fn all_work(bed: &Bed) -> (Tally, UsedCode) {
    let now = bed.now();
    let asks = Counter { counting: Counting::Always, ..of_network(LimitName::SmsAsks, 60) };
    let mobiles = Counter { member: Some(MOBILE.to_owned()), ..of_network(LimitName::SmsMobilesPerIp, 10) };
    let unredeemed = counter(LimitName::SmsUnredeemed, None, Some(3));
    let message = tally(now, &[counter(LimitName::SmsGap, Some(1), None), unredeemed, mobiles, asks]);
    let message = Tally { flows: flows(), ..message };
    bed.codes.issue_code(&slot(), &pending("right"), &message, &owner(), true).await.unwrap();
    let other = network("198.51.100.1");
    let refused = bed.codes.issue_code(&slot(), &pending("right"), &message, &other, true).await.unwrap();
    assert!(matches!(refused, Admission::Refused { .. }));
    let guess = guess(now, 100);
    let (sign_in, replay) = (
        tally(now, &[counter(LimitName::SignInsPerUser, Some(60), None)]),
        Replay { key: "key".to_owned(), value: "value".to_owned(), ttl: GAP },
    );
    for (digest, presenter) in
        [("wrong", As::Asker), ("wrong", As::Other), ("wrong", As::KnownDevice("a".to_owned())), ("right", As::Asker)]
    {
        let presentation = Presentation { digest, presenter, guess: &guess, ..Presentation::default_with(&guess) };
        let outcome =
            bed.redeem(&Presentation { sign_in: Some(&sign_in), replay: Some(&replay), ..presentation }).await;
        if let Redemption::Accepted(used) = outcome {
            return (message, *used);
        }
    }
    panic!("not accepted");
}

contract! {
    async fn every_key_expires_within_its_window(bed) {
        let (_, used) = all_work(&bed).await;
        bed.codes.restore_code(&used).await.unwrap();
        bed.present("wrong", &owner(), As::Asker).await;
        accepted(bed.present("right", &owner(), As::Asker).await);
        bed.issue("right", &owner()).await;
        bed.issue("right", &owner()).await;
        bed.codes.put_image_code("id", "text", NETWORK, TTL).await.unwrap();
        bed.codes.take_once("key", NETWORK, TTL).await.unwrap();
        let nothing = guess(bed.now(), 100);
        let asker = network("198.51.100.7");
        let slot = CodeSlot { mobile: Mobile::parse("13900139000").unwrap(), purpose: Purpose::Login };
        let unredeemed = counter(LimitName::SmsUnredeemed, None, Some(3));
        let unredeemed = Counter { subject: slot.mobile.as_str().to_owned(), ..unredeemed };
        let attempt = Attempt {
            slot: &slot,
            digest: "right",
            fixed: None,
            asker: &asker,
            presenter: As::Asker,
            guess: &nothing,
            nothing: &|| nothing.clone(),
            sign_in: None,
            unredeemed: &unredeemed,
            replay: None,
            presence: &Presence::default(),
        };
        missing(bed.codes.redeem_code(&attempt).await.unwrap());
        let keys = bed.keys().await;
        assert!(keys.len() > 8 || bed.stores.redis().is_none() && bed.cluster.is_none(), "{keys:?}");
        for (key, rest) in keys {
            let window = match key.trim_start_matches("test:") {
                key if key.ends_with(":days") => 15 * DAY,
                key if key.starts_with("limit:sms_block") || key.starts_with("limit:sms_prefix") => DAY,
                key if key.starts_with("limit:") || key.starts_with("idempotency:") => 60_000,
                _ => 300_000,
            };
            assert!(rest > 0 && rest <= window, "{key}: {rest}");
        }
    }
}

contract! {
    async fn what_is_emptied_leaves_no_key(bed) {
        let (message, used) = all_work(&bed).await;
        bed.codes.restore_code(&used).await.unwrap();
        bed.codes.withdraw_code(&slot(), "right").await.unwrap();
        bed.codes.uncount(&message).await.unwrap();
        let keys: Vec<_> = bed.keys().await.into_iter().map(|(key, _)| key).collect();
        if bed.stores.redis().is_some() || bed.cluster.is_some() {
            assert_eq!(keys.len(), 1, "{keys:?}");
            assert!(keys[0].contains("limit:sms_asks:"), "{keys:?}");
        }
        // In-process a network has the whole of its share again: only its own counters are left, which take no place.
        let counters: Vec<_> = (0..1000)
            .map(|n| Counter { subject: n.to_string(), ..counter(LimitName::SmsPerMobile, Some(1), None) })
            .collect();
        assert_eq!(bed.count(&tally(bed.now(), &counters)).await, Admission::Admitted);
    }
}

#[tokio::test]
async fn in_redis_what_a_service_keeps_expires_and_no_code_stands_in_the_clear() {
    let stores = Stores::create(Backends::SQLITE_AND_REDIS).await;
    let app = crate::support::TestApp::start_on(stores.clone(), &[]).await;
    let code = app.code(MOBILE).await;
    let picture = app.picture("a-picture").await;
    let (client, prefix) = stores.redis().unwrap();
    let text: String = client.get(format!("{prefix}image_code:a-picture")).await.unwrap();
    assert_eq!(text, picture);
    assert_eq!(text, text.to_lowercase());
    let fields: std::collections::HashMap<String, String> =
        fred::interfaces::HashesInterface::hgetall(client, format!("{prefix}sms_code:login:{MOBILE}")).await.unwrap();
    assert_eq!(fields["tries"], "5");
    let texts: Vec<_> = fields.iter().filter(|(field, _)| !field.starts_with("a:")).collect();
    assert!(texts.iter().all(|(_, value)| !value.contains(&code)), "{fields:?}");
    for key in ["image_code:a-picture", "sms_code:login:13800138000", "limit:sms_gap:13800138000"] {
        let rest: i64 = client.pttl(format!("{prefix}{key}")).await.unwrap();
        assert!(rest > 0, "{key}: {rest}");
    }
}
