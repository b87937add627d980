//! Kubernetes quantities as numbers of bytes.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The bytes that a quantity stands for, rounded up as Kubernetes does. `None`: not a quantity, negative, or beyond 2^63.
pub fn bytes(quantity: &Quantity) -> Option<u64> {
    let text = quantity.0.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || whole.len() > 19 {
        return None;
    }
    // Nine digits after the point are more than a byte of an exbibyte needs to be told apart from its neighbours in practice, and keep
    // the product below within 128 bits.
    let fraction = &fraction[..fraction.len().min(9)];
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let digits: u128 = format!("0{whole}{fraction}").parse().ok()?;
    let (times, by) = factor(suffix)?;
    let total = digits.checked_mul(times)?.div_ceil(scale.checked_mul(by)?);
    u64::try_from(total).ok().filter(|total| i64::try_from(*total).is_ok())
}

/// What a suffix multiplies by and divides by.
fn factor(suffix: &str) -> Option<(u128, u128)> {
    let binary = |power: u32| Some((1024_u128.pow(power), 1));
    let decimal = |power: u32| Some((1000_u128.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(1),
        "M" => decimal(2),
        "G" => decimal(3),
        "T" => decimal(4),
        "P" => decimal(5),
        "E" => decimal(6),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            match exponent {
                0..=18 => Some((10_u128.pow(exponent.unsigned_abs()), 1)),
                -9..=-1 => Some((1, 10_u128.pow(exponent.unsigned_abs()))),
                _ => None,
            }
        }
    }
}

/// Bytes for people: `1.2 GiB`.
pub fn display(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    // Tenths, so that no floating point is needed; 2^64 tenths fit in 128 bits.
    let mut tenths = u128::from(bytes) * 10;
    // 1023.95 and above would print as `1024.0`.
    while tenths + 5 >= 10_240 && unit + 1 < UNITS.len() {
        tenths = (tenths + 512) / 1024;
        unit += 1;
    }
    if unit == 0 {
        return format!("{bytes} B");
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_does() {
        let read = |text: &str| bytes(&Quantity(text.to_owned()));
        for (text, expected) in [
            ("1", Some(1)),
            ("10Gi", Some(10 << 30)),
            ("1.5Gi", Some(3 << 29)),
            ("1G", Some(1_000_000_000)),
            ("1e3", Some(1000)),
            ("1E3", Some(1000)),
            ("2E", Some(2_000_000_000_000_000_000)),
            ("0.5", Some(1)),
            ("1500m", Some(2)),
            (".5Ki", Some(512)),
            ("0", Some(0)),
            ("7Ei", Some(7 << 60)),
            ("8Ei", None),
            ("-1", None),
            ("", None),
            (".", None),
            ("1.2.3", None),
            ("1 Gi", None),
            ("1GB", None),
            ("1e99", None),
            ("99999999999999999999999999", None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_288_490_189, "1.2 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(display(bytes), shown, "{bytes}");
        }
    }
}
