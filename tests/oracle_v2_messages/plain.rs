//! One form for the values of both sides, so that they can be compared: the bytes of the value, without its length.

use sluice::stratum::v2::message::{Hashes, Numbers};
use stratum_core::binary_sv2::{B032, B064K, Seq064K, Seq0255, Str0255, Sv2Option, U256};
use stratum_core::common_messages_sv2::Protocol;

/// The bytes of a value. Equal bytes of two values are equal values: none is prefixed, and widths differ.
pub(crate) fn plain(value: &impl Plain) -> Vec<u8> {
    value.bytes()
}

pub(crate) trait Plain {
    fn bytes(&self) -> Vec<u8>;
}

macro_rules! numbers {
    ($($number:ty)*) => {
        $(impl Plain for $number {
            fn bytes(&self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }
        })*
    };
}

numbers! { u8 u16 u32 u64 f32 }

macro_rules! views {
    ($($view:ty)*) => {
        $(impl Plain for $view {
            fn bytes(&self) -> Vec<u8> {
                self.as_bytes().to_vec()
            }
        })*
    };
}

views! { Str0255<'_> B032<'_> B064K<'_> U256<'_> }

impl Plain for bool {
    fn bytes(&self) -> Vec<u8> {
        vec![u8::from(*self)]
    }
}

impl Plain for Protocol {
    fn bytes(&self) -> Vec<u8> {
        vec![*self as u8]
    }
}

impl Plain for &[u8] {
    fn bytes(&self) -> Vec<u8> {
        self.to_vec()
    }
}

impl Plain for [u8; 32] {
    fn bytes(&self) -> Vec<u8> {
        self.to_vec()
    }
}

impl Plain for Option<u32> {
    fn bytes(&self) -> Vec<u8> {
        self.map_or(Vec::new(), |value| value.bytes())
    }
}

impl Plain for Sv2Option<'_, u32> {
    fn bytes(&self) -> Vec<u8> {
        self.as_ref().map_or(Vec::new(), Plain::bytes)
    }
}

impl Plain for Hashes<'_> {
    fn bytes(&self) -> Vec<u8> {
        self.as_flattened().to_vec()
    }
}

impl<const N: usize> Plain for Numbers<'_, N> {
    fn bytes(&self) -> Vec<u8> {
        self.0.as_flattened().to_vec()
    }
}

impl<T: Plain> Plain for Seq0255<'_, T> {
    fn bytes(&self) -> Vec<u8> {
        self.iter().flat_map(Plain::bytes).collect()
    }
}

impl<T: Plain> Plain for Seq064K<'_, T> {
    fn bytes(&self) -> Vec<u8> {
        self.iter().flat_map(Plain::bytes).collect()
    }
}
