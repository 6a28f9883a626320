//! Orders and their sources: who is heard, who finds room, what is told of them.

use super::*;

#[test]
fn a_silent_source_holds_before_its_third_beat_is_overdue_and_not_a_second_late() {
    let begin = Instant::now();
    let mut site = site();
    site.sources[0].heartbeat = Some(Duration::from_secs(5));
    let mut controller = Controller::new(begin, site);
    controller.handle_input(begin, Input::Clock(Wall(1_000_000)));
    controller.handle_input(begin + Duration::from_millis(337), cap(1, 60));
    let heard = begin + Duration::from_millis(337);
    let state = |controller: &Controller, at| controller.view(at).sources[0].state;
    let before = heard + Duration::from_millis(14_499);
    assert_eq!(state(&controller, before), Liveness::Live);
    while let Some((due, _)) = controller.poll_timeout().filter(|(due, _)| *due < before) {
        controller.handle_timeout(due);
    }
    let (due, _) = controller.poll_timeout().expect("it always turns");
    assert_eq!(due, heard + Duration::from_millis(14_500));
    assert_eq!(state(&controller, due), Liveness::Hold);
}

fn order(source: &str, seq: u64, class: u8, ask: Ask, scope: Scope) -> Input {
    let Input::Signal {
        call,
        envelope,
        digest,
        admin,
        dry_run,
    } = cap(seq, 0)
    else {
        unreachable!("a cap is a signal");
    };
    let envelope = Envelope {
        source: source.into(),
        class,
        ask,
        scope,
        ..*envelope
    };
    Input::Signal {
        call,
        envelope: Box::new(envelope),
        digest,
        admin,
        dry_run,
    }
}

fn answers(controller: &mut Controller) -> Vec<Result<Answer, Refusal>> {
    let answer = |output| match output {
        Output::Answer { answer, .. } => Some(answer),
        _ => None,
    };
    controller.drain().into_iter().filter_map(answer).collect()
}

fn state(controller: &Controller, now: Instant, id: &str) -> OrderState {
    let orders = controller.view(now).orders;
    orders.iter().find(|of| of.id == id).expect("shown").state
}

/// Two sources, `desk` and `grid`, the latter with a beat of five seconds.
fn two_sources(now: Instant, machines: u16) -> Controller {
    let mut controller = running(now, machines);
    let mut site = site();
    site.sources.push(Source {
        name: "grid".into(),
        heartbeat: Some(Duration::from_secs(5)),
        ..site.sources[0].clone()
    });
    controller.orders = Orders::new(&site);
    controller.site = site;
    controller
}

#[test]
fn a_sender_that_runs_away_shuts_out_itself_and_never_an_emergency() {
    let now = Instant::now();
    let mut controller = two_sources(now, 4);
    controller.site.law.most_orders = 8;
    for seq in 1..=3 {
        controller.handle_input(now, cap(seq, 4_000));
    }
    let refused: Vec<_> = answers(&mut controller)
        .iter()
        .map(Result::is_err)
        .collect();
    assert_eq!(refused, [false, false, true], "a quarter is for one source");
    let cap = |watts| Ask::Cap(Watts(watts));
    controller.handle_input(now, order("grid", 4, 1, cap(4_000), Scope::Mining));
    controller.handle_input(now, order("desk", 5, 0, cap(4_000), Scope::Mining));
    assert!(answers(&mut controller).iter().all(Result::is_ok));
}

#[test]
fn an_emergency_stop_is_proven_when_everything_is_off_though_it_idles() {
    let now = Instant::now();
    let mut controller = running(now, 4);
    let stop = Ask::Cap(Watts::ZERO);
    controller.handle_input(now, order("desk", 1, 0, stop, Scope::Mining));
    let told = commands(&controller.drain());
    assert_eq!(told.len(), 4);
    let at = now + Duration::from_secs(6);
    let seen = Observation {
        watts: Some(Watts(10)),
        mode: Mode::Off,
        uptime_s: None,
    };
    for (n, machine) in told.into_iter().enumerate() {
        controller.handle_timeout(at);
        assert_ne!(
            state(&controller, at, "o-1"),
            OrderState::Proven,
            "{n} of 4 are off"
        );
        controller.handle_input(at, Input::Observed { machine, seen });
    }
    controller.handle_timeout(at + TICK);
    assert_eq!(state(&controller, at, "o-1"), OrderState::Proven);
    let text = controller.view(at).orders[0].text.clone();
    assert_eq!(text, "everything is off, 40 W are drawn idle");
}

#[test]
fn an_operator_ends_what_a_source_that_is_gone_left_behind() {
    let now = Instant::now();
    let mut controller = running(now, 4);
    controller.handle_input(now, cap(1, 2_020));
    let after = now + Duration::from_secs(5_000);
    controller.handle_timeout(after);
    assert_eq!(controller.view(after).sources[0].state, Liveness::Lost);
    controller.handle_input(
        after,
        Input::Release {
            call: 2,
            id: "o-1".into(),
            by: None,
            admin: true,
        },
    );
    assert_ne!(controller.view(after).sources[0].state, Liveness::Lost);
}

#[test]
fn a_renewal_that_comes_again_shortens_no_lease() {
    let now = Instant::now();
    let mut controller = running(now, 4);
    controller.handle_input(now, cap(1, 2_020));
    for (expires_at, kept) in [(9_000_000, 9_000_000), (6_000_000, 9_000_000)] {
        controller.handle_input(
            now,
            Input::Renew {
                call: 2,
                id: "o-1".into(),
                expires_at: Wall(expires_at),
                by: None,
            },
        );
        assert_eq!(controller.view(now).orders[0].expires_at, Wall(kept));
    }
}

#[test]
fn signs_of_life_push_out_no_answer_and_are_not_saved() {
    let now = Instant::now();
    let mut controller = running(now, 4);
    controller.handle_input(now, cap(1, 2_020));
    controller.drain();
    for seq in 2..1_000 {
        controller.handle_input(
            now,
            Input::Heartbeat {
                call: seq,
                source: "desk".into(),
                epoch: 1,
                seq,
                issued_at: Wall(1_000_000),
                digest: [0; 32],
            },
        );
        let said = controller.drain();
        assert_eq!(said.len(), 1, "an answer and nothing else: {said:?}");
    }
    controller.handle_input(now, cap(1, 2_020));
    let again = answers(&mut controller);
    assert!(
        matches!(again[..], [Ok(Answer::Order { repeated: true, .. })]),
        "{again:?}"
    );
}

#[test]
fn an_order_for_a_group_that_is_gone_fails_and_says_so() {
    let now = Instant::now();
    let mut before = running(now, 4);
    let scope = Scope::Group("old".into());
    before.site.groups[0].name = "old".into();
    before.handle_input(now, order("desk", 1, 1, Ask::Cap(Watts(10)), scope));
    let saved = before.drain().into_iter().find_map(|output| match output {
        Output::Save(save) if matches!(*save, Save::Order(_)) => Some(save),
        _ => None,
    });
    let mut controller = running(now, 4);
    controller.handle_input(now, Input::Restore(saved.expect("an order was taken")));
    let said = controller.drain();
    assert!(
        matches!(&said[..], [Output::Alarm(text)] if text.contains("o-1")),
        "{said:?}"
    );
    controller.handle_timeout(now + TICK);
    assert_eq!(state(&controller, now, "o-1"), OrderState::Failed);
}

#[test]
fn alarms_are_shown_once_each_and_only_the_latest() {
    let now = Instant::now();
    let mut controller = running(now, 1);
    for n in 0..1_000 {
        controller.alarm(format!("{}", n % 500));
    }
    let shown = controller.view(now).alarms;
    assert_eq!((shown.len(), shown[63].as_str()), (64, "499"));
}

fn reserve(seq: u64, watts: i64) -> Input {
    order("desk", seq, 1, Ask::Reserve(Watts(watts)), Scope::Mining)
}

fn granted(controller: &Controller, at: Instant) -> bool {
    controller.view(at).reservations[0].state == ReservationState::Granted
}

#[test]
fn nothing_is_granted_or_proven_while_machines_mine_whose_watts_are_not_known() {
    let now = Instant::now();
    let mut controller = running(now, 4);
    controller.site.limit = Watts(10_000);
    controller.handle_input(now, Input::Strangers(3));
    controller.handle_input(now, reserve(1, 1_000));
    controller.handle_input(now, cap(2, 5_000));
    controller.handle_timeout(now + TICK);
    assert!(!granted(&controller, now + TICK));
    assert_ne!(state(&controller, now + TICK, "o-2"), OrderState::Proven);
    let text = controller.view(now + TICK).reservations[0].text.clone();
    assert!(text.starts_with("3 machines mine here"), "{text}");
    controller.handle_input(now + TICK, Input::Strangers(0));
    controller.handle_timeout(now + 2 * TICK);
    assert!(granted(&controller, now + 2 * TICK));
    assert_eq!(state(&controller, now + TICK, "o-2"), OrderState::Proven);
}

#[test]
fn a_start_that_knows_no_machine_grants_nothing_until_they_had_time_to_come() {
    let now = Instant::now();
    let mut controller = running(now, 0);
    controller.site.limit = Watts(10_000);
    controller.handle_input(now, reserve(1, 1_000));
    let mut at = now;
    while !granted(&controller, at) {
        at += TICK;
        controller.handle_timeout(at);
        assert!(at < now + Duration::from_secs(12), "it never grants");
    }
    assert!(at >= now + Duration::from_secs(10), "{:?}", at - now);
}
