//! What the kernel says of this process.

use std::fs;

/// Memory that is resident, in bytes.
pub fn resident() -> f64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap() * 1024.0
}

/// Machine code that comes from no file, in bytes of address space: that of modules.
pub fn code() -> f64 {
    let text = fs::read_to_string("/proc/self/maps").unwrap();
    let sizes = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        // After the offset and the device there is a file's inode, 0 if there is none; then a name, as the kernel's own pages have one.
        let is_ours = rights == "r-xp" && words.nth(2)? == "0" && words.next().is_none();
        let (start, end) = range.split_once('-')?;
        let address = |hex| u64::from_str_radix(hex, 16).ok();
        is_ours.then_some(address(end)? - address(start)?)
    });
    #[allow(clippy::cast_precision_loss, reason = "far less than 2^53")]
    let bytes = sizes.sum::<u64>() as f64;
    bytes
}
