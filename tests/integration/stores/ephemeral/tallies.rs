//! Counters: windows, limits and suspicion.

use super::*;

contract! {
    async fn no_stretch_of_the_windows_length_holds_more_than_the_limit(bed) {
        let now = bed.now();
        let three = [counter(LimitName::SmsPerMobile, Some(3), None)];
        let mut admitted = Vec::new();
        for second in 0..200_i64 {
            match bed.count(&tally(now + chrono::Duration::seconds(second), &three)).await {
                Admission::Admitted => admitted.push(second),
                Admission::Refused { retry_after, .. } => {
                    // True to the second: then it is admitted, and not before.
                    let oldest = admitted[admitted.len() - 3];
                    assert_eq!(retry_after, Duration::from_secs((oldest + 60 - second).unsigned_abs()));
                }
                Admission::Suspicious { .. } => panic!("suspicious"),
            }
        }
        assert_eq!(admitted, [0, 1, 2, 60, 61, 62, 120, 121, 122, 180, 181, 182]);
    }
}

contract! {
    async fn many_at_the_same_instant_get_no_more_than_the_limit(bed) {
        let now = bed.now();
        let ten = [counter(LimitName::SmsPerMobile, Some(10), None)];
        let tallies: Vec<_> = (0..100).map(|_| tally(now, &ten)).collect();
        let outcomes = join_all(tallies.iter().map(|tally| bed.count(tally))).await;
        assert_eq!(outcomes.into_iter().filter(|outcome| *outcome == Admission::Admitted).count(), 10);
    }
}

contract! {
    async fn all_counters_count_or_none_and_the_longest_refusal_is_told(bed) {
        let now = bed.now();
        let short = Counter { window: Duration::from_secs(10), ..counter(LimitName::SmsGap, Some(1), None) };
        let all = [short, counter(LimitName::SmsPerMobile, Some(1), None), of_network(LimitName::SmsPerIp, 2)];
        assert_eq!(bed.count(&tally(now, &all)).await, Admission::Admitted);
        assert_eq!(bed.count(&tally(now, &all)).await, refused(LimitName::SmsPerMobile, GAP));
        // What was refused counted nowhere.
        assert_eq!(bed.count(&tally(now, &all[2..])).await, Admission::Admitted);
        // Another subject is counted by itself.
        let other = tally(now, &all.map(|counter| Counter { subject: "13900139000".to_owned(), ..counter }));
        assert_eq!(bed.count(&other).await, Admission::Admitted);
        bed.codes.uncount(&other).await.unwrap();
        assert_eq!(bed.count(&other).await, Admission::Admitted);
    }
}

contract! {
    async fn what_counts_always_counts_what_others_refuse_up_to_its_own_limit_and_is_not_taken_back(bed) {
        let now = bed.now();
        let asks = Counter { counting: Counting::Always, ..of_network(LimitName::SmsAsks, 3) };
        let ask = || tally(now, &[asks.clone(), counter(LimitName::SmsGap, Some(1), None)]);
        let first = ask();
        assert_eq!(bed.count(&first).await, Admission::Admitted);
        bed.codes.uncount(&first).await.unwrap();
        assert_eq!(bed.count(&ask()).await, Admission::Admitted);
        assert_eq!(bed.count(&ask()).await, refused(LimitName::SmsGap, GAP));
        let alone = tally(now, std::slice::from_ref(&asks));
        assert_eq!(bed.survey(&alone).await, refused(LimitName::SmsAsks, GAP));
        // One that it refuses itself does not prolong it.
        let later = now + chrono::Duration::seconds(30);
        assert_eq!(bed.count(&Tally { at: later, ..alone.clone() }).await, refused(LimitName::SmsAsks, GAP / 2));
        assert_eq!(bed.count(&Tally { at: now + GAP, ..alone }).await, Admission::Admitted);
    }
}

contract! {
    async fn what_never_counts_is_looked_at(bed) {
        let now = bed.now();
        let failed = counter(LimitName::SmsFailedPerMobile, Some(2), None);
        let looked_at = tally(now, &[Counter { counting: Counting::Never, ..failed.clone() }]);
        for _ in 0..3 {
            assert_eq!(bed.count(&looked_at).await, Admission::Admitted);
        }
        for _ in 0..2 {
            assert_eq!(bed.count(&tally(now, std::slice::from_ref(&failed))).await, Admission::Admitted);
        }
        assert_eq!(bed.count(&looked_at).await, refused(LimitName::SmsFailedPerMobile, GAP));
    }
}

contract! {
    async fn the_first_suspicion_of_a_tally_stops_a_message_that_is_not_trusted(bed) {
        let now = bed.now();
        let message = |member: &str| {
            let mobiles = Counter { suspicion: Some(2), limit: None, ..of_network(LimitName::SmsMobilesPerIp, 0) };
            let mobiles = Counter { member: Some(member.to_owned()), ..mobiles };
            tally(now, &[mobiles, counter(LimitName::SmsTotal, None, Some(5))])
        };
        let issue = async |digest: &str, member: &str, trusted| {
            let (slot, code, message) = (slot(), pending(digest), message(member));
            bed.codes.issue_code(&slot, &code, &message, &owner(), trusted).await.unwrap()
        };
        for member in ["a", "b", "a", "b"] {
            assert_eq!(issue("right", member, false).await, Admission::Admitted, "{member}");
        }
        let suspicious = Admission::Suspicious { name: LimitName::SmsMobilesPerIp };
        assert_eq!(issue("newer", "c", false).await, suspicious);
        accepted(bed.present("right", &owner(), As::Asker).await);
        assert_eq!(bed.survey(&message("c")).await, suspicious);
        assert_eq!(issue("right", "c", true).await, suspicious);
        accepted(bed.present("right", &owner(), As::Asker).await);
        assert_eq!(issue("right", "d", false).await, suspicious);
        assert_eq!(issue("right", "c", false).await, Admission::Suspicious { name: LimitName::SmsTotal });
    }
}

contract! {
    async fn members_can_be_read_and_forgotten(bed) {
        let now = bed.now();
        let mobiles = |member: &str| {
            Counter { member: Some(member.to_owned()), ..of_network(LimitName::SmsMobilesPerIp, 3) }
        };
        for (second, member) in [(0, "old"), (30, "a"), (40, "b")] {
            bed.count(&tally(now + chrono::Duration::seconds(second), &[mobiles(member)])).await;
        }
        let (any, later) = (mobiles("x"), now + GAP);
        assert_eq!(bed.codes.members(&any, later, 100).await.unwrap(), ["a", "b"]);
        assert_eq!(bed.codes.members(&any, later, 1).await.unwrap(), ["a"]);
        bed.codes.forget(&any, &["a".to_owned(), "unknown".to_owned()]).await.unwrap();
        assert_eq!(bed.codes.members(&any, later, 100).await.unwrap(), ["b"]);
        bed.codes.forget(&any, &[]).await.unwrap();
        assert_eq!(bed.codes.members(&any, later, 100).await.unwrap(), ["b"]);
    }
}

contract! {
    async fn clearing_takes_what_the_first_counter_counted_out_of_the_others(bed) {
        let now = bed.now();
        for _ in 0..3 {
            bed.count(&guess(now, 3)).await;
        }
        let elsewhere = counter(LimitName::WrongCodes, Some(9), None);
        let elsewhere = Counter { part: Some("elsewhere".to_owned()), ..elsewhere };
        let others = guess(now, 3).counters.split_off(1);
        bed.count(&tally(now, &[&[elsewhere], &others[..]].concat())).await;
        assert_eq!(bed.survey(&guess(now, 3)).await, refused(LimitName::WrongCodes, GAP));
        bed.codes.clear(&guess(now, 3)).await.unwrap();
        for other in others {
            assert_eq!(bed.codes.members(&other, now, 100).await.unwrap().len(), 1, "{other:?}");
        }
        assert_eq!(bed.survey(&guess(now, 3)).await, Admission::Admitted);
    }
}
