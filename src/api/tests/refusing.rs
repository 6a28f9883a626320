//! What is refused, to whom, and how it is told and counted.

use super::*;
use crate::api::auth::{Secret, Signed};
use crate::api::control::CALLS;

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
        if shows == "a bound token in another's name" {
            let detail = answer.json["detail"].to_string();
            assert!(detail.contains("add --source plc"), "{detail}");
        }
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
