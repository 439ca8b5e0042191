//! Which methods does a path take? For the header `Allow` of a 405 (RFC 9110, 15.5.6).

use serde_json::Value;

/// Paths with their methods, from the OpenAPI document.
pub struct AllowedMethods(Vec<(Vec<String>, String)>);

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
            (segments(path).map(str::to_owned).collect(), methods.join(", "))
        });
        Self(listed.collect())
    }

    /// The methods of a path. Pages outside the document are there to be read.
    pub fn of(&self, path: &str) -> String {
        let fits = |template: &[String]| {
            template.len() == segments(path).count()
                && template.iter().zip(segments(path)).all(|(part, segment)| part.starts_with('{') || part == segment)
        };
        let found = self.0.iter().find(|(template, _)| fits(template));
        found.map_or("GET, HEAD", |(_, methods)| methods).to_owned()
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}
