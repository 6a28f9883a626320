//! What is sent reaches the controller as it came, and is answered with what it said.

use super::*;

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
