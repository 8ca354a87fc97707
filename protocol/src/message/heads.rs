//! The heads of requests and answers, written and read by hand.
//!
//! Each job pays for one of either. The bytes are those that postcard makes of the same fields, and what is unusual, a
//! request with headers or a number in more bytes than it needs, is left to postcard: these functions decline it.

use std::borrow::Cow;

use super::{AnswerHead, Answered, RequestHead};
use crate::{Epoch, Generation, JobId, Ordinal};

/// Room for the numbers of a head, and the length of a name.
const NUMBERS: usize = 72;

impl RequestHead<'_> {
    /// Appends the head, unless it is an unusual one.
    pub(crate) fn write(&self, into: &mut Vec<u8>) -> bool {
        if !self.headers.is_empty() {
            return false;
        }
        let mut pen = Pen::new();
        pen.number(self.ordinal.0.into());
        pen.number(self.generation.0.into());
        pen.number(self.epoch.0.into());
        pen.number(self.attempt.into());
        pen.bytes(&self.job.bytes());
        pen.number(self.age_nanos);
        pen.option(self.run_timeout_nanos);
        pen.number(self.name.len() as u64);
        into.extend_from_slice(pen.written());
        into.extend_from_slice(self.name.as_bytes());
        into.push(0);
        true
    }
}

/// The head in these bytes, unless it is an unusual one, or none.
pub(super) fn request(bytes: &[u8]) -> Option<RequestHead<'_>> {
    let mut eye = Eye(bytes);
    let head = RequestHead {
        ordinal: Ordinal(eye.u32()?),
        generation: Generation(eye.u32()?),
        epoch: Epoch(eye.u32()?),
        attempt: eye.number(3)?.try_into().ok()?,
        job: JobId::from_bytes(eye.bytes::<16>()?),
        age_nanos: eye.number(10)?,
        run_timeout_nanos: eye.option()?,
        name: Cow::Borrowed(eye.text()?),
        headers: Vec::new(),
    };
    (eye.0 == [0]).then_some(head)
}

impl AnswerHead {
    /// Appends the head.
    pub(crate) fn write(&self, into: &mut Vec<u8>) {
        let mut pen = Pen::new();
        pen.number(self.ordinal.0.into());
        pen.number(self.epoch.0.into());
        pen.number(self.run_nanos);
        pen.number(match self.answered {
            Answered::Data => 0,
            Answered::Ack => 1,
            Answered::Failed => 2,
        });
        into.extend_from_slice(pen.written());
    }
}

/// The head in these bytes, unless it is an unusual one, or none.
pub(super) fn answer(bytes: &[u8]) -> Option<AnswerHead> {
    let mut eye = Eye(bytes);
    let head = AnswerHead {
        ordinal: Ordinal(eye.u32()?),
        epoch: Epoch(eye.u32()?),
        run_nanos: eye.number(10)?,
        answered: match eye.byte()? {
            0 => Answered::Data,
            1 => Answered::Ack,
            2 => Answered::Failed,
            _ => return None,
        },
    };
    eye.0.is_empty().then_some(head)
}

/// Writes numbers as postcard does: seven bits a byte, the lowest first, all but the last with the eighth bit.
struct Pen {
    bytes: [u8; NUMBERS],
    len: usize,
}

impl Pen {
    fn new() -> Pen {
        Pen { bytes: [0; NUMBERS], len: 0 }
    }

    fn written(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    fn option(&mut self, number: Option<u64>) {
        self.byte(u8::from(number.is_some()));
        if let Some(number) = number {
            self.number(number);
        }
    }

    fn bytes<const N: usize>(&mut self, bytes: &[u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(bytes);
        self.len += N;
    }
}

/// Reads what a [`Pen`] wrote.
struct Eye<'a>(&'a [u8]);

impl<'a> Eye<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number of at most so many bytes.
    fn number(&mut self, most: u32) -> Option<u64> {
        let mut number = 0;
        for place in 0..most {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            number |= bits << (7 * place);
            if byte < 0x80 {
                // Ten bytes hold seventy bits.
                return (place < 9 || bits < 2).then_some(number);
            }
        }
        None
    }

    fn u32(&mut self) -> Option<u32> {
        self.number(5)?.try_into().ok()
    }

    fn option(&mut self) -> Option<Option<u64>> {
        match self.byte()? {
            0 => Some(None),
            1 => Some(Some(self.number(10)?)),
            _ => None,
        }
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number(10)?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers at the edges of every length.
    fn number(random: &mut fastrand::Rng) -> u64 {
        let bits = random.u32(0..=64);
        if bits == 0 { 0 } else { random.u64(..) >> (64 - bits) }
    }

    fn a_request(random: &mut fastrand::Rng) -> RequestHead<'static> {
        let names = ["", "echo", "näme", "a name that is longer than any number"];
        RequestHead {
            ordinal: Ordinal(number(random) as u32),
            generation: Generation(number(random) as u32),
            epoch: Epoch(number(random) as u32),
            attempt: number(random) as u16,
            job: JobId::from_bytes(random.u128(..).to_le_bytes()),
            age_nanos: number(random),
            run_timeout_nanos: random.bool().then(|| number(random)),
            name: Cow::Borrowed(names[random.usize(..names.len())]),
            headers: Vec::new(),
        }
    }

    fn an_answer(random: &mut fastrand::Rng) -> AnswerHead {
        let sorts = [Answered::Data, Answered::Ack, Answered::Failed];
        AnswerHead {
            ordinal: Ordinal(number(random) as u32),
            epoch: Epoch(number(random) as u32),
            run_nanos: number(random),
            answered: sorts[random.usize(..3)],
        }
    }

    /// Changes, cuts or lengthens it somewhere.
    fn spoil(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
        match random.u8(..4) {
            0 => bytes.truncate(random.usize(..=bytes.len())),
            1 => bytes.push(random.u8(..)),
            2 => bytes.insert(random.usize(..=bytes.len()), 0x80),
            _ => {
                if let Some(byte) = random.choice(bytes.iter_mut()) {
                    *byte = random.u8(..);
                }
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_postcard() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let (request, answer) = (a_request(&mut random), an_answer(&mut random));
            let (mut by_hand, mut answer_by_hand) = (Vec::new(), Vec::new());
            assert!(request.write(&mut by_hand));
            answer.write(&mut answer_by_hand);
            assert_eq!(by_hand, postcard::to_stdvec(&request).expect("encodes"));
            assert_eq!(answer_by_hand, postcard::to_stdvec(&answer).expect("encodes"));
        }
    }

    #[test]
    fn what_is_read_is_what_postcard_reads() {
        let mut random = fastrand::Rng::with_seed(2);
        let (mut read, mut declined) = (0, 0);
        for round in 0..100_000 {
            let mut bytes = postcard::to_stdvec(&a_request(&mut random)).expect("encodes");
            let mut answer_bytes = postcard::to_stdvec(&an_answer(&mut random)).expect("encodes");
            if round % 2 == 1 {
                spoil(&mut bytes, &mut random);
                spoil(&mut answer_bytes, &mut random);
            }
            match request(&bytes) {
                Some(head) => {
                    read += 1;
                    assert_eq!(postcard::take_from_bytes(&bytes), Ok((head, &[][..])), "{bytes:?}");
                }
                None => declined += 1,
            }
            if let Some(head) = answer(&answer_bytes) {
                let expected = postcard::take_from_bytes(&answer_bytes);
                assert_eq!(expected, Ok((head, &[][..])), "{answer_bytes:?}");
            }
        }
        assert!(read > 50_000 && declined > 10_000, "{read} read, {declined} declined");
    }

    #[test]
    fn a_request_with_headers_is_left_to_postcard() {
        let mut random = fastrand::Rng::with_seed(3);
        let headers = vec![(Cow::Borrowed("trace"), Cow::Borrowed("1"))];
        let head = RequestHead { headers, ..a_request(&mut random) };
        let mut bytes = Vec::new();
        assert!(!head.write(&mut bytes) && bytes.is_empty());
        assert_eq!(request(&postcard::to_stdvec(&head).expect("encodes")), None);
    }
}
