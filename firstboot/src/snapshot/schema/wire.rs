//! Parses protocol buffers, but only in the form in which etcd's encoders write them: the fields
//! are in ascending order, no field has its default value, and each number is encoded in as few
//! bytes as possible. The encoder is gogo/protobuf in etcd 3.4 to 3.6, and
//! google.golang.org/protobuf in 3.7. Because the parser refuses all other forms, it detects most
//! changed bits in tags and lengths, including those that would make an ordinary decoder skip a
//! field as unknown.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The error for bytes that are not a valid message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl<'a> Value<'a> {
    pub(super) fn number(self) -> Result<u64, Malformed> {
        if let Self::Number(number) = self {
            Ok(number)
        } else {
            Err(Malformed)
        }
    }

    /// Returns bytes that may be empty, such as an embedded message or one string of a repeated
    /// field.
    pub(super) fn bytes(self) -> Result<&'a [u8], Malformed> {
        if let Self::Bytes(bytes) = self {
            Ok(bytes)
        } else {
            Err(Malformed)
        }
    }

    /// Returns the bytes of a field that is present only if it is not empty.
    pub(super) fn some_bytes(self) -> Result<&'a [u8], Malformed> {
        self.bytes().and_then(|bytes| {
            if bytes.is_empty() {
                Err(Malformed)
            } else {
                Ok(bytes)
            }
        })
    }
}

#[derive(Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    last: u64,
    repeated: u64,
}

impl<'a> Fields<'a> {
    /// Returns the fields of a message in which only the field with the number `repeated` may occur
    /// more than once. If `repeated` is 0, no field may occur more than once.
    pub(super) fn of(bytes: &'a [u8], repeated: u64) -> Self {
        Self {
            rest: bytes,
            last: 0,
            repeated,
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = number(&mut self.rest)?;
        let field = tag >> 3;
        if field < self.last || field == 0 || field == self.last && field != self.repeated {
            return Err(Malformed);
        }
        self.last = field;
        let value = match tag & 7 {
            0 => Value::Number(number(&mut self.rest).and_then(|number| {
                if number == 0 {
                    Err(Malformed)
                } else {
                    Ok(number)
                }
            })?),
            2 => {
                let length = usize::try_from(number(&mut self.rest)?).map_err(|_| Malformed)?;
                let (taken, left) = self.rest.split_at_checked(length).ok_or(Malformed)?;
                self.rest = left;
                Value::Bytes(taken)
            }
            _ => return Err(Malformed),
        };
        Ok(Some((field, value)))
    }
}

/// Reads a number, which must be encoded in as few bytes as possible.
fn number(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0;
    for (index, byte) in (0..10).zip(rest.iter()) {
        let bits = u64::from(byte & 0x7F);
        // Nine bytes contain 63 bits of the number, so the tenth byte may contain only one bit.
        if index == 9 && bits > 1 {
            break;
        }
        number |= bits << (7 * index);
        if byte & 0x80 == 0 {
            if bits == 0 && index > 0 {
                break;
            }
            *rest = &rest[index + 1..];
            return Ok(number);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8], repeated: u64) -> Result<Vec<(u64, Value<'_>)>, Malformed> {
        let mut fields = Fields::of(bytes, repeated);
        let mut found = Vec::new();
        while let Some(field) = fields.next()? {
            found.push(field);
        }
        Ok(found)
    }

    #[test]
    fn fields_are_read_in_order_and_only_in_order() {
        let (one, two) = ((1, Value::Number(300)), (2, Value::Bytes(b"ab")));
        assert_eq!(
            all(&[0x08, 0xAC, 2, 0x12, 2, b'a', b'b'], 0),
            Ok(vec![one, two])
        );
        assert_eq!(
            all(&[0x12, 2, b'a', b'b', 0x12, 0], 2),
            Ok(vec![two, (2, Value::Bytes(b""))])
        );
        for wrong in [
            &[0x12, 2, b'a', b'b', 0x12, 0][..], // a field that occurs twice
            &[0x12, 0, 0x08, 1],                 // fields in descending order
            &[0x08, 0],                          // a field with its default value
            &[0x08, 0x80, 0],                    // a number in more bytes than needed
            &[0x88, 0, 1],                       // a tag in more bytes than needed
            &[0x08],                             // a truncated number
            &[0x12, 3, b'a', b'b'],              // a truncated string
            &[0x0D, 0, 0, 0, 0],                 // a wire type that etcd does not use
            &[0x00, 1],                          // a field with the number 0
            &[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2], // more than 64 bits
        ] {
            assert_eq!(all(wrong, 0), Err(Malformed), "{wrong:?}");
        }
        assert_eq!(
            all(&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], 0),
            Ok(vec![(1, Value::Number(u64::MAX))])
        );
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic_and_no_bytes_are_skipped(
            bytes in proptest::collection::vec(any::<u8>(), 0..60), repeated in 0..4u64,
        ) {
            if let Ok(fields) = all(&bytes, repeated) {
                let mut again = Vec::new();
                for (field, value) in fields {
                    match value {
                        Value::Number(number) => {
                            prost::encoding::encode_varint(field << 3, &mut again);
                            prost::encoding::encode_varint(number, &mut again);
                        }
                        Value::Bytes(content) => {
                            prost::encoding::encode_varint(field << 3 | 2, &mut again);
                            prost::encoding::encode_varint(content.len() as u64, &mut again);
                            again.extend_from_slice(content);
                        }
                    }
                }
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
