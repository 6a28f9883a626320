//! What someone who waits for a reservation does next, as a decision without a clock. Invariant: nothing but a grant
//! that is proven ends the wait well.

use super::show::word;
use crate::cli::ask::printable;
use crate::curtail::Watts;
use crate::curtail::view::{ReservationState, ReservationStatus};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Go on waiting; the line is for people.
    Wait(String),
    /// The watts are proven free.
    Granted(Watts),
    /// Not all can be had: give back what there is.
    Partial(String),
    /// It is over, and there is nothing to give back.
    Over(String),
}

/// Looks at a reservation.
pub(super) fn step(reservation: &ReservationStatus, accept_partial: bool) -> Step {
    let free = reservation.granted_watts;
    let asked = reservation.watts;
    match reservation.state {
        ReservationState::Pending => Step::Wait(progress(reservation)),
        ReservationState::Granted => Step::Granted(asked),
        ReservationState::Partial => {
            let can_be = reservation.achievable_watts.unwrap_or(free);
            match accept_partial {
                false => Step::Partial(format!("only {can_be} of {asked} can be had")),
                true if free > Watts::ZERO && free >= can_be => Step::Granted(free),
                true if can_be == Watts::ZERO => {
                    Step::Partial(format!("nothing of {asked} can be had"))
                }
                true => Step::Wait(progress(reservation)),
            }
        }
        ReservationState::Released | ReservationState::Expired => Step::Over(format!(
            "{} is {}: {}",
            printable(&reservation.id),
            word(&reservation.state),
            printable(&reservation.text)
        )),
    }
}

fn progress(reservation: &ReservationStatus) -> String {
    let eta = reservation.eta_s;
    let eta = eta.map_or(String::new(), |eta| format!(", about {eta} s more"));
    format!(
        "{}: {} of {} free{eta}",
        printable(&reservation.id),
        reservation.granted_watts,
        reservation.watts
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curtail::Wall;

    #[test]
    fn only_what_is_proven_free_is_a_grant() {
        let pending = at(ReservationState::Pending, 799_999, None);
        let Step::Wait(line) = step(&pending, true) else {
            panic!("{pending:?}");
        };
        assert_eq!(line, "r-1: 800.00 kW of 800.00 kW free, about 8 s more");
        let granted = at(ReservationState::Granted, 800_000, None);
        assert_eq!(step(&granted, false), Step::Granted(Watts(800_000)));
    }

    #[test]
    fn a_part_ends_the_wait_unless_it_is_accepted_and_then_only_once_it_is_free() {
        let early = at(ReservationState::Partial, 100_000, Some(500_000));
        assert!(matches!(step(&early, false), Step::Partial(_)));
        assert!(matches!(step(&early, true), Step::Wait(_)));
        let free = at(ReservationState::Partial, 500_000, Some(500_000));
        assert!(matches!(step(&free, false), Step::Partial(_)));
        assert_eq!(step(&free, true), Step::Granted(Watts(500_000)));
        let nothing = at(ReservationState::Partial, 0, Some(0));
        assert!(matches!(step(&nothing, true), Step::Partial(_)));
    }

    #[test]
    fn what_is_over_is_no_grant_though_watts_are_still_free() {
        for state in [ReservationState::Released, ReservationState::Expired] {
            assert!(matches!(
                step(&at(state, 800_000, None), true),
                Step::Over(_)
            ));
        }
    }

    fn at(state: ReservationState, granted: i64, achievable: Option<i64>) -> ReservationStatus {
        ReservationStatus {
            id: "r-1".into(),
            source: "gpu".into(),
            watts: Watts(800_000),
            state,
            granted_watts: Watts(granted),
            achievable_watts: achievable.map(Watts),
            eta_s: Some(8),
            starts_at: Wall(0),
            granted_at: None,
            ends_at: None,
            expires_at: Wall(1),
            text: "x".into(),
        }
    }
}
