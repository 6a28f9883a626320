//! The control channel over loopback sockets, with a scripted controller at the far end.

use super::auth::{Scopes, Secret, Signed, Source, Token};
use super::control::{Accepted, CALLS, Call, Control};
use super::*;
use crate::curtail::signal::{Refusal, Scope};
use crate::curtail::view::{
    Liveness, OrderState, OrderStatus, Preview, ReservationState, ReservationStatus, SourceStatus,
    View,
};
use crate::curtail::{Wall, Watts};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CORPUS: &str = include_str!("../../tests/data/orders.txt");
const CAP: &str = r#"{"source":"ems","audience":"north","epoch":1,"seq":12,"issued_at":"2026-11-22T07:00:00Z","expires_at":"2026-11-22T08:00:00Z","class":1,"kind":"cap","watts":4200000,"scope":"mining"}"#;
const BEAT: &str =
    r#"{"source":"ems","audience":"north","epoch":1,"seq":12,"issued_at":"2026-11-22T07:00:00Z"}"#;
const DESK: &str = "Authorization: Bearer desk-secret\r\n";
const ROOT: &str = "Authorization: Bearer root-secret\r\n";
const EYES: &str = "Authorization: Bearer eyes-secret\r\n";
const PLC: &str = "Authorization: Bearer plc-secret\r\n";

#[tokio::test]
async fn an_order_is_handed_over_as_it_came_and_answered_with_its_state_and_plan() {
    let site = Lab::start(takes).await;
    let answer = site.post("/api/v1/orders", DESK, CAP).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("location"), "/api/v1/orders/o-1");
    assert_eq!(answer.json["id"], "o-1");
    assert_eq!(answer.json["state"], "accepted");
    assert_eq!(answer.json["scope"], "feeder:A1");
    assert_eq!(answer.json["accepted_at"], "2026-11-22T07:00:00Z");
    assert_eq!(answer.json["plan"]["off"], 661);
    assert!(answer.json.get("proven_at").is_none());
    let calls = site.calls();
    let [
        Seen::Signal {
            raw,
            who,
            source,
            dry_run,
            ..
        },
    ] = calls.as_slice()
    else {
        panic!("{calls:?}");
    };
    assert_eq!(raw, CAP.as_bytes());
    assert_eq!(
        (who.as_str(), source.as_str(), *dry_run),
        ("desk", "ems", false)
    );
    assert_eq!(site.counted(), [("ems", "accepted", 1)]);
}

#[tokio::test]
async fn a_repetition_is_200_a_dry_run_is_a_preview_and_each_is_counted_as_that() {
    let site = Lab::start(|seen| match seen {
        Seen::Signal { dry_run: true, .. } => Ok(Accepted::Preview(plan())),
        _ => Ok(Accepted::Order {
            status: Box::new(order("o-1")),
            plan: None,
            repeated: true,
        }),
    })
    .await;
    let again = site.post("/api/v1/orders", DESK, CAP).await;
    assert_eq!((again.status, &again.json["id"]), (200, &"o-1".into()));
    let dry = site.post("/api/v1/orders?dry_run=true", DESK, CAP).await;
    assert_eq!((dry.status, &dry.json["plan"]["off"]), (200, &661.into()));
    let unclear = site.post("/api/v1/orders?dryrun=true", DESK, CAP).await;
    assert_eq!(unclear.status, 400);
    assert_eq!(site.calls().len(), 2);
    let counted = [
        ("ems", "repeated", 1),
        ("ems", "dry_run", 1),
        ("unknown", "malformed", 1),
    ];
    assert_eq!(site.counted(), counted);
}

#[tokio::test]
async fn of_the_corpus_the_controller_sees_what_is_an_order_and_each_refusal_has_its_reason_and_count()
 {
    let site = Lab::start(takes).await;
    let lines = CORPUS.lines().filter(|line| !line.starts_with('#'));
    let mut fine = 0;
    let mut refused = std::collections::BTreeMap::new();
    for line in lines {
        let mut parts = line.splitn(3, '\t');
        let mut part = || parts.next().expect("three columns");
        let (reason, shows, body) = (part(), part(), part());
        let path = match body.contains(r#""reserve""#) {
            true => "/api/v1/reservations",
            false => "/api/v1/orders",
        };
        let answer = site.post(path, DESK, body).await;
        if reason == "ok" {
            assert_eq!(answer.status, 202, "{shows}: {}", answer.json);
            fine += 1;
            continue;
        }
        assert!((400..500).contains(&answer.status), "{shows}");
        let kind = format!("urn:sluice:problem:{reason}");
        assert_eq!(answer.json["type"], kind.as_str(), "{shows}");
        assert_eq!(answer.json["reason"], reason, "{shows}");
        *refused.entry(reason).or_insert(0_u64) += 1;
    }
    assert!(fine > 10 && refused.len() >= 8, "{fine} {refused:?}");
    assert_eq!(site.calls().len(), fine);
    for (source, outcome, n) in site.counted() {
        match outcome {
            "accepted" => assert_eq!((source, n), ("ems", fine as u64)),
            _ => assert_eq!(
                (source, Some(&n)),
                ("unknown", refused.get(outcome)),
                "{outcome}"
            ),
        }
    }
}

#[tokio::test]
async fn the_longest_body_is_read_and_a_longer_one_is_not_however_long_it_says_it_is() {
    let site = Lab::start(takes).await;
    let longest = format!("{CAP:4096}");
    assert_eq!(
        site.post("/api/v1/orders", DESK, &longest).await.status,
        202
    );
    let longer = format!("{CAP:4097}");
    let answer = site.post("/api/v1/orders", DESK, &longer).await;
    assert_eq!(
        (answer.status, &answer.json["reason"]),
        (413, &"oversized".into())
    );
    // Chunked: nothing says how long it will be.
    let chunk = format!("1001\r\n{:4097}\r\n0\r\n\r\n", "{");
    let headers = format!("{DESK}Transfer-Encoding: chunked\r\n");
    let answer = site.raw("POST", "/api/v1/orders", &headers, &chunk).await;
    assert_eq!(answer.status, 413);
    assert_eq!(site.calls().len(), 1);
}

#[tokio::test]
async fn forged_orders_are_refused_and_reach_nobody() {
    let site = Lab::start(takes).await;
    let sign = |key: &str, path: &str, body: &str| {
        let body = body.as_bytes();
        let tag = auth::sign(
            &Secret::new(key),
            Signed {
                method: "POST",
                path,
                body,
            },
        );
        format!("Sluice-Key: ems\r\nSluice-Signature: {tag}\r\n")
    };
    let at = "/api/v1/orders";
    let as_gpu = CAP.replace("\"ems\"", "\"gpu\"");
    for (status, shows, path, headers, body) in [
        (401, "nobody", at, String::new(), CAP),
        (
            401,
            "a wrong token",
            at,
            DESK.replace("desk-", "desc-"),
            CAP,
        ),
        (401, "two tokens", at, format!("{DESK}{ROOT}"), CAP),
        (401, "a wrong key", at, sign("other", at, CAP), CAP),
        (401, "another body", at, sign("ems-key", at, BEAT), CAP),
        (
            401,
            "another path",
            at,
            sign("ems-key", "/api/v1/estop", CAP),
            CAP,
        ),
        (
            401,
            "a dry run made real",
            at,
            sign("ems-key", "/api/v1/orders?dry_run=true", CAP),
            CAP,
        ),
        (
            401,
            "a name without signature",
            at,
            "Sluice-Key: ems\r\n".into(),
            CAP,
        ),
        (
            403,
            "a signer in another's name",
            at,
            sign("ems-key", at, &as_gpu),
            &as_gpu,
        ),
        (403, "a bound token in another's name", at, PLC.into(), CAP),
        (403, "who may only read", at, EYES.into(), CAP),
        (
            403,
            "a stop by who is no admin",
            "/api/v1/estop",
            DESK.into(),
            BEAT,
        ),
    ] {
        let answer = site.post(path, &headers, body).await;
        assert_eq!(answer.status, status, "{shows}");
        assert_eq!(
            answer.header("www-authenticate") == "Bearer",
            status == 401,
            "{shows}"
        );
    }
    assert!(site.calls().is_empty());
    let mut counted = site.counted();
    counted.sort();
    let expected = [
        ("ems", "forbidden", 2),
        ("plc", "forbidden", 1),
        ("unknown", "forbidden", 1),
        ("unknown", "unauthenticated", 8),
    ];
    assert_eq!(counted, expected);
    let signed = site.post(at, &sign("ems-key", at, CAP), CAP).await;
    assert_eq!(signed.status, 202);
}

#[tokio::test]
async fn every_refusal_of_the_controller_is_its_own_problem_and_counter() {
    for refusal in Refusal::ALL {
        let site = Lab::start(move |_| Err(refusal)).await;
        let answer = site.post("/api/v1/orders", DESK, CAP).await;
        let label = refusal.label();
        assert_eq!(answer.json["reason"], label);
        assert_eq!(answer.json["status"], answer.status);
        assert!((400..504).contains(&answer.status), "{label}");
        assert_eq!(
            answer.header("retry-after").is_empty(),
            answer.status != 503,
            "{label}"
        );
        assert_eq!(site.counted(), [("ems", label, 1)]);
    }
}

#[tokio::test]
async fn a_full_queue_is_503_and_an_answer_that_never_comes_is_504_and_says_what_is_not_known() {
    let site = Lab::start_with(None::<fn(&Seen) -> Verdict>, [127, 0, 0, 1]).await;
    for _ in 0..CALLS {
        let (reply, _) = tokio::sync::oneshot::channel();
        let id = String::new();
        let who = site.principal();
        let call = Call::Release {
            id,
            who,
            dry_run: true,
            reply,
        };
        site.control.calls.try_send(call).expect("there is room");
    }
    let busy = site.post("/api/v1/orders", DESK, CAP).await;
    assert_eq!((busy.status, &busy.json["reason"]), (503, &"busy".into()));
    assert_eq!(busy.header("retry-after"), "1");
    // A controller that drops the way back.
    let silent = Lab::start_silent().await;
    let late = silent.post("/api/v1/orders", DESK, CAP).await;
    assert_eq!(late.status, 504);
    let detail = late.json["detail"].as_str().expect("words");
    assert!(detail.contains("not known"), "{detail}");
    assert_eq!(silent.counted(), [("ems", "late", 1)]);
}

#[tokio::test]
async fn an_emergency_stop_is_an_order_of_class_0_that_an_admin_sends() {
    let site = Lab::start(takes).await;
    assert_eq!(site.post("/api/v1/estop", ROOT, BEAT).await.status, 202);
    let calls = site.calls();
    let [
        Seen::Signal {
            estop: true, raw, ..
        },
    ] = calls.as_slice()
    else {
        panic!("{calls:?}");
    };
    assert_eq!(raw, BEAT.as_bytes());
    // The long way, without the scope.
    let long = CAP
        .replace("\"class\":1", "\"class\":0")
        .replace("4200000", "0")
        .replace("2026-11-22T08:00:00Z", "2199-12-31T23:59:59.999Z");
    assert_eq!(site.post("/api/v1/orders", DESK, &long).await.status, 403);
    assert_eq!(site.post("/api/v1/orders", ROOT, &long).await.status, 202);
}

#[tokio::test]
async fn heartbeats_releases_and_renewals_find_their_way() {
    let site = Lab::start(|seen| match seen {
        Seen::Heartbeat(_) => Ok(Accepted::Done),
        Seen::Release(id, _) if id.starts_with("o-") => takes(seen),
        _ => Ok(Accepted::Reservation {
            status: Box::new(reservation("r-7")),
            plan: None,
            repeated: false,
        }),
    })
    .await;
    assert_eq!(
        site.post("/api/v1/heartbeats", DESK, BEAT).await.status,
        204
    );
    let ended = site.raw("DELETE", "/api/v1/orders/o-1", DESK, "").await;
    assert_eq!((ended.status, &ended.json["id"]), (200, &"o-1".into()));
    let back = site
        .raw("DELETE", "/api/v1/reservations/r-7?dry_run=true", DESK, "")
        .await;
    assert_eq!((back.status, &back.json["id"]), (200, &"r-7".into()));
    let renewal = r#"{"expires_at":"2026-11-22T09:00:00Z"}"#;
    let renewed = site
        .post("/api/v1/reservations/r-7/renew", DESK, renewal)
        .await;
    assert_eq!(renewed.status, 202);
    let calls = site.calls();
    let expected = [
        Seen::Heartbeat("ems".into()),
        Seen::Release("o-1".into(), false),
        Seen::Release("r-7".into(), true),
        Seen::Renew("r-7".into(), Wall(1_795_338_000_000)),
    ];
    assert_eq!(calls, expected);
    // Names that none can have end here.
    for path in [
        "orders/r-7",
        "orders/o-",
        "orders/o-1x",
        "reservations/o-1",
        "orders/..%2Fx",
        "orders/o-01",
        "reservations/r-07",
    ] {
        let answer = site
            .raw("DELETE", &format!("/api/v1/{path}"), DESK, "")
            .await;
        assert_eq!(
            (answer.status, &answer.json["reason"]),
            (404, &"unknown_order".into()),
            "{path}"
        );
    }
    let wrong = site
        .post("/api/v1/reservations/r-7/renew", DESK, "{}")
        .await;
    assert_eq!(
        (wrong.status, &wrong.json["reason"]),
        (400, &"malformed".into())
    );
    let reserve = CAP.replace("cap", "reserve");
    let astray = site.post("/api/v1/orders", DESK, &reserve).await;
    assert_eq!(astray.json["reason"], "unsupported");
    assert_eq!(
        site.post("/api/v1/reservations", DESK, CAP).await.json["reason"],
        "unsupported"
    );
    assert_eq!(site.calls().len(), 4);
}

#[tokio::test]
async fn a_heartbeat_for_another_site_is_no_sign_of_life_here() {
    let site = Lab::start(|_| Ok(Accepted::Done)).await;
    let astray = BEAT.replace("north", "south");
    let answer = site.post("/api/v1/heartbeats", DESK, &astray).await;
    let refused = (answer.status, &answer.json["reason"]);
    assert_eq!(refused, (422, &"wrong_audience".into()));
    assert_eq!(site.calls(), []);
    assert_eq!(site.counted(), [("ems", "wrong_audience", 1)]);
}

#[tokio::test]
async fn a_dry_release_is_refused_as_the_release_would_be() {
    let site = Lab::start(|_| Ok(Accepted::Done)).await;
    for (path, who, status) in [
        ("orders/o-1", DESK, 204),
        ("orders/o-1", PLC, 404),
        ("orders/o-2", DESK, 404),
        ("reservations/r-7", ROOT, 204),
        ("reservations/r-7", PLC, 404),
        ("reservations/r-8", DESK, 404),
    ] {
        let path = format!("/api/v1/{path}?dry_run=true");
        let answer = site.raw("DELETE", &path, who, "").await;
        assert_eq!(answer.status, status, "{path}");
    }
}

#[tokio::test]
async fn what_stands_is_read_on_loopback_by_all_and_elsewhere_with_the_scope() {
    let paths = [
        "/api/v1/orders",
        "/api/v1/orders/o-1",
        "/api/v1/reservations",
        "/api/v1/reservations/r-7",
        "/api/v1/power",
    ];
    let near = Lab::start(takes).await;
    let far = Lab::start_with(Some(takes), [10, 0, 0, 1]).await;
    for path in paths {
        assert_eq!(near.raw("GET", path, "", "").await.status, 200, "{path}");
        assert_eq!(far.raw("GET", path, "", "").await.status, 401, "{path}");
        assert_eq!(far.raw("GET", path, PLC, "").await.status, 403, "{path}");
        assert_eq!(far.raw("GET", path, EYES, "").await.status, 200, "{path}");
    }
    let power = near.raw("GET", "/api/v1/power", "", "").await.json;
    assert_eq!(power["site"], "north");
    assert_eq!(power["mining_watts"], 6_210_000);
    assert_eq!(power["machines"]["running"], 1_842);
    assert_eq!(power["sources"][0]["state"], "hold");
    assert_eq!(power["orders"][0]["expires_at"], "2026-11-22T08:00:00Z");
    assert!(power.get("meter_watts").is_none());
    let read: power::Power = serde_json::from_value(power).expect("what was written");
    assert_eq!(read.view, View::clone(&near.control.view()));
    let missing = near.raw("GET", "/api/v1/orders/o-2", "", "").await;
    assert_eq!(
        (missing.status, &missing.json["reason"]),
        (404, &"unknown_order".into())
    );
}

#[tokio::test]
async fn without_a_site_there_is_nothing_and_without_credentials_nothing_changes() {
    let bare = Lab::serve(None, [127, 0, 0, 1]).await;
    for (method, path) in [
        ("GET", "/api/v1/orders"),
        ("GET", "/api/v1/power"),
        ("POST", "/api/v1/orders"),
        ("POST", "/api/v1/estop"),
        ("DELETE", "/api/v1/reservations/r-1"),
    ] {
        let answer = fetch(bare, method, path, "", "").await;
        assert_eq!(
            (answer.status, &answer.json["title"]),
            (404, &"No site is configured".into())
        );
    }
    let (control, mut calls, _view) = Control::new("north");
    let open = auth::Config::default();
    let site = Some(Site::new(control, open));
    let open = Lab::serve(site, [127, 0, 0, 1]).await;
    let answer = fetch(open, "POST", "/api/v1/orders", DESK, CAP).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.json["title"], "No credentials are configured");
    assert_eq!(
        fetch(open, "GET", "/api/v1/power", "", "").await.status,
        200
    );
    assert!(calls.try_recv().is_err());
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_told_which_it_has() {
    let site = Lab::start(takes).await;
    for (method, path, allow) in [
        ("PUT", "/api/v1/orders", "GET,HEAD,POST"),
        ("OPTIONS", "/api/v1/orders", "GET,HEAD,POST"),
        ("GET", "/api/v1/estop", "POST"),
        ("POST", "/api/v1/orders/o-1", "GET,HEAD,DELETE"),
        ("POST", "/api/v1/power", "GET, HEAD"),
    ] {
        let answer = site.raw(method, path, ROOT, "").await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, allow),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn the_metrics_tell_of_power_machines_and_orders() {
    let site = Lab::start(takes).await;
    site.post("/api/v1/orders", DESK, CAP).await;
    site.post("/api/v1/orders", "", CAP).await;
    let text = site.raw("GET", "/metrics", "", "").await.body;
    for line in [
        r#"sluice_power_watts{source="mining"} 6210000.0"#,
        r#"sluice_power_watts{source="committed"} 6250000.0"#,
        r#"sluice_machines{state="running"} 1842.0"#,
        r#"sluice_machines{state="offline"} 0.0"#,
        r#"sluice_signal_age_seconds{source="ems"} 16.5"#,
        r#"sluice_curtailment_orders_total{source="ems",outcome="accepted"} 1"#,
        r#"sluice_curtailment_orders_total{source="unknown",outcome="unauthenticated"} 1"#,
        r#"sluice_curtailment_orders_total{source="gpu",outcome="stale_sequence"} 0"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(
        !text.contains(r#"source="meter""#),
        "what is not measured is not zero"
    );
    assert!(
        !text.contains("sluice_power_limit_watts "),
        "what is not bounded is not zero"
    );
}

type Verdict = Result<Accepted, Refusal>;

/// What the controller was asked.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Signal {
        raw: Vec<u8>,
        who: String,
        source: String,
        dry_run: bool,
        estop: bool,
    },
    Release(String, bool),
    Renew(String, Wall),
    Heartbeat(String),
}

/// A served API and the far end of its port.
struct Lab {
    address: SocketAddr,
    control: Control,
    site: Site,
    seen: Arc<Mutex<Vec<Seen>>>,
    _view: tokio::sync::watch::Sender<Arc<View>>,
    _calls: Option<tokio::sync::mpsc::Receiver<Call>>,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
    json: Value,
}

impl Answer {
    /// Empty if it is not there.
    fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map_or("", |(_, value)| value)
    }
}

impl Lab {
    async fn start(script: impl Fn(&Seen) -> Verdict + Send + 'static) -> Self {
        Self::start_with(Some(script), [127, 0, 0, 1]).await
    }

    /// A controller that takes calls and drops the way back.
    async fn start_silent() -> Self {
        let mut lab = Self::start_with(None::<fn(&Seen) -> Verdict>, [127, 0, 0, 1]).await;
        let mut calls = lab._calls.take().expect("nobody reads them yet");
        tokio::spawn(async move { while calls.recv().await.is_some() {} });
        lab
    }

    async fn start_with(
        script: Option<impl Fn(&Seen) -> Verdict + Send + 'static>,
        bound: [u8; 4],
    ) -> Self {
        let (control, mut calls, view) = Control::new("north");
        view.send_replace(Arc::new(standing()));
        let site = Site::new(control.clone(), credentials());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut unread = None;
        match script {
            None => unread = Some(calls),
            Some(script) => {
                let seen = seen.clone();
                tokio::spawn(async move {
                    while let Some(call) = calls.recv().await {
                        let (call, reply) = look(call);
                        let _ = reply.send(script(&call));
                        seen.lock().expect("no panic holds it").push(call);
                    }
                });
            }
        }
        Self {
            address: Self::serve(Some(site.clone()), bound).await,
            control,
            site,
            seen,
            _view: view,
            _calls: unread,
        }
    }

    async fn serve(site: Option<Site>, bound: [u8; 4]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let api = Api {
            board: Arc::new(crate::telemetry::board::tests::board(Instant::now())),
            worker_metrics: false,
            bound: bound.into(),
            site,
        };
        tokio::spawn(axum::serve(listener, router(api)).into_future());
        address
    }

    async fn post(&self, path: &str, headers: &str, body: &str) -> Answer {
        fetch(self.address, "POST", path, headers, body).await
    }

    async fn raw(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        fetch(self.address, method, path, headers, body).await
    }

    fn calls(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic holds it").clone()
    }

    fn counted(&self) -> Vec<(&str, &'static str, u64)> {
        let all = self.site.counts.read();
        all.filter(|(_, _, n)| *n > 0).collect()
    }

    fn principal(&self) -> auth::Principal {
        auth::Principal {
            name: "test".into(),
            source: None,
            scopes: Scopes::default(),
        }
    }
}

async fn fetch(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let length = match headers.contains("chunked") {
        true => String::new(),
        false => format!("Content-Length: {}\r\n", body.len()),
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}{headers}\r\n{body}"
    );
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Answer {
        status: status.expect("a status"),
        head: head.to_owned(),
        body: body.to_owned(),
        json: serde_json::from_str(body).unwrap_or(Value::Null),
    }
}

fn look(call: Call) -> (Seen, control::Reply) {
    match call {
        Call::Signal {
            envelope,
            raw,
            who,
            dry_run,
            reply,
        } => {
            let seen = Seen::Signal {
                raw,
                who: who.name,
                source: envelope.source.clone(),
                dry_run,
                estop: envelope.is_estop(),
            };
            (seen, reply)
        }
        Call::Release {
            id, dry_run, reply, ..
        } => (Seen::Release(id, dry_run), reply),
        Call::Renew {
            id,
            expires_at,
            reply,
            ..
        } => (Seen::Renew(id, expires_at), reply),
        Call::Heartbeat {
            heartbeat, reply, ..
        } => (Seen::Heartbeat(heartbeat.source), reply),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is a script")]
fn takes(_: &Seen) -> Verdict {
    Ok(Accepted::Order {
        status: Box::new(order("o-1")),
        plan: Some(plan()),
        repeated: false,
    })
}

fn plan() -> Preview {
    Preview {
        off: 661,
        ..Preview::default()
    }
}

fn credentials() -> auth::Config {
    let token = |name: &str, scopes: Scopes, source: Option<&str>| Token {
        name: name.into(),
        secret: Secret::new(format!("{name}-secret")),
        scopes,
        source: source.map(str::to_owned),
    };
    let may = |read, curtail, admin| Scopes {
        read,
        curtail,
        admin,
    };
    auth::Config {
        tokens: vec![
            token("desk", may(true, true, false), None),
            token("root", may(false, false, true), None),
            token("eyes", may(true, false, false), None),
            token("plc", may(false, true, false), Some("plc")),
        ],
        sources: [
            ("ems", Some("ems-key")),
            ("gpu", Some("gpu-key")),
            ("plc", None),
        ]
        .map(|(name, key)| Source {
            name: name.into(),
            key: key.map(Secret::new),
        })
        .into(),
    }
}

fn standing() -> View {
    let mut view = View {
        mining_watts: Watts(6_210_000),
        committed_watts: Watts(6_250_000),
        orders: vec![order("o-1")],
        reservations: vec![reservation("r-7")],
        sources: vec![SourceStatus {
            name: "ems".into(),
            state: Liveness::Hold,
            age_s: Some(16.5),
        }],
        ..View::default()
    };
    view.machines.running = 1_842;
    view
}

fn order(id: &str) -> OrderStatus {
    OrderStatus {
        id: id.into(),
        source: "ems".into(),
        epoch: 1,
        seq: 12,
        class: 1,
        kind: "cap".into(),
        watts: Watts(4_200_000),
        scope: Scope::Feeder("A1".into()),
        state: OrderState::Accepted,
        accepted_at: Wall(1_795_330_800_000),
        deadline_at: Wall(1_795_330_815_000),
        proven_at: None,
        ends_at: None,
        expires_at: Wall(1_795_334_400_000),
        limit_watts: Watts(4_200_000),
        excess_watts: None,
        achievable_watts: None,
        eta_s: Some(8),
        text: "taken".into(),
    }
}

fn reservation(id: &str) -> ReservationStatus {
    ReservationStatus {
        id: id.into(),
        source: "gpu".into(),
        watts: Watts(800_000),
        state: ReservationState::Pending,
        granted_watts: Watts::ZERO,
        achievable_watts: None,
        eta_s: Some(20),
        starts_at: Wall(1_795_330_800_000),
        granted_at: None,
        ends_at: None,
        expires_at: Wall(1_795_334_400_000),
        text: "mining gives way".into(),
    }
}
