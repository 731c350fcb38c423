//! Sysinfo: the machine's load, memory and temperature, as the kernel tells them.

use std::fs;

/// One JSON object; what the machine does not tell is left out.
pub async fn read() -> Vec<u8> {
    // Files of the kernel, but still files.
    let read = tokio::task::spawn_blocking(|| {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        object(
            &text("/proc/loadavg"),
            &text("/proc/meminfo"),
            &text("/sys/class/thermal/thermal_zone0/temp"),
        )
    });
    read.await.unwrap_or_default().into_bytes()
}

/// From the texts of `loadavg`, `meminfo` (kB) and a thermal zone (thousandths of a degree).
fn object(load: &str, memory: &str, thermal: &str) -> String {
    let mut fields = Vec::new();
    if let Some(load) = load.split(' ').next().and_then(|it| it.parse::<f64>().ok()) {
        fields.push(format!("\"load_1m\":{load}"));
    }
    let row = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let rows = [
        ("memory_kb", "MemTotal:"),
        ("available_kb", "MemAvailable:"),
    ];
    for (field, name) in rows {
        fields.extend(row(name).map(|kb| format!("\"{field}\":{kb}")));
    }
    if let Ok(thousandths) = thermal.trim().parse::<i64>() {
        fields.push(format!("\"celsius\":{}", thousandths as f64 / 1_000.0));
    }
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::object;

    #[test]
    fn what_the_machine_tells_is_told_and_nothing_else() {
        let memory = "MemTotal:  505500 kB\nMemFree: 1 kB\nMemAvailable:   200100 kB\n";
        let told = object("0.52 0.58 0.59 1/467 1\n", memory, "48312\n");
        let expected =
            r#"{"load_1m":0.52,"memory_kb":505500,"available_kb":200100,"celsius":48.312}"#;
        assert_eq!(told, expected);
        assert_eq!(object("", "MemTotal: many\n", "?"), "{}");
    }

    #[tokio::test]
    async fn this_machine_tells_something() {
        let told = super::read().await;
        assert!(told.len() > 2 && told.starts_with(b"{"), "{told:?}");
    }
}
