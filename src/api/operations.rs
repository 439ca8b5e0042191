//! The operations behind paths and methods: what `HEAD` may ask for, and the header `Allow` of a 405.

use poem::http::Method;
use poem_openapi::OpenApi;

use super::aliases;

/// The operations that `HEAD` may ask for as `GET` does: they change nothing and cost nothing.
///
/// The framework would answer `HEAD` wherever there is a `GET`. Some of ours send a message, end a session or put a
/// picture code in place of another, and link checkers and previews send `HEAD` to whatever they find: an operation that
/// is not listed here refuses it.
const READS: [&str; 11] = [
    "check_authorization",
    "get_authorization_server_metadata",
    "get_current_user",
    "get_health",
    "get_jwks",
    "get_openid_configuration",
    "get_readiness",
    "ihome_get_session",
    "ihome_get_session_at_sessions",
    "ihome_get_user",
    "list_sessions",
];

/// In the order of the header `Allow`.
const METHODS: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// The operations of the OpenAPI document. Pages are none.
pub struct Operations(Vec<Operation>);

struct Operation {
    path: Vec<String>,
    method: Method,
    id: &'static str,
}

impl Operations {
    /// The operations of all sections.
    pub fn of<T: OpenApi>() -> Self {
        let mut listed = Vec::new();
        for path in T::meta().into_iter().flat_map(|section| section.paths) {
            for operation in path.operations {
                let id = operation.operation_id.expect("every operation has an id");
                let head = operation.method == Method::GET && READS.contains(&id);
                for method in [Some(operation.method), head.then_some(Method::HEAD)].into_iter().flatten() {
                    listed.push(Operation { path: segments(&path.path).map(str::to_owned).collect(), method, id });
                }
            }
        }
        Self(listed)
    }

    /// The id of what is asked for; `None` for pages, unknown paths and wrong methods.
    pub fn id(&self, method: &Method, path: &str) -> Option<&'static str> {
        self.at(path).find(|operation| operation.method == method).map(|operation| operation.id)
    }

    /// May this path be asked with this method? Of pages and unknown paths the router knows.
    pub fn take(&self, method: &Method, path: &str) -> bool {
        self.at(path).next().is_none() || self.id(method, path).is_some()
    }

    /// The methods of a path, those for which it is an alias included, for the header `Allow` of a 405 (RFC 9110,
    /// 15.5.6). Pages are there to be read.
    pub fn allowed(&self, path: &str) -> String {
        let takes = |method: &&Method| self.id(method, &aliases::canonical(method, path)).is_some();
        let methods: Vec<_> = METHODS.iter().filter(takes).map(Method::as_str).collect();
        if methods.is_empty() { "GET, HEAD".to_owned() } else { methods.join(", ") }
    }

    fn at<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Operation> {
        self.0.iter().filter(move |operation| {
            let mut asked = segments(path);
            let fits = operation.path.iter().all(|part| {
                asked.next().is_some_and(|segment| part.starts_with('{') || part.starts_with(':') || part == segment)
            });
            fits && asked.next().is_none()
        })
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}
