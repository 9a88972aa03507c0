//! Against a server that speaks just enough RTSP.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;

use intakt_operators::imaging::decode;

use super::super::compliance::{Counter, Subject, Taken, TickingClock, frame, trouble};
use super::super::h264::fixture::{again, flat, grey, pps, sps};
use super::*;

/// Bytes of an RTP payload.
const PAYLOAD_BYTES: usize = 1200;

/// What one session sends, and whether it ends then.
#[derive(Clone)]
struct Show {
    pictures: Vec<Vec<u8>>,
    /// Bytes without meaning after every picture.
    filler_bytes: usize,
    closes: bool,
    /// Counts the pictures that were sent.
    sent: Counter,
}

impl Show {
    fn of(pictures: Vec<Vec<u8>>) -> Self {
        Self {
            pictures,
            filler_bytes: 0,
            closes: false,
            sent: Counter::default(),
        }
    }
}

/// Plays one show after the other, the last to all that follow. Its threads end with the test binary.
fn serve(listener: TcpListener, shows: Vec<Show>) {
    thread::spawn(move || {
        for n in 0.. {
            let Ok((socket, _)) = listener.accept() else { break };
            let show = shows[n.min(shows.len() - 1)].clone();
            // The client may have gone.
            thread::spawn(move || play(socket, &show).unwrap_or_default());
        }
    });
}

fn play(mut socket: TcpStream, show: &Show) -> std::io::Result<()> {
    let mut requests = BufReader::new(socket.try_clone()?);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if requests.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let cseq = lines.iter().find_map(|line| line.strip_prefix("CSeq: ")).unwrap_or("0");
        let method = lines[0].split(' ').next().unwrap_or_default();
        let (more, body) = answer(method);
        let length = body.len();
        write!(
            socket,
            "RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n{more}Content-Length: {length}\r\n\r\n{body}"
        )?;
        if method == "PLAY" {
            send(&mut socket, show)?;
            if show.closes {
                return socket.shutdown(std::net::Shutdown::Both);
            }
        }
    }
}

fn answer(method: &str) -> (&'static str, &'static str) {
    match method {
        "DESCRIBE" => (
            "Content-Type: application/sdp\r\n",
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=line\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:video\r\n",
        ),
        "SETUP" => (
            "Session: 7\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=00000007\r\n",
            "",
        ),
        "PLAY" => ("Session: 7\r\nRTP-Info: url=video;seq=0;rtptime=0\r\n", ""),
        _ => ("Session: 7\r\n", ""),
    }
}

/// Every picture in RTP packets, with its parameter sets where it stands alone.
fn send(socket: &mut TcpStream, show: &Show) -> std::io::Result<()> {
    let (mut sequence, sent) = (0u16, show.sent.newest());
    for (n, picture) in (0u32..).zip(&show.pictures) {
        let mut payloads = if picture[0] == 0x65 {
            vec![sps((3, 2)), pps()]
        } else {
            vec![]
        };
        payloads.extend(in_payloads(picture));
        if show.filler_bytes > 0 {
            payloads.extend(in_payloads(
                &[&[12], &vec![0xff; show.filler_bytes][..], &[0x80]].concat(),
            ));
        }
        for (at, payload) in payloads.iter().enumerate() {
            let marker = u8::from(at + 1 == payloads.len()) << 7;
            let mut packet = vec![0x80, marker | 96];
            packet.extend(sequence.to_be_bytes());
            packet.extend((n * 3000).to_be_bytes());
            packet.extend(7u32.to_be_bytes());
            packet.extend(payload);
            socket.write_all(&[&[b'$', 0], &(packet.len() as u16).to_be_bytes()[..], &packet].concat())?;
            sequence = sequence.wrapping_add(1);
        }
        sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// RFC 6184: the whole unit, or fragments of it.
fn in_payloads(unit: &[u8]) -> Vec<Vec<u8>> {
    if unit.len() <= PAYLOAD_BYTES {
        return vec![unit.to_vec()];
    }
    let pieces: Vec<&[u8]> = unit[1..].chunks(PAYLOAD_BYTES).collect();
    let fragment = |(at, piece): (usize, &&[u8])| {
        let ends = u8::from(at == 0) << 7 | u8::from(at + 1 == pieces.len()) << 6;
        [&[unit[0] & 0x60 | 28, ends | unit[0] & 0x1f], *piece].concat()
    };
    pieces.iter().enumerate().map(fragment).collect()
}

fn server(shows: Vec<Show>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    serve(listener, shows);
    address
}

fn camera(address: SocketAddr, silence_max: Duration) -> Rtsp {
    let options = RtspOptions {
        silence_max,
        pause_first: Duration::from_millis(1),
        pause_max: Duration::from_millis(5),
        ..RtspOptions::default()
    };
    let url = format!("rtsp://user:secret@{address}/stream");
    Rtsp::new("gate".into(), &url, options, Arc::new(TickingClock::default())).expect("an address")
}

#[test]
fn an_rtsp_camera_complies() {
    /// Bytes that come with a picture, and how many pictures there are.
    const FILLER_BYTES: usize = 64 << 10;
    const FRAMES: usize = 300;
    /// What the system may hold between the server and the source, and far less than the camera has.
    const SYSTEM_BYTES_MAX: usize = 8 << 20;
    let pictures = [flat(0, 60), again(1), flat(1, 200), again(1)];
    let sent = Counter::default();
    let address = server(vec![Show {
        pictures: pictures.into_iter().cycle().take(FRAMES).collect(),
        filler_bytes: FILLER_BYTES,
        closes: false,
        sent: sent.clone(),
    }]);
    let fresh = || -> Box<dyn Source> {
        sent.anew();
        Box::new(camera(address, Duration::from_secs(60)))
    };
    let (mut source, stop) = (fresh(), StopFlag::default());
    for luma in [60, 60, 200, 200] {
        let image = decode(&frame(source.as_mut(), &stop).bytes.expect("decodes"), 255).expect("a BMP");
        assert!(image.rgb.iter().all(|level| *level == grey(luma)));
    }
    Subject {
        fresh: &fresh,
        frames: FRAMES as u64,
        ends: false,
        replayable: false,
        broken: &[],
        taken: Taken::Counted(&|| sent.count()),
        ahead_max: (SYSTEM_BYTES_MAX / FILLER_BYTES) as u64,
    }
    .complies();
}

#[test]
fn a_camera_that_goes_and_comes_back_is_waited_for() {
    let reserved = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = reserved.local_addr().expect("bound");
    drop(reserved);
    let (mut source, stop) = (camera(address, Duration::from_millis(300)), StopFlag::default());
    let told = trouble(&mut source, &stop);
    assert!(
        told.contains("onnection refused") && told.contains("; next try in "),
        "{told}"
    );

    // The first show begins with a picture whose predecessor was not received, and is cut off.
    let first = Show {
        closes: true,
        ..Show::of(vec![again(1), flat(0, 60)])
    };
    let second = Show::of(vec![flat(0, 200)]);
    serve(
        TcpListener::bind(address).expect("the port is free"),
        vec![first, second],
    );
    assert!(frame(&mut source, &stop).bytes.is_err());
    assert!(frame(&mut source, &stop).bytes.is_ok());
    let told = trouble(&mut source, &stop);
    assert!(!told.contains("secret"), "{told}");
    assert_eq!(frame(&mut source, &stop).seq, 2);
    assert!(trouble(&mut source, &stop).starts_with("the camera was silent for 0.3 s"));
}
