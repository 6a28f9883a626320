//! What must hold for the short way to read a share; used by the fuzz target and by the replay of its corpus.
//!
//! Not a test of meaning. Panics when the short way says anything that the long way does not.

use sluice::stratum::v1::down;

/// Shapes that are known to go the short way, to be broken by the input.
const SHAPES: [&[u8]; 4] = [
    br#"{"params": ["bc1qexample.rig42", "1f", "abcd0001", "504e86ed", "b2957c02"], "id": 17, "method": "mining.submit"}"#,
    br#"{"id": 17, "method": "mining.submit", "params": ["u.bitaxe", "1f", "abcd000100000000", "504e86ed", "b2957c02", "04002000"]}"#,
    br#"{"method":"mining.submit","params":["","ffffffff","","504E86ED","B2957C02","0"],"id":"4a"}"#,
    br#"{"id":null,"params":["u","1","ab","00000000","00000000"],"method":"mining.submit"}"#,
];

/// The input as a line; and, after a first byte that names a shape, as edits of three bytes (what to do, where, with which
/// byte). Returns how many of the two went the short way.
pub(crate) fn submit_fast(data: &[u8]) -> u64 {
    let mut short = u64::from(agrees(data));
    if let [shape, edits @ ..] = data {
        let mut line = SHAPES[usize::from(*shape) % SHAPES.len()].to_vec();
        // So few that most lines keep their shape.
        for &[kind, place, byte] in edits.as_chunks().0.iter().take(4) {
            let place = usize::from(place) % line.len();
            match kind % 3 {
                0 => line[place] = byte,
                1 => line.insert(place, byte),
                _ => drop(line.remove(place)),
            }
        }
        short += u64::from(agrees(&line));
    }
    short
}

/// Whether the line went the short way. If so, the long way says the same, and so does the choice between the two.
fn agrees(line: &[u8]) -> bool {
    let Some(short) = down::fast::submit(line) else {
        return false;
    };
    assert_eq!(down::parse(line).as_ref(), Ok(&short));
    assert_eq!(down::parse_slow(line), Ok(short));
    true
}
