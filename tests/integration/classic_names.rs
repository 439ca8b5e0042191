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

const NO_LIMIT: &[&str] = &["--sms-per-ip-per-hour=0", "--sms-asks-per-ip-per-hour=0"];

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

/// A name in a body, all else of which is right.
#[derive(Clone, Debug)]
struct Case {
    path: &'static str,
    rest: Value,
    name: &'static str,
    malformed: Value,
    rule: &'static str,
}

impl Case {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (path, whole, fields) in calls() {
            for Taken { own, others, malformed, rule } in fields {
                let mut rest = whole.clone();
                rest.as_object_mut().unwrap().remove(own);
                let case = |name: &&'static str| Self { path, rest: rest.clone(), name, malformed: malformed(), rule };
                all.extend(std::iter::once(&own).chain(others).map(case));
            }
        }
        all
    }

    /// Is the value under this name looked at?
    async fn is_known_as(&self, spelling: &str, app: &TestApp, token: &str) -> bool {
        let mut body = self.rest.clone();
        body[spelling] = self.malformed.clone();
        let answer = app.send_as(Method::POST, self.path, token, body).await;
        answer.json()["errmsg"].as_str().unwrap().contains(self.rule)
    }
}

/// Fails unless a parameter was refused, by this rule.
#[track_caller]
pub fn expect_rule(answer: &Answer, rule: &str, place: &str) {
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
    for case in Case::all() {
        for spelling in spellings(case.name) {
            assert!(case.is_known_as(&spelling, &app, &token).await, "{spelling}: {case:?}");
        }
        let name = case.name;
        for other in [format!("{name}x"), format!("x{name}"), format!("{name}-")] {
            assert!(!case.is_known_as(&other, &app, &token).await, "{other}: {case:?}");
        }
    }
}

#[test]
fn a_name_is_taken_in_any_case_and_with_underscores_anywhere() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _context = runtime.enter();
    let app = runtime.block_on(TestApp::start(Backends::SQLITE_AND_IN_PROCESS));
    let token = runtime.block_on(app.sign_in("13900139000")).access;
    let styles = prop::collection::vec((any::<bool>(), 0..3_usize), 20);
    let spelled = (prop::sample::select(Case::all()), styles).prop_map(|(case, styles)| {
        let letters = case.name.chars().filter(|letter| *letter != '_').zip(styles);
        let spelling: String = letters
            .flat_map(|(letter, (upper, underscores))| {
                let letter = if upper { letter.to_ascii_uppercase() } else { letter };
                std::iter::repeat_n('_', underscores).chain([letter])
            })
            .collect();
        (case, spelling)
    });
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&spelled, |(case, spelling)| {
        prop_assert!(runtime.block_on(case.is_known_as(&spelling, &app, &token)));
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
async fn the_app_family_knows_its_own_names_only() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for body in [json!({ "phone": MOBILE, "code": "123456" }), json!({ "Mobile": MOBILE, "code": "123456" })] {
        app.post("/app/v1_0/authorizations", body).await.expect_fields(&["mobile"]);
    }
}
