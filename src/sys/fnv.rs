//! FNV-1a, 64 bits: the same over versions and machines, unlike the standard hasher. Against accidents, not against forgers.

/// A hash that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fnv(pub u64);

impl Fnv {
    /// Of nothing.
    pub const START: Self = Self(0xcbf2_9ce4_8422_2325);
    const PRIME: u64 = 0x0100_0000_01b3;

    /// The hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> u64 {
        Self::START.and(bytes).0
    }

    /// Of these bytes too.
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(Self::PRIME);
        Self(bytes.iter().fold(self.0, step))
    }

    /// Of this word and its end too, so that `["a", "b"]` and `["ab"]` differ.
    #[must_use]
    pub fn with(self, word: &str) -> Self {
        self.and(word.as_bytes()).and(&[0xff])
    }
}

#[cfg(test)]
mod tests {
    use super::Fnv;

    #[test]
    fn the_known_values() {
        // draft-eastlake-fnv, appendix C
        assert_eq!(Fnv::of(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(Fnv::of(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(Fnv::of(b"foobar"), 0x8594_4171_f739_67e8);
        assert_ne!(Fnv::START.with("a").with("b"), Fnv::START.with("ab"));
    }
}
