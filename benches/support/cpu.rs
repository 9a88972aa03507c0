//! What this process costs.

/// `USER_HZ`, which Linux promises to programs on all processors that Intakt runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of this process, threads that have ended included (fields 14 and 15 of proc_pid_stat(5)).
pub(crate) fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this bench needs Linux");
    // The name of the program may hold blanks: fields are counted from behind it, the third.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<f64>());
    ticks
        .map(|ticks| ticks.expect("a number of ticks") / TICKS_PER_SECOND)
        .sum()
}
