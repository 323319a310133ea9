//! A request, through the proxy that the environment names. Redirects are followed here, because a
//! token goes to no other host than the one that it is for.

use super::proxy::{ProxyError, proxy_for};
use std::time::Duration;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

/// After this time an attempt is broken off, so that a connection on which nothing comes does not
/// hold up the download for ever: the next attempt resumes there.
const ATTEMPT: Duration = Duration::from_secs(300);
const CONNECT: Duration = Duration::from_secs(30);
/// The same for headers alone, which are small.
const CONNECT_FOR_HEAD: Duration = Duration::from_secs(10);
/// The most redirects that are followed.
const MOST_REDIRECTS: usize = 8;

/// A request.
pub(crate) struct Request<'a> {
    /// The address.
    pub url: &'a str,
    /// Whether only the headers are asked for, and redirects to other hosts are not followed.
    pub head: bool,
    /// Headers by their names.
    pub headers: &'a [(&'a str, String)],
    /// The token for the address's host.
    pub token: Option<&'a str>,
}

/// A request that got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HttpError {
    /// The address is none that can be asked.
    Address(String),
    /// The proxy is none that can be used.
    Proxy(ProxyError),
    /// It may go better next time.
    Broken(String),
}

impl From<ureq::Error> for HttpError {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Self::Address(error.to_string()),
            error => Self::Broken(error.to_string()),
        }
    }
}

/// Sends a request, and returns the answer of the last host that it was redirected to.
pub(crate) fn send(request: &Request<'_>) -> Result<Response<Body>, HttpError> {
    let first = parsed(request.url)?;
    let mut uri = first.clone();
    for _ in 0..=MOST_REDIRECTS {
        let response = send_to(&uri, request, origin(&uri) == origin(&first))?;
        let status = response.status().as_u16();
        let target = response.headers().get("location").and_then(|target| target.to_str().ok());
        let Some(target) = target.filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308)) else {
            return Ok(response);
        };
        let next = parsed(&joined(&uri, target))?;
        if request.head && origin(&next) != origin(&first) {
            return Ok(response);
        }
        uri = next;
    }
    Err(HttpError::Address(format!("more than {MOST_REDIRECTS} redirects")))
}

fn send_to(
    uri: &Uri,
    request: &Request<'_>,
    is_trusted: bool,
) -> Result<Response<Body>, HttpError> {
    let patience = if request.head { CONNECT_FOR_HEAD } else { CONNECT };
    let agent: Agent = Agent::config_builder()
        .timeout_connect(Some(patience))
        .timeout_recv_response(Some(patience))
        .timeout_recv_body(Some(ATTEMPT))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(proxy_for(uri).map_err(HttpError::Proxy)?)
        .user_agent(concat!("regraft/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut builder = if request.head { agent.head(uri) } else { agent.get(uri) };
    for (name, value) in request.headers {
        builder = builder.header(*name, value);
    }
    if let Some(token) = request.token.filter(|_| is_trusted) {
        builder = builder.header("Authorization", format!("Bearer {token}"));
    }
    Ok(builder.call()?)
}

fn parsed(url: &str) -> Result<Uri, HttpError> {
    let uri: Uri = url.parse().map_err(|error| HttpError::Address(format!("{error}")))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        _ => Err(HttpError::Address("it is not an address of the web".to_owned())),
    }
}

/// Scheme, host and port.
fn origin(uri: &Uri) -> (Option<&str>, Option<&str>, Option<u16>) {
    let scheme = uri.scheme_str();
    let default = if scheme == Some("https") { 443 } else { 80 };
    (scheme, uri.host(), uri.port_u16().or(Some(default)))
}

/// The address that a redirect names, which may be relative.
fn joined(base: &Uri, target: &str) -> String {
    let scheme = base.scheme_str().unwrap_or("https");
    let authority = base.authority().map_or("", |authority| authority.as_str());
    if target.contains("://") {
        target.to_owned()
    } else if target.starts_with("//") {
        format!("{scheme}:{target}")
    } else if target.starts_with('/') {
        format!("{scheme}://{authority}{target}")
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{target}")
    }
}

/// A header's text.
pub(crate) fn header<'a, T>(response: &'a Response<T>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_may_be_relative() {
        let base: Uri = "https://a.b:8080/c/d?e=f".parse().expect("an address");
        for (target, expected) in [
            ("http://x.y/z", "http://x.y/z"),
            ("//x.y/z", "https://x.y/z"),
            ("/z?q", "https://a.b:8080/z?q"),
            ("z", "https://a.b:8080/c/z"),
        ] {
            assert_eq!(joined(&base, target), expected);
        }
        let same = |one: &str, other: &str| {
            origin(&one.parse().expect("an address")) == origin(&other.parse().expect("an address"))
        };
        assert!(same("https://a.b/x", "https://a.b:443/y") && same("http://a.b/", "http://a.b:80"));
        assert!(!same("https://a.b/", "http://a.b/") && !same("https://a.b/", "https://c.a.b/"));
    }
}
