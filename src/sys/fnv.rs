//! The FNV-1a hash, 64 bits: unlike the standard hasher it is the same in all versions and on all machines.
//!
//! It detects accidental differences. It gives no protection against a deliberate collision.

/// The state of a hash that can be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fnv(pub u64);

impl Fnv {
    /// The hash of no bytes.
    pub const START: Self = Self(0xcbf2_9ce4_8422_2325);
    const PRIME: u64 = 0x0100_0000_01b3;

    /// The hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> u64 {
        Self::START.and(bytes).0
    }

    /// Continues the hash with these bytes.
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(Self::PRIME);
        Self(bytes.iter().fold(self.0, step))
    }

    /// Continues the hash with this word and a separator, so that `["a", "b"]` and `["ab"]` differ.
    #[must_use]
    pub fn with(self, word: &str) -> Self {
        self.and(word.as_bytes()).and(&[0xff])
    }
}

#[cfg(test)]
mod tests {
    use super::Fnv;

    #[test]
    fn hashes_match_the_published_test_vectors() {
        // draft-eastlake-fnv, appendix C
        assert_eq!(Fnv::of(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(Fnv::of(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(Fnv::of(b"foobar"), 0x8594_4171_f739_67e8);
        assert_ne!(Fnv::START.with("a").with("b"), Fnv::START.with("ab"));
    }
}
