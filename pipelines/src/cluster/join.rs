//! Brings the processes of a run together.
//!
//! Timely has a way of its own, which prints to standard output, takes whoever connects for the process it claims to be, and
//! cannot be interrupted. Here both sides of a connection say who they are, and a process begins only when every other one has
//! said that it sees all: until then anybody may leave, come back and be waited for.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::Cluster;
use super::hello::{Hello, Met};
use crate::PipelineError;
use crate::sources::StopFlag;

/// How often is looked who has come.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often a process that is not there is tried again.
const TRY_EVERY: Duration = Duration::from_millis(500);
/// How often people are told who is missing.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// How long a connection may take to be made.
const CONNECT_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long a greeting may take. Whoever connects and says nothing holds the others no longer.
const HELLO_WAIT_MAX: Duration = Duration::from_secs(2);

/// Said when all others are seen.
const READY: u8 = b'!';

/// Connections to all other processes, when all have the same run and generation; none to this one.
pub(crate) fn join(
    cluster: &Cluster,
    workers: usize,
    stop: &StopFlag,
) -> Result<Vec<Option<TcpStream>>, PipelineError> {
    let own = cluster.hosts.of(cluster.process);
    let listen = || {
        let listener = TcpListener::bind(own)?;
        listener.set_nonblocking(true).map(|()| listener)
    };
    let listener = listen().map_err(|error| {
        PipelineError::Refused(format!(
            "cannot listen on {own} as process {}: {error}\n  hint: the line of this process in the hosts file is an address \
             of this machine, and its port is free",
            cluster.process
        ))
    })?;
    let mut joining = Joining {
        cluster,
        hello: Hello {
            run: cluster.run,
            generation: cluster.generation,
            process: cluster.process as u32,
            processes: cluster.hosts.processes() as u32,
            workers: workers as u32,
        },
        peers: (0..cluster.hosts.processes()).map(|_| None).collect(),
    };
    let (mut tried_at, mut said_at) = (None, Instant::now());
    while !joining.is_complete() {
        joining.accept(&listener);
        if tried_at.is_none_or(|at: Instant| at.elapsed() >= TRY_EVERY) {
            joining.dial()?;
            tried_at = Some(Instant::now());
        }
        joining.look();
        if said_at.elapsed() >= SAY_EVERY {
            (cluster.on_note)(&format!("waiting for {}", joining.missing()));
            said_at = Instant::now();
        }
        if !joining.is_complete() && stop.wait(LOOK_EVERY) {
            return Err(PipelineError::Stopped(format!(
                "it was interrupted while it waited for {}",
                joining.missing()
            )));
        }
    }
    joining.begin()
}

/// A process that has said who it is.
struct Peer {
    stream: TcpStream,
    told: bool,
    ready: bool,
}

struct Joining<'a> {
    cluster: &'a Cluster,
    hello: Hello,
    peers: Vec<Option<Peer>>,
}

impl Joining<'_> {
    fn is_complete(&self) -> bool {
        let mut others = self.others();
        others.all(|process| self.peers[process].as_ref().is_some_and(|peer| peer.told && peer.ready))
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let own = self.cluster.process;
        (0..self.peers.len()).filter(move |process| *process != own)
    }

    fn missing(&self) -> String {
        let away = |process: &usize| self.peers[*process].is_none();
        let mut names: Vec<String> = self.others().filter(away).map(|process| self.name(process)).collect();
        if names.is_empty() {
            names.push("the others to see each other".to_owned());
        }
        names.join(", ")
    }

    fn name(&self, process: usize) -> String {
        format!("process {process} ({})", self.cluster.hosts.of(process))
    }

    /// Takes in whoever has connected. A stranger is sent away, and the right one is waited for: this process is where it should be.
    fn accept(&mut self, listener: &TcpListener) {
        while let Ok((mut stream, from)) = listener.accept() {
            let on_note = &self.cluster.on_note;
            let refused = |why: &str| on_note(&format!("a connection from {from} was refused: {why}"));
            let received = prepare(&stream).and_then(|()| Hello::receive(&mut stream));
            match received {
                // Whoever is older, or a stranger, learns of it from our answer.
                Ok(other) => match (self.met(&other), self.hello.send(&mut stream)) {
                    (Met::Companion | Met::Newer, Ok(())) => self.seat(other.process as usize, stream),
                    (Met::Stranger(why), _) => refused(&why),
                    (Met::Older, _) | (Met::Companion | Met::Newer, Err(_)) => {}
                },
                Err(error) => refused(&error.to_string()),
            }
        }
    }

    /// Connects to the processes before this one that are not there yet; those after it connect to us.
    fn dial(&mut self) -> Result<(), PipelineError> {
        for process in 0..self.cluster.process {
            if self.peers[process].is_some() {
                continue;
            }
            // Nobody there, or somebody who does not answer: it is tried again.
            let Ok((stream, other)) = greet(self.cluster.hosts.of(process), &self.hello) else {
                continue;
            };
            if other.process as usize != process {
                return Err(self.stranger(process, &format!("it was started with `--process {}`", other.process)));
            }
            match self.met(&other) {
                Met::Companion | Met::Newer => self.seat(process, stream),
                Met::Older => {}
                Met::Stranger(why) => return Err(self.stranger(process, &why)),
            }
        }
        Ok(())
    }

    /// What to make of `other`, whose generation is taken over if it is a newer one.
    fn met(&mut self, other: &Hello) -> Met {
        let met = self.hello.meets(other);
        if met == Met::Newer {
            self.hello.generation = other.generation;
            // What was agreed with an older generation is void: the others see the end of the connection.
            self.peers.iter_mut().for_each(|peer| *peer = None);
        }
        met
    }

    fn stranger(&self, process: usize, why: &str) -> PipelineError {
        PipelineError::Refused(format!(
            "cannot join {}: {why}\n  hint: start all processes with the same run file, hosts file, `--workers` and version, and \
             each with its own `--process`",
            self.name(process)
        ))
    }

    /// The newest connection of a process counts: an older one is of a process that has ended.
    fn seat(&mut self, process: usize, stream: TcpStream) {
        if stream.set_nonblocking(true).is_ok() {
            self.peers[process] = Some(Peer {
                stream,
                told: false,
                ready: false,
            });
        }
    }

    /// Tells the others when all are there, hears whether they say so too, and sees who has left.
    fn look(&mut self) {
        let all = self.others().all(|process| self.peers[process].is_some());
        for seat in &mut self.peers {
            let Some(peer) = seat else { continue };
            if all && !peer.told {
                peer.told = peer.stream.write_all(&[READY]).is_ok();
            }
            if peer.has_left() {
                *seat = None;
            }
        }
    }

    fn begin(self) -> Result<Vec<Option<TcpStream>>, PipelineError> {
        let (process, generation) = (self.cluster.process, self.hello.generation);
        let n = self.peers.len();
        (self.cluster.on_note)(&format!(
            "process {process} of {n}: all are there, generation {generation}"
        ));
        let blocking = |peer: Peer| {
            peer.stream.set_nonblocking(false)?;
            peer.stream.set_read_timeout(None)?;
            peer.stream.set_write_timeout(None)?;
            Ok(peer.stream)
        };
        let streams = self.peers.into_iter().map(|peer| peer.map(blocking).transpose());
        streams
            .collect::<io::Result<_>>()
            .map_err(|error| PipelineError::Refused(format!("cannot talk to the other processes: {error}")))
    }
}

impl Peer {
    /// Looks at what has come. After it has said that it is ready, what comes is timely's.
    fn has_left(&mut self) -> bool {
        let mut byte = [0];
        let come = match self.ready {
            true => self.stream.peek(&mut byte),
            false => self.stream.read(&mut byte),
        };
        match come {
            Ok(0) => true,
            Ok(_) => {
                let is_ready = self.ready || byte == [READY];
                self.ready = is_ready;
                !is_ready
            }
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }
}

/// A connection on which neither side waits for ever for the other.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(HELLO_WAIT_MAX))?;
    stream.set_write_timeout(Some(HELLO_WAIT_MAX))
}

/// Connects, and exchanges greetings.
fn greet(host: &str, hello: &Hello) -> io::Result<(TcpStream, Hello)> {
    let mut refused = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_WAIT_MAX) {
            Ok(mut stream) => {
                prepare(&stream)?;
                hello.send(&mut stream)?;
                let other = Hello::receive(&mut stream)?;
                return Ok((stream, other));
            }
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::thread;

    use super::*;
    use crate::cluster::Hosts;
    use crate::cluster::own_port::own_port;

    fn hosts(processes: usize) -> Hosts {
        let lines = (0..processes).map(|_| format!("127.0.0.1:{}", own_port()));
        Hosts::parse(&lines.collect::<Vec<_>>().join("\n")).unwrap()
    }

    fn cluster(hosts: &Hosts, process: usize, generation: u64, notes: &Arc<Mutex<Vec<String>>>) -> Cluster {
        let notes = notes.clone();
        Cluster {
            hosts: hosts.clone(),
            process,
            run: [1; 32],
            generation,
            patience: Duration::from_secs(30),
            beginning: Default::default(),
            on_note: Arc::new(move |note| notes.lock().unwrap().push(note.to_owned())),
            on_stall: Arc::new(|reason| panic!("{reason}")),
        }
    }

    #[test]
    fn processes_meet_in_the_highest_generation_and_talk_to_whom_they_think() {
        let hosts = hosts(3);
        let notes = Arc::default();
        let meet = |(process, generation)| {
            let cluster = cluster(&hosts, process, generation, &notes);
            thread::spawn(move || {
                let mut peers = join(&cluster, 2, &StopFlag::default()).unwrap();
                let streams = || (0..3).filter(move |peer| *peer != process);
                for peer in streams() {
                    peers[peer].as_mut().unwrap().write_all(&[process as u8]).unwrap();
                }
                for peer in streams() {
                    let mut said = [0];
                    peers[peer].as_mut().unwrap().read_exact(&mut said).unwrap();
                    assert_eq!(said, [peer as u8]);
                }
                assert!(peers[process].is_none());
            })
        };
        let processes: Vec<_> = [(0, 1), (1, 7), (2, 2)].into_iter().map(meet).collect();
        // A stranger who does not know the language keeps nobody.
        let _ = TcpStream::connect(hosts.of(0)).and_then(|mut stream| stream.write_all(b"GET / HTTP/1.1\r\n\r\n"));
        processes.into_iter().for_each(|process| process.join().unwrap());
        let notes = notes.lock().unwrap();
        let together = notes.iter().filter(|note| note.contains("all are there, generation 7"));
        assert_eq!(together.count(), 3, "{notes:?}");
    }

    #[test]
    fn a_process_of_another_run_is_refused_and_the_right_one_is_waited_for() {
        let hosts = hosts(2);
        let notes = Arc::default();
        let meet = |process: usize, run: u8| {
            let mut cluster = cluster(&hosts, process, 1, &notes);
            cluster.run = [run; 32];
            thread::spawn(move || join(&cluster, 1, &StopFlag::default()).map(drop))
        };
        let first = meet(0, 0);
        let refusal = meet(1, 1).join().unwrap().unwrap_err().to_string();
        assert!(refusal.contains("cannot join process 0 (127.0.0.1:"), "{refusal}");
        assert!(refusal.contains("run file"), "{refusal}");
        let second = meet(1, 0);
        for process in [first, second] {
            process.join().unwrap().unwrap();
        }
        let said = notes.lock().unwrap().join("\n");
        assert!(said.contains("was refused: its run file"), "{said}");
    }

    #[test]
    fn waiting_can_be_interrupted_and_a_taken_port_is_named() {
        let hosts = hosts(2);
        let cluster = cluster(&hosts, 0, 1, &Arc::default());
        let stop = StopFlag::default();
        stop.stop();
        let interrupted = join(&cluster, 1, &stop).map(drop).unwrap_err().to_string();
        assert!(interrupted.contains("waited for process 1"), "{interrupted}");
        let _taken = TcpListener::bind(hosts.of(0)).unwrap();
        let refused = join(&cluster, 1, &stop).map(drop).unwrap_err().to_string();
        assert!(refused.contains("cannot listen on 127.0.0.1:"), "{refused}");
    }
}
