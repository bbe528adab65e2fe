//! A Postgres address and its password as one text that any libpq-like client reads.
//!
//! No error here shows the address: it may hold a password.

use tokio_postgres::Config;

/// The address, a URL or libpq's key-value string, with the password added to it, if there is one. `Err` is (problem,
/// hint).
pub fn complete(dsn: &str, password: Option<&str>) -> Result<String, (String, String)> {
    let form = "write it as postgresql://user@host:5432/database, or as host=… port=… user=… dbname=…";
    let refused = |problem: String| (problem, form.to_owned());
    // tokio-postgres' messages name the key and never the value.
    let parsed: Config = dsn.parse().map_err(|error: tokio_postgres::Error| {
        let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        refused(format!("this is no Postgres address: {why}"))
    })?;
    if parsed.get_hosts().is_empty() && parsed.get_hostaddrs().is_empty() {
        return Err(refused("this Postgres address names no host".to_owned()));
    }
    let Some(password) = password else { return Ok(dsn.to_owned()) };
    if parsed.get_password().is_some() {
        return Err((
            "the address holds a password already; allowed: one password".to_owned(),
            "keep `password:` and take it out of `dsn:`".to_owned(),
        ));
    }
    Ok(if dsn.starts_with("postgres://") || dsn.starts_with("postgresql://") {
        let joint = if dsn.contains('?') { '&' } else { '?' };
        format!("{dsn}{joint}password={}", percent_encoded(password))
    } else {
        let escaped = password.replace('\\', "\\\\").replace('\'', "\\'");
        format!("{dsn} password='{escaped}'")
    })
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: [&str; 5] = [
        "postgresql://ann@db.example:5432/capsim",
        "postgres://ann@db.example",
        "postgresql://ann@db.example/capsim?sslmode=require&application_name=x",
        "host=db.example user=ann dbname=capsim",
        "host=/var/run/postgresql",
    ];

    proptest::proptest! {
        #[test]
        fn any_password_arrives_as_it_is(password in "[^\0]{1,40}") {
            for dsn in ADDRESSES {
                let whole = complete(dsn, Some(&password)).unwrap();
                let parsed: Config = whole.parse().unwrap();
                proptest::prop_assert_eq!(parsed.get_password(), Some(password.as_bytes()), "{}", dsn);
                let before: Config = dsn.parse().unwrap();
                proptest::prop_assert_eq!(parsed.get_hosts(), before.get_hosts());
                proptest::prop_assert_eq!(parsed.get_dbname(), before.get_dbname());
            }
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_showing_it() {
        for bad in ["hunter2", "postgresql://u:hunter2@h:port/x", "host=h wrong_key=hunter2", "user=hunter2"]
        {
            let (problem, _) = complete(bad, None).unwrap_err();
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        let (problem, _) = complete("postgresql://u:hunter2@h/x", Some("hunter3")).unwrap_err();
        assert_eq!(problem, "the address holds a password already; allowed: one password");
    }
}
