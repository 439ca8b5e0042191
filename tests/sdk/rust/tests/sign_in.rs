//! Can a Rust program sign a user in, act for the user and sign out again, with the client that progenitor generates and
//! with typed errors all the way?

#![deny(warnings)]

use std::{
    env,
    hash::{BuildHasher, RandomState},
};

use phonepass_client::{Client, Error, sign_in::sign_in, types::ErrorBody};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap};
use serde_json::Value;

#[tokio::test]
async fn a_user_signs_in_refreshes_and_signs_out() {
    let mobile = any_mobile();

    let tokens = sign_in(&client(), &mobile, async || code_sent_to(&mobile).await).await.unwrap();
    assert!(tokens.is_new_user);
    assert_eq!(tokens.token_type, "Bearer");

    let user = client_with(&tokens.token).get_current_user().send().await.unwrap().into_inner().data;
    assert_eq!(user.id, tokens.user_id);
    assert_eq!(user.mobile, mobile);

    let next = client_with(&tokens.refresh_token).refresh_token().send().await.unwrap().into_inner().data;
    assert_eq!(next.user_id, tokens.user_id);
    assert!(!next.is_new_user);
    assert_ne!(next.refresh_token, tokens.refresh_token);

    let client = client_with(&next.token);
    assert_eq!(client.sign_out().send().await.unwrap().status(), 204);
    let refusal = refusal(client.get_current_user().send().await);
    assert_eq!(refusal.code, "session_revoked");
}

#[tokio::test]
async fn a_wrong_code_is_a_typed_error_that_counts_the_tries_left() {
    let mobile = any_mobile();

    let refusal = refusal(sign_in(&client(), &mobile, async || wrong(&code_sent_to(&mobile).await)).await);

    assert_eq!(refusal.code, "sms_code_invalid");
    assert_eq!(refusal.attempts_left, Some(4));
}

#[tokio::test]
async fn a_bad_mobile_gets_no_code() {
    let refusal = refusal(client().send_sms_code().body_map(|body| body.mobile("12345")).send().await);

    assert_eq!(refusal.code, "mobile_invalid");
}

fn url() -> String {
    env::var("PHONEPASS_URL").unwrap()
}

fn client() -> Client {
    Client::new(&url())
}

fn client_with(token: &str) -> Client {
    let headers = HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())]);
    let http = reqwest::Client::builder().default_headers(headers).build().unwrap();
    Client::new_with_client(&url(), http)
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Error<ErrorBody>>) -> ErrorBody {
    match answer {
        Err(Error::ErrorResponse(refusal)) => refusal.into_inner(),
        other => panic!("no refusal: {other:?}"),
    }
}

fn any_mobile() -> String {
    let random = RandomState::new().hash_one(());
    format!("1{}{:09}", 3 + random % 7, random / 7 % 1_000_000_000)
}

fn wrong(code: &str) -> String {
    if code == "000000" { "000001" } else { "000000" }.into()
}

/// The code of the newest message to the mobile, as its owner would read it on the phone.
async fn code_sent_to(mobile: &str) -> String {
    let request = reqwest::Client::new().get(format!("{}/dev/sms", url())).header(ACCEPT, "application/json");
    let messages: Vec<Value> = request.send().await.unwrap().json().await.unwrap();
    let message = messages.iter().find(|message| message["mobile"] == mobile).unwrap();
    message["code"].as_str().unwrap().into()
}
