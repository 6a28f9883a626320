//! Power, plans and orders for people. Decides nothing. Invariant: what comes from the API is shown without control
//! characters.

use crate::api::power::Power;
use crate::cli::ask::printable;
use crate::cli::status::table;
use crate::curtail::signal::FOR_GOOD;
use crate::curtail::view::{Counts, OrderStatus, Preview, ReservationStatus};
use crate::curtail::{Wall, Watts};
use crate::telemetry::units;
use serde::Serialize;

/// `sluice curtail status`.
pub(super) fn power(power: &Power, now: Wall) -> String {
    let view = &power.view;
    let mut text = String::new();
    let mut line = |key: &str, value: String| text.push_str(&format!("{key:<10}{value}\n"));
    line("site", site(power));
    line("mining", mining(power));
    if let Some(watts) = view.meter_watts {
        line("meter", watts.to_string());
    }
    if view.gpu_watts.is_some() || view.reserved_watts > Watts::ZERO {
        let gpu = view
            .gpu_watts
            .map_or("not measured".to_owned(), |w| w.to_string());
        line("GPUs", format!("{gpu}, {} reserved", view.reserved_watts));
    }
    line("machines", machines(&view.machines));
    if let Some(held) = &view.held {
        line("held", printable(held));
    }
    for alarm in &view.alarms {
        line("ALARM", printable(alarm));
    }
    text + &orders(&view.orders, now) + &reservations(&view.reservations, now) + &sources(power)
}

fn site(power: &Power) -> String {
    let view = &power.view;
    let limit = match view.limit_watts {
        Some(limit) => format!("mining may draw {limit}"),
        None => "nothing bounds mining".to_owned(),
    };
    let by = view.bound_by.as_deref().map(printable);
    let by = by.map_or(String::new(), |by| format!(" ({by})"));
    let of = view
        .site_limit_watts
        .map_or(String::new(), |w| format!("{w}, "));
    format!("{}: {of}{limit}{by}", printable(&power.site))
}

fn mining(power: &Power) -> String {
    let view = &power.view;
    format!(
        "{} ({} not proven off or limited below, {} if all hashed)",
        view.mining_watts, view.committed_watts, view.nameplate_watts
    )
}

fn machines(counts: &Counts) -> String {
    let words = [
        (counts.running, "running"),
        (counts.pending, "told and not yet proven"),
        (counts.proven, "proven"),
        (counts.failed, "failed"),
        (counts.quarantined, "in quarantine"),
        (counts.withdrawn, "without work (unverified)"),
        (counts.offline, "offline"),
    ];
    let present = words.into_iter().filter(|(n, _)| *n > 0);
    let text: Vec<String> = present
        .map(|(n, word)| format!("{} {word}", units::count(n as u64)))
        .collect();
    match text.is_empty() {
        true => "none known".to_owned(),
        false => text.join(", "),
    }
}

fn orders(orders: &[OrderStatus], now: Wall) -> String {
    if orders.is_empty() {
        return String::new();
    }
    let header = [
        "ORDER", "SOURCE", "CLASS", "KIND", "WATTS", "SCOPE", "STATE", "SINCE", "ENDS", "",
    ];
    let rows = orders.iter().map(|order| {
        [
            printable(&order.id),
            printable(&order.source),
            order.class.to_string(),
            printable(&order.kind),
            order.watts.to_string(),
            printable(&order.scope.to_string()),
            word(&order.state),
            span(order.accepted_at, now),
            end(order.ends_at, order.expires_at, now),
            printable(&order.text),
        ]
    });
    format!("\n{}", table(header, rows))
}

fn reservations(reservations: &[ReservationStatus], now: Wall) -> String {
    if reservations.is_empty() {
        return String::new();
    }
    let header = [
        "RESERVATION",
        "SOURCE",
        "WATTS",
        "FREE",
        "STATE",
        "FROM",
        "ENDS",
        "",
    ];
    let rows = reservations.iter().map(|reservation| {
        [
            printable(&reservation.id),
            printable(&reservation.source),
            reservation.watts.to_string(),
            reservation.granted_watts.to_string(),
            word(&reservation.state),
            span(reservation.starts_at, now),
            end(reservation.ends_at, reservation.expires_at, now),
            printable(&reservation.text),
        ]
    });
    format!("\n{}", table(header, rows))
}

fn sources(power: &Power) -> String {
    if power.view.sources.is_empty() {
        return String::new();
    }
    let rows = power.view.sources.iter().map(|source| {
        let age = |age: f64| format!("{} ago", units::duration(age));
        [
            printable(&source.name),
            word(&source.state),
            source.age_s.map_or("never".to_owned(), age),
        ]
    });
    format!("\n{}", table(["SOURCE", "STATE", "HEARD"], rows))
}

/// What an order would do.
pub(super) fn plan(plan: &Preview) -> String {
    let mut text = format!("plan      {}\n", printable(&plan.text));
    if plan.excess_watts > Watts::ZERO {
        text += &format!(
            "          {} of it cannot be reached in time\n",
            plan.excess_watts
        );
    }
    if plan.withdrawn > 0 {
        let machines = units::count(plan.withdrawn as u64);
        text +=
            &format!("          the work of {machines} machines would be withdrawn: unverified\n");
    }
    text
}

/// What an end of an order or reservation lets come back, by how things stood before it.
pub(super) fn ends(id: &str, power: &Power, dry_run: bool) -> String {
    let view = &power.view;
    let ends = match dry_run {
        true => "would end",
        false => "ends",
    };
    let away = view.machines.proven + view.machines.pending + view.machines.withdrawn;
    let machines = match away {
        0 => "no machine was held back".to_owned(),
        1 => "1 machine is off or trimmed".to_owned(),
        n => format!("{} machines are off or trimmed", units::count(n as u64)),
    };
    let rest = match (&view.held, &view.bound_by) {
        _ if away == 0 => String::new(),
        (Some(held), _) => format!("; nothing is raised yet: {}", printable(held)),
        (None, Some(by)) if id.starts_with("o-") && by != id => {
            format!(", and mining stays bound by {}", printable(by))
        }
        (None, _) => " and start again, staggered, as far as nothing else bounds them".to_owned(),
    };
    format!("release   {id} {ends}: {machines}{rest}\n")
}

/// An order, just taken or ended.
pub(super) fn order(order: &OrderStatus, now: Wall) -> String {
    let mut text = format!(
        "order     {}: {} {} for {}, {}, ends {}\n          {}\n",
        printable(&order.id),
        printable(&order.kind),
        order.watts,
        printable(&order.scope.to_string()),
        word(&order.state),
        end(order.ends_at, order.expires_at, now),
        printable(&order.text),
    );
    if let Some(watts) = order.achievable_watts {
        text += &format!("          only {watts} can be reached\n");
    }
    text
}

/// A reservation, just taken, asked after or ended.
pub(super) fn reservation(reservation: &ReservationStatus, now: Wall) -> String {
    format!(
        "reserve   {}: {} of {} free, {}, from {}, ends {}\n          {}\n",
        printable(&reservation.id),
        reservation.granted_watts,
        reservation.watts,
        word(&reservation.state),
        span(reservation.starts_at, now),
        end(reservation.ends_at, reservation.expires_at, now),
        printable(&reservation.text),
    )
}

/// A word of a closed set, as in JSON.
pub(super) fn word(state: &impl Serialize) -> String {
    let value = serde_json::to_value(state).ok();
    let text = value.as_ref().and_then(|value| value.as_str());
    text.unwrap_or("-").to_owned()
}

fn end(ends_at: Option<Wall>, expires_at: Wall, now: Wall) -> String {
    match ends_at {
        Some(at) => span(at, now),
        None if expires_at == FOR_GOOD => "when released".to_owned(),
        None => format!("lease {}", span(expires_at, now)),
    }
}

/// `in 12m 5s`, `3m 1s ago`, `now`.
fn span(at: Wall, now: Wall) -> String {
    let seconds = at.0.saturating_sub(now.0) as f64 / 1000.0;
    match seconds {
        s if s >= 1.0 => format!("in {}", units::duration(s)),
        s if s <= -1.0 => format!("{} ago", units::duration(-s)),
        _ => "now".to_owned(),
    }
}
