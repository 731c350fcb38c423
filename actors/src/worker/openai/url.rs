//! Url: where an OpenAI-compatible endpoint is, as a configuration says it.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;

/// The base of an endpoint, such as `http://127.0.0.1:8000/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Its host as a name or an address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Host and port as they were written: what the endpoint is told.
    authority: String,
    /// What the paths of its questions begin with, without a `/` at its end.
    path: String,
}

impl Url {
    /// The host and port as they were written.
    pub fn authority(&self) -> &str {
        &self.authority
    }
    /// The path of what lies at `name` below the base.
    pub fn below(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }
    /// Whether it is on this machine, so that nothing crosses a network.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|it| it.is_loopback())
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| "it is no URL".to_owned())?;
        match uri.scheme_str() {
            Some("http") => {}
            // TLS would make the program a tenth larger, for agents that most nodes do not have.
            Some("https") => {
                return Err(
                    "https is not spoken here: put a proxy on this machine that speaks \
                            it, and name that one with http://"
                        .into(),
                );
            }
            _ => return Err("it does not begin with http://".into()),
        }
        let Some(authority) = uri.authority().filter(|it| !it.host().is_empty()) else {
            return Err("it names no host".into());
        };
        // A secret in it would stand in the configuration and in every log that names it.
        if authority.as_str().contains('@') {
            return Err("it holds a user or a password: name a `key_file` instead".into());
        }
        if uri.query().is_some() {
            return Err("it has a query, where the paths of the API are put at its end".into());
        }
        let host = authority.host();
        // `Uri` takes a port that is none for no port at all.
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => 80,
            rest => rest
                .and_then(|rest| rest.strip_prefix(':')?.parse().ok())
                .filter(|port| *port > 0)
                .ok_or("its port is not 1 to 65535")?,
        };
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        Ok(Self {
            host: bare.unwrap_or(host).to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::Url;

    #[test]
    fn a_base_is_taken_apart_and_put_together_again() {
        for (text, host, port, chat) in [
            ("http://127.0.0.1:8000/v1", "127.0.0.1", 8000, "/v1/chat"),
            ("http://api.example/v1/", "api.example", 80, "/v1/chat"),
            ("http://[::1]:9", "::1", 9, "/chat"),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!((url.host.as_str(), url.port), (host, port), "{text}");
            assert_eq!(url.below("chat"), chat, "{text}");
            assert_eq!(url.to_string(), text.trim_end_matches('/'));
        }
        let near = |text: &str| text.parse::<Url>().map(|it| it.is_loopback());
        assert_eq!(near("http://[::1]/v1"), Ok(true));
        assert_eq!(near("http://localhost:1/v1"), Ok(true));
        assert_eq!(near("http://192.0.2.1/v1"), Ok(false));
    }

    #[test]
    fn what_is_none_is_refused_with_its_reason() {
        for (text, why) in [
            ("127.0.0.1:8000", "http://"),
            ("ftp://a/v1", "http://"),
            ("https://api.example/v1", "proxy on this machine"),
            ("http://a b", "no URL"),
            ("http://me:secret@a/v1", "key_file"),
            ("http://a/v1?x=1", "query"),
            ("http://a:0/v1", "port"),
            ("http://a:99999/v1", "port"),
        ] {
            let refused = text.parse::<Url>().expect_err(text);
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
