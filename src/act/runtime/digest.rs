//! A hash of many small things.

/// Hashed at once; BLAKE3 takes long for many small pieces.
const PIECE_BYTES: usize = 16 * 1024;

/// Takes one thing after the other.
pub(super) struct Digest {
    hasher: blake3::Hasher,
    piece: Vec<u8>,
}

impl Digest {
    /// `domain` begins what is hashed, so that what is hashed for another purpose never gives the same.
    pub(super) fn new(domain: &[u8]) -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            piece: domain.to_vec(),
        }
    }

    /// Something that is always of this length.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.piece.extend(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.hasher.update(&self.piece);
            self.piece.clear();
        }
    }

    /// Something of any length: that comes first, so that no two rows of things give the same bytes.
    pub(super) fn put_sized(&mut self, bytes: &[u8]) {
        self.put(&(bytes.len() as u64).to_le_bytes());
        self.put(bytes);
    }

    /// The hash in hexadecimal.
    pub(super) fn hex(mut self) -> String {
        self.hasher.update(&self.piece);
        self.hasher.finalize().to_hex().to_string()
    }
}
