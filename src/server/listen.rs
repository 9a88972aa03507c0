//! Where a server listens, and what it asks for.

use std::net::{SocketAddr, TcpListener};

use intakt_pipelines::PipelineError;

use super::tokens::{TOKEN_BYTES, Tokens};

/// Where to listen. An address that others can reach has a token.
#[derive(Debug)]
pub(crate) struct Listen {
    pub(super) address: SocketAddr,
    pub(super) tokens: Option<Tokens>,
}

impl Listen {
    /// What `address` means, with the tokens of a file if there is one.
    ///
    /// # Errors
    /// A sentence: it is no address, or others can reach it and there is no token.
    pub(crate) fn new(address: &str, tokens: Option<Tokens>) -> Result<Self, String> {
        let parsed: SocketAddr = address.parse().map_err(|_| {
            format!("\"{address}\" is no address and port, like 127.0.0.1:8080 or [::1]:0 (port 0: any that is free)")
        })?;
        if tokens.is_none() && !parsed.ip().to_canonical().is_loopback() {
            return Err(format!(
                "others can reach {parsed}, so it needs a token: `--token-file FILE`, or `token_file` under `[server]`, \
                 with {} to {} characters in it; or listen on 127.0.0.1",
                TOKEN_BYTES.start(),
                TOKEN_BYTES.end()
            ));
        }
        Ok(Self {
            address: parsed,
            tokens,
        })
    }

    /// Takes the address.
    ///
    /// # Errors
    /// The system does not give it, for example because another process has it.
    pub(crate) fn bind(&self) -> Result<TcpListener, PipelineError> {
        TcpListener::bind(self.address).map_err(|error| cannot_listen(self.address, &error))
    }
}

pub(super) fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> PipelineError {
    PipelineError::Refused(format!(
        "cannot listen on {address}: {error}\n  hint: port 0 takes any port that is free"
    ))
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let asking = if self.tokens.is_some() {
            "with a token"
        } else {
            "without a token"
        };
        write!(f, "http://{}, {asking}", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tests::token;
    use super::*;

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
}
