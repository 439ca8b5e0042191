//! Places in the memory of a process: each network has a share, and each block of networks.

use super::*;

const SHARE: usize = 1000;
const BLOCK_SHARE: usize = 10_000;

/// A network of an IPv6 /48 of 65,536, and one of the next /48.
fn in_slash_48(n: usize) -> String {
    format!("2001:db8:7:{n:x}::")
}
const BESIDE_THE_SLASH_48: &str = "2001:db8:8::";

/// An address of an IPv4 /24 of 256, and one of the next /24.
fn in_slash_24(n: usize) -> String {
    format!("203.0.113.{n}")
}
const BESIDE_THE_SLASH_24: &str = "203.0.114.0";

/// A counter of a number that a network asks about.
fn of_number(number: usize) -> Counter {
    Counter { subject: format!("number {number}"), ..counter(LimitName::SmsPerMobile, Some(10), None) }
}

/// Fills the share of the network.
async fn fill(bed: &Bed) {
    for number in 0..SHARE {
        assert_eq!(bed.count(&tally(bed.now(), &[of_number(number)])).await, Admission::Admitted, "{number}");
    }
}

fn is_refused(admission: Admission) -> bool {
    matches!(admission, Admission::Refused { name: LimitName::Places, retry_after } if !retry_after.is_zero())
}

#[tokio::test]
async fn a_network_over_its_share_is_refused_what_needs_a_new_key_and_no_other_network_is() {
    let bed = Bed::in_process().await;
    fill(&bed).await;
    let now = bed.now();
    let one_more = tally(now, &[of_number(SHARE)]);
    assert!(is_refused(bed.survey(&one_more).await));
    assert!(is_refused(bed.count(&one_more).await));
    // What has a key goes on counting, and so do the network's own counters.
    assert_eq!(bed.count(&tally(now, &[of_number(7), of_network(LimitName::Requests, 9)])).await, Admission::Admitted);
    let elsewhere = Tally { network: "198.51.100.1".to_owned(), ..one_more.clone() };
    assert_eq!(bed.count(&elsewhere).await, Admission::Admitted);
    assert_eq!(bed.count(&one_more).await, Admission::Admitted);

    assert!(!bed.codes.take_once("key", NETWORK, TTL).await.unwrap());
    assert!(bed.codes.take_once("key", "198.51.100.1", TTL).await.unwrap());
    let (slot, code) = (slot(), pending("right"));
    let message = Tally { flows: Vec::new(), ..tally(now, &[]) };
    assert!(is_refused(bed.codes.issue_code(&slot, &code, &message, &owner(), true).await.unwrap()));
    let flow =
        Flow { name: LimitName::SmsBlock, group: "192.0.2.0/24".to_owned(), sent_per_hour: None, unredeemed: true };
    assert!(is_refused(bed.survey(&Tally { flows: vec![flow], ..message }).await));
}

#[tokio::test]
async fn no_counter_goes_within_its_window_and_then_its_place_is_free() {
    let bed = Bed::in_process().await;
    let full = Counter { limit: Some(1), ..of_number(0) };
    assert_eq!(bed.count(&tally(bed.now(), std::slice::from_ref(&full))).await, Admission::Admitted);
    bed.advance(GAP / 2).await;
    for number in 1..2 * SHARE {
        bed.count(&tally(bed.now(), &[of_number(number)])).await;
    }
    assert!(matches!(
        bed.count(&tally(bed.now(), &[full])).await,
        Admission::Refused { name: LimitName::SmsPerMobile, .. }
    ));
    assert!(is_refused(bed.count(&tally(bed.now(), &[of_number(SHARE)])).await));
    bed.advance(GAP / 2).await;
    assert_eq!(bed.count(&tally(bed.now(), &[of_number(SHARE)])).await, Admission::Admitted);
    assert!(is_refused(bed.count(&tally(bed.now(), &[of_number(SHARE + 1)])).await));
    bed.advance(GAP).await;
    fill(&bed).await;
}

#[tokio::test]
async fn a_code_is_redeemed_only_where_there_is_a_place_for_what_it_counts() {
    let bed = Bed::in_process().await;
    bed.issue("right", &owner()).await;
    let nothing = tally(bed.now(), &[]);
    let sign_in = tally(bed.now(), &[counter(LimitName::SignInsPerUser, Some(60), None)]);
    let sign_in = Presentation { sign_in: Some(&sign_in), ..Presentation::default_with(&nothing) };
    for number in 0..SHARE {
        bed.count(&tally(bed.now(), &[of_number(number)])).await;
    }
    not_looked_at(bed.redeem(&sign_in).await, LimitName::Places);
    not_looked_at(bed.present("wrong", &owner(), As::Other).await, LimitName::Places);
    accepted(bed.redeem(&Presentation::default_with(&nothing)).await);
}

#[tokio::test]
async fn of_pictures_a_networks_own_oldest_go() {
    let bed = Bed::in_process().await;
    let put = async |id: &str, network: &str| bed.codes.put_image_code(id, "text", network, TTL).await.unwrap();
    let take = async |id: &str| bed.codes.take_image_code(id).await.unwrap();
    put("theirs", "198.51.100.1").await;
    for number in 0..SHARE + 10 {
        put(&number.to_string(), NETWORK).await;
    }
    for (id, is_there) in [("theirs", true), ("9", false), ("10", true)] {
        assert_eq!(take(id).await.is_some(), is_there, "{id}");
    }
    // What was read or has expired makes room.
    put("newer", NETWORK).await;
    assert!(take("11").await.is_some());
    bed.advance(TTL).await;
    put("newest", NETWORK).await;
    assert!(take("12").await.is_none());
    assert!(take("newest").await.is_some());
    // The pictures of a network leave the share of its counters alone.
    for number in 0..SHARE {
        put(&number.to_string(), NETWORK).await;
    }
    fill(&bed).await;
}

#[tokio::test]
async fn the_networks_of_a_block_together_are_refused_beyond_its_share_and_no_other_block_is() {
    // How many networks there are, and how many places each takes: fewer than its share.
    for (network, count, beside) in [
        (in_slash_48 as fn(usize) -> String, BLOCK_SHARE, BESIDE_THE_SLASH_48),
        (in_slash_24, 250, BESIDE_THE_SLASH_24),
    ] {
        let bed = Bed::in_process().await;
        let of = |network: &str, number: usize| Tally {
            network: network.to_owned(),
            ..tally(bed.now(), &[of_number(number)])
        };
        for number in 0..BLOCK_SHARE {
            assert_eq!(bed.count(&of(&network(number % count), number)).await, Admission::Admitted, "{number}");
        }
        for network in [network(0), network(255)] {
            assert!(is_refused(bed.count(&of(&network, BLOCK_SHARE)).await), "{network}");
            assert!(!bed.codes.take_once("key", &network, TTL).await.unwrap(), "{network}");
        }
        // What has a key goes on counting, and so do a network's own counters.
        let own = Counter { subject: network(255), ..counter(LimitName::Requests, Some(9), None) };
        let known = Tally { network: network(255), ..tally(bed.now(), &[of_number(7), own]) };
        assert_eq!(bed.count(&known).await, Admission::Admitted);
        // The next block, a network that is exempt, a user who is known.
        for elsewhere in [beside, "exempt:13800138000", "known:13800138000"] {
            let one_more = Tally { network: elsewhere.to_owned(), ..of(elsewhere, BLOCK_SHARE) };
            assert_eq!(bed.count(&one_more).await, Admission::Admitted, "{elsewhere}");
            bed.codes.clear(&one_more).await.unwrap();
        }
        bed.advance(GAP).await;
        assert_eq!(bed.count(&of(&network(0), BLOCK_SHARE)).await, Admission::Admitted);
    }
}

#[tokio::test]
async fn of_pictures_the_oldest_of_a_full_block_go() {
    let bed = Bed::in_process().await;
    let put = async |id: &str, network: &str| bed.codes.put_image_code(id, "text", network, TTL).await.unwrap();
    let take = async |id: &str| bed.codes.take_image_code(id).await.unwrap();
    put("theirs", BESIDE_THE_SLASH_48).await;
    for number in 0..BLOCK_SHARE + 10 {
        put(&number.to_string(), &in_slash_48(number)).await;
    }
    for (id, is_there) in [("theirs", true), ("9", false), ("10", true)] {
        assert_eq!(take(id).await.is_some(), is_there, "{id}");
    }
    // What was read makes room.
    put("newer", &in_slash_48(0)).await;
    assert!(take("11").await.is_some());
    // A network over its own share makes room by its own oldest, not by that of the block.
    bed.advance(TTL).await;
    put("older", &in_slash_48(1)).await;
    for number in 0..=SHARE {
        put(&number.to_string(), &in_slash_48(0)).await;
    }
    for (id, is_there) in [("older", true), ("0", false), ("1", true)] {
        assert_eq!(take(id).await.is_some(), is_there, "{id}");
    }
    // The pictures of a block leave the share of its counters alone.
    for number in 0..BLOCK_SHARE {
        put(&number.to_string(), &in_slash_48(number)).await;
    }
    let network = in_slash_48(1);
    assert_eq!(bed.count(&Tally { network, ..tally(bed.now(), &[of_number(0)]) }).await, Admission::Admitted);
}

#[tokio::test]
async fn a_full_kind_is_unavailable_to_new_keys_of_any_network_and_served_again_later() {
    let bed = Bed::in_process().await;
    let count = async |number: usize| {
        let network = format!("network {}", number / SHARE);
        bed.codes.count(&Tally { network, ..tally(bed.now(), &[of_number(number)]) }).await
    };
    for number in 0..200_000 {
        assert_eq!(count(number).await.unwrap(), Admission::Admitted);
    }
    count(200_000).await.unwrap_err();
    assert_eq!(count(0).await.unwrap(), Admission::Admitted);
    // Another kind has places of its own.
    assert_eq!(bed.count(&tally(bed.now(), &[counter(LimitName::SmsGap, Some(1), None)])).await, Admission::Admitted);
    bed.advance(GAP).await;
    assert_eq!(count(200_000).await.unwrap(), Admission::Admitted);
}
