//! The scenarios that leverd was built with: name and file's text, sorted by name.

pub(super) const SHIPPED: [(&str, &str); 19] = [
    ("autovacuum-starved", include_str!("../../../config/scenarios/autovacuum-starved.yaml")),
    ("chatty-writer", include_str!("../../../config/scenarios/chatty-writer.yaml")),
    ("healthy", include_str!("../../../config/scenarios/healthy.yaml")),
    ("load-rises", include_str!("../../../config/scenarios/load-rises.yaml")),
    ("masked-by-alter-system", include_str!("../../../config/scenarios/masked-by-alter-system.yaml")),
    ("masked-by-command-line", include_str!("../../../config/scenarios/masked-by-command-line.yaml")),
    ("masked-by-role", include_str!("../../../config/scenarios/masked-by-role.yaml")),
    ("mix-changes", include_str!("../../../config/scenarios/mix-changes.yaml")),
    ("noisy-neighbour", include_str!("../../../config/scenarios/noisy-neighbour.yaml")),
    ("out-of-reach", include_str!("../../../config/scenarios/out-of-reach.yaml")),
    ("parallel-reports", include_str!("../../../config/scenarios/parallel-reports.yaml")),
    ("random-page-cost", include_str!("../../../config/scenarios/random-page-cost.yaml")),
    ("small-cache", include_str!("../../../config/scenarios/small-cache.yaml")),
    ("spilling-sorts", include_str!("../../../config/scenarios/spilling-sorts.yaml")),
    ("too-many-connections", include_str!("../../../config/scenarios/too-many-connections.yaml")),
    ("two-causes", include_str!("../../../config/scenarios/two-causes.yaml")),
    ("wal-full-pages", include_str!("../../../config/scenarios/wal-full-pages.yaml")),
    ("wal-index-churn", include_str!("../../../config/scenarios/wal-index-churn.yaml")),
    ("wal-storm", include_str!("../../../config/scenarios/wal-storm.yaml")),
];
