//! Does everything stay below the path of `PUBLIC_URL` that a proxy shows the service under?

use phonepass::api::Language;
use reqwest::{Client, Method, Url};

use crate::support::{Answer, MOBILE, PASSWORD, TestApp, backends::Backends, nginx::Nginx, process::free_port};

/// A service, and an nginx that shows it below `/auth/` and, as some write it, `/bare`.
async fn start(public_url: &str) -> (TestApp, Nginx, Url) {
    let flag = format!("--public-url={public_url}");
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[&flag]).await;
    let port = free_port();
    let config = format!(
        "server {{
             listen 127.0.0.1:{port};
             location /auth/ {{ proxy_pass {url}/; }}
             location /bare/ {{ proxy_pass {url}/; }}
         }}",
        url = app.url
    );
    let nginx = Nginx::start(&config, port).await;
    (app, nginx, Url::parse(&format!("http://127.0.0.1:{port}")).unwrap())
}

async fn get(url: Url) -> Answer {
    Answer::to(Client::builder().no_proxy().build().unwrap().request(Method::GET, url)).await
}

/// Where the links of a page, and what its script fetches, lead from where it is shown.
fn targets(page: &str, shown_at: &Url) -> Vec<Url> {
    // Before it stands Swagger UI itself.
    let page = page.rsplit_once("<body>").map_or(page, |(_, body)| body);
    let links = page.split("href=\"").skip(1).map(|rest| rest[..rest.find('"').unwrap()].to_owned());
    let bases =
        page.split("new URL('").skip(1).map(|rest| rest[..rest.find('\'').unwrap()].to_owned() + "openapi.json");
    links.chain(bases).map(|target| shown_at.join(&target).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_link_and_fetch_below_the_path_that_they_are_shown_under() {
    let (app, _nginx, proxy) = start("https://id.example.com/auth").await;
    let service = Url::parse(&app.url).unwrap();
    for (base, prefix) in [(&proxy, "/auth"), (&proxy, "/bare"), (&service, "")] {
        for (path, least) in
            [("/", 8), ("/docs", 4), ("/docs/", 4), ("/docs?lang=zh", 4), ("/dev/sms", 1), ("/dev/sms/", 1)]
        {
            let url = base.join(&format!("{prefix}{path}")).unwrap();
            let answer = get(url.clone()).await;
            assert_eq!(answer.status, 200, "{url}");
            let targets = targets(&String::from_utf8(answer.bytes).unwrap(), &url);
            assert!(targets.len() >= least, "{url}: {targets:?}");
            for target in targets {
                assert!(target.path().starts_with(&format!("{prefix}/")), "{url} leads to {target}");
                assert_eq!(get(target.clone()).await.status, 200, "{url} leads to {target}");
            }
        }
    }
}

#[tokio::test]
async fn the_document_and_the_metadata_say_the_public_address() {
    for public_url in ["https://id.example.com/auth", "https://id.example.com/auth/"] {
        let flag = format!("--public-url={public_url}");
        let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[&flag]).await;
        for language in [Language::En, Language::Zh] {
            let document = app.app.documents.in_language(language);
            assert_eq!(document["servers"][0]["url"], "https://id.example.com/auth");
            let preface = document["info"]["description"].as_str().unwrap();
            assert!(preface.contains("](/auth/dev/sms)") && preface.contains("](/auth/docs"), "{preface}");
            assert_eq!(preface.matches("](/").count(), preface.matches("](/auth/").count(), "{preface}");
        }
        let metadata = app.get("/.well-known/openid-configuration").await.expect(200);
        assert_eq!(metadata["issuer"], "https://id.example.com/auth");
        assert_eq!(metadata["jwks_uri"], "https://id.example.com/auth/.well-known/jwks.json");
        assert_eq!(metadata["service_documentation"], "https://id.example.com/auth/docs");
        // The contract's path: front ends of the classic families need not be below that of the service.
        let registered = app.register(MOBILE, PASSWORD).await;
        assert!(registered.header("set-cookie").contains("; Path=/;"), "{}", registered.header("set-cookie"));
    }
}
