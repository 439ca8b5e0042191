//! Do users who come from elsewhere keep their passwords?

use std::time::{Duration, Instant};

use chrono::DateTime;
use futures_util::future::join_all;
use phonepass::{
    auth::password_hash::{StoredHash, UnusableHash},
    model::{mobile::Mobile, user::ImportedUser},
    store::users::{self, Statements},
};
use serde_json::json;

use crate::support::{
    Answer, MOBILE, PASSWORD, TestApp, Tokens, WIDE,
    backends::{Backends, Stores},
    on_every_backend,
};

/// What the hashes of [`HASHES`] are of.
const SECRET: &str = "correct horse 电池";

/// Made by werkzeug 3.1, by Python's `hashlib` and `hmac` as former versions of werkzeug and Django used them, and by
/// libxcrypt.
const HASHES: [&str; 16] = [
    "scrypt:32768:8:1$N88ytw0lPncoTgWx$b8c2b047b529b8ca3cc727e51c79431aaf7867d755c08d20c7a18a9a413fc6fafb4fd57d83b35e\
     926069def2625d3f0f3b44418a0de4a84f74e5615096a0374f",
    "scrypt:1024:4:2$yvLPb0Vy2eJhfVmt$85ebc9f6ab8e3aa7cb64884bc9ca269514042d932faefcd8b75f0a8d58c290d5ae54209ef81865d\
     7d2280dbbed82d42205acb9b2878fe1466d5a674b616e5e19",
    "pbkdf2:sha256:1000$lfZNL0FxCZGHc4wO$6fcb46042ebb48937b389c88fea59cff41dbcd73cb68ef3921d415000f28bcce",
    "pbkdf2:sha1:1000$z9YnTN77BGSjBTlE$e607c810c740ae319dedcfa772c7bcdaab5ab576",
    "pbkdf2:sha512:1000$iyl4xq2Jxq90AuV2$9fe1bd6bafae5ee646db8fe0627f707d3221676ab20656726ec12d2a37c45a061fd0eb0d52bb\
     bab5b90f60c63bdaa0cf6ee311af534cf750ec4d8ee99b22d72b",
    "pbkdf2:sha256:1000000$Acj4YfAPSUlmRKid$17c1e018d4f3612a7f4ee08706c032c25c9b40649c3026a38266278b3f47f187",
    "sha1$Xq3fT9aZ$bf5782f16a55b8ad8510b897621111ed35f6f8c9",
    "sha256$Xq3fT9aZ$9f9bad4a211c67ab24d3e0136a78b9fd9d1005a6a867920049e35892ea808834",
    "sha512$Xq3fT9aZ$c070d4c9f4a055ed295e263439ea2d1dfc08389bf590b997d05014ce8c4c9d4c298c9927d1b247ed97d1a74412439874\
     4d87edf57f414e9c2d55472967dbac7b",
    "pbkdf2_sha256$1000$Jk2LmN0pQr$CIGO5tAO/oh/j/H+QQRXgfc82mjSu0AbMfE6ClPp2dY=",
    "pbkdf2_sha1$1000$Jk2LmN0pQr$kLcLN8+GzP4J8g0d2PLL0M3YYgo=",
    "$2a$05$abcdefghijklmnopqrstuu3lmkme6xVExSSYqiD1545l6I/X7/cDu",
    "$2b$05$abcdefghijklmnopqrstuu3lmkme6xVExSSYqiD1545l6I/X7/cDu",
    "$2y$05$abcdefghijklmnopqrstuu3lmkme6xVExSSYqiD1545l6I/X7/cDu",
    // As Django keeps the hash of bcrypt.
    "bcrypt$$2b$05$abcdefghijklmnopqrstuu3lmkme6xVExSSYqiD1545l6I/X7/cDu",
    "pbkdf2:sha1:1000$z9YnTN77BGSjBTlE$E607C810C740AE319DEDCFA772C7BCDAAB5AB576",
];

/// The password `password`, from the tests of argon2's reference implementation.
const ARGON2: [&str; 4] = [
    "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA",
    "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "argon2$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    // From before versions were written.
    "$argon2i$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ",
];

/// A hash as it is made today.
const CURRENT: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

/// Puts a user into the database as an import does.
async fn import(stores: &Stores, mobile: &str, hash: &str) {
    let user = ImportedUser {
        mobile: Mobile::parse(mobile).unwrap(),
        name: "Imported".to_owned(),
        password_hash: Some(hash.to_owned()),
        created_at: DateTime::UNIX_EPOCH,
    };
    let users = users::connect(&stores.database_url().parse().unwrap(), Statements::Named, 2, WIDE).await.unwrap();
    assert_eq!(users.import_users(&[user], DateTime::UNIX_EPOCH).await.unwrap(), 1);
}

async fn sign_in(app: &TestApp, mobile: &str, password: &str) -> Answer {
    app.post("/app/v1_0/authorizations/password", json!({ "mobile": mobile, "password": password })).await
}

/// How many users have a hash that begins like this?
async fn count(app: &TestApp, mobile: &str, hash: &str) -> i64 {
    app.stores.count(&format!("users WHERE mobile = '{mobile}' AND password_hash LIKE '{hash}%'")).await
}

#[test]
fn a_hash_of_another_system_fits_its_password_and_no_other() {
    let hashes = HASHES.map(|hash| (hash, SECRET)).into_iter().chain(ARGON2.map(|hash| (hash, "password")));
    for (text, password) in hashes {
        let hash = StoredHash::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(hash.verify(password.as_bytes()), "{text}");
        assert!(!hash.is_current(), "{text}");
        // The costly ones are left out: what tells a wrong password is the same for all of a format.
        if !text.contains(":1000000$") {
            for wrong in [password.replace('o', "0"), password[1..].to_owned(), format!("{password} "), String::new()] {
                assert!(!hash.verify(wrong.as_bytes()), "{text}: {wrong}");
            }
        }
    }
}

#[test]
fn bcrypt_ignores_what_comes_after_72_bytes() {
    // A test vector of crypt_blowfish.
    let hash = StoredHash::parse("$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui").unwrap();
    let password = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    assert!(hash.verify(password.as_bytes()));
    assert!(hash.verify(format!("{password}chars after 72 are ignored").as_bytes()));
    assert!(!hash.verify(&password.as_bytes()[..71]));
}

#[test]
fn a_hash_that_would_cost_too_much_is_refused() {
    let (hex, base64) = ("ab".repeat(32), "CIGO5tAO/oh/j/H+QQRXgfc82mjSu0AbMfE6ClPp2dY=");
    let hex64 = "ab".repeat(64);
    let bcrypt = "abcdefghijklmnopqrstuu3lmkme6xVExSSYqiD1545l6I/X7/cDu";
    let argon2 = "c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    for text in [
        format!("pbkdf2:sha256:10000001$salt${hex}"),
        format!("pbkdf2:sha256:99999999999999999999$salt${hex}"),
        format!("pbkdf2_sha256$10000001$salt${base64}"),
        format!("scrypt:524288:8:1$salt${hex64}"),
        format!("scrypt:2:4294967295:4294967295$salt${hex64}"),
        format!("scrypt:2147483648:4294967295:1$salt${hex64}"),
        format!("scrypt:65536:8:1000$salt${hex64}"),
        format!("scrypt:2:1:99999999$salt${hex64}"),
        format!("$2b$17${bcrypt}"),
        format!("$2b$31${bcrypt}"),
        format!("$argon2id$v=19$m=262145,t=1,p=1${argon2}"),
        format!("$argon2id$v=19$m=8,t=65,p=1${argon2}"),
        format!("$argon2id$v=19$m=262144,t=64,p=1${argon2}"),
        format!("$argon2id$v=19$m=4294967295,t=4294967295,p=16777215${argon2}"),
    ] {
        assert_eq!(StoredHash::parse(&text).err(), Some(UnusableHash::TooCostly), "{text}");
    }
    for text in [
        format!("pbkdf2:sha256:10000000$salt${hex}"),
        format!("scrypt:262144:8:1$salt${hex64}"),
        format!("$2b$16${bcrypt}"),
        format!("$argon2id$v=19$m=262144,t=3,p=4${argon2}"),
    ] {
        assert!(StoredHash::parse(&text).is_ok(), "{text}");
    }
}

#[test]
fn what_is_no_hash_is_refused() {
    let (hex, hex64) = ("ab".repeat(32), "ab".repeat(64));
    let bcrypt = "abcdefghijklmnopqrstuu3lmkme6xVExSSYqiD1545l6I/X7/cDu";
    for text in [
        String::new(),
        "$".to_owned(),
        "$$".to_owned(),
        "$$$$$$".to_owned(),
        "password".to_owned(),
        "plain$$password".to_owned(),
        "argon2".to_owned(),
        "bcrypt$".to_owned(),
        // An empty key would fit every password.
        "pbkdf2:sha256:1000$salt$".to_owned(),
        "sha1$salt$".to_owned(),
        "pbkdf2_sha256$1000$salt$".to_owned(),
        "scrypt:1024:8:1$salt$".to_owned(),
        format!("pbkdf2:sha256:1000$salt${}", &hex[2..]),
        format!("pbkdf2:sha256:1000$salt${}", &hex[1..]),
        format!("pbkdf2:sha256:1000$salt${}g", &hex[1..]),
        format!("pbkdf2:sha256:1000$salt$+{}", &hex[1..]),
        format!("pbkdf2:sha256:1000$salt${hex}ab"),
        format!("pbkdf2:sha256:1000$salt${hex}$"),
        format!("pbkdf2:sha256:1000$${hex}"),
        format!("pbkdf2:sha256:0$salt${hex}"),
        format!("pbkdf2:sha256:-1$salt${hex}"),
        format!("pbkdf2:sha256:+1$salt${hex}"),
        format!("pbkdf2:sha256:$salt${hex}"),
        // Which count is meant would depend on the version that reads it.
        format!("pbkdf2:sha256$salt${hex}"),
        format!("pbkdf2:md5:1000$salt${hex}"),
        format!("md5$salt${hex}"),
        format!("sha256$${hex}"),
        format!("scrypt:1000:8:1$salt${hex64}"),
        format!("scrypt:0:8:1$salt${hex64}"),
        format!("scrypt:1:8:1$salt${hex64}"),
        format!("scrypt:1024:0:1$salt${hex64}"),
        format!("scrypt:1024:8:0$salt${hex64}"),
        format!("scrypt:1024:8$salt${hex64}"),
        format!("scrypt$salt${hex64}"),
        format!("$2x$05${bcrypt}"),
        format!("$2$05${bcrypt}"),
        format!("$2b$03${bcrypt}"),
        format!("$2b$05${}", &bcrypt[1..]),
        format!("$2b$05${}é", &bcrypt[2..]),
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ".to_owned(),
        "$argon2id$v=18$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc".to_owned(),
        "$argon2x$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc".to_owned(),
        "$argon2id$v=19$m=0,t=0,p=0$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc".to_owned(),
        format!("sha256$sa\0lt${hex}"),
        format!("sha256$sälz${hex}"),
        format!("sha256${}${hex}", "s".repeat(1000)),
    ] {
        assert!(
            matches!(StoredHash::parse(&text), Err(UnusableHash::UnknownFormat | UnusableHash::Damaged)),
            "{text} is refused"
        );
    }
}

on_every_backend! {
    async fn a_user_from_elsewhere_signs_in_and_gets_a_hash_of_ours(backends: Backends) {
        let app = TestApp::start(backends).await;
        // The one with a million rounds takes minutes where nothing is optimized.
        let hashes = HASHES.into_iter().filter(|hash| !hash.contains(":1000000$")).map(|hash| (hash, SECRET));
        let hashes = hashes.chain(ARGON2.map(|hash| (hash, "password")));
        join_all(hashes.enumerate().map(async |(index, (hash, password))| {
            let mobile = format!("138{index:08}");
            import(&app.stores, &mobile, hash).await;
            sign_in(&app, &mobile, &format!("{password}x")).await.expect_error(401, "credentials_invalid");
            assert_eq!(count(&app, &mobile, CURRENT).await, 0, "{hash}");

            let tokens = Tokens::of(&sign_in(&app, &mobile, password).await.expect(201));
            assert_eq!(count(&app, &mobile, CURRENT).await, 1, "{hash}");
            assert_eq!(app.user(&tokens.access).await.expect(200)["data"]["name"], "Imported");

            sign_in(&app, &mobile, password).await.expect(201);
            sign_in(&app, &mobile, &format!("{password}x")).await.expect_error(401, "credentials_invalid");
        }))
        .await;
    }
}

#[tokio::test]
async fn a_hash_of_ours_stays_as_it_is() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    app.register(MOBILE, PASSWORD).await.expect_errno(0);
    let users = users::connect(&app.stores.database_url().parse().unwrap(), Statements::Named, 2, WIDE).await.unwrap();
    let mobile = Mobile::parse(MOBILE).unwrap();
    let hash = async || users.user_by_mobile(&mobile).await.unwrap().unwrap().password_hash.unwrap();
    let before = hash().await;
    sign_in(&app, MOBILE, PASSWORD).await.expect(201);
    assert_eq!(hash().await, before);
    assert!(before.starts_with(CURRENT), "{before}");
}

#[tokio::test]
async fn a_hash_that_cannot_be_used_is_a_wrong_password() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for (index, hash) in ["nonsense", "", "pbkdf2:sha256:99999999999$salt$00", "$2b$31$x"].into_iter().enumerate() {
        let mobile = format!("138{index:08}");
        import(&app.stores, &mobile, hash).await;
        for password in [hash, "x"] {
            if !password.is_empty() {
                sign_in(&app, &mobile, password).await.expect_error(401, "credentials_invalid");
            }
        }
        // They still have their phone.
        app.sign_in(&mobile).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_answered_after_half_a_second_at_the_earliest_however_cheap_the_comparison() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    app.register("13800000001", PASSWORD).await.expect_errno(0);
    app.sign_in("13800000002").await;
    // Each is compared within a millisecond on any machine: without the rule they would be told apart at once.
    let cheap = ["nonsense", HASHES[6], HASHES[7], HASHES[8]];
    for (index, hash) in cheap.into_iter().enumerate() {
        import(&app.stores, &format!("1381111111{index}"), hash).await;
    }
    let with_cheap = (0..cheap.len()).map(|index| format!("1381111111{index}"));
    // One has a hash of ours, one has no password, and one has no account.
    let others = ["13800000001", "13800000002", "13800000003"].map(str::to_owned);
    for mobile in with_cheap.chain(others) {
        let start = Instant::now();
        sign_in(&app, &mobile, "a wrong one").await.expect_error(401, "credentials_invalid");
        let taken = start.elapsed();
        assert!(taken >= Duration::from_millis(500), "{mobile}: {taken:?}");
    }
}
