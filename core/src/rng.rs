//! Randomness as a keyed function: (seed, purpose, subject, nth) -> bits.
//!
//! No sequential stream, so that one draw more or less leaves every other choice as it was. The function is
//! SipHash-2-4 in its 128-bit form over the four numbers: good mixing, no claim of secrecy.

/// What a random choice in the core is for. A new use gets a new purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u64)]
pub enum Purpose {
    /// Ids of topics.
    TopicId = 1,
    /// Incarnation of a broker at registration.
    Incarnation = 4,
    /// Ids of fetch sessions.
    FetchSession = 5,
    /// `segment.jitter.ms`.
    SegmentJitter = 6,
    /// Which broker gets a partition's first replica.
    ReplicaPlacement = 7,
    /// Suffix of a directory that awaits deletion.
    DeletedDirectory = 8,
}

/// A keyed source of randomness; copying it copies the key, not a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    key: [u64; 4],
}

impl Rng {
    /// From the seed of the run (simulation) or of the operating system (production).
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Rng {
        let word = |n: usize| {
            let mut bytes = [0_u8; 8];
            bytes.copy_from_slice(&seed[n * 8..n * 8 + 8]);
            u64::from_le_bytes(bytes)
        };
        Rng {
            key: [word(0), word(1), word(2), word(3)],
        }
    }

    /// 128 bits for the `nth` time that `purpose` asks about `subject`.
    #[must_use]
    pub fn bits(&self, purpose: Purpose, subject: u64, nth: u64) -> [u8; 16] {
        let low = keyed(self.key[0], self.key[1], [purpose as u64, subject, nth]);
        let high = keyed(self.key[2], self.key[3], [purpose as u64, subject, nth]);
        let mut bits = [0; 16];
        bits[..8].copy_from_slice(&low.to_le_bytes());
        bits[8..].copy_from_slice(&high.to_le_bytes());
        bits
    }

    /// A number below `bound`; 0 if `bound` is 0.
    #[must_use]
    pub fn below(&self, bound: u64, purpose: Purpose, subject: u64, nth: u64) -> u64 {
        let word = keyed(self.key[0], self.key[1], [purpose as u64, subject, nth]);
        scale(word, bound)
    }
}

/// Maps a uniform word to `0..bound` by the high half of the product (Lemire), 0 if `bound` is 0.
#[must_use]
pub fn scale(word: u64, bound: u64) -> u64 {
    ((u128::from(word) * u128::from(bound)) >> 64) as u64
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012) over whole words: the PRF under every keyed choice of the core and the simulator.
#[must_use]
pub fn keyed<const N: usize>(k0: u64, k1: u64, words: [u64; N]) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let round = |v: &mut [u64; 4]| {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    };
    for word in words.into_iter().chain([(N as u64 * 8) << 56]) {
        v[3] ^= word;
        round(&mut v);
        round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyed_is_siphash_2_4() {
        // The reference vector of the paper for the 8-byte message 00..07 under the key 00..0f.
        assert_eq!(
            keyed(
                0x0706_0504_0302_0100,
                0x0f0e_0d0c_0b0a_0908,
                [0x0706_0504_0302_0100]
            ),
            0x93f5_f579_9a93_2462
        );
    }

    #[test]
    fn choices_are_independent_of_each_other() {
        let rng = Rng::new([7; 32]);
        let first = rng.bits(Purpose::TopicId, 1, 0);
        assert_ne!(first, rng.bits(Purpose::TopicId, 1, 1));
        assert_ne!(first, rng.bits(Purpose::TopicId, 2, 0));
        assert_ne!(first, rng.bits(Purpose::Incarnation, 1, 0));
        assert_eq!(first, rng.bits(Purpose::TopicId, 1, 0));
        assert!((0..1000).all(|nth| rng.below(10, Purpose::SegmentJitter, 0, nth) < 10));
        assert_eq!(rng.below(0, Purpose::SegmentJitter, 0, 0), 0);
    }
}
