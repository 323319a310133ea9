//! The proxy that the environment names for an address.

use ureq::Proxy;
use ureq::http::Uri;

/// A variable whose proxy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {variable} does not name a proxy that can be used: {message}")]
pub struct ProxyError {
    /// The variable.
    pub variable: String,
    /// The problem with it.
    pub message: String,
}

/// The proxy for an address, by `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
pub(super) fn proxy_for(uri: &Uri) -> Result<Option<Proxy>, ProxyError> {
    let named = chosen(uri, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let Some((variable, value)) = named else { return Ok(None) };
    let refused = |message: String| ProxyError { variable: variable.clone(), message };
    let proxy = Proxy::new(&value).map_err(|error| refused(error.to_string()))?;
    if proxy.protocol().to_string().starts_with("SOCKS") {
        return Err(refused("SOCKS proxies are not supported".to_owned()));
    }
    Ok(Some(proxy))
}

/// The variable that names the proxy for an address, and its value. The variable in small letters
/// is preferred, as by curl.
fn chosen(uri: &Uri, variable: &dyn Fn(&str) -> Option<String>) -> Option<(String, String)> {
    let both = |name: &str| {
        [name.to_owned(), name.to_ascii_uppercase()]
            .into_iter()
            .find_map(|name| variable(&name).map(|value| (name, value)))
    };
    let host = uri.host()?;
    let port = uri.port_u16();
    if both("no_proxy").is_some_and(|(_, list)| is_excluded(&list, host, port)) {
        return None;
    }
    both(&format!("{}_proxy", uri.scheme_str()?)).or_else(|| both("all_proxy"))
}

/// Whether a list such as `localhost,.example.com,10.0.0.1:8080` names the host. An entry names a
/// host and those below it.
fn is_excluded(list: &str, host: &str, port: Option<u16>) -> bool {
    let host = host.to_ascii_lowercase();
    let mut entries = list.split([',', ' ']).filter(|entry| !entry.is_empty());
    entries.any(|entry| {
        let (name, wanted) = match entry.rsplit_once(':') {
            // An address of IPv6 has colons of its own.
            Some((name, port)) if !name.contains(':') => (name, port.parse().ok()),
            _ => (entry, None),
        };
        let name = name.trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
        let is_below =
            host.strip_suffix(&name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        entry == "*" || (!name.is_empty() && is_below && (wanted.is_none() || wanted == port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn for_address(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let uri: Uri = url.parse().expect("an address");
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        chosen(&uri, &variable).map(|(_, value)| value)
    }

    #[test]
    fn the_scheme_chooses_the_proxy_and_no_proxy_excludes_hosts() {
        let proxies = [("HTTPS_PROXY", "s"), ("http_proxy", "p"), ("HTTP_PROXY", "P")];
        assert_eq!(for_address("https://a.b/", &proxies).as_deref(), Some("s"));
        assert_eq!(for_address("http://a.b/", &proxies).as_deref(), Some("p"));
        assert_eq!(for_address("http://a.b/", &[("ALL_PROXY", "a")]).as_deref(), Some("a"));
        assert_eq!(for_address("http://a.b/", &[("HTTPS_PROXY", "s")]), None);
        for (list, excluded) in [
            ("huggingface.co", true),
            (".huggingface.co", true),
            ("*.huggingface.co", true),
            ("co", true),
            ("localhost, huggingface.co", true),
            ("HuggingFace.CO:443", true),
            ("*", true),
            ("face.co", false),
            ("huggingface.co:80", false),
            ("", false),
            (",", false),
        ] {
            let found = for_address(
                "https://cdn.huggingface.co:443/x",
                &[("HTTPS_PROXY", "s"), ("NO_PROXY", list)],
            );
            assert_eq!(found.is_none(), excluded, "{list}");
        }
        let address = "http://127.0.0.1:80/";
        assert_eq!(for_address(address, &[("HTTP_PROXY", "p"), ("no_proxy", "127.0.0.1")]), None);
    }
}
