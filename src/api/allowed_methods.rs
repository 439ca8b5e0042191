//! Which methods does a path take? For the header `Allow` of a 405 (RFC 9110, 15.5.6).

use poem::http::Method;
use serde_json::Value;

use super::aliases;

/// In the order of the header.
const METHODS: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Paths with their methods, from the OpenAPI document.
pub struct AllowedMethods(Vec<(Vec<String>, Vec<String>)>);

impl AllowedMethods {
    /// Reads the document as the framework writes it.
    pub fn new(document: &str) -> Self {
        let document: Value = serde_json::from_str(document).expect("the framework writes JSON");
        let paths = document["paths"].as_object().into_iter().flatten();
        let listed = paths.map(|(path, operations)| {
            let mut methods: Vec<_> =
                operations.as_object().into_iter().flatten().map(|(method, _)| method.to_uppercase()).collect();
            if methods.iter().any(|method| method == "GET") {
                methods.push("HEAD".to_owned());
            }
            (segments(path).map(str::to_owned).collect(), methods)
        });
        Self(listed.collect())
    }

    /// The methods of a path, and those for which it is an alias. Pages outside the document are there to be read.
    pub fn of(&self, path: &str) -> String {
        let takes = |method: &Method| {
            let path = aliases::canonical(method, path);
            self.listed(&path).is_some_and(|methods| methods.iter().any(|listed| listed == method.as_str()))
        };
        let allowed: Vec<_> = METHODS.iter().filter(|method| takes(method)).map(Method::as_str).collect();
        if allowed.is_empty() { "GET, HEAD".to_owned() } else { allowed.join(", ") }
    }

    fn listed(&self, path: &str) -> Option<&[String]> {
        let fits = |template: &[String]| {
            template.len() == segments(path).count()
                && template.iter().zip(segments(path)).all(|(part, segment)| part.starts_with('{') || part == segment)
        };
        self.0.iter().find(|(template, _)| fits(template)).map(|(_, methods)| methods.as_slice())
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}
