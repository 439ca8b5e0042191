//! Numbers that no vendor takes, asked for from one address: each costs a call, and is no failure of the vendor.

use std::sync::{Arc, Mutex};

use poem::{Body, Endpoint, Request, Response, Result};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::{
    on_both_stores, report,
    support::{TestApp, backends::Backends},
    visitor::{Outcome, PROXY, Visitor, count, number, scattered},
};

/// Numbers that begin like this are in no vendor's book.
const REFUSED: &str = "1999";

/// A vendor that takes messages to numbers that exist.
#[derive(Clone)]
struct Vendor {
    taken: &'static str,
    refused: &'static str,
    calls: Arc<Mutex<Calls>>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Calls {
    taken: usize,
    refused: usize,
}

impl Vendor {
    async fn start(taken: &'static str, refused: &'static str) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let vendor = Self { taken, refused, calls: Arc::default() };
        tokio::spawn(phonepass::server::serve(listener, vendor.clone(), std::future::pending()));
        (vendor, url)
    }

    /// What it was asked since the last time.
    fn calls(&self) -> Calls {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

impl Endpoint for Vendor {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let message = query + &request.take_body().into_string().await?;
        let mut calls = self.calls.lock().unwrap();
        let answer = if message.contains(REFUSED) {
            calls.refused += 1;
            self.refused
        } else {
            calls.taken += 1;
            self.taken
        };
        Ok(Response::builder().body(Body::from_string(answer.to_owned())))
    }
}

#[derive(Debug, Serialize)]
struct Wasted {
    /// Calls that 200 asks of one address within an hour have caused.
    by_the_first: Calls,
    by_the_second: Calls,
    refused_to_the_attacker: usize,
    /// What ten others get meanwhile, and from which vendor.
    others_served: usize,
    others_by_the_first: Calls,
    others_by_the_second: Calls,
}

on_both_stores! {
    async fn refused_numbers_cost_30_calls_an_hour_and_no_vendor_is_skipped(backends: Backends) {
        let (first, first_url) =
            Vendor::start(r#"{"Code":"OK"}"#, r#"{"Code":"isv.MOBILE_NUMBER_ILLEGAL","Message":"no"}"#).await;
        let (second, second_url) = Vendor::start(
            r#"{"Response":{"SendStatusSet":[{"Code":"Ok"}],"RequestId":"1"}}"#,
            r#"{"Response":{"SendStatusSet":[{"Code":"InvalidParameterValue.IncorrectPhoneNumber"}],"RequestId":"1"}}"#,
        )
        .await;
        let urls = [format!("--sms-base-url-aliyun={first_url}"), format!("--sms-base-url-tencent={second_url}")];
        let flags = [
            PROXY,
            "--sms-provider=aliyun,tencent",
            "--sms-total-per-hour=0",
            "--aliyun-access-key-id=an-id",
            "--aliyun-access-key-secret=a-secret",
            "--aliyun-sms-sign-name=Phonepass",
            "--aliyun-sms-template-code=SMS_1",
            "--tencent-secret-id=an-id",
            "--tencent-secret-key=a-secret",
            "--tencent-sms-app-id=1400006666",
            "--tencent-sms-sign-name=Phonepass",
            "--tencent-sms-template-id=1110",
            "--tencent-region=ap-beijing",
            &urls[0],
            &urls[1],
        ];
        let app = TestApp::start_with(backends, &flags).await;
        let attacker = Visitor::at(&app, "203.0.113.1");
        let (mut asks, mut others) = (Vec::new(), Vec::new());
        let mut wasted = [Calls::default(); 2];
        let mut served = [Calls::default(); 2];
        let add = |sum: &mut [Calls; 2], calls: [Calls; 2]| {
            for (sum, calls) in sum.iter_mut().zip(calls) {
                sum.taken += calls.taken;
                sum.refused += calls.refused;
            }
        };
        for round in 0..10 {
            for n in 0..20 {
                asks.push(attacker.ask(&format!("{REFUSED}000{:04}", 20 * round + n)).await);
            }
            add(&mut wasted, [first.calls(), second.calls()]);
            others.push(Visitor::at(&app, scattered(round)).ask(&number(round, 1)).await);
            add(&mut served, [first.calls(), second.calls()]);
        }
        let [by_the_first, by_the_second] = wasted;
        let [others_by_the_first, others_by_the_second] = served;
        let wasted = Wasted {
            by_the_first,
            by_the_second,
            refused_to_the_attacker: count(&asks, Outcome::Limited),
            others_served: count(&others, Outcome::Done),
            others_by_the_first,
            others_by_the_second,
        };
        report("200 numbers that no vendor takes, from one address within an hour", &wasted);

        assert!(wasted.by_the_first.refused <= 30, "{wasted:?}");
        assert_eq!(wasted.by_the_second.taken, 0, "{wasted:?}");
        assert_eq!(wasted.by_the_second.refused, 0, "no other vendor is asked: {wasted:?}");
        assert!(wasted.refused_to_the_attacker >= 170, "{wasted:?}");
        assert_eq!(wasted.others_served, 10, "{wasted:?}");
        assert_eq!((wasted.others_by_the_first.taken, wasted.others_by_the_second.taken), (10, 0), "{wasted:?}");

        // One such number, asked for from everywhere: five an hour.
        let mobile = format!("{REFUSED}0009999");
        for n in 0..30 {
            app.advance(61).await;
            Visitor::at(&app, scattered(100 + n)).ask(&mobile).await;
        }
        let calls = [first.calls(), second.calls()];
        report("one number that no vendor takes, from 30 networks within an hour", &calls);
        assert!(calls[0].refused <= 5 && calls[1].refused == 0, "{calls:?}");
    }
}
