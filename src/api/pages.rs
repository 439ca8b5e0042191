//! What does a person see who comes with a browser? The way in at `/`, Swagger UI at `/docs`, and the document itself.

use std::sync::Arc;

use poem::{
    Request, Route, get,
    http::{HeaderValue, header},
};
use poem_openapi::{
    OpenApi,
    payload::{Html, Response},
};
use serde_json::Value;
use url::Url;

use super::{
    document::{Documents, print, print_yaml},
    language::Language,
    page_policy::policy,
    prepared::{Content, PreparedPages},
};

/// Where the page may be shown from: below the root, and with a slash at the end, which is one level deeper.
const ROOTS: [&str; 2] = ["./", "../"];

const LANGUAGES: [Language; 2] = [Language::En, Language::Zh];

/// The way in. It is an operation, though none of the document: beside the operations a route `/` would not be found.
pub struct Home {
    page: String,
    policy: HeaderValue,
}

impl Home {
    /// A page that leads everywhere; to the SMS page only where there is one.
    pub fn new(has_sms_page: bool) -> Self {
        let sms_link = if has_sms_page { include_str!("pages/sms_link.html") } else { "" };
        let page = include_str!("pages/home.html").replacen("<!--sms-->\n", sms_link, 1);
        Self { policy: policy(&page, ""), page }
    }
}

#[OpenApi]
impl Home {
    #[oai(path = "/", method = "get", operation_id = "get_home", hidden)]
    async fn home(&self) -> Response<Html<String>> {
        Response::new(Html(self.page.clone())).header(header::CONTENT_SECURITY_POLICY, self.policy.clone())
    }
}

/// Adds the pages about the document. The head of Swagger UI, scripts and styles, is the framework's: it needs no
/// internet. It asks the service where it is shown, and where it says to be.
pub fn add_to(routes: Route, documents: &Arc<Documents>, swagger_ui: &str, public_url: &str) -> Route {
    let (head, _) = swagger_ui.rsplit_once("<body>").expect("the framework's page has a body");
    let docs = head.replacen("<title>Swagger UI", "<title>Phonepass", 1) + include_str!("pages/swagger_ui.html");
    let needs = format!("; connect-src 'self' {}; img-src 'self' blob: data:", origin(public_url));
    let docs = PreparedPages::<{ ROOTS.len() }>::new(
        |request| usize::from(root_from(request.original_uri().path()) != ROOTS[0]),
        move |place| {
            let text = docs.replace("{root}", ROOTS[place]);
            Content { policy: Some(policy(&text, &needs)), text, media_type: "text/html; charset=utf-8" }
        },
    );
    routes
        .at("/docs", get(docs))
        .at("/openapi.json", get(document(documents, "application/json", print)))
        .at("/openapi.yaml", get(document(documents, "application/yaml", print_yaml)))
}

/// The document; in Chinese with `?lang=zh`.
fn document(
    documents: &Arc<Documents>,
    media_type: &'static str,
    print: fn(&Value) -> String,
) -> PreparedPages<{ LANGUAGES.len() }> {
    let documents = documents.clone();
    PreparedPages::new(
        |request: &Request| usize::from(Language::from_query(request.uri().query()) == LANGUAGES[1]),
        move |place| Content { text: print(documents.in_language(LANGUAGES[place])), media_type, policy: None },
    )
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> String {
    Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

/// The way from a page to the service's root, for links: below which path a proxy shows the page is for the browser
/// to know. An alias with a slash at the end is one level deeper.
pub fn root_from(path: &str) -> String {
    let levels = path.split('/').filter(|segment| !segment.is_empty()).count() + usize::from(path.ends_with('/'));
    if levels > 1 { "../".repeat(levels - 1) } else { "./".to_owned() }
}
