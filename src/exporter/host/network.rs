//! `/proc/net/dev`: interfaces that lead out of the host.

use crate::exporter::page::{Kind, Page};

/// So many interfaces are shown at most.
const MOST: usize = 32;

/// Loopback, and what leads to containers and virtual machines: their traffic is counted again where it leaves.
const HIDDEN: [&str; 13] = [
    "lo", "veth", "ifb", "dummy", "docker", "br-", "virbr", "vnet", "cali", "cilium", "flannel", "cni", "lxc",
];

/// Metric, column after the interface's name, help.
const COLUMNS: [(&str, usize, &str); 8] = [
    ("node_network_receive_bytes_total", 0, "Bytes received."),
    ("node_network_receive_packets_total", 1, "Packets received."),
    ("node_network_receive_errs_total", 2, "Receive errors."),
    ("node_network_receive_drop_total", 3, "Received packets dropped."),
    ("node_network_transmit_bytes_total", 8, "Bytes sent."),
    ("node_network_transmit_packets_total", 9, "Packets sent."),
    ("node_network_transmit_errs_total", 10, "Send errors."),
    ("node_network_transmit_drop_total", 11, "Packets to send that were dropped."),
];

pub(super) fn render(text: &str, page: &mut Page) {
    let interfaces: Vec<(&str, Vec<&str>)> = text
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            Some((name.trim(), rest.split_ascii_whitespace().collect()))
        })
        .filter(|(name, _): &(&str, Vec<&str>)| !is_hidden(name))
        .take(MOST)
        .collect();
    for (name, column, help) in COLUMNS {
        let mut family = page.family(name, Kind::Counter, help);
        for (interface, row) in &interfaces {
            let value = row.get(column).map_or(f64::NAN, |word| super::number(word));
            family.sample(&[("device", interface)], value);
        }
    }
}

fn is_hidden(name: &str) -> bool {
    name == "lo" || HIDDEN[1..].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_interfaces_that_lead_out_are_shown() {
        for shown in ["eth0", "enp3s0", "wlan0", "bond0", "br0", "lowpan0"] {
            assert!(!is_hidden(shown), "{shown}");
        }
        for hidden in ["lo", "veth12ab", "docker0", "br-0a1b2c", "ifb0"] {
            assert!(is_hidden(hidden), "{hidden}");
        }
    }
}
