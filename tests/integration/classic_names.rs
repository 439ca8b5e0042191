//! The names that classic front ends have for query parameters and body fields.

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, MOBILE, PASSWORD, TestApp, backends::Backends};

/// A number for every message: each may get one a minute.
fn numbers() -> impl Iterator<Item = String> {
    (13_700_000_000_u64..).map(|number| number.to_string())
}

const NO_LIMIT: &[&str] = &["--sms-per-ip-per-hour=0"];

const PICTURE_IDS: [&str; 6] = ["code_id", "cur_id", "cur", "image_code_id", "image_code_key", "id"];
const PICTURE_TEXTS: [&str; 2] = ["text", "image_code"];

/// A value of a call: its own name, its other names, what is wrong, and what is said about that.
struct Taken {
    own: &'static str,
    others: &'static [&'static str],
    malformed: fn() -> Value,
    rule: &'static str,
}

const MOBILE_NUMBER: Taken =
    Taken { own: "mobile", others: &["phone"], malformed: || json!("1380013800"), rule: "手机号格式不正确" };
const CODE: Taken =
    Taken {
        own: "sms_code", others: &["phonecode"], malformed: || json!("12345"), rule: "sms_code 必须是 6 位数字"
    };
const SMSCODE: Taken = Taken { own: "smscode", rule: "smscode 必须是 6 位数字", ..CODE };
const SECRET: Taken = Taken {
    own: "password",
    others: &["passport", "passwd"],
    malformed: || json!(12_345_678),
    rule: "password 必须是字符串",
};
const REPEATED: Taken = Taken {
    own: "password2",
    others: &["passwd2", "repassword"],
    malformed: || json!("another fine secret"),
    rule: "password2 两次密码不一致",
};
const NAME: Taken = Taken {
    own: "name",
    others: &["username"],
    malformed: || json!("很".repeat(33)),
    rule: "name 必须是 1 到 32 个字符",
};
const PICTURE_ID: Taken = Taken {
    own: "image_code_id",
    others: &PICTURE_IDS,
    malformed: || json!(0.8446),
    rule: "image_code_id 必须是 1 到 64 个字母、数字、_ 或 -",
};
const PICTURE_TEXT: Taken =
    Taken {
        own: "image_code", others: &PICTURE_TEXTS, malformed: || json!(["k7xw"]), rule: "image_code 必须是字符串"
    };

/// Every call that takes a body.
fn calls() -> [(&'static str, Value, Vec<Taken>); 6] {
    let send = json!({ "mobile": MOBILE, "image_code": "k7xw", "image_code_id": "x" });
    let sign_in = json!({ "mobile": MOBILE, "password": PASSWORD });
    let ihome = json!({ "mobile": MOBILE, "sms_code": "123456", "password": PASSWORD, "password2": PASSWORD });
    let passport = json!({ "mobile": MOBILE, "smscode": "123456", "password": PASSWORD });
    [
        ("/api/v1.0/users", ihome, vec![MOBILE_NUMBER, CODE, SECRET, REPEATED]),
        ("/api/v1.0/sessions", sign_in.clone(), vec![MOBILE_NUMBER, SECRET]),
        ("/api/v1.0/user/name", json!({ "name": "小明" }), vec![NAME]),
        ("/passport/sms_code", send, vec![MOBILE_NUMBER, PICTURE_ID, PICTURE_TEXT]),
        ("/passport/register", passport, vec![MOBILE_NUMBER, SMSCODE, SECRET]),
        ("/passport/login", sign_in, vec![MOBILE_NUMBER, SECRET]),
    ]
}

/// Some ways in which front ends write one name.
fn spellings(name: &str) -> Vec<String> {
    let words = name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]);
    let pascal: String = words.collect();
    let camel = name[..1].to_owned() + &pascal[1..];
    let mut all =
        vec![name.to_owned(), camel, pascal, name.to_uppercase(), name.replace('_', ""), format!("_{name}__")];
    all.dedup();
    all
}

/// A body whose one value goes by another name.
fn renamed(whole: &Value, own: &str, name: &str, value: Value) -> Value {
    let mut body = whole.clone();
    body.as_object_mut().unwrap().remove(own);
    body[name] = value;
    body
}

#[track_caller]
fn expect_rule(answer: &Answer, rule: &str, place: &str) {
    let body = answer.expect_errno(4103);
    assert!(body["errmsg"].as_str().unwrap().contains(rule), "{place}: {body}");
}

fn query(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

#[tokio::test]
async fn every_field_of_every_body_goes_by_each_of_its_names_in_every_spelling() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let token = app.sign_in("13900139000").await.access;
    for (path, whole, fields) in calls() {
        for Taken { own, others, malformed, rule } in fields {
            for name in std::iter::once(&own).chain(others).flat_map(|name| spellings(name)) {
                let body = renamed(&whole, own, &name, malformed());
                let answer = app.send_as(Method::POST, path, &token, body).await;
                expect_rule(&answer, rule, &format!("{path} {name}"));
            }
            // These are other names.
            for name in [format!("{own}x"), format!("x{own}"), format!("{own}-")] {
                let answer = app.send_as(Method::POST, path, &token, renamed(&whole, own, &name, malformed())).await;
                assert!(!answer.json()["errmsg"].as_str().unwrap().contains(rule), "{path} {name}");
            }
        }
    }
}

#[test]
fn a_name_is_taken_in_any_case_and_with_underscores_anywhere() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _context = runtime.enter();
    let app = runtime.block_on(TestApp::start(Backends::SQLITE_AND_IN_PROCESS));
    let token = runtime.block_on(app.sign_in("13900139000")).access;
    let names: Vec<_> = calls()
        .into_iter()
        .flat_map(|(path, whole, fields)| {
            fields.into_iter().flat_map(move |Taken { own, others, malformed, rule }| {
                let whole = whole.clone();
                std::iter::once(&own)
                    .chain(others)
                    .map(move |name| (path, renamed(&whole, own, "", json!(null)), *name, malformed(), rule))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let styles = prop::collection::vec((any::<bool>(), 0..3_usize), 20);
    let spelled = (prop::sample::select(names), styles).prop_map(|((path, whole, name, value, rule), styles)| {
        let letters = name.chars().filter(|letter| *letter != '_').zip(styles);
        let spelling: String = letters
            .flat_map(|(letter, (upper, underscores))| {
                let letter = if upper { letter.to_ascii_uppercase() } else { letter };
                std::iter::repeat_n('_', underscores).chain([letter])
            })
            .collect();
        (path, whole, spelling, value, rule)
    });
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&spelled, |(path, mut body, spelling, value, rule)| {
        body[&spelling] = value;
        let body = runtime.block_on(app.send_as(Method::POST, path, &token, body)).json();
        prop_assert!(body["errmsg"].as_str().unwrap().contains(rule), "{body}");
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn a_picture_goes_by_each_name_of_its_id_wherever_it_is_asked_for() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let names = PICTURE_IDS.into_iter().chain(["image_code"]).flat_map(spellings);
    for (number, name) in names.enumerate() {
        let path = ["/passport/image_code", "/api/v1.0/imagecode", "/api/v1/image_code/"][number % 3];
        let picture = app.get(&format!("{path}?pre=0&{name}=picture-{number}&other=1")).await;
        assert_eq!(picture.header("content-type"), "image/jpeg", "{path} {name}");
        app.picture_text(&format!("picture-{number}")).await;
    }
    for wanting in ["", "?", "?code_id=", "?cur=0.8446", "?cur=a%20b&pre=x", "?imagecodes=x"] {
        for path in ["/passport/image_code", "/api/v1.0/imagecode"] {
            expect_rule(&app.get(&format!("{path}{wanting}")).await, "code_id 必须是 1 到 64 个", wanting);
        }
    }
}

#[tokio::test]
async fn a_code_is_sent_whatever_id_and_text_of_the_picture_are_called() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, NO_LIMIT).await;
    let ids = PICTURE_IDS.into_iter().flat_map(spellings);
    let texts: Vec<_> = PICTURE_TEXTS.into_iter().flat_map(spellings).collect();
    let names = ids.zip(texts.iter().cycle()).flat_map(|names| [names.clone(), names.clone(), names]);
    for ((number, (id, text)), mobile) in names.enumerate().zip(numbers()) {
        app.put_picture("x-1", "k7xw").await;
        let answer = match number % 3 {
            0 => app.get(&format!("/api/v1.0/smscode/{mobile}?{}", query(&[(&id, "x-1"), (text, "K7XW")]))).await,
            1 => app.get(&format!("/api/v1.0/sms_codes/{mobile}?{}", query(&[(text, "k7xw"), (&id, "x-1")]))).await,
            _ => app.post("/passport/sms_code", json!({ "phone": mobile, &id: "x-1", text: "k7xw" })).await,
        };
        assert_eq!(answer.expect_errno(0)["errmsg"], "发送成功", "{id} {text}");
        app.last_code(&mobile);
    }
}

#[tokio::test]
async fn users_register_and_sign_in_under_each_set_of_names() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, NO_LIMIT).await;
    let sets = [
        ("mobile", "sms_code", "password", "password2"),
        ("phone", "phonecode", "passport", "passwd2"),
        ("Phone", "phoneCode", "passwd", "rePassword"),
        ("mobile", "smsCode", "passWord", "re_password"),
    ];
    let paths = [("/api/v1.0/users", "/api/v1.0/sessions"), ("/passport/register", "/passport/login")];
    for (((mobile_name, code_name, password, repeated), number), (register, sign_in)) in
        sets.into_iter().flat_map(|set| [set, set]).zip(numbers()).zip(paths.into_iter().cycle())
    {
        let code = app.classic_code(&number).await;
        let body = json!({ mobile_name: number, code_name: code, password: PASSWORD, repeated: PASSWORD });
        let registered = app.post(register, body).await.expect_errno(0);
        assert_eq!(registered["data"]["mobile"], number);
        let signed_in = app.post(sign_in, json!({ mobile_name: number, password: PASSWORD })).await.expect_errno(0);
        assert_eq!(signed_in["data"]["user_id"], registered["data"]["user_id"]);
    }
}

#[tokio::test]
async fn of_several_names_for_one_value_the_own_one_of_the_call_counts_then_they_count_in_order() {
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
            let mut pairs: Vec<_> = names.iter().map(|name| (*name, "another")).collect();
            pairs[0].1 = &first;
            if !in_order {
                pairs.reverse();
            }
            let picture = app.get(&format!("{path}?{}", query(&pairs))).await;
            assert_eq!(picture.header("content-type"), "image/jpeg", "{pairs:?}");
            app.picture_text(&first).await;
            assert!(app.app.codes.take_image_code("another").await.unwrap().is_none(), "{pairs:?}");
            app.app.codes.take_image_code(&first).await.unwrap();
        }
    }
    // Each send call has names of its own, which the other one knows as well.
    for (call, own, other) in [("smscode", "id", "image_code_id"), ("sms_codes", "image_code_id", "id")] {
        let answer = app.get(&format!("/api/v1.0/{call}/{MOBILE}?text=k7xw&{other}=never-drawn&{own}=a.b")).await;
        expect_rule(&answer, &format!("{own} 必须是 1 到 64 个"), call);
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
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, NO_LIMIT).await;
    for (empty, mobile) in [json!(null), json!("")].into_iter().zip(numbers()) {
        let text = empty.as_str().unwrap_or_default();
        app.put_picture("x", "k7xw").await;
        app.get(&format!("/api/v1.0/smscode/{mobile}?id={text}&cur={text}&code_id=x&text={text}&image_code=k7xw"))
            .await
            .expect_errno(0);
        let code = app.last_code(&mobile);
        let body = json!({
            "mobile": empty, "phone": mobile, "sms_code": empty, "smsCode": code, "password": empty, "passport": empty,
            "passwd": PASSWORD, "password2": empty, "repassword": PASSWORD
        });
        app.post("/api/v1.0/users", body).await.expect_errno(0);
        let body = json!({ "mobile": mobile, "password": empty, "passwd": "" });
        expect_rule(&app.post("/api/v1.0/sessions", body).await, "password 必填", "sessions");
    }
}

#[tokio::test]
async fn the_app_family_knows_its_own_names_only() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for body in [json!({ "phone": MOBILE, "code": "123456" }), json!({ "Mobile": MOBILE, "code": "123456" })] {
        app.post("/app/v1_0/authorizations", body).await.expect_fields(&["mobile"]);
    }
}
