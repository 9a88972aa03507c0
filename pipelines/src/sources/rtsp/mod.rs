//! Frames from a network camera that sends H.264 over RTSP.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use intakt_operators::Frame;
use retina::client::{Credentials, Demuxed, PlayOptions, Session, SessionOptions, SetupOptions};
use retina::codec::{CodecItem, FrameFormat, VideoFrame};
use rust_h264::nal::parse_annex_b;
use tokio::runtime::Runtime;

use super::camera_url::CameraUrl;
use super::h264::Pictures;
use super::outage::{Interrupted, Outage, Retried};
use super::source::LOOK_EVERY;
use super::{Clock, Next, Source, StopFlag};

/// How an RTSP camera is read.
#[derive(Clone, Copy, Debug)]
pub struct RtspOptions {
    /// Longest wait for a session, from connecting to playing: 10 s by default.
    pub connect_max: Duration,
    /// Longest silence until the session is given up: 10 s by default.
    pub silence_max: Duration,
    /// Pause before the second try to connect: 0.5 s by default. It doubles with every further one.
    pub pause_first: Duration,
    /// Longest pause between two tries: 30 s by default.
    pub pause_max: Duration,
}

impl Default for RtspOptions {
    fn default() -> Self {
        Self {
            connect_max: Duration::from_secs(10),
            silence_max: Duration::from_secs(10),
            pause_first: Duration::from_millis(500),
            pause_max: Duration::from_secs(30),
        }
    }
}

/// A network camera that sends H.264 over RTSP, within the one TCP connection.
///
/// Every picture is one frame, as a 24-bit BMP, in the order in which they arrive; cameras use no B pictures. Its event time
/// is the clock's when it was complete. A picture that cannot be decoded is a frame without bytes, and so is every one that
/// is predicted from it or from one that was not received. When the session fails it is tried again, after pauses that
/// double; that is told once, until a frame has come again.
pub struct Rtsp {
    camera: Arc<str>,
    url: CameraUrl,
    origin: Arc<str>,
    options: RtspOptions,
    clock: Arc<dyn Clock>,
    seq: u64,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    playing: Option<(Pin<Box<Demuxed>>, Pictures)>,
    outage: Outage,
}

impl Rtsp {
    /// The camera at `url`: `rtsp://user:password@host:port/path`. Nothing is sent before the first [`Source::next`].
    ///
    /// # Errors
    /// A sentence, if `url` is no such address, or the system gives no event loop.
    pub fn new(camera: Arc<str>, url: &str, options: RtspOptions, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let url = CameraUrl::parse(url, "rtsp", 554)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self {
            camera,
            origin: url.shown.as_str().into(),
            url,
            outage: Outage::new(options.pause_first, options.pause_max),
            options,
            clock,
            seq: 0,
            runtime: Some(runtime.map_err(|error| format!("cannot start an event loop: {error}"))?),
            playing: None,
        })
    }

    /// Ends the session, whose goodbye is sent by the event loop.
    fn hang_up(&mut self) {
        let within = self.runtime.as_ref().map(Runtime::enter);
        self.playing = None;
        drop(within);
    }

    fn frame(&mut self, bytes: Result<Vec<u8>, String>) -> Frame {
        let seq = self.seq;
        self.seq += 1;
        Frame {
            camera: self.camera.clone(),
            seq,
            captured_at_us: self.clock.now_us(),
            origin: self.origin.clone(),
            bytes: bytes.map(Into::into).map_err(Into::into),
            recorded: None,
        }
    }
}

impl Drop for Rtsp {
    fn drop(&mut self) {
        self.hang_up();
        // A look-up of a name may be under way: it is not waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Retried for Rtsp {
    fn outage(&mut self) -> &mut Outage {
        &mut self.outage
    }

    fn is_connected(&self) -> bool {
        self.playing.is_some()
    }

    fn read_frame(&mut self, stop: &StopFlag) -> Result<Frame, Interrupted> {
        let runtime = self.runtime.as_ref().expect("is there until the source is dropped");
        let (session, pictures) = match &mut self.playing {
            Some(playing) => playing,
            none => {
                let opening = unless_stopped(open(&self.url), self.options.connect_max, stop);
                let opened = runtime.block_on(opening)?.map_err(Interrupted::Failed)?;
                none.insert((Box::pin(opened), Pictures::new()))
            }
        };
        let read = runtime.block_on(unless_stopped(next_picture(session), self.options.silence_max, stop));
        match read.and_then(|read| read.map_err(Interrupted::Failed)) {
            Ok(picture) => {
                let bytes = decode(pictures, &picture);
                self.outage.over();
                Ok(self.frame(bytes))
            }
            Err(interrupted) => {
                self.hang_up();
                Err(interrupted)
            }
        }
    }
}

impl Source for Rtsp {
    fn camera(&self) -> &Arc<str> {
        &self.camera
    }

    fn is_live(&self) -> bool {
        true
    }

    fn resume_at(&mut self, seq: u64) {
        self.seq = seq;
    }

    fn next(&mut self, stop: &StopFlag) -> Next {
        self.next_frame(stop)
    }
}

/// Waits for `work`, at most `longest`, and looks at `stop` meanwhile.
async fn unless_stopped<T>(
    work: impl Future<Output = T>,
    longest: Duration,
    stop: &StopFlag,
) -> Result<T, Interrupted> {
    let (since, mut work) = (Instant::now(), pin!(work));
    while !stop.is_stopped() {
        if let Ok(done) = tokio::time::timeout(LOOK_EVERY, &mut work).await {
            return Ok(done);
        }
        if since.elapsed() >= longest {
            return Err(Interrupted::Failed(format!(
                "the camera was silent for {:.1} s",
                longest.as_secs_f64()
            )));
        }
    }
    Err(Interrupted::Stopped)
}

/// Connects, asks what there is, and plays the first H.264 stream.
async fn open(url: &CameraUrl) -> Result<Demuxed, String> {
    let failed = |error| failure(&error, url);
    let address = format!("rtsp://{}{}", url.host_and_port(), url.path);
    let address = address.parse().map_err(|_| "its address cannot be used".to_owned())?;
    let login = url
        .login
        .clone()
        .map(|(username, password)| Credentials { username, password });
    let options = SessionOptions::default().creds(login).user_agent("intakt".into());
    let mut session = Session::describe(address, options).await.map_err(failed)?;
    let streams = session.streams();
    let video = streams
        .iter()
        .position(|stream| stream.media() == "video" && stream.encoding_name() == "h264");
    let video = video.ok_or("the camera offers no H.264 stream: choose H.264 in its settings")?;
    // Start codes, and the parameter sets before every picture that stands alone.
    let setup = SetupOptions::default().frame_format(FrameFormat::SIMPLE);
    session.setup(video, setup).await.map_err(failed)?;
    session
        .play(PlayOptions::default())
        .await
        .map_err(failed)?
        .demuxed()
        .map_err(failed)
}

async fn next_picture(session: &mut Pin<Box<Demuxed>>) -> Result<VideoFrame, String> {
    loop {
        match session.next().await {
            Some(Ok(CodecItem::VideoFrame(picture))) => return Ok(picture),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(first_paragraph(&error)),
            None => return Err("the camera ended the session".into()),
        }
    }
}

fn decode(pictures: &mut Pictures, picture: &VideoFrame) -> Result<Vec<u8>, String> {
    if picture.loss() > 0 {
        pictures.miss();
    }
    let decoded = pictures.decode(&parse_annex_b(picture.data()))?;
    pictures.bmp(&decoded)
}

fn failure(error: &retina::Error, url: &CameraUrl) -> String {
    match error.status_code() {
        Some(401 | 403) => "the camera refuses the login: check user and password of its address".into(),
        Some(code) => format!("the camera answers with status {code}: check the path of its address"),
        // What the camera wrote may be what it was sent.
        None => {
            let secrets = url
                .login
                .iter()
                .flat_map(|(user, password)| [user, password])
                .filter(|secret| !secret.is_empty());
            secrets.fold(first_paragraph(error), |text, secret| {
                text.replace(secret.as_str(), "…")
            })
        }
    }
}

/// What went wrong without the details of the connection, which differ from try to try.
fn first_paragraph(error: &retina::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().into()
}

#[cfg(test)]
mod tests;
