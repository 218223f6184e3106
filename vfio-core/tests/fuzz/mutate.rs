//! Mutations of inputs, from a seed: no coverage guides them, so they are a check that nothing broke and no search.

/// Bytes that parsers get wrong more often than others.
const INTERESTING: [u8; 8] = [0x00, 0x01, 0x3f, 0x40, 0x7f, 0x80, 0xfc, 0xff];

/// Longest input.
const LONGEST: usize = 8192;

/// Makes inputs from inputs.
pub(crate) struct Mutator(u64);

impl Mutator {
    /// Starts from the name, so that every target sees other mutations.
    pub(crate) fn new(name: &str) -> Self {
        let fold = |seed: u64, byte: u8| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, fold))
    }

    /// xorshift64*: small, and the same everywhere.
    fn random(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `end`; 0 if that is 0.
    fn below(&mut self, end: usize) -> usize {
        if end == 0 {
            0
        } else {
            (self.random() as usize) % end
        }
    }

    fn byte(&mut self) -> u8 {
        if self.below(2) == 0 {
            INTERESTING[self.below(INTERESTING.len())]
        } else {
            self.random() as u8
        }
    }

    /// One of `inputs`, changed in one to eight places.
    pub(crate) fn next(&mut self, inputs: &[&[u8]]) -> Vec<u8> {
        let mut input = inputs[self.below(inputs.len())].to_vec();
        for _ in 0..=self.below(8) {
            let at = self.below(input.len() + 1);
            match self.below(6) {
                0 => input.insert(at, self.byte()),
                1 if at < input.len() => drop(input.remove(at)),
                2 => input.truncate(at),
                // The tail of another input: it brings whole structures along.
                3 => {
                    let other = inputs[self.below(inputs.len())];
                    let from = self.below(other.len() + 1);
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
                4 if at < input.len() => input[at] ^= 1 << self.below(8),
                _ if at < input.len() => input[at] = self.byte(),
                _ => input.push(self.byte()),
            }
        }
        input.truncate(LONGEST);
        input
    }
}
