//! The address of a network camera. What is secret in it is never shown.

/// `scheme://user:password@host:port/path?query`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct CameraUrl {
    /// User and password, percent-decoded.
    pub(super) login: Option<(String, String)>,
    /// Name or address, without the brackets of an IPv6 address.
    pub(super) host: String,
    /// Port, the scheme's own if none is given.
    pub(super) port: u16,
    /// Path and query.
    pub(super) path: String,
    /// The address without user, password and query, which may all be secret.
    pub(super) shown: String,
}

impl CameraUrl {
    /// Reads an address of `scheme`, whose port is `port_default`.
    ///
    /// # Errors
    /// A sentence that shows nothing secret.
    pub(super) fn parse(url: &str, scheme: &str, port_default: u16) -> Result<Self, String> {
        let refused = |why: &str| format!("not a camera's address: {why}; {scheme}://host:port/path was expected");
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refused(
                "it holds blanks or other than ASCII characters, which are written as %20",
            ));
        }
        let rest = url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
        let rest = rest.ok_or_else(|| refused("it begins otherwise"))?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (login, host_port) = match authority.rsplit_once('@') {
            Some((login, host_port)) => (Some(login), host_port),
            None => (None, authority),
        };
        let (host, port) = split_port(host_port).ok_or_else(|| refused("its host or port is none"))?;
        let login = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            (percent_decoded(user), percent_decoded(password))
        });
        Ok(Self {
            login,
            host: host.into(),
            port: port.unwrap_or(port_default),
            path: if path.starts_with('/') {
                path.into()
            } else {
                format!("/{path}")
            },
            shown: format!("{scheme}://{host_port}{}", path.split('?').next().unwrap_or_default()),
        })
    }

    /// Host and port as a request names them.
    pub(super) fn host_and_port(&self) -> String {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{open}{}{close}:{}", self.host, self.port)
    }

    /// The value of the header `Authorization`, if there is a login.
    pub(super) fn basic_authorization(&self) -> Option<String> {
        let (user, password) = self.login.as_ref()?;
        Some(format!("Basic {}", base64(format!("{user}:{password}").as_bytes())))
    }
}

fn split_port(host_port: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match host_port.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some(""))?)
        }
        None => host_port.split_once(':').unwrap_or((host_port, "")),
    };
    let port = if port.is_empty() {
        None
    } else {
        Some(port.parse().ok()?)
    };
    (!host.is_empty()).then_some((host, port))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.first_chunk::<2>().and_then(|hex| std::str::from_utf8(hex).ok());
        let code = hex
            .filter(|hex| !hex.starts_with('+'))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) if *first == b'%' => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let at = |n: usize| u32::from(three.get(n).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) as usize % 64;
            text.push(if digit <= three.len() {
                char::from(DIGITS[value])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_secrets_not_shown() {
        let url = CameraUrl::parse("http://me:p%40ss:w@cam-3:8080/a/b.cgi?pwd=x#y", "http", 80).expect("an address");
        assert_eq!(url.login, Some(("me".into(), "p@ss:w".into())));
        assert_eq!(
            (&url.host[..], url.port, &url.path[..]),
            ("cam-3", 8080, "/a/b.cgi?pwd=x")
        );
        assert_eq!(url.shown, "http://cam-3:8080/a/b.cgi");
        assert_eq!(url.basic_authorization().as_deref(), Some("Basic bWU6cEBzczp3"));

        let url = CameraUrl::parse("http://[fe80::1]", "http", 80).expect("an address");
        assert_eq!((&url.host[..], url.port, &url.path[..]), ("fe80::1", 80, "/"));
        assert_eq!(url.host_and_port(), "[fe80::1]:80");
        assert_eq!(url.basic_authorization(), None);
    }

    #[test]
    fn other_addresses_are_refused_without_showing_them() {
        for url in [
            "",
            "secret",
            "ftp://secret@a",
            "http://",
            "http://secret@",
            "http://secret@a:port",
            "http://a/secret\r\nX: y",
            "http://[secret",
        ] {
            let refused = CameraUrl::parse(url, "http", 80).err().expect("refused");
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn base64_of_the_standard() {
        let of = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(of, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }
}
