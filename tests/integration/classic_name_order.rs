//! Which name counts where a request has several for one value.

use serde_json::json;

use crate::{
    classic_names::expect_rule,
    support::{MOBILE, PASSWORD, TestApp, backends::Backends},
};

#[tokio::test]
async fn the_calls_own_name_counts_before_the_others_and_those_count_in_their_order() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let body = |names: &[&str]| {
        let mut body = json!({ "mobile": MOBILE });
        for (place, name) in names.iter().enumerate() {
            body[*name] = if place == 0 { json!(1) } else { json!(PASSWORD) };
        }
        body
    };
    // The first is the one that counts, and is malformed.
    for names in [
        &["password", "passWord", "passport", "passwd"][..],
        &["pass_word", "passport", "passwd"],
        &["passport", "Passport", "passwd"],
        &["PASSPORT", "passwd"],
    ] {
        expect_rule(&app.post("/passport/login", body(names)).await, "password 必须是字符串", &names.join(" "));
    }
    for (path, names) in [
        ("/passport/image_code", &["code_id", "codeId", "cur_id", "image_code_id", "cur", "id", "image_code"][..]),
        ("/passport/image_code", &["cur_id", "imageCodeId", "cur", "image_code_key"]),
        ("/passport/image_code", &["image_code_id", "imageCodeId", "cur", "image_code_key", "id"]),
        ("/passport/image_code", &["cur", "image_code_key", "id", "image_code"]),
        ("/api/v1.0/imagecode", &["id", "image_code"]),
    ] {
        for (number, in_order) in [true, false].into_iter().enumerate() {
            let first = format!("first-{number}");
            let mut pairs: Vec<_> = names.iter().map(|name| format!("{name}=another")).collect();
            pairs[0] = format!("{}={first}", names[0]);
            if !in_order {
                pairs.reverse();
            }
            let picture = app.get(&format!("{path}?{}", pairs.join("&"))).await;
            assert_eq!(picture.header("content-type"), "image/jpeg", "{pairs:?}");
            app.picture_text(&first).await;
            assert!(app.app.codes.take_image_code("another").await.unwrap().is_none(), "{pairs:?}");
            app.app.codes.take_image_code(&first).await.unwrap();
        }
    }
    // Each send call has its own names, which the other one knows as well.
    for (call, own, other) in [("smscode", "id", "image_code_id"), ("sms_codes", "image_code_id", "id")] {
        let answer = app.get(&format!("/api/v1.0/{call}/{MOBILE}?text=k7xw&{other}=never-drawn&{own}=a.b")).await;
        expect_rule(&answer, &format!("{own} 必须是 1 到 64 个"), own);
    }
    for (call, own, other) in [("smscode", "text", "image_code"), ("sms_codes", "image_code", "text")] {
        app.put_picture("x", "k7xw").await;
        let answer = app.get(&format!("/api/v1.0/{call}/1370000000{}?id=x&{other}=0000&{own}=k7xw", call.len())).await;
        answer.expect_errno(0);
    }
}

#[tokio::test]
async fn of_a_parameter_that_is_sent_twice_the_first_counts() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    app.put_picture("first", "k7xw").await;
    let path = format!("/api/v1.0/smscode/{MOBILE}?id=first&text=k7xw&id=second&text=0000");
    app.get(&path).await.expect_errno(0);
}

#[tokio::test]
async fn an_empty_value_hides_none_that_is_filled_in() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for (empty, mobile) in [(json!(null), MOBILE), (json!(""), "13900139000")] {
        let text = empty.as_str().unwrap_or_default();
        app.put_picture("x", "k7xw").await;
        app.get(&format!("/api/v1.0/smscode/{mobile}?id={text}&cur={text}&code_id=x&text={text}&image_code=k7xw"))
            .await
            .expect_errno(0);
        let code = app.last_code(mobile);
        let body = json!({
            "mobile": empty, "phone": mobile, "sms_code": empty, "smsCode": code, "password": empty, "passport": empty,
            "passwd": PASSWORD, "password2": empty, "repassword": PASSWORD
        });
        app.post("/api/v1.0/users", body).await.expect_errno(0);
        let body = json!({ "mobile": mobile, "password": empty, "passwd": "" });
        expect_rule(&app.post("/api/v1.0/sessions", body).await, "password 必填", "no password");
    }
}
