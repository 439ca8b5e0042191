//! Codes: who asked for them, whose tries are used up, and what a right one does.

use super::*;

/// Asks for a code while the gap lasts.
async fn ask_again(bed: &Bed, asker: &Asker) {
    let (slot, code, message) = (slot(), pending("never sent"), rare(bed.now()));
    let refused = bed.codes.issue_code(&slot, &code, &message, asker, true).await.unwrap();
    assert!(matches!(refused, Admission::Refused { name: LimitName::SmsGap, .. }), "{refused:?}");
}

/// Sends a code within a gap.
async fn send(bed: &Bed, digest: &str, asker: &Asker) {
    let (slot, code, message) = (slot(), pending(digest), rare(bed.now()));
    let issued = bed.codes.issue_code(&slot, &code, &message, asker, true).await.unwrap();
    assert_eq!(issued, Admission::Admitted);
}

async fn use_up(bed: &Bed, asker: &Asker) {
    for left in (0..5).rev() {
        wrong(bed.present("wrong", asker, As::Asker).await, left);
    }
}

contract! {
    async fn a_picture_code_is_read_once_and_expires(bed) {
        let codes = &bed.codes;
        codes.put_image_code("id", "abcd", NETWORK, TTL).await.unwrap();
        codes.put_image_code("id", "efgh", NETWORK, TTL).await.unwrap();
        assert_eq!(codes.take_image_code("id").await.unwrap().as_deref(), Some("efgh"));
        assert_eq!(codes.take_image_code("id").await.unwrap(), None);
        codes.put_image_code("id", "abcd", NETWORK, TTL).await.unwrap();
        bed.advance(TTL).await;
        assert_eq!(codes.take_image_code("id").await.unwrap(), None);
    }
}

contract! {
    async fn a_key_is_taken_once_by_one_of_many_until_it_expires(bed) {
        let take = async || bed.codes.take_once("key", NETWORK, TTL).await.unwrap();
        let taken = join_all((0..50).map(|_| take())).await;
        assert_eq!(taken.into_iter().filter(|taken| *taken).count(), 1);
        assert!(bed.codes.take_once("another", NETWORK, TTL).await.unwrap());
        bed.advance(TTL).await;
        assert!(take().await);
    }
}

contract! {
    async fn one_of_many_issues_at_the_same_instant_wins_and_all_askers_may_redeem(bed) {
        let now = bed.now();
        let issues: Vec<_> = (0..50).map(|n| (pending(&format!("digest {n}")), rare(now))).collect();
        let slot = slot();
        let asker = owner();
        let outcomes = issues.iter().map(|(code, message)| bed.codes.issue_code(&slot, code, message, &asker, true));
        let outcomes: Vec<_> = join_all(outcomes).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Admission::Admitted).count(), 1);
        let winner = outcomes.iter().position(|outcome| *outcome == Admission::Admitted).unwrap();
        accepted(bed.present(&issues[winner].0.digest, &asker, As::Asker).await);
    }
}

contract! {
    async fn fifty_issues_at_the_same_instant_get_no_more_than_the_limit_of_ten(bed) {
        let now = bed.now();
        let ten = [counter(LimitName::SmsPerMobile, Some(10), None), of_network(LimitName::SmsPerIp, 30)];
        let messages: Vec<_> = (0..50).map(|_| tally(now, &ten)).collect();
        let (slot, code, asker) = (slot(), pending("right"), owner());
        let issues = messages.iter().map(|message| bed.codes.issue_code(&slot, &code, message, &asker, true));
        let admitted = join_all(issues).await.into_iter().filter(|issue| *issue.as_ref().unwrap() == Admission::Admitted);
        let admitted = admitted.count();
        if bed.cluster.is_some() {
            // A bound may be met early, where another subject counts what is taken back.
            assert!((1..=10).contains(&admitted), "{admitted}");
        } else {
            assert_eq!(admitted, 10);
        }
        for counter in ten {
            let members = bed.codes.members(&counter, now, 100).await.unwrap();
            assert_eq!(members.len(), admitted, "{counter:?}");
        }
    }
}

contract! {
    async fn a_code_is_redeemed_by_one_of_many(bed) {
        bed.issue("right", &owner()).await;
        let outcomes = join_all((0..100).map(|_| async { bed.present("right", &owner(), As::Asker).await })).await;
        let accepted = outcomes.into_iter().filter(|outcome| matches!(outcome, Redemption::Accepted(_))).count();
        assert_eq!(accepted, 1);
    }
}

contract! {
    async fn each_asker_has_tries_and_the_code_is_burnt_with_the_last(bed) {
        let other = network("198.51.100.1");
        send(&bed, "right", &owner()).await;
        ask_again(&bed, &other).await;
        use_up(&bed, &owner()).await;
        missing(bed.present("right", &owner(), As::Asker).await);
        // Asking again gives no more.
        ask_again(&bed, &owner()).await;
        missing(bed.present("right", &owner(), As::Asker).await);
        for left in (1..5).rev() {
            wrong(bed.present("wrong", &other, As::Asker).await, left);
        }
        wrong(bed.present("wrong", &other, As::Asker).await, 0);
        missing(bed.present("right", &other, As::Other).await);
    }
}

contract! {
    async fn an_asker_that_others_join_redeems_whatever_they_use_up(bed) {
        send(&bed, "right", &owner()).await;
        for n in 0..20 {
            ask_again(&bed, &network(&format!("198.51.100.{n}"))).await;
        }
        let mut tries = 0;
        for n in 0..20 {
            let asker = network(&format!("198.51.100.{n}"));
            while let Redemption::Wrong { .. } = bed.present("wrong", &asker, As::Asker).await {
                tries += 1;
            }
        }
        // The seven latest beside the one whose message was sent.
        assert_eq!(tries, 35);
        for n in 20..40 {
            let asker = network(&format!("198.51.100.{n}"));
            ask_again(&bed, &asker).await;
            assert!(matches!(bed.present("wrong", &asker, As::Asker).await, Redemption::NotAsker));
        }
        accepted(bed.present("right", &owner(), As::Asker).await);
    }
}

contract! {
    async fn who_comes_late_gets_what_tries_the_one_before_has_left(bed) {
        send(&bed, "right", &owner()).await;
        for n in 0..7 {
            bed.clock.advance(chrono::Duration::milliseconds(10));
            ask_again(&bed, &network(&format!("198.51.100.{n}"))).await;
        }
        let oldest = network("198.51.100.0");
        wrong(bed.present("wrong", &oldest, As::Asker).await, 4);
        bed.clock.advance(chrono::Duration::milliseconds(10));
        let late = network("203.0.113.1");
        ask_again(&bed, &late).await;
        assert!(matches!(bed.present("right", &oldest, As::Asker).await, Redemption::NotAsker));
        wrong(bed.present("wrong", &late, As::Asker).await, 3);
        accepted(bed.present("right", &late, As::Asker).await);
    }
}

contract! {
    async fn who_asks_with_a_device_is_known_by_it_alone(bed) {
        let device = |device: Option<&str>| Asker { device: device.map(str::to_owned), ..owner() };
        send(&bed, "right", &device(Some("a"))).await;
        for other in [device(None), device(Some("b"))] {
            assert!(matches!(bed.present("right", &other, As::Asker).await, Redemption::NotAsker), "{other:?}");
        }
        // The network of one that asked without a device is enough for any.
        ask_again(&bed, &device(None)).await;
        wrong(bed.present("wrong", &device(Some("b")), As::Asker).await, 4);
        wrong(bed.present("wrong", &device(None), As::Asker).await, 3);
        let elsewhere = Asker { network: "198.51.100.1".to_owned(), ..device(Some("a")) };
        wrong(bed.present("wrong", &elsewhere, As::Asker).await, 4);
        accepted(bed.present("right", &elsewhere, As::Asker).await);
    }
}

contract! {
    async fn a_new_code_keeps_the_askers_of_its_life_with_fresh_tries(bed) {
        let early = network("198.51.100.1");
        send(&bed, "first", &early).await;
        wrong(bed.present("wrong", &early, As::Asker).await, 4);
        bed.advance(GAP).await;
        send(&bed, "second", &owner()).await;
        wrong(bed.present("first", &early, As::Asker).await, 4);
        bed.advance(TTL - GAP).await;
        send(&bed, "third", &owner()).await;
        assert!(matches!(bed.present("third", &early, As::Asker).await, Redemption::NotAsker));
        accepted(bed.present("third", &owner(), As::Asker).await);
    }
}

contract! {
    async fn only_a_refusal_by_the_gap_alone_makes_an_asker(bed) {
        let now = bed.now();
        let limits = [counter(LimitName::SmsGap, Some(1), None), counter(LimitName::SmsPerMobile, Some(1), None)];
        let other = network("198.51.100.1");
        for (asker, admitted) in [(owner(), true), (other.clone(), false)] {
            let issued = bed.codes.issue_code(&slot(), &pending("right"), &tally(now, &limits), &asker, true).await;
            assert_eq!(issued.unwrap() == Admission::Admitted, admitted);
        }
        assert!(matches!(bed.present("right", &other, As::Asker).await, Redemption::NotAsker));
        accepted(bed.present("right", &owner(), As::Asker).await);
        // Where there is no code, there is nothing to join.
        ask_again_without_a_code(&bed, &other).await;
        missing(bed.present("never sent", &other, As::Asker).await);
    }
}

async fn ask_again_without_a_code(bed: &Bed, asker: &Asker) {
    let (slot, code, message) = (slot(), pending("never sent"), tally(bed.now(), &rare(bed.now()).counters));
    let refused = bed.codes.issue_code(&slot, &code, &message, asker, true).await.unwrap();
    assert!(matches!(refused, Admission::Refused { .. }), "{refused:?}");
}

contract! {
    async fn others_have_tries_in_common_that_burn_nothing(bed) {
        bed.issue("right", &owner()).await;
        for (n, left) in (0..5).rev().enumerate() {
            wrong(bed.present("wrong", &network(&format!("198.51.100.{n}")), As::Other).await, left);
        }
        for digest in ["wrong", "right"] {
            not_looked_at(bed.present(digest, &network("198.51.100.9"), As::Other).await, LimitName::StrangersTries);
        }
        let Redemption::Refused { retry_after, .. } = bed.present("right", &owner(), As::Other).await else { panic!() };
        assert!(retry_after <= TTL && retry_after > TTL - Duration::from_secs(30), "{retry_after:?}");
        accepted(bed.present("right", &owner(), As::Asker).await);
    }
}

contract! {
    async fn two_hundred_guesses_of_others_at_the_same_instant_get_five_tries_while_the_asker_redeems(bed) {
        bed.issue("right", &owner()).await;
        let askers: Vec<_> = (0..200).map(|n| network(&format!("198.51.100.{n}"))).collect();
        let others = join_all(askers.iter().map(|asker| bed.present("wrong", asker, As::Other)));
        let outcomes = others.await;
        let tried = outcomes.iter().filter(|outcome| matches!(outcome, Redemption::Wrong { .. })).count();
        assert_eq!(tried, 5);
        let refused = |outcome: &&Redemption| {
            matches!(outcome, Redemption::Refused { name: LimitName::StrangersTries, .. })
        };
        assert_eq!(outcomes.iter().filter(refused).count(), 195);

        bed.issue("right", &owner()).await;
        let me = owner();
        let (_, redeemed) = tokio::join!(
            join_all(askers.iter().map(|asker| bed.present("wrong", asker, As::Other))),
            bed.present("right", &me, As::Asker),
        );
        accepted(redeemed);
    }
}

contract! {
    async fn a_known_device_has_tries_of_its_own(bed) {
        let device = |name: &str| As::KnownDevice(name.to_owned());
        let elsewhere = network("198.51.100.1");
        bed.issue("right", &owner()).await;
        for _ in 0..5 {
            bed.present("wrong", &elsewhere, As::Other).await;
        }
        for left in (0..5).rev() {
            wrong(bed.present("wrong", &elsewhere, device("a")).await, left);
        }
        missing(bed.present("right", &elsewhere, device("a")).await);
        wrong(bed.present("wrong", &elsewhere, device("b")).await, 4);
        accepted(bed.present("right", &elsewhere, device("b")).await);
    }
}

contract! {
    async fn wrong_guesses_of_others_use_up_a_budget_over_all_codes_and_a_right_one_clears_it(bed) {
        let asker = network("198.51.100.1");
        for digest in ["first", "second"] {
            bed.issue(digest, &owner()).await;
            wrong(bed.present_within("wrong", &asker, As::Other, 3).await, 4);
        }
        // Those of an asker count nowhere.
        wrong(bed.present_within("wrong", &owner(), As::Asker, 3).await, 4);
        accepted(bed.present_within("second", &asker, As::Other, 3).await);
        for _ in 0..3 {
            bed.issue("right", &owner()).await;
            wrong(bed.present_within("wrong", &asker, As::Other, 3).await, 4);
        }
        for digest in ["wrong", "right"] {
            not_looked_at(bed.present_within(digest, &asker, As::Other, 3).await, LimitName::WrongCodes);
        }
        // What was not compared counts nowhere, and the address has what was wrong since the right one.
        let address = guess(bed.now(), 3).counters.remove(2);
        assert_eq!(bed.codes.members(&address, bed.now(), 100).await.unwrap().len(), 3);
        accepted(bed.present_within("right", &owner(), As::Asker, 3).await);
        assert_eq!(bed.survey(&guess(bed.now(), 1)).await, Admission::Admitted);
    }
}

contract! {
    async fn an_address_has_a_budget_of_guesses_that_right_ones_do_not_use_up(bed) {
        let asker = network("198.51.100.1");
        for _ in 0..20 {
            bed.issue("right", &owner()).await;
            accepted(bed.present_within("right", &asker, As::Other, 2).await);
        }
        bed.issue("right", &owner()).await;
        let full = tally(bed.now(), &[of_network(LimitName::WrongCodesPerIp, 10)]);
        let counted: Vec<_> = (0..10).map(|_| Tally { id: Uuid::now_v7().to_string(), ..full.clone() }).collect();
        for tally in &counted {
            assert_eq!(bed.count(tally).await, Admission::Admitted);
        }
        not_looked_at(bed.present_within("right", &asker, As::Other, 2).await, LimitName::WrongCodesPerIp);
        bed.codes.uncount(&counted[0]).await.unwrap();
        accepted(bed.present_within("right", &asker, As::Other, 2).await);
    }
}

contract! {
    async fn a_guess_where_no_code_is_counts_and_is_refused_in_the_end(bed) {
        let now = bed.now();
        let limits = [counter(LimitName::WrongCodes, Some(9), None), of_network(LimitName::WrongCodesPerIp, 3)];
        let guess = tally(now, &[]);
        let present = async |presenter: As| {
            let nothing = tally(now, &limits);
            let presentation = Presentation { presenter, nothing: &nothing, ..Presentation::default_with(&guess) };
            bed.redeem(&presentation).await
        };
        for presenter in [As::Asker, As::Other, As::KnownDevice("a".to_owned())] {
            missing(present(presenter).await);
        }
        not_looked_at(present(As::Asker).await, LimitName::WrongCodesPerIp);
        assert_eq!(bed.codes.members(&limits[0], now, 100).await.unwrap().len(), 3);
        // The same where an asker has no try left.
        bed.codes.forget(&limits[1], &bed.codes.members(&limits[1], now, 100).await.unwrap()).await.unwrap();
        send(&bed, "right", &owner()).await;
        ask_again(&bed, &network("198.51.100.1")).await;
        use_up(&bed, &owner()).await;
        missing(present(As::Asker).await);
        assert_eq!(bed.codes.members(&limits[0], now, 100).await.unwrap().len(), 4);
        // One that is no asker is not.
        let stranger = network("198.51.100.9");
        let nothing = tally(now, &limits);
        let presentation = Presentation { asker: &stranger, nothing: &nothing, ..Presentation::default_with(&guess) };
        assert!(matches!(bed.redeem(&presentation).await, Redemption::NotAsker));
        assert_eq!(bed.codes.members(&limits[0], now, 100).await.unwrap().len(), 4);
    }
}

contract! {
    async fn a_used_code_that_is_sent_again_is_no_guess(bed) {
        let now = bed.now();
        let limits = [counter(LimitName::WrongCodes, Some(1), None)];
        let guess = tally(now, &[]);
        let present = async |digest: &str| {
            let nothing = tally(now, &limits);
            let presentation = Presentation { digest, nothing: &nothing, ..Presentation::default_with(&guess) };
            bed.redeem(&presentation).await
        };
        send(&bed, "right", &owner()).await;
        accepted(present("right").await);
        for _ in 0..3 {
            missing(present("right").await);
        }
        assert!(bed.codes.members(&limits[0], now, 100).await.unwrap().is_empty());
        missing(present("wrong").await);
        not_looked_at(present("wrong").await, LimitName::WrongCodes);
        missing(present("right").await);
        // Of the next code it is a wrong one.
        bed.advance(GAP).await;
        send(&bed, "next", &owner()).await;
        wrong(present("right").await, 4);
        accepted(present("next").await);
    }
}

contract! {
    async fn sign_ins_are_counted_by_right_codes_and_refused_before_one_is_spent(bed) {
        let now = bed.now();
        let limit = [counter(LimitName::SignInsPerUser, Some(2), None)];
        let nothing = tally(now, &[]);
        let present = async |digest: &str| {
            let sign_in = tally(now, &limit);
            let sign_in = Some(&sign_in);
            bed.redeem(&Presentation { digest, sign_in, ..Presentation::default_with(&nothing) }).await
        };
        for _ in 0..2 {
            bed.issue("right", &owner()).await;
            wrong(present("wrong").await, 4);
            accepted(present("right").await);
        }
        bed.issue("right", &owner()).await;
        not_looked_at(present("wrong").await, LimitName::SignInsPerUser);
        not_looked_at(present("right").await, LimitName::SignInsPerUser);
        bed.codes.forget(&limit[0], &bed.codes.members(&limit[0], now, 100).await.unwrap()).await.unwrap();
        let used = accepted(present("right").await);
        assert_eq!(bed.codes.members(&limit[0], now, 100).await.unwrap().len(), 1);
        bed.codes.restore_code(&used).await.unwrap();
        assert_eq!(bed.codes.members(&limit[0], now, 100).await.unwrap().len(), 0);
    }
}

contract! {
    async fn a_fixed_code_is_never_used_up_and_guesses_at_it_have_a_budget(bed) {
        let now = bed.now();
        let limit = [counter(LimitName::TestCodeGuesses, Some(2), None)];
        let nothing = tally(now, &[]);
        let present = async |digest: &str| {
            let guess = tally(now, &limit);
            bed.redeem(&Presentation { digest, fixed: Some("fixed"), guess: &guess, ..Presentation::default_with(&nothing) }).await
        };
        for _ in 0..2 {
            let used = accepted(present("fixed").await);
            bed.codes.restore_code(&used).await.unwrap();
        }
        assert!(matches!(present("wrong").await, Redemption::Wrong { tries_left: None }));
        // A right one clears nothing.
        accepted(present("fixed").await);
        assert!(matches!(present("wrong").await, Redemption::Wrong { tries_left: None }));
        not_looked_at(present("fixed").await, LimitName::TestCodeGuesses);
    }
}

contract! {
    async fn a_restored_code_keeps_tries_and_life_and_yields_to_a_newer_one(bed) {
        bed.issue("right", &owner()).await;
        wrong(bed.present("wrong", &owner(), As::Asker).await, 4);
        wrong(bed.present("wrong", &owner(), As::Other).await, 4);
        bed.advance(GAP).await;
        let used = accepted(bed.present("right", &owner(), As::Asker).await);
        missing(bed.present("right", &owner(), As::Asker).await);
        bed.codes.restore_code(&used).await.unwrap();
        wrong(bed.present("wrong", &owner(), As::Asker).await, 3);
        wrong(bed.present("wrong", &owner(), As::Other).await, 3);

        let used = accepted(bed.present("right", &owner(), As::Asker).await);
        bed.issue("newer", &owner()).await;
        bed.codes.restore_code(&used).await.unwrap();
        let used = accepted(bed.present("newer", &owner(), As::Asker).await);
        missing(bed.present("right", &owner(), As::Asker).await);
        bed.codes.restore_code(&used).await.unwrap();
        bed.advance(TTL).await;
        missing(bed.present("newer", &owner(), As::Asker).await);
    }
}

contract! {
    async fn withdrawing_takes_back_the_code_and_what_its_message_counted_and_no_other(bed) {
        let now = bed.now();
        let (slot, message) = (slot(), rare(now));
        bed.codes.issue_code(&slot, &pending("first"), &message, &owner(), true).await.unwrap();
        bed.codes.withdraw_code(&slot, "another").await.unwrap();
        bed.codes.uncount(&rare(now)).await.unwrap();
        let later = now + chrono::Duration::seconds(1);
        assert_eq!(bed.survey(&rare(later)).await, refused(LimitName::SmsGap, Duration::from_secs(59)));
        bed.codes.withdraw_code(&slot, "first").await.unwrap();
        bed.codes.uncount(&message).await.unwrap();
        assert_eq!(bed.survey(&rare(now)).await, Admission::Admitted);
        missing(bed.present("first", &owner(), As::Asker).await);
    }
}

contract! {
    async fn a_withdrawn_code_leaves_its_place_to_the_one_before_as_it_was(bed) {
        let (newcomer, late, known) = (network("198.51.100.1"), network("198.51.100.2"), As::KnownDevice("a".to_owned()));
        send(&bed, "first", &owner()).await;
        wrong(bed.present("wrong", &owner(), As::Asker).await, 4);
        wrong(bed.present("wrong", &owner(), As::Other).await, 4);
        wrong(bed.present("wrong", &owner(), known.clone()).await, 4);
        bed.advance(GAP).await;
        send(&bed, "second", &newcomer).await;
        ask_again(&bed, &late).await;
        wrong(bed.present("first", &owner(), As::Asker).await, 4);
        wrong(bed.present("wrong", &newcomer, As::Asker).await, 4);

        bed.codes.withdraw_code(&slot(), "second").await.unwrap();
        wrong(bed.present("second", &owner(), As::Asker).await, 3);
        wrong(bed.present("second", &owner(), As::Other).await, 3);
        wrong(bed.present("second", &owner(), known).await, 3);
        // Those that have asked since asked within its life.
        for asker in [&newcomer, &late] {
            wrong(bed.present("second", asker, As::Asker).await, 4);
        }
        bed.codes.withdraw_code(&slot(), "second").await.unwrap();
        bed.advance(TTL.saturating_sub(GAP).saturating_sub(Duration::from_secs(10))).await;
        let used = accepted(bed.present("first", &newcomer, As::Asker).await);
        bed.codes.restore_code(&used).await.unwrap();
        bed.advance(Duration::from_secs(10)).await;
        missing(bed.present("first", &owner(), As::Asker).await);
    }
}

contract! {
    async fn askers_of_a_withdrawn_code_take_no_more_places_than_there_are_and_none_of_the_owner(bed) {
        send(&bed, "first", &owner()).await;
        for n in 0..7 {
            bed.clock.advance(chrono::Duration::milliseconds(10));
            ask_again(&bed, &network(&format!("198.51.100.{n}"))).await;
        }
        for n in 0..7 {
            wrong(bed.present("wrong", &network(&format!("198.51.100.{n}")), As::Asker).await, 4);
        }
        bed.advance(GAP).await;
        send(&bed, "second", &network("203.0.113.1")).await;
        bed.codes.withdraw_code(&slot(), "second").await.unwrap();
        // In the place, and with the tries, of the one that asked longest ago.
        assert!(matches!(bed.present("first", &network("198.51.100.0"), As::Asker).await, Redemption::NotAsker));
        wrong(bed.present("wrong", &network("203.0.113.1"), As::Asker).await, 3);
        accepted(bed.present("first", &owner(), As::Asker).await);
    }
}

contract! {
    async fn what_is_used_up_burnt_or_replaced_does_not_come_back_with_a_withdrawal(bed) {
        let withdraw = async |digest: &str| bed.codes.withdraw_code(&slot(), digest).await.unwrap();
        // Used up.
        bed.issue("first", &owner()).await;
        accepted(bed.present("first", &owner(), As::Asker).await);
        bed.issue("second", &owner()).await;
        withdraw("second").await;
        let guesses = guess(bed.now(), 100);
        for digest in ["first", "second"] {
            missing(bed.redeem(&Presentation { digest, ..Presentation::default_with(&guesses) }).await);
        }
        // The one that was right is no guess.
        assert_eq!(bed.codes.members(&guesses.counters[0], bed.now(), 10).await.unwrap().len(), 1);

        // Burnt.
        bed.issue("first", &owner()).await;
        use_up(&bed, &owner()).await;
        bed.issue("second", &owner()).await;
        withdraw("second").await;
        missing(bed.present("first", &owner(), As::Asker).await);

        // Replaced by one that was delivered, and is used up or burnt.
        for is_used_up in [true, false] {
            bed.issue("first", &owner()).await;
            bed.issue("second", &owner()).await;
            if is_used_up {
                accepted(bed.present("second", &owner(), As::Asker).await);
            } else {
                use_up(&bed, &owner()).await;
            }
            withdraw("second").await;
            missing(bed.present("first", &owner(), As::Asker).await);
            bed.issue("third", &owner()).await;
            withdraw("third").await;
            missing(bed.present("first", &owner(), As::Asker).await);
        }

        // Not delivered either.
        bed.issue("first", &owner()).await;
        bed.issue("second", &owner()).await;
        withdraw("first").await;
        withdraw("second").await;
        for digest in ["first", "second"] {
            missing(bed.present(digest, &owner(), As::Asker).await);
        }
    }
}

contract! {
    async fn a_withdrawal_and_a_newer_code_at_the_same_instant_leave_the_newer_one(bed) {
        for _ in 0..20 {
            bed.issue("first", &owner()).await;
            bed.issue("second", &owner()).await;
            let (slot, asker) = (slot(), owner());
            let withdrawal = bed.codes.withdraw_code(&slot, "second");
            let (withdrawn, ()) = tokio::join!(withdrawal, bed.issue("third", &asker));
            withdrawn.unwrap();
            for digest in ["first", "second"] {
                assert!(matches!(bed.present(digest, &owner(), As::Asker).await, Redemption::Wrong { .. }));
            }
            bed.codes.withdraw_code(&slot, "third").await.unwrap();
            let second = bed.present("second", &owner(), As::Asker).await;
            assert!(matches!(second, Redemption::Wrong { .. } | Redemption::Missing), "{second:?}");
            bed.issue("fourth", &owner()).await;
            accepted(bed.present("fourth", &owner(), As::Asker).await);
        }
    }
}

contract! {
    async fn with_a_code_that_falls_back_the_one_before_is_right_for_the_life_that_it_had(bed) {
        let fall_back = async |digest: &str| bed.codes.fall_back(&slot(), digest).await.unwrap();
        send(&bed, "undelivered", &owner()).await;
        fall_back("undelivered").await;
        wrong(bed.present("wrong", &owner(), As::Asker).await, 4);
        bed.advance(GAP).await;
        send(&bed, "first", &owner()).await;
        fall_back("another").await;
        wrong(bed.present("wrong", &owner(), As::Asker).await, 4);
        bed.advance(GAP).await;
        send(&bed, "second", &owner()).await;
        wrong(bed.present("first", &owner(), As::Asker).await, 4);
        fall_back("another").await;
        wrong(bed.present("first", &owner(), As::Asker).await, 3);
        fall_back("second").await;

        // Neither tries nor life are those of another code.
        wrong(bed.present("wrong", &owner(), As::Asker).await, 2);
        for digest in ["first", "second"] {
            let used = accepted(bed.present(digest, &owner(), As::Asker).await);
            missing(bed.present(digest, &owner(), As::Asker).await);
            bed.codes.restore_code(&used).await.unwrap();
        }

        // The next one that falls back does so past it.
        bed.advance(GAP).await;
        send(&bed, "third", &owner()).await;
        wrong(bed.present("second", &owner(), As::Asker).await, 4);
        fall_back("third").await;
        wrong(bed.present("wrong", &owner(), As::Asker).await, 3);
        let used = accepted(bed.present("first", &owner(), As::Asker).await);
        bed.codes.restore_code(&used).await.unwrap();
        bed.advance(TTL - 2 * GAP).await;
        wrong(bed.present("first", &owner(), As::Asker).await, 2);
        accepted(bed.present("third", &owner(), As::Asker).await);
    }
}

contract! {
    async fn what_a_repetition_gets_is_replaced_while_there_is_one(bed) {
        bed.issue("right", &owner()).await;
        let nothing = tally(bed.now(), &[]);
        let replay = Replay { key: "key".to_owned(), value: "first".to_owned(), ttl: GAP };
        let present = async || bed.redeem(&Presentation { replay: Some(&replay), ..Presentation::default_with(&nothing) }).await;
        let used = accepted(present().await);
        bed.advance(GAP / 2).await;
        bed.codes.replace_replay(&used, "second").await.unwrap();
        let repeated = present().await;
        assert!(matches!(&repeated, Redemption::Repeated(value) if value == "second"), "{repeated:?}");
        // It is there for no longer.
        bed.advance(GAP / 2).await;
        bed.codes.replace_replay(&used, "third").await.unwrap();
        missing(present().await);

        bed.issue("right", &owner()).await;
        let used = accepted(bed.present("right", &owner(), As::Asker).await);
        bed.codes.replace_replay(&used, "none").await.unwrap();
        missing(present().await);
    }
}

contract! {
    async fn a_redemption_is_repeated_for_whoever_knows_its_key_until_the_code_is_restored(bed) {
        bed.issue("right", &owner()).await;
        let nothing = tally(bed.now(), &[]);
        let present = async |key: &str, value: &str| {
            let replay = Replay { key: key.to_owned(), value: value.to_owned(), ttl: GAP };
            bed.redeem(&Presentation { replay: Some(&replay), ..Presentation::default_with(&nothing) }).await
        };
        let used = accepted(present("key", "first").await);
        let repeated = present("key", "second").await;
        assert!(matches!(&repeated, Redemption::Repeated(value) if value == "first"), "{repeated:?}");
        missing(present("another", "third").await);
        bed.codes.restore_code(&used).await.unwrap();
        accepted(present("key", "fourth").await);
        bed.advance(GAP).await;
        missing(present("key", "fifth").await);
    }
}
