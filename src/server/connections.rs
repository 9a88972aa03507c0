//! Takes connections, as many as there may be, and ends them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio_io_timeout::TimeoutStream;

use super::Limits;
use super::admission::network;

/// Pause after the system refused a connection, for example because too many files are open.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// How long requests under way may take to end when the server does.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// Serves `router` until `end` says so.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut end: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    // By address something that each of its connections holds.
    let mut holding: BTreeMap<IpAddr, Arc<()>> = BTreeMap::new();
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            _ = &mut end => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, peer)) => {
                holding.retain(|_, held| Arc::strong_count(held) > 1);
                let held = holding.entry(network(peer.ip())).or_default().clone();
                // One more is the map's.
                if Arc::strong_count(&held) - 1 > limits.connections_per_address_max {
                    continue;
                }
                let connection = connection(stream, peer, router.clone(), limits, &graceful);
                tokio::spawn(async move {
                    connection.await;
                    drop((held, place));
                });
            }
            Err(_) => tokio::time::sleep(REFUSED_PAUSE).await,
        }
    }
    drop(listener);
    // Who has not got an answer by then is cut off.
    let _ = tokio::time::timeout(GOODBYE_MAX, graceful.shutdown()).await;
    Ok(())
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    let router = TowerToHyperService::new(router);
    let with_peer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.call(request)
    });
    // Who asks and does not read what is answered gives its place up.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_wait_max));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_wait_max)
        .serve_connection(TokioIo::new(Box::pin(stream)), with_peer);
    let watched = graceful.watch(served);
    async move {
        // What goes wrong on a connection is its client's affair.
        let _ = watched.await;
    }
}
