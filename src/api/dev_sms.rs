//! Where does a newcomer read the code? `/dev/sms`, with the console provider and for callers on this machine only.

use std::{fmt::Write, sync::Arc};

use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    error::{MethodNotAllowedError, NotFoundError},
    http::{Method, header},
    web::{Html, Json},
};
use serde_json::json;

use super::{context::RequestContext, page_policy::policy, pages::root_from};
use crate::sms::{Outbox, SentMessage};

const HEAD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"5\">\
    <title>Phonepass: messages</title>\
    <style>body{font:16px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em}\
    table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.4em;text-align:left}\
    .code{font:bold 1.2em monospace}</style>\
    <h1>Messages</h1><p>The last 50 messages that would have been sent. <a href=\"{root}docs\">Swagger UI</a></p>";

/// The last messages: a page for people, JSON with `Accept: application/json`.
pub struct DevSms(pub Outbox);

impl Endpoint for DevSms {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let context = request.extensions().get::<Arc<RequestContext>>().expect("the pipeline has set the context");
        if !context.is_local() {
            return Err(NotFoundError.into());
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(MethodNotAllowedError.into());
        }
        let messages = self.0.recent();
        let mut accepted = request.headers().get_all(header::ACCEPT).iter();
        if accepted.any(|accept| String::from_utf8_lossy(accept.as_bytes()).contains("application/json")) {
            return Ok(as_json(&messages));
        }
        let page = as_page(&messages).replacen("{root}", &root_from(request.original_uri().path()), 1);
        Ok(Html(page).with_header(header::CONTENT_SECURITY_POLICY, policy(HEAD, "")).into_response())
    }
}

fn as_json(messages: &[SentMessage]) -> Response {
    let messages: Vec<_> = messages
        .iter()
        .map(|message| {
            json!({
                "mobile": message.mobile,
                "purpose": message.purpose,
                "code": message.code,
                "text": message.text,
                "sent_at": message.sent_at,
            })
        })
        .collect();
    Json(messages).into_response()
}

fn as_page(messages: &[SentMessage]) -> String {
    let mut page = format!("{HEAD}<table><tr><th>Mobile<th>Code<th>Purpose<th>Sent at (UTC)<th>Text</tr>");
    for message in messages {
        let _ = write!(
            page,
            "<tr><td>{}<td class=\"code\">{}<td>{}<td>{}<td>{}</tr>",
            message.mobile,
            message.code,
            message.purpose,
            message.sent_at.format("%F %T"),
            escape(&message.text),
        );
    }
    page + "</table>"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
