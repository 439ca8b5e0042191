//! Is a picture code a picture, good for one try and five minutes?

use std::collections::HashSet;

use futures_util::future::join_all;

use crate::support::{Answer, MOBILE, TestApp, backends::Backends, on_every_backend};

/// Asks for an SMS code with an answer to a picture.
async fn send(app: &TestApp, mobile: &str, id: &str, text: &str) -> Answer {
    app.get(&format!("/app/v1_0/sms/codes/{mobile}?image_code_id={id}&image_code={text}")).await
}

/// Width and height of a JPEG, from its start of frame (ITU-T T.81, B.2.2).
fn size(jpeg: &[u8]) -> (u16, u16) {
    let frame = jpeg.windows(2).position(|marker| marker == [0xFF, 0xC0]).expect("a start of frame");
    let number = |at: usize| u16::from_be_bytes([jpeg[frame + at], jpeg[frame + at + 1]]);
    (number(7), number(5))
}

#[tokio::test]
async fn a_picture_is_a_small_jpeg_that_no_cache_keeps() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let mut texts = HashSet::new();
    for _ in 0..20 {
        let answer = app.get("/app/v1_0/image_codes/x").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "image/jpeg");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.bytes[..3], [0xFF, 0xD8, 0xFF]);
        assert!(answer.bytes.ends_with(&[0xFF, 0xD9]));
        assert!((3_000..7_000).contains(&answer.bytes.len()), "{} bytes", answer.bytes.len());
        assert_eq!(size(&answer.bytes), (200, 80));
        let text = app.picture_text("x").await;
        assert_eq!(text.chars().count(), 4);
        assert!(text.chars().all(|character| "acehjmrtux3".contains(character)), "{text} has look-alikes");
        texts.insert(text);
    }
    assert!(texts.len() >= 19, "{texts:?}");
}

#[tokio::test]
async fn an_id_is_one_to_sixty_four_letters_digits_underscores_or_hyphens() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for id in ["x", "0190f2a6-5b7e-7c3a-9d55-2f1c7a3e9b10", "1700000000000", "_-_", &"x".repeat(64)] {
        assert_eq!(app.get(&format!("/app/v1_0/image_codes/{id}")).await.status, 200, "{id}");
    }
    for id in [&"x".repeat(65), "a.b", "a%20b", "a%2Fb", "%E5%9B%BE", "a:b", "%00", "a%0A"] {
        let body = app.get(&format!("/app/v1_0/image_codes/{id}")).await.expect_error(400, "request_invalid");
        assert_eq!(body["fields"][0]["field"], "id", "{id}: {body}");
        let body = send(&app, MOBILE, id, "abcd").await.expect_error(400, "request_invalid");
        assert_eq!(body["fields"][0]["field"], "image_code_id", "{id}: {body}");
    }
    for id in ["%FF", "%"] {
        app.get(&format!("/app/v1_0/image_codes/{id}")).await.expect_error(400, "request_invalid");
    }
    app.get("/app/v1_0/image_codes/").await.expect_error(404, "not_found");
}

#[tokio::test]
async fn a_picture_takes_the_place_of_its_networks_oldest_in_the_process_unless_that_is_exempt() {
    for (flags, is_exempt) in [(&[][..], false), (&["--limit-exempt=127.0.0.1"], true)] {
        let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, flags).await;
        // Those of the network, as far as the store knows.
        for n in 0..1000 {
            app.put_picture(&n.to_string(), "abcd").await;
        }
        assert_eq!(app.get("/app/v1_0/image_codes/new").await.status, 200);
        let lives = async |id: &str| app.app.codes.take_image_code(id).await.unwrap().is_some();
        assert_eq!([lives("0").await, lives("1").await, lives("new").await], [is_exempt, true, true]);
    }
}

on_every_backend! {
    async fn a_picture_is_used_up_by_one_try_whatever_the_outcome(backends: Backends) {
        let app = TestApp::start_with(backends, &["--image-code=always"]).await;
        let text = app.picture("x").await;
        send(&app, MOBILE, "x", "0000").await.expect_error(400, "image_code_invalid");
        send(&app, MOBILE, "x", &text).await.expect_error(400, "image_code_expired");
        let text = app.picture("x").await;
        send(&app, MOBILE, "x", &text).await.expect(200);
        send(&app, "13800138001", "x", &text).await.expect_error(400, "image_code_expired");
        send(&app, "13800138001", "never-drawn", &text).await.expect_error(400, "image_code_expired");
    }
}

on_every_backend! {
    async fn upper_and_lower_case_are_one_and_spaces_around_do_not_matter(backends: Backends) {
        let app = TestApp::start_with(backends, &["--image-code=always"]).await;
        let text = app.picture("x").await;
        send(&app, MOBILE, "x", &text.to_lowercase()).await.expect(200);
        let text = app.picture("x").await;
        send(&app, "13800138001", "x", &format!("%20{}%20", text.to_uppercase())).await.expect(200);
    }
}

on_every_backend! {
    async fn a_second_picture_under_an_id_replaces_the_first(backends: Backends) {
        let app = TestApp::start_with(backends, &["--image-code=always"]).await;
        let first = app.picture("x").await;
        let mut second = app.picture("x").await;
        while second == first {
            second = app.picture("x").await;
        }
        let other = app.picture("other").await;
        send(&app, MOBILE, "x", &first).await.expect_error(400, "image_code_invalid");
        app.put_picture("x", &second).await;
        send(&app, MOBILE, "x", &second).await.expect(200);
        send(&app, "13800138001", "other", &other).await.expect(200);
    }
}

on_every_backend! {
    async fn a_picture_is_good_for_five_minutes(backends: Backends) {
        let app = TestApp::start_with(backends, &["--image-code=always"]).await;
        app.get("/app/v1_0/image_codes/x").await;
        app.get("/app/v1_0/image_codes/y").await;
        let (x, y) = (app.picture_text("x").await, app.picture_text("y").await);
        app.advance(298).await;
        send(&app, MOBILE, "x", &x).await.expect(200);
        app.advance(3).await;
        send(&app, "13800138001", "y", &y).await.expect_error(400, "image_code_expired");
    }
}

on_every_backend! {
    async fn twenty_parallel_requests_use_a_picture_once(backends: Backends) {
        let app = TestApp::start(backends).await;
        let text = app.picture("x").await;
        let answers = join_all((0..20).map(|n| {
            let path = format!("/api/v1.0/smscode/138001380{n:02}?text={text}&id=x");
            let app = &app;
            async move { app.get(&path).await.json()["errno"].as_i64().unwrap() }
        }))
        .await;
        assert_eq!(answers.iter().filter(|errno| **errno == 0).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|errno| **errno == 4002).count(), 19, "{answers:?}");
    }
}

#[tokio::test]
async fn length_and_lifetime_are_settings() {
    let flags = ["--image-code=always", "--image-code-length=6", "--image-code-ttl=10"];
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await;
    let picture = app.get("/app/v1_0/image_codes/x").await;
    assert_eq!(size(&picture.bytes), (200 + 2 * 46, 80));
    let drawn = app.app.codes.take_image_code("x").await.unwrap().unwrap();
    assert_eq!(drawn.len(), 6);
    app.get("/app/v1_0/image_codes/x").await;
    app.advance(11).await;
    assert!(app.app.codes.take_image_code("x").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_burst_everybody_gets_a_picture_of_their_own() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--image-code-length=8"]).await;
    // More than are drawn ahead, and again once some are.
    for round in 0..2 {
        let ids: Vec<_> = (0..150).map(|number| format!("{round}-{number}")).collect();
        let paths: Vec<_> = ids.iter().map(|id| format!("/app/v1_0/image_codes/{id}")).collect();
        let pictures: HashSet<_> =
            join_all(paths.iter().map(|path| app.get(path))).await.into_iter().map(|answer| answer.bytes).collect();
        assert_eq!(pictures.len(), 150);
        let texts: HashSet<_> = join_all(ids.iter().map(|id| app.picture_text(id))).await.into_iter().collect();
        assert_eq!(texts.len(), 150);
    }
}
