//! Sizes and addresses as people write them: `16M`, `1G`, `0x20000000`.

/// Reads a number of bytes: decimal or `0x` hexadecimal, with an optional K, M or G (powers of 1,024).
pub(super) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let plain = digits.replace('_', "");
    let value = match plain.strip_prefix("0x") {
        Some(hex) if hex.bytes().all(|b| b.is_ascii_hexdigit()) => u64::from_str_radix(hex, 16).ok()?,
        None if plain.bytes().all(|b| b.is_ascii_digit()) => plain.parse().ok()?,
        _ => return None,
    };
    value.checked_mul(1 << shift)
}

/// Writes a number of bytes in the largest unit that divides it.
pub(super) fn show(bytes: u64) -> String {
    match bytes {
        0 => "0".into(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{}G", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}M", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}K", bytes >> 10),
        _ => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_show() {
        assert_eq!(parse("16M"), Some(16 << 20));
        assert_eq!(parse("0x2000_0000"), Some(0x2000_0000));
        assert_eq!(parse("1G"), Some(1 << 30));
        assert_eq!(parse("4096"), Some(4096));
        for bad in [
            "",
            "M",
            "16 M",
            "16MB",
            "-1",
            "+1",
            "0x",
            "0x+1",
            "0xg",
            "99999999999G",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(show(16 << 20), "16M");
        assert_eq!(show(3 << 30), "3G");
    }
}
