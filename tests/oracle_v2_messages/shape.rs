//! Random payloads of a shape: mostly whole, some cut short, some with a tail, some with a byte that lies.
//!
//! | letter | field | letter | field |
//! |---|---|---|---|
//! | 1 2 4 8 H | so many bytes; `H` is 32 | t | STR0_255, B0_255 |
//! | p | a protocol: 0 to 4 | x | B0_32, sometimes of more |
//! | b | BOOL | k | B0_64K, mostly short |
//! | f | F32, often a hash rate | m | SEQ0_255[U256] |
//! | o | OPTION[U32], sometimes two | s S | SEQ0_64K of U16, of U32 |

use proptest::prelude::*;

/// Payloads whose fields are `shape`'s.
pub(crate) fn payload(shape: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let fields: Vec<_> = shape.chars().map(field).collect();
    let damage = prop_oneof![
        3 => Just(Damage::None),
        1 => any::<prop::sample::Index>().prop_map(Damage::Cut),
        1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Damage::Tail),
        1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Lie(at, byte)),
        1 => prop::collection::vec(any::<u8>(), 0..400).prop_map(Damage::Noise),
    ];
    (fields, damage).prop_map(|(fields, damage)| damage.done_to(fields.concat()))
}

#[derive(Clone, Debug)]
enum Damage {
    None,
    Cut(prop::sample::Index),
    Tail(Vec<u8>),
    Lie(prop::sample::Index, u8),
    Noise(Vec<u8>),
}

impl Damage {
    fn done_to(self, mut payload: Vec<u8>) -> Vec<u8> {
        match self {
            Self::None => {}
            Self::Cut(at) => payload.truncate(at.index(payload.len())),
            Self::Tail(tail) => payload.extend(tail),
            Self::Lie(at, byte) => {
                let at = at.index(payload.len());
                payload[at] = byte;
            }
            Self::Noise(noise) => payload = noise,
        }
        payload
    }
}

fn field(letter: char) -> BoxedStrategy<Vec<u8>> {
    match letter {
        '1' | 'b' => fixed(1),
        '2' => fixed(2),
        '4' => fixed(4),
        '8' => fixed(8),
        'H' => fixed(32),
        'p' => (0_u8..=4).prop_map(|protocol| vec![protocol]).boxed(),
        'f' => prop_oneof![
            fixed(4),
            (0.0_f32..1e18).prop_map(|rate| rate.to_le_bytes().to_vec())
        ]
        .boxed(),
        't' => counted(1, 1, prop_oneof![3 => 0_usize..40, 1 => Just(255)]),
        'x' => counted(1, 1, prop_oneof![4 => 0_usize..=32, 1 => 33_usize..40]),
        'o' => counted(1, 4, prop_oneof![4 => 0_usize..=1, 1 => Just(2)]),
        'm' => counted(1, 32, prop_oneof![4 => 0_usize..16, 1 => Just(255)]),
        'k' => counted(2, 1, prop_oneof![9 => 0_usize..400, 1 => Just(65_535)]),
        's' => counted(2, 2, 0_usize..300),
        'S' => counted(2, 4, 0_usize..300),
        other => panic!("{other} is no field"),
    }
}

fn fixed(bytes: usize) -> BoxedStrategy<Vec<u8>> {
    prop::collection::vec(any::<u8>(), bytes).boxed()
}

/// A count of `prefix` bytes, and so many times `size` random bytes. Content comes from a seed: shrinking it says nothing.
fn counted(
    prefix: usize,
    size: usize,
    count: impl Strategy<Value = usize> + 'static,
) -> BoxedStrategy<Vec<u8>> {
    (count, any::<u8>())
        .prop_map(move |(count, seed)| {
            let mut bytes = count.to_le_bytes()[..prefix].to_vec();
            bytes.extend((0..count * size).map(|at| {
                seed.wrapping_mul(31)
                    .wrapping_add((at * 7 + (at >> 8)) as u8)
            }));
            bytes
        })
        .boxed()
}
