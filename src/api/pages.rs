//! What does a person see who comes with a browser? The way in at `/`, Swagger UI at `/docs`, and the document itself.

use bytes::Bytes;
use poem::{Endpoint, IntoResponse, Request, Response, Result, Route, endpoint::make_sync, get};
use serde_json::Value;

use super::{document::Documents, language::Language};

/// Adds the pages. The head of Swagger UI, scripts and styles, is the framework's: it needs no internet.
pub fn add_to(routes: Route, documents: &Documents, swagger_ui: &str, has_sms_page: bool) -> Route {
    let sms_link = if has_sms_page { include_str!("pages/sms_link.html") } else { "" };
    let home = include_str!("pages/home.html").replacen("<!--sms-->\n", sms_link, 1);
    let (head, _) = swagger_ui.rsplit_once("<body>").expect("the framework's page has a body");
    let docs = head.replacen("<title>Swagger UI", "<title>Phonepass", 1) + include_str!("pages/swagger_ui.html");
    routes
        .at("/", html(home))
        .at("/docs", html(docs))
        .at("/openapi.json", get(Document::new(documents, "application/json", print)))
        .at("/openapi.yaml", get(Document::new(documents, "application/yaml", print_yaml)))
}

/// The document as it is written to a file.
pub fn print(document: &Value) -> String {
    serde_json::to_string_pretty(document).expect("JSON can be written") + "\n"
}

fn print_yaml(document: &Value) -> String {
    serde_yaml_ng::to_string(document).expect("JSON is YAML")
}

fn html(page: String) -> impl Endpoint {
    let page = Bytes::from(page);
    get(make_sync(move |_| page.clone().with_content_type("text/html; charset=utf-8")))
}

/// The document; in Chinese with `?lang=zh`.
struct Document {
    en: Bytes,
    zh: Bytes,
    media_type: &'static str,
}

impl Document {
    fn new(documents: &Documents, media_type: &'static str, print: fn(&Value) -> String) -> Self {
        Self { en: print(&documents.en).into(), zh: print(&documents.zh).into(), media_type }
    }
}

impl Endpoint for Document {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let text = match Language::from_query(request.uri().query()) {
            Language::En => &self.en,
            Language::Zh => &self.zh,
        };
        Ok(text.clone().with_content_type(self.media_type).into_response())
    }
}
