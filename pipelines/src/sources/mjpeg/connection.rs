//! A connection to an HTTP server that never waits longer than a stop may take.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::super::StopFlag;
use super::super::camera_url::CameraUrl;
use super::super::outage::Interrupted;
use super::super::source::LOOK_EVERY;

/// Bytes of the head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Number of headers of an answer.
const HEADERS_MAX: usize = 64;

fn failed(reason: impl Into<String>) -> Interrupted {
    Interrupted::Failed(reason.into())
}

/// An answer of which the head was read.
pub(super) struct Connection {
    socket: TcpStream,
    silence_max: Duration,
}

impl Connection {
    /// Connects, asks for the stream, and reads the head of the answer. Gives the boundary between the parts, and what was
    /// read of the body.
    pub(super) fn open(
        url: &CameraUrl,
        connect_max: Duration,
        silence_max: Duration,
        stop: &StopFlag,
    ) -> Result<(Self, String, Vec<u8>), Interrupted> {
        let socket = dial(url, connect_max, stop)?;
        let set = socket
            .set_read_timeout(Some(LOOK_EVERY))
            .and(socket.set_write_timeout(Some(LOOK_EVERY)));
        let sent = set.and_then(|()| (&socket).write_all(request(url).as_bytes()));
        sent.map_err(|error| failed(format!("cannot send the request: {error}")))?;
        let mut connection = Self { socket, silence_max };
        let (boundary, body) = connection.read_head(stop)?;
        Ok((connection, boundary, body))
    }

    /// Waits for more of the body.
    pub(super) fn read(&mut self, stop: &StopFlag, buffer: &mut [u8]) -> Result<usize, Interrupted> {
        let silent_since = Instant::now();
        while !stop.is_stopped() {
            match self.socket.read(buffer) {
                Ok(0) => return Err(failed("the camera closed the connection")),
                Ok(read) => return Ok(read),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if silent_since.elapsed() >= self.silence_max {
                        let seconds = self.silence_max.as_secs_f64();
                        return Err(failed(format!("the camera was silent for {seconds:.1} s")));
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(format!("the connection broke: {error}"))),
            }
        }
        Err(Interrupted::Stopped)
    }

    fn read_head(&mut self, stop: &StopFlag) -> Result<(String, Vec<u8>), Interrupted> {
        let (mut head, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let read = self.read(stop, &mut piece)?;
            head.extend_from_slice(&piece[..read]);
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut answer = httparse::Response::new(&mut headers);
            let parsed = answer.parse(&head);
            match parsed.map_err(|error| failed(format!("the answer is no HTTP: {error}")))? {
                httparse::Status::Complete(end) => {
                    let boundary = boundary(&answer).map_err(failed)?;
                    return Ok((boundary, head.split_off(end)));
                }
                httparse::Status::Partial if head.len() > HEAD_BYTES_MAX => {
                    return Err(failed(format!(
                        "the head of the answer takes more than {HEAD_BYTES_MAX} bytes"
                    )));
                }
                httparse::Status::Partial => {}
            }
        }
    }
}

/// HTTP/1.0, in which a server may not divide the body into chunks of its own.
fn request(url: &CameraUrl) -> String {
    let login = url.basic_authorization();
    let login = login
        .map(|login| format!("Authorization: {login}\r\n"))
        .unwrap_or_default();
    let (path, host) = (&url.path, url.host_and_port());
    format!(
        "GET {path} HTTP/1.0\r\nHost: {host}\r\n{login}Accept: multipart/x-mixed-replace\r\nUser-Agent: intakt\r\n\r\n"
    )
}

/// The boundary that the head of the answer states. The sentences show nothing of what the server wrote, which may be what
/// it was sent.
fn boundary(answer: &httparse::Response<'_, '_>) -> Result<String, String> {
    match answer.code.unwrap_or(0) {
        200 => {}
        401 | 403 => return Err("the camera refuses the login: check user and password of its address".into()),
        code => {
            return Err(format!(
                "the camera answers with status {code}: check the path of its address"
            ));
        }
    }
    let header = |name: &str| {
        let found = answer
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value))
    };
    if header("transfer-encoding").is_some_and(|encoding| encoding.to_ascii_lowercase().contains("chunked")) {
        return Err("the answer is chunked, which HTTP/1.0 does not allow".into());
    }
    let kind = header("content-type").unwrap_or_default();
    let mut fields = kind.split(';').map(str::trim);
    if !fields
        .next()
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/"))
    {
        return Err(
            "the answer is no stream of pictures (multipart/x-mixed-replace): check the path of its address".into(),
        );
    }
    let boundary = fields.find_map(|field| {
        let (name, value) = field.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then(|| value.trim().trim_matches('"').to_owned())
    });
    let usable = |boundary: &String| !boundary.trim_start_matches('-').is_empty() && boundary.len() <= 200;
    boundary
        .filter(usable)
        .ok_or_else(|| "the answer states no boundary between its parts".into())
}

/// Connects in a thread of its own, because neither looking a name up nor connecting can be interrupted. After a stop that
/// thread ends by itself within `connect_max`, or when the system gives the look-up of the name up.
fn dial(url: &CameraUrl, connect_max: Duration, stop: &StopFlag) -> Result<TcpStream, Interrupted> {
    let (answers, answered) = sync_channel(1);
    let (host, port) = (url.host.clone(), url.port);
    let dialling = thread::Builder::new().name("dial".into()).spawn(move || {
        // Nobody listens any more after a stop.
        let _ = answers.send(connect(&host, port, connect_max));
    });
    dialling.map_err(|error| failed(format!("cannot start a thread: {error}")))?;
    while !stop.is_stopped() {
        match answered.recv_timeout(LOOK_EVERY) {
            Ok(connected) => return connected.map_err(Interrupted::Failed),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(failed("cannot connect")),
        }
    }
    Err(Interrupted::Stopped)
}

/// The first address that answers.
fn connect(host: &str, port: u16, connect_max: Duration) -> Result<TcpStream, String> {
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("cannot find the camera's host: {error}"))?;
    let mut refused = "the camera's host has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, connect_max) {
            Ok(socket) => return Ok(socket),
            Err(error) => refused = format!("cannot connect to {address}: {error}"),
        }
    }
    Err(refused)
}
