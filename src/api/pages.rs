//! What does a person see who comes with a browser? The way in at `/`, Swagger UI at `/docs`, and the document itself.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use poem::{Endpoint, IntoResponse, Request, Response, Result, Route, endpoint::make_sync, get};
use poem_openapi::{OpenApi, payload::Html};
use serde_json::Value;

use super::{
    document::{Documents, print, print_yaml},
    language::Language,
};

/// The way in. It is an operation, though none of the document: beside the operations a route `/` would not be found.
pub struct Home(String);

impl Home {
    /// A page that leads everywhere; to the SMS page only where there is one.
    pub fn new(has_sms_page: bool) -> Self {
        let sms_link = if has_sms_page { include_str!("pages/sms_link.html") } else { "" };
        Self(include_str!("pages/home.html").replacen("<!--sms-->\n", sms_link, 1))
    }
}

#[OpenApi]
impl Home {
    #[oai(path = "/", method = "get", operation_id = "get_home", hidden)]
    async fn home(&self) -> Html<String> {
        Html(self.0.clone())
    }
}

/// Adds the pages about the document. The head of Swagger UI, scripts and styles, is the framework's: it needs no
/// internet.
pub fn add_to(routes: Route, documents: &Arc<Documents>, swagger_ui: &str) -> Route {
    let (head, _) = swagger_ui.rsplit_once("<body>").expect("the framework's page has a body");
    let docs = head.replacen("<title>Swagger UI", "<title>Phonepass", 1) + include_str!("pages/swagger_ui.html");
    let docs = make_sync(move |request: Request| {
        let page = docs.replace("{root}", &root_from(request.original_uri().path()));
        page.with_content_type("text/html; charset=utf-8")
    });
    routes
        .at("/docs", get(docs))
        .at("/openapi.json", get(Document::new(documents, "application/json", print)))
        .at("/openapi.yaml", get(Document::new(documents, "application/yaml", print_yaml)))
}

/// The way from a page to the service's root, for links: below which path a proxy shows the page is for the browser
/// to know. An alias with a slash at the end is one level deeper.
pub fn root_from(path: &str) -> String {
    let levels = path.split('/').filter(|segment| !segment.is_empty()).count() + usize::from(path.ends_with('/'));
    if levels > 1 { "../".repeat(levels - 1) } else { "./".to_owned() }
}

/// The document; in Chinese with `?lang=zh`.
struct Document {
    documents: Arc<Documents>,
    media_type: &'static str,
    print: fn(&Value) -> String,
    en: OnceLock<Bytes>,
    zh: OnceLock<Bytes>,
}

impl Document {
    fn new(documents: &Arc<Documents>, media_type: &'static str, print: fn(&Value) -> String) -> Self {
        Self { documents: documents.clone(), media_type, print, en: OnceLock::new(), zh: OnceLock::new() }
    }
}

impl Endpoint for Document {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let language = Language::from_query(request.uri().query());
        let text = match language {
            Language::En => &self.en,
            Language::Zh => &self.zh,
        };
        let text = text.get_or_init(|| (self.print)(self.documents.in_language(language)).into());
        Ok(text.clone().with_content_type(self.media_type).into_response())
    }
}
