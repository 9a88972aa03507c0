//! Where a server listens, and what it asks for.

use std::net::SocketAddr;
use std::path::Path;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Bytes of a token: fewer can be guessed, more are no token.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=1024;

/// Where to listen. An address that others can reach has a token.
#[derive(Debug)]
pub(crate) struct Listen {
    pub(super) address: SocketAddr,
    pub(super) token: Option<Token>,
}

/// A secret that every request carries but those for `/health` and the page, which says nothing of the run by itself.
pub(crate) struct Token {
    secret: String,
    /// What stands for it in a browser's cookie: its characters fit there, and the token does not follow from it.
    session: String,
}

impl Listen {
    /// What `address` means, with the token in a file if there is one.
    ///
    /// # Errors
    /// A sentence: it is no address, or others can reach it and there is no token.
    pub(crate) fn new(address: &str, token: Option<Token>) -> Result<Self, String> {
        let parsed: SocketAddr = address.parse().map_err(|_| {
            format!("\"{address}\" is no address and port, like 127.0.0.1:8080 or [::1]:0 (port 0: any that is free)")
        })?;
        if token.is_none() && !parsed.ip().to_canonical().is_loopback() {
            return Err(format!(
                "others can reach {parsed}, so it needs a token: `--token-file FILE`, or `token_file` under `[server]`, \
                 with {} to {} characters in it; or listen on 127.0.0.1",
                TOKEN_BYTES.start(),
                TOKEN_BYTES.end()
            ));
        }
        Ok(Self { address: parsed, token })
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let asking = if self.token.is_some() {
            "with a token"
        } else {
            "without a token"
        };
        write!(f, "http://{}, {asking}", self.address)
    }
}

impl Token {
    /// The token in a file: its only line.
    ///
    /// # Errors
    /// A sentence that does not show what is in the file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let cannot = |what: &str| format!("cannot take a token from \"{}\": {what}", path.display());
        let bytes = std::fs::metadata(path)
            .map_err(|error| cannot(&error.to_string()))?
            .len();
        // A line break or two beside it.
        if bytes > *TOKEN_BYTES.end() as u64 + 16 {
            return Err(cannot(&format!("it has {bytes} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| cannot(&error.to_string()))?;
        Self::new(text.trim()).map_err(|what| cannot(&what))
    }

    fn new(token: &str) -> Result<Self, String> {
        if !TOKEN_BYTES.contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "a token has {} to {} printable characters without spaces, as `openssl rand -hex 32` makes them",
                TOKEN_BYTES.start(),
                TOKEN_BYTES.end()
            ));
        }
        let digest = Sha256::new()
            .chain_update("intakt session ")
            .chain_update(token)
            .finalize();
        Ok(Self {
            secret: token.to_owned(),
            session: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    /// What a request shows in `Authorization`.
    pub(crate) fn authorization(&self) -> String {
        format!("Bearer {}", self.secret)
    }

    /// Whether `offered` is the token. How long that takes says nothing of what is in it.
    pub(super) fn is(&self, offered: &[u8]) -> bool {
        self.secret.as_bytes().ct_eq(offered).into()
    }

    /// What stands for the token in a browser's cookie.
    pub(super) fn session(&self) -> &str {
        &self.session
    }

    /// Whether `offered` stands for the token.
    pub(super) fn is_of_session(&self, offered: &[u8]) -> bool {
        self.session.as_bytes().ct_eq(offered).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::server) const SECRET: &str = "0123456789abcdef";

    pub(in crate::server) fn token() -> Token {
        Token::new(SECRET).unwrap()
    }

    #[test]
    fn only_loopback_goes_without_a_token() {
        for address in ["127.0.0.1:0", "127.9.9.9:80", "[::1]:8080", "[::ffff:127.0.0.1]:1"] {
            assert!(Listen::new(address, None).is_ok(), "{address}");
        }
        for address in ["0.0.0.0:0", "[::]:0", "192.168.0.4:80", "[::ffff:10.0.0.1]:1"] {
            let refused = Listen::new(address, None).unwrap_err();
            assert!(refused.contains("--token-file"), "{refused}");
            assert!(Listen::new(address, Some(token())).is_ok(), "{address}");
        }
        for address in ["", "8080", "localhost", "127.0.0.1", "127.0.0.1:99999"] {
            assert!(
                Listen::new(address, None).unwrap_err().contains("no address"),
                "{address}"
            );
        }
    }

    #[test]
    fn a_token_is_itself_alone_and_shows_nowhere() {
        assert!(token().is(SECRET.as_bytes()));
        for other in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeF"] {
            assert!(!token().is(other.as_bytes()), "{other}");
        }
        assert!(!format!("{:?}", token()).contains(SECRET));
    }

    #[test]
    fn a_token_file_holds_one_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, fine) in [
            ("0123456789abcdef\n", true),
            ("short", false),
            ("0123456789 abcdef", false),
            ("0123456789abcdef\n0123456789abcdef", false),
            (&"x".repeat(2_000), false),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let read = Token::read(file.path());
            assert_eq!(read.is_ok(), fine, "{text}");
            assert!(read.err().is_none_or(|error| !error.contains("0123")));
        }
        assert!(Token::read(Path::new("none")).unwrap_err().contains("\"none\""));
    }
}
