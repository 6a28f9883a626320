//! A site that stands: who may what, and what is in force there.

use crate::api::auth::{self, Scopes, Secret, Source, Token};
use crate::curtail::signal::Scope;
use crate::curtail::view::{
    Liveness, OrderState, OrderStatus, Preview, ReservationState, ReservationStatus, SourceStatus,
    View,
};
use crate::curtail::{Wall, Watts};

pub(super) fn plan() -> Preview {
    Preview {
        off: 661,
        ..Preview::default()
    }
}

pub(super) fn credentials() -> auth::Config {
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

pub(super) fn standing() -> View {
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

pub(super) fn order(id: &str) -> OrderStatus {
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

pub(super) fn reservation(id: &str) -> ReservationStatus {
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
