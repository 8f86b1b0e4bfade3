//! Java's `double` as text: what `Double.parseDouble` reads and `Double.toString` prints, so that a value is taken and described as
//! by Kafka.
//!
//! Holds no number in any state: a property keeps the bits.

/// Bits of a double's mantissa, the leading one included.
const PRECISION: i64 = 53;
/// The exponents of the leading bit that leave room for all of them.
const EXPONENTS: std::ops::RangeInclusive<i64> = -1022..=1023;

/// Reads a number: decimal, or hexadecimal with a binary exponent; with or without `d` or `f` behind it. `NaN` and `Infinity` are
/// numbers, too.
#[must_use]
pub fn parse(text: &str) -> Option<f64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = match text {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        _ => {
            let text = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
            match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
                Some(digits) => hexadecimal(digits)?,
                None => decimal(text)?,
            }
        }
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// Rust reads the same numbers, and words and a second sign besides.
fn decimal(text: &str) -> Option<f64> {
    let starts = text.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    starts.then(|| text.parse().ok())?
}

/// `1.8p-3`, behind its `0x`.
fn hexadecimal(text: &str) -> Option<f64> {
    let (digits, power) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = match digits.split_once('.') {
        Some(both) => both,
        None => (digits, ""),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut exponent = binary_exponent(power)?;
    let (mut mantissa, mut more) = (0_u64, false);
    let numbered = whole.chars().map(|digit| (digit, 0));
    for (digit, place) in numbered.chain(fraction.chars().map(|digit| (digit, -4))) {
        let digit = u64::from(digit.to_digit(16)?);
        if mantissa >> 60 == 0 {
            mantissa = (mantissa << 4) | digit;
            exponent += place;
        } else {
            more |= digit != 0;
            exponent += 4 + place;
        }
    }
    Some(nearest(mantissa, more, exponent))
}

fn binary_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Beyond this every number is zero or infinite.
    let power = digits.parse().unwrap_or(i64::MAX).min(1 << 40);
    Some(if text.starts_with('-') { -power } else { power })
}

/// The double that is nearest to `mantissa` (and a little, if there is `more`) times two to `exponent`; of two, the even one.
fn nearest(mantissa: u64, more: bool, exponent: i64) -> f64 {
    let width = i64::from(64 - mantissa.leading_zeros());
    let leading = exponent.saturating_add(width - 1);
    let missing = (EXPONENTS.start() - leading).max(0);
    if mantissa == 0 || missing > PRECISION {
        return 0.0;
    }
    if leading > *EXPONENTS.end() {
        return f64::INFINITY;
    }
    let dropped = width - (PRECISION - missing);
    if dropped <= 0 {
        return scaled(mantissa, exponent);
    }
    let (wide, half) = (u128::from(mantissa), 1_u128 << (dropped - 1));
    let (kept, rest) = (wide >> dropped, wide & (2 * half - 1));
    let up = rest > half || (rest == half && (more || kept & 1 == 1));
    let kept = u64::try_from(kept).unwrap_or(u64::MAX) + u64::from(up);
    scaled(kept, exponent + dropped)
}

/// `mantissa`, of [`PRECISION`] bits at most, times two to `exponent`: exact.
fn scaled(mantissa: u64, exponent: i64) -> f64 {
    let power = |exponent: i64| f64::from_bits(((exponent + 1023) as u64) << 52);
    let first = exponent.max(*EXPONENTS.start());
    mantissa as f64 * power(first) * power(exponent - first)
}

/// A number as Java prints it.
#[must_use]
pub fn show(value: f64) -> String {
    let magnitude = value.abs();
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if digits.contains('.') => format!("{digits}E{exponent}"),
        Some((digits, exponent)) => format!("{digits}.0E{exponent}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_javas() {
        let cases = [
            (0.5, "0.5"),
            (1.0, "1.0"),
            (f64::MAX, "1.7976931348623157E308"),
            (1e7, "1.0E7"),
            (0.0001, "1.0E-4"),
            (0.001, "0.001"),
        ];
        for (value, expected) in cases {
            assert_eq!(show(value), expected);
        }
    }

    #[test]
    fn doubles_are_read_as_javas() {
        let cases = [
            ("0.5d", "0.5"),
            ("-.5F", "-0.5"),
            ("+1.", "1.0"),
            ("1e400", "Infinity"),
            ("-Infinity", "-Infinity"),
            ("NaN", "NaN"),
            ("0x1p-1", "0.5"),
            ("0X1.8P1f", "3.0"),
            ("-0x.8p+3d", "-4.0"),
            ("0x10.p0", "16.0"),
            ("0x0p99", "0.0"),
            ("0x1p1024", "Infinity"),
            ("0x1p99999999999999999999", "Infinity"),
            ("0x1p-99999999999999999999", "0.0"),
            ("0x1.fffffffffffffp1023", "1.7976931348623157E308"),
            ("0x1.fffffffffffff8p1023", "Infinity"),
            // Between 1 and the next: half goes to the even one, and any more up.
            ("0x1.00000000000008p0", "1.0"),
            ("0x1.000000000000080000001p0", "1.0000000000000002"),
            ("0x1.00000000000018p0", "1.0000000000000004"),
            ("0x123456789abcdef01p0", "2.0988295479420645E19"),
            // Below where all bits fit.
            ("0x1p-1074", "5E-324"),
            ("0x1p-1075", "0.0"),
            ("0x1.8p-1075", "5E-324"),
            ("0x1.8p-1074", "1E-323"),
        ];
        for (text, expected) in cases {
            let value = parse(text).unwrap_or_else(|| panic!("{text} is a number"));
            let expected = expected.parse().unwrap_or(f64::NAN);
            assert!(
                value == expected || (value.is_nan() && f64::is_nan(expected)),
                "{text}: {value:e}"
            );
        }
        let none = [
            "",
            "-",
            "d",
            "0.5dd",
            "inf",
            "nan",
            "infinity",
            "1e",
            ".",
            "--1",
            "+-1",
            "1 2",
            "0x1",
            "0x1f",
            "0xp1",
            "0x.p1",
            "0x1p",
            "0x1.2.3p1",
            "0x1gp1",
            "0x1p1.5",
            "e5",
            "1_0",
            "é",
        ];
        for text in none {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
