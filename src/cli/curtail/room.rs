//! Whether a reservation can be had in full, as dry runs tell it.
//!
//! Not how it stands once it is taken (`wait.rs`). Invariant: nothing but dry runs is sent from here.

use super::client::{Client, Failed};
use super::order::{self, Wish};
use crate::curtail::Watts;
use crate::curtail::signal::Ask;
use crate::curtail::view::Preview;

/// Most dry runs that look for what can be had: each halves what is not known.
const PROBES: usize = 12;

/// Refuses what would put mining off for nothing: a wait that ends with a part.
pub(super) fn all_can_be_had(
    client: &Client,
    wish: &Wish,
    asked: Watts,
    plan: &Preview,
    site: &str,
) -> Result<(), Failed> {
    if plan.excess_watts <= Watts::ZERO {
        return Ok(());
    }
    let dry = |watts: Watts| {
        let ask = Ask::Reserve(watts);
        let wish = Wish {
            ask,
            ..wish.clone()
        };
        let answer = order::plan(client, &wish, site)?;
        answer
            .member::<Preview>("plan")
            .ok_or_else(|| client.not_sluice("a dry run without a plan"))
    };
    let least = dry(Watts(1))?;
    // Too much even without it: that is another's doing, and takes nothing from this.
    if least.excess_watts >= plan.excess_watts {
        return Ok(());
    }
    let room = match plan.limit_watts > Watts::ZERO {
        true => plan.limit_watts + asked,
        false => room(asked, least.limit_watts, dry)?,
    };
    let most = (room - plan.then_watts).at_least_zero();
    Err(Failed::NotAll { asked, most })
}

/// What the site has for mining and this reservation together, as dry runs tell it: a limit of 0 hides how far below 0
/// it is, and one as high as without it is another's.
fn room(
    asked: Watts,
    without: Watts,
    dry: impl Fn(Watts) -> Result<Preview, Failed>,
) -> Result<Watts, Failed> {
    let (mut low, mut high) = (Watts(1), asked);
    for _ in 0..PROBES {
        let middle = Watts(low.0.midpoint(high.0));
        let limit = dry(middle)?.limit_watts;
        if limit <= Watts::ZERO {
            high = middle;
        } else if limit >= without {
            low = middle;
        } else {
            return Ok(limit + middle);
        }
    }
    Ok(low + without)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_found_below_another_cap_and_above_a_limit_of_zero() {
        let site = |cap: i64| {
            move |watts: Watts| {
                Ok(Preview {
                    limit_watts: (Watts(188_000) - watts).at_least_zero().min(Watts(cap)),
                    ..Preview::default()
                })
            }
        };
        for cap in [100_000, 187_999, 1_000_000] {
            let without = site(cap)(Watts(1)).expect("a plan").limit_watts;
            let found = room(Watts(400_000), without, site(cap)).expect("dry runs");
            assert_eq!(found, Watts(188_000), "{cap}");
        }
    }
}
