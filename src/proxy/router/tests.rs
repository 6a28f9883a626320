//! The router as its driver sees it: wishes in, seats out.

use super::*;
use crate::proxy::lease::{ResumeToken, Seat};
use crate::proxy::session::Attach;
use crate::work::Lane;

#[test]
fn a_channel_that_wants_more_than_the_layout_rolls_gets_an_aligned_block_of_lanes() {
    let wide =
        |extranonce| seat(Layout::WIDE, extranonce).map(|seat| (seat.width, seat.lane.0 & 0xffff));
    assert_eq!(wide(6), Ok((2, 0)));
    assert_eq!(wide(7), Ok((3, 0)));
    let narrow = Layout { lane: 2, rolled: 4 };
    let block = seat(narrow, 5).expect("one byte of two is left");
    assert_eq!((block.width, block.lane.0 & 0xff), (1, 0));
}

#[test]
fn a_channel_that_wants_what_the_layout_rolls_or_less_gets_a_single_lane() {
    for extranonce in 0..=4 {
        let seat = seat(Layout::WIDE, extranonce).expect("there is room");
        assert_eq!((seat.width, seat.lane), (0, FIRST));
    }
}

#[test]
fn a_channel_that_would_leave_no_byte_of_its_lane_gets_no_seat() {
    let narrow = Layout { lane: 2, rolled: 4 };
    for (layout, extranonce) in [(Layout::WIDE, 8), (Layout::WIDE, 32), (narrow, 6)] {
        assert_eq!(seat(layout, extranonce).err(), Some(NoSeat::TooWide));
    }
}

const FIRST: Lane = Lane(0x0102);

/// What a first session gets that wants so many bytes of extranonce.
fn seat(layout: Layout, extranonce: u8) -> Result<Box<Seat>, NoSeat> {
    let now = Instant::now();
    let mut router = Router::new(now, config(layout));
    router.handle_input(
        now,
        Input::Attach {
            session: SessionId(1),
            listener: ListenerId(0),
            attach: Attach {
                resume: None,
                version_mask: 0,
                min_bits: 0,
                extranonce,
            },
            token: ResumeToken([1; 16]),
        },
    );
    std::iter::from_fn(|| router.poll_output())
        .find_map(|output| match output {
            Output::Seat(_, seat, _) => Some(Ok(seat)),
            Output::NoSeat(_, why) => Some(Err(why)),
            _ => None,
        })
        .expect("every wish is answered")
}

fn config(layout: Layout) -> Config {
    Config {
        pools: Vec::new(),
        listeners: vec![Vec::new()],
        version_mask: 0,
        layout: Some(layout),
        first_lane: FIRST,
        rest: Duration::from_secs(120),
        rest_vanished: Duration::from_secs(600),
        dwell: Duration::from_secs(60),
        failback_after: Duration::from_secs(60),
        layout_wait: Duration::from_secs(10),
    }
}
