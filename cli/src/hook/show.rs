//! What is shown to people.

use scribe_hooks::{LogLine, Usage};

/// A line of a module's log: `info: text name=value`.
pub fn log_line(line: &LogLine) -> String {
    let LogLine { level, message, fields } = line;
    let level = serde_json::to_value(level).unwrap_or_default();
    let mut shown = format!("{}: {message}", level.as_str().unwrap_or_default());
    for (name, value) in fields {
        shown.push_str(&format!(" {name}={value}"));
    }
    shown
}

/// A number, with its thousands apart.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(' ');
        }
        shown.push(digit);
    }
    shown
}

/// A number of bytes, to about three digits.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes(count: u64) -> String {
    for (unit, size) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if count >= size {
            return format!("{:.1} {unit}", count as f64 / size as f64);
        }
    }
    format!("{count} B")
}

/// What a call cost.
pub fn usage(usage: &Usage) -> String {
    let Usage { fuel, memory, host_calls, log_lines_dropped, .. } = usage;
    let mut shown = format!("fuel {}, memory {}", number(*fuel), bytes(*memory));
    for (name, count) in host_calls {
        shown.push_str(&format!(", {name} ×{count}"));
    }
    if *log_lines_dropped > 0 {
        shown.push_str(&format!(", {log_lines_dropped} lines of the log dropped"));
    }
    shown
}

/// Each line further to the right.
pub fn indented(text: &str, spaces: usize) -> String {
    let indent = " ".repeat(spaces);
    text.lines().map(|line| format!("{indent}{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!((number(0).as_str(), number(1_234_567).as_str()), ("0", "1 234 567"));
        assert_eq!(
            (bytes(1023).as_str(), bytes(1536).as_str(), bytes(3 << 20).as_str()),
            ("1023 B", "1.5 KiB", "3.0 MiB")
        );
    }
}
