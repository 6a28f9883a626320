//! What is read: orders, reservations, power, metrics.

use super::*;

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
