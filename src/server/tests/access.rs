//! Who may ask for what.

use super::super::tokens::Role;
use super::super::tokens::tests::{SECRET, secret, token, tokens};
use super::{FRAMES, Going, LIMITS, Limits, Reply, ask, exchange, image, post};

#[test]
fn everything_but_health_asks_for_the_token() {
    let run = Going::start(LIMITS, Some(token()), false);
    for path in ["/metrics", "/ready", "/api/v1/status", "/nothing", FRAMES] {
        let refused = run.get(path);
        assert_eq!(refused.status, 401, "{path}: {refused:?}");
        assert!(refused.head.contains("www-authenticate: bearer"), "{refused:?}");
    }
    assert_eq!(post(run.address, FRAMES, &image()).status, 401);
    assert_eq!(run.get("/health").status, 200);
    let stays = |path: &str, token: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
        !exchange(run.address, &request, &[]).head.contains("connection: close")
    };
    assert!(
        stays("/ready", SECRET) && !stays("/ready", "") && !stays("/health", ""),
        "strangers keep no place"
    );
    let head = |token: &str| {
        let length = image().len();
        format!(
            "POST {FRAMES} HTTP/1.1\r\nhost: line.example\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
             content-length: {length}\r\n\r\n"
        )
    };
    assert_eq!(exchange(run.address, &head("0123456789abcdeX"), &image()).status, 401);
    assert_eq!(exchange(run.address, &head(SECRET), &image()).status, 200);
    assert_eq!(run.end().cameras["dock"].judged, 1);
}

#[test]
fn the_page_takes_the_token_once_and_works_with_its_cookie() {
    let run = Going::start(LIMITS, Some(token()), false);
    for (path, kind) in [
        ("/", "text/html"),
        ("/assets/app.js", "text/javascript"),
        ("/assets/style.css", "text/css"),
    ] {
        let page = run.get(path);
        assert_eq!(page.status, 200, "{path}: {page:?}");
        assert!(page.head.contains(kind), "{page:?}");
        assert!(
            page.head.contains("content-security-policy: default-src 'self'"),
            "{page:?}"
        );
    }
    for path in ["/api/v1/events", "/api/v1/cameras/dock/picture?which=newest"] {
        assert_eq!(run.get(path).status, 401, "{path}");
    }
    let sign_in = |token: &str| {
        let body = format!("{{\"token\": \"{token}\"}}");
        let head = format!(
            "POST /api/v1/session HTTP/1.1\r\nhost: line.example\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        exchange(run.address, &head, body.as_bytes())
    };
    let refused = sign_in("0123456789abcdeF");
    assert!(
        refused.status == 401 && !refused.head.contains("set-cookie"),
        "{refused:?}"
    );
    let signed_in = sign_in(SECRET);
    assert_eq!(signed_in.status, 204);
    let cookie = signed_in
        .head
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .unwrap();
    assert!(
        cookie.contains("httponly") && cookie.contains("samesite=strict"),
        "{cookie}"
    );
    assert!(!cookie.contains(SECRET), "the token itself is not kept in a browser");
    let cookie = cookie.split(';').next().unwrap();
    let with = |more: &str| {
        let head = format!("GET /api/v1/status HTTP/1.1\r\nhost: line.example\r\nconnection: close\r\n{more}\r\n");
        exchange(run.address, &head, &[]).status
    };
    assert_eq!(with(&format!("cookie: a=b; {cookie}\r\n")), 200);
    assert_eq!(with(&format!("cookie: {cookie}0\r\n")), 401);
    assert_eq!(
        with(&format!("cookie: {cookie}\r\norigin: https://line.example\r\n")),
        200
    );
    assert_eq!(
        with(&format!("cookie: {cookie}\r\norigin: https://other.example\r\n")),
        403
    );
    run.end();
}

/// Asks with a token.
fn as_role(run: &Going, role: Role, method: &str, path: &str, body: &[u8]) -> Reply {
    let headers = format!(
        "authorization: Bearer {}\r\ncontent-type: application/json\r\n",
        secret(role)
    );
    ask(run.address, method, path, &headers, body)
}

#[test]
fn each_role_may_do_what_it_may_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let run = Going::start_in(Some(tokens()), directory.path());
    let camera = "/api/v1/cameras/dock";
    let label = br#"{"camera": "dock", "seq": 0, "truth": "normal"}"#;
    let frame = image();
    let asked: [(Role, &str, String, &[u8]); 16] = [
        (Role::Viewer, "GET", "/api/v1/cameras".to_owned(), b""),
        (Role::Viewer, "GET", "/api/v1/verdicts".to_owned(), b""),
        (Role::Viewer, "GET", "/api/v1/rates".to_owned(), b""),
        (Role::Viewer, "GET", "/api/v1/alerts".to_owned(), b""),
        (Role::Viewer, "GET", "/api/v1/detectors".to_owned(), b""),
        (Role::Viewer, "GET", "/api/v1/openapi.json".to_owned(), b""),
        (Role::Viewer, "GET", "/metrics".to_owned(), b""),
        (Role::Inspector, "POST", format!("{camera}/frames"), &frame),
        (Role::Inspector, "POST", "/api/v1/labels".to_owned(), label),
        (
            Role::Admin,
            "PUT",
            format!("{camera}/threshold"),
            br#"{"threshold": 11}"#,
        ),
        (Role::Admin, "PUT", format!("{camera}/lot"), br#"{"lot": "L7"}"#),
        (
            Role::Admin,
            "PUT",
            format!("{camera}/what-if/q"),
            br#"{"threshold": 0.4}"#,
        ),
        (Role::Admin, "DELETE", format!("{camera}/what-if/q"), b""),
        (
            Role::Admin,
            "PUT",
            format!("{camera}/detector"),
            br#"{"detector": "000000000000"}"#,
        ),
        (Role::Admin, "POST", "/api/v1/detectors".to_owned(), b"no detector"),
        (Role::Admin, "GET", "/api/v1/audit".to_owned(), b""),
    ];
    for (needed, method, path, body) in &asked {
        for role in [Role::Viewer, Role::Inspector, Role::Admin] {
            let reply = as_role(&run, role, method, path, body);
            if role >= *needed {
                assert!(
                    ![401, 403].contains(&reply.status),
                    "{role:?} {method} {path}: {reply:?}"
                );
            } else {
                assert_eq!(reply.status, 403, "{role:?} {method} {path}: {reply:?}");
                assert!(reply.head.contains("application/problem+json"), "{reply:?}");
                let said = reply.json()["detail"].as_str().unwrap().to_owned();
                assert!(said.contains(needed.name()) && said.contains(role.name()), "{said}");
            }
        }
        assert_eq!(ask(run.address, method, path, "", body).status, 401, "{method} {path}");
    }
    run.end();
}

#[test]
fn a_page_is_told_who_it_is_and_its_cookie_is_no_more_than_its_token() {
    let directory = tempfile::tempdir().unwrap();
    let run = Going::start_in(Some(tokens()), directory.path());
    let shown = as_role(&run, Role::Inspector, "GET", "/api/v1/session", b"").json();
    assert_eq!(
        shown,
        serde_json::json!({"role": "inspector", "name": "Inspector of the shift", "token": true, "live": true, "kept": true, "compares": false})
    );
    assert_eq!(run.get("/api/v1/session").status, 401);
    let body = format!("{{\"token\": \"{}\"}}", secret(Role::Viewer));
    let json = "content-type: application/json\r\n";
    let signed_in = ask(run.address, "POST", "/api/v1/session", json, body.as_bytes());
    let mut lines = signed_in.head.lines();
    let cookie = lines.find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = format!("cookie: {}\r\n{json}", cookie.split(';').next().unwrap());
    assert_eq!(
        ask(run.address, "GET", "/api/v1/session", &cookie, b"").json()["role"],
        "viewer"
    );
    assert_eq!(ask(run.address, "POST", FRAMES, &cookie, &image()).status, 403);
    run.end();
    let alone = Going::start(LIMITS, None, false);
    let local = serde_json::json!({"role": "admin", "name": "local", "token": false, "live": true, "kept": false, "compares": false});
    assert_eq!(alone.json("/api/v1/session"), local);
    alone.end();
}

#[test]
fn no_path_leads_out_of_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let beside = directory.path().join("secret.intakt");
    std::fs::write(&beside, "secret").unwrap();
    let kept = directory.path().join("run");
    std::fs::create_dir(&kept).unwrap();
    let run = Going::start_in(None, &kept);
    run.ready();
    let names = [
        "..%2f..%2fsecret",
        "..%5csecret",
        "%2e%2e%2fsecret.intakt",
        "..",
        "%2fetc%2fpasswd",
        "dock%00",
        "%00",
        "dock%2f..%2fdock",
        "d%C3%B6ck",
        "%F0%9F%A7%B5",
        "%E2%80%AEkcod",
        "dock%20",
        "DOCK",
        "%25%32%66",
        "%ff%fe",
    ];
    for name in names {
        for (method, path, body) in [
            ("GET", format!("/api/v1/cameras/{name}/picture?which=newest"), ""),
            ("POST", format!("/api/v1/cameras/{name}/frames"), "x"),
            (
                "PUT",
                format!("/api/v1/cameras/{name}/threshold"),
                r#"{"threshold": 1}"#,
            ),
            (
                "PUT",
                format!("/api/v1/cameras/{name}/detector"),
                r#"{"detector": "x"}"#,
            ),
            ("GET", format!("/api/v1/histogram?camera={name}"), ""),
            ("GET", format!("/{name}"), ""),
            ("GET", format!("/assets/{name}"), ""),
            ("GET", format!("/assets/..%2f{name}"), ""),
        ] {
            let json = "content-type: application/json\r\n";
            let refused = ask(run.address, method, &path, json, body.as_bytes());
            assert!([400, 404].contains(&refused.status), "{method} {path}: {refused:?}");
            assert!(
                refused.head.contains("application/problem+json"),
                "{method} {path}: {refused:?}"
            );
            assert!(
                !refused.body.contains(directory.path().to_str().unwrap()),
                "{refused:?}"
            );
        }
        let id = percent_decoded(name);
        let body = serde_json::json!({ "detector": id }).to_string();
        let path = "/api/v1/cameras/dock/detector";
        let refused = ask(
            run.address,
            "PUT",
            path,
            "content-type: application/json\r\n",
            body.as_bytes(),
        );
        assert_eq!(refused.status, 404, "{id:?}: {refused:?}");
        let listed = run.json(&format!("/api/v1/verdicts?camera={name}&decision=pass"));
        assert!(listed["status"] == 400 || listed["status"] == 404, "{listed}");
    }
    run.end();
    assert_eq!(std::fs::read_to_string(beside).unwrap(), "secret");
    let mut left: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["run", "secret.intakt"], "nothing was made beside the run");
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn pages_of_other_hosts_are_told_nothing() {
    let run = Going::start(LIMITS, None, false);
    let foreign = "origin: https://other.example\r\n";
    let asked = ask(run.address, "GET", "/api/v1/cameras", foreign, b"");
    assert_eq!(asked.status, 403);
    let preflight = format!("{foreign}access-control-request-method: PUT\r\n");
    for reply in [
        asked,
        ask(
            run.address,
            "OPTIONS",
            "/api/v1/cameras/dock/threshold",
            &preflight,
            b"",
        ),
    ] {
        assert!(!reply.head.contains("access-control-allow"), "{reply:?}");
        for header in [
            "content-security-policy",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
        ] {
            assert!(reply.head.contains(header), "{reply:?}");
        }
    }
    run.end();
}

#[test]
fn nobody_uses_up_the_requests_of_another_one() {
    let limits = Limits {
        requests_per_second_max: 1,
        ..LIMITS
    };
    let run = Going::start(limits, Some(tokens()), false);
    let ask_as = |role| as_role(&run, role, "GET", "/api/v1/cameras", b"").status;
    let greedy: Vec<u16> = (0..20).map(|_| ask_as(Role::Viewer)).collect();
    assert!(greedy.contains(&429), "{greedy:?}");
    assert_eq!(ask_as(Role::Inspector), 200);
    run.end();
}

#[test]
fn who_guesses_tokens_is_slowed_down() {
    let limits = Limits {
        stranger_requests_per_second_max: 1,
        ..LIMITS
    };
    let run = Going::start(limits, Some(tokens()), false);
    let guess = |number: usize| {
        let header = format!("authorization: Bearer {number:032}\r\n");
        ask(run.address, "GET", "/api/v1/status", &header, b"")
    };
    let guesses: Vec<Reply> = (0..20).map(guess).collect();
    assert!(
        guesses.iter().all(|reply| [401, 429].contains(&reply.status)),
        "{guesses:?}"
    );
    let slowed = guesses.iter().find(|reply| reply.status == 429).unwrap();
    assert!(slowed.head.contains("retry-after: "), "{slowed:?}");
    // Until a second is over, signing in waits, too; who has signed in and who looks after the server do not.
    assert_eq!(run.get("/health").status, 200);
    assert_eq!(as_role(&run, Role::Viewer, "GET", "/api/v1/status", b"").status, 200);
    run.end();
}
