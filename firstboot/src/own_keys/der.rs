//! Writes a certificate request (RFC 2986) in DER (X.690).

/// `SEQUENCE`.
const SEQUENCE: u8 = 0x30;
/// `SET`.
const SET: u8 = 0x31;
/// `UTF8String`.
const UTF8: u8 = 0x0c;
/// `BIT STRING`.
const BITS: u8 = 0x03;
/// The constructed context-specific tag `[0]`, for the attributes of a request.
const ATTRIBUTES: u8 = 0xa0;
/// `INTEGER 0`, the only version number of a request.
const VERSION: [u8; 3] = [0x02, 0x01, 0x00];
/// `id-ecPublicKey` with `prime256v1` (RFC 5480, 2.1.1).
const P256: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];
/// `ecdsa-with-SHA256` (RFC 5758, 3.2).
const ECDSA_SHA256: [u8; 12] = [
    0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
];
/// `id-at-commonName`.
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];

/// Encodes an element with its length. Every element in this module is shorter than 64 KiB.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = body.len();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        Ok(byte) => out.extend([0x81, byte]),
        Err(_) => {
            let bytes = length.to_be_bytes();
            out.extend([0x82, bytes[6], bytes[7]]);
        }
    }
    out.extend(body);
    out
}

fn bits(bytes: &[u8]) -> Vec<u8> {
    element(BITS, &[&[0], bytes])
}

/// Encodes the `SubjectPublicKeyInfo` of a point on P-256.
pub(crate) fn public_key(point: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&P256, &bits(point)])
}

/// Encodes the part of a request that the signature covers.
pub(crate) fn request_info(common_name: &str, point: &[u8]) -> Vec<u8> {
    let name = element(UTF8, &[common_name.as_bytes()]);
    let name = element(SEQUENCE, &[&COMMON_NAME, &name]);
    let subject = element(SEQUENCE, &[&element(SET, &[&name])]);
    let attributes = element(ATTRIBUTES, &[]);
    element(
        SEQUENCE,
        &[&VERSION, &subject, &public_key(point), &attributes],
    )
}

/// Builds a request from its signed part and the signature.
pub(crate) fn request(info: &[u8], signature: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[info, &ECDSA_SHA256, &bits(signature)])
}
