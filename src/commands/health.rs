//! `intakt health`: whether a run's server says that it is well, for whatever watches a container that has neither shell nor curl.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use axum::http::Uri;
use intakt_pipelines::PipelineError;

use crate::cli::HealthArgs;
use crate::server::Tokens;
use crate::{Outcome, terminal};

/// Time to be connected, and again for the answer: the server is on the same machine, and answers from memory.
const PATIENCE: Duration = Duration::from_secs(3);

/// Bytes of an answer that are read: its header and the sentence below that.
const ANSWER_BYTES_MAX: u64 = 16 << 10;

/// Asks, and says what was answered.
pub(crate) fn run(args: &HealthArgs) -> Result<Outcome, PipelineError> {
    let question = Question::new(&args.url).map_err(PipelineError::Refused)?;
    let token = args.token_file.as_deref().map(Tokens::read).transpose();
    let token = token.map_err(PipelineError::Refused)?;
    let (is_well, said) = match question.ask(token.as_ref()) {
        Ok(answer) => (answer.status == "200", format!("{} {}", answer.status, answer.body)),
        Err(error) => (false, format!("no answer: {error}")),
    };
    terminal::say(&format!("{}: {said}", args.url));
    Ok(if is_well { Outcome::Passed } else { Outcome::Rejected })
}

/// What is asked, and whom.
struct Question {
    /// Host and port.
    address: String,
    path: String,
}

/// A status and what was written below the header.
struct Answer {
    status: String,
    body: String,
}

impl Question {
    fn new(url: &str) -> Result<Self, String> {
        let refused = || format!("cannot ask \"{url}\": http://HOST:PORT/PATH was expected");
        let uri: Uri = url.parse().map_err(|_| refused())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
        let authority = authority.ok_or_else(refused)?;
        let port = match authority.port_u16() {
            None if authority.as_str() == authority.host() => 80,
            port => port.ok_or_else(refused)?,
        };
        // A bare address is asked whether it lives; there a browser finds the page.
        let path = if uri.path() == "/" { "/health" } else { uri.path() };
        Ok(Self {
            address: format!("{}:{port}", authority.host()),
            path: path.to_owned(),
        })
    }

    fn ask(&self, token: Option<&Tokens>) -> io::Result<Answer> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let Self { address, path } = self;
        let shown = token.map(|token| format!("authorization: {}\r\n", token.authorization()));
        let shown = shown.unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{shown}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Answer::read(&String::from_utf8_lossy(&answer)).ok_or_else(|| io::Error::other("what answers speaks no HTTP"))
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut failed = io::Error::other("the name has no address");
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

impl Answer {
    fn read(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let (version, rest) = head.split_once(' ')?;
        Some(Self {
            status: rest.get(..3).filter(|_| version.starts_with("HTTP/1."))?.to_owned(),
            body: body.to_owned(),
        })
    }
}
