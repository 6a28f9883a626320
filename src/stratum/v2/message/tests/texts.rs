//! Texts: written within their length, shown within reason.

use super::*;

#[test]
#[should_panic(expected = "a text was clipped")]
fn a_text_too_long_to_write_is_a_bug() {
    CloseChannel {
        channel_id: 1,
        reason_code: &[b'x'; 256],
    }
    .write(&mut Vec::new());
}

#[test]
fn a_text_is_clipped_at_255_bytes_and_never_within_a_character() {
    let exact = "x".repeat(255);
    assert_eq!(clip(&exact), exact.as_bytes());
    assert_eq!(clip(&(exact + "y")).len(), 255);
    assert_eq!(clip(&"ü".repeat(200)).len(), 254);
}

// sv2: 3.5 a peer's error code is shown without its control characters
#[test]
fn a_peers_text_is_shown_as_printable_ascii_of_bounded_length() {
    assert!(matches!(text(b"S9i 13.5"), Cow::Borrowed("S9i 13.5")));
    assert_eq!(text(b""), "");
    assert_eq!(text("a\r\nü\0~ ".as_bytes()), "a%0D%0A%C3%BC%00~ ");
    assert_eq!(text(&[b'x'; 255]).len(), 255);
    assert_eq!(text(&[b'x'; 256]).len(), 255);
    assert_eq!(text(&[0; 255]), "%00".repeat(85));
    assert_eq!(
        text(&[&[b'x'; 254][..], b"\n"].concat()).len(),
        254,
        "no half escape"
    );
}
