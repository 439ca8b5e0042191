//! Are numbers and codes read as keyboards and clipboards give them?

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use phonepass::model::{mobile::Mobile, typed};
use proptest::{prelude::*, string::string_regex};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    MOBILE, PASSWORD, TestApp, Tokens,
    backends::{Backends, Stores},
    command::run,
    on_every_backend,
};

const NEW: &str = "13900139000";

/// Full-width, in the brackets of a copied contact, and with something else after each character.
fn dressed(text: &str) -> String {
    let between = [
        "\u{a0}", "-", "\u{3000}", "\u{200b}", ".", "(", "\u{2212}", "·", ")", "\t", "。", "—", "\u{feff}", "・", "（",
    ];
    let wide = |c: char| char::from_u32(u32::from(c) + 0xfee0).unwrap();
    let inner: String = text.chars().zip(between.iter().cycle()).map(|(c, put)| format!("{}{put}", wide(c))).collect();
    format!("\u{202d}{inner}\u{202c}")
}

/// As part of a URL.
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn parsed(text: &str) -> Option<String> {
    Mobile::parse(text).map(|mobile| mobile.as_str().to_owned())
}

on_every_backend! {
    async fn numbers_and_codes_are_read_as_keyboards_and_clipboards_give_them(backends: Backends) {
        let app = TestApp::start_with(backends, &["--sms-resend-seconds=0"]).await;
        let (mobile, new) = (dressed(MOBILE), dressed(&format!("+86{NEW}")));

        app.get(&format!("/app/v1_0/sms/codes/{}", encoded(&dressed("+8613800138000")))).await.expect(200);
        let signed_in = app.sign_in_with(&mobile, &dressed(&app.last_code(MOBILE))).await.expect(201);
        let tokens = Tokens::of(&signed_in);
        assert_eq!(app.user(&tokens.access).await.expect(200)["data"]["mobile"], MOBILE);
        app.post("/app/v1_0/sms/codes", json!({ "mobile": mobile })).await.expect(200);
        let again = app.sign_in_with(MOBILE, &app.last_code(MOBILE)).await.expect(201);
        assert_eq!(again["data"]["user_id"], signed_in["data"]["user_id"]);

        let send = async |method: Method, path: &str, body: Value| {
            app.send_as(method, path, &tokens.access, body).await
        };
        let code = dressed(&app.code_for("reset_password", MOBILE, "").await);
        let body = json!({ "password": PASSWORD, "code": code });
        send(Method::PUT, "/app/v1_0/user/password", body).await.expect(204);
        let body = json!({ "mobile": mobile, "password": PASSWORD });
        app.post("/app/v1_0/authorizations/password", body).await.expect(201);

        let code = dressed(&app.code_for("change_mobile", NEW, &tokens.access).await);
        let current = dressed(&app.code_for("change_mobile", MOBILE, &tokens.access).await);
        let body = json!({ "mobile": new, "code": code, "current_code": current });
        let moved = send(Method::PUT, "/app/v1_0/user/mobile", body).await.expect(200);
        assert_eq!(moved["data"]["mobile"], NEW);

        let code = dressed(&app.code_for("delete_account", NEW, &tokens.access).await);
        send(Method::POST, "/app/v1_0/account_deletions", json!({ "code": code })).await.expect(204);

        app.sign_in(MOBILE).await;
        let code = dressed(&app.code_for("reset_password", MOBILE, "").await);
        let body = json!({ "mobile": mobile, "code": code, "password": PASSWORD });
        app.post("/app/v1_0/password_resets", body).await.expect(204);
    }
}

on_every_backend! {
    async fn the_classic_families_read_them_so_too_pictures_included(backends: Backends) {
        let app = TestApp::start(backends).await;
        let read = dressed(&app.picture("a-picture").await.to_uppercase());
        let (mobile, text) = (encoded(&dressed("+8613800138000")), encoded(&read));
        app.get(&format!("/api/v1.0/smscode/{mobile}?text={text}&id=a-picture")).await.expect_errno(0);
        let code = dressed(&app.last_code(MOBILE));
        let body = json!({ "mobile": dressed(MOBILE), "sms_code": code, "password": PASSWORD, "password2": PASSWORD });
        assert_eq!(app.post("/api/v1.0/users", body).await.expect_errno(0)["data"]["mobile"], MOBILE);
        let body = json!({ "mobile": 8_613_800_138_000_u64, "password": PASSWORD });
        app.post("/api/v1.0/sessions", body).await.expect_errno(0);

        let read = dressed(&app.picture("another").await);
        let body = json!({ "mobile": dressed(NEW), "image_code": read, "image_code_id": "another" });
        app.post("/passport/sms_code", body).await.expect_errno(0);
        let code = dressed(&app.last_code(NEW));
        let weak = json!({ "mobile": dressed(NEW), "smscode": code, "password": dressed(NEW) });
        let refused = app.post("/passport/register", weak).await.expect_errno(4103);
        assert!(refused["errmsg"].as_str().unwrap().contains("手机号相同"), "{refused}");
        let body = json!({ "mobile": dressed(NEW), "smscode": code, "password": PASSWORD });
        app.post("/passport/register", body).await.expect_errno(0);
        let body = json!({ "mobile": dressed(NEW), "password": PASSWORD });
        app.post("/passport/login", body).await.expect_errno(0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_files_and_commands_read_numbers_so_too() {
    for backends in [Backends::SQLITE_AND_IN_PROCESS, Backends::POSTGRESQL_AND_IN_PROCESS] {
        let stores = Stores::create(backends).await;
        let file = format!("mobile,name\n{},Li Lei\n(+86) 138‑0013‑8001,Han Meimei\n", dressed(MOBILE));
        let imported = run(&stores, &["users", "import", "-"], file).await;
        assert_eq!(imported.expect_success(), "imported 2, already there 0, refused 0\n");
        let shown = run(&stores, &["users", "show", &dressed("+8613800138001")], "").await;
        assert!(shown.expect_success().contains("Han Meimei"), "{shown:?}");
        let disabled = run(&stores, &["users", "disable", "--yes", "\u{202d}+86 138 0013 8001\u{202c}"], "").await;
        assert!(disabled.expect_success().starts_with("13800138001 (Han Meimei) is disabled"), "{disabled:?}");

        let test_code = format!("--sms-test-codes={} = {}", dressed(MOBILE), dressed("246810"));
        let app = TestApp::start_on(stores, &[&test_code]).await;
        app.sign_in_with(MOBILE, "246810").await.expect(201);
        app.sign_in_with(MOBILE, "246 810").await.expect(201);
    }
}

#[tokio::test]
async fn what_is_no_decoration_is_refused_and_costs_no_try() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let code = app.code(MOBILE).await;
    let long = "\u{fdfa}".repeat(5000);
    for mobile in [
        "",
        "\u{200b}",
        "1380013800",
        "138001380000",
        "1380013800x",
        "1380013800l",
        "138,0013,8000",
        "138/0013/8000",
        "138_0013_8000",
        "[138]00138000",
        "138\u{0}00138000",
        "١٣٨٠٠١٣٨٠٠٠",
        "१३८००१३८०००",
        "一三八〇〇一三八〇〇〇",
        "1.38001380e10",
        "+86 (0)138 0013 8000",
        "+0086 138 0013 8000",
        "++8613800138000",
        "86+13800138000",
        "+86 86 138 0013 8000",
        "+852 6123 4567",
        &long,
    ] {
        let answer = app.sign_in_with(mobile, &code).await;
        let expected = if mobile.is_empty() { "request_invalid" } else { "mobile_invalid" };
        answer.expect_error(400, expected);
    }
    let (short, long_code) = (&code[..5], format!("{code}{}", " ".repeat(300)));
    for wrong in [short, "१२३४५६", "123,456", "+123456", "12345六", &format!("{code}0"), &long_code] {
        for _ in 0..2 {
            app.sign_in_with(MOBILE, wrong).await.expect_fields(&["code"]);
        }
    }
    app.sign_in_with(MOBILE, &dressed(&code)).await.expect(201);
}

#[test]
fn no_work_is_done_on_plain_digits_or_on_text_beyond_any_number() {
    let long = "\u{3000}".repeat(100);
    for text in [MOBILE, "123456", "k7XW", "", &long] {
        assert!(matches!(typed::undecorated(text), Cow::Borrowed(same) if same == text), "{text}");
    }
}

/// Anything that may stand around a digit.
fn decoration() -> impl Strategy<Value = String> {
    string_regex("[\\s\\p{Cf}\\p{Pd}\u{2212}.·。()\u{ff61}（）\u{fe0f}]{0,3}").unwrap()
}

proptest! {
    #[test]
    fn whatever_decoration_is_put_anywhere_the_number_is_the_same(
        prefix in prop::sample::select(vec!["", "+86", "86", "0086", "＋８６"]),
        number in "1[3-9][0-9]{9}",
        wide in any::<bool>(),
        between in prop::collection::vec(decoration(), 17),
    ) {
        let digits = number.bytes().map(|digit| match wide {
            true => char::from_u32(0xff10 + u32::from(digit - b'0')).unwrap(),
            false => char::from(digit),
        });
        let typed: String = prefix.chars().chain(digits).zip(&between).map(|(c, put)| format!("{put}{c}")).collect();
        let typed = typed + &between[16];
        prop_assert_eq!(parsed(&typed), (typed.len() <= 256).then_some(number));
    }

    #[test]
    fn what_is_left_out_never_changes_the_digits(
        text in prop_oneof![
            "\\PC{0,40}",
            "[+0-9０-９٠-٩①-⑨() ./-]{9,24}",
            "(\\+?86)?1[3-9]([0-9\u{200b}\\s—]|\\PC){9,12}",
        ],
    ) {
        use unicode_normalization::UnicodeNormalization;
        if let Some(number) = parsed(&text) {
            let digits: String = text.nfkc().filter(char::is_ascii_digit).collect();
            let rest = digits.strip_suffix(&number);
            prop_assert!(matches!(rest, Some("" | "86" | "0086")), "{} of {}", number, digits);
        }
    }
}
