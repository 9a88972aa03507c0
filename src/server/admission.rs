//! Who may ask, and how often.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::connections::Peer;
use super::problem::Refusal;
use super::routes::{Shared, SharedState};
use super::tokens::{Caller, Role, Tokens};
use super::{page, session};

/// What browsers are told of whose pages may hold an answer.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The path that is answered to everybody, however many ask.
const HEALTH: &str = "/health";

/// Lets a request through, or refuses it before its body is read. Who shows no token, where there is one, takes nothing of the
/// others' requests a second, has those of its own address, and has to connect anew for each of them.
pub(super) async fn admit(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let authorised = authorise(shared.tokens.as_ref(), request.headers());
    let is_stranger = authorised.is_err();
    let admitted = match authorised {
        Ok(caller) => {
            let within = within_rate(&shared, &caller);
            request.extensions_mut().insert(caller);
            within
        }
        // Who looks whether the server lives is told so in any crowd.
        Err(_) if request.uri().path() == HEALTH => Ok(()),
        Err(refused) => stranger_within_rate(&shared, &request).and_then(|()| match is_for_everybody(&request) {
            true => Ok(()),
            false => Err(refused),
        }),
    };
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        // The page asks for nothing from elsewhere, and is shown in nobody else's. It is told small pictures, and shows them.
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (RESOURCE_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_stranger {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// Lets a request through whose caller has at least the `needed` role.
pub(super) async fn let_through(needed: Role, request: Request, next: Next) -> Response {
    let allowed = match request.extensions().get::<Caller>() {
        Some(caller) => may(caller, needed),
        None => Err(unauthorised()),
    };
    match allowed {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Whether a role may do what another one is needed for.
fn may(caller: &Caller, needed: Role) -> Result<(), Refusal> {
    match caller.role >= needed {
        true => Ok(()),
        false => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            format!(
                "this needs the role {}, and the token that was shown has the role {}",
                needed.name(),
                caller.role.name()
            ),
        )),
    }
}

/// What is answered without a token: it says nothing of the run.
fn is_for_everybody(request: &Request) -> bool {
    let path = request.uri().path();
    page::is_of_page(path) || (path == session::PATH && request.method() == Method::POST)
}

fn within_rate(shared: &SharedState, caller: &Caller) -> Result<(), Refusal> {
    let most = shared.limits.requests_per_second_max;
    let taken = shared.rates[caller.number].take(Instant::now());
    taken.map_err(|wait| too_many(wait, format!("more than {most} requests a second")))
}

fn stranger_within_rate(shared: &SharedState, request: &Request) -> Result<(), Refusal> {
    let address = request.extensions().get::<Peer>().map(|Peer(peer)| peer.ip());
    let most = shared.limits.stranger_requests_per_second_max;
    let taken = shared.strangers.take(address.map(network), Instant::now());
    taken.map_err(|wait| {
        too_many(
            wait,
            format!("more than {most} requests a second without a token that is known"),
        )
    })
}

/// Whoever has one IPv6 address has those that begin alike, too.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

fn too_many(wait: Duration, error: String) -> Refusal {
    Refusal {
        retry_after: Some(wait),
        ..Refusal::new(StatusCode::TOO_MANY_REQUESTS, error)
    }
}

fn authorise(tokens: Option<&Tokens>, headers: &HeaderMap) -> Result<Caller, Refusal> {
    match tokens {
        Some(tokens) => {
            if let Some(caller) = bearer(headers).and_then(|offered| tokens.caller(offered)) {
                return Ok(caller.clone());
            }
            let of_session = session::cookies(headers).find_map(|offered| tokens.caller_of_session(offered));
            let caller = of_session.ok_or_else(unauthorised)?;
            // A browser sends its cookie along with whatever a page makes it ask for.
            match is_of_another_page(headers) {
                true => Err(Refusal::new(
                    StatusCode::FORBIDDEN,
                    "this server answers its own page only".to_owned(),
                )),
                false => Ok(caller.clone()),
            }
        }
        // Without a token, a page in this machine's browser must not be able to post or read: neither as itself nor under a
        // name that it lets point here.
        None if is_of_a_foreign_page(headers) => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "this server has no token and answers local programs only, no pages of other hosts".to_owned(),
        )),
        None => Ok(Caller::local()),
    }
}

fn unauthorised() -> Refusal {
    Refusal::new(
        StatusCode::UNAUTHORIZED,
        "this server asks for a token that it knows: `Authorization: Bearer …`".to_owned(),
    )
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

fn is_of_a_foreign_page(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    !host.is_none_or(is_local) || is_of_another_page(headers)
}

/// Whether a browser says that a page of another host asks. A proxy in front may speak TLS. Of a picture that such a page shows it
/// says no origin, but that it is for another site; whoever follows a link there opens the page itself.
fn is_of_another_page(headers: &HeaderMap) -> bool {
    let says = |name: &str, words: &[&str]| {
        let said = headers.get(name).and_then(|said| said.to_str().ok());
        said.is_some_and(|said| words.contains(&said))
    };
    if says("sec-fetch-site", &["cross-site", "same-site"]) && !says("sec-fetch-dest", &["document"]) {
        return true;
    }
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let origin = origin.to_str().unwrap_or_default();
    let own = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    own != Some(host)
}

/// Whether the `Host` of a request is this machine by a name that nobody else can have.
fn is_local(host: &str) -> bool {
    let without_port = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = without_port.map_or(host, |(name, _)| name);
    let ip = name.trim_start_matches('[').trim_end_matches(']').parse();
    name.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip: std::net::IpAddr| ip.to_canonical().is_loopback())
}

/// So many a second for each token, by its number, or for all local programs.
pub(super) fn rates_of_callers(tokens: Option<&Tokens>, per_second: u32) -> Vec<Rate> {
    let callers = tokens.map_or(1, Tokens::count);
    (0..callers).map(|_| Rate::new(per_second, Instant::now())).collect()
}

/// Addresses that strangers' requests are counted of.
const STRANGERS_MAX: usize = 4096;

/// So many requests a second of each address that shows no token.
pub(super) struct Strangers {
    per_second: u32,
    rates: Mutex<BTreeMap<Option<IpAddr>, Rate>>,
}

impl Strangers {
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            per_second,
            rates: Mutex::default(),
        }
    }

    /// Takes one, or says how long until there is one. Where more addresses ask than are counted, further ones wait.
    fn take(&self, of: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        if !rates.contains_key(&of) && rates.len() >= STRANGERS_MAX {
            rates.retain(|_, rate| !rate.is_whole(now));
            if rates.len() >= STRANGERS_MAX {
                return Err(Duration::from_secs(1));
            }
        }
        let rate = rates.entry(of).or_insert_with(|| Rate::new(self.per_second, now));
        rate.take(now)
    }
}

/// Lets so many through a second, and that many at once.
pub(super) struct Rate {
    per_second: f64,
    left: Mutex<(f64, Instant)>,
}

impl Rate {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self {
            per_second,
            left: Mutex::new((per_second, now)),
        }
    }

    /// What is there now.
    fn there(&self, (before, since): (f64, Instant), now: Instant) -> f64 {
        let gained = now.saturating_duration_since(since).as_secs_f64() * self.per_second;
        (before + gained).min(self.per_second)
    }

    /// Whether nobody took any for a second.
    fn is_whole(&self, now: Instant) -> bool {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        self.there(*left, now) >= self.per_second
    }

    /// Takes one, or says how long until there is one.
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let there = self.there(*left, now);
        if there < 1.0 {
            *left = (there, now);
            return Err(Duration::from_secs_f64((1.0 - there) / self.per_second));
        }
        *left = (there - 1.0, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_requests_and_no_more() {
        let start = Instant::now();
        let rate = Rate::new(10, start);
        let taken_at = |millis: u64| {
            (0..100)
                .filter(|_| rate.take(start + Duration::from_millis(millis)).is_ok())
                .count()
        };
        assert_eq!(taken_at(0), 10);
        assert_eq!(taken_at(50), 0);
        assert_eq!(
            rate.take(start + Duration::from_millis(50)),
            Err(Duration::from_millis(50))
        );
        assert_eq!(taken_at(500), 5);
        assert_eq!(taken_at(3_600_000), 10, "what was not taken is not kept");
    }

    #[test]
    fn strangers_wait_for_themselves_and_not_for_each_other() {
        let start = Instant::now();
        let strangers = Strangers::new(2);
        let of = |number: u32| Some(IpAddr::from(std::net::Ipv4Addr::from_bits(number)));
        let taken =
            |number: u32, seconds: u64| strangers.take(of(number), start + Duration::from_secs(seconds)).is_ok();
        assert_eq!(
            [taken(0, 0), taken(0, 0), taken(0, 0), taken(1, 0)],
            [true, true, false, true]
        );
        for number in 2..STRANGERS_MAX as u32 {
            assert!(taken(number, 0));
        }
        assert!(!taken(1 << 20, 0), "they are as many as are counted");
        assert!(taken(1, 0));
        assert!(taken(1 << 20, 5), "those who stopped are forgotten");
        assert_eq!(strangers.rates.lock().unwrap().len(), 1);
        let [near, far] = ["2001:db8::1", "2001:db8:0:1::1"].map(|typed| network(typed.parse().unwrap()));
        assert_eq!(near, network("2001:db8::2".parse().unwrap()));
        assert_ne!(near, far);
    }

    fn headers(pairs: &[(axum::http::HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_token_has_to_be_shown() {
        use super::super::tokens::tests::{SECRET, token};
        for (value, fine) in [
            (format!("Bearer {SECRET}"), true),
            (format!("bearer {SECRET}"), true),
            (format!("Basic {SECRET}"), false),
            (format!("Bearer {SECRET}x"), false),
            ("Bearer ".to_owned(), false),
            (SECRET.to_owned(), false),
        ] {
            let shown = headers(&[(AUTHORIZATION, &value)]);
            assert_eq!(authorise(Some(&token()), &shown).is_ok(), fine, "{value}");
        }
        assert!(authorise(Some(&token()), &HeaderMap::new()).is_err());
    }

    #[test]
    fn what_other_pages_hold_is_refused_and_links_are_followed() {
        let of = |site: &'static str, dest: &'static str| {
            let names = ["sec-fetch-site", "sec-fetch-dest"].map(HeaderName::from_static);
            let shown = headers(&[
                (names[0].clone(), site),
                (names[1].clone(), dest),
                (HOST, "127.0.0.1:8080"),
            ]);
            authorise(None, &shown).is_ok()
        };
        for site in ["cross-site", "same-site"] {
            for dest in ["image", "script", "iframe", "empty"] {
                assert!(!of(site, dest), "{site} {dest}");
            }
            assert!(of(site, "document"), "{site}");
        }
        assert!(of("same-origin", "image") && of("none", "document"));
    }

    #[test]
    fn pages_of_other_hosts_are_refused_where_there_is_no_token() {
        for (host, origin, fine) in [
            ("127.0.0.1:8080", None, true),
            ("localhost:8080", None, true),
            ("[::1]:8080", None, true),
            ("[::1]", None, true),
            ("127.0.0.1:8080", Some("http://127.0.0.1:8080"), true),
            ("127.0.0.1:8080", Some("https://example.org"), false),
            ("127.0.0.1:8080", Some("null"), false),
            ("rebound.example.org:8080", None, false),
            (
                "rebound.example.org:8080",
                Some("http://rebound.example.org:8080"),
                false,
            ),
        ] {
            let pairs: Vec<_> = [(HOST, host)]
                .into_iter()
                .chain(origin.map(|origin| (ORIGIN, origin)))
                .collect();
            assert_eq!(authorise(None, &headers(&pairs)).is_ok(), fine, "{host} {origin:?}");
        }
    }
}
